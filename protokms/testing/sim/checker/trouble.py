"""Who had what trouble, and when: what a refusal may be excused with."""

import math
from collections.abc import Collection
from dataclasses import dataclass


@dataclass(slots=True)
class Trouble:
    """Something at a node, or between two nodes, from `start` to `end`."""

    kind: str
    where: frozenset[str]
    start: float
    end: float


class Troubles:
    """All of them; `down` is the trouble of a node that is dead."""

    def __init__(self) -> None:
        self._all: list[Trouble] = []
        self._down: dict[str, Trouble] = {}

    def add(self, kind: str, where: Collection[str], start: float, end: float) -> None:
        """Note one."""
        self._all.append(Trouble(kind, frozenset(where), start, end))

    def died(self, node: str, now: float) -> None:
        """A node is dead until it has `started`."""
        self._down[node] = Trouble("down", frozenset((node,)), now, math.inf)
        self._all.append(self._down[node])

    def started(self, node: str, now: float) -> None:
        """It lives."""
        if down := self._down.pop(node, None):
            down.end = now

    def any(
        self,
        kinds: Collection[str],
        nodes: Collection[str],
        start: float,
        end: float,
        grace: float = 0.0,
    ) -> bool:
        """Tell whether trouble of these kinds, within these nodes, fell between start and end.

        Trouble counts as over `grace` seconds after its end.
        """
        return any(
            it.start <= end and it.end + grace >= start
            for it in self._all
            if it.kind in kinds and it.where <= set(nodes)
        )

    def dead_for(self, node: str, now: float) -> float:
        """For how many seconds a node has been dead; 0 if it lives."""
        return now - self._down[node].start if node in self._down else 0.0

    def last(self, kinds: Collection[str], nodes: Collection[str]) -> float:
        """When the last trouble of these kinds at any of these nodes was over; -inf for never."""
        ends = (it.end for it in self._all if it.kind in kinds and it.where & set(nodes))
        return max(ends, default=-math.inf)
