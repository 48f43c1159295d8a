"""Key stores and virtual links of peers that share no quantum link with this node."""

from collections.abc import Callable
from typing import Protocol

from actors.base import Commit, Context, Part, Row
from actors.network.neighbours import Neighbours
from actors.protocol import alarms
from actors.protocol.common import Failed
from actors.protocol.relay import ForgetLanes
from actors.protocol.trees import StartChild
from actors.sessions.options import SessionPlan
from actors.sessions.terms import STORE
from transport.message import Message

_TREE_S = 5.0


class StoreEvents(Protocol):
    """What an actor hears of its part `DistantStores`."""

    def store_ready(self, peer: str) -> None:
        """There is a key store for this peer now."""
        ...


class DistantStores(Part):
    """Starts the subtree of a distant peer, once, and again after every start of the node."""

    def __init__(
        self,
        context: Context,
        *,
        neighbours: Neighbours,
        plan: SessionPlan,
        commit: Commit,
        events: StoreEvents,
    ) -> None:
        self._context, self._neighbours, self._plan = context, neighbours, plan
        self._commit, self._events = commit, events
        self._ready: dict[str, None] = {}
        self._starting: dict[str, list[Callable[[str], None]]] = {}
        self._found: list[str] = []

    def __len__(self) -> int:
        return len(self._ready)

    @property
    def taken(self) -> int:
        """How many places for distant peers are taken: by stores that are here, or are to be."""
        return len(self._ready) + len(self._starting)

    @property
    def peers(self) -> tuple[str, ...]:
        """Distant peers that have a key store here, by name."""
        return tuple(sorted(self._ready))

    def __contains__(self, peer: str) -> bool:
        """Whether a distant peer has a key store here."""
        return peer in self._ready

    def no_store(self, peer: str, *, theirs: bool = False) -> str:
        """Tell why there is no store for a peer and none can be made, or nothing.

        `theirs`: for a session that begins there; what begins here is not for `accept` to stop.
        """
        if peer in self._neighbours.linked:
            return "not_allowed"  # what we share with a neighbour comes from a quantum link
        if peer in self._ready or peer in self._starting:
            return ""
        full = self.taken >= self._plan.options.max_distant_peers
        welcome = self._plan.options.accept or not theirs
        if not welcome:
            return "not_allowed"
        return "peers_full" if full else ""

    def have_store(self, peer: str, then: Callable[[str], None]) -> None:
        """Have a key store and a virtual link for a distant peer; `then` hears a code, or none."""
        if peer in self._ready:
            then("")
            return
        if peer in self._starting:
            self._starting[peer].append(then)
            return
        self._starting[peer] = [then]
        self._commit([Row(STORE, "peer", peer.encode())], lambda: self._start(peer))

    def found(self, peer: str) -> None:
        """Note, of what is durable, that there was a store, or was to be one."""
        self._found.append(peer)

    def now_linked(self) -> list[str]:
        """Give up the stores of peers that have a quantum link now: theirs have taken the place."""
        gone = [peer for peer in self._ready if peer in self._neighbours.linked]
        for peer in gone:
            del self._ready[peer]
        return gone

    def start_found(self) -> None:
        """Once it is known who is who: have those again that were found, for what they hold."""
        near = self._neighbours
        if not near.briefed:
            return
        found, self._found = self._found, []
        for peer in found:
            if peer not in near.public or peer in near.linked:
                continue
            if peer not in self._ready and peer not in self._starting:
                self._starting[peer] = []
                self._start(peer)

    def _start(self, peer: str) -> None:
        here = self._neighbours.here

        def there(reply: Message) -> None:
            waiting = self._starting.pop(peer, [])
            good = not isinstance(reply, Failed) or reply.code == "duplicate"
            if good:
                self._ready[peer] = None
                self._context.tell(here(f"virtual_link/{peer}"), ForgetLanes())
            else:
                self._context.log.error("no_store", peer=peer, why=str(reply))
                raised = alarms.Raised(id="no_store", subject=peer, text=str(reply))
                self._context.tell(here(alarms.NAME), raised)
            for then in waiting:
                then("" if good else "not_allowed")
            if good:
                self._events.store_ready(peer)

        root, child = here(self._plan.root), self._plan.subtree(peer)
        self._context.ask(root, StartChild(child=child, instead=True), there, _TREE_S)
