"""The picture of the network: signed link-states, what links cost, and which paths to take.

No actor, no clock, no I/O: the router is its doorman. Stocks are octets, rates octets a second;
states tell both in steps, powers of two, so that a state need not be told anew for every octet.
"""

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

from actors.paths import Path, disjoint, path_to, tree
from actors.protocol.routes import Known, LinkLoad, LinkState
from actors.signing import SIGNATURE_OCTETS, state_text, verifies

AGE_S = 180.0
"""Seconds after which a state counts no more."""

HURRY_S = 0.2
"""Seconds within which nobody needs to hear of an origin twice."""

LINKS_MAX = 4096
STEP_MAX = 63
_SEQ_MAX = 1 << 63

ENOUGH_STOCK, ENOUGH_RATE = 17, 13
"""Steps: from 64 KiB in store a link is short of nothing, below that a rate of 4 KiB/s helps."""

_SHORT = 0.25  # what a step less than enough costs; a hop costs 1
_BETTER = 0.75  # of its cost, at most, must a new path have to be taken for one in use
_CLAIMS_KEPT = 4096
_TREES_KEPT = 4

Link = tuple[str, str]


class Claim(NamedTuple):
    """A state that its origin has signed, and its links by peer. Never changed: many share it."""

    state: LinkState
    loads: dict[str, LinkLoad]


class Verdict(Enum):
    """What becomes of a claim."""

    NEWS = "news"
    KNOWN = "known"
    STALE = "stale"
    STRANGER = "stranger"


@dataclass(frozen=True, slots=True)
class Avoid:
    """Nodes and links that a path must not use; the ends of the path may be among the nodes."""

    nodes: Collection[str] = ()
    links: Collection[Link] = ()


def step(amount: float) -> int:
    """Return the step of an amount: 0 for none, else the number of its binary digits."""
    return min(STEP_MAX, int(amount).bit_length()) if amount >= 1 else 0


def differs(old: Sequence[LinkLoad], new: Sequence[LinkLoad]) -> bool:
    """Tell whether the network should hear: a link came or went, or by two steps and more."""
    before = {load.peer: load for load in old}
    if before.keys() != {load.peer for load in new}:
        return True
    return any(
        _apart(before[load.peer].stock, load.stock) or _apart(before[load.peer].rate, load.rate)
        for load in new
    )


def _apart(one: int, other: int) -> bool:
    return abs(one - other) > 1 or (not one) is not (not other)


def link_cost(one: LinkLoad, other: LinkLoad) -> float:
    """Return what a hop costs, by what its ends say: 1, and more the fewer bits there are.

    The ends give each other bits, so the fuller stock counts; the rate is one for both, so
    nobody makes a link look better than its other end says. Next to a stock that is enough the
    rate does not matter: a store that is full takes nothing in.
    """
    stock, rate = max(one.stock, other.stock), min(one.rate, other.rate)
    if stock >= ENOUGH_STOCK:
        return 1.0
    return 1.0 + _SHORT * (ENOUGH_STOCK - stock + max(0, ENOUGH_RATE - rate))


def claim(state: LinkState, public: str) -> Claim | None:
    """Check form and signature; the same good state again costs nothing, in any node here."""
    try:
        return _claim(state, public)
    except ValueError:
        return None


@lru_cache(maxsize=_CLAIMS_KEPT)
def _claim(state: LinkState, public: str) -> Claim:
    loads = {load.peer: load for load in state.links}
    peers = list(loads)
    fit = (
        0 < state.seq < _SEQ_MAX
        and len(state.links) == len(loads) <= LINKS_MAX
        and peers == sorted(peers)
        and state.origin not in loads
        and all(0 <= load.stock <= STEP_MAX and 0 <= load.rate <= STEP_MAX for load in state.links)
        and len(state.signature) == SIGNATURE_OCTETS
        and verifies(public, state_text(state.origin, state.seq, state.links), state.signature)
    )
    if not fit:
        raise ValueError("not signed, or no state")  # what raises is not kept
    return Claim(state, loads)


@dataclass(slots=True)
class _Entry:
    claim: Claim
    at: float


