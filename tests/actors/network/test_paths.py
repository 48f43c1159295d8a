"""Cheapest and disjoint paths, compared with networkx on random graphs."""

import itertools
from collections.abc import Iterable

import networkx  # type: ignore[import-untyped]
from hypothesis import given
from hypothesis import strategies as st

from actors.network.paths import Graph, Path, disjoint, path_to, shortest_path_tree

Links = dict[tuple[int, int], int]
START = "0"


@st.composite
def networks(draw: st.DrawFn) -> tuple[int, Links]:
    """So many nodes, and what links between them cost."""
    nodes = draw(st.integers(2, 10))
    pairs = list(itertools.combinations(range(nodes), 2))
    chosen = draw(st.lists(st.sampled_from(pairs), unique=True, max_size=24))
    costs = draw(st.lists(st.integers(1, 9), min_size=len(chosen), max_size=len(chosen)))
    return nodes, dict(zip(chosen, costs, strict=True))


def graph_of(links: Links) -> Graph:
    around: dict[str, list[tuple[str, float]]] = {}
    for (one, other), cost in links.items():
        around.setdefault(str(one), []).append((str(other), float(cost)))
        around.setdefault(str(other), []).append((str(one), float(cost)))
    return lambda node: around.get(node, [])


def cost_of(links: Links, paths: Iterable[Path]) -> int:
    hops = [hop for path in paths for hop in itertools.pairwise(path)]
    ends = [sorted((int(one), int(other))) for one, other in hops]
    return sum(links[one, other] for one, other in ends)


def least(nodes: int, links: Links, n: int) -> tuple[int, int]:
    """How many disjoint paths there are, up to n, and what they cost at least."""
    flow = networkx.DiGraph()
    for node in range(nodes):
        flow.add_edge((node, "in"), (node, "out"), capacity=1, weight=0)
    for (one, other), cost in links.items():
        flow.add_edge((one, "out"), (other, "in"), capacity=1, weight=cost)
        flow.add_edge((other, "out"), (one, "in"), capacity=1, weight=cost)
    flow.add_edge("from", (0, "out"), capacity=n, weight=0)
    flow.add_edge((nodes - 1, "in"), "to", capacity=n, weight=0)
    found = networkx.max_flow_min_cost(flow, "from", "to")
    return sum(found["from"].values()), networkx.cost_of_flow(flow, found)


@given(networks(), st.integers(1, 4))
def test_disjoint_paths_are_as_many_and_as_cheap_as_can_be(
    network: tuple[int, Links], n: int
) -> None:
    nodes, links = network

    paths = disjoint(graph_of(links), START, str(nodes - 1), n)

    assert (len(paths), cost_of(links, paths)) == least(nodes, links, n)


@given(networks(), st.integers(1, 4))
def test_paths_have_no_loop_and_share_no_node_but_their_ends(
    network: tuple[int, Links], n: int
) -> None:
    nodes, links = network

    paths = disjoint(graph_of(links), START, str(nodes - 1), n)

    assert all((path[0], path[-1]) == (START, str(nodes - 1)) for path in paths)
    between = [node for path in paths for node in path[1:-1]]
    assert len(set(between)) == len(between)
    assert all(len(set(path)) == len(path) for path in paths)


@given(networks())
def test_the_cheapest_path_costs_what_networkx_says(network: tuple[int, Links]) -> None:
    nodes, links = network
    plain = networkx.Graph()
    plain.add_nodes_from(range(nodes))
    plain.add_weighted_edges_from((*ends, cost) for ends, cost in links.items())
    lengths = networkx.single_source_dijkstra_path_length(plain, 0)

    costs, before = shortest_path_tree(graph_of(links), START)

    assert costs == {str(node): cost for node, cost in lengths.items()}
    for node, cost in costs.items():
        path = path_to(before, START, node)
        assert path
        assert cost_of(links, [path]) == cost


def test_the_best_of_several_comes_first() -> None:
    links = {(0, 3): 5, (0, 1): 1, (1, 3): 1, (0, 2): 1, (2, 3): 2}

    paths = disjoint(graph_of(links), "0", "3", 3)

    assert paths == [("0", "1", "3"), ("0", "2", "3"), ("0", "3")]


def test_a_later_path_may_push_an_earlier_one_aside() -> None:
    links = {(0, 1): 1, (1, 2): 1, (2, 5): 1, (0, 3): 2, (3, 2): 2, (1, 4): 2, (4, 5): 2}

    one, two = disjoint(graph_of(links), "0", "5", 2)

    assert {one, two} == {("0", "1", "4", "5"), ("0", "3", "2", "5")}
