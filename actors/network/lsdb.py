"""The link-state database: what each KMS says, signed, of its links; and paths over them.

No actor, no clock, no I/O: the router is its doorman. Stocks are octets, rates octets a second;
states tell both in steps, powers of two, so that a state need not be told anew for every octet.
"""

import itertools
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

from actors.crypto.signatures import SIGNATURE_OCTETS, state_text, verifies
from actors.network.paths import Path, disjoint, path_to, shortest_path_tree
from actors.protocol.routes import Known, LinkLoad, LinkState

AGE_S = 180.0
"""Seconds after which a state counts no more."""

MIN_ARRIVAL_S = 0.2
"""Seconds between two states of one origin, at least (MinLSArrival of OSPF)."""

LINKS_MAX = 4096
STEP_MAX = 63
SEQ_MAX = 1 << 63
JUMP_MAX = 1 << 32
"""A number grows by so much at most from one state to the next that is taken.

An honest node tells one state in a few seconds, so it does not count so far in 300 years, also if
nobody hears it meanwhile. Who has stolen a signing key would have to jump for more than ten years
until no number is left; one far jump would be enough otherwise, and mute the node for good.
"""

ENOUGH_STOCK, ENOUGH_RATE = 17, 13
"""Steps: from 64 KiB in store a link is short of nothing, below that a rate of 4 KiB/s helps."""

_SHORT = 0.25  # what a step less than enough costs; a hop costs 1
_BETTER = 0.75  # of its cost, at most, must a new path have to be taken for one in use
_VERIFIED_KEPT = 4096
_TREES_KEPT = 4

Link = tuple[str, str]


class VerifiedLsa(NamedTuple):
    """A state whose signature is good, and its links by peer. Never changed: many share it."""

    state: LinkState
    loads: dict[str, LinkLoad]


class Verdict(Enum):
    """What becomes of a state that is told."""

    NEWS = "news"
    KNOWN = "known"
    STALE = "stale"
    JUMP = "jump"
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


def verify_lsa(state: LinkState, public: str) -> VerifiedLsa | None:
    """Check form and signature; the same good state again costs nothing, in any node here."""
    try:
        return _verified(state, public)
    except ValueError:
        return None


@lru_cache(maxsize=_VERIFIED_KEPT)
def _verified(state: LinkState, public: str) -> VerifiedLsa:
    loads = {load.peer: load for load in state.links}
    peers = list(loads)
    fit = (
        0 < state.seq < SEQ_MAX
        and len(state.links) == len(loads) <= LINKS_MAX
        and peers == sorted(peers)
        and state.origin not in loads
        and all(0 <= load.stock <= STEP_MAX and 0 <= load.rate <= STEP_MAX for load in state.links)
        and len(state.signature) == SIGNATURE_OCTETS
        and verifies(public, state_text(state.origin, state.seq, state.links), state.signature)
    )
    if not fit:
        raise ValueError("not signed, or no state")  # what raises is not kept
    return VerifiedLsa(state, loads)


@dataclass(slots=True)
class _Entry:
    lsa: VerifiedLsa
    at: float


