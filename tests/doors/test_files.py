"""Configurations, directories, topologies, keys that are nearly right: told, and no traceback."""

import random
import re
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

import pytest

from protokms.commands import node
from protokms.config import directory
from protokms.config.keyfiles import BadFile, read_key
from protokms.config.tables import ConfigError
from protokms.lab import lab, topology
from protokms.lab.lab import LabError
from tests.doors.mutate import damaged, spoilt_values
from tests.doors.tally import Tally
from tests.processes.real_lab import protokms
from transport.curve import check_public

pytestmark = pytest.mark.slow

DOOR = "files"
SEED = 8_259
DAMAGED = 400
T = TypeVar("T")
TOLD = re.compile(r"(warning: )?/.*: .+\. Remedy: .+\.$")

TOPOLOGY = """
[[node]]
name = "kms-1"
host = "127.0.0.1"
bind = "127.0.0.1"
metrics = "127.0.0.1"
port = 21000
saes = ["sae-1", "sae-1b"]
[[node.process]]
name = "front"
actors = ["etsi014"]
[[node]]
name = "kms-2"
saes = ["sae-2"]
[[link]]
a = "kms-1"
b = "kms-2"
allow_insecure_emulation = true
rate_bit_s = 100000
max_bytes = 500
loss = 0.1
outages = [[1, 2]]
seed = 7
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A lab that nobody runs."""
    folder = tmp_path_factory.mktemp("files") / "lab"
    lab.init(folder, topology.spread(topology.parse("chain:2")))
    return folder


@pytest.fixture
def lab_home(home: Path) -> Iterator[Path]:
    """The same lab, put right again after the test."""
    before = {file: file.read_bytes() for file in home.rglob("*") if file.is_file()}
    yield home
    for file, octets in before.items():
        if file.read_bytes() != octets:
            file.write_bytes(octets)


