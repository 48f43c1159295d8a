"""One-time bits for the relay of a neighbour: pads allocated here, and those of the peer opened.

Rules R4 to R7 and R13; decision 0011. A pad has no row: the lease it lies in was held, and after
any start the rest of every lease is burnt. It counts under one pair of starts and one epoch.
"""

import math
from collections import deque
from typing import NamedTuple

from actors.base import Later, System, handles
from actors.fair import Shares
from actors.keeper import StoreOptions
from actors.mirror import Mirror, in_range
from actors.one_time import KEY_OCTETS
from actors.protocol import blocks, pads
from actors.protocol.blocks import Head, SegmentId
from actors.protocol.common import Failed, Refused
from actors.protocol.grants import Piece
from actors.protocol.relay import WEIGHT_MAX
from actors.standing import Epoch
from actors.vault import Clock
from transport.envelope import Address
from transport.message import Message, Secret, local

PAD_MAX = 80 << 10
"""Octets of one pad at most; a smaller store gives out at most a quarter of what it may hold."""
PADS_MAX = 4096
"""Pads given out and not done with."""
PADS_KEPT_S = 120.0
"""Seconds after which a pad that the relay never said is done counts as done."""
IDS_MAX = 4096
FORMER_MAX = 8
WAIT_MAX_S = 60.0
FLOOR_PART = 8
"""SAEs here have a floor of one such part of what the store may hold."""


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


