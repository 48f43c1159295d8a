"""What of others may lead over a node: permits for sessions, places for their shares (R13).

No actor, no clock, no I/O. A share holds its places from the moment it is asked for, not from the
moment it stands: many that are asked for at once must not all find the same room.
"""

from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from actors.protocol.sessions import Permit
from actors.sessions.options import CONTROLLED, SessionOptions
from actors.sessions.terms import HopKey, Path

K = TypeVar("K", bound=Hashable)


class Places(NamedTuple):
    """Whom a share comes from and goes to, and whose it is; no name at an end."""

    before: str
    after: str
    origin: str


@dataclass(frozen=True, slots=True)
class Use:
    """How much of a limit is taken: of one for each neighbour, that of the busiest."""

    limit: str
    used: int
    most: int


class Permitted:
    """Which sessions of others may cross this node, or end here; before it was told, none."""

    def __init__(self, options: SessionOptions) -> None:
        self._controlled = options.accept == CONTROLLED
        self._permits: tuple[Permit, ...] = ()

    def replace(self, permits: tuple[Permit, ...]) -> None:
        """Hear all permits there are."""
        self._permits = permits

    def allow(self, path: Path, hop: int) -> bool:
        """Whether a session may come to this node by that path."""
        return not self._controlled or any(_fits(it, path, hop) for it in self._permits)


def _fits(permit: Permit, path: Path, hop: int) -> bool:
    after = path[hop + 1] if hop + 1 < len(path) else ""
    ends = {*permit.ends} <= {path[0], path[-1]}
    return ends and permit.before in ("", path[hop - 1]) and permit.after in ("", after)


class Room:
    """Who holds which places; every question is answered without a walk over the shares."""

    def __init__(self, options: SessionOptions) -> None:
        self._options = options
        self._held: dict[HopKey, Places] = {}
        self._from, self._to = Counter[str](), Counter[str]()
        self._of = Counter[tuple[str, str]]()

    def __contains__(self, key: HopKey) -> bool:
        return key in self._held

    def __len__(self) -> int:
        return len(self._held)

    def places(self, key: HopKey) -> Places | None:
        """Return the places that a share holds."""
        return self._held.get(key)

    def take(self, key: HopKey, places: Places) -> str:
        """Take places for a share that has none; return the code of what is full, or nothing.

        What begins here is not for `max_crossing` and `max_lanes_per_origin` to stop: these are
        of others.
        """
        before, after, origin = places
        options = self._options
        if before and len(self._held) >= options.max_crossing:
            return "node_full"
        if before and self._from[before] >= options.max_lanes:
            return "entry_full"
        if after and self._to[after] >= options.max_lanes:
            return "link_full"
        if before and after and self._of[origin, after] >= options.max_lanes_per_origin:
            return "share_full"
        self._held[key] = places
        self._count(places, 1)
        return ""

    def free(self, key: HopKey) -> None:
        """Give the places of a share back; harmless when it has none."""
        places = self._held.pop(key, None)
        if places:
            self._count(places, -1)

    def uses(self) -> Iterator[Use]:
        """Say how much of each limit is taken."""
        options = self._options
        busiest = max(_most(self._from), _most(self._to))
        yield Use("max_crossing", len(self._held), options.max_crossing)
        yield Use("max_lanes", busiest, options.max_lanes)
        yield Use("max_lanes_per_origin", _most(self._of), options.max_lanes_per_origin)

    def _count(self, places: Places, n: int) -> None:
        before, after, origin = places
        if before:
            _add(self._from, before, n)
        if after:
            _add(self._to, after, n)
        if before and after:
            _add(self._of, (origin, after), n)


def _add(counter: Counter[K], key: K, n: int) -> None:
    counter[key] += n
    if not counter[key]:
        del counter[key]  # names of neighbours and origins come and go


def _most(counter: Counter[K]) -> int:
    return max(counter.values(), default=0)
