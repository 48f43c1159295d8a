"""The virtual link: fills the store of a distant KMS with octets relayed over trusted nodes.

The twin of the quantum link towards the key store. One actor is both ends: of the session that
begins here, and of the one that begins at the peer. The paths are the business of `sessions`.
"""

from collections.abc import Iterable
from functools import partial, reduce
from operator import xor
from typing import NamedTuple

from actors.base import System, handles
from actors.joining import Joining
from actors.lanes import CHUNK_MAX, QUEUE_MAX, WINDOW
from actors.link import AskAgain, Link
from actors.protocol import links, relay
from actors.protocol.common import Health, Healthy, Refused
from actors.protocol.relay import ChunkId, LaneClosed, LaneOpened, SessionId
from actors.relay_out import ANSWER_S
from actors.relay_queue import HOLD_S
from transport.envelope import Address
from transport.message import Message, Secret, local

CHUNK_MIN = 1_100
"""Octets of the smallest chunk: a batch by itself."""
CHUNK_FIRST = 4 * CHUNK_MIN
IN_FLIGHT_MAX = 2
"""Chunks that the first relays have not taken over."""
TRANSIT_S = 10.0
"""Seconds that a chunk may be under way: after twice as many its origin has discarded it."""
QUICK = 0.25
PAUSE_S = 0.5
"""Seconds without a chunk after one that was not taken over."""
SESSIONS_MAX = 8
INCOMING_MAX = 64
_MICROSECONDS = 1_000_000


@local
class GoOn(Message):
    """A pause is over; `turn` tells one of an earlier opening."""

    turn: int


class Flight(NamedTuple):
    """A chunk whose shares the first relays are asked to take over."""

    seq: int
    since: float
    shares: set[int]


