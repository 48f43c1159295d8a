"""The signed directory: nothing in it counts before its signature does."""

import base64
import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protokms.config import directory
from protokms.config.keyfiles import BadFile, read_key
from protokms.lab import lab, topology

Row = dict[str, Any]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labs") / "lab"
    lab.init(folder, topology.parse("chain:2"))
    return folder


def signed(home: Path, folder: Path, octets: bytes) -> Path:
    file = folder / "directory.json"
    file.write_bytes(octets)
    signature = directory.sign(octets, read_key(home / "ca/signing.key"))
    directory.signature_path(file).write_bytes(signature)
    return file


def rows(home: Path) -> Row:
    made: Row = json.loads((home / "directory.json").read_bytes())
    return made


def test_what_the_ca_signed_is_read(home: Path) -> None:
    made = directory.read(home / "directory.json", home / "ca/signing.pub")

    assert [(kms.name, kms.saes) for kms in made.kmss] == [
        ("kms-1", ("sae-1",)),
        ("kms-2", ("sae-2",)),
    ]
    assert made.serial == 1
    assert made == directory.parse(Path("again"), directory.octets_of(made))


def test_one_changed_octet_is_noticed(home: Path, tmp_path: Path) -> None:
    octets = (home / "directory.json").read_bytes()
    file = signed(home, tmp_path, octets)
    file.write_bytes(octets.replace(b"sae-1", b"sae-9"))

    with pytest.raises(BadFile, match="does not verify"):
        directory.read(file, home / "ca/signing.pub")


def test_another_ca_is_not_believed(home: Path) -> None:
    other = base64.b64encode(bytes(31) + b"\1")
    key = home / "other.pub"
    key.write_bytes(other)

    with pytest.raises(BadFile, match="does not verify"):
        directory.read(home / "directory.json", key)


@pytest.mark.parametrize("signature", [b"", b"not base64!", base64.b64encode(bytes(63))])
def test_a_signature_that_is_none_is_told(home: Path, tmp_path: Path, signature: bytes) -> None:
    file = signed(home, tmp_path, (home / "directory.json").read_bytes())
    directory.signature_path(file).write_bytes(signature)

    with pytest.raises(BadFile, match="base64 of 64 octets"):
        directory.read(file, home / "ca/signing.pub")


def test_without_a_signature_nothing_is_read(home: Path, tmp_path: Path) -> None:
    file = signed(home, tmp_path, (home / "directory.json").read_bytes())
    directory.signature_path(file).unlink()

    with pytest.raises(BadFile, match="does not exist"):
        directory.read(file, home / "ca/signing.pub")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"name": "KMS 1"}, "no name of a KMS"),
        ({"name": "kms-2"}, "KMS name"),
        ({"address": "127.0.0.1:1"}, "address"),
        ({"curve": "short"}, "CURVE"),
        ({"signing": "short"}, "signing key"),
        ({"saes": ["sae-2"]}, "SAE"),
        ({"saes": ["sae-7", "sae-7"]}, "SAE"),
        ({"saes": [""]}, "a text that does not fit here - at .*saes"),
        ({"id": "a\nb"}, "a text that does not fit here - at .*id"),
        ({"saes": ["ä" * 257]}, "has 514 octets, more than 512"),
        ({"id": "ä" * 257}, "has 514 octets, more than 512"),
        ({"saes": "sae-1"}, "array"),
        ({"more": 1}, "unknown field"),
    ],
)
def test_what_contradicts_itself_is_refused_even_when_signed(
    home: Path, tmp_path: Path, change: Row, why: str
) -> None:
    table = rows(home)
    table["kms"][0] |= change
    file = signed(home, tmp_path, json.dumps(table).encode())

    with pytest.raises(BadFile, match=why):
        directory.read(file, home / "ca/signing.pub")


@pytest.mark.parametrize("field", ["id", "curve", "address"])
def test_two_kmss_do_not_share_what_is_theirs_alone(home: Path, tmp_path: Path, field: str) -> None:
    table = rows(home)
    table["kms"][0][field] = table["kms"][1][field]
    file = signed(home, tmp_path, json.dumps(table).encode())

    with pytest.raises(BadFile, match="there twice"):
        directory.read(file, home / "ca/signing.pub")


@pytest.mark.parametrize(
    ("limit", "there", "why"),
    [
        ("SAES_MAX", {"saes": ["sae-1", "sae-7"]}, "names 3 SAEs, and at most 2 are taken"),
        ("KMSS_MAX", {}, "names 2 KMSs, and at most 1 are taken"),
    ],
)
def test_one_past_a_limit_is_refused_with_the_number(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, there: Row, why: str
) -> None:
    table = rows(home)
    table["kms"][0] |= there
    file = signed(home, tmp_path, json.dumps(table).encode())
    directory.read(file, home / "ca/signing.pub")
    monkeypatch.setattr(directory, limit, 2 if there else 1)

    with pytest.raises(BadFile, match=why):
        directory.read(file, home / "ca/signing.pub")


def test_a_directory_with_a_million_saes_is_smaller_than_the_file_may_be(home: Path) -> None:
    made = directory.read(home / "directory.json", home / "ca/signing.pub")
    saes = tuple(f"{number:020}" for number in range(1_000))
    more = replace(made, kmss=(replace(made.kmss[0], saes=saes), *made.kmss[1:]))

    grows_by = len(directory.octets_of(more)) - len(directory.octets_of(made))

    assert 1_000 * grows_by < directory.FILE_OCTETS_MAX
    assert directory.SAES_MAX > 1_000_000


@pytest.mark.parametrize("octets", [b"", b"[]", b"{}", b"\xff", b"[" * 100_000])
def test_what_is_no_directory_is_refused_even_when_signed(
    home: Path, tmp_path: Path, octets: bytes
) -> None:
    file = signed(home, tmp_path, octets)

    with pytest.raises(BadFile, match="is no directory"):
        directory.read(file, home / "ca/signing.pub")


@settings(max_examples=60)
@given(at=st.integers(0, 1200), noise=st.binary(max_size=6))
def test_no_noise_ends_in_another_error(home: Path, at: int, noise: bytes) -> None:
    octets = (home / "directory.json").read_bytes()
    changed = octets[:at] + noise + octets[at + len(noise) :]

    with suppress(BadFile):
        directory.parse(Path("noise"), changed)
