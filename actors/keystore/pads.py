"""One-time bits for the relay of a neighbour: pads allocated here, and those of the peer opened.

Rules R4 to R7 and R13; decision 0011. A pad has no row: the lease it lies in was held, and after
any start the rest of every lease is burnt. It counts under one pair of starts and one epoch.
"""

import math
from typing import NamedTuple

from actors.base import Clock, Context, Later, Part, handles
from actors.crypto.one_time_pad import KEY_OCTETS
from actors.keystore.serving import Serving
from actors.ledger.pieces import Pieces, in_range
from actors.ledger.segment import NEVER
from actors.ledger.shares import Shares
from actors.ledger.stream import Stream
from actors.protocol import pads
from actors.protocol.blocks import Head, SegmentId
from actors.protocol.common import Failed, Refused
from actors.protocol.grants import Piece
from actors.protocol.limits import WEIGHT_MAX
from actors.protocol.relay import ROOM_MAX
from actors.sync.demand import Yield
from actors.sync.peering import Peering
from actors.sync.segments import Segments
from transport.envelope import Address
from transport.message import Message, Secret, local

PAD_MAX = 80 << 10
"""Octets of one pad at most; a smaller store gives out at most a quarter of what it may hold."""
PADS_MAX = 4096
"""Pads given out and not done with."""
PADS_KEPT_S = 1_200.0
"""Seconds after which a pad that the relay never said is done counts as done."""
IDS_MAX = 4096
FORMER_MAX = 8
WAIT_MAX_S = 600.0
WANTED_S = 15.0
"""What the relay claims is kept for so long after it has said so."""
ROOM_STEP = 8
"""Room that has changed by such a part is news."""


@local
class WaitsDue(Message):
    """Time to say no to those who have waited for bits."""


class Waiter(NamedTuple):
    """A pad asked for that has no bits yet."""

    answer: Later
    until: float


class Given(NamedTuple):
    """A pad that the relay has and is not done with; when it got it."""

    pieces: tuple[Piece, ...]
    at: float


class RelayGate:
    """Pads are for the relay of one peer, at this node, alone; what it gets is counted."""

    def __init__(self, context: Context, peer: str) -> None:
        self._context, self._name = context, peer
        self.relay = Address(f"relay/{peer}", context.address.node)
        self.octets = 0
        """How many were handed out, of pads of either end."""

    def check(self) -> None:
        """Refuse whoever is not that relay."""
        if self._context.sender != self.relay:
            raise Refused("not_allowed", f"pads are for {self.relay.name}")

    def count(self, way: str, octets: int) -> None:
        """Count octets handed out, `taken` or `opened`."""
        self.octets += octets
        self._context.system.meter.add("protokms_pad_octets", octets, peer=self._name, way=way)

    def show(self, out: int) -> None:
        """Show how many pads the relay has and is not done with."""
        self._context.system.meter.set("protokms_pads_out", float(out), peer=self._name)


