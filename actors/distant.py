"""Key stores and virtual links of peers that share no quantum link with this node."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from actors.base import Row, System
from actors.protocol.common import Failed
from actors.protocol.relay import ForgetLanes
from actors.protocol.trees import Child, StartChild
from actors.terms import STORE
from actors.watching import Watching
from transport.message import Message, Secret

_TREE_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOptions:
    """What the composition of a node tells its sessions; `subtree` makes that of a distant peer.

    `accept`: stores for peers who set up a session to here; `on_demand`: sessions to peers that
    an SAE here wants keys with. `refresh_s`, `expiry_s` and `idle_s` are seconds.
    """

    signing: Secret
    subtree: Callable[[str], Child]
    root: str = "supervisor"
    on_demand: bool = True
    accept: bool = True
    paths: int = 1
    weight: int = 1
    max_sessions: int = 256
    max_sessions_per_sae: int = 32
    max_distant: int = 256
    max_crossing: int = 4096
    refresh_s: float = 5.0
    expiry_s: float = 15.0
    idle_s: float = 3_600.0


class Distant(Watching):
    """Starts the subtree of a distant peer, once, and again after every start of the node."""

    def __init__(self, system: System, name: str, options: SessionOptions) -> None:
        super().__init__(system, name)
        self.options = options
        self.stores: dict[str, None] = {}
        """Distant peers with a key store here."""
        self._starting: dict[str, list[Callable[[str], None]]] = {}

    def no_store(self, peer: str, *, theirs: bool = False) -> str:
        """Tell why there is no store for a peer and none can be made, or nothing.

        `theirs`: for a session that begins there; what begins here is not for `accept` to stop.
        """
        if peer in self.linked:
            return "not_allowed"  # what we share with a neighbour comes from a quantum link
        if peer in self.stores or peer in self._starting:
            return ""
        full = len(self.stores) + len(self._starting) >= self.options.max_distant
        welcome = self.options.accept or not theirs
        return "" if welcome and not full else "not_allowed"

    def have_store(self, peer: str, then: Callable[[str], None]) -> None:
        """Have a key store and a virtual link for a distant peer; `then` hears a code, or none."""
        if peer in self.stores:
            then("")
            return
        if peer in self._starting:
            self._starting[peer].append(then)
            return
        self._starting[peer] = [then]
        self.commit([Row(STORE, "peer", peer.encode())], lambda: self._start_store(peer))

    def start_stores(self, names: Collection[str]) -> None:
        """After a start: have those again that there were, for the grants that they hold."""
        for peer in names:
            if peer not in self.stores and peer not in self._starting:
                self._starting[peer] = []
                self._start_store(peer)

    def store_came(self, peer: str) -> None:
        """There is a store for this peer now."""

    def _start_store(self, peer: str) -> None:
        def there(reply: Message) -> None:
            waiting = self._starting.pop(peer, [])
            good = not isinstance(reply, Failed) or reply.code == "duplicate"
            if good:
                self.stores[peer] = None
                self.tell(self.here(f"virtual_link/{peer}"), ForgetLanes())
            else:
                self.log.error("no_store", peer=peer, why=str(reply))
            for then in waiting:
                then("" if good else "not_allowed")
            if good:
                self.store_came(peer)

        root, child = self.here(self.options.root), self.options.subtree(peer)
        self.ask(root, StartChild(child=child), there, _TREE_S)
