"""Interfaces in configurations: numbers, what leads to which peer, and every reason why not."""

import shutil
from pathlib import Path

import pytest

from actors.protocol.common import Refused
from protokms.config.interfaces import numbered
from protokms.config.load import load, load_any
from protokms.config.sections import EdgeConfig
from protokms.lab import lab, topology
from protokms.node.interfaces import FileInterfaces
from tests.kit.checked import find_problems


@pytest.fixture(scope="module")
def labs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bare")
    shape = topology.parse("star:3")
    lab.init(folder / "plain", shape)
    lab.init(folder / "bare", shape, bare=True)
    lab.init(folder / "apart", topology.spread(shape))
    lab.init(folder / "both", topology.spread(shape), bare=True)
    return folder


@pytest.fixture
def made(labs: Path, tmp_path: Path) -> Path:
    return shutil.copytree(labs, tmp_path / "labs")


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def of(file: Path) -> list[tuple[int, str, str]]:
    return [(it.number, it.process, it.peer) for it in numbered(load(file, files=False))]


@pytest.mark.parametrize(
    ("name", "process", "peers"),
    [
        ("plain", "core", ["kms-2", "kms-3"]),
        ("bare", "core", ["", ""]),
        ("apart", "links", ["kms-2", "kms-3"]),
        ("both", "links", ["", ""]),
    ],
)
def test_a_lab_has_an_interface_for_each_fibre(
    made: Path, name: str, process: str, peers: list[str]
) -> None:
    file = made / name / "kms-1/node.toml"

    assert find_problems(file) == []
    assert of(file) == [(n, process, peer) for n, peer in enumerate(peers, 1)]
    bare = not any(peers)
    fibres = sorted(it.name for it in (made / name / "kms-1/links").glob("*.toml"))
    assert fibres == (["kms-2.toml", "kms-3.toml"] if bare else [])
    assert load(file).neighbours == ([] if bare else ["kms-2", "kms-3"])


def test_core_says_of_no_other_process_which_kind_of_module_it_has(made: Path) -> None:
    own, apart = (numbered(load(made / name / "kms-1/node.toml")) for name in ("plain", "apart"))

    assert [it.module for it in own] == ["emulated", "emulated"]
    assert [it.module for it in apart] == ["", ""]


def test_links_without_a_number_get_the_free_ones_in_the_order_of_their_peers(made: Path) -> None:
    file = made / "plain/kms-1/node.toml"
    edit(file, "interface = 2", "interface = 1")
    edit(file, 'peer = "kms-2"\ninterface = 1', 'peer = "kms-2"')

    assert of(file) == [(1, "core", "kms-3"), (2, "core", "kms-2")]


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("id = 2", "id = 0", "interface[1].id"),
        ("id = 2", "id = 1", "interface[1].id"),
        ("id = 2", "id = 65536", "interface[1].id"),
        ("id = 2", 'id = "2"', "interface[1].id"),
        ("id = 2", "", "interface[1].id"),
        ("id = 2", "id = 2\nrole = 3", "interface[1].role"),
        ('id = 2\nmodule = "emulated"', 'id = 2\nmodule = "other"', "interface[1].module"),
        ('secrets = "links/"', 'secrets = "nowhere/"', "interface[0].secrets"),
        ('secrets = "links/"', 'secrets = "node.toml"', "interface[0].secrets"),
    ],
)
def test_an_interface_that_is_wrong_is_told(made: Path, old: str, new: str, key: str) -> None:
    file = made / "bare/kms-1/node.toml"
    edit(file, old, new)

    assert key in {problem.key for problem in find_problems(file)}


def test_every_reason_is_told_in_one_go(made: Path) -> None:
    home = made / "bare/kms-1"
    file, fibres = home / "node.toml", home / "links"
    edit(file, "id = 2", "id = 0")
    edit(fibres / "kms-2.toml", 'role = "sender"', 'role = "both"\nrnd = 3')
    edit(fibres / "kms-3.toml", 'remote = "127.0.0.1', 'remote = "192.0.2.1')
    (fibres / "kms-3.key").chmod(0o644)
    (fibres / "kms-1.toml").write_text("")
    (fibres / "NO NAME.toml").write_text("[[[")

    found = {(Path(it.file).name, it.key) for it in find_problems(file)}

    assert found >= {
        ("node.toml", "interface[1].id"),
        ("kms-2.toml", "role"),
        ("kms-2.toml", "rnd"),
        ("kms-3.toml", "remote"),
        ("kms-3.toml", "secret"),
        ("kms-1.toml", ""),
        ("NO NAME.toml", ""),
    }


