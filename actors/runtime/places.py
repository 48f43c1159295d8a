"""Which process of a node has which interface, and over which of them links run now."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from actors.protocol.common import Refused


class Interface(NamedTuple):
    """An interface of a node: its number, its kind of QKD module, the process that has it.

    The kind is empty where core does not know it: of those of other processes. `peer` is whom it
    leads to for good; none: it waits for one.
    """

    number: int
    module: str
    process: str
    peer: str = ""


class LinkPlaces:
    """The interfaces of a node, for core: the peer manager binds, who delivers words looks up.

    It outlives its readers: a fresh peer manager finds what the one before has bound.
    """

    def __init__(self, interfaces: Iterable[Interface] = ()) -> None:
        self._known = {one.number: one for one in interfaces}
        self._bound: dict[str, int] = {}
        self._left: dict[str, str] = {}

    @property
    def bound(self) -> Mapping[str, int]:
        """The peers to which a link is wanted at run time, and over which interface.

        Any thread may ask: who looks after the node is not on the stage.
        """
        return dict(self._bound)

    def all(self) -> list[Interface]:
        """Return every interface, by number, with the peer that it leads to now."""
        peers = {number: peer for peer, number in self.bound.items()}
        found = sorted(self._known.items())
        return [one._replace(peer=one.peer or peers.get(number, "")) for number, one in found]

    def is_fixed(self, peer: str) -> bool:
        """Whether a file binds an interface to this peer for good."""
        return any(one.peer == peer for one in self._known.values())

    def process_of(self, peer: str) -> str | None:
        """Return the process of the link to this peer, if it is bound at run time.

        For a while it is that of the link that was: its last words are still on their way.
        """
        number = self._bound.get(peer)
        return self._left.get(peer) if number is None else self._known[number].process

    def bind(self, peer: str, number: int) -> str:
        """Let an interface lead to a peer; return its process, or raise `Refused`.

        The same again changes nothing.
        """
        if number not in self._known:
            known = ", ".join(str(it) for it in sorted(self._known)) or "none"
            raise Refused("no_such_interface", f"{number}; there are {known}")
        for one in self.all():
            if one.number == number and one.peer not in ("", peer):
                raise Refused("in_use", f"interface {number} leads to {one.peer}")
            if one.number != number and one.peer == peer:
                raise Refused("link_up", f"interface {one.number} leads to {peer} already")
        if not self.is_fixed(peer):
            self._bound[peer] = number
            self._left.pop(peer, None)
        return self._known[number].process

    def leave(self, peer: str) -> None:
        """Let the interface wait for another peer."""
        number = self._bound.pop(peer, None)
        if number is not None:
            self._left[peer] = self._known[number].process

    def forget(self, peer: str) -> None:
        """Hear no more of a link that was; harmless if it is there again."""
        self._left.pop(peer, None)
