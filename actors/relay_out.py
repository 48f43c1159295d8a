"""The sending half of a relay: chunks queued by lane, sealed, repeated till answered (R4, R13).

The clear chunk is dropped as soon as it is sealed. A frame that the neighbour cannot open any
more is given up, not sealed anew: a node on the path keeps as little as it can, and the origin
draws fresh octets.
"""

import itertools
from functools import partial

from actors import one_time
from actors.base import Actor, Later, System, handles
from actors.lanes import CHUNK_MAX, FLYING_MAX, HELD_MAX, QUEUE_MAX, Chunk, Frame, Held, Lane, Lanes
from actors.protocol import pads, relay
from actors.protocol.common import Failed, Health, Healthy, Refused
from actors.protocol.pads import ForgetPads, Pad, PadsDone, TakePad
from actors.protocol.peers import PeerDown, PeerUp, Subscribe
from actors.protocol.relay import Carry, ChunkId, LaneBroken, Passed
from transport.envelope import Address
from transport.message import Message, local

TICK_S = 0.5
REPEAT_S = 1.0
HOLD_S = 8.0
"""Seconds for which a chunk is held back for want of room."""
GIVE_UP_S = 10.0
"""Seconds after which a chunk is dropped, and a lane without any progress is broken."""
ANSWER_S = 1.0
"""Seconds by which an answer may come later than it was asked for."""
GRACE_S = 3.0
"""Seconds after a start for which a session, or that a peer is up, may not have been heard of."""
EPOCH_OCTETS = 16
SEQ_LIMIT = 1 << 62
CODES = frozenset({"lost", "no_session", "not_allowed", "malformed", "bad_tag", "busy", "stale"})
"""Why a chunk is not carried; what else a peer says counts as `refused`."""


@local
class Tick(Message):
    """Time to repeat, and to give up."""