def test_interfaces_and_links_share_numbers_and_addresses(made: Path) -> None:
    file = made / "bare/kms-1/node.toml"
    one = load(file).interfaces[0]
    rows = [
        "[[link]]",
        'peer = "kms-2"',
        'role = "sender"',
        f"interface = {one.id}",
        f'bind = "{one.bind}"',
        'remote = "127.0.0.1:9"',
        'secret = "links/kms-2.key"',
    ]
    file.write_text("\n".join([file.read_text(), *rows, ""]))

    found = {problem.key for problem in find_problems(file)}

    assert {"interface[0].id", "interface[0].bind"} <= found


def test_an_interface_beyond_loopback_has_to_say_so(made: Path) -> None:
    file = made / "bare/kms-1/node.toml"
    bind = str(load(file).interfaces[0].bind)
    edit(file, bind, bind.replace("127.0.0.1", "0.0.0.0"))

    (problem,) = find_problems(file)
    assert (problem.key, "in clear" in problem.reason) == ("interface[0].bind", True)
    edit(file, "id = 1\n", "id = 1\nallow_insecure_emulation = true\n")
    assert find_problems(file) == []


def test_an_interface_has_one_process(made: Path) -> None:
    file = made / "both/kms-1/node.toml"
    edit(file, '["etsi014"]', '["etsi014", "interface/1"]')

    assert "process[1].actors[0]" in {problem.key for problem in find_problems(file)}


def test_core_and_the_process_name_the_same_interfaces(made: Path) -> None:
    file = made / "both/kms-1/node.toml"
    edit(file, '"interface/2"', '"interface/7"')

    (problem,) = find_problems(file)
    assert (problem.key, "interface/2" in problem.reason) == ("process[1].actors", True)


def test_core_numbers_the_links_of_other_processes(made: Path) -> None:
    file = made / "apart/kms-1/links.toml"
    edit(file, 'peer = "kms-2"\n', 'peer = "kms-2"\ninterface = 5\n')

    (problem,) = find_problems(file)
    assert problem.key == "link[0].interface"


# What makes links of them


def test_a_link_is_made_of_an_interface_and_what_leads_to_the_peer(made: Path) -> None:
    config = load_any(made / "both/kms-1/links.toml")
    assert isinstance(config, EdgeConfig)
    found = FileInterfaces(config.links, config.interfaces, lambda _: "supervisor/links")

    child = found.link("kms-3", 1)

    assert (child.name, found.holder("kms-3")) == ("quantum_link/kms-3", "supervisor/links")


@pytest.mark.parametrize(
    ("peer", "interface", "code"),
    [
        ("kms-2", 3, "no_such_interface"),
        ("kms-9", 1, "unknown_peer"),
        ("../links/kms-3", 1, "unknown_peer"),
        ("kms-2", 1, "malformed"),
    ],
)
def test_a_link_that_no_file_allows_is_refused(
    made: Path, peer: str, interface: int, code: str
) -> None:
    config = load(made / "bare/kms-1/node.toml")
    (made / "bare/kms-1/links/kms-2.key").unlink()
    found = FileInterfaces(config.links, config.interfaces, lambda it: f"peer/{it}")

    with pytest.raises(Refused) as no:
        found.link(peer, interface)

    assert no.value.code == code
    assert str(no.value)


def test_an_export_takes_what_leads_to_peers_along(made: Path, tmp_path: Path) -> None:
    config = load(made / "bare/kms-1/node.toml")

    names = {file.name for file in lab.files_of(config)}

    assert {"kms-2.toml", "kms-2.key", "kms-3.toml", "kms-3.key"} <= names