class VirtualLink(Link):
    """Both ends of the sessions between this node and a distant peer."""

    def __init__(self, system: System, name: str, peer: str) -> None:
        super().__init__(system, name, peer)
        self._peer = peer
        self._sessions = Address("sessions", system.node)
        self._outgoing: dict[SessionId, dict[int, LaneOpened]] = {}
        self._incoming: dict[tuple[SessionId, int], LaneOpened] = {}
        self._joining = Joining()
        self._session: SessionId | None = None
        """The session in use: all its lanes are open."""
        self._turn = 0
        self._flights: dict[int, Flight] = {}
        self._size, self._pace = CHUNK_FIRST, 1.0
        self._paused = False
        self._next_seq = int(system.now() * _MICROSECONDS)
        """No seq comes twice under an epoch, not even after a crash of this actor."""

    def started(self) -> None:
        """Ask for lanes, and the store for its epoch."""
        self.tell(self._sessions, relay.AskLanes())
        self.on_ask_again(AskAgain())

    # What the store says

    @handles(AskAgain)
    def on_ask_again(self, due: AskAgain) -> None:
        """Forget shares whose others never came, too."""
        self._joining.forget(self.system.now())
        super().on_ask_again(due)

    def idle(self) -> bool:
        """Closed, or without credit for a chunk."""
        return super().idle() or self.credit < CHUNK_MIN

    def begin(self, epoch: bytes) -> bool:
        """Whatever a former life has sent under this epoch does not count."""
        self.tell(self.store, links.Withdrawn(epoch=epoch))
        return True

    def go(self) -> None:
        """Draw chunks as far as credit and the first relays allow."""
        while (
            self.epoch is not None
            and self._session is not None
            and not (self._paused or self.draining)
            and len(self._flights) < IN_FLIGHT_MAX
            and self.credit >= CHUNK_MIN
        ):
            size = min(self._size, self.credit)
            self.credit -= size
            self._send(self._session, self.epoch, size)

    def end(self) -> None:
        """Forget what is under way, and shares that wait for others."""
        super().end()
        self._joining.clear()
        self._forget_flights()

    # Lanes

    @handles(LaneOpened)
    def on_lane_opened(self, terms: LaneOpened) -> None:
        """A share of a session begins or ends here."""
        if self.sender != self._sessions:
            return
        if terms.source == self.address.name:
            if terms.session not in self._outgoing and len(self._outgoing) >= SESSIONS_MAX:
                return
            lanes = self._outgoing.setdefault(terms.session, {})
            news = terms.share not in lanes  # a repetition does not bring an older session back
            lanes[terms.share] = terms
            if (news or self._session is None) and _complete(lanes):
                self._use(terms.session)
        elif terms.target == self.address.name:
            key = terms.session, terms.share
            if key in self._incoming or len(self._incoming) < INCOMING_MAX:
                self._incoming[key] = terms

    @handles(LaneClosed)
    def on_lane_closed(self, news: LaneClosed) -> None:
        """It does so no more: nothing of its session is used any further (R14)."""
        if self.sender != self._sessions:
            return
        if self._incoming.pop((news.session, news.share), None):
            self._joining.drop(news.session)
        lanes = self._outgoing.get(news.session, {})
        lanes.pop(news.share, None)
        if not lanes:
            self._outgoing.pop(news.session, None)
        if news.session == self._session:
            self._withdraw()
            left = [it for it, lanes in self._outgoing.items() if _complete(lanes)]
            if left:
                self._use(left[-1])

    @handles(relay.ForgetLanes)
    def on_forget_lanes(self, _: relay.ForgetLanes) -> None:
        """None does, as far as those know who know."""
        keys = [(session, share) for session, lanes in self._outgoing.items() for share in lanes]
        for session, share in [*keys, *self._incoming]:
            self.on_lane_closed(LaneClosed(session=session, share=share))

    def _use(self, session: SessionId) -> None:
        """Use these lanes from now on; all of the session are there."""
        if self._session is not None:
            self._withdraw()
        self._session = session
        self._pace = pace_of(lane.path for lane in self._outgoing[session].values())
        self.go()

    def _withdraw(self) -> None:
        """What went over the old paths and is undecided must not count any more (R14)."""
        self._session = None
        self._forget_flights()
        if self.epoch is not None:
            self.tell(self.store, links.Withdrawn(epoch=self.epoch))

    def _forget_flights(self) -> None:
        self._turn += 1
        self._flights.clear()
        self._size, self._paused = CHUNK_FIRST, False

    # The origin

    def _send(self, session: SessionId, epoch: bytes, size: int) -> None:
        lanes, seq = self._outgoing[session], self._next_seq
        self._next_seq += 1
        octets = self.system.random(size)
        # First the store, then the world: the peer must never name bits that are unknown here.
        payloads = (Secret(octets),)
        via = tuple(lanes[share].path for share in sorted(lanes))
        self.tell(self.store, links.Emitted(epoch=epoch, first=seq, payloads=payloads, via=via))
        self._flights[seq] = Flight(seq, self.system.now(), set(lanes))
        for share, part in enumerate(self._split(octets, len(lanes))):
            chunk = ChunkId(session, share, epoch, seq)
            to = Address(lanes[share].target, self.system.node)
            then = partial(self._taken, self._turn, seq, share)
            ask = relay.Pass(chunk=chunk, payload=Secret(part))
            self.ask(to, ask, then, HOLD_S + ANSWER_S)
        self._note("sent", size)

    def _split(self, octets: bytes, n: int) -> list[bytes]:
        """Split in n shares, of which any n - 1 are random octets that tell nothing (R14)."""
        shares = [self.system.random(len(octets)) for _ in range(n - 1)]
        return [*shares, xor_all([octets, *shares])]

    def _taken(self, turn: int, seq: int, share: int, reply: Message) -> None:
        flight = self._flights.get(seq)
        if turn != self._turn or flight is None:
            return
        if isinstance(reply, relay.Passed):
            flight.shares.discard(share)
            if flight.shares:
                return
            self._adapt(self.system.now() - flight.since)
        elif not self._paused:
            self._paused = True
            self.remind(PAUSE_S, GoOn(turn=self._turn))
            self.refuse("not_taken")
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
            self._paused = False
            self.go()

    # The far end

    @handles(relay.Pass)
    def on_pass(self, ask: relay.Pass) -> relay.Passed:
        """Take a share; once all of them are here, the store hears of the datagram."""
        chunk = ask.chunk
        terms = self._incoming.get((chunk.session, chunk.share))
        if terms is None or self.sender != Address(terms.source, self.system.node):
            raise Refused("no_session", "that session does not end here")
        if self.epoch is None or chunk.epoch != self.epoch:
            self.refuse("stale")
            raise Refused("stale", "the stores have resumed since, or have not")
        parts = self._joining.add(chunk, terms.shares, ask.payload, self.system.now())
        if parts and len(set(map(len, parts))) > 1:
            self.refuse("unequal")
        elif parts:
            self._receive(chunk, terms.shares, xor_all([part.reveal() for part in parts]))
        return relay.Passed()

    def _receive(self, chunk: ChunkId, shares: int, octets: bytes) -> None:
        lanes = [self._incoming.get((chunk.session, share)) for share in range(shares)]
        via = tuple(lane.path for lane in lanes if lane)
        payloads = (Secret(octets),)
        news = links.Received(epoch=chunk.epoch, seqs=(chunk.seq,), payloads=payloads, via=via)
        self.tell(self.store, news)
        self._note("received", len(octets))

    # What the node says

    @handles(Health)
    def health(self, _: Health) -> Healthy:
        """Ready whenever it answers: a node serves its neighbours without any session."""
        state = "open" if self.epoch and self._session else "closed"
        facts = (("session", state), ("credit_octets", str(self.credit)))
        return Healthy(ready=True, reasons=(), facts=facts)

    def _note(self, way: str, octets: int) -> None:
        meter = self.system.meter
        meter.add("protokms_virtual_chunks", peer=self._peer, way=way)
        meter.add("protokms_virtual_octets", octets, peer=self._peer, way=way)

    def refuse(self, reason: str) -> None:
        """Count what came too late, from somebody else, or was not taken over."""
        self.system.meter.add("protokms_virtual_dropped", peer=self._peer, reason=reason)


def xor_all(parts: list[bytes]) -> bytes:
    """XOR octet strings of one length."""
    mixed = reduce(xor, (int.from_bytes(part, "big") for part in parts))
    return mixed.to_bytes(len(parts[0]), "big")


def pace_of(paths: Iterable[tuple[str, ...]]) -> float:
    """Seconds that each chunk may take at most, for all that can be on these paths at once."""
    hops = max(len(path) - 1 for path in paths)
    return TRANSIT_S / (hops * (QUEUE_MAX + WINDOW) + IN_FLIGHT_MAX)


def _complete(lanes: dict[int, LaneOpened]) -> bool:
    return set(lanes) == set(range(next(iter(lanes.values())).shares)) if lanes else False
