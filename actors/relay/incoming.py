"""Frames of the neighbour: opened once, handed on, answered as often as they come (R4, R13).

A chunk is acknowledged only once the next actor on its path has it in a bounded queue, so a hop
that is short of bits slows its sessions back to their origins.
"""

from dataclasses import dataclass, field
from functools import partial

from actors.base import Context, Part, handles
from actors.crypto import one_time_pad
from actors.protocol import alarms, relay
from actors.protocol.common import Failed
from actors.protocol.limits import LANES_MAX
from actors.protocol.pads import OpenPad, PadOpened
from actors.protocol.relay import (
    ANSWER_S,
    HOLD_S,
    WINDOW,
    Carried,
    Carry,
    ChunkId,
    LaneOpened,
    LaneRoom,
    LaneWants,
    NotCarried,
    Room,
    Wants,
)
from actors.relay.frames import Neighbour, bits_of, open_frame, well_formed
from actors.relay.link_queue import ShareKey
from transport.envelope import Address
from transport.message import Message, Secret

OPENING_MAX = 2 * WINDOW
"""Chunks of a share that are being opened or handed on at once."""
ANSWERS_MAX = 16 * WINDOW
"""Answers of a share that are remembered, for frames that come again."""
UNVERIFIED_MAX = 64
FAILURES_MAX = 3
"""Bad frames under the same bits; then they are given up with an alarm."""
OPEN_S = 2.0
_UNOPENED = frozenset({"stale", "opened", "malformed", "no_such_segment", "overlap", "frozen"})
"""Codes of the store for bits that it will never hand out."""


@dataclass(slots=True)
class IncomingShare:
    """A share that comes from the neighbour: what is being opened, and what was answered."""

    terms: LaneOpened
    opening: dict[ChunkId, None] = field(default_factory=dict)
    answers: dict[ChunkId, str] = field(default_factory=dict)
    """The code of each answer; empty: carried."""
    epoch: bytes = b""
    """Of the chunk answered last."""
    room: LaneRoom | None = None
    """What the relay that it goes on to has last said of room."""

    @property
    def hold_s(self) -> float:
        """Seconds for which that relay may hold a chunk back."""
        return self.room.hold_s if self.room else HOLD_S

    def answered(self, chunk: ChunkId, code: str) -> None:
        """Remember the last answers, under names that share what is the same in all of them."""
        if chunk.epoch != self.epoch:
            self.epoch = chunk.epoch
        self.answers[ChunkId(self.terms.session, chunk.share, self.epoch, chunk.seq)] = code
        if len(self.answers) > ANSWERS_MAX:
            del self.answers[next(iter(self.answers))]


@dataclass(slots=True)
class Unverified:
    """One-time bits handed out by the store, under which nothing has verified yet."""

    octets: Secret
    failures: int = 0


