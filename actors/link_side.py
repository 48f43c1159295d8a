"""A store and the link that fills it: what is emitted, what arrives, and how much may (R1, R2)."""

from actors.base import System, handles
from actors.batches import BATCH_MIN, Batches
from actors.in_step import InStep
from actors.keeper import StoreOptions
from actors.protocol import blocks, links
from actors.segment import NEVER
from actors.stream import Stream
from transport.envelope import Address
from transport.message import Message, local

REPEAT_S = 1.0
FORM_WAIT_S = 0.05
WINDOW = 2 << 20


@local
class FormNow(Message):
    """Enough waiting: form a batch of what has arrived."""


class LinkSide(InStep):
    """Opens the link when both ends are in step; gives credit both ways; forms batches."""

    stream: Stream
    batches: Batches

    def __init__(self, system: System, name: str, options: StoreOptions) -> None:
        super().__init__(system, name, options)
        link = "virtual_link" if options.virtual else "quantum_link"
        self.link = Address(f"{link}/{options.peer}", system.node)
        self.max_octets = options.max_bits // 8
        self.peer_credit = WINDOW
        self._credit_told = -1
        self._room_told = WINDOW
        self._room_at = NEVER
        self._forming = False

    def say_held(self, number: int) -> None:
        """Tell the peer of a batch that was formed."""

    def open_link(self) -> None:
        """Both ends agree: the link may run."""
        self._room_told = -1  # the peer is told at the next tick
        self.tell_credit(opened=True)

    def on_out_of_step(self) -> None:
        """The link emits nothing meanwhile."""
        self.tell(self.link, links.LinkClosed())

    @handles(links.AskLink)
    def on_ask_link(self, _: links.AskLink) -> None:
        """A link has started: tell it whether it may run."""
        if self.standing.ready and self.peer_up:
            self.tell_credit(opened=True)
        else:
            self.tell(self.sender, links.LinkClosed())

    @handles(links.Emitted)
    def on_emitted(self, news: links.Emitted) -> None:
        """Keep what is being sent until a batch names it."""
        if self._of_this_epoch(news.epoch):
            payloads = [payload.reveal() for payload in news.payloads]
            self.batches.emit(news.first, payloads, self.clock.now, 2 * WINDOW, news.via)
            self.tell_credit()

    @handles(links.Received)
    def on_received(self, news: links.Received) -> None:
        """Collect what arrives; form a batch when there is enough, or soon."""
        if not self._of_this_epoch(news.epoch):
            return
        payloads = [payload.reveal() for payload in news.payloads]
        limit = min(2 * WINDOW, max(0, self._room()))
        self.batches.arrive(news.seqs, payloads, self.clock.now, limit, news.via)
        self.system.meter.add("protokms_datagrams_received", len(payloads), peer=self.store)
        self._form(self.batches.most)
        if self.batches.arrived and not self._forming:
            self._forming = True
            self.remind(FORM_WAIT_S, FormNow())

    @handles(FormNow)
    def form_now(self, _: FormNow) -> None:
        """Form a batch of whatever is there."""
        self._forming = False
        if self.standing.ready:
            self._form(BATCH_MIN)

    def _form(self, at_least: int) -> None:
        for number in self.batches.form(at_least):
            self.say_held(number)

    def _of_this_epoch(self, epoch: bytes) -> bool:
        return self.standing.ready and epoch == self.standing.datagram_epoch

    def _room(self) -> int:
        batches = self.batches
        pending = batches.undecided + batches.emitted + batches.arrived
        return self.max_octets - self.stream.octets - pending

    def room_to_tell(self) -> int:
        """Octets that we take, to be told to the peer now."""
        self._room_told = min(WINDOW, max(0, self._room()))
        self._room_at = self.clock.now
        return self._room_told

    def tell_room(self, now: float) -> None:
        """Say again that there is room: a paused sender makes no batch for it to ride beside."""
        if self._room_told < WINDOW and now - self._room_at >= REPEAT_S:
            head = self.standing.head(now=True)
            self.tell(self.peer, blocks.Room(head=head, credit=self.room_to_tell()))

    @handles(blocks.Room)
    def on_room(self, word: blocks.Room) -> None:
        """The receiver of datagrams has so much room."""
        if self.admit(word.head):
            self.peer_credit = max(0, word.credit)
            self.tell_credit()

    def to_bring_in(self) -> int:
        """Octets that the link may bring, those on their way included."""
        return self.max_octets - self.stream.octets

    @handles(links.Withdrawn)
    def on_withdrawn(self, news: links.Withdrawn) -> None:
        """What was emitted and no batch has named does not count any more (R14)."""
        if self._of_this_epoch(news.epoch):
            self.count_lost(self.batches.withdraw())

    def count_lost(self, octets: int) -> None:
        """Emitted octets are discarded: the link may emit others."""
        if octets:
            self.system.meter.add("protokms_octets_lost", octets, peer=self.store)
            self.tell_credit()

    def tell_credit(self, *, opened: bool = False) -> None:
        """Tell the link how much more it may emit."""
        window = min(WINDOW, self.peer_credit, self.to_bring_in())
        credit = max(0, window - self.batches.emitted)
        epoch = self.standing.datagram_epoch
        if opened:
            self.tell(self.link, links.LinkOpened(epoch=epoch, credit=credit))
        elif self.standing.resumed and credit != self._credit_told:
            self.tell(self.link, links.Credit(epoch=epoch, octets=credit))
        self._credit_told = credit
