"""One hop of the relay: opens what the neighbour sends and hands it on; see relay_out (R4, R13)."""

from dataclasses import dataclass, field
from functools import partial

from actors import one_time
from actors.base import System, handles
from actors.lanes import CHUNK_MAX, LANES_MAX, WINDOW, LaneKey
from actors.protocol import relay
from actors.protocol.common import Failed
from actors.protocol.pads import OpenPad, PadOpened
from actors.protocol.relay import Carried, Carry, ChunkId, LaneClosed, LaneOpened, NotCarried
from actors.relay_out import ANSWER_S, Sending
from actors.relay_queue import HOLD_S, well_named
from transport.envelope import Address
from transport.message import Message, Secret

OPENING_MAX = 2 * WINDOW
ANSWERS_MAX = 16 * WINDOW
UNVERIFIED_MAX = 64
FAILURES_MAX = 3
PIECES_MAX = 64
OPEN_S = 2.0
_UNOPENED = frozenset({"stale", "opened", "malformed", "no_such_segment", "overlap", "frozen"})


@dataclass(slots=True)
class Incoming:
    """A lane from the neighbour: what is being opened, and what was answered."""

    terms: LaneOpened
    opening: dict[ChunkId, None] = field(default_factory=dict)
    answers: dict[ChunkId, str] = field(default_factory=dict)
    """The code of each answer; empty: carried."""


@dataclass(slots=True)
class Opened:
    """One-time bits handed out by the store, under which nothing has verified yet."""

    octets: Secret
    failures: int = 0


