"""How one end stands towards its peer: resume, words said and admitted, who waits (R7, P9)."""

from collections.abc import Callable, Iterable
from typing import NamedTuple, Protocol

from actors.base import Clock, Context, Later, Part, System, handles
from actors.ledger.peering_state import LIMIT, Epoch, PeeringState, ResumeOutcome
from actors.ledger.segment import NEVER
from actors.protocol import alarms, blocks
from actors.protocol.blocks import Head
from actors.protocol.common import Failed, Refused
from actors.protocol.peers import PeerDown, PeerListed, PeerSpeaks, PeerUp
from actors.storage.group_commit import GroupCommit
from transport.envelope import Address
from transport.message import Message

REPEAT_S = 1.0
"""Words that are not acknowledged are said again so often."""
REPEATS_MAX = 64
"""Words of a kind that are said again at a time."""
ASK_EVERY_S = 5.0
"""A distant peer that does not answer is asked so often where it stands."""
WAKE_EVERY_S = 1.0
"""The same while a request waits for it."""
PENDING_MAX = 256
OUT_OF_STEP_S = 60.0
"""A neighbour that is heard for so long, and not in step, is an alarm."""


class PendingRequest(NamedTuple):
    """A request, and what to do with it once what it waits for is there."""

    serve: Callable[[], None]
    answer: Later
    until: float


class Events(Protocol):
    """What the actor hears of its peer."""

    def resumed(self) -> None:
        """Both ends agree."""
        ...

    def out_of_step(self) -> None:
        """They may not agree any more, or the peer is away."""
        ...

    def new_epoch(self, epoch: Epoch) -> None:
        """What lies in the old epoch is over."""
        ...


