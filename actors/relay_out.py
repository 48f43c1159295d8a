"""The sending half of a relay: chunks queued by lane, sealed, repeated till answered (R4, R13).

The clear chunk is dropped as soon as it is sealed. A frame that the neighbour cannot open any
more is given up, not sealed anew: a node on the path keeps as little as it can, and the origin
draws fresh octets.
"""

import itertools
from functools import partial

from actors import one_time
from actors.base import System, handles
from actors.lanes import FLYING_MAX, Chunk, Frame, Lane
from actors.protocol import pads, relay
from actors.protocol.common import Failed
from actors.protocol.pads import Pad, TakePad
from actors.protocol.peers import PeerDown, PeerUp
from actors.protocol.relay import Carry, ChunkId
from actors.relay_queue import Queueing
from transport.envelope import Address
from transport.message import Message
from transport.quota import OCTETS_AT_ONCE, OCTETS_PER_S, Allowance

REPEAT_S = 1.0
ANSWER_S = 1.0
"""Seconds by which an answer may come later than it was asked for."""
PACE, PACE_AT_ONCE = 0.75 * OCTETS_PER_S, 0.5 * OCTETS_AT_ONCE
"""Octets of chunks a second, and at once: less than what a peer calls a flood."""
CODES = frozenset({"lost", "no_session", "not_allowed", "malformed", "bad_tag", "busy", "stale"})
"""Why a chunk is not carried; what else a peer says counts as `refused`."""


class Sending(Queueing):
    """Brings chunks of its lanes to the neighbour."""

    def __init__(self, system: System, name: str, neighbour: str) -> None:
        super().__init__(system, name, neighbour)
        self.there = Address(f"relay/{system.node}", neighbour)
        self._pads = itertools.count(int.from_bytes(system.random(8), "big") >> 2)
        self._pace = Allowance(PACE, PACE_AT_ONCE)

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
            self.broken(lane, "peer_down")

    def pump(self) -> None:
        """Ask for pads, one chunk after the other as it is their turn."""
        now = self.system.now()
        while self.up and self._may_send(now) and (turn := self.lanes.next()):
            lane, chunk = turn
            self._take_pad(lane, chunk)
            self.promote(lane)

    def _may_send(self, now: float) -> bool:
        return len(self.flying) < FLYING_MAX and self._pace.take(0.0, now)

    # Sealed, sent, repeated

    def _take_pad(self, lane: Lane, chunk: Chunk) -> None:
        id_, wait = next(self._pads), chunk.until - self.system.now()
        if wait <= 0:
            self.count_dropped("too_late")
            return
        lane.asked[id_] = chunk
        self._pace.owe(len(chunk.payload))
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
            self.burn([id_])
            return
        if isinstance(reply, Pad):
            self._seal(lane, chunk, reply)
        elif self.system.now() >= chunk.until or _is(reply, "timeout"):
            self.burn([id_])
            self.count_dropped("no_pad")
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
        self.flying[chunk.id] = None
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
        self.burn(done)
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
        self.burn([frame.pad])
        self.count_dropped(word.code if word.code in CODES else "refused")
        if word.code == "no_session":
            self.broken(lane, word.code)
        self.refresh(lane)

    def _answered(self, id_: ChunkId) -> Frame | None:
        lane = self.lanes.of(id_)
        frame = lane.frames.pop(id_, None) if lane else None
        if lane and frame:
            self.flying.pop(id_, None)
            lane.progress = self.system.now()
        return frame

    def repeat(self, lane: Lane, now: float) -> None:
        """Say the very same octets again; what waits behind a slow hop holds nobody else."""
        for id_, frame in lane.frames.items():
            if now - frame.told >= REPEAT_S:
                self.flying.pop(id_, None)
                if self.up:
                    self._pace.owe(len(frame.word.sealed))
                    self._say(frame)


def _is(reply: Message, code: str) -> bool:
    return isinstance(reply, Failed) and reply.code == code