class Pads(Mirror):
    """Serves `relay/<peer>` of this node: takes pads by shares, opens the peer's pads once."""

    def __init__(self, system: System, name: str, options: StoreOptions) -> None:
        super().__init__(system, name, options)
        self.relay = Address(f"relay/{options.peer}", system.node)
        self.pad_max = min(PAD_MAX, self.lease_octets, self.max_octets // 4)
        self.shares = Shares(self.max_octets // FLOOR_PART)
        self.pads: dict[int, Given] = {}
        self._waiters: dict[int, Waiter] = {}
        self._reminded = False
        self._peer = 0
        self._former: deque[int] = deque(maxlen=FORMER_MAX)
        """The life of the peer that we know of, and some before."""
        self._opened: dict[SegmentId, set[tuple[Piece, ...]]] = {}
        """Pads of the peer handed out, by their first segment, as long as that lives."""

    # Our pads

    @handles(pads.TakePad)
    def take_pad(self, ask: pads.TakePad) -> Later:
        """Queue for bits; `Refused` spends nothing."""
        self._only_relay()
        self.not_draining()
        self._check_pad(ask)
        if not self.peer_up:
            raise Refused("peer_down", f"{self.store} does not answer")
        if not self.standing.ready:
            raise Refused("not_ready", f"not in step with {self.store}, or frozen")
        queued = len(self.pads) + len(self._waiters) < PADS_MAX
        queued = queued and self.shares.ask(ask.id, ask.session, ask.octets, ask.weight)
        if not queued:
            raise Refused("busy", "too many pads are out or asked for")
        answer = self.later()
        self._waiters[ask.id] = Waiter(answer, self.clock.now + ask.wait)
        return answer  # served with all that came together

    def _check_pad(self, ask: pads.TakePad) -> None:
        if not KEY_OCTETS < ask.octets <= self.pad_max:
            raise Refused("malformed", f"a pad has {KEY_OCTETS + 1} to {self.pad_max} octets")
        if not (0 < ask.weight <= WEIGHT_MAX and 0.0 <= ask.wait <= WAIT_MAX_S):
            raise Refused("malformed", "no such weight, or no such wait")
        if ask.id in self._waiters or ask.id in self.pads:
            raise Refused("malformed", "this number is in use")

    def on_stock(self) -> None:
        """Hand out pads in fair order, as far as bits allow."""
        if not (self._waiters and self.standing.ready and self.peer_up):
            return
        shares, stream, now = self.shares, self.stream, self.clock.now
        while made := shares.next(stream.stock, stream.usable):
            pieces, octets = stream.take(made.octets, now)
            self.pads[made.id] = Given(pieces, now)
            head = self.standing.head(now=True)
            secret = Secret(octets)
            pad = pads.Pad(id=made.id, head=head, pieces=pieces, octets=secret)
            self._waiters.pop(made.id).answer(pad)
            self._count("taken", made.octets)
        waits = shares.head()
        needed = min(shares.promised + (waits.octets if waits else 0), 2 * self.lease_octets)
        if waits:
            self._remind()
            self.want(shares.account + shares.promised + shares.backlog)
        if waits and stream.usable < needed:
            self.lease_more(needed)
        else:
            self.lease_ahead()

    @handles(pads.PadsDone)
    def pads_done(self, news: pads.PadsDone) -> None:
        """Their bits are burnt: they no longer stand in the way of a close."""
        self._only_relay()
        for id_ in news.ids[:IDS_MAX]:
            self._no_more(id_)

    @handles(pads.ForgetPads)
    def forget_pads(self, _: pads.ForgetPads) -> None:
        """A new life of the relay: nobody uses what the old one was given, or waits for more."""
        self._only_relay()
        for id_ in [*self._waiters, *self.pads]:
            self._no_more(id_)

    def _no_more(self, id_: int) -> None:
        if self._waiters.pop(id_, None):
            self.shares.cancel(id_)
        given = self.pads.pop(id_, None)
        if given:
            self.stream.known(given.pieces)

    @handles(WaitsDue)
    def on_waits_due(self, _: WaitsDue) -> None:
        """Those who have waited long enough hear so."""
        if self.sender != self.address:
            raise Refused("not_allowed", "the store's own")
        self._reminded = False
        self._expire(self.clock.now)

    def _remind(self) -> None:
        """One timer for all: a wait shorter than that one ends at the next tick."""
        if not self._reminded:
            self._reminded = True
            until = min(waiter.until for waiter in self._waiters.values())
            seconds = max(0.0, until - self.clock.now) + 0.01  # timers run on another clock
            self.remind(seconds, WaitsDue())

    def _expire(self, now: float) -> None:
        late = [id_ for id_, waiter in self._waiters.items() if waiter.until <= now]
        self._fail(late, "timeout", "no bits in time")

    def _fail(self, ids: list[int], code: str, why: str) -> None:
        for id_ in ids:
            self.shares.cancel(id_)
            self._waiters.pop(id_).answer(Failed(code=code, why=why))

    # The peer's pads

    @handles(pads.OpenPad)
    def open_pad(self, ask: pads.OpenPad) -> pads.PadOpened:
        """Hand the octets out, once; they are gone here with this very turn."""
        self._only_relay()
        code = self._check_open(ask)
        if code:
            self.system.meter.add("protokms_pads_refused", peer=self.store, code=code)
            raise Refused(code, f"a pad of {self.store}")
        octets = self.cut(ask.pieces)
        self.stream.mark(ask.pieces)
        first = SegmentId(ask.pieces[0].holder, ask.pieces[0].batch)
        self._opened.setdefault(first, set()).add(ask.pieces)
        self._count("opened", len(octets))
        return pads.PadOpened(octets=Secret(octets))

    def _check_open(self, ask: pads.OpenPad) -> str:
        if self._outlived(ask.head):
            return "stale"
        if not self.admit(ask.head):
            return self._not_admitted(ask.head)
        if self.standing.frozen:
            return "not_ready"
        total = sum(piece.length for piece in ask.pieces)
        if not in_range(ask.pieces) or not KEY_OCTETS < total <= PAD_MAX:
            return "malformed"
        first = SegmentId(ask.pieces[0].holder, ask.pieces[0].batch)
        if ask.pieces in self._opened.get(first, ()):
            return "opened"
        code = self.check_pieces(ask.pieces)
        return "not_ready" if code == "wait" else code

    def _outlived(self, head: Head) -> bool:
        """Of a life that is over, of ours or of the peer's: such a frame is no news to ask about.

        Whoever answered our last question knows our start; a head with another is older.
        """
        over = head.yours != self.standing.start or head.mine in self._former
        return self.standing.resumed and over and (head.number, head.random) <= self.standing.epoch

    def _not_admitted(self, head: Head) -> str:
        """Between a question and its answer the same head may count again: then it is not stale."""
        standing = self.standing
        same = (head.number, head.random) == standing.epoch and head.yours == standing.start
        same = same and head.mine == (self._peer or head.mine)
        return "not_ready" if same and not standing.resumed else "stale"

    # When things end

    def on_closed(self, word: blocks.SegmentClosed) -> None:
        """What was opened in a segment is remembered as long as it lives."""
        super().on_closed(word)
        if word.segment not in self.stream.segments:
            self._opened.pop(word.segment, None)

    def on_resumed(self) -> None:
        """Note which life of the peer is over."""
        if self._peer not in (0, self.standing.peer):
            self._former.append(self._peer)
            self.stream.burn_idle(math.inf)  # it has forgotten what to wipe: close what is begun
        self._peer = self.standing.peer
        super().on_resumed()

    def on_out_of_step(self) -> None:
        """Who waits for bits need not wait; pads given out may still count (R7)."""
        self._fail(list(self._waiters), "not_ready", f"not in step with {self.store}")
        super().on_out_of_step()

    def new_epoch(self, epoch: Epoch) -> None:
        """Pads of the old epoch lie nowhere, and segments of the new one have the same names."""
        self.pads.clear()
        self._opened.clear()
        super().new_epoch(epoch)

    def on_tick(self, now: Clock) -> None:
        """End waits; count as done what the relay has forgotten."""
        self._expire(now.now)
        old = now.now - PADS_KEPT_S
        for id_ in [id_ for id_, given in self.pads.items() if given.at <= old]:
            self._no_more(id_)
        self.shares.wish = self.shares.wish * 7 // 8
        super().on_tick(now)

    def _only_relay(self) -> None:
        if self.sender != self.relay:
            raise Refused("not_allowed", f"pads are for {self.relay.name}")

    def _count(self, way: str, octets: int) -> None:
        self.system.meter.add("protokms_pad_octets", octets, peer=self.store, way=way)