def verdict(config: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Let `node --check` judge; "well", or "told" if each line says where, why and what to do."""
    code = node.run([str(config), "--check"])
    said = capsys.readouterr()
    if code == 0:
        assert said.out.endswith(" is well\n")
        return "well"
    assert code == 1
    lines = said.err.splitlines()
    assert lines
    assert all(TOLD.match(line) for line in lines), said.err
    return "told"


def tried(tally: Tally, kind: str, read: Callable[[], T]) -> T | None:
    """Read it, or be told why not and what to do; None then."""
    try:
        found = read()
    except (BadFile, ConfigError, LabError) as why:
        said = str(why)
    else:
        tally.note(DOOR, kind, "well")
        return found
    assert "Remedy: " in said or "; make the lab anew" in said or "ports" in said, said
    tally.note(DOOR, kind, "told")
    return None


def damage(octets: bytes, seed: int, n: int = DAMAGED) -> Iterator[bytes]:
    dice = random.Random(seed)
    return (damaged(octets, dice) for _ in range(n))


def test_configurations(lab_home: Path, tally: Tally, capsys: pytest.CaptureFixture[str]) -> None:
    file = lab_home / "kms-1/node.toml"
    whole = file.read_bytes()
    mutants = {
        "configuration: values": [text.encode() for text in spoilt_values(whole.decode())],
        "configuration: damage": list(damage(whole, SEED)),
    }

    for kind, rows in mutants.items():
        for octets in rows:
            file.write_bytes(octets)
            tally.note(DOOR, kind, verdict(file, capsys))
    file.write_bytes(whole)

    assert verdict(file, capsys) == "well"


@pytest.mark.parametrize(
    "name",
    [
        *("node.key", "curve.key", "front.seal.key", "signing.key", "tls.key", "tls.crt"),
        *("links/kms-2.key", "front.curve.key", "../ca/ca.crt", "../ca/signing.pub"),
    ],
)
def test_keys_and_certificates(
    lab_home: Path, tally: Tally, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    file, config = lab_home / "kms-1" / name, lab_home / "kms-1/node.toml"
    if not file.exists():
        (file,) = (lab_home / "kms-1").glob("*front*")
    whole = file.read_bytes()
    secret = whole.decode() if file.suffix == ".key" else ""

    for octets in [b"", b"\0", b"\xff" * 100, whole * 2, whole[::-1], *damage(whole, SEED + 1, 60)]:
        file.write_bytes(octets)
        code = node.run([str(config), "--check"])
        said = capsys.readouterr()
        tally.note(DOOR, "keys and certificates", "told" if code else "well")
        assert code in {0, 1}
        assert code == 0 or "Remedy: " in said.err
        for at in range(0, len(secret) - 12, 4):  # not a piece of a secret is repeated
            piece = secret[at : at + 12]
            assert "-----" in piece or "PRIVATE" in piece or piece not in said.err, said.err
    file.write_bytes(whole)


def test_directories(lab_home: Path, tally: Tally, capsys: pytest.CaptureFixture[str]) -> None:
    file, config = lab_home / "directory.json", lab_home / "kms-1/node.toml"
    beside = directory.signature_path(file)
    whole, signature = file.read_bytes(), beside.read_bytes()
    key = read_key(lab_home / "ca/signing.key")

    def judge(kind: str, octets: bytes, signed: bytes) -> str:
        file.write_bytes(octets)
        beside.write_bytes(signed)
        found = verdict(config, capsys)
        tally.note(DOOR, kind, found)
        return found

    for octets in damage(whole, SEED + 2):
        unchanged = octets == whole
        assert judge("directory: damage", octets, signature) == ("well" if unchanged else "told")
    for octets in damage(signature, SEED + 3, 100):
        if octets.strip() != signature.strip():
            assert judge("directory: signature", whole, octets) == "told"
    for octets in damage(whole, SEED + 4):
        judge("directory: damage, and signed", octets, directory.sign(octets, key))
    for text in (
        "{}",
        "[]",
        "null",
        '{"serial":1,"kms":null}',
        '{"serial":-1,"kms":[]}',
        "[" * 99_999,
    ):
        octets = text.encode()
        assert judge("directory: damage, and signed", octets, directory.sign(octets, key)) == "told"
    assert judge("directory: whole", whole, signature) == "well"


def test_directories_that_are_read_name_every_kms_well(home: Path, tally: Tally) -> None:
    file = home / "directory.json"
    whole = file.read_bytes()

    for octets in damage(whole, SEED + 5, 2_000):
        found = tried(tally, "directory: parsed", partial(directory.parse, file, octets))
        names = [kms.name for kms in found.kmss] if found else []
        assert len(set(names)) == len(names)
        assert all(check_public(kms.curve) for kms in (found.kmss if found else ()))


def test_topologies(tmp_path: Path, tally: Tally) -> None:
    file = tmp_path / "town.toml"
    good = []
    mutants = [text.encode() for text in spoilt_values(TOPOLOGY)]
    mutants += damage(TOPOLOGY.encode(), SEED + 6, 1_000)

    for octets in mutants:
        file.write_bytes(octets)
        if made := tried(tally, "topology", partial(topology.parse, str(file))):
            good.append(made)
    for shape in random.Random(SEED).sample(good, 25):
        folder = tmp_path / "lab"
        if tried(tally, "topology: lab made", partial(lab.init, folder, shape)):
            shutil.rmtree(folder)
        assert not folder.exists()


@pytest.mark.parametrize(
    "shape",
    [
        *("", "chain", "chain:", "chain:0", "chain:-1", "chain:9999", "chain:2:2", "ring:2"),
        *("Chain:2", "star:1", "mesh:65", "chain:\u0662", "/", "/dev/null", "\0", "x" * 5_000),
        "chain:2\n",
    ],
)
def test_shapes(shape: str, tally: Tally) -> None:
    with pytest.raises(ConfigError) as wrong:
        topology.parse(shape)

    tally.note(DOOR, "shapes", "told")
    assert all(each.remedy for each in wrong.value.problems)


def test_descriptions_of_labs(lab_home: Path, tally: Tally) -> None:
    file = lab_home / "lab.json"
    whole = file.read_bytes()

    for octets in [b"", b"null", b"[" * 99_999, *damage(whole, SEED + 7, 500)]:
        file.write_bytes(octets)
        tried(tally, "lab.json", partial(lab.read, lab_home))
    file.write_bytes(whole)


def test_the_commands_themselves_end_with_1_or_2_and_no_traceback(
    lab_home: Path, tmp_path: Path, tally: Tally
) -> None:
    dice = random.Random(SEED + 8)
    config, town = lab_home / "kms-2/node.toml", tmp_path / "town.toml"
    whole = config.read_bytes()
    texts = list(spoilt_values(whole.decode()))
    for text in dice.sample(texts, 4):
        config.write_text(text)
        town.write_bytes(damaged(TOPOLOGY.encode(), dice))
        folder = str(tmp_path / "lab")
        for args in (
            ("node", str(config), "--check"),
            ("store", "check", "kms-1", "--config", str(config)),
            ("lab", "init", folder, "--topology", str(town)),
        ):
            done = protokms(*args)
            tally.note(DOOR, f"commands: {args[0]}", f"exit {done.returncode}")
            assert done.returncode in {0, 1, 2}, done.stderr
            assert b"Traceback" not in done.stdout + done.stderr, done.stderr
            assert done.returncode == 0 or done.stderr, args
        shutil.rmtree(folder, ignore_errors=True)
    config.write_bytes(whole)
