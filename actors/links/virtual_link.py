"""The virtual link: fills the store of a distant KMS with octets relayed over trusted nodes.

The twin of the quantum link towards the key store. One actor is both ends: of the session that
begins here, and of the one that begins at the peer. The paths are the business of `sessions`.
"""

from actors.base import Actor, System, handles
from actors.links.chunk_counts import ChunkCounts
from actors.links.chunk_sink import ChunkSink
from actors.links.chunk_source import ChunkSource
from actors.links.store_side import AskAgain, StoreSide
from actors.protocol import relay
from actors.protocol.common import Health, Healthy
from actors.protocol.relay import CHUNK_MIN, LaneClosed, LaneOpened, SessionId
from transport.envelope import Address


class VirtualLink(Actor):
    """Both ends of the sessions between this node and a distant peer: an actor over its parts."""

    parts = (StoreSide, ChunkSource, ChunkSink)

    def __init__(self, system: System, name: str, peer: str) -> None:
        super().__init__(system, name)
        self._sessions = Address("sessions", system.node)
        self.counts = ChunkCounts(system, peer)
        self.store_side = StoreSide(self, peer, link=self)
        self.source = ChunkSource(self, self.store_side, self.counts)
        self.sink = ChunkSink(self, self.store_side, self.counts)
        self.serve(self.store_side, self.source, self.sink)

    # What befalls a virtual link

    def started(self) -> None:
        """Ask for the shares, and the store for its epoch."""
        self.tell(self._sessions, relay.AskLanes())
        self.on_ask_again(AskAgain())

    @handles(AskAgain)
    def on_ask_again(self, _: AskAgain) -> None:
        """Forget shares whose others never came, and ask the store again."""
        self.sink.forget_late()
        self.store_side.ask()

    # What the store says: events of `StoreSide`

    def idle(self) -> bool:
        """Without credit for a chunk."""
        return self.store_side.credit < CHUNK_MIN

    def begin(self, epoch: bytes) -> bool:
        """Whatever a former life has sent under this epoch does not count."""
        self.source.withdraw(epoch)
        return True

    def go(self) -> None:
        """Draw chunks."""
        self.source.go()

    def end(self) -> None:
        """Forget shares that wait for others, and what is under way."""
        self.sink.clear()
        self.source.forget_flights()

    def refuse(self, reason: str) -> None:
        """Count a word from somebody else."""
        self.counts.dropped(reason)

    # What the sessions say: of shares that begin here, and of shares that end here

    @handles(LaneOpened)
    def on_lane_opened(self, terms: LaneOpened) -> None:
        """A share of a session begins or ends here."""
        if self.sender != self._sessions:
            return
        if terms.source == self.address.name:
            self.source.open(terms)
        elif terms.target == self.address.name:
            self.sink.open(terms)

    @handles(LaneClosed)
    def on_lane_closed(self, news: LaneClosed) -> None:
        """It does so no more."""
        if self.sender == self._sessions:
            self._close(news.session, news.share)

    @handles(relay.ForgetLanes)
    def on_forget_lanes(self, _: relay.ForgetLanes) -> None:
        """None does, as far as those know who know."""
        if self.sender == self._sessions:
            for session, share in [*self.source.shares, *self.sink.shares]:
                self._close(session, share)

    def _close(self, session: SessionId, share: int) -> None:
        self.sink.close(session, share)
        self.source.close(session, share)

    # What the node says

    @handles(Health)
    def health(self, _: Health) -> Healthy:
        """Ready whenever it answers: a node serves its neighbours without any session."""
        state = "open" if self.store_side.epoch and self.source.session else "closed"
        facts = (("session", state), ("credit_octets", str(self.store_side.credit)))
        return Healthy(ready=True, reasons=(), facts=facts)