class Sending(Actor):
    """Takes chunks of its lanes over, and brings them to the neighbour."""

    def __init__(self, system: System, name: str, neighbour: str) -> None:
        super().__init__(system, name)
        self.neighbour = neighbour
        self.store = Address(f"key_store/{neighbour}", system.node)
        self.there = Address(f"relay/{system.node}", neighbour)
        self.sessions = Address("sessions", system.node)
        self.lanes = Lanes()
        self.up = False
        self.since = system.now()
        self._pads = itertools.count(int.from_bytes(system.random(8), "big") >> 2)
        self._flying: dict[ChunkId, None] = {}
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

    # The neighbour

    @handles(PeerUp)
    def on_peer_up(self, _: PeerUp) -> None:
        """The hop is there (again): repeat at once what is not acknowledged."""
        self.up = True
        for lane in self.lanes.lanes.values():
            lane.progress, lane.waits = self.system.now(), False
            for frame in lane.frames.values():
                self._say(frame)
            self.refresh(lane)

    @handles(PeerDown)
    def on_peer_down(self, _: PeerDown) -> None:
        """Nothing can be carried: say so for every lane."""
        self.up = False
        for lane in self.lanes.lanes.values():
            self._broken(lane, "peer_down")

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
            self._broken(lane, "peer_down")

    def close_lane(self, session: relay.SessionId, share: int) -> None:
        """Drop all that is queued, and burn the pads it has."""
        lane = self.lanes.close((session, share))
        if lane is None:
            return
        done = [*lane.asked, *(frame.pad for frame in lane.frames.values())]
        for id_ in lane.frames:
            self._flying.pop(id_, None)
        self._burn(done)
        self._count_dropped("closed", lane.chunks)
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
        self._burn(lane.begin(epoch))
        for held in [held for held in lane.held if held.chunk.id.epoch != epoch]:
            lane.held.remove(held)
            held.answer(Failed(code="stale", why="another epoch has begun"))
        self._count_dropped("stale", before - lane.chunks)

    def refresh(self, lane: Lane) -> None:
        """Something has changed for a lane: take over what there is room for, then send."""
        self._promote(lane)
        self.lanes.queued(lane)
        self.pump()

    def _promote(self, lane: Lane) -> None:
        while lane.held and len(lane.queue) < QUEUE_MAX:
            held = lane.held.popleft()
            lane.queue.append(held.chunk)
            held.answer(Passed())

    def pump(self) -> None:
        """Ask for pads, one chunk after the other as it is their turn."""
        while self.up and len(self._flying) < FLYING_MAX and (turn := self.lanes.next()):
            lane, chunk = turn
            self._take_pad(lane, chunk)
            self._promote(lane)

    # Sealed, sent, repeated

    def _take_pad(self, lane: Lane, chunk: Chunk) -> None:
        id_, wait = next(self._pads), chunk.until - self.system.now()
        if wait <= 0:
            self._count_dropped("too_late")
            return
        lane.asked[id_] = chunk
        ask = TakePad(
            id=id_,
            session=f"{chunk.id.session.origin}/{chunk.id.session.number:x}",
            octets=one_time.KEY_OCTETS + len(chunk.payload),
            weight=lane.weight,
            wait=wait,
        )
        self.ask(self.store, ask, partial(self._padded, lane, id_), wait + ANSWER_S)

    def _padded(self, lane: Lane, id_: int, reply: Message) -> None:
        chunk = lane.asked.pop(id_, None)
        if chunk is None:  # its lane was closed meanwhile
            self._burn([id_])
            return
        if isinstance(reply, Pad):
            self._seal(lane, chunk, reply)
        elif self.system.now() >= chunk.until or _is(reply, "timeout"):
            self._burn([id_])
            self._count_dropped("no_pad")
        else:
            lane.queue.appendleft(chunk)
            lane.waits = True  # the store is not ready: until the next tick
        self.refresh(lane)

    def _seal(self, lane: Lane, chunk: Chunk, pad: pads.Pad) -> None:
        hop, now = lane.terms.hop, self.system.now()
        ends = self.system.node, self.neighbour
        place = one_time.carry_place(ends, pad.head, pad.pieces, chunk.id, hop)
        sealed, tag = one_time.seal(pad.octets.reveal(), chunk.payload.reveal(), place)
        word = Carry(
            head=pad.head, pieces=pad.pieces, chunk=chunk.id, hop=hop, sealed=sealed, tag=tag
        )
        frame = Frame(word, pad.id, chunk.until, now)
        lane.frames[chunk.id] = frame
        self._flying[chunk.id] = None
        meter = self.system.meter
        meter.add("protokms_relay_pad_octets", len(pad.octets), peer=self.neighbour)
        self._say(frame)

    def _say(self, frame: Frame) -> None:
        frame.told = self.system.now()
        self.tell(self.there, frame.word)

    @handles(relay.Carried)
    def on_carried(self, word: relay.Carried) -> None:
        """The neighbour has them: their bits are burnt, others may follow."""
        done = [frame.pad for id_ in word.chunks if (frame := self._answered(id_))]
        self._burn(done)
        self.system.meter.add("protokms_relay_carried", len(done), peer=self.neighbour)
        for id_ in word.chunks:
            if lane := self.lanes.of(id_):
                self.refresh(lane)

    @handles(relay.NotCarried)
    def on_not_carried(self, word: relay.NotCarried) -> None:
        """The neighbour will not take it: give it up."""
        lane, frame = self.lanes.of(word.chunk), self._answered(word.chunk)
        if lane is None or frame is None:
            return
        self._burn([frame.pad])
        self._count_dropped(word.code if word.code in CODES else "refused")
        if word.code == "no_session":
            self._broken(lane, word.code)
        self.refresh(lane)

    def _answered(self, id_: ChunkId) -> Frame | None:
        lane = self.lanes.of(id_)
        frame = lane.frames.pop(id_, None) if lane else None
        if lane and frame:
            self._flying.pop(id_, None)
            lane.progress = self.system.now()
        return frame

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
                self._broken(lane, self._why_still(lane))
            lane.waits = False
            self._give_up(lane, now)
            self._repeat(lane, now)
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
        self._count_dropped("too_late", len(lane.queue) - len(fresh))
        lane.queue.clear()
        lane.queue.extend(fresh)
        late = [id_ for id_, frame in lane.frames.items() if frame.until <= now]
        self._burn([lane.frames.pop(id_).pad for id_ in late])
        self._count_dropped("unanswered", len(late))
        for id_ in late:
            self._flying.pop(id_, None)

    def _repeat(self, lane: Lane, now: float) -> None:
        for id_, frame in lane.frames.items():
            if now - frame.told >= REPEAT_S:
                self._flying.pop(id_, None)  # what waits behind a slow hop holds nobody else
                if self.up:
                    self._say(frame)

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

    def _broken(self, lane: Lane, code: str) -> None:
        self._tell_broken(lane.key, code)

    def _tell_broken(self, key: tuple[relay.SessionId, int], code: str) -> None:
        session, share = key
        self.tell(self.sessions, LaneBroken(session=session, share=share, code=code))

    def _burn(self, ids: list[int]) -> None:
        if ids:
            self.tell(self.store, PadsDone(ids=tuple(ids)))

    def _count_dropped(self, reason: str, n: int = 1) -> None:
        if n:
            meter = self.system.meter
            meter.add("protokms_relay_dropped", n, peer=self.neighbour, reason=reason)


def well_named(chunk: ChunkId) -> bool:
    """Whether the numbers of a chunk make sense."""
    return len(chunk.epoch) == EPOCH_OCTETS and 0 <= chunk.seq < SEQ_LIMIT


def _is(reply: Message, code: str) -> bool:
    return isinstance(reply, Failed) and reply.code == code
