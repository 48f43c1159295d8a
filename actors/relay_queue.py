"""The queues of a relay: chunks taken over lane by lane, and given up in time (R13)."""

from actors.base import Actor, Later, System, handles
from actors.lanes import CHUNK_MAX, HELD_MAX, QUEUE_MAX, Chunk, Held, Lane, Lanes
from actors.protocol import relay
from actors.protocol.common import Failed, Health, Healthy, Refused
from actors.protocol.pads import ForgetPads, PadsDone
from actors.protocol.peers import Subscribe
from actors.protocol.relay import ChunkId, LaneBroken, Passed
from transport.envelope import Address
from transport.message import Message, local

TICK_S = 0.5
HOLD_S = 8.0
"""Seconds for which a chunk is held back for want of room."""
GIVE_UP_S = 10.0
"""Seconds after which a chunk is dropped, and a lane without any progress is broken."""
GRACE_S = 3.0
"""Seconds after a start for which a session, or that a peer is up, may not have been heard of."""
EPOCH_OCTETS = 16
SEQ_LIMIT = 1 << 62


@local
class Tick(Message):
    """Time to repeat, and to give up."""


class Queueing(Actor):
    """Takes chunks of its lanes over; its heir sends them to the neighbour."""

    def __init__(self, system: System, name: str, neighbour: str) -> None:
        super().__init__(system, name)
        self.neighbour = neighbour
        self.store = Address(f"key_store/{neighbour}", system.node)
        self.sessions = Address("sessions", system.node)
        self.lanes = Lanes()
        self.up = False
        self.since = system.now()
        self.flying: dict[ChunkId, None] = {}
        """Frames on the wire that were not repeated yet."""
        self._ticking = False

    def started(self) -> None:
        """Whatever was here is lost: burn its bits, ask for the lanes."""
        self.tell(self.store, ForgetPads())
        self.tell(Address("peer_manager", self.system.node), Subscribe())
        self.tell(self.sessions, relay.AskLanes())

    @property
    def settled(self) -> bool:
        """Whether all that is told at a start has been heard by now."""
        return self.system.now() - self.since >= GRACE_S

    def pump(self) -> None:
        """Send what may be sent."""

    def repeat(self, lane: Lane, now: float) -> None:
        """Say again what is not answered."""

    # Lanes

    def open_lane(self, terms: relay.LaneOpened) -> None:
        """Send for a lane from now on; known already, it takes the weight."""
        key = terms.session, terms.share
        known = self.lanes.lanes.get(key)
        if known and known.terms.path != terms.path:
            self.close_lane(*key)  # no chunk changes its path (R14)
        lane = self.lanes.open(terms, self.system.now())
        if lane is None:
            self.log.warning("too_many_lanes", session=f"{terms.session.number:x}")
            self._tell_broken(key, "busy")
        elif known is None and not self.up and self.settled:
            self.broken(lane, "peer_down")

    def close_lane(self, session: relay.SessionId, share: int) -> None:
        """Drop all that is queued, and burn the pads it has."""
        lane = self.lanes.close((session, share))
        if lane is None:
            return
        done = [*lane.asked, *(frame.pad for frame in lane.frames.values())]
        for id_ in lane.frames:
            self.flying.pop(id_, None)
        self.burn(done)
        self.count_dropped("closed", lane.chunks)
        for held in lane.held:
            held.answer(Failed(code="no_session", why="the session is closed"))
        for store in (lane.queue, lane.held, lane.asked, lane.frames):
            store.clear()
        self.pump()

    # A chunk comes: held back, queued

    @handles(relay.Pass)
    def on_pass(self, ask: relay.Pass) -> Later:
        """Take a chunk over as soon as there is room; `Refused` if there never will be."""
        lane, now = self.lanes.of(ask.chunk), self.system.now()
        if lane is None or self.sender != Address(lane.terms.source, self.system.node):
            raise Refused("no_session", "that session does not come this way")
        if not well_named(ask.chunk) or not 0 < len(ask.payload) <= CHUNK_MAX:
            raise Refused("malformed", "no chunk")
        if lane.is_past(ask.chunk.epoch):
            raise Refused("stale", "the ends of the session have begun another epoch")
        if lane.has(ask.chunk):
            raise Refused("duplicate", "that chunk is here")
        self._enter(lane, ask.chunk.epoch)
        if len(lane.held) >= HELD_MAX:
            raise Refused("busy", "too many chunks of this session wait")
        if lane.idle:
            lane.progress = now
        answer = self.later()
        chunk = Chunk(ask.chunk, ask.payload, now + GIVE_UP_S)
        lane.held.append(Held(chunk, answer, now + HOLD_S))
        self.refresh(lane)
        self._tick_soon()
        return answer

    def _enter(self, lane: Lane, epoch: bytes) -> None:
        before = lane.chunks
        self.burn(lane.begin(epoch))
        for held in [held for held in lane.held if held.chunk.id.epoch != epoch]:
            lane.held.remove(held)
            held.answer(Failed(code="stale", why="another epoch has begun"))
        self.count_dropped("stale", before - lane.chunks)

    def refresh(self, lane: Lane) -> None:
        """Something has changed for a lane: take over what there is room for, then send."""
        self.promote(lane)
        self.lanes.queued(lane)
        self.pump()

    def promote(self, lane: Lane) -> None:
        """Take over what there is room for, and say so."""
        while lane.held and len(lane.queue) < QUEUE_MAX:
            held = lane.held.popleft()
            lane.queue.append(held.chunk)
            held.answer(Passed())

    # From time to time

    @handles(Tick)
    def on_tick(self, _: Tick) -> None:
        """Repeat frames, drop what is too old, tell of lanes that stand still."""
        self._ticking = False
        now = self.system.now()
        for lane in list(self.lanes.lanes.values()):
            if lane.idle:
                continue
            if now - lane.progress >= GIVE_UP_S:
                lane.progress = now
                self.broken(lane, self._why_still(lane))
            lane.waits = False
            self._give_up(lane, now)
            self.repeat(lane, now)
            self.refresh(lane)
        waiting = self.lanes.chunks
        self.system.meter.set("protokms_relay_waiting", float(waiting), peer=self.neighbour)
        if waiting:
            self._tick_soon()

    def _why_still(self, lane: Lane) -> str:
        if not self.up:
            return "peer_down"
        return "no_progress" if lane.frames else "not_enough_bits"

    def _give_up(self, lane: Lane, now: float) -> None:
        while lane.held and lane.held[0].until <= now:
            lane.held.popleft().answer(Failed(code="busy", why="no room in time"))
        fresh = [chunk for chunk in lane.queue if chunk.until > now]
        self.count_dropped("too_late", len(lane.queue) - len(fresh))
        lane.queue.clear()
        lane.queue.extend(fresh)
        late = [id_ for id_, frame in lane.frames.items() if frame.until <= now]
        self.burn([lane.frames.pop(id_).pad for id_ in late])
        self.count_dropped("unanswered", len(late))
        for id_ in late:
            self.flying.pop(id_, None)

    def _tick_soon(self) -> None:
        if not self._ticking:
            self._ticking = True
            self.remind(TICK_S, Tick())

    @handles(Health)
    def health(self, _: Health) -> Healthy:
        """Ready whenever it answers."""
        facts = (("lanes", str(len(self.lanes.lanes))), ("chunks", str(self.lanes.chunks)))
        return Healthy(ready=True, reasons=(), facts=facts)

    # In here

    def broken(self, lane: Lane, code: str) -> None:
        """Tell the sessions that a lane cannot go on."""
        self._tell_broken(lane.key, code)

    def _tell_broken(self, key: tuple[relay.SessionId, int], code: str) -> None:
        session, share = key
        self.tell(self.sessions, LaneBroken(session=session, share=share, code=code))

    def burn(self, ids: list[int]) -> None:
        """Give pads back to the store: their bits are used up."""
        if ids:
            self.tell(self.store, PadsDone(ids=tuple(ids)))

    def count_dropped(self, reason: str, n: int = 1) -> None:
        """Count chunks that are given up."""
        if n:
            meter = self.system.meter
            meter.add("protokms_relay_dropped", n, peer=self.neighbour, reason=reason)


def well_named(chunk: ChunkId) -> bool:
    """Whether the numbers of a chunk make sense."""
    return len(chunk.epoch) == EPOCH_OCTETS and 0 <= chunk.seq < SEQ_LIMIT