class Relay(Sending):
    """The relay to and from one neighbour."""

    def __init__(self, system: System, name: str, neighbour: str) -> None:
        super().__init__(system, name, neighbour)
        self._incoming: dict[LaneKey, Incoming] = {}
        self._unverified: dict[tuple[object, ...], Opened] = {}

    # Lanes

    @handles(LaneOpened)
    def on_lane_opened(self, terms: LaneOpened) -> None:
        """A session crosses this node by way of this neighbour, to it or from it."""
        if self.sender != self.sessions:
            return
        if terms.target == self.address.name:
            self.open_lane(terms)
        elif terms.source == self.address.name:
            key = terms.session, terms.share
            known = self._incoming.get(key)
            if known and known.terms.path == terms.path:
                known.terms = terms
            elif known or len(self._incoming) < LANES_MAX:
                self._incoming[key] = Incoming(terms)

    @handles(LaneClosed)
    def on_lane_closed(self, news: LaneClosed) -> None:
        """It does so no more."""
        if self.sender == self.sessions:
            self._incoming.pop((news.session, news.share), None)
            self.close_lane(news.session, news.share)

    @handles(relay.ForgetLanes)
    def on_forget_lanes(self, _: relay.ForgetLanes) -> None:
        """None does, as far as those know who know."""
        for session, share in [*self._incoming, *self.lanes.lanes]:
            self.on_lane_closed(LaneClosed(session=session, share=share))

    # A frame comes

    @handles(Carry)
    def on_carry(self, word: Carry) -> None:
        """Answer a chunk seen before as before; open a new one."""
        lane = self._incoming.get((word.chunk.session, word.chunk.share))
        if not _well_formed(word):
            self._refuse(word.chunk, "malformed")
        elif lane is None:
            if self.settled:
                self._refuse(word.chunk, "no_session")
        elif not self._in_place(lane.terms, word):
            self._refuse(word.chunk, "not_allowed")
        elif word.chunk in lane.answers:
            self._say_answer(word.chunk, lane.answers[word.chunk])
        elif word.chunk in lane.opening:
            pass  # the answer will come
        elif len(lane.opening) >= OPENING_MAX:
            self._count_refused("busy")  # it comes again
        else:
            lane.opening[word.chunk] = None
            self._open(lane, word)

    def _in_place(self, terms: LaneOpened, word: Carry) -> bool:
        hop = terms.hop - 1
        return word.hop == hop and terms.path[hop : hop + 1] == (self.neighbour,)

    def _open(self, lane: Incoming, word: Carry) -> None:
        known = self._unverified.pop(_pad_of(word), None)
        if known:
            self._verify(lane, word, known)
        else:
            ask = OpenPad(head=word.head, pieces=word.pieces)
            self.ask(self.store, ask, partial(self._pad_opened, lane, word), OPEN_S)

    def _pad_opened(self, lane: Incoming, word: Carry, reply: Message) -> None:
        if isinstance(reply, PadOpened):
            self._verify(lane, word, Opened(reply.octets))
        elif isinstance(reply, Failed) and reply.code in _UNOPENED:
            self._answer(lane, word.chunk, "lost")
        else:
            lane.opening.pop(word.chunk, None)  # the store is not ready: it comes again

    def _verify(self, lane: Incoming, word: Carry, opened: Opened) -> None:
        ends = self.neighbour, self.system.node
        place = one_time.carry_place(ends, word.head, word.pieces, word.chunk, word.hop)
        try:
            text = one_time.open_(opened.octets.reveal(), word.sealed, word.tag, place)
        except one_time.Forged:
            self._failed(lane, word, opened)
            return
        ask = relay.Pass(chunk=word.chunk, payload=Secret(text))
        target = Address(lane.terms.target, self.system.node)
        self.ask(target, ask, partial(self._passed, lane, word.chunk), HOLD_S + ANSWER_S)

    def _failed(self, lane: Incoming, word: Carry, opened: Opened) -> None:
        """Wait for a better frame under the same bits, but not for long (R4)."""
        opened.failures += 1
        self._count_refused("bad_tag")
        if opened.failures >= FAILURES_MAX:
            self.log.error("alarm", what="bad_tag", peer=self.neighbour)
            self.system.meter.add("protokms_alarms", kind="bad_tag", peer=self.neighbour)
            self._answer(lane, word.chunk, "bad_tag")
            return
        lane.opening.pop(word.chunk, None)
        self._unverified[_pad_of(word)] = opened
        if len(self._unverified) > UNVERIFIED_MAX:
            del self._unverified[next(iter(self._unverified))]

    def _passed(self, lane: Incoming, chunk: ChunkId, reply: Message) -> None:
        if isinstance(reply, relay.Passed):
            self._answer(lane, chunk, "")
        else:
            stale = isinstance(reply, Failed) and reply.code == "stale"
            self._answer(lane, chunk, "stale" if stale else "busy")

    # Answers

    def _answer(self, lane: Incoming, chunk: ChunkId, code: str) -> None:
        if chunk not in lane.opening:
            return
        del lane.opening[chunk]
        lane.answers[chunk] = code
        if len(lane.answers) > ANSWERS_MAX:
            del lane.answers[next(iter(lane.answers))]
        self._say_answer(chunk, code)

    def _refuse(self, chunk: ChunkId, code: str) -> None:
        self._count_refused(code)
        self._say_answer(chunk, code)

    def _say_answer(self, chunk: ChunkId, code: str) -> None:
        if code:
            self.tell(self.there, NotCarried(chunk=chunk, code=code))
        else:
            self.tell(self.there, Carried(chunks=(chunk,)))

    def _count_refused(self, reason: str) -> None:
        meter = self.system.meter
        meter.add("protokms_relay_refused", peer=self.neighbour, reason=reason)


def _well_formed(word: Carry) -> bool:
    """Whether the sizes of a frame make sense."""
    length = len(word.sealed)
    return (
        well_named(word.chunk)
        and 0 < length <= CHUNK_MAX
        and len(word.tag) == one_time.TAG_OCTETS
        and 0 < len(word.pieces) <= PIECES_MAX
        and all(piece.length > 0 for piece in word.pieces)
        and sum(piece.length for piece in word.pieces) == one_time.KEY_OCTETS + length
    )


def _pad_of(word: Carry) -> tuple[object, ...]:
    """Name the one-time bits of a frame, however often they are sent."""
    head = word.head
    return (head.mine, head.yours, head.number, head.random, *word.pieces)
