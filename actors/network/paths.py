"""Cheapest paths, and sets of node-disjoint ones of least total cost; plain graphs, no actor.

A graph is a function from a node to its neighbours and the costs to get there, above zero. The
same graph gives the same paths: ties go by name.
"""

import heapq
import itertools
from collections.abc import Callable, Iterable
from typing import TypeVar

Path = tuple[str, ...]
Graph = Callable[[str], Iterable[tuple[str, float]]]

_IN, _OUT = 0, 1
_Half = tuple[str, int]
"""A node in two halves, so that no two paths go through it: in at the one, out at the other."""

N = TypeVar("N", str, _Half)


def shortest_path_tree(
    arcs: Callable[[N], Iterable[tuple[N, float]]], start: N, end: N | None = None
) -> tuple[dict[N, float], dict[N, N]]:
    """Return the cost of each node from `start`, and the node before it (Dijkstra).

    With `end` it stops as soon as that is reached. No arc costs less than nothing.
    """
    costs, before = {start: 0.0}, dict[N, N]()
    done: set[N] = set()
    queue = [(0.0, start)]
    while queue:
        cost, node = heapq.heappop(queue)
        if node in done:
            continue
        done.add(node)
        if node == end:
            break
        for peer, more in arcs(node):
            if peer not in done and cost + more < costs.get(peer, float("inf")):
                costs[peer], before[peer] = cost + more, node
                heapq.heappush(queue, (cost + more, peer))
    return costs, before


def path_to(before: dict[str, str], start: str, end: str) -> Path | None:
    """Read the path to `end` out of a tree."""
    if end != start and end not in before:
        return None
    path = [end]
    while path[-1] != start:
        path.append(before[path[-1]])
    return tuple(reversed(path))


def disjoint(graph: Graph, start: str, end: str, n: int) -> list[Path]:
    """Return up to `n` paths that share no node but their ends, cheapest in sum; best first.

    Suurballe's method: successive shortest paths in what the ones found leave over, each of
    which may push an earlier one aside. When there are fewer than `n`, all there are.
    """
    flow = _Flow(graph, start, end)
    while flow.found < n and flow.augment():
        pass
    return flow.paths()


class _Flow:
    """Paths as a flow of one unit through each node, and what is left to push through."""

    def __init__(self, graph: Graph, start: str, end: str) -> None:
        self._graph, self._start, self._end = graph, start, end
        self._after: dict[str, dict[str, float]] = {}
        self._before: dict[str, str] = {}  # of the nodes between the ends
        self._heights: dict[_Half, float] = {}  # they keep the costs of what is left above zero
        self.found = 0

    def augment(self) -> bool:
        """Push one unit more along the cheapest way; false if there is none."""
        first, goal = (self._start, _OUT), (self._end, _IN)
        costs, came = shortest_path_tree(self._reduced, first, goal)
        if goal not in came:
            return False
        for half, cost in costs.items():
            self._heights[half] = self._heights.get(half, 0.0) + min(cost - costs[goal], 0.0)
        way = [goal]
        while way[-1] != first:
            way.append(came[way[-1]])
        self._push(list(reversed(way)))
        self.found += 1
        return True

    def paths(self) -> list[Path]:
        """Read the paths out of the flow, the cheapest first."""
        made = []
        for second, cost in self._after.get(self._start, {}).items():
            path, total = [self._start, second], cost
            while path[-1] != self._end:
                ((node, more),) = self._after[path[-1]].items()
                path.append(node)
                total += more
            made.append((total, tuple(path)))
        return [path for _, path in sorted(made)]

    def _reduced(self, half: _Half) -> Iterable[tuple[_Half, float]]:
        """Yield arcs at costs that the heights keep from falling below zero (Johnson)."""
        height = self._heights.get(half, 0.0)
        for other, cost in self._arcs(*half):
            yield other, cost + height - self._heights.get(other, 0.0)

    def _arcs(self, node: str, side: int) -> Iterable[tuple[_Half, float]]:
        """What may still be pushed, and what may be taken back."""
        taken = self._before.get(node)
        if side == _IN and taken is None:
            yield (node, _OUT), 0.0
        elif side == _IN and taken is not None:
            yield (taken, _OUT), -self._after[taken][node]
        else:
            for peer, cost in self._graph(node):
                if peer != self._start and peer not in self._after.get(node, ()):
                    yield (peer, _IN), cost
            if taken is not None:
                yield (node, _IN), 0.0

    def _push(self, way: list[_Half]) -> None:
        for (node, side), (other, _) in itertools.pairwise(way):
            if node == other:
                continue
            if side == _OUT:
                cost = next(cost for peer, cost in self._graph(node) if peer == other)
                self._after.setdefault(node, {})[other] = cost
            else:
                del self._after[other][node]
        self._before = {
            peer: node for node, after in self._after.items() for peer in after if peer != self._end
        }
