"""Changes of a lab whose nodes do not run: files alone, and everything that is refused."""

from pathlib import Path

import pytest

from protokms.config import directory
from protokms.config.load import load
from protokms.enrol import pki
from protokms.lab import change, lab, topology
from protokms.lab.lab import LabError
from transport.explained import Explained


@pytest.fixture
def made(tmp_path: Path) -> Path:
    lab.init(tmp_path / "lab", topology.parse("chain:2"))
    return tmp_path / "lab"


def known(folder: Path) -> dict[str, tuple[str, ...]]:
    found = directory.read(folder / "directory.json", folder / "ca/signing.pub")
    return {kms.name: kms.saes for kms in found.kmss}


def serial(folder: Path) -> int:
    return directory.read(folder / "directory.json", folder / "ca/signing.pub").serial


def test_an_sae_is_added_to_files_alone_when_no_node_runs(made: Path) -> None:
    told = change.add_sae(made, "sae-9", "kms-2")

    assert (told.reloaded, told.away) == ([], ["kms-1", "kms-2"])
    assert known(made)["kms-2"] == ("sae-2", "sae-9")
    assert serial(made) == 2
    assert all(path.is_file() for path in lab.access(made, "sae-9")[1:])


@pytest.mark.parametrize(
    ("sae", "node", "why"),
    [
        ("sae-1", "kms-2", "there is an SAE sae-1"),
        ("sae-9", "kms-9", "there is no node kms-9"),
        ("a\nb", "kms-2", "cannot be printed"),
        ("x" * 65, "kms-2", "longer than the CN"),
    ],
)
def test_an_sae_that_cannot_be_added_changes_nothing(
    made: Path, sae: str, node: str, why: str
) -> None:
    before = sorted(made.rglob("*")), (made / "lab.json").read_bytes()

    with pytest.raises(LabError, match=why):
        change.add_sae(made, sae, node)
    assert (sorted(made.rglob("*")), (made / "lab.json").read_bytes()) == before
    assert serial(made) == 1


def test_a_revoked_sae_is_renewed_with_another_key_and_not_added_again(made: Path) -> None:
    key = made / "saes/sae-1.key"
    secret = key.read_bytes()
    change.revoke(made, "sae-1")
    for node in ("kms-1", "kms-2"):
        options = load(made / node / "node.toml").etsi014
        assert options
        assert options.crl
        assert pki.is_revoked(options.crl, pki.read_certificate(made / "saes/sae-1.crt"))

    with pytest.raises(LabError, match=r"revoked.*protokms lab renew"):
        change.add_sae(made, "sae-1", "kms-1")
    change.renew(made)
    assert key.read_bytes() == secret, "not let in again, unless it is named"
    change.renew(made, "sae-1")
    assert key.read_bytes() != secret
    assert not pki.is_revoked(made / "ca/ca.crl", pki.read_certificate(made / "saes/sae-1.crt"))


def test_a_second_revocation_keeps_the_first(made: Path) -> None:
    change.revoke(made, "sae-1")
    change.revoke(made, "sae-2")

    for sae in ("sae-1", "sae-2"):
        assert pki.is_revoked(made / "ca/ca.crl", pki.read_certificate(made / f"saes/{sae}.crt"))
    assert (made / "kms-1/node.toml").read_text().count("\ncrl = ") == 1


def test_an_sae_that_is_removed_leaves_nothing_but_its_number_on_the_list(made: Path) -> None:
    old = pki.read_certificate(made / "saes/sae-2.crt")
    change.remove_sae(made, "sae-2")
    assert known(made)["kms-2"] == ()
    assert not (made / "saes/sae-2.key").exists()

    change.add_sae(made, "sae-2", "kms-2")
    assert pki.is_revoked(made / "ca/ca.crl", old)
    assert not pki.is_revoked(made / "ca/ca.crl", pki.read_certificate(made / "saes/sae-2.crt"))


def test_who_is_not_there_is_neither_renewed_nor_revoked(made: Path) -> None:
    for ask in (change.renew, change.revoke):
        with pytest.raises(LabError, match="there is no sae-9 here; there are kms-1"):
            ask(made, "sae-9")
    with pytest.raises(LabError, match="is a node"):
        change.revoke(made, "kms-1")


def test_a_ca_whose_keys_are_kept_elsewhere_is_told(made: Path) -> None:
    (made / "ca/signing.key").unlink()
    with pytest.raises(Explained, match="where the signing key of the CA is kept"):
        change.add_sae(made, "sae-9", "kms-1")
    assert not (made / "saes/sae-9.crt").exists()

    (made / "ca/ca.key").unlink()
    for name in ("sae-1", ""):
        with pytest.raises(Explained, match="where the key of the CA is kept"):
            change.renew(made, name)


def test_a_node_is_added_with_links_and_saes(made: Path) -> None:
    told = change.add_node(made, "kms-3", ["kms-1", "kms-2"], ["sae-3"])

    assert told.restart == [], "nobody runs"
    configs = {node: load(made / node / "node.toml") for node in ("kms-1", "kms-2", "kms-3")}
    assert [sorted(made.neighbours) for made in configs.values()] == [
        ["kms-2", "kms-3"],
        ["kms-1", "kms-3"],
        ["kms-1", "kms-2"],
    ]
    assert known(made)["kms-3"] == ("sae-3",)
    assert lab.read(made).node("kms-1").interfaces == {"kms-2": 1, "kms-3": 2}
    ends = [place.end.port for one in configs.values() for place in lab.places_of(one)]
    assert len(ends) == len(set(ends))


@pytest.mark.parametrize(
    ("name", "peers", "why"),
    [
        ("kms-1", [], "take another name"),
        ("ca", [], "take another name"),
        ("kms-3", ["kms-9"], "there is no node kms-9"),
    ],
)
def test_a_node_that_cannot_be_added_changes_nothing(
    made: Path, name: str, peers: list[str], why: str
) -> None:
    before = sorted(made.rglob("*"))

    with pytest.raises(LabError, match=why):
        change.add_node(made, name, peers, ["sae-3"])
    assert (sorted(made.rglob("*")), serial(made)) == (before, 1)


def test_a_link_is_added_once(tmp_path: Path) -> None:
    folder = tmp_path / "lab"
    lab.init(folder, topology.parse("chain:3"))
    change.add_link(folder, "kms-1", "kms-3")

    made = load(folder / "kms-3/node.toml")
    assert sorted(made.neighbours) == ["kms-1", "kms-2"]
    with pytest.raises(LabError, match="have a link"):
        change.add_link(folder, "kms-3", "kms-1")
