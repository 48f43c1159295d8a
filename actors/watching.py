"""An actor that watches the network: who is in it, who is a neighbour, who is up."""

from actors.base import Actor, System, handles
from actors.protocol import peers, routes
from transport.envelope import Address


class Watching(Actor):
    """Knows what the peer manager and the router know, as far as it needs it."""

    def __init__(self, system: System, name: str) -> None:
        super().__init__(system, name)
        self.public: dict[str, str] = {}
        """Public signing keys (base64) by KMS name: every KMS of the directory."""
        self.linked: dict[str, None] = {}
        self.up: dict[str, None] = {}
        self.briefed = False
        """Whether directory and links have been told."""
        self.levels: dict[str, routes.LinkLevel] = {}

    def watch(self) -> None:
        """Ask to be told; what has happened before comes too."""
        self.tell(self.here("peer_manager"), peers.Subscribe())

    @handles(peers.Directory)
    def on_directory(self, news: peers.Directory) -> None:
        """Learn who is who."""
        self.public = {kms.name: kms.signing for kms in news.kmss}
        self.network_changed()

    @handles(peers.Linked)
    def on_linked(self, news: peers.Linked) -> None:
        """Learn who is a neighbour."""
        self.linked = dict.fromkeys(sorted(news.peers))
        self.briefed = bool(self.public)
        self.levels = {peer: it for peer, it in self.levels.items() if peer in self.linked}
        self.network_changed()

    @handles(peers.PeerUp)
    def on_peer_up(self, news: peers.PeerUp) -> None:
        """A peer is there (again)."""
        self.up[news.peer] = None
        self.peer_came(news.peer)

    @handles(peers.PeerDown)
    def on_peer_down(self, news: peers.PeerDown) -> None:
        """A peer is away."""
        self.up.pop(news.peer, None)
        self.peer_left(news.peer)

    @handles(routes.LinkLevel)
    def on_level(self, news: routes.LinkLevel) -> None:
        """A store says how its link is; the router passes that on."""
        if self.sender.node == self.system.node:
            was = self.usable(news.peer)
            self.levels[news.peer] = news
            self.level_changed(news, came=self.usable(news.peer) and not was)

    def network_changed(self) -> None:
        """The directory or the links are others."""

    def peer_came(self, peer: str) -> None:
        """A peer is up."""

    def peer_left(self, peer: str) -> None:
        """A peer is down."""

    def level_changed(self, level: routes.LinkLevel, *, came: bool) -> None:
        """There is more or less in a store, or it is in step, or not; `came`: it was of no use."""

    def usable(self, peer: str) -> bool:
        """Whether there is a quantum link to this peer, and both stores are in step."""
        level = self.levels.get(peer)
        return peer in self.linked and peer in self.up and level is not None and level.ready

    def here(self, name: str) -> Address:
        """Return the address of an actor of this node."""
        return Address(name, self.system.node)
