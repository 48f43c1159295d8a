"""A session as its origin drives it: what stands, what was lost, what to stay away from."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from actors.base import Later
from actors.protocol.relay import SessionId
from actors.protocol.sessions import SessionState
from actors.routes import Link
from actors.terms import Path, Terms

K = TypeVar("K")

SCAR_S = 10.0
"""Seconds that a broken link, or a node that said no, is not tried again: news needs time."""

UNCONFIRMED_S = 20.0
"""Seconds after which nothing is undecided of what an establishment has carried."""

BACK_OFF_S, BACK_OFF_MAX_S = 0.5, 15.0
ESTABLISHED = "established"


@dataclass(slots=True)
class Course:
    """One session that begins here."""

    terms: Terms
    state: str = "no_route"
    why: str = ""
    session: SessionId | None = None
    """The establishment that stands, or is being tried."""
    paths: tuple[Path, ...] = ()
    trying: bool = False
    turn: int = 0
    serial: int = 0
    failures: int = 0
    looked: float = 0.0
    wanted: float = 0.0
    """When it was last known that somebody wants it; counts for one made on demand."""
    curious: bool = False
    """Whether the network has changed since it was last looked for better paths."""
    missed: dict[int, int] = field(default_factory=dict)
    answers: list[Later] = field(default_factory=list)
    carried: dict[str, tuple[int, float]] = field(default_factory=dict)
    """Nodes that carry, or carried lately, which share, and until when that counts (R14)."""
    _scars: dict[Link, float] = field(default_factory=dict)
    _shunned: dict[str, float] = field(default_factory=dict)

    @property
    def established(self) -> bool:
        """Whether all its paths stand."""
        return self.session is not None and not self.trying

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
        )

    # What to stay away from

    def scar(self, path: Path, code: str, node: str, now: float) -> None:
        """Note who said no: a node, or the link from it to the next on the path."""
        at = path.index(node) if node in path else 0
        if code in ("no_route", "not_enough_bits") and at + 1 < len(path):
            self._scars[path[at], path[at + 1]] = now + SCAR_S
        elif 0 < at < len(path) - 1:
            self._shunned[node] = now + SCAR_S

    def broken(self, now: float) -> tuple[Link, ...]:
        """Return links not to use."""
        return _fresh(self._scars, now)

    def shunned(self, now: float) -> tuple[str, ...]:
        """Return nodes not to use."""
        return _fresh(self._shunned, now)

    # Which share goes where (R14)

    def arrange(self, paths: Sequence[Path], now: float) -> tuple[Path, ...] | None:
        """Order paths so that no node gets another share than it had lately; None: it must wait.

        Whoever sees two shares of one chunk is half-way to a key; so nobody changes shares as
        long as chunks of the former establishment may count.
        """
        self.carried = {node: had for node, had in self.carried.items() if had[1] > now}
        return self._arranged(paths, now)

    def hindrance(self, paths: Sequence[Path]) -> tuple[str, float]:
        """Return which node keeps `paths` from being arranged by what it carried, until when."""
        between = {node for path in paths for node in path[1:-1]}
        marks = sorted((had[1], node) for node, had in self.carried.items() if node in between)
        return next((node, until) for until, node in marks if self._arranged(paths, until))

    def _arranged(self, paths: Sequence[Path], now: float) -> tuple[Path, ...] | None:
        had = {node: share for node, (share, until) in self.carried.items() if until > now}
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

    def carry(self, now: float) -> None:
        """Remember which node carries which share, up to now."""
        for share, path in enumerate(self.paths):
            for node in path[1:-1]:
                self.carried[node] = share, now + UNCONFIRMED_S


def _fresh(marks: dict[K, float], now: float) -> tuple[K, ...]:
    return tuple(mark for mark, until in marks.items() if until > now)
