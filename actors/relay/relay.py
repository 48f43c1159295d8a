"""The relay to and from one neighbour: an actor over its parts (R4, R13)."""

from actors.base import Actor, System, handles
from actors.protocol import relay
from actors.protocol.common import Health, Healthy
from actors.protocol.pads import ForgetPads
from actors.protocol.peers import PeerDown, PeerSpeaks, PeerUp, Subscribe
from actors.protocol.relay import LaneClosed, LaneOpened
from actors.relay.frames import Neighbour
from actors.relay.incoming import Incoming
from actors.relay.link_queue import ShareKey
from actors.relay.outgoing import Outgoing, Tick
from actors.relay.queues import SendQueues
from actors.relay.room import Rooms
from transport.envelope import Address


class Relay(Actor):
    """One hop of key relay.

    What befalls it as a whole stands below, in order. Nothing of it is durable: it ends without
    a word, and what it had is lost. The next relay burns its bits, and the origins of the
    sessions draw others.
    """

    parts = (Rooms, Outgoing, Incoming)

    def __init__(self, system: System, name: str, neighbour: str) -> None:
        super().__init__(system, name)
        self.sessions = Address("sessions", system.node)
        self.neighbour = Neighbour(
            neighbour,
            relay=Address(f"relay/{system.node}", neighbour),
            store=Address(f"key_store/{neighbour}", system.node),
            since=self.clock.now,
        )
        self.queues = SendQueues()
        self.rooms = Rooms(self, self.neighbour, self.queues)
        self.outgoing = Outgoing(self, self.neighbour, self.sessions, self.queues, self.rooms)
        self.incoming = Incoming(self, self.neighbour)
        self.serve(self.rooms, self.outgoing, self.incoming)

    # What befalls a relay

    def started(self) -> None:
        """Burn the bits of a former life, hear of the neighbour, then ask for the shares."""
        self.tell(self.neighbour.store, ForgetPads())
        self.tell(Address("peer_manager", self.system.node), Subscribe())
        self.tell(self.sessions, relay.AskLanes())
        self.rooms.started()

    @handles(PeerUp)
    def on_peer_up(self, _: PeerUp) -> None:
        """Repeat what is not acknowledged; the neighbour repeats what it has for us."""
        self.outgoing.peer_up()

    @handles(PeerDown)
    def on_peer_down(self, _: PeerDown) -> None:
        """Report all shares that are sent this way; what came in is still handed on."""
        self.outgoing.peer_down()

    @handles(PeerSpeaks)
    def on_speaks(self, news: PeerSpeaks) -> None:
        """The neighbour has said which words it knows: tell it of room, if that is one."""
        if self.sender == Address("peer_manager", self.system.node):
            self.neighbour.words = frozenset(news.words)
            self.incoming.repeat_rooms()
            self.rooms.speaks()

    @handles(Tick)
    def on_tick(self, _: Tick) -> None:
        """Report, give up, repeat, send; what came in has time limits of its own questions."""
        self.outgoing.tick()

    # What the sessions say: of shares to the neighbour, and of shares from it

    @handles(LaneOpened)
    def on_lane_opened(self, terms: LaneOpened) -> None:
        """A share crosses this node by way of this neighbour, to it or from it."""
        if self.sender != self.sessions:
            return
        if terms.target == self.address.name:
            self.outgoing.open(terms)
        elif terms.source == self.address.name:
            self.incoming.open(terms)

    @handles(LaneClosed)
    def on_lane_closed(self, news: LaneClosed) -> None:
        """It does so no more."""
        if self.sender == self.sessions:
            self._close((news.session, news.share))

    @handles(relay.ForgetLanes)
    def on_forget_lanes(self, _: relay.ForgetLanes) -> None:
        """None does, as far as those know who know."""
        if self.sender == self.sessions:
            for key in [*self.incoming.shares, *self.queues.by_share]:
                self._close(key)

    def _close(self, key: ShareKey) -> None:
        self.incoming.close(key)
        self.outgoing.close(key)

    # What the node says

    @handles(Health)
    def health(self, _: Health) -> Healthy:
        """Ready whenever it answers."""
        facts = (("lanes", str(len(self.queues.by_share))), ("chunks", str(self.queues.chunks)))
        return Healthy(ready=True, reasons=(), facts=facts)
