"""The conversation of two ends about their stream: batches, leases, transfers (R1-R6)."""

from actors.base import System, handles
from actors.batches import Batches
from actors.journal import Shelf
from actors.keeper import StoreOptions
from actors.link_side import REPEAT_S, LinkSide
from actors.protocol import blocks
from actors.protocol.blocks import Head, SegmentId
from actors.segment import NEVER
from actors.standing import Epoch
from actors.stream import Stream
from actors.vault import Clock

REPEATS_MAX = 64
EMITTED_S = 20.0
ARRIVED_S = 10.0
LEASE_AHEAD = 128 << 10
LEASE_LEAST = 16 << 10
IDLE_BURN_S = 600.0
WANT_EVERY_S = 0.1
WANT_BELOW = 256 << 10


class SharedStream(LinkSide):
    """One end of the stream: which batch is whose, which segment may be used."""

    lease_octets = LEASE_AHEAD
    want_octets = WANT_BELOW

    def __init__(self, system: System, name: str, options: StoreOptions) -> None:
        super().__init__(system, name, options)
        self._wanted = NEVER
        self._ahead = min(LEASE_LEAST, self.lease_octets)

    def load_stream(self, shelf: Shelf) -> None:
        """Rebuild the stream and what is undecided."""
        end = 0 if self.system.node < self.options.peer else 1
        self.stream = Stream(self.journal, shelf, self.standing, end)
        self.batches = Batches(self.journal, shelf, self.standing, self.stream)

    def load(self, shelf: Shelf) -> None:
        """Load, and mark what the grants held have used."""
        super().load(shelf)
        for holding in self.vault.holdings.values():
            self.stream.mark(holding.grant.pieces)
        for _, pieces in self.vault.tombs.values():
            self.stream.mark(pieces)

    def alive(self, name: SegmentId) -> bool:
        """Whether a segment is still there."""
        return name in self.stream.segments

    def on_resumed(self) -> None:
        """Both ends agree: open the link, repeat what the peer may have missed."""
        self.peer_up = True
        self.batches.forget_arrived()
        self.open_link()
        self.lease_ahead()
        self.repeat(self.clock, everything=True)

    def new_epoch(self, epoch: Epoch) -> None:
        """Destroy the bits of the old epoch first."""
        self.stream.destroy()
        self.batches.destroy()
        super().new_epoch(epoch)

    # Batches (R2, R3)

    def say_held(self, number: int) -> None:
        """Say, again and again, that we hold a batch."""
        held = self.batches.held[number]
        held.told = self.clock.now
        self.say(
            blocks.BlocksHeld(
                head=self.standing.head(),
                batch=number,
                runs=held.runs,
                lengths=held.lengths,
                tag=held.tag,
                credit=self.room_to_tell(),
            )
        )

    @handles(blocks.BlocksHeld)
    def on_blocks_held(self, word: blocks.BlocksHeld) -> None:
        """Decide, once; repeat the decision."""
        if not self.admit(word.head) or self.standing.frozen:
            return
        self.peer_credit = max(0, word.credit)
        known = word.batch in self.batches.decided
        self.stream.clock = self.clock
        decision = self.batches.decide(word)
        if decision is not None:
            self._say_decision(word.batch)
            self.tell_credit()
        if decision is not None and not known:
            name = "confirmed" if decision else "discarded"
            self.system.meter.add("protokms_batches_decided", decision=name, peer=self.store)

    def _say_decision(self, batch: int) -> None:
        decision = self.batches.decided[batch]
        decision.told = self.clock.now
        kind = blocks.BlocksConfirmed if decision.confirmed else blocks.BlocksDiscarded
        self.say(kind(head=self.standing.head(), batch=batch))

    @handles(blocks.BlocksConfirmed)
    def on_confirmed(self, word: blocks.BlocksConfirmed) -> None:
        """The batch is a segment at both ends."""
        self._conclude(word.head, word.batch, confirmed=True)

    @handles(blocks.BlocksDiscarded)
    def on_discarded(self, word: blocks.BlocksDiscarded) -> None:
        """The batch is nothing at both ends."""
        self._conclude(word.head, word.batch, confirmed=False)

    def _conclude(self, head: Head, batch: int, *, confirmed: bool) -> None:
        if not self.admit(head):
            return
        self.stream.clock = self.clock
        self.batches.conclude(batch, confirmed=confirmed)
        credit = self.room_to_tell()
        self.say(blocks.BlocksSettled(head=self.standing.head(), batch=batch, credit=credit))
        self.lease_ahead()
        self.on_stock()

    @handles(blocks.BlocksSettled)
    def on_settled(self, word: blocks.BlocksSettled) -> None:
        """The holder knows; make use of the segment."""
        if self.admit(word.head):
            self.peer_credit = max(0, word.credit)
            self.batches.settle(word.batch)
            self.tell_credit()
            self.lease_ahead()
            self.on_stock()

    # Leases and transfers (R5, R6)

    def lease_ahead(self) -> None:
        """See to it that usable bits, or leases on their way, cover what comes next."""
        if not self.standing.ready:
            return
        now = self.clock.now
        ahead = self.stream.usable + self.stream.asked
        names = []
        while ahead < self._ahead and (segment := self.stream.lease_next(now)):
            names.append(segment.id)
            ahead += segment.free
        if names:
            self.say(blocks.Lease(head=self.standing.head(), segments=tuple(names)))

    @handles(blocks.Lease)
    def on_lease(self, word: blocks.Lease) -> None:
        """Hold the peer's leases durably, then say so."""
        if self.admit(word.head):
            held = tuple(name for name in word.segments if self.stream.hold_lease(name))
            if held:
                self.say(blocks.LeaseHeld(head=self.standing.head(), segments=held))

    @handles(blocks.LeaseHeld)
    def on_lease_held(self, word: blocks.LeaseHeld) -> None:
        """Our leases are durable at both ends: their bits may be used."""
        if self.admit(word.head):
            for name in word.segments:
                self.stream.lease_held(name)
            self.on_stock()

    def lease_more(self, needed: int) -> None:
        """Somebody waits for a lease: have more ahead from now on, for a while."""
        self._ahead = min(max(needed, self.lease_octets), max(needed, 2 * self._ahead))
        self.lease_ahead()

    def on_stock(self) -> None:
        """There are new bits to use."""

    def want(self, needed: int) -> None:
        """Ask the peer for segments when we run short and it does not."""
        now = self.clock.now
        mine, theirs = self.stream.stock, self.stream.fresh_octets[False]
        short = mine < max(needed, self.want_octets) and mine < theirs
        if self.standing.ready and short and now - self._wanted >= WANT_EVERY_S:
            self._wanted = now
            octets = needed + (theirs - mine) // 2
            self.tell(self.peer, blocks.Wanted(head=self.standing.head(now=True), octets=octets))

    @handles(blocks.Wanted)
    def on_wanted(self, word: blocks.Wanted) -> None:
        """Give segments away, as long as we have more fresh ones than the peer."""
        if not self.admit(word.head) or not self.standing.ready:
            return
        fresh, given = self.stream.fresh_octets, 0
        while given < word.octets and fresh[True] > fresh[False]:
            segment = self.stream.newest()
            if segment is None or len(self.stream.giving) >= REPEATS_MAX:
                break
            given += segment.free
            self._say_transfer(segment.id, self.stream.give(segment.id, self.clock.now))

    def _say_transfer(self, name: SegmentId, n: int) -> None:
        self.stream.giving[name] = self.clock.now
        self.say(blocks.Transfer(head=self.standing.head(), segment=name, n=n))

    @handles(blocks.Transfer)
    def on_transfer(self, word: blocks.Transfer) -> None:
        """Take a segment, once."""
        if self.admit(word.head) and self.stream.accept(word.segment, word.n):
            head = self.standing.head()
            self.say(blocks.TransferTaken(head=head, segment=word.segment, n=word.n))
            self.lease_ahead()
            self.on_stock()

    @handles(blocks.TransferTaken)
    def on_taken(self, word: blocks.TransferTaken) -> None:
        """It is the peer's."""
        if self.admit(word.head):
            self.stream.taken(word.segment, word.n)

    @handles(blocks.SegmentClosed)
    def on_closed(self, word: blocks.SegmentClosed) -> None:
        """The owner is done with a segment: burn what no grant of ours holds."""
        if not self.admit(word.head) or self.batches.awaits(word.segment):
            return
        if self.stream.close(word.segment):
            self.vault.segment_closed(word.segment)
            head = self.standing.head()
            self.say(blocks.SegmentClosedHeld(head=head, segment=word.segment))

    @handles(blocks.SegmentClosedHeld)
    def on_closed_held(self, word: blocks.SegmentClosedHeld) -> None:
        """Both ends have burnt it."""
        if self.admit(word.head):
            self.stream.closed(word.segment)

    # Repetition: whatever is not acknowledged is said again

    def on_tick(self, now: Clock) -> None:
        """Repeat, forget what nobody named, burn what nobody uses."""
        if not self.standing.resumed:
            self.ask_again()
            return
        self.batches.forget_arrived(now.now - ARRIVED_S)
        self.count_lost(self.batches.forget_emitted(now.now - EMITTED_S))
        self._ahead = max(min(LEASE_LEAST, self.lease_octets), self._ahead * 7 // 8)
        self.stream.burn_idle(now.now - IDLE_BURN_S)
        self.tell_room(now.now)
        self.repeat(now)
        self._export()

    def ask_again(self) -> None:
        """The peer has not said where it stands: ask once more."""
        self.ask_peer()

    def repeat(self, now: Clock, *, everything: bool = False) -> None:
        """Say again what has not been acknowledged for a while."""
        before = now.now if everything else now.now - REPEAT_S
        stream, batches = self.stream, self.batches
        for number in [n for n, held in batches.held.items() if held.told <= before][:REPEATS_MAX]:
            self.say_held(number)
        for n in [n for n, it in batches.decided.items() if it.told <= before][:REPEATS_MAX]:
            self._say_decision(n)
        for name in [n for n, told in stream.giving.items() if told <= before][:REPEATS_MAX]:
            self._say_transfer(name, stream.segments[name].n)
        leases = [segment for segment in stream.asking() if segment.told <= before][:REPEATS_MAX]
        for segment in leases:
            segment.told = now.now
        if leases:
            names = tuple(segment.id for segment in leases)
            self.say(blocks.Lease(head=self.standing.head(), segments=names))
        for segment in [s for s in stream.closable() if s.told <= before][:REPEATS_MAX]:
            segment.told = now.now
            self.say(blocks.SegmentClosed(head=self.standing.head(), segment=segment.id))

    def wipe(self) -> None:
        """Blank on disk what is blank in memory."""
        self.stream.wipe()

    def _export(self) -> None:
        facts = {
            "stored": self.stream.octets,
            "own": self.stream.stock,
            "usable": self.stream.usable,
            "undecided": self.batches.undecided + self.batches.emitted,
        }
        for kind, octets in facts.items():
            self.system.meter.set("protokms_bits", octets * 8.0, peer=self.store, kind=kind)
