"""Chunks for the neighbour: taken over by share, sealed, repeated until answered (R4, R13).

The clear chunk is dropped as soon as it is sealed. A frame that the neighbour cannot open any
more is given up, not sealed anew: a node on the path keeps as little as it can, and the origin
draws fresh octets.
"""

import itertools
from functools import partial

from actors.base import Context, Later, Part, handles
from actors.crypto import one_time_pad
from actors.protocol import relay
from actors.protocol.common import Failed, Refused
from actors.protocol.pads import Pad, PadsDone, TakePad
from actors.protocol.relay import (
    ANSWER_S,
    CHUNK_MAX,
    QUEUE_MAX,
    ChunkId,
    LaneBroken,
    LaneOpened,
    Passed,
)
from actors.relay.frames import Neighbour, seal, well_named
from actors.relay.link_queue import ShareKey
from actors.relay.queues import (
    ADMITTED_MAX,
    Admitted,
    Chunk,
    Frame,
    SendQueue,
    SendQueues,
)
from actors.relay.room import Rooms
from transport.envelope import Address
from transport.message import Message, local
from transport.quota import OCTETS_AT_ONCE, OCTETS_PER_S, Allowance

TICK_S = 0.5
REPEAT_S = 1.0
UNREPEATED_MAX = 128
"""Frames in flight of all shares; one that had to be repeated does not count any more."""
PACE, PACE_AT_ONCE = 0.75 * OCTETS_PER_S, 0.5 * OCTETS_AT_ONCE
"""Octets of chunks a second, and at once: less than what a peer calls a flood."""
PAD_CLASS = "relay"
"""One class of pads for all: their order is made here, in one place."""
CODES = frozenset({"lost", "no_session", "not_allowed", "malformed", "bad_tag", "busy", "stale"})
"""Why a chunk is not carried; what else a peer says counts as `refused`."""


@local
class Tick(Message):
    """Time to repeat, and to give up."""


