"""`lab init` and `lab export`: all that a network needs, and to each node only its own."""

import json
import stat
import tarfile
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from protokms import config, lab, ports, topology
from protokms.lab import LabError


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labs") / "lab"
    lab.init(folder, topology.spread(topology.parse("ring:3")))
    return folder


def used(folder: Path) -> list[int]:
    found = []
    for node in lab.read(folder).nodes:
        made = config.load(folder / node.config)
        found += [end.port for end, _ in lab.endpoints_of(made)]
    return found


def test_lab_json_says_where_everything_is(made: Path) -> None:
    said = json.loads((made / "lab.json").read_text())

    assert [node["name"] for node in said["nodes"]] == ["kms-1", "kms-2", "kms-3"]
    assert [(sae["id"], sae["node"]) for sae in said["saes"]] == [
        ("sae-1", "kms-1"),
        ("sae-2", "kms-2"),
        ("sae-3", "kms-3"),
    ]
    assert all((made / sae[key]).is_file() for sae in said["saes"] for key in ("cert", "key"))
    assert all((made / node["config"]).is_file() for node in said["nodes"])
    assert (made / said["ca"]).is_file()
    assert {urlsplit(node["etsi014"]).scheme for node in said["nodes"]} == {"https"}
    assert {urlsplit(node["metrics"]).scheme for node in said["nodes"]} == {"http"}


def test_every_configuration_is_right_and_says_what_lab_json_says(made: Path) -> None:
    for node in lab.read(made).nodes:
        read = config.load(made / node.config)

        assert read.etsi014
        assert node.etsi014 == f"https://{read.etsi014.bind}"
        assert node.metrics == f"http://{read.metrics.bind}"
        assert node.id == read.node.id


def test_every_link_has_a_sender_and_a_receiver_that_know_each_other(made: Path) -> None:
    one = config.load(made / "kms-1/node.toml").links_to("kms-2")
    two = config.load(made / "kms-2/node.toml").links_to("kms-1")

    assert one
    assert two
    assert (one.role, two.role) == ("sender", "receiver")
    assert (one.bind, one.remote) == (two.remote, two.bind)
    assert one.secret.read_bytes() == two.secret.read_bytes()


def test_secrets_are_for_their_owner_alone(made: Path) -> None:
    modes = {stat.S_IMODE(path.stat().st_mode) for path in made.rglob("*.key")}

    assert modes == {0o600}


def test_no_two_secrets_are_the_same_but_those_of_a_link(made: Path) -> None:
    keys = [path.read_bytes() for path in made.rglob("*.key")]

    assert len(keys) - len(set(keys)) == len(topology.parse("ring:3").links)


def test_ports_differ_and_lie_outside_the_ephemeral_range(made: Path) -> None:
    low, high = ports.ephemeral()
    found = used(made)

    assert len(set(found)) == len(found)
    assert not [port for port in found if low <= port <= high]
    assert min(found) >= ports.FIRST


def test_two_labs_side_by_side_have_no_port_in_common(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = list(range(ports.FIRST, ports.FIRST + 500))
    monkeypatch.setattr(ports, "candidates", lambda _: begin)
    lab.init(tmp_path / "a", topology.parse("chain:3"))
    lab.init(tmp_path / "b", topology.parse("chain:3"))

    assert not set(used(tmp_path / "a")) & set(used(tmp_path / "b"))


def test_ports_may_be_chosen(tmp_path: Path) -> None:
    file = tmp_path / "two.toml"
    file.write_text('[[node]]\nname = "a"\nport = 31000\n')
    lab.init(tmp_path / "lab", topology.parse(str(file)))

    assert used(tmp_path / "lab") == [31000, 31002, 31001]


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "something").touch()

    with pytest.raises(LabError, match="not empty"):
        lab.init(tmp_path, topology.parse("chain:2"))

    assert [path.name for path in tmp_path.iterdir()] == ["something"]


def test_a_lab_that_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    file = tmp_path / "bad.toml"
    file.write_text('[[node]]\nname = "a"\n[[node.process]]\nname = "core"\nactors = ["etsi014"]\n')

    with pytest.raises(LabError, match="core"):
        lab.init(tmp_path / "lab", topology.parse(str(file)))

    assert not (tmp_path / "lab").exists()


def test_ports_past_the_last_one_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "two.toml"
    file.write_text('[[node]]\nname = "a"\nport = 65000\n')
    shape = topology.parse(str(file))
    high = topology.NodePlan(name="a", port=65_535)

    with pytest.raises(LabError, match="65535"):
        lab.init(tmp_path / "lab", topology.Topology(nodes=[high], links=shape.links))


@pytest.mark.parametrize("octets", [b"", b"{}", b"\xff", b"[" * 10_000])
def test_a_damaged_lab_is_told(tmp_path: Path, octets: bytes) -> None:
    (tmp_path / "lab.json").write_bytes(octets)

    with pytest.raises(LabError, match="damaged"):
        lab.read(tmp_path)


def test_a_folder_without_a_lab_is_told(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="holds no lab"):
        lab.read(tmp_path)


def test_an_export_is_a_lab_of_one_node_that_works(made: Path, tmp_path: Path) -> None:
    bundle = lab.export(made, "kms-2", tmp_path / "kms-2.tar")

    with tarfile.open(bundle) as tar:
        tar.extractall(tmp_path / "there", filter="data")
        modes = {member.mode for member in tar.getmembers()}
    assert modes == {0o600}
    assert stat.S_IMODE(bundle.stat().st_mode) == 0o600
    assert config.check(tmp_path / "there/kms-2/node.toml") == []
    assert [node.name for node in lab.read(tmp_path / "there").nodes] == ["kms-2"]


def test_an_export_holds_nobody_elses_secrets(made: Path, tmp_path: Path) -> None:
    bundle = lab.export(made, "kms-2", tmp_path / "kms-2.tar").read_bytes()

    mine = {path.read_bytes() for path in (made / "kms-2").rglob("*.key")}
    others = {path: path.read_bytes().strip() for path in made.rglob("*.key")}
    leaked = [path for path, key in others.items() if key in bundle and key + b"\n" not in mine]
    assert leaked == []
    assert all(key.strip() in bundle for key in mine)


def test_an_export_overwrites_nothing_and_knows_its_nodes(made: Path, tmp_path: Path) -> None:
    (tmp_path / "taken.tar").touch()

    with pytest.raises(LabError, match="exists"):
        lab.export(made, "kms-1", tmp_path / "taken.tar")
    with pytest.raises(LabError, match="no node kms-9"):
        lab.export(made, "kms-9", tmp_path / "other.tar")
    assert not (tmp_path / "other.tar").exists()