@dataclass(slots=True)
class LinkStateDatabase:
    """The newest state of each KMS of the directory, and the graph that they make together.

    A link is one only if both its ends say so. `version` grows when the graph may have
    changed. The highest seq of each origin is remembered when its state has aged out, so that
    nobody brings an old one back. One that no honest node could have reached is not: it would keep
    out the node that it was forged for (`JUMP_MAX`).
    """

    origins: frozenset[str]
    version: int = 0
    _entries: dict[str, _Entry] = field(default_factory=dict)
    _highest: dict[str, int] = field(default_factory=dict)
    _trees: dict[str, tuple[int, dict[str, float], dict[str, str]]] = field(default_factory=dict)

    def set_origins(self, origins: Iterable[str]) -> None:
        """Hear these from now on, and nobody else."""
        self.origins = frozenset(origins)
        self.forget(origin for origin in list(self._highest) if origin not in self.origins)
        self.version += 1

    def forget(self, origins: Iterable[str]) -> None:
        """Begin anew with those that sign with another key now: what the old key said is void."""
        for origin in origins:
            self._highest.pop(origin, None)
            self.version += self._entries.pop(origin, None) is not None

    # States

    def compare(self, state: LinkState) -> Verdict:
        """Tell whether a state is news, before anything is spent on its signature."""
        if state.origin not in self.origins:
            return Verdict.STRANGER
        highest = self._highest.get(state.origin, 0)
        if state.seq > highest:
            too_far = highest and state.seq - highest > JUMP_MAX
            return Verdict.JUMP if too_far else Verdict.NEWS
        return Verdict.KNOWN if state.seq == highest else Verdict.STALE

    def arrives_too_soon(self, origin: str, now: float) -> bool:
        """Tell whether the last state of an origin has only just come."""
        entry = self._entries.get(origin)
        return entry is not None and now - entry.at < MIN_ARRIVAL_S

    def install(self, news: VerifiedLsa, now: float) -> Verdict:
        """Put a state in the place of the one before, if it is news."""
        verdict = self.compare(news.state)
        if verdict is Verdict.NEWS:
            origin = news.state.origin
            before = self._entries.get(origin)
            self._entries[origin] = _Entry(news, now)
            self._highest[origin] = news.state.seq
            if before is None or before.lsa.state.links != news.state.links:
                self.version += 1
        return verdict

    def age(self, now: float) -> list[str]:
        """Forget what is too old; return whose."""
        old = [origin for origin, entry in self._entries.items() if now - entry.at > AGE_S]
        for origin in old:
            del self._entries[origin]
            if self._highest[origin] > JUMP_MAX:
                del self._highest[origin]
        self.version += bool(old)
        return old

    def of(self, origin: str) -> LinkState | None:
        """Return the newest state of an origin."""
        entry = self._entries.get(origin)
        return entry.lsa.state if entry else None

    def summary(self) -> tuple[Known, ...]:
        """Say how far every origin is known."""
        states = (entry.lsa.state for entry in self._entries.values())
        return tuple(sorted((Known(it.origin, it.seq) for it in states), key=lambda it: it.origin))

    def missing_from(self, known: Iterable[Known]) -> list[LinkState]:
        """Return what somebody lacks who knows so much."""
        theirs = {each.origin: each.seq for each in known}
        states = [entry.lsa.state for _, entry in sorted(self._entries.items())]
        return [state for state in states if state.seq > theirs.get(state.origin, 0)]

    def lacks(self, known: Iterable[Known]) -> bool:
        """Tell whether somebody who knows so much could tell us news."""
        return any(
            each.origin in self.origins and each.seq > self._highest.get(each.origin, 0)
            for each in known
        )

    def __len__(self) -> int:
        return len(self._entries)

    # Links

    def link_load(self, one: str, other: str) -> LinkLoad | None:
        """Return what `one` says of its link to `other`."""
        entry = self._entries.get(one)
        return entry.lsa.loads.get(other) if entry else None

    def links(self, node: str) -> Iterator[tuple[str, float]]:
        """Yield the neighbours of a node, and what the hop costs."""
        entry = self._entries.get(node)
        for peer, here in entry.lsa.loads.items() if entry else ():
            there = self.link_load(peer, node)
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

    def rate(self, path: Path) -> int:
        """Return what the slowest link of a path brings, octets a second; 0 if nobody says."""
        least = min((self._rate(*ends) for ends in itertools.pairwise(path)), default=0)
        return 1 << least - 1 if least else 0

    def _rate(self, one: str, other: str) -> int:
        here, there = self.link_load(one, other), self.link_load(other, one)
        return min(here.rate, there.rate) if here and there else 0

    # Paths

    def shortest_path(self, start: str, end: str) -> tuple[Path, float] | None:
        """Return the cheapest path and its cost."""
        version, costs, before = self._trees.get(start, (-1, {}, {}))
        if version != self.version:
            costs, before = shortest_path_tree(self.links, start)
            if start not in self._trees and len(self._trees) >= _TREES_KEPT:
                self._trees.clear()
            self._trees[start] = self.version, costs, before
        path = path_to(before, start, end)
        return (path, costs[end]) if path else None

    def find_paths(
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
        if start == end or not {start, end} <= self.origins:
            return []
        if n == 1 and not avoid.nodes and not avoid.links:
            found = self.shortest_path(start, end)
            return [found[0]] if found else []
        graph = self._without(avoid, start, end)
        if n == 1:
            path = path_to(shortest_path_tree(graph, start, end)[1], start, end)
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
