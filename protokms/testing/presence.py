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
    """Keeps for each node which peers are up there, as `transport.session` would.

    `reachable` tells whether two nodes live and their wires are whole. A peer is up at once when
    it is, and down `DOWN_S` after it is not; a peer that restarts meanwhile goes down and up.
    """

    def __init__(self, agenda: Agenda, reachable: Callable[[str, str], bool], news: News) -> None:
        self._agenda, self._reachable, self._news = agenda, reachable, news
        self._up: set[tuple[str, str]] = set()

    def up(self, node: str, peer: str) -> bool:
        """Tell whether the peer is up as seen by the node."""
        return (node, peer) in self._up

    def forget(self, node: str) -> None:
        """Let a node that starts anew know nobody, and whoever knew it notice that."""
        for here, peer in sorted(self._up):
            if here == node:
                self._up.discard((here, peer))
            elif peer == node:
                self._set(here, peer, up=False)

    def look(self, one: str, other: str) -> None:
        """Look whether two nodes still, or again, hear each other."""
        if self._reachable(one, other):
            self._set(one, other, up=True)
            self._set(other, one, up=True)
        else:
            self._agenda.later(DOWN_S, lambda: self._miss(one, other))

    def _miss(self, one: str, other: str) -> None:
        if not self._reachable(one, other):
            self._set(one, other, up=False)
            self._set(other, one, up=False)

    def _set(self, node: str, peer: str, *, up: bool) -> None:
        if up is not self.up(node, peer):
            (self._up.add if up else self._up.discard)((node, peer))
            self._news(node, peer, up=up)
