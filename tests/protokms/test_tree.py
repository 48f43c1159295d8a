"""The supervisor tree of a node, as its configuration asks for it."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from actors.protocol.common import Refused
from actors.protocol.trees import Child
from protokms import config, directory, lab, topology
from protokms.tree import Tree

CORE_ONLY = ["peer_manager", "router", "sessions", "multicast"]


def never(name: str, why: str) -> None:
    raise AssertionError(f"{name}: {why}")


def tree_of(folder: Path, shape: topology.Topology, node: str) -> Tree:
    lab.init(folder, shape)
    made = config.load(folder / node / "node.toml")
    return Tree(made, "1", quarantine=never, end=never)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    return tree_of(tmp_path_factory.mktemp("plain"), topology.parse("chain:2"), "kms-1")


@pytest.fixture(scope="module")
def spread(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    shape = topology.spread(topology.parse("chain:2"))
    return tree_of(tmp_path_factory.mktemp("spread"), shape, "kms-1")


def names(child: Child) -> list[str]:
    children: Sequence[Child] = child.args[0]
    return [child.name for child in children]


def root(tree: Tree, process: str = "core") -> Child:
    files = tree.config.directory
    return tree.root(process, directory.read(files.file, files.ca), tuple)


def test_a_node_has_a_subtree_for_each_neighbour(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, topology.parse("chain:3"), "kms-2")

    made = root(tree)

    children = {child.name: child for child in made.args[0]}
    peers = ["peer/kms-1", "peer/kms-3"]
    assert names(made) == ["key_store/kms-2", *peers, *CORE_ONLY, "etsi014"]
    of_one = ["key_store/kms-3", "relay/kms-3", "quantum_link/kms-3"]
    assert names(children["peer/kms-3"]) == of_one


def test_a_distant_peer_has_a_store_and_a_virtual_link(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, topology.parse("chain:3"), "kms-1")

    made = tree.distant("kms-3")

    store, link = made.args[0]
    assert (made.name, store.name, link.name) == (
        "peer/kms-3",
        "key_store/kms-3",
        "virtual_link/kms-3",
    )
    assert store.args[0].virtual


def test_sessions_follow_the_configuration(tmp_path: Path) -> None:
    lab.init(tmp_path, topology.parse("chain:2"))
    file = tmp_path / "kms-1" / "node.toml"
    file.write_text(file.read_text() + "\n[relay]\non_demand = false\nmax_sessions_per_sae = 3\n")
    tree = Tree(config.load(file), "1", quarantine=never, end=never)

    (child,) = [child for child in root(tree).args[0] if child.name == "sessions"]

    options = child.args[0]
    assert (options.on_demand, options.max_sessions_per_sae) == (False, 3)
    assert options.subtree("kms-2").name == "peer/kms-2"


def test_a_node_without_a_link_to_a_peer_has_no_store_for_it(tmp_path: Path) -> None:
    tree = tree_of(tmp_path, topology.parse("chain:3"), "kms-1")

    assert "peer/kms-3" not in names(root(tree))


def test_placed_actors_are_in_their_process_and_nowhere_else(spread: Tree) -> None:
    core, front, links = (root(spread, process) for process in ("core", "front", "links"))

    children = {child.name: child for child in core.args[0]}
    assert names(core) == ["key_store/kms-1", "peer/kms-2", *CORE_ONLY]
    assert names(children["peer/kms-2"]) == ["key_store/kms-2", "relay/kms-2"]
    assert (front.name, names(front)) == ("supervisor/front", ["etsi014"])
    assert (links.name, names(links)) == ("supervisor/links", ["quantum_link/kms-2"])
    assert sorted(spread.outside("core")) == ["etsi014", "quantum_link/kms-2"]


@pytest.mark.parametrize(
    ("actor", "process"),
    [
        ("etsi014", "front"),
        ("etsi014/http", "front"),
        ("quantum_link/kms-2", "links"),
        ("key_store/kms-2", "core"),
        ("supervisor", "core"),
        ("supervisor/front", "front"),
    ],
)
def test_an_address_leads_to_the_process_of_its_actor(
    spread: Tree, actor: str, process: str
) -> None:
    assert spread.placed(actor) == process


def test_a_link_can_be_made_from_options_at_run_time(plain: Tree) -> None:
    options = {
        "role": "sender",
        "bind": "127.0.0.1:20001",
        "remote": "127.0.0.1:20002",
        "secret": "links/kms-2.key",
    }

    child = plain.link("kms-2", json.dumps(options))

    assert child.name == "quantum_link/kms-2"


@pytest.mark.parametrize(
    "options", ["", "[]", "{", "7", '{"role": "sender"}', '{"peer": "kms-3"}', '{"x": 1}', "\x00"]
)
def test_options_that_make_no_link_are_refused(plain: Tree, options: str) -> None:
    with pytest.raises(Refused) as no:
        plain.link("kms-2", options)

    assert no.value.code == "malformed"


@pytest.mark.parametrize(("front_s", "store_s"), [(5.0, 3.0), (1.0, 0.6), (60.0, 3.0)])
def test_a_store_gives_up_before_the_front_end_does(
    tmp_path: Path, front_s: float, store_s: float
) -> None:
    lab.init(tmp_path / "lab", topology.parse("chain:2"))
    file = tmp_path / "lab/kms-1/node.toml"
    limit = f"[etsi014]\nrequest_timeout_s = {front_s}\n"
    file.write_text(file.read_text().replace("[etsi014]\n", limit))

    tree = Tree(config.load(file), "1", quarantine=never, end=never)
    options = tree._options("kms-2")

    assert options.request_timeout_s == pytest.approx(store_s)
