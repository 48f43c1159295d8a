"""Which actors the processes of a node run, as its configuration asks for it."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from actors.keystore.options import StoreOptions
from actors.protocol.trees import Child
from actors.sessions.options import SessionOptions
from protokms.config import directory
from protokms.config.load import load, load_process
from protokms.config.rules import MAY_LIVE_APART
from protokms.lab import lab, topology
from protokms.node.composition import Composition
from protokms.node.edge_placement import EdgePlacement
from protokms.node.placement import Placement

CORE_ONLY = ["peer_manager", "router", "sessions", "intent", "multicast", "alarms"]


def never(name: str, why: str) -> None:
    raise AssertionError(f"{name}: {why}")


def placement_of(folder: Path, shape: topology.Topology, node: str) -> Placement:
    lab.init(folder, shape)
    made = load(folder / node / "node.toml")
    return Placement(made, "1", quarantine=never, end=never)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Placement:
    return placement_of(tmp_path_factory.mktemp("plain"), topology.parse("chain:2"), "kms-1")


@pytest.fixture(scope="module")
def spread(tmp_path_factory: pytest.TempPathFactory) -> Placement:
    shape = topology.spread(topology.parse("chain:2"))
    return placement_of(tmp_path_factory.mktemp("spread"), shape, "kms-1")


def names(child: Child) -> list[str]:
    children: Sequence[Child] = child.args[0]
    return [child.name for child in children]


def composition(placement: Placement) -> Composition:
    files = placement.config.directory
    return placement.composition(directory.read(files.file, files.ca), tuple)


def root(placement: Placement) -> Child:
    files = placement.config.directory
    return placement.root(directory.read(files.file, files.ca), tuple)


def edge(placement: Placement, process: str) -> EdgePlacement:
    return EdgePlacement(load_process(placement.config.path, process), never)


def test_a_node_has_a_subtree_for_each_neighbour(tmp_path: Path) -> None:
    placement = placement_of(tmp_path, topology.parse("chain:3"), "kms-2")

    made = root(placement)

    children = {child.name: child for child in made.args[0]}
    peers = ["peer/kms-1", "peer/kms-3"]
    assert names(made) == ["key_store/kms-2", *peers, *CORE_ONLY, "etsi014"]
    of_one = ["key_store/kms-3", "relay/kms-3", "quantum_link/kms-3"]
    assert names(children["peer/kms-3"]) == of_one


def test_a_distant_peer_has_a_store_and_a_virtual_link(tmp_path: Path) -> None:
    placement = placement_of(tmp_path, topology.parse("chain:3"), "kms-1")

    made = composition(placement).distant("kms-3")

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
    placement = Placement(load(file), "1", quarantine=never, end=never)

    (child,) = [child for child in root(placement).args[0] if child.name == "sessions"]

    plan = child.args[0]
    assert (plan.options.on_demand, plan.options.max_sessions_per_sae) == (False, 3)
    assert plan.subtree("kms-2").name == "peer/kms-2"


def test_key_stores_and_sessions_get_the_tables_of_the_configuration(plain: Placement) -> None:
    made = composition(plain)

    (plan,) = made.distant("kms-2").args[0][0].args
    assert plan.options is made.store is plain.config.store
    assert made.relay is plain.config.relay
    assert plain.config.store == StoreOptions()
    assert plain.config.relay == SessionOptions()


def test_a_node_without_a_link_to_a_peer_has_no_store_for_it(tmp_path: Path) -> None:
    placement = placement_of(tmp_path, topology.parse("chain:3"), "kms-1")

    assert "peer/kms-3" not in names(root(placement))


def test_placed_actors_are_in_their_process_and_nowhere_else(spread: Placement) -> None:
    core, front, links = root(spread), edge(spread, "front").root(), edge(spread, "links").root()

    children = {child.name: child for child in core.args[0]}
    assert names(core) == ["key_store/kms-1", "peer/kms-2", *CORE_ONLY]
    assert names(children["peer/kms-2"]) == ["key_store/kms-2", "relay/kms-2"]
    assert (front.name, names(front)) == ("supervisor/front", ["etsi014"])
    assert (links.name, names(links)) == ("supervisor/links", ["quantum_link/kms-2"])
    assert sorted(spread.outside()) == ["etsi014", "quantum_link/kms-2"]


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
    spread: Placement, actor: str, process: str
) -> None:
    assert spread.placed(actor) == process


@pytest.fixture(scope="module")
def two_fronts(tmp_path_factory: pytest.TempPathFactory) -> Placement:
    shape = topology.spread(topology.parse("chain:2"), 2)
    return placement_of(tmp_path_factory.mktemp("fronts"), shape, "kms-1")


def test_each_of_several_front_ends_is_in_its_process(two_fronts: Placement) -> None:
    second = edge(two_fronts, "front-2")

    assert names(second.root()) == ["etsi014/2"]
    assert composition(two_fronts).audience == ("etsi014/1", "etsi014/2")
    for name in ("etsi014/2", "etsi014/2/http"):
        assert (two_fronts.placed(name), second.placed(name)) == ("front-2", "front-2")
    for name in ("etsi014/1", "etsi014/1/http", "etsi014", "etsi014/http", "etsi014/22"):
        assert "front-2" not in {two_fronts.placed(name), second.placed(name)}


def test_a_front_end_has_its_part_of_the_limits(two_fronts: Placement) -> None:
    (front,) = edge(two_fronts, "front-1").root().args[0]

    options = front.args[0]
    assert (options.max_connections, options.max_in_flight_per_sae) == (320, 80)
    assert options.max_keys_per_request == 128


@pytest.mark.parametrize(
    ("actor", "process"),
    [
        ("etsi014/http", "front"),
        ("supervisor/front", "front"),
        ("edge/front", "front"),
        ("edge/core", "core"),
        ("quantum_link/kms-2", "front"),  # whose it is not; nobody there has anything to tell it
        ("key_store/kms-2", "core"),
    ],
)
def test_an_edge_knows_what_is_its_own(spread: Placement, actor: str, process: str) -> None:
    assert edge(spread, "front").placed(actor) == process


@pytest.mark.parametrize(("front_s", "store_s"), [(5.0, 3.0), (1.0, 0.6), (60.0, 3.0)])
def test_a_store_gives_up_before_the_front_end_does(
    tmp_path: Path, front_s: float, store_s: float
) -> None:
    lab.init(tmp_path / "lab", topology.parse("chain:2"))
    file = tmp_path / "lab/kms-1/node.toml"
    limit = f"[etsi014]\nrequest_timeout_s = {front_s}\n"
    file.write_text(file.read_text().replace("[etsi014]\n", limit))

    placement = Placement(load(file), "1", quarantine=never, end=never)
    assert composition(placement).request_s == pytest.approx(store_s)


def test_what_may_live_apart_is_what_the_slow_suite_places(plain: Placement) -> None:
    top = root(plain).args[0]
    actors = [each.name for child in top for each in (child, *below(child))]

    can = {name.partition("/")[0] for name in actors if MAY_LIVE_APART.fullmatch(name)}

    (node, _) = topology.spread(topology.parse("chain:2")).nodes
    placed = {name.partition("/")[0] for process in node.processes for name in process.actors}
    assert can == placed


def below(child: Child) -> Sequence[Child]:
    return child.args[0] if child.name.startswith("peer/") else ()
