"""The origin of chunks: draws random octets and sends them as shares over disjoint paths (R14)."""

import math
from collections.abc import Iterable
from functools import partial
from typing import NamedTuple

from actors.base import Context, Part, handles
from actors.crypto.one_time_pad import KEY_OCTETS
from actors.links.chunk_counts import ChunkCounts
from actors.links.share_assembler import xor_all
from actors.links.store_side import StoreSide
from actors.protocol import links, relay
from actors.protocol.relay import (
    ANSWER_S,
    CHUNK_MAX,
    CHUNK_MIN,
    HOLD_S,
    QUEUE_MAX,
    WINDOW,
    ChunkId,
    LaneOpened,
    LaneRoom,
    LaneWants,
    SessionId,
)
from transport.envelope import Address
from transport.message import Message, Secret, local

CHUNK_FIRST = 4 * CHUNK_MIN
IN_FLIGHT_MAX = 2
"""Chunks that the first relays have not taken over."""
TRANSIT_S = 10.0
"""Seconds that a chunk may be under way: after twice as many its origin has discarded it."""
QUICK = 0.25
"""A chunk taken over within this part of what it may take makes the next ones larger."""
WANTS_EVERY_S = 5.0
"""So often the path hears that there is demand and no room."""
SENT_MAX = 64
PAUSE_S = 0.5
"""Seconds without a chunk after one that was not taken over."""
SESSIONS_MAX = 8
_MICROSECONDS = 1_000_000


@local
class GoOn(Message):
    """A pause is over; `turn` tells one of an earlier opening."""

    turn: int


class Flight(NamedTuple):
    """A chunk whose shares the first relays are asked to take over."""

    since: float
    shares: set[int]