class OwnPads(Part):
    """Gives `relay/<peer>` of this node pads out of our leases, by shares."""

    def __init__(
        self,
        context: Context,
        peer: Peering,
        segments: Segments,
        *,
        stream: Stream,
        shares: Shares,
        supply: Yield,
        serving: Serving,
        gate: RelayGate,
        most: int,
    ) -> None:
        self._context, self._peer, self._segments = context, peer, segments
        self._stream, self._supply = stream, supply
        self._shares, self._serving, self._gate = shares, serving, gate
        self._most = most
        self.most = min(PAD_MAX, segments.lease_octets, most // 4)
        """Octets of the largest pad."""
        self.pads: dict[int, Given] = {}
        self._waiters: dict[int, Waiter] = {}
        self._reminded = False
        self._wants_at = NEVER
        self._tells_room, self._room_told, self._came = False, -1, 0

    @handles(pads.TakePad)
    def take_pad(self, ask: pads.TakePad) -> Later:
        """Queue for bits; `Refused` spends nothing."""
        self._gate.check()
        self._serving.check()
        self._check(ask)
        if not self._peer.up:
            raise Refused("peer_down", self._peer.why_down)
        if not self._peer.state.ready:
            raise Refused("not_ready", f"not in step with {self._peer.name}, or frozen")
        queued = len(self.pads) + len(self._waiters) < PADS_MAX
        queued = queued and self._shares.ask(ask.id, ask.session, ask.octets, ask.weight)
        if not queued:
            raise Refused("busy", "too many pads are out or asked for")
        answer = self._context.later()
        self._waiters[ask.id] = Waiter(answer, self._context.clock.now + ask.wait)
        return answer  # served with all that came together

    def _check(self, ask: pads.TakePad) -> None:
        if not KEY_OCTETS < ask.octets <= self.most:
            raise Refused("malformed", f"a pad has {KEY_OCTETS + 1} to {self.most} octets")
        if not (0 < ask.weight <= WEIGHT_MAX and 0.0 <= ask.wait <= WAIT_MAX_S):
            raise Refused("malformed", "no such weight, or no such wait")
        if ask.id in self._waiters or ask.id in self.pads:
            raise Refused("malformed", "this number is in use")

    def serve(self) -> None:
        """Hand out pads in fair order, as far as bits allow."""
        came, self._came = self._stream.came - self._came, self._stream.came
        self._shares.came(came, self._stream.stock)
        if not (self._waiters and self._peer.state.ready and self._peer.up):
            return
        shares, stream, now = self._shares, self._stream, self._context.clock.now
        while made := shares.next(stream.stock, stream.usable):
            pieces, octets = stream.take(made.octets, now)
            self.pads[made.id] = Given(pieces, now)
            head = self._peer.state.head(now=True)
            secret = Secret(octets)
            pad = pads.Pad(id=made.id, head=head, pieces=pieces, octets=secret)
            self._waiters.pop(made.id).answer(pad)
            self._gate.count("taken", made.octets)
            self._room_told = max(0, self._room_told - made.octets)  # the relay knows
        waits = shares.head()
        needed = shares.reserved + (waits.octets if waits else 0)
        needed = min(needed, 2 * self._segments.lease_octets)
        if waits:
            self._remind()
            self._segments.want(shares.account + shares.reserved + shares.backlog)
        if waits and stream.usable < needed:
            self._segments.lease_more(needed)
        else:
            self._segments.lease_ahead()

    # Room: what the relay may count on

    @handles(pads.AskPadRoom)
    def on_ask_room(self, _: pads.AskPadRoom) -> None:
        """The relay has shares to send: tell it what there is, from now on."""
        self._gate.check()
        self._tells_room, self._room_told = True, -1

    @handles(pads.WantPads)
    def want_pads(self, ask: pads.WantPads) -> None:
        """The relay waits for so many octets: they are not for SAEs here, and the peer is asked."""
        self._gate.check()
        shares, stream = self._shares, self._stream
        shares.wanted, self._wants_at = min(ask.octets, self._most // 2), self._context.clock.now
        least = min(ask.octets, self.most)
        if least > 0:
            self._segments.want(least + shares.reserved + shares.account)
            if stream.usable < least <= stream.stock:
                self._segments.lease_more(least)

    def tell_room(self) -> None:
        """Tell the relay what there is for it, if that is news."""
        if not self._tells_room:
            return
        ready = self._peer.state.ready and self._peer.up and not self._serving.stopped
        room = min(ROOM_MAX, self._shares.room(self._stream.stock)) if ready else 0
        told = self._room_told
        if room != told and (told < 0 or abs(room - told) * ROOM_STEP >= min(room, told)):
            self._room_told = room
            news = pads.PadRoom(octets=room, rate=self._supply.rate)
            self._context.tell(self._gate.relay, news)

    @handles(pads.PadsDone)
    def pads_done(self, news: pads.PadsDone) -> None:
        """Their bits are burnt: they no longer stand in the way of a close."""
        self._gate.check()
        for id_ in news.ids[:IDS_MAX]:
            self._no_more(id_)

    @handles(pads.ForgetPads)
    def forget_pads(self, _: pads.ForgetPads) -> None:
        """A new life of the relay: nobody uses what the old one was given, or waits for more."""
        self._gate.check()
        for id_ in [*self._waiters, *self.pads]:
            self._no_more(id_)

    def _no_more(self, id_: int) -> None:
        if self._waiters.pop(id_, None):
            self._shares.cancel(id_)
        given = self.pads.pop(id_, None)
        if given:
            self._stream.known(given.pieces)

    @handles(WaitsDue)
    def on_waits_due(self, _: WaitsDue) -> None:
        """Those who have waited long enough hear so."""
        if self._context.sender != self._context.address:
            raise Refused("not_allowed", "the store's own")
        self._reminded = False
        self._expire(self._context.clock.now)

    def _remind(self) -> None:
        """One timer for all: a wait shorter than that one ends at the next tick."""
        if not self._reminded:
            self._reminded = True
            until = min(waiter.until for waiter in self._waiters.values())
            seconds = max(0.0, until - self._context.clock.now) + 0.01  # timers: another clock
            self._context.remind(seconds, WaitsDue())

    def _expire(self, now: float) -> None:
        late = [id_ for id_, waiter in self._waiters.items() if waiter.until <= now]
        self._fail(late, "timeout", "no bits in time")

    def _fail(self, ids: list[int], code: str, why: str) -> None:
        for id_ in ids:
            self._shares.cancel(id_)
            self._waiters.pop(id_).answer(Failed(code=code, why=why))

    # What befalls the store

    def out_of_step(self) -> None:
        """Who waits for bits need not wait; pads given out may still count (R7)."""
        self._fail(list(self._waiters), "not_ready", f"not in step with {self._peer.name}")

    def new_epoch(self) -> None:
        """Pads of the old epoch lie nowhere."""
        self.pads.clear()

    @property
    def quiet(self) -> bool:
        """Whether nobody waits for a pad, nor has one."""
        return not self.pads and not self._waiters

    def tick(self, now: Clock) -> None:
        """End waits; count as done what the relay has forgotten."""
        self._expire(now.now)
        old = now.now - PADS_KEPT_S
        for id_ in [id_ for id_, given in self.pads.items() if given.at <= old]:
            self._no_more(id_)
        self._gate.show(len(self.pads))
        self._shares.refill_target = self._shares.refill_target * 7 // 8
        if now.now - self._wants_at >= WANTED_S:  # the relay is another by now
            self._shares.wanted = 0
        self._shares.follow(self._supply.rate, now.now)


class PeerPads(Part):
    """Opens the pads of the peer for `relay/<peer>` of this node, each once."""

    def __init__(
        self,
        context: Context,
        peer: Peering,
        *,
        stream: Stream,
        pieces: Pieces,
        gate: RelayGate,
    ) -> None:
        self._context, self._peer, self._stream = context, peer, stream
        self._pieces, self._gate = pieces, gate
        self._life = 0
        self._former: list[int] = []
        """The life of the peer that we know of, and some before."""
        self._opened: dict[SegmentId, set[tuple[Piece, ...]]] = {}
        """Pads of the peer handed out, by their first segment, as long as that lives."""

    @handles(pads.OpenPad)
    def open_pad(self, ask: pads.OpenPad) -> pads.PadOpened:
        """Hand the octets out, once; they are gone here with this very turn."""
        self._gate.check()
        code = self._check(ask)
        if code:
            meter = self._context.system.meter
            meter.add("protokms_pads_refused", peer=self._peer.name, code=code)
            raise Refused(code, f"a pad of {self._peer.name}")
        octets = self._pieces.cut(ask.pieces)
        self._pieces.use_up(ask.pieces)
        first = SegmentId(ask.pieces[0].holder, ask.pieces[0].batch)
        self._opened.setdefault(first, set()).add(ask.pieces)
        self._gate.count("opened", len(octets))
        return pads.PadOpened(octets=Secret(octets))

    def _check(self, ask: pads.OpenPad) -> str:
        if self._outlived(ask.head):
            return "stale"
        if not self._peer.admit(ask.head):
            return self._not_admitted(ask.head)
        if self._peer.state.frozen:
            return "not_ready"
        total = sum(piece.length for piece in ask.pieces)
        if not in_range(ask.pieces) or not KEY_OCTETS < total <= PAD_MAX:
            return "malformed"
        first = SegmentId(ask.pieces[0].holder, ask.pieces[0].batch)
        if ask.pieces in self._opened.get(first, ()):
            return "opened"
        code = self._pieces.check(ask.pieces)
        if code == "overlap":
            self._peer.freeze(code)
        return "not_ready" if code == "wait" else code

    def _outlived(self, head: Head) -> bool:
        """Of a life that is over, of ours or of the peer's: such a frame is no news to ask about.

        Whoever answered our last question knows our start; a head with another is older.
        """
        state = self._peer.state
        over = head.yours != state.start or head.mine in self._former
        return state.resumed and over and (head.number, head.random) <= state.epoch

    def _not_admitted(self, head: Head) -> str:
        """Between a question and its answer the same head may count again: then it is not stale."""
        state = self._peer.state
        same = (head.number, head.random) == state.epoch and head.yours == state.start
        same = same and head.mine == (self._life or head.mine)
        return "not_ready" if same and not state.resumed else "stale"

    # What befalls the store

    def resumed(self) -> None:
        """Note which life of the peer is over."""
        life = self._peer.state.peer
        if self._life not in (0, life):
            self._former.append(self._life)
            del self._former[:-FORMER_MAX]
            self._stream.burn_idle(math.inf)  # it has forgotten what to wipe: close what is begun
        self._life = life

    def segment_closed(self, name: SegmentId) -> None:
        """What was opened in a segment is remembered as long as it lives."""
        self._opened.pop(name, None)

    def new_epoch(self) -> None:
        """Segments of the new epoch have the same names."""
        self._opened.clear()