class Outgoing(Part):
    """Takes chunks over into their send queues, and brings them to the neighbour."""

    def __init__(
        self,
        context: Context,
        neighbour: Neighbour,
        sessions: Address,
        queues: SendQueues,
        rooms: Rooms,
    ) -> None:
        self.context, self.neighbour, self.queues = context, neighbour, queues
        self._rooms = rooms
        self.sessions = sessions
        self.up = False
        """Whether the neighbour is connected."""
        self.unrepeated: dict[ChunkId, None] = {}
        """Frames in flight that were sent once."""
        self._ticking = False
        self._pad_numbers = itertools.count(int.from_bytes(context.system.random(8), "big") >> 2)
        self._pace = Allowance(PACE, PACE_AT_ONCE)
        self._progress = self._now
        """When the neighbour last took anything over."""

    # The neighbour is up, or down

    def peer_up(self) -> None:
        """Repeat at once what is not acknowledged, and send on."""
        self.up = True
        for queue in list(self.queues.busy.values()):
            queue.last_progress, queue.pad_refused = self._now, False
            for frame in queue.in_flight.values():
                self._send(frame)
            self._refresh(queue)

    def peer_down(self) -> None:
        """Nothing can be carried: say so for every share."""
        self.up = False
        for queue in self.queues.by_share.values():
            self._report(queue.key, "peer_down")

    # A share is sent this way, or no more

    def open(self, terms: LaneOpened) -> None:
        """Send for a share from now on; if it is known already, it takes the weight."""
        key = terms.session, terms.share
        known = self.queues.by_share.get(key)
        if known and known.terms.path != terms.path:
            self.close(key)  # no chunk changes its path (R14)
        queue = self.queues.open(terms, self._now)
        if queue is None:
            self.context.log.warning("too_many_lanes", session=f"{terms.session.number:x}")
            self._report(key, "busy")
        elif known is None and not self.up and self.neighbour.settled(self._now):
            self._report(key, "peer_down")
        if queue is not None:
            self._rooms.opened(queue)
            self._tick_soon()

    def close(self, key: ShareKey) -> None:
        """Drop all chunks of a share, and burn the pads it has."""
        queue = self.queues.close(key)
        self._rooms.closed(key)
        if queue is None:
            return
        done = [*queue.awaiting_pad, *(frame.pad for frame in queue.in_flight.values())]
        for id_ in queue.in_flight:
            self.unrepeated.pop(id_, None)
        self._burn(done)
        self._count_dropped("closed", queue.chunks)
        for admitted in queue.admitted:
            admitted.answer(Failed(code="no_session", why="the session is closed"))
        # A pad may still come for this send queue: it must find nothing to seal.
        for chunks in (queue.queued, queue.admitted, queue.awaiting_pad, queue.in_flight):
            chunks.clear()
        self._take_pads()

    # A chunk comes: admitted, queued

    @handles(relay.Pass)
    def on_pass(self, ask: relay.Pass) -> Later:
        """Take a chunk over as soon as there is room; `Refused` if there never will be."""
        queue, now = self.queues.of(ask.chunk), self._now
        here = self.context.address.node
        if queue is None or self.context.sender != Address(queue.terms.source, here):
            raise Refused("no_session", "that session does not come this way")
        if not well_named(ask.chunk) or not 0 < len(ask.payload) <= CHUNK_MAX:
            raise Refused("malformed", "no chunk")
        if queue.is_past(ask.chunk.epoch):
            raise Refused("stale", "the ends of the session have begun another epoch")
        if queue.has(ask.chunk):
            raise Refused("duplicate", "that chunk is here")
        self._enter(queue, ask.chunk.epoch)
        if len(queue.admitted) >= ADMITTED_MAX:
            raise Refused("busy", "too many chunks of this session wait")
        if not self.queues.clear.fits(ask.chunk.session.origin, len(ask.payload)):
            raise Refused("busy", "too many octets wait here")
        if queue.empty:
            queue.last_progress = now
        answer = self.context.later()
        chunk = Chunk(ask.chunk, ask.payload, now + self._rooms.give_up_s)
        queue.admitted.append(Admitted(chunk, answer, now + self._rooms.hold_s))
        self._rooms.took(queue, ask.chunk.seq, len(ask.payload))
        self._refresh(queue)
        self._tick_soon()
        return answer

    def _enter(self, queue: SendQueue, epoch: bytes) -> None:
        before = queue.chunks
        not_needed = queue.enter(epoch)
        for pad in not_needed:
            self.queues.pads.done(pad)
        self._burn(not_needed)
        for admitted in [it for it in queue.admitted if it.chunk.id.epoch != epoch]:
            queue.admitted.remove(admitted)
            admitted.answer(Failed(code="stale", why="another epoch has begun"))
        self._count_dropped("stale", before - queue.chunks)

    def _refresh(self, queue: SendQueue) -> None:
        """Something has changed for a share: queue what there is room for, then send."""
        self._promote(queue)
        self.queues.join_round(queue)
        self._take_pads()
        self._rooms.tell()

    def _promote(self, queue: SendQueue) -> None:
        """Queue what there is room for, and say that it is taken over."""
        while queue.admitted and len(queue.queued) < QUEUE_MAX:
            admitted = queue.admitted.pop(0)
            queue.queued.append(admitted.chunk)
            admitted.answer(Passed())

    # Its turn comes: a pad, sealed, sent

    def _take_pads(self) -> None:
        """Ask for pads, one chunk after the other as it is their turn."""
        now = self._now
        while self.up and self._may_send(now) and (turn := self.queues.next()):
            queue, chunk = turn
            self._take_pad(queue, chunk)
            self._promote(queue)

    def _may_send(self, now: float) -> bool:
        room = self.queues.pads.room and len(self.unrepeated) < UNREPEATED_MAX
        return room and self._pace.take(0.0, now)

    def _take_pad(self, queue: SendQueue, chunk: Chunk) -> None:
        id_, wait = next(self._pad_numbers), chunk.until - self._now
        if wait <= 0:
            self._count_dropped("too_late")
            return
        queue.awaiting_pad[id_] = chunk
        self.queues.pads.ask(id_, len(chunk.payload))
        self._pace.owe(len(chunk.payload))
        ask = TakePad(
            id=id_,
            session=PAD_CLASS,
            octets=one_time_pad.KEY_OCTETS + len(chunk.payload),
            weight=1,
            wait=wait,
        )
        then = partial(self._padded, queue, id_)
        self.context.ask(self.neighbour.store, ask, then, wait + ANSWER_S)

    def _padded(self, queue: SendQueue, id_: int, reply: Message) -> None:
        self.queues.pads.done(id_)
        chunk = queue.awaiting_pad.pop(id_, None)
        if chunk is None:  # the share was closed, or a new epoch begun, while the pad was coming
            self._burn([id_])
            return
        if isinstance(reply, Pad):
            self._rooms.padded(len(reply.octets))
            self._seal(queue, chunk, reply)
        elif self._now >= chunk.until or _is(reply, "timeout"):
            self._burn([id_])
            self._count_dropped("no_pad")
        else:
            queue.queued.insert(0, chunk)
            queue.pad_refused = True  # the store is not ready: until the next tick
        self._refresh(queue)

    def _seal(self, queue: SendQueue, chunk: Chunk, pad: Pad) -> None:
        ends = self.context.address.node, self.neighbour.name
        word = seal(ends, pad, chunk.id, queue.terms.hop, chunk.payload)
        frame = Frame(word, pad.id, chunk.until, self._now)
        queue.in_flight[chunk.id] = frame
        self.unrepeated[chunk.id] = None
        meter = self.context.system.meter
        meter.add("protokms_relay_pad_octets", len(pad.octets), peer=self.neighbour.name)
        self._send(frame)

    def _send(self, frame: Frame) -> None:
        frame.last_sent = self._now
        self.context.tell(self.neighbour.relay, frame.word)

    # The neighbour answers

    @handles(relay.Carried)
    def on_carried(self, word: relay.Carried) -> None:
        """The neighbour has them: their bits are burnt, others may follow."""
        done = [frame.pad for id_ in word.chunks if (frame := self._answered(id_))]
        self._burn(done)
        meter = self.context.system.meter
        meter.add("protokms_relay_carried", len(done), peer=self.neighbour.name)
        for id_ in word.chunks:
            if queue := self.queues.of(id_):
                self._refresh(queue)

    @handles(relay.NotCarried)
    def on_not_carried(self, word: relay.NotCarried) -> None:
        """The neighbour will not take it: give it up."""
        queue, frame = self.queues.of(word.chunk), self._answered(word.chunk)
        if queue is None or frame is None:
            return
        self._burn([frame.pad])
        self._count_dropped(word.code if word.code in CODES else "refused")
        if word.code == "no_session":
            self._report(queue.key, word.code)
        self._refresh(queue)

    def _answered(self, id_: ChunkId) -> Frame | None:
        queue = self.queues.of(id_)
        frame = queue.in_flight.pop(id_, None) if queue else None
        if queue and frame:
            self.unrepeated.pop(id_, None)
            queue.last_progress = self._progress = self._now
        return frame

    # From time to time

    def tick(self) -> None:
        """Report shares that stand still, drop what is too late, repeat frames, send on."""
        self._ticking = False
        now = self._now
        for queue in list(self.queues.busy.values()):
            if queue.empty:
                del self.queues.busy[queue.key]
                continue
            late = self._rooms.give_up_s
            waits_its_turn = not queue.in_flight and now - self._progress < late
            if now - queue.last_progress >= late and not waits_its_turn:
                queue.last_progress = now
                self._report(queue.key, self._why_still(queue))
            queue.pad_refused = False
            self._give_up(queue, now)
            self._repeat(queue, now)
            self._refresh(queue)
        waiting, meter = self.queues.chunks, self.context.system.meter
        meter.set("protokms_relay_waiting", float(waiting), peer=self.neighbour.name)
        self._rooms.tell()
        if self.queues.by_share:
            self._tick_soon()

    def _why_still(self, queue: SendQueue) -> str:
        if not self.up:
            return "peer_down"
        return "no_progress" if queue.in_flight else "not_enough_bits"

    def _give_up(self, queue: SendQueue, now: float) -> None:
        while queue.admitted and queue.admitted[0].until <= now:
            queue.admitted.pop(0).answer(Failed(code="busy", why="no room in time"))
        in_time = [chunk for chunk in queue.queued if chunk.until > now]
        self._count_dropped("too_late", len(queue.queued) - len(in_time))
        queue.queued.clear()
        queue.queued.extend(in_time)
        late = [id_ for id_, frame in queue.in_flight.items() if frame.until <= now]
        self._burn([queue.in_flight.pop(id_).pad for id_ in late])
        self._count_dropped("unanswered", len(late))
        for id_ in late:
            self.unrepeated.pop(id_, None)

    def _repeat(self, queue: SendQueue, now: float) -> None:
        """Say the very same octets again (R4); what waits behind a slow hop holds up nobody."""
        for id_, frame in queue.in_flight.items():
            if now - frame.last_sent >= REPEAT_S:
                self.unrepeated.pop(id_, None)
                if self.up:
                    self._pace.owe(len(frame.word.sealed))
                    self._send(frame)

    def _tick_soon(self) -> None:
        if not self._ticking:
            self._ticking = True
            self.context.remind(TICK_S, Tick())

    # In here

    @property
    def _now(self) -> float:
        return self.context.clock.now

    def _report(self, key: ShareKey, code: str) -> None:
        """Tell the sessions that a share cannot go on."""
        session, share = key
        self.context.tell(self.sessions, LaneBroken(session=session, share=share, code=code))

    def _burn(self, pads: list[int]) -> None:
        """Give pads back to the store: their bits are used up."""
        if pads:
            self.context.tell(self.neighbour.store, PadsDone(ids=tuple(pads)))

    def _count_dropped(self, reason: str, n: int = 1) -> None:
        if n:
            meter = self.context.system.meter
            meter.add("protokms_relay_dropped", n, peer=self.neighbour.name, reason=reason)


def _is(reply: Message, code: str) -> bool:
    return isinstance(reply, Failed) and reply.code == code
