"""Segments of the stream that two ends share: leases, transfers, closing (R1, R5, R6)."""

from actors.base import Clock, Context, Part, handles
from actors.crypto.one_time_pad import KEY_OCTETS
from actors.ledger.segment import NEVER
from actors.ledger.stream import Stream
from actors.protocol import blocks
from actors.protocol.blocks import SegmentId
from actors.sync.demand import Yield
from actors.sync.peering import REPEAT_S, REPEATS_MAX, Peering

LEASE_LEAST = 16 << 10
"""Octets leased ahead though nobody waits for them,"""
LEASE_S = 2.0
"""but not more than comes in in so many seconds; ten times as many while somebody waits (R6)."""
ASKED_S = 60.0
"""As long after it was last asked an end of a slow link leases ahead: what one end has leased the
other cannot get."""
IDLE_BURN_S = 600.0
WANT_EVERY_S = 0.1
STORE_PARTS = 2
"""One end leases no more than such a part of what a store may hold, or the largest request: the
other cannot get what is leased, and nothing comes in beside it once the store is full."""


class Segments(Part):
    """Which segment may be used, and whose it is.

    At most `lease_octets`, the largest request, are leased ahead, unless somebody waits for more,
    and never more than a part of the `most` octets of the store; with less stock than `want_octets`
    the peer is asked for some of its own.
    """

    def __init__(
        self,
        context: Context,
        peer: Peering,
        *,
        stream: Stream,
        supply: Yield,
        lease_octets: int,
        want_octets: int,
        most: int,
    ) -> None:
        self._context, self._peer, self._stream = context, peer, stream
        self._supply = supply
        self.lease_octets, self._want_octets = lease_octets, want_octets
        self._most = max(most // STORE_PARTS, lease_octets + KEY_OCTETS)
        self._wanted = self._asked_at = NEVER
        self._ahead = self._ahead_least

    # Leases (R6)

    @property
    def _ahead_least(self) -> int:
        """Octets leased though nobody waits for them."""
        most = min(LEASE_LEAST, self.lease_octets)
        ahead = int(self._supply.rate * LEASE_S)
        idle = self._context.clock.now - self._asked_at >= ASKED_S
        return most if ahead >= most else 0 if idle else ahead

    @property
    def _ahead_most(self) -> int:
        rate = self._supply.rate
        most = int(rate * 10 * LEASE_S) if rate > 0 else self.lease_octets
        return max(self._ahead_least, min(self.lease_octets, most))

    def lease_ahead(self) -> None:
        """See to it that usable bits, or leases on their way, cover what comes next."""
        if not self._peer.state.ready:
            return
        now = self._context.clock.now
        ahead = self._stream.usable + self._stream.asked
        wanted = min(self._ahead, self._most)
        names = []
        while ahead < wanted and (segment := self._stream.lease_next(now)):
            names.append(segment.id)
            ahead += segment.free
        self._say_lease(names)

    def lease_more(self, needed: int) -> None:
        """Somebody waits for a lease: have more ahead from now on, for a while."""
        self._asked_at = self._context.clock.now
        self._ahead = max(needed, min(self._ahead_most, 2 * self._ahead))
        self.lease_ahead()

    def _say_lease(self, names: list[SegmentId]) -> None:
        if names:
            head = self._peer.state.head()
            self._peer.say(blocks.Lease(head=head, segments=tuple(names)))

    @handles(blocks.Lease)
    def on_lease(self, word: blocks.Lease) -> None:
        """Hold the peer's leases durably, then say so."""
        held = tuple(name for name in word.segments if self._stream.hold_lease(name))
        if held:
            head = self._peer.state.head()
            self._peer.say(blocks.LeaseHeld(head=head, segments=held))

    @handles(blocks.LeaseHeld)
    def on_lease_held(self, word: blocks.LeaseHeld) -> None:
        """Our leases are durable at both ends: their bits may be used."""
        for name in word.segments:
            self._stream.lease_held(name)

    # Transfers (R5)

    def want(self, needed: int) -> None:
        """Ask the peer for segments when we run short and it does not; or it has what we lack.

        What it gives is leased as it comes: two ends that are short would pass it to and fro.
        """
        now = self._context.clock.now
        ours, theirs = self._stream.stock, self._stream.fresh_octets[False]
        self._asked_at, self._ahead = now, max(self._ahead, needed)
        short = ours < needed or (ours < self._want_octets and ours < theirs)
        short = short and theirs > 0
        if self._peer.state.ready and short and now - self._wanted >= WANT_EVERY_S:
            self._wanted = now
            octets = needed + (theirs - ours) // 2
            head = self._peer.state.head(now=True)
            self._peer.tell(blocks.Wanted(head=head, octets=octets))

    @handles(blocks.Wanted)
    def on_wanted(self, word: blocks.Wanted) -> None:
        """Give segments away, as long as we have more fresh ones than the peer."""
        if not self._peer.state.ready:
            return
        stream, given = self._stream, 0
        fresh = stream.fresh_octets
        while given < word.octets and fresh[True] > fresh[False]:
            segment = stream.newest()
            if segment is None or len(stream.giving) >= REPEATS_MAX:
                break
            given += segment.free
            self._say_transfer(segment.id, stream.give(segment.id, self._context.clock.now))

    def _say_transfer(self, name: SegmentId, n: int) -> None:
        self._stream.giving[name] = self._context.clock.now
        self._peer.say(blocks.Transfer(head=self._peer.state.head(), segment=name, n=n))

    @handles(blocks.Transfer)
    def on_transfer(self, word: blocks.Transfer) -> None:
        """Take a segment, once."""
        if self._stream.accept(word.segment, word.n):
            head = self._peer.state.head()
            self._peer.say(blocks.TransferTaken(head=head, segment=word.segment, n=word.n))
            self.lease_ahead()

    @handles(blocks.TransferTaken)
    def on_taken(self, word: blocks.TransferTaken) -> None:
        """It is the peer's."""
        self._stream.taken(word.segment, word.n)

    # The end of a segment (R1)

    @handles(blocks.SegmentClosedHeld)
    def on_closed_held(self, word: blocks.SegmentClosedHeld) -> None:
        """Both ends have burnt it."""
        self._stream.closed(word.segment)

    # What befalls the store

    def repeat(self, now: Clock, *, everything: bool = False) -> None:
        """Say again what has not been acknowledged for a while."""
        before, stream = now.now if everything else now.now - REPEAT_S, self._stream
        for name in [n for n, told in stream.giving.items() if told <= before][:REPEATS_MAX]:
            self._say_transfer(name, stream.segments[name].transfer_no)
        leases = [segment for segment in stream.asking() if segment.last_sent <= before][
            :REPEATS_MAX
        ]
        for segment in leases:
            segment.last_sent = now.now
        self._say_lease([segment.id for segment in leases])
        for segment in [s for s in stream.closable() if s.last_sent <= before][:REPEATS_MAX]:
            segment.last_sent = now.now
            head = self._peer.state.head()
            self._peer.say(blocks.SegmentClosed(head=head, segment=segment.id))

    @property
    def quiet(self) -> bool:
        """Whether no lease, transfer or close waits for its acknowledgement, nor any wipe."""
        stream = self._stream
        return not (stream.giving or any(stream.asking()) or stream.closable() or stream.owes)

    def tick(self, now: Clock) -> None:
        """Lease less ahead when nobody has waited; burn what nobody uses."""
        self._ahead = max(self._ahead_least, self._ahead * 7 // 8)
        self._stream.burn_idle(now.now - IDLE_BURN_S)