class Incoming(Part):
    """Opens what the neighbour sends and hands it on; answers once that is done."""

    def __init__(self, context: Context, neighbour: Neighbour) -> None:
        self.context, self.neighbour = context, neighbour
        self.shares: dict[ShareKey, IncomingShare] = {}
        self._unverified: dict[tuple[object, ...], Unverified] = {}

    # A share comes this way, or no more

    def open(self, terms: LaneOpened) -> None:
        """Take frames of a share from now on; other terms forget what was answered (R14)."""
        key = terms.session, terms.share
        known = self.shares.get(key)
        if known and known.terms.path == terms.path:
            known.terms = terms
        elif known or len(self.shares) < LANES_MAX:
            self.shares[key] = IncomingShare(terms)

    def close(self, key: ShareKey) -> None:
        """Take no frames of a share any more."""
        self.shares.pop(key, None)

    # Room for it, told to where it comes from

    @handles(LaneRoom)
    def on_lane_room(self, news: LaneRoom) -> None:
        """A relay here has pads for a share that comes from the neighbour: tell it."""
        share = self.shares.get((news.session, news.share))
        here = self.context.address.node
        if share and self.context.sender == Address(share.terms.target, here):
            share.room = news
            self._tell_room(news)

    def repeat_rooms(self) -> None:
        """The neighbour may not have heard."""
        for share in self.shares.values():
            if share.room:
                self._tell_room(share.room)

    def _tell_room(self, news: LaneRoom) -> None:
        if self.neighbour.speaks(Room):
            word = Room(
                session=news.session, share=news.share, after=news.after, octets=news.octets
            )
            self.context.tell(self.neighbour.relay, word)

    @handles(Wants)
    def on_wants(self, word: Wants) -> None:
        """The origin of a share from the neighbour waits for room."""
        share = self.shares.get((word.session, word.share))
        if share:
            news = LaneWants(session=word.session, share=word.share)
            self.context.tell(Address(share.terms.target, self.context.address.node), news)

    # A frame comes

    @handles(Carry)
    def on_carry(self, word: Carry) -> None:
        """Answer a chunk seen before as before; open a new one."""
        share = self.shares.get((word.chunk.session, word.chunk.share))
        if not well_formed(word):
            self._refuse(word.chunk, "malformed")
        elif share is None:
            if self.neighbour.settled(self.context.clock.now):
                self._refuse(word.chunk, "no_session")
        elif not self._in_place(share.terms, word):
            self._refuse(word.chunk, "not_allowed")
        elif word.chunk in share.answers:
            self._say_answer(word.chunk, share.answers[word.chunk])
        elif word.chunk in share.opening:
            pass  # the answer will come
        elif len(share.opening) >= OPENING_MAX:
            self._count_refused("busy")  # it comes again
        else:
            share.opening[word.chunk] = None
            self._open(share, word)

    def _in_place(self, terms: LaneOpened, word: Carry) -> bool:
        hop = terms.hop - 1
        return word.hop == hop and terms.path[hop : hop + 1] == (self.neighbour.name,)

    def _open(self, share: IncomingShare, word: Carry) -> None:
        known = self._unverified.pop(bits_of(word), None)
        if known:
            self._verify(share, word, known)
        else:
            ask = OpenPad(head=word.head, pieces=word.pieces)
            then = partial(self._pad_opened, share, word)
            self.context.ask(self.neighbour.store, ask, then, OPEN_S)

    def _pad_opened(self, share: IncomingShare, word: Carry, reply: Message) -> None:
        if isinstance(reply, PadOpened):
            self._verify(share, word, Unverified(reply.octets))
        elif isinstance(reply, Failed) and reply.code in _UNOPENED:
            self._answer(share, word.chunk, "lost")
        else:
            share.opening.pop(word.chunk, None)  # the store is not ready: it comes again

    def _verify(self, share: IncomingShare, word: Carry, bits: Unverified) -> None:
        here = self.context.address.node
        try:
            payload = open_frame((self.neighbour.name, here), word, bits.octets)
        except one_time_pad.Forged:
            self._failed(share, word, bits)
            return
        ask = relay.Pass(chunk=word.chunk, payload=payload)
        then = partial(self._passed, share, word.chunk)
        self.context.ask(Address(share.terms.target, here), ask, then, share.hold_s + ANSWER_S)

    def _failed(self, share: IncomingShare, word: Carry, bits: Unverified) -> None:
        """Wait for a better frame under the same bits, but not for long (R4)."""
        bits.failures += 1
        self._count_refused("bad_tag")
        if bits.failures >= FAILURES_MAX:
            peer = self.neighbour.name
            self.context.log.error("alarm", what="bad_tag", peer=peer)
            self.context.system.meter.add("protokms_alarms", kind="bad_tag", peer=peer)
            raised = alarms.Raised(id="bad_tag", subject=peer)
            self.context.tell(alarms.told(self.context.system.node), raised)
            self._answer(share, word.chunk, "bad_tag")
            return
        share.opening.pop(word.chunk, None)
        self._unverified[bits_of(word)] = bits
        if len(self._unverified) > UNVERIFIED_MAX:
            del self._unverified[next(iter(self._unverified))]

    def _passed(self, share: IncomingShare, chunk: ChunkId, reply: Message) -> None:
        if isinstance(reply, relay.Passed):
            self._answer(share, chunk, "")
        else:
            stale = isinstance(reply, Failed) and reply.code == "stale"
            self._answer(share, chunk, "stale" if stale else "busy")

    # Answers

    def _answer(self, share: IncomingShare, chunk: ChunkId, code: str) -> None:
        if chunk not in share.opening:
            return
        del share.opening[chunk]
        share.answered(chunk, code)
        self._say_answer(chunk, code)

    def _refuse(self, chunk: ChunkId, code: str) -> None:
        self._count_refused(code)
        self._say_answer(chunk, code)

    def _say_answer(self, chunk: ChunkId, code: str) -> None:
        word = NotCarried(chunk=chunk, code=code) if code else Carried(chunks=(chunk,))
        self.context.tell(self.neighbour.relay, word)

    def _count_refused(self, reason: str) -> None:
        meter = self.context.system.meter
        meter.add("protokms_relay_refused", peer=self.neighbour.name, reason=reason)
