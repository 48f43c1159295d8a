"""`lab init` and `lab export`: all that a network needs, and to each node only its own."""

import json
import shutil
import stat
import uuid
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from etsi.http import identity
from protokms.config.load import load, load_process
from protokms.config.sections import Link
from protokms.lab import lab, topology
from protokms.lab import run as lab_run
from protokms.lab.lab import LabError
from protokms.node import ports
from tests.kit.checked import find_problems

DER = Encoding.DER


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labs") / "lab"
    lab.init(folder, topology.spread(topology.parse("ring:3")))
    return folder


def used(folder: Path) -> list[int]:
    found = []
    for node in lab.read(folder).nodes:
        made = load(folder / node.config)
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
        read = load(made / node.config)
        front = load_process(made / node.config, "front")

        assert front.etsi014
        assert node.etsi014 == f"https://{front.etsi014.bind}"
        assert node.metrics == f"http://{read.metrics.bind}"
        assert node.id == read.node.id


def test_every_link_has_a_sender_and_a_receiver_that_know_each_other(made: Path) -> None:
    one, two = (
        next(link for link in links_of(made, node) if link.peer == peer)
        for node, peer in (("kms-1", "kms-2"), ("kms-2", "kms-1"))
    )

    assert (one.role, two.role) == ("sender", "receiver")
    assert (one.bind, one.remote) == (two.remote, two.bind)
    assert one.secret
    assert two.secret
    assert one.secret.read_bytes() == two.secret.read_bytes()


def links_of(made: Path, node: str) -> list[Link]:
    return load_process(made / f"{node}/node.toml", "links").links


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


STRANGE = ("router:7/0", "two words", "../sae", "größe", "x" * 291)


def of_saes(folder: Path, *saes: str) -> topology.Topology:
    """Plan two nodes, of which the second is on a host with `_` and serves these SAEs."""
    file = folder / "saes.toml"
    host = 'host = "kms_2.example"\nbind = "127.0.0.1"'
    file.write_text(
        f'[[node]]\nname = "a"\nsaes = ["sae-1"]\n'
        f'[[node]]\nname = "b"\n{host}\nsaes = {json.dumps(saes)}\n'
        '[[link]]\na = "a"\nb = "b"\nallow_insecure_emulation = true\n'
    )
    return topology.parse(str(file))


