"""`lab export` and `lab join`: to each node only its own, and nothing that is not as it was."""

import hashlib
import io
import json
import shutil
import stat
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from protokms.lab import bundle, lab, topology
from protokms.lab.lab import LabError
from tests.kit.checked import find_problems


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labs") / "lab"
    lab.init(folder, topology.spread(topology.parse("ring:3")))
    return folder


@pytest.fixture
def file(made: Path, tmp_path: Path) -> Path:
    return bundle.export(made, "kms-2", tmp_path / "kms-2.tar")


def rewritten(
    file: Path, change: Callable[[list[tarfile.TarInfo], dict[str, bytes]], object]
) -> None:
    """Pack a bundle again, with other members."""
    with tarfile.open(file) as tar:
        members = tar.getmembers()
        octets = {it.name: tar.extractfile(it).read() for it in members}  # type: ignore[union-attr]
    change(members, octets)
    with tarfile.open(file, "w") as tar:
        for it in members:
            it.size = len(octets.get(it.name, b"")) if it.isreg() else 0
            tar.addfile(it, io.BytesIO(octets.get(it.name, b"")))


def refused(file: Path, folder: Path, match: str, **more: object) -> None:
    """See that it is refused, and that nothing is left."""
    before = sorted(folder.parent.iterdir())
    with pytest.raises(LabError, match=match):
        bundle.join(file, folder, **more)  # type: ignore[arg-type]
    assert sorted(folder.parent.iterdir()) == before


def test_an_export_is_a_lab_of_one_node_that_works(made: Path, tmp_path: Path) -> None:
    file = bundle.export(made, "kms-2", tmp_path / "kms-2.tar")

    joined = bundle.join(file, tmp_path / "there")

    with tarfile.open(file) as tar:
        assert {member.mode for member in tar.getmembers()} == {0o600}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "there").stat().st_mode) == 0o700
    assert joined.start == f"protokms lab up {tmp_path / 'there'}"
    assert find_problems(tmp_path / "there/kms-2/node.toml") == []
    assert [node.name for node in lab.read(tmp_path / "there").nodes] == ["kms-2"]


