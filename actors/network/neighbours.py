"""Who is in the network, who is a neighbour, who is up, and whose link is of use."""

from typing import Protocol

from actors.base import Context, Part, handles
from actors.protocol import peers, routes
from transport.envelope import Address
from transport.message import Message


class NeighbourEvents(Protocol):
    """What an actor hears of its part `Neighbours`."""

    def network_changed(self) -> None:
        """The directory or the links are others."""
        ...

    def peer_up(self, peer: str) -> None:
        """A peer is there (again)."""
        ...

    def peer_down(self, peer: str) -> None:
        """A peer is away."""
        ...

    def level_changed(self, level: routes.LinkLevel, *, usable_now: bool) -> None:
        """A store has more or less, or is in step or not; `usable_now`: its link was not before."""
        ...


class Neighbours(Part):
    """Knows what peer manager and router know of the network, as far as its actor needs it."""

    def __init__(self, context: Context, *, events: NeighbourEvents) -> None:
        self._context, self._events = context, events
        self.public: dict[str, str] = {}
        """Public signing keys (base64) by KMS name: every KMS of the directory."""
        self.linked: dict[str, None] = {}
        self.up: dict[str, None] = {}
        self.briefed = False
        """Whether directory and links have been told."""
        self.levels: dict[str, routes.LinkLevel] = {}
        self._words: dict[str, tuple[str, ...]] = {}
        """As the peer manager says it: peers that say the same share one tuple."""

    def subscribe(self) -> None:
        """Ask to be told; what has happened before comes too."""
        self._context.tell(self.here("peer_manager"), peers.Subscribe())

    def linked_up(self) -> list[str]:
        """Return the neighbours that are up."""
        return [peer for peer in self.linked if peer in self.up]

    def usable(self, peer: str) -> bool:
        """Whether there is a quantum link to this peer, and both stores are in step."""
        level = self.levels.get(peer)
        return peer in self.linked and peer in self.up and level is not None and level.ready

    def speaks(self, peer: str, word: type[Message]) -> bool:
        """Whether a peer has said that it understands a word that an older one does not."""
        return word.wire in self._words.get(peer, ())

    def here(self, name: str) -> Address:
        """Return the address of an actor of this node."""
        return Address(name, self._context.system.node)

    @handles(peers.Directory)
    def on_directory(self, news: peers.Directory) -> None:
        """Learn who is who."""
        self.public = {kms.name: kms.signing for kms in news.kmss}
        self._words = {peer: words for peer, words in self._words.items() if peer in self.public}
        self._events.network_changed()

    @handles(peers.Linked)
    def on_linked(self, news: peers.Linked) -> None:
        """Learn who is a neighbour."""
        self.linked = dict.fromkeys(sorted(news.peers))
        self.briefed = bool(self.public)
        self.levels = {peer: it for peer, it in self.levels.items() if peer in self.linked}
        self._events.network_changed()

    @handles(peers.PeerUp)
    def on_peer_up(self, news: peers.PeerUp) -> None:
        """A peer is there (again)."""
        self.up[news.peer] = None
        self._events.peer_up(news.peer)

    @handles(peers.PeerDown)
    def on_peer_down(self, news: peers.PeerDown) -> None:
        """A peer is away."""
        self.up.pop(news.peer, None)
        self._events.peer_down(news.peer)

    @handles(peers.PeerSpeaks)
    def on_peer_speaks(self, news: peers.PeerSpeaks) -> None:
        """A peer has said which words it understands."""
        self._words[news.peer] = news.words

    @handles(routes.LinkLevel)
    def on_level(self, news: routes.LinkLevel) -> None:
        """A store says how its link is; the router passes that on."""
        if self._context.sender.node == self._context.system.node:
            was = self.usable(news.peer)
            self.levels[news.peer] = news
            now = self.usable(news.peer)
            self._events.level_changed(news, usable_now=now and not was)
