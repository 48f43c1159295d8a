"""From datagrams of a link to batches that both ends have, or neither: credit, too (R1-R3)."""

from typing import ClassVar

from actors.base import Clock, Context, Part, handles
from actors.ledger.batches import BATCH_FORMED, BATCH_MIN, Batches
from actors.ledger.segment import NEVER, Paths
from actors.ledger.stream import Stream
from actors.protocol import blocks, links
from actors.protocol.relay import undecided_s
from actors.sync.demand import Yield
from actors.sync.device_keys import DeviceKeys
from actors.sync.intake import Intake
from actors.sync.peering import REPEAT_S, REPEATS_MAX, Peering
from actors.sync.quarantine import Quarantine
from actors.sync.segments import Segments
from transport.envelope import Address
from transport.message import Message, local

FORM_WAIT_S = 0.05
WINDOW = 2 << 20
ARRIVED_S, ARRIVED_MAX_S = 10.0, 600.0
BATCHES_LATE = 3
"""Arrived octets wait for a batch while so many least ones come in, at the rate measured; emitted
ones wait twice as long for a batch that names them (R2)."""
ROOM_EVERY_MAX_S = 60.0
"""Room that stays as it is is said again less and less often, at least so often."""
QUIET_S = 4.0
"""What is said no more often than this need not be looked at more often."""
UNMEASURED_MAX = 64 << 10
"""More octets than that, and none confirmed: the link is not slow, but loses what it carries."""

IN_VAIN = 8
"""So many batches in a row that were discarded are worth a word."""


@local
class FormNow(Message):
    """Enough waiting: form a batch of what has arrived."""

    bulk: ClassVar[bool] = True