def test_a_lab_may_be_named_from_where_one_stands(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(made.parent)

    file = bundle.export(Path(made.name), "kms-1", tmp_path / "kms-1.tar")

    monkeypatch.chdir(tmp_path)
    joined = bundle.join(Path(file.name), Path("there"))
    assert find_problems(joined.config) == []


def test_a_secret_may_have_any_name(made: Path, tmp_path: Path) -> None:
    shutil.copytree(made, tmp_path / "lab")
    config = tmp_path / "lab/kms-1/node.toml"
    (config.parent / "node.key").rename(config.parent / "node.secret")
    config.write_text(config.read_text().replace('"node.key"', '"node.secret"'))

    file = bundle.export(tmp_path / "lab", "kms-1", tmp_path / "kms-1.tar")
    joined = bundle.join(file, tmp_path / "there")

    assert stat.S_IMODE((joined.config.parent / "node.secret").stat().st_mode) == 0o600


def test_an_export_leaves_the_store_here_and_says_so(made: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(made, tmp_path / "copy"))
    lab.note_stores(folder, ["kms-2"])
    assert [node.has_store for node in lab.read(folder).nodes] == [False, True, False]

    bundle.join(bundle.export(folder, "kms-2", tmp_path / "kms-2.tar"), tmp_path / "there")

    assert [node.has_store for node in lab.read(tmp_path / "there").nodes] == [False]


def test_an_export_holds_nobody_elses_secrets(made: Path, tmp_path: Path) -> None:
    octets = bundle.export(made, "kms-2", tmp_path / "kms-2.tar").read_bytes()

    mine = {path.read_bytes() for path in (made / "kms-2").rglob("*.key")}
    others = {path: path.read_bytes().strip() for path in made.rglob("*.key")}
    leaked = [path for path, key in others.items() if key in octets and key + b"\n" not in mine]
    assert leaked == []
    assert all(key.strip() in octets for key in mine)


def test_an_export_brings_what_each_front_end_needs(tmp_path: Path) -> None:
    lab.init(tmp_path / "lab", topology.parse("chain:2"))
    home = tmp_path / "lab/kms-1"
    for suffix in ("crt", "key"):
        shutil.copy(home / f"tls.{suffix}", home / f"agent.{suffix}")
    agent = [
        "[etsi015]",
        'bind = "127.0.0.1:18002"',
        'certificate = "agent.crt"',
        'key = "agent.key"',
        'client_ca = "../ca/ca.crt"',
        'controller = [{ id = "controller-1" }]',
    ]
    file = home / "node.toml"
    file.write_text("\n".join([file.read_text(), *agent, ""]))

    bundle.join(
        bundle.export(tmp_path / "lab", "kms-1", tmp_path / "kms-1.tar"), tmp_path / "there"
    )

    assert find_problems(tmp_path / "there/kms-1/node.toml") == []


def test_an_export_overwrites_nothing_and_knows_its_nodes(made: Path, tmp_path: Path) -> None:
    (tmp_path / "taken.tar").touch()

    with pytest.raises(LabError, match="exists"):
        bundle.export(made, "kms-1", tmp_path / "taken.tar")
    with pytest.raises(LabError, match="no node kms-9"):
        bundle.export(made, "kms-9", tmp_path / "other.tar")
    assert not (tmp_path / "other.tar").exists()


def test_an_export_has_no_certificate_of_the_controller(tmp_path: Path) -> None:
    made = lab.init(tmp_path / "lab", topology.parse("chain:2"), bare=True)
    assert made.controller
    key = (tmp_path / "lab" / made.controller.key).read_bytes()

    file = bundle.export(tmp_path / "lab", "kms-1", tmp_path / "kms-1.tar")
    bundle.join(file, tmp_path / "there")

    assert key not in file.read_bytes()
    there = lab.read(tmp_path / "there")
    assert there.controller is None
    assert there.nodes[0].etsi015 == made.nodes[0].etsi015
    assert find_problems(tmp_path / "there/kms-1/node.toml") == []


@pytest.mark.parametrize(
    ("process", "start"),
    [("core", "protokms lab up {0}"), ("front", "protokms node {0}/kms-2/front.toml")],
)
def test_what_was_joined_says_how_it_starts(
    made: Path, tmp_path: Path, process: str, start: str
) -> None:
    file = bundle.export(made, "kms-2", tmp_path / "it.tar", process)
    there = tmp_path / "there"
    there.mkdir(mode=0o755)  # empty, so it is taken, and closed to others

    joined = bundle.join(file, there, node="kms-2")

    assert (joined.node, joined.process) == ("kms-2", process)
    assert joined.start == start.format(there)
    assert joined.config.is_file()
    assert stat.S_IMODE(there.stat().st_mode) == 0o700
    modes = {stat.S_IMODE(path.stat().st_mode) for path in there.rglob("*.key")}
    assert modes == {0o600}


@pytest.mark.parametrize(
    "name",
    ["../evil", "/evil", "kms-2/../../evil", "a//b", "./a", "a\nb", "x" * 256],
)
def test_a_path_that_leads_out_is_refused(file: Path, tmp_path: Path, name: str) -> None:
    rewritten(file, lambda members, _: members.append(tarfile.TarInfo(name)))

    refused(file, tmp_path / "there", "no path in it")


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
)
def test_what_is_no_plain_file_is_refused(file: Path, tmp_path: Path, kind: bytes) -> None:
    other = tarfile.TarInfo("kms-2/other")
    other.type, other.linkname = kind, "lab.json"
    rewritten(file, lambda members, _: members.append(other))

    refused(file, tmp_path / "there", "no plain file")


def test_a_file_that_is_there_twice_is_damage(file: Path, tmp_path: Path) -> None:
    rewritten(file, lambda members, _: members.append(members[-1]))

    refused(file, tmp_path / "there", "twice")


@pytest.mark.parametrize("octets", [b"", b"no tar at all", bytes(1024), b"\xff" * 4096])
def test_what_is_no_bundle_is_told(tmp_path: Path, octets: bytes) -> None:
    file = tmp_path / "it.tar"
    file.touch(0o600)
    file.write_bytes(octets)

    refused(file, tmp_path / "there", "damaged|no bundle")