class Peering(Part):
    """Asks and answers where both ends stand; says and admits words.

    Connections to a distant peer, one without a quantum link, are opened when something is said,
    and closed when idle: a request wakes the peer, and waits a little.
    """

    def __init__(
        self,
        context: Context,
        state: PeeringState,
        commits: GroupCommit,
        *,
        name: str,
        distant: bool,
        events: Events,
    ) -> None:
        self._context, self.state, self._commits, self._events = context, state, commits, events
        self.name, self.distant = name, distant
        self._address = Address(f"key_store/{context.address.node}", name)
        self._up = False
        self.left = False
        """Whether the directory names the peer no more: then it is away, whoever says what."""
        self._words: tuple[str, ...] = ()
        self._asked_at = NEVER
        self._pending: list[PendingRequest] = []
        self._apart_since = NEVER
        self._apart_told = False
        self._unreachable_since = 0.0
        """When a request has waited for the peer in vain; 0: it answers, or was not asked."""

    # Where the peer is

    @property
    def up(self) -> bool:
        """Whether there is a connection."""
        return self._up

    @property
    def in_touch(self) -> bool:
        """Whether words reach the peer, and count there."""
        return self._up and self.state.resumed

    @property
    def ready(self) -> bool:
        """Whether both ends agree, the peer is there, and nothing is frozen."""
        return self._up and self.state.ready

    @property
    def idle(self) -> bool:
        """Whether the peer is away, as far as is known for want of a connection alone."""
        apart = self.distant and not self.in_touch
        return apart and not self.state.frozen and not self.left

    @property
    def why_down(self) -> str:
        """Why nothing is to be had from a peer that is away."""
        if self.left:
            return f"the directory names {self.name} no more"
        return f"{self.name} does not answer"

    @property
    def reachable(self) -> bool:
        """Whether a request may hope for the peer (P9)."""
        return self.in_touch or (self.idle and not self._unreachable_since)

    @property
    def quiet(self) -> bool:
        """Whether there is nothing to say to the peer, nor anybody who waits for it."""
        return not self._pending and (self.state.resumed or not self._up)

    # Words

    def say(self, word: Message) -> None:
        """Tell the peer, once everything collected so far is durable.

        Like the wire this may lose a word: each is said again until it is acknowledged.
        """
        if self.left:
            return
        if self._commits.overdue:
            self._context.system.meter.add("protokms_words_unsaid", peer=self.name)
        else:
            self._commits.effect(lambda: self._context.tell(self._address, word))

    def tell(self, word: Message) -> None:
        """Tell the peer at once what waits for no commit."""
        self._context.tell(self._address, word)

    def speaks(self, word: type[Message]) -> bool:
        """Whether the peer has said that it understands a word that an older one does not."""
        return word.wire in self._words

    @handles(PeerSpeaks)
    def on_peer_speaks(self, news: PeerSpeaks) -> None:
        """Which words it understands; of a peer that has not said so it is not assumed."""
        self._words = news.words

    def admit(self, head: Head) -> bool:
        """Admit a word of the peer's, or drop it and ask if it shows that we are lost."""
        if self.left:
            return False
        if self.state.admits(head):
            return True
        self._context.system.meter.add("protokms_words_dropped", peer=self.name)
        if self.state.doubtful(head):
            self.ask()
        return False

    def alarm(self, what: str, text: str = "") -> None:
        """Something happened that a healthy network does not do."""
        self._context.log.error("alarm", what=what, peer=self.name)
        self._context.system.meter.add("protokms_alarms", kind=what, peer=self.name)
        self.show_alarm(what, text)

    def show_alarm(self, what: str, text: str = "") -> None:
        """Have it in the list of operators; the same again is harmless."""
        raised = alarms.Raised(id=what, subject=self.name, text=text)
        self._context.tell(alarms.told(self._context.system.node), raised)

    def end_alarm(self, what: str) -> None:
        """Take it off that list, if it is there."""
        ended = alarms.Ended(id=what, subject=self.name)
        self._context.tell(alarms.told(self._context.system.node), ended)

    def freeze(self, why: str) -> None:
        """Allocate nothing and hold nothing any more, until an operator resets; an alarm."""
        self.alarm(why)
        self.state.freeze()

    # Resume (R7)

    def ask(self) -> None:
        """Ask the peer where it stands; until it answers nothing else counts."""
        was = self.state.resumed
        self.say(self.state.ask(draw(self._context.system)))
        if was:
            self._events.out_of_step()

    def ask_again(self) -> None:
        """Ask once more; a distant peer without a connection is asked less often."""
        if self.left:
            return
        now = self._context.clock.now
        if not self.distant or self._up or now - self._asked_at >= ASK_EVERY_S:
            self._asked_at = now
            self.ask()

    @handles(PeerUp)
    def on_peer_up(self, _: PeerUp) -> None:
        """A new connection: ask where we stand."""
        self._up = True
        self.ask()

    @handles(PeerDown)
    def on_peer_down(self, _: PeerDown) -> None:
        """Nothing is emitted nor allocated while the peer is away, or its connection is idle."""
        self._up = False
        self._events.out_of_step()

    @handles(PeerListed)
    def on_peer_listed(self, news: PeerListed) -> None:
        """Who leaves the directory is not in step with us either: it is asked when it is back."""
        self.left = not news.listed
        if self.left:
            self._up = False
            self.ask()
            self._end_late(self._pending)

    @handles(blocks.ResumeAsk)
    def on_ask(self, word: blocks.ResumeAsk) -> None:
        """Say where we stand; ask back if the peer is new to us."""
        if self.left:
            return
        self._up = True
        if self.state.must_ask(word):
            self.ask()
        self.say(self.state.reply(word))

    @handles(blocks.Resume)
    def on_resume(self, word: blocks.Resume) -> None:
        """Judge where both stand."""
        if self.left:
            return
        outcome = self.state.judge(word)
        if outcome is ResumeOutcome.RESUMED:
            self._events.resumed()
        elif outcome is ResumeOutcome.ROLLED_BACK:
            self.alarm("rolled_back")
            number = self.state.epoch[0] + 1
            self._events.new_epoch((number, draw(self._context.system)))
        elif outcome is ResumeOutcome.JOIN:
            self._events.new_epoch((word.number, word.random))

    # Connection on demand

    def wait_for_peer(self, request: PendingRequest) -> None:
        """Serve this once in step, or say no when its time is over; `Refused("busy")`."""
        if len(self._pending) >= PENDING_MAX:
            raise Refused("busy", f"too many requests wait for {self.name}")
        self._pending.append(request)
        self.wake()

    def wake(self) -> None:
        """Ask the peer where it stands, which opens a connection."""
        now = self._context.clock.now
        if now - self._asked_at >= WAKE_EVERY_S or len(self._pending) == 1:
            self._asked_at = now
            self.ask()

    # What befalls the store

    def note_up(self) -> None:
        """The peer has answered: it is there."""
        self._up = True

    def serve_pending(self) -> None:
        """The peer is awake: serve who has waited for it."""
        self._unreachable_since = 0.0
        pending, self._pending = self._pending, []
        serve_all(pending)

    def tick(self, now: Clock) -> None:
        """Give up on a peer that does not answer, or wake it once more."""
        late = [request for request in self._pending if request.until <= now.now]
        if late:
            self._unreachable_since = now.now
        self._end_late(late)
        if self._pending:
            self.wake()
        self._watch_step(now.now)

    def _watch_step(self, now: float) -> None:
        """Tell operators of a neighbour that is heard and not in step, and that it is over."""
        apart = self._up and not self.state.resumed and not self.distant
        if not apart:
            self._apart_since = NEVER
        elif self._apart_since == NEVER:
            self._apart_since = now
        late = apart and now - self._apart_since >= OUT_OF_STEP_S
        if late is not self._apart_told:
            self._apart_told = late
            (self.show_alarm if late else self.end_alarm)("out_of_step")

    def _end_late(self, late: list[PendingRequest]) -> None:
        self._pending = [request for request in self._pending if request not in late]
        for request in late:
            request.answer(Failed(code="peer_down", why=self.why_down))


def serve_all(requests: Iterable[PendingRequest]) -> None:
    """What these waited for is there; each hears of what else is in its way."""
    for request in requests:
        try:
            request.serve()
        except Refused as no:
            request.answer(Failed(code=no.code, why=str(no)))


def draw(system: System) -> int:
    """Draw a start, a nonce or the random part of an epoch."""
    return int.from_bytes(system.random(8), "big") % (LIMIT - 1) + 1
