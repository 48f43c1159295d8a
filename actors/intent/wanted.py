"""What the rows want of this node: links, sessions, stores that pause, sessions of others."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from actors.intent.rows import Kept, Key
from actors.protocol import intent
from actors.protocol.intent import Link
from actors.protocol.sessions import AddSession, Permit

Over = tuple[str, str]
"""A node that a path begins with, and where it ends."""
Ways = Mapping[Over, tuple[str, ...]]
"""Whole paths from here that begin so, as the router has found them."""
NO_WAYS: Ways = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Wanted:
    """The same, by whom it concerns; `hidden` are rows that another one leaves nothing to do."""

    links: Mapping[str, int] = field(default_factory=dict)
    """Peers to have a quantum link to, and over which interface."""
    fixed: frozenset[str] = frozenset()
    """Peers whose link the configuration binds for good: it runs, or is tried, by itself."""
    sessions: Mapping[str, AddSession] = field(default_factory=dict)
    fills: frozenset[str] = frozenset()
    """Peers whose store rows are about."""
    paused: frozenset[str] = frozenset()
    """Those of them whose store is to take nothing in."""
    permits: tuple[Permit, ...] = ()
    hidden: Mapping[Key, str] = field(default_factory=dict)
    over: frozenset[Over] = frozenset()
    """First hop and destination of sessions that begin over a given node: the rest is found."""
    waiting: frozenset[str] = frozenset()
    """Of these, destinations with no way known yet: what is there stays as it is."""


def wanted_of(rows: Iterable[Kept], node: str, ways: Ways = NO_WAYS) -> Wanted:
    """Return what these rows want of `node`; of two for one thing the first counts."""
    made = _Gathered(node, ways)
    for kept in rows:
        if isinstance(kept.body, Link):
            made.take(kept, kept.body)
    return made.wanted()


class _Gathered:
    """What rows have asked for so far."""

    def __init__(self, node: str, ways: Ways) -> None:
        self._node, self._ways = node, ways
        self._links, self._fixed = dict[str, int](), set[str]()
        self._sessions, self._permits = dict[str, AddSession](), list[Permit]()
        self._fills, self._paused = set[str](), set[str]()
        self._hidden = dict[Key, str]()
        self._over, self._waiting = set[Over](), set[str]()

    def wanted(self) -> Wanted:
        return Wanted(
            links=self._links,
            fixed=frozenset(self._fixed),
            sessions=self._sessions,
            fills=frozenset(self._fills),
            paused=frozenset(self._paused),
            permits=tuple(self._permits),
            hidden=self._hidden,
            over=frozenset(self._over),
            waiting=frozenset(self._waiting),
        )

    def take(self, kept: Kept, link: Link) -> None:
        """Take one row, unless one before it asks for the same."""
        if why := self._taken(link):
            self._hidden[kept.key] = why
            return
        if link.kind == intent.PHYS and kept.owner == intent.FILE:
            self._fixed.add(link.remote)
        elif link.kind == intent.PHYS:
            self._links[link.remote] = link.interface
        elif begins_here(link, self._node):
            self._begin(kept, link)
        elif link.enabled or other_end(link, self._node):  # where it ends, its store pauses
            self._permits.append(_permit(link, self._node))
        if peer := other_end(link, self._node):
            self._fills.add(peer)
            self._paused |= set() if link.enabled else {peer}

    def _taken(self, link: Link) -> str:
        if link.kind == intent.PHYS:
            bound = link.remote in self._links or link.remote in self._fixed
            return f"another row binds {link.remote}" if bound else ""
        has = link.remote in self._sessions or link.remote in self._waiting
        again = has and begins_here(link, self._node)
        return f"another row has a session with {link.remote}" if again else ""

    def _begin(self, kept: Kept, link: Link) -> None:
        path = path_of(link, self._node)
        if link.hops and not path:
            over = link.hops[0], link.remote
            self._over.add(over)
            path = self._ways.get(over, ())
        if link.hops and not path:
            self._waiting.add(link.remote)
            self._hidden[kept.key] = f"no way over {link.hops[0]} is known"
        else:
            self._sessions[link.remote] = _session(link, path)


def begins_here(link: Link, node: str) -> bool:
    """Whether a virtual link is a session that this node begins."""
    return link.kind == intent.VIRT and not link.prev and link.local == node


def other_end(link: Link, node: str) -> str:
    """Return with whom this node has a store because of a link; nobody if it only leads over it."""
    if link.kind == intent.PHYS or begins_here(link, node):
        return link.remote
    if node not in (link.local, link.remote) or link.hops:
        return ""
    return link.remote if link.local == node else link.local


def path_of(link: Link, node: str) -> tuple[str, ...]:
    """Return the whole path that the hops are; nothing if they do not lead to the remote."""
    return (node, *link.hops) if link.hops and link.hops[-1] == link.remote else ()


def _session(link: Link, path: tuple[str, ...]) -> AddSession:
    paths = link.paths or ((path,) if path else ())
    return AddSession(
        destination=link.remote,
        paths=paths,
        n=link.n or len(paths),
        low_bits=link.low_bits,
        high_bits=link.high_bits,
        weight=link.weight,
    )


def _permit(link: Link, node: str) -> Permit:
    ends = {link.local, link.remote}
    if link.hops:
        ends.discard(node)  # it leads on from here, whatever end the row calls local
    return Permit(
        ends=tuple(sorted(ends)), before=link.prev, after=link.hops[0] if link.hops else ""
    )