def test_a_bundle_that_is_not_whole_is_damaged(file: Path, tmp_path: Path) -> None:
    whole = file.read_bytes()
    for length in range(0, len(whole) - 10_240, 1_531):  # the end of a tar file is padding
        file.write_bytes(whole[:length])
        refused(file, tmp_path / "there", "damaged|no bundle")


def test_a_flipped_bit_is_damage(file: Path, tmp_path: Path) -> None:
    whole = file.read_bytes()
    at = whole.index(b"[directory]")
    file.write_bytes(whole[:at] + b"[" + bytes([whole[at + 1] ^ 1]) + whole[at + 2 :])

    refused(file, tmp_path / "there", "not as it was exported")


def test_a_file_more_or_less_is_damage(file: Path, tmp_path: Path) -> None:
    whole = file.read_bytes()
    rewritten(file, lambda members, _: members.append(tarfile.TarInfo("kms-2/more")))
    refused(file, tmp_path / "there", "kms-2/more is not as it was exported")

    file.write_bytes(whole)
    rewritten(file, lambda members, _: members.pop())
    refused(file, tmp_path / "there", "not as it was exported")


def with_note(**other: object) -> Callable[[list[tarfile.TarInfo], dict[str, bytes]], None]:
    def change(_: list[tarfile.TarInfo], octets: dict[str, bytes]) -> None:
        octets[bundle.NOTE] = json.dumps(json.loads(octets[bundle.NOTE]) | other).encode()

    return change


def test_a_note_that_says_another_node_or_process_is_refused(file: Path, tmp_path: Path) -> None:
    whole = file.read_bytes()
    for other, said in (
        ({"node": "kms-1"}, "no node kms-1"),
        ({"process": "front"}, "a configuration of kms-2/core"),
        ({"config": "kms-2/front.toml"}, "a configuration of kms-2/front"),
        ({"config": "kms-2/none.toml"}, "not as it was exported"),
        ({"sha256": 3}, "damaged"),
        ({"folders": ["../there"]}, "damaged|not as it was exported"),
        ({"folders": ["/tmp/there"]}, "damaged|not as it was exported"),
        ({"folders": ["kms-2/node.toml"]}, "not as it was exported"),
        ({"folders": ["kms-2/node.toml/keys"]}, "is a file and a folder"),
    ):
        file.write_bytes(whole)
        rewritten(file, with_note(**other))
        refused(file, tmp_path / "there", said)


def test_a_bundle_for_another_node_is_refused(file: Path, tmp_path: Path) -> None:
    refused(file, tmp_path / "there", "is for kms-2, not kms-1", node="kms-1")


def test_a_bundle_of_another_ca_is_refused(made: Path, file: Path, tmp_path: Path) -> None:
    lab.init(tmp_path / "other", topology.parse("chain:2"))

    refused(file, tmp_path / "there", "of another CA", ca=tmp_path / "other/ca/signing.pub")
    bundle.join(file, tmp_path / "there", ca=made / "ca/signing.pub")


def test_a_directory_that_nobody_signed_is_refused(file: Path, tmp_path: Path) -> None:
    def change(_: list[tarfile.TarInfo], octets: dict[str, bytes]) -> None:
        octets["directory.json"] = octets["directory.json"].replace(b'"serial": 1', b'"serial": 2')
        note = json.loads(octets[bundle.NOTE])
        note["sha256"]["directory.json"] = hashlib.sha256(octets["directory.json"]).hexdigest()
        octets[bundle.NOTE] = json.dumps(note).encode()

    rewritten(file, change)

    refused(file, tmp_path / "there", "directory.json")


def test_others_may_not_read_a_bundle_and_nothing_is_overwritten(
    file: Path, tmp_path: Path
) -> None:
    file.chmod(0o644)
    refused(file, tmp_path / "there", "mode 0644")

    file.chmod(0o600)
    refused(file, tmp_path, "not empty")
    refused(tmp_path / "nothing.tar", tmp_path / "there", "cannot be read")