def test_strange_ids_and_hosts_make_a_lab_and_lab_json_says_whose_files_are_whose(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "lab"
    made = lab.init(folder, of_saes(tmp_path, *STRANGE))

    assert [sae.id for sae in lab.read(folder).saes] == ["sae-1", *STRANGE]
    assert [find_problems(folder / node.config) for node in made.nodes] == [[], []]
    for sae in made.saes:
        assert (folder / sae.cert).parent == folder / "saes"
        der = x509.load_pem_x509_certificate((folder / sae.cert).read_bytes()).public_bytes(DER)
        assert identity.read(der, "san_uri").sae == sae.id
    assert made.saes[0].cert == "saes/sae-1.crt"
    assert len({sae.cert for sae in made.saes}) == 1 + len(STRANGE)
    for node in made.nodes:
        etsi = load(folder / node.config).etsi014
        assert etsi
        assert etsi.sae_id_from == "san_uri"


def test_ids_that_fit_a_cn_are_in_one(tmp_path: Path) -> None:
    folder, saes = tmp_path / "lab", (*STRANGE[:4], "x" * 64)
    made = lab.init(folder, of_saes(tmp_path, *saes))

    for sae in made.saes:
        der = x509.load_pem_x509_certificate((folder / sae.cert).read_bytes()).public_bytes(DER)
        assert identity.read(der, "cn").sae == sae.id
    etsi = load(folder / "b/node.toml").etsi014
    assert etsi
    assert etsi.sae_id_from == "cn"


def test_an_id_that_looks_like_the_files_of_another_has_files_of_its_own(tmp_path: Path) -> None:
    first = lab.init(tmp_path / "one", of_saes(tmp_path, "a/b"))
    name = Path(first.saes[1].cert).stem

    second = lab.init(tmp_path / "two", of_saes(tmp_path, "a/b", name))

    assert len({sae.cert for sae in second.saes}) == 3


@pytest.mark.parametrize("octets", [b"", b"{}", b"\xff", b"[" * 10_000])
def test_a_damaged_lab_is_told(tmp_path: Path, octets: bytes) -> None:
    (tmp_path / "lab.json").write_bytes(octets)

    with pytest.raises(LabError, match="damaged"):
        lab.read(tmp_path)


def test_a_folder_without_a_lab_is_told(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="holds no lab"):
        lab.read(tmp_path)


def test_what_is_noted_of_stores_is_kept(made: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(made, tmp_path / "copy"))

    lab.note_stores(folder, ["kms-1"])
    lab.note_stores(folder, [])

    before, after = lab.read(made), lab.read(folder)
    assert [node.has_store for node in after.nodes] == [True, False, False]
    assert (after.ca, after.saes) == (before.ca, before.saes)
    assert sorted(file.name for file in folder.glob("lab.json*")) == ["lab.json"]


@pytest.mark.parametrize(("bare", "spread"), [(True, False), (True, True), (False, True)])
def test_a_lab_with_a_controller_says_where_and_as_whom_it_connects(
    tmp_path: Path, bare: bool, spread: bool
) -> None:
    folder, shape = tmp_path / "lab", topology.parse("chain:3")
    shape = topology.spread(shape) if spread else shape
    made = lab.init(folder, shape, bare=bare, controller=not bare)

    assert made.controller
    assert made == lab.read(folder)
    der = x509.load_pem_x509_certificate((folder / made.controller.cert).read_bytes())
    assert identity.read(der.public_bytes(DER), "cn").sae == made.controller.id
    for node in made.nodes:
        assert find_problems(folder / node.config) == []
        config = load(folder / node.config)
        assert config.etsi015
        assert node.etsi015 == f"https://{config.etsi015.bind}"
        assert len(node.interfaces) == (2 if node.name == "kms-2" else 1)
        assert str(uuid.UUID(node.id)) == node.id == config.node.id
        (row,) = config.etsi015.controllers
        assert (row.id, row.write) == (made.controller.id, True)
    assert len(set(used(folder))) == len(used(folder))


def test_a_lab_without_a_controller_has_no_front_end_for_one(made: Path) -> None:
    said = lab.read(made)

    assert said.controller is None
    assert {node.etsi015 for node in said.nodes} == {None}
    assert not (made / "controllers").exists()


def test_the_front_end_of_controllers_may_live_in_a_process_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "one.toml"
    process = 'name = "front"\nactors = ["etsi014", "etsi015"]\n'
    file.write_text(f'[[node]]\nname = "a"\nsaes = ["controller-1"]\n[[node.process]]\n{process}')
    made = lab.init(tmp_path / "lab", topology.parse(str(file)))

    assert made.controller
    assert made.controller.id == "controller-2"
    edge = load_process(tmp_path / "lab/a/node.toml", "front")
    assert edge.etsi015
    assert made.nodes[0].etsi015 == f"https://{edge.etsi015.bind}"
    assert load(tmp_path / "lab/a/node.toml").etsi015 is None
    assert find_problems(tmp_path / "lab/a/node.toml") == []


def test_status_tells_of_links_that_came_at_run_time(tmp_path: Path) -> None:
    lab.init(tmp_path / "lab", topology.parse("chain:3"), bare=True)
    made = load(tmp_path / "lab/kms-2/node.toml")
    health: dict[str, object] = {"actors": {"quantum_link/kms-1": {}, "key_store/kms-3": {}}}

    assert lab_run._linked(health, made) == ["kms-1"]
    assert lab_run._linked({"actors": 3}, made) == lab_run._linked({}, made) == []
