"""A store that stands in step with its peer: who has started, which epoch, how far (R7)."""

from actors.base import System, handles
from actors.journal import Shelf
from actors.keeper import Keeper, StoreOptions
from actors.protocol import blocks
from actors.protocol.blocks import Head
from actors.protocol.peers import PeerDown, PeerUp, Subscribe
from actors.standing import LIMIT, Epoch, Standing, Verdict
from transport.envelope import Address
from transport.message import Message


class InStep(Keeper):
    """Asks and answers where both ends stand; says and admits words only in step."""

    def __init__(self, system: System, name: str, options: StoreOptions) -> None:
        super().__init__(system, name, options)
        self.peer = Address(f"key_store/{system.node}", options.peer)
        self.peer_up = False

    def load(self, shelf: Shelf) -> None:
        """Begin a new life of this end on what is durable."""
        self.standing = Standing(self.journal, shelf, self.number())
        self.load_stream(shelf)
        super().load(shelf)

    def load_stream(self, shelf: Shelf) -> None:
        """Rebuild what both ends share, before the grants held in it."""

    def started(self) -> None:
        """Load, and ask the peer where it stands."""
        super().started()
        self.tell(Address("peer_manager", self.system.node), Subscribe())
        self.ask_peer()
        self.submit()

    def before_commit(self) -> None:
        """What was seen of the peer is stored with what it caused (R7)."""
        if len(self.journal) and self.standing.stale:
            self.standing.save()

    def mark(self) -> int:
        """The ledger seq that the commit makes durable."""
        return self.standing.seq

    def committed(self, mark: int) -> None:
        """Words that wait for no commit may now carry this seq."""
        self.standing.committed = min(mark, self.standing.seq)  # an epoch may have begun since

    def say(self, word: Message) -> None:
        """Tell the peer, once everything collected so far is durable.

        Like the wire this may lose a word: each is said again until it is acknowledged.
        """
        if self.overdue:
            self.system.meter.add("protokms_words_unsaid", peer=self.store)
        else:
            self.effect(lambda: self.tell(self.peer, word))

    def admit(self, head: Head) -> bool:
        """Admit a word of the peer's, or drop it and ask if it shows that we are lost."""
        if self.standing.admits(head):
            return True
        self.system.meter.add("protokms_words_dropped", peer=self.store)
        if self.standing.doubtful(head):
            self.ask_peer()
        return False

    # Resume (R7)

    def number(self) -> int:
        """Draw a start, a nonce or the random part of an epoch."""
        return int.from_bytes(self.system.random(8), "big") % (LIMIT - 1) + 1

    def ask_peer(self) -> None:
        """Ask the peer where it stands; until it answers nothing else counts."""
        was = self.standing.resumed
        self.say(self.standing.ask(self.number()))
        if was:
            self.on_out_of_step()

    @handles(PeerUp)
    def on_peer_up(self, _: PeerUp) -> None:
        """A new connection: ask where we stand."""
        self.peer_up = True
        self.ask_peer()

    @handles(PeerDown)
    def on_peer_down(self, _: PeerDown) -> None:
        """Nothing is emitted nor allocated while the peer is away, or its connection is idle."""
        self.peer_up = False
        self.on_out_of_step()

    @handles(blocks.ResumeAsk)
    def on_ask(self, word: blocks.ResumeAsk) -> None:
        """Say where we stand; ask back if the peer is new to us."""
        self.peer_up = True
        if self.standing.must_ask(word):
            self.ask_peer()
        self.say(self.standing.reply(word))

    @handles(blocks.Resume)
    def on_resume(self, word: blocks.Resume) -> None:
        """Judge where both stand."""
        verdict = self.standing.judge(word)
        if verdict is Verdict.RESUMED:
            self.on_resumed()
        elif verdict is Verdict.ROLLED_BACK:
            self.alarm("rolled_back")
            self.new_epoch((self.standing.epoch[0] + 1, self.number()))
        elif verdict is Verdict.JOIN:
            self.new_epoch((word.number, word.random))

    def alarm(self, what: str) -> None:
        """Something happened that a healthy network does not do."""
        self.log.error("alarm", what=what, peer=self.store)
        self.system.meter.add("protokms_alarms", kind=what, peer=self.store)

    def on_resumed(self) -> None:
        """Both ends agree."""

    def on_out_of_step(self) -> None:
        """They may not agree any more, or the peer is away."""

    def new_epoch(self, epoch: Epoch) -> None:
        """Begin an epoch, and ask again; what the old one held is destroyed by now."""
        self.log.warning("new_epoch", number=epoch[0])
        self.vault.epoch_closed(self.clock)
        self.standing.enter(epoch)
        self.on_out_of_step()
        self.ask_peer()