@dataclass(slots=True)
class Picture:
    """The newest claim of each KMS of the directory, and the graph that they make together.

    A link is one only if both its ends claim it. `version` grows when the graph may have
    changed. The highest seq of each origin is remembered when its state has aged out, so that
    nobody brings an old one back.
    """

    names: frozenset[str]
    version: int = 0
    _entries: dict[str, _Entry] = field(default_factory=dict)
    _highest: dict[str, int] = field(default_factory=dict)
    _trees: dict[str, tuple[int, dict[str, float], dict[str, str]]] = field(default_factory=dict)

    def admit(self, names: Iterable[str]) -> None:
        """Hear these from now on, and nobody else."""
        self.names = frozenset(names)
        for origin in [origin for origin in self._highest if origin not in self.names]:
            self._highest.pop(origin)
            self._entries.pop(origin, None)
        self.version += 1

    # States

    def weigh(self, state: LinkState) -> Verdict:
        """Tell whether a state is news, before anything is spent on its signature."""
        if state.origin not in self.names:
            return Verdict.STRANGER
        highest = self._highest.get(state.origin, 0)
        if state.seq > highest:
            return Verdict.NEWS
        return Verdict.KNOWN if state.seq == highest else Verdict.STALE

    def hurries(self, origin: str, now: float) -> bool:
        """Tell whether the last state of an origin has only just come."""
        entry = self._entries.get(origin)
        return entry is not None and now - entry.at < HURRY_S

    def take(self, news: Claim, now: float) -> Verdict:
        """Take a claim in, if it is news."""
        verdict = self.weigh(news.state)
        if verdict is Verdict.NEWS:
            origin = news.state.origin
            before = self._entries.get(origin)
            self._entries[origin] = _Entry(news, now)
            self._highest[origin] = news.state.seq
            if before is None or before.claim.state.links != news.state.links:
                self.version += 1
        return verdict

    def age(self, now: float) -> list[str]:
        """Forget what is too old; return whose."""
        old = [origin for origin, entry in self._entries.items() if now - entry.at > AGE_S]
        for origin in old:
            del self._entries[origin]
        self.version += bool(old)
        return old

    def of(self, origin: str) -> LinkState | None:
        """Return the newest state of an origin."""
        entry = self._entries.get(origin)
        return entry.claim.state if entry else None

    def known(self) -> tuple[Known, ...]:
        """Say how far every origin is known."""
        states = (entry.claim.state for entry in self._entries.values())
        return tuple(sorted((Known(it.origin, it.seq) for it in states), key=lambda it: it.origin))

    def lacking(self, known: Iterable[Known]) -> list[LinkState]:
        """Return what somebody lacks who knows so much."""
        theirs = {each.origin: each.seq for each in known}
        states = [entry.claim.state for _, entry in sorted(self._entries.items())]
        return [state for state in states if state.seq > theirs.get(state.origin, 0)]

    def __len__(self) -> int:
        return len(self._entries)

    # Links

    def load(self, one: str, other: str) -> LinkLoad | None:
        """Return what `one` says of its link to `other`."""
        entry = self._entries.get(one)
        return entry.claim.loads.get(other) if entry else None

    def links(self, node: str) -> Iterator[tuple[str, float]]:
        """Yield the neighbours of a node, and what the hop costs."""
        entry = self._entries.get(node)
        for peer, here in entry.claim.loads.items() if entry else ():
            there = self.load(peer, node)
            if there:
                yield peer, link_cost(here, there)

    def cost(self, path: Path, avoid: Avoid | None = None) -> float | None:
        """Return what a path costs now; None if it is none, or uses what is to be avoided."""
        graph = self._without(avoid or Avoid(), path[0], path[-1])
        total = 0.0
        for one, other in itertools.pairwise(path):
            hop = next((cost for peer, cost in graph(one) if peer == other), None)
            if hop is None:
                return None
            total += hop
        return total

    # Paths

    def best(self, start: str, end: str) -> tuple[Path, float] | None:
        """Return the cheapest path and its cost."""
        version, costs, before = self._trees.get(start, (-1, {}, {}))
        if version != self.version:
            costs, before = tree(self.links, start)
            if start not in self._trees and len(self._trees) >= _TREES_KEPT:
                self._trees.clear()
            self._trees[start] = self.version, costs, before
        path = path_to(before, start, end)
        return (path, costs[end]) if path else None

    def find(
        self, start: str, end: str, n: int, avoid: Avoid | None = None, keep: Sequence[Path] = ()
    ) -> tuple[Path, ...]:
        """Return `n` node-disjoint paths, or as many as there are; those in use if they will do.

        Paths in use are left only when they are broken, or for clearly better ones.
        """
        avoid = avoid or Avoid()
        fresh = self._fresh(start, end, n, avoid)
        if len(keep) == n == len(fresh):
            old = [self.cost(path, avoid) for path in keep]
            new = [self.cost(path, avoid) or 0.0 for path in fresh]
            if None not in old and sum(new) > _BETTER * sum(cost or 0.0 for cost in old):
                return tuple(keep)
        return tuple(fresh)

    def _fresh(self, start: str, end: str, n: int, avoid: Avoid) -> list[Path]:
        if start == end or not {start, end} <= self.names:
            return []
        if n == 1 and not avoid.nodes and not avoid.links:
            found = self.best(start, end)
            return [found[0]] if found else []
        graph = self._without(avoid, start, end)
        if n == 1:
            path = path_to(tree(graph, start, end)[1], start, end)
            return [path] if path else []
        return disjoint(graph, start, end, n)

    def _without(
        self, avoid: Avoid, start: str, end: str
    ) -> Callable[[str], Iterable[tuple[str, float]]]:
        if not avoid.nodes and not avoid.links:
            return self.links
        out = set(avoid.nodes) - {start, end}
        cut = {*avoid.links, *((other, one) for one, other in avoid.links)}

        def graph(node: str) -> Iterable[tuple[str, float]]:
            return (
                (peer, cost)
                for peer, cost in self.links(node)
                if peer not in out and (node, peer) not in cut
            )

        return graph