class ChunkSource(Part):
    """The sessions that begin here: chunks as far as the store's credit and the relays allow."""

    def __init__(self, context: Context, store_side: StoreSide, counts: ChunkCounts) -> None:
        self.context, self.store_side, self.counts = context, store_side, counts
        self.session: SessionId | None = None
        """The session in use: all its shares are open."""
        self._sessions: dict[SessionId, dict[int, LaneOpened]] = {}
        """The open shares of each session by number."""
        self._turn = 0
        self._flights: dict[int, Flight] = {}
        """By seq."""
        self._size, self._pace = CHUNK_FIRST, 1.0
        self._paused = False
        self._paused_at = self._wanted_at = -math.inf
        self._rooms: dict[tuple[SessionId, int], LaneRoom] = {}
        """What the first relays have said of the room of each share."""
        self._sent: list[tuple[int, int]] = []
        """Chunks sent lately, by seq and size: those that the first relays may not have counted.

        A short list: an empty one is small, and most links of a node are at rest."""
        self._next_seq = int(context.clock.now * _MICROSECONDS)
        """No seq comes twice under an epoch, not even after a crash of this actor."""

    # Sessions

    @property
    def shares(self) -> list[tuple[SessionId, int]]:
        """All shares that begin here."""
        return [(session, share) for session, shares in self._sessions.items() for share in shares]

    def open(self, terms: LaneOpened) -> None:
        """A share begins here; once all of its session are there, that session is used."""
        if terms.session not in self._sessions and len(self._sessions) >= SESSIONS_MAX:
            return
        shares = self._sessions.setdefault(terms.session, {})
        news = terms.share not in shares  # a repetition does not bring an older session back
        shares[terms.share] = terms
        if (news or self.session is None) and _complete(shares):
            self._use(terms.session)

    def close(self, session: SessionId, share: int) -> None:
        """A share ends: nothing of its session is used any further (R14)."""
        shares = self._sessions.get(session, {})
        shares.pop(share, None)
        self._rooms.pop((session, share), None)
        if not shares:
            self._sessions.pop(session, None)
        if session == self.session:
            self._withdraw()
            left = [it for it, shares in self._sessions.items() if _complete(shares)]
            if left:
                self._use(left[-1])

    def _use(self, session: SessionId) -> None:
        """Use this session from now on; all its shares are there."""
        if self.session is not None:
            self._withdraw()
        self.session = session
        self._pace = pace_of(terms.path for terms in self._sessions[session].values())
        self.go()

    def _withdraw(self) -> None:
        """What went over the old paths and is undecided must not count any more (R14)."""
        self.session = None
        self.forget_flights()
        if self.store_side.epoch is not None:
            self.withdraw(self.store_side.epoch)

    def withdraw(self, epoch: bytes) -> None:
        """Let nothing count that was emitted under this epoch and that no batch has named."""
        self.context.tell(self.store_side.store, links.Withdrawn(epoch=epoch))

    def forget_flights(self) -> None:
        """Begin anew: answers about chunks that are under way change nothing."""
        self._turn += 1
        self._flights.clear()
        self._sent.clear()
        self._wanted_at = -math.inf
        self._size, self._paused = CHUNK_FIRST, False

    # Chunks

    def go(self) -> None:
        """Draw chunks as far as credit and the first relays allow."""
        side = self.store_side
        while (
            side.epoch is not None
            and self.session is not None
            and not (self._paused or side.draining)
            and len(self._flights) < IN_FLIGHT_MAX
            and side.credit >= CHUNK_MIN
            and (room := self._room(self.session)) >= CHUNK_MIN
        ):
            size = min(self._size, side.credit, room)
            side.spend(size)
            self._send(self.session, side.epoch, size)
        self._want()

    # Room: every hop of every path has pads for what is sent (R13)

    @handles(LaneRoom)
    def on_lane_room(self, news: LaneRoom) -> None:
        """The first relay says what the whole of a path has pads for."""
        terms = self._sessions.get(news.session, {}).get(news.share)
        here = self.context.address.node
        if terms and self.context.sender == Address(terms.target, here):
            self._rooms[news.session, news.share] = news
            self.go()

    @handles(links.AskPathRoom)
    def on_ask_path_room(self, _: links.AskPathRoom) -> links.PathRoom:
        """Say what the store may expect."""
        if self.session is None:
            return links.PathRoom(octets=-1)
        return links.PathRoom(octets=max(0, self._room(self.session)))

    def _room(self, session: SessionId) -> int:
        """Octets for which every hop of every path has pads, less what is on its way there."""
        return min(self._room_of(session, share) for share in self._sessions[session])

    def _room_of(self, session: SessionId, share: int) -> int:
        news = self._rooms.get((session, share))
        if news is None:
            return 0
        return news.octets - sum(size + KEY_OCTETS for seq, size in self._sent if seq > news.after)

    def _want(self) -> None:
        """Say along the paths, now and then, that there is credit and no room."""
        session, side, now = self.session, self.store_side, self.context.clock.now
        idle = session is None or side.epoch is None or side.draining or side.credit < CHUNK_MIN
        if session is None or idle or self._room(session) >= CHUNK_MIN:
            return
        if now < self._wanted_at + WANTS_EVERY_S:
            return
        self._wanted_at = now
        for share, terms in self._sessions[session].items():
            to = Address(terms.target, self.context.address.node)
            self.context.tell(to, LaneWants(session=session, share=share))
        self.context.remind(WANTS_EVERY_S, GoOn(turn=self._turn))

    def _send(self, session: SessionId, epoch: bytes, size: int) -> None:
        shares, seq = self._sessions[session], self._next_seq
        self._next_seq += 1
        octets = self.context.system.random(size)
        # First the store, then the world: the peer must never name bits that are unknown here.
        payloads = (Secret(octets),)
        via = tuple(shares[share].path for share in sorted(shares))
        news = links.Emitted(epoch=epoch, first=seq, payloads=payloads, via=via)
        self.context.tell(self.store_side.store, news)
        self._sent.append((seq, size))
        del self._sent[:-SENT_MAX]
        self._flights[seq] = Flight(self.context.clock.now, set(shares))
        for share, part in enumerate(self._split(octets, len(shares))):
            chunk = ChunkId(session, share, epoch, seq)
            to = Address(shares[share].target, self.context.address.node)
            then = partial(self._taken, self._turn, seq, share)
            ask = relay.Pass(chunk=chunk, payload=Secret(part))
            room = self._rooms.get((session, share))
            hold_s = room.hold_s if room else HOLD_S
            self.context.ask(to, ask, then, hold_s + ANSWER_S)
        self.counts.chunk("sent", size)

    def _split(self, octets: bytes, n: int) -> list[bytes]:
        """Split in n shares, of which any n - 1 are random octets that tell nothing (R14)."""
        shares = [self.context.system.random(len(octets)) for _ in range(n - 1)]
        return [*shares, xor_all([octets, *shares])]

    def _taken(self, turn: int, seq: int, share: int, reply: Message) -> None:
        flight = self._flights.get(seq)
        if turn != self._turn or flight is None:
            return
        if isinstance(reply, relay.Passed):
            flight.shares.discard(share)
            if flight.shares:
                return
            self._adapt(self.context.clock.now - flight.since)
            del self._flights[seq]
            self.go()
            return
        self._sent = [it for it in self._sent if it[0] != seq]
        if not self._paused:
            self._paused, self._paused_at = True, self.context.clock.now
            self.context.remind(PAUSE_S, GoOn(turn=self._turn))
            self.counts.dropped("not_taken")
        del self._flights[seq]
        self.go()

    def _adapt(self, took: float) -> None:
        """Make chunks smaller where bits are short, so that they arrive while they count."""
        if took > self._pace:
            self._size = max(CHUNK_MIN, self._size // 2)
        elif took < QUICK * self._pace:
            self._size = min(CHUNK_MAX, self._size * 2)

    @handles(GoOn)
    def on_go_on(self, due: GoOn) -> None:
        """Draw again."""
        if due.turn == self._turn:
            if self.context.clock.now >= self._paused_at + PAUSE_S:
                self._paused = False
            self.go()


def pace_of(paths: Iterable[tuple[str, ...]]) -> float:
    """Seconds that each chunk may take at most, for all that can be on these paths at once."""
    hops = max(len(path) - 1 for path in paths)
    return TRANSIT_S / (hops * (QUEUE_MAX + WINDOW) + IN_FLIGHT_MAX)


def _complete(shares: dict[int, LaneOpened]) -> bool:
    return set(shares) == set(range(next(iter(shares.values())).shares)) if shares else False
