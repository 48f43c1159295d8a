"""The base of every actor: handlers, answers, questions, timers, commits, failures."""

import itertools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, ClassVar, NamedTuple, Protocol, TypeVar, cast

import pykka
import structlog

from actors.mailbox import Mailbox
from actors.protocol.common import Committed, Failed, Ping, Pong, Refused, TimedOut
from transport.envelope import Address, Envelope
from transport.message import Message, Secret

H = TypeVar("H", bound=Callable[..., Any])
Then = Callable[[Message], None]


@dataclass(frozen=True, slots=True)
class Row:
    """One durable value: `clear` is readable in the file, `secret` is sealed in it."""

    store: str
    kind: str
    id: bytes
    clear: bytes = b""
    secret: Secret | None = field(default=None, repr=False)


class Drop(NamedTuple):
    """Erase one row."""

    store: str
    kind: str
    id: bytes


Change = Row | Drop


class Timer(Protocol):
    """A message that is yet to come."""

    def cancel(self) -> None:
        """Let it not come; harmless when it has."""
        ...


class Meter(Protocol):
    """Where actors count; names and labels are listed in docs/metrics.md."""

    def add(self, name: str, n: float = 1, **labels: str) -> None:
        """Count up."""
        ...

    def set(self, name: str, value: float, **labels: str) -> None:
        """Say how much there is now."""
        ...


class System(Protocol):
    """What an actor may ask of its node; the simulation has one without threads."""

    node: str
    boot_id: str
    meter: Meter

    @property
    def disk_full(self) -> bool:
        """Whether commits wait for room on the disk: none will return soon."""
        ...

    def now(self) -> float:
        """Seconds since boot on a clock that never goes back and counts suspension."""
        ...

    def random(self, n: int) -> bytes:
        """Return n octets from the system's CSPRNG."""
        ...

    def send(self, envelope: Envelope) -> None:
        """Deliver, here or elsewhere; never blocks, never raises."""
        ...

    def after(self, seconds: float, envelope: Envelope) -> Timer:
        """Deliver later."""
        ...

    def load(self, store: str) -> Sequence[Row]:
        """Read every durable row of a store; only for `started()`."""
        ...

    def commit(self, owner: Address, changes: Sequence[Change], token: int) -> None:
        """Make the changes durable, in the order handed over; `owner` gets `Committed(token)`."""
        ...

    def spawn(
        self, name: str, kind: "type[Actor]", *args: Any, parent: Address | None = None
    ) -> Address:
        """Start an actor under a name; `parent`, its supervisor, hears of its death.

        A start that raises is a death too: it is reported, not raised.
        """
        ...

    def stop(self, name: str) -> None:
        """Stop an actor once it has handled what is in its mailbox by now; harmless when none."""
        ...

    def failed(self, name: str, why: BaseException | None, during: Envelope | None) -> None:
        """Hear that an actor has crashed, and in which message."""
        ...


class Later:
    """An answer that will be given in a later turn; call it with the answer."""

    __slots__ = ("_actor", "question")

    def __init__(self, actor: "Actor", question: Envelope) -> None:
        self._actor, self.question = actor, question

    def __call__(self, body: Message) -> None:
        """Give the answer."""
        self._actor.answer(self.question, body)


def handles(kind: type[Message]) -> Callable[[H], H]:
    """Mark a method as the handler of one message type."""

    def mark(method: H) -> H:
        method.__dict__["handles"] = kind
        return method

    return mark


