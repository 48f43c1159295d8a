"""Who hears whom: what heartbeats tell a node's transport, without the heartbeats."""

from collections.abc import Callable
from typing import Protocol

from protokms.testing.agenda import Agenda

DOWN_S = 3.0
"""Seconds of silence after which a peer counts as down: three heartbeats of a second."""


class News(Protocol):
    """Hears that a node's transport hears a peer (again), or no longer."""

    def __call__(self, node: str, peer: str, *, up: bool) -> None:
        """Take the news."""
        ...


class Presence:
    """Keeps which nodes are connected, and who is up at whom, as `transport.session` would.

    `reachable` tells whether two nodes live and their wires are whole. Of two connected nodes
    each is up at the other at once when it is, and down `DOWN_S` after it is not; a node that
    restarts meanwhile goes down and up. What it costs grows with the connections, not with the
    pairs of nodes.
    """

    def __init__(self, agenda: Agenda, reachable: Callable[[str, str], bool], news: News) -> None:
        self._agenda, self._reachable, self._news = agenda, reachable, news
        self._peers: dict[str, dict[str, bool]] = {}

    def up(self, node: str, peer: str) -> bool:
        """Tell whether the peer is up as seen by the node."""
        return self._peers.get(node, {}).get(peer, False)

    def peers(self, node: str) -> tuple[str, ...]:
        """Return the nodes this one is connected to, up or down, oldest connection first."""
        return tuple(self._peers.get(node, ()))

    def connect(self, one: str, other: str) -> None:
        """Open a connection between two nodes; nothing happens if there is one."""
        if one != other and other not in self._peers.setdefault(one, {}):
            self._peers[one][other] = False
            self._peers.setdefault(other, {})[one] = False
            self.look(one, other)

    def forget(self, node: str) -> None:
        """Let a node that starts anew know nobody, and whoever knew it notice that."""
        for peer in self.peers(node):
            self._peers[node][peer] = False
            self._set(peer, node, up=False)

    def look(self, one: str, other: str) -> None:
        """Look whether two connected nodes still, or again, hear each other."""
        if other not in self._peers.get(one, ()):
            return
        if self._reachable(one, other):
            self._set(one, other, up=True)
            self._set(other, one, up=True)
        else:
            self._agenda.later(DOWN_S, lambda: self._miss(one, other))

    def look_around(self, node: str) -> None:
        """Look at every connection of a node."""
        for peer in self.peers(node):
            self.look(node, peer)

    def _miss(self, one: str, other: str) -> None:
        if not self._reachable(one, other):
            self._set(one, other, up=False)
            self._set(other, one, up=False)

    def _set(self, node: str, peer: str, *, up: bool) -> None:
        if up is not self._peers[node][peer]:
            self._peers[node][peer] = up
            self._news(node, peer, up=up)