class BlockSync(Part):
    """Lets the link run while both ends are in step; forms batches, and decides the peer's."""

    def __init__(
        self,
        context: Context,
        peer: Peering,
        segments: Segments,
        quarantine: Quarantine,
        device_keys: DeviceKeys,
        *,
        stream: Stream,
        batches: Batches,
        intake: Intake,
        supply: Yield,
    ) -> None:
        self._context, self._peer, self._segments = context, peer, segments
        self._quarantine, self._device_keys = quarantine, device_keys
        self._stream, self._batches, self._intake = stream, batches, intake
        self._supply = supply
        self.path_rate = 0
        """Octets a second that the slowest link on the path to a distant peer brings; 0: unknown.
        """
        kind = "virtual_link" if peer.distant else "quantum_link"
        self._link = Address(f"{kind}/{peer.name}", context.address.node)
        self.peer_credit = WINDOW
        self._credit_told = -1
        self._room_told = WINDOW
        self._room_at = NEVER
        self._room_every = REPEAT_S
        self._forming = False
        self._in_vain = 0

    # The link

    @handles(links.AskLink)
    def on_ask_link(self, _: links.AskLink) -> None:
        """A link has started: tell it whether it may run."""
        if self._peer.ready:
            self.tell_credit(opened=True)
        else:
            self._context.tell(self._context.sender, links.LinkClosed())

    @handles(links.Emitted)
    def on_emitted(self, news: links.Emitted) -> None:
        """Keep what is being sent until a batch names it."""
        links.check(news)
        if self._of_this_epoch(news.epoch):
            self._keep(news, news.via if self._peer.distant else ())

    @handles(links.EmittedKeys)
    def on_emitted_keys(self, news: links.EmittedKeys) -> None:
        """Keep what a device gave until a batch names it; have the other end fetch the same."""
        links.check(news)
        if self._of_this_epoch(news.epoch):
            self._keep(news)
            self._device_keys.emitted(news)

    def _keep(self, news: links.Emitted | links.EmittedKeys, via: Paths = ()) -> None:
        payloads = [payload.reveal() for payload in news.payloads]
        self._batches.emit(news.first, payloads, self._context.clock.now, 2 * WINDOW, via)
        self.tell_credit()

    @handles(links.Received)
    def on_received(self, news: links.Received) -> None:
        """Collect what arrives; form a batch when there is enough, or soon."""
        links.check(news)
        if not self._of_this_epoch(news.epoch):
            return
        payloads = [payload.reveal() for payload in news.payloads]
        limit = min(2 * WINDOW, max(0, self._intake.free()))
        via = news.via if self._peer.distant else ()
        self._batches.arrive(news.seqs, payloads, self._context.clock.now, limit, via)
        meter = self._context.system.meter
        meter.add("protokms_datagrams_received", len(payloads), peer=self._peer.name)
        self._form(self._batches.most)
        if self._batches.arrived and not self._forming:
            self._forming = True
            self._context.remind(FORM_WAIT_S, FormNow())

    @handles(FormNow)
    def form_now(self, _: FormNow) -> None:
        """Form a batch of whatever is there."""
        self._forming = False
        if self._peer.state.ready:
            self._form(BATCH_MIN if self._peer.distant else BATCH_FORMED)

    def _form(self, at_least: int) -> None:
        judged = self._peer.speaks(blocks.BlocksHeldJudged)
        for number in self._batches.form(at_least, judged=judged):
            self._say_held(number)
        self._quarantine.look()

    def _of_this_epoch(self, epoch: bytes) -> bool:
        state = self._peer.state
        return state.ready and epoch == state.datagram_epoch

    @handles(links.Withdrawn)
    def on_withdrawn(self, news: links.Withdrawn) -> None:
        """What was emitted and no batch has named does not count any more (R14)."""
        if self._of_this_epoch(news.epoch):
            self._count_lost(self._batches.withdraw())

    def _count_lost(self, octets: int) -> None:
        """Emitted octets are discarded: the link may emit others."""
        if octets:
            meter = self._context.system.meter
            meter.add("protokms_octets_lost", octets, peer=self._peer.name)
            self.tell_credit()

    # Credit

    def tell_credit(self, *, opened: bool = False) -> None:
        """Tell the link how much more it may emit."""
        state = self._peer.state
        window = min(WINDOW, self.peer_credit, self._intake.allowance())
        credit = max(0, window - self._batches.emitted)
        epoch = state.datagram_epoch
        if opened:
            self._context.tell(self._link, links.LinkOpened(epoch=epoch, credit=credit))
        elif state.resumed and credit != self._credit_told:
            self._context.tell(self._link, links.Credit(epoch=epoch, octets=credit))
        self._credit_told = credit

    def _grant_credit(self) -> int:
        """Octets that we take, to be told to the peer now."""
        self._room_told = min(WINDOW, max(0, self._intake.free()))
        self._room_at = self._context.clock.now
        return self._room_told

    @handles(blocks.Room)
    def on_room(self, word: blocks.Room) -> None:
        """The receiver of datagrams has so much room."""
        self._hear_credit(word.credit)
        self.tell_credit()

    def _hear_credit(self, credit: int) -> None:
        self.peer_credit = max(0, credit)

    # Batches (R2, R3)

    def _say_held(self, number: int) -> None:
        """Say, again and again, that we hold a batch."""
        held = self._batches.held[number]
        held.last_sent = self._context.clock.now
        word = blocks.BlocksHeld(
            head=self._peer.state.head(),
            batch=number,
            runs=held.runs,
            lengths=held.lengths,
            tag=held.tag,
            credit=self._grant_credit(),
        )
        self._peer.say(word.judged(held.verdict) if held.verdict else word)

    @handles(blocks.BlocksHeld)
    def on_blocks_held(self, word: blocks.BlocksHeld) -> None:
        """Decide, once, about a batch that the holder finds good; repeat the decision."""
        self._decide(word)

    @handles(blocks.BlocksHeldJudged)
    def on_blocks_held_judged(self, word: blocks.BlocksHeldJudged) -> None:
        """Decide, once; repeat the decision."""
        self._decide(word)

    def _decide(self, word: blocks.BlocksHeld | blocks.BlocksHeldJudged) -> None:
        if self._peer.state.frozen:
            return
        self._hear_credit(word.credit)
        known = word.batch in self._batches.decided
        self._stream.clock = self._context.clock
        decision = self._batches.decide(word)
        self._quarantine.look()
        if decision is not None:
            self._say_decision(word.batch)
            self.tell_credit()
        if decision is not None and not known:
            self._note(confirmed=decision)
            name = "confirmed" if decision else "discarded"
            meter = self._context.system.meter
            meter.add("protokms_batches_decided", decision=name, peer=self._peer.name)

    def _say_decision(self, batch: int) -> None:
        decision = self._batches.decided[batch]
        decision.last_sent = self._context.clock.now
        kind = blocks.BlocksConfirmed if decision.confirmed else blocks.BlocksDiscarded
        self._peer.say(kind(head=self._peer.state.head(), batch=batch))

    @handles(blocks.BlocksConfirmed)
    def on_confirmed(self, word: blocks.BlocksConfirmed) -> None:
        """The batch is a segment at both ends."""
        self._conclude(word.batch, confirmed=True)

    @handles(blocks.BlocksDiscarded)
    def on_discarded(self, word: blocks.BlocksDiscarded) -> None:
        """The batch is nothing at both ends."""
        self._conclude(word.batch, confirmed=False)

    def _conclude(self, batch: int, *, confirmed: bool) -> None:
        self._stream.clock = self._context.clock
        if batch in self._batches.held:
            self._note(confirmed=confirmed)
        self._batches.conclude(batch, confirmed=confirmed)
        credit = self._grant_credit()
        ours = self._peer.state.head()
        self._peer.say(blocks.BlocksSettled(head=ours, batch=batch, credit=credit))
        self._segments.lease_ahead()

    @handles(blocks.BlocksSettled)
    def on_settled(self, word: blocks.BlocksSettled) -> None:
        """The holder knows; make use of the segment."""
        self._hear_credit(word.credit)
        self._batches.settle(word.batch)
        self.tell_credit()
        self._segments.lease_ahead()

    def _note(self, *, confirmed: bool) -> None:
        self._in_vain = 0 if confirmed else self._in_vain + 1

    @property
    def waits(self) -> tuple[str, ...]:
        """Why what a quantum link brings is no key, in words for an operator."""
        if self._peer.distant or self._in_vain < IN_VAIN:
            return ()
        name = self._context.address.name
        why = "its two ends get different bits, or the other end finds them bad"
        return (f"{name}: batch after batch of its link is discarded: {why}",)

    # What befalls the store

    def resumed(self) -> None:
        """Both ends agree: forget what lies in no batch, and open the link."""
        self._batches.forget_arrived()
        self._room_told, self._room_every = -1, REPEAT_S  # the peer is told at the next tick
        self.tell_credit(opened=True)

    def room_changed(self) -> None:
        """There is room all of a sudden, or none: the link hears at once, the peer at the tick."""
        self._room_told, self._room_every = -1, REPEAT_S
        if self._peer.in_touch:
            self.tell_credit()

    def out_of_step(self) -> None:
        """The link emits nothing meanwhile."""
        self._context.tell(self._link, links.LinkClosed())

    def forget_old(self, now: Clock) -> None:
        """Forget what nobody has named in time."""
        patience = self._patience
        self._batches.forget_arrived(now.now - patience)
        self._count_lost(self._batches.forget_emitted(now.now - 2 * patience))

    @property
    def _patience(self) -> float:
        """Seconds that arrived octets wait for a batch; emitted ones twice as long (R2)."""
        if self._peer.distant:  # a chunk comes at once where the path has its pads
            return undecided_s(self.path_rate) / 2
        rate = self._supply.rate
        if rate <= 0:
            return ARRIVED_S if self._batches.emitted > UNMEASURED_MAX else ARRIVED_MAX_S
        return min(ARRIVED_MAX_S, max(ARRIVED_S, BATCHES_LATE * BATCH_FORMED / rate))

    def repeat_credit(self, now: Clock) -> None:
        """Say again that there is room: a paused sender makes no batch for it to ride beside."""
        silent = self._peer.distant and not self._peer.up  # not worth a connection
        due = now.now - self._room_at >= self._room_every
        if not silent and self._room_told < WINDOW and due:
            before = self._room_told
            head = self._peer.state.head(now=True)
            word = blocks.Room(head=head, credit=self._grant_credit())
            same, longer = self._room_told == before, 2 * self._room_every
            self._room_every = min(longer, ROOM_EVERY_MAX_S) if same else REPEAT_S
            self._peer.tell(word)

    @property
    def quiet(self) -> bool:
        """Whether nothing waits for a decision or its acknowledgement, nor is room news."""
        batches = self._batches
        waits = batches.held or batches.decided or batches.emitted or batches.arrived
        told = self._room_told >= WINDOW or self._room_every >= QUIET_S
        changed = self._room_told != min(WINDOW, max(0, self._intake.free()))
        return not waits and ((told and not changed) or not self._peer.in_touch)

    def repeat(self, now: Clock, *, everything: bool = False) -> None:
        """Say again what has not been acknowledged for a while."""
        before, batches = now.now if everything else now.now - REPEAT_S, self._batches
        for number in [n for n, held in batches.held.items() if held.last_sent <= before][
            :REPEATS_MAX
        ]:
            self._say_held(number)
        for n in [n for n, it in batches.decided.items() if it.last_sent <= before][:REPEATS_MAX]:
            self._say_decision(n)
