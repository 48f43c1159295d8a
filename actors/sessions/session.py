"""A session as its origin drives it: what is established, what was lost, what to stay away from."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import TypeVar

from actors.base import Later
from actors.network.lsdb import Link
from actors.protocol.relay import UNDECIDED_S, SessionId
from actors.protocol.sessions import SessionState
from actors.sessions.terms import Path, Terms

K = TypeVar("K")

EXCLUDED_S = 10.0
"""Seconds that a broken link, or a node that said no, is not tried again: news needs time."""

BACK_OFF_S, BACK_OFF_MAX_S = 0.5, 15.0
ESTABLISHED = "established"
_OF_THE_LINK = frozenset({"no_route", "not_enough_bits", "link_full", "share_full"})
"""Refusals of a node that are matters of its link to the next one on the path."""


@dataclass(slots=True)
class OriginSession:
    """One session that begins here."""

    terms: Terms
    state: str = "no_route"
    why: str = ""
    id: SessionId | None = None
    """The establishment that stands, or is being tried."""
    paths: tuple[Path, ...] = ()
    trying: bool = False
    turn: int = 0
    """Counts attempts and ends: what comes back of one that is over is not heard."""
    serial: int = 0
    failures: int = 0
    refused_by: str = ""
    """Who refuses it, as long as it does not stand."""
    reoptimized_at: float = 0.0
    wanted_at: float = 0.0
    """When it was last known that somebody wants it; counts for one made on demand."""
    named_at: float = -inf
    """Which such moment the disk knows."""
    reoptimize_pending: bool = False
    """Whether the network has changed since it was last looked for better paths."""
    missed: dict[int, int] = field(default_factory=dict)
    together: dict[int, None] = field(default_factory=dict)
    """Shares whose nodes all take `Refresh`."""
    marks_at: float = -inf
    """When its store was last told how much it is to hold; long ago: it is to be told."""
    answers: list[Later] = field(default_factory=list)
    hold_down_s: float = UNDECIDED_S
    """Seconds that a node keeps its share index after a re-route.

    For so long chunks of the former paths may still be confirmed (R14); after that nothing is
    undecided of what they have carried.
    """
    held_down: dict[str, tuple[int, float]] = field(default_factory=dict)
    """Nodes that carry, or carried lately, which share, and until when that counts (R14)."""
    _excluded_links: dict[Link, float] = field(default_factory=dict)
    _excluded_nodes: dict[str, float] = field(default_factory=dict)

    @property
    def destination(self) -> str:
        """The KMS at the other end."""
        return self.terms.destination

    @property
    def established(self) -> bool:
        """Whether all its paths stand."""
        return self.id is not None and not self.trying

    @property
    def all_together(self) -> bool:
        """Whether the nodes of all its paths take `Refresh`; as far as is known, if none stands."""
        return not self.established or len(self.together) == len(self.paths)

    def seen(self) -> SessionState:
        """Say how it is."""
        terms = self.terms
        return SessionState(
            destination=terms.destination,
            paths=self.paths or terms.paths,
            n=terms.n,
            low_bits=terms.low_bits,
            high_bits=terms.high_bits,
            weight=terms.weight,
            fixed=terms.fixed,
            state=self.state,
            why=self.why,
            sae=terms.sae,
        )

    # What to stay away from

    def exclude(self, path: Path, code: str, node: str, now: float) -> None:
        """Stay away for a while from who said no: a node, or its link to the next on the path."""
        at = path.index(node) if node in path else 0
        if code == "entry_full" and at:
            self._excluded_links[path[at - 1], path[at]] = now + EXCLUDED_S
        elif code in _OF_THE_LINK and at + 1 < len(path):
            self._excluded_links[path[at], path[at + 1]] = now + EXCLUDED_S
        elif 0 < at < len(path) - 1:
            self._excluded_nodes[node] = now + EXCLUDED_S

    def excluded_links(self, now: float) -> tuple[Link, ...]:
        """Return links not to use."""
        return _fresh(self._excluded_links, now)

    def excluded_nodes(self, now: float) -> tuple[str, ...]:
        """Return nodes not to use."""
        return _fresh(self._excluded_nodes, now)

    # Which share goes where (R14)

    def assign_shares(self, paths: Sequence[Path], now: float) -> tuple[Path, ...] | None:
        """Order paths so that no node gets another share than it had lately; None: it must wait.

        Whoever sees two shares of one chunk is half-way to a key; so nobody changes shares as
        long as chunks of the former establishment may count.
        """
        self.held_down = {node: had for node, had in self.held_down.items() if had[1] > now}
        return self._assigned(paths, now)

    def hindrance(self, paths: Sequence[Path]) -> tuple[str, float]:
        """Return which node keeps `paths` from getting shares by what it carried, until when."""
        between = {node for path in paths for node in path[1:-1]}
        marks = sorted((had[1], node) for node, had in self.held_down.items() if node in between)
        return next((node, until) for until, node in marks if self._assigned(paths, until))

    def _assigned(self, paths: Sequence[Path], now: float) -> tuple[Path, ...] | None:
        had = {node: share for node, (share, until) in self.held_down.items() if until > now}
        places: list[Path | None] = [None] * len(paths)
        rest = []
        for path in paths:
            shares = {had[node] for node in path[1:-1] if node in had}
            if len(shares) > 1:
                return None
            if not shares:
                rest.append(path)
                continue
            share = shares.pop()
            if share >= len(places) or places[share] is not None:
                return None
            places[share] = path
        left = iter(rest)
        return tuple(path or next(left) for path in places)

    def hold_down(self, now: float) -> None:
        """Remember which node carries which share, up to now."""
        for share, path in enumerate(self.paths):
            for node in path[1:-1]:
                self.held_down[node] = share, now + self.hold_down_s


class OwnSessions:
    """The sessions that begin here, by destination: one table, which several parts ask.

    `n` is over how many paths a session goes when nobody has said it.
    """

    def __init__(self, n: int) -> None:
        self._n = n
        self._table: dict[str, OriginSession] = {}

    def __len__(self) -> int:
        return len(self._table)

    def __iter__(self) -> Iterator[OriginSession]:
        return iter(self._table.values())

    def __contains__(self, destination: str) -> bool:
        return destination in self._table

    def to(self, destination: str) -> OriginSession | None:
        """Return the session to a KMS."""
        return self._table.get(destination)

    def add(self, session: OriginSession) -> None:
        """Keep a session."""
        self._table[session.destination] = session

    def remove(self, destination: str) -> OriginSession:
        """Forget a session."""
        return self._table.pop(destination)

    def made_for(self, sae: str) -> list[OriginSession]:
        """Return the sessions made on demand for an SAE."""
        return [it for it in self if it.terms.sae == sae]

    def least_shares(self, peer: str) -> int:
        """Return over how many paths, or more, what we share with a peer has to come.

        Who splits keys over several paths takes none that a single node may know (R14).
        """
        session = self.to(peer)
        return session.terms.n if session else self._n


def _fresh(marks: dict[K, float], now: float) -> tuple[K, ...]:
    return tuple(mark for mark, until in marks.items() if until > now)