class Actor(pykka.ThreadingActor):
    """A mailbox, some state, and one handler for each message it understands.

    What a handler returns is the answer. `raise Refused` is an answer too; any
    other exception is a crash, and the supervisor starts a fresh actor.
    """

    use_daemon_thread = True
    _handlers: ClassVar[dict[type[Message], str]] = {}

    def __init_subclass__(cls) -> None:
        cls._handlers = {
            method.handles: name
            for base in reversed(cls.__mro__)
            for name, method in vars(base).items()
            if hasattr(method, "handles")
        }

    def __init__(self, system: System, name: str) -> None:
        super().__init__()
        self.system, self.address = system, Address(name, system.node)
        self.log = structlog.get_logger().bind(node=system.node, actor=name)
        self._tokens = itertools.count(int.from_bytes(system.random(8), "big") >> 2)
        self._waiting: dict[int, tuple[Address, Then, Timer]] = {}
        self._commits: dict[int, Callable[[], None]] = {}
        self._ticks: dict[type[Message], Timer] = {}
        self._envelope: Envelope | None = None

    # What a handler may do

    @property
    def sender(self) -> Address:
        """Who sent the message of this turn."""
        assert self._envelope, "only inside a handler"
        return self._envelope.sender

    def tell(self, to: Address, body: Message) -> None:
        """Send, and expect no answer."""
        trace = self._envelope.trace if self._envelope else ""
        self.system.send(Envelope(self.address, to, body, 0, False, trace))

    def ask(self, to: Address, body: Message, then: Then, timeout: float) -> None:
        """Send; `then` gets the answer, or `Failed`, in a later turn of this actor.

        A `Failed("timeout")` means that the outcome is unknown, not that it is "no".
        """
        token = next(self._tokens)
        timer = self.remind(timeout, TimedOut(token=token))
        self._waiting[token] = to, then, timer
        trace = self._envelope.trace if self._envelope else ""
        self.system.send(Envelope(self.address, to, body, token, False, trace))

    def remind(self, seconds: float, body: Message) -> Timer:
        """Set a timer: a message from this actor to itself."""
        return self.system.after(seconds, Envelope(self.address, self.address, body))

    def go_on(self, seconds: float, body: Message) -> None:
        """Set the timer of this kind of message: one set before does not come.

        So whoever goes on from timer to timer does so once, though a former life has set one too.
        """
        before = self._ticks.get(type(body))
        if before:
            before.cancel()
        self._ticks[type(body)] = self.remind(seconds, body)

    def later(self) -> Later:
        """Return this from a handler to answer its question in a later turn."""
        assert self._envelope, "only inside a handler"
        return Later(self, self._envelope)

    def answer(self, question: Envelope, body: Message) -> None:
        """Answer a question; a `tell` wants no answer."""
        if question.token:
            self.system.send(
                Envelope(self.address, question.sender, body, question.token, True, question.trace)
            )

    def commit(self, changes: Sequence[Change], then: Callable[[], None]) -> None:
        """Make rows durable; `then` runs in a later turn, once they are (R8)."""
        token = next(self._tokens)
        self._commits[token] = then
        self.system.commit(self.address, changes, token)

    @property
    def waiting(self) -> int:
        """How many messages wait in the mailbox; any thread may ask."""
        return self.mailbox.qsize()

    @property
    def mailbox(self) -> Mailbox:
        """Where messages wait for their turn."""
        inbox: Any = self.actor_inbox  # Pykka's idea of one knows less
        return cast(Mailbox, inbox)

    # What Pykka calls

    @staticmethod
    def _create_actor_inbox() -> Any:
        return Mailbox()

    def on_receive(self, message: Envelope) -> None:
        """Take one envelope from the mailbox: one turn."""
        self._envelope = message
        body = message.body
        if type(body) is Committed:
            if message.sender == self.address and (then := self._commits.pop(body.token, None)):
                then()
        elif type(body) is TimedOut:
            if message.sender == self.address:
                self._settle(body.token, None, Failed(code="timeout", why="no answer"))
        elif message.answer:
            self._settle(message.token, message.sender, body)
        else:
            answer = self._handle(body)
            if isinstance(answer, Message):
                self.answer(message, answer)
        self._envelope = None

    def on_failure(
        self,
        exception_type: type[BaseException] | None,
        exception_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Tell the supervisor, then answer the open question."""
        during, self._envelope = self._envelope, None
        self.system.failed(self.address.name, exception_value, during)
        if during and not during.answer:
            self.answer(during, Failed(code="crashed", why=self.address.name))

    def on_start(self) -> None:
        """Run `started()`; Pykka does not call `on_failure` for this hook."""
        try:
            self.started()
        except Exception:
            self.on_failure(*sys.exc_info())
            raise

    def on_stop(self) -> None:
        """Run `stopped()` when the actor is stopped in order."""
        self.stopped()

    def started(self) -> None:
        """Load what is durable, set timers and greet neighbours; the mailbox is open already."""

    def stopped(self) -> None:
        """Let go of sockets and threads; not called after a crash."""

    @handles(Ping)
    def ping(self, _: Ping) -> Pong:
        """Answer: a mailbox is in order, so `started()` is done by now."""
        return Pong()

    def _handle(self, body: Message) -> Message | Later | None:
        name = self._handlers.get(type(body))
        if name is None:
            return Failed(code="not_understood", why=type(body).__name__)
        try:
            answer: Message | Later | None = getattr(self, name)(body)
        except Refused as no:
            return Failed(code=no.code, why=str(no))
        return answer

    def _settle(self, token: int, sender: Address | None, body: Message) -> None:
        asked, then, timer = self._waiting.get(token, (None, None, None))
        if then and timer and sender in (asked, None):  # only whom we asked may answer
            del self._waiting[token]
            timer.cancel()
            then(body)
