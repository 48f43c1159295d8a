"""The base of every actor: handlers, answers, questions, timers, commits, failures.

An actor is a `pykka.ThreadingActor`. Used of Pykka are its life cycle (`on_start`, `on_receive`,
`on_stop`, `on_failure`), its reference with `tell` and `stop`, and its words for the end of an
actor (`actor_stopped`, `ActorDeadError`): that is what an actor is.

Not used are its thread, its queue, its proxies and its futures. All actors of a process share one
thread (`actors/runtime/life.py`), because a switch of threads costs more than a turn; they know
one another by address, because a reference does not travel; and answers are messages, because
an actor must not wait. So `start` of Pykka refuses: a system makes actors (`System.spawn`).

Four private names of Pykka are used. `tests/actors/test_pykka.py` lists them and holds Pykka to
them; setup.cfg has the versions.
"""

import itertools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Any, ClassVar, NamedTuple, NoReturn, Protocol, TypeVar, cast

import pykka
import structlog

from actors.mailbox import Mailbox
from actors.protocol.common import Committed, Failed, Ping, Pong, Refused, TimedOut
from transport.envelope import Address, Envelope
from transport.message import Message, Secret

H = TypeVar("H", bound=Callable[..., Any])
Then = Callable[[Message], None]


NUMBERED = ("holding", "tombstone")
"""Kinds of rows that lie in tables of their own, under running numbers (R18)."""
NUMBER_OCTETS = 8
NUMBER_MAX = (1 << 44) - 1
"""The highest number of a row of one store."""


@dataclass(frozen=True, slots=True)
class Row:
    """One durable value: `clear` is readable in the file, `secret` is sealed in it.

    The id of a row of a `NUMBERED` kind is its number; by its `ends` it is counted unread.
    """

    store: str
    kind: str
    id: bytes
    clear: bytes = b""
    secret: Secret | None = field(default=None, repr=False)
    ends: bytes = b""


class Numbered(NamedTuple):
    """A row under a running number, as it was read; `octets` are key bits, and are not shown."""

    number: int
    ends: bytes
    clear: bytes
    octets: bytes

    def __repr__(self) -> str:
        return f"<Numbered {self.number}, {len(self.octets)} octets>"


class Range(NamedTuple):
    """Which rows under running numbers: of one kind, above a number and up to one."""

    store: str
    kind: str
    above: int = 0
    upto: int = NUMBER_MAX


@dataclass(slots=True)
class Slice:
    """Rows read beside the actors, the last first."""

    rows: list[Numbered] = field(default_factory=list, repr=False)


class Clock(NamedTuple):
    """What time is it: which boot, and seconds since then (R12)."""

    boot: str
    now: float


class Drop(NamedTuple):
    """Erase one row."""

    store: str
    kind: str
    id: bytes


Change = Row | Drop
Commit = Callable[[Sequence[Change], Callable[[], None]], None]
"""`Actor.commit`, for a part that has rows of its own."""
Read = Callable[[Range, int, Callable[[Slice], None]], None]
"""`Actor.read_rows`, for a part that reads rows while others have their turns."""


class Timer(Protocol):
    """A message that is yet to come."""

    def cancel(self) -> None:
        """Let it not come; harmless when it has."""
        ...


class Cell:
    """A counter without a lock: one thread alone adds to it, `cell.n += 1`; all may read it."""

    __slots__ = ("n",)

    def __init__(self) -> None:
        self.n: float = 0


class Meter(Protocol):
    """Where actors count; names and labels are listed in docs/metrics.md."""

    def add(self, name: str, n: float = 1, **labels: str) -> None:
        """Count up."""
        ...

    def cell(self, name: str, **labels: str) -> Cell:
        """Return the counter of this series for the one thread that counts it often."""
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
        """Read every durable row of a store without a running number; only for `started()`."""
        ...

    def numbered(self, rows: Range, most: int) -> Sequence[Numbered]:
        """Read so many rows under numbers at most, the last first; only for `started()`."""
        ...

    def weigh(self, rows: Range) -> Sequence[tuple[bytes, int]]:
        """Count rows by their `ends`, unread; only for `started()`."""
        ...

    def read(self, owner: Address, rows: Range, most: int, into: Slice, token: int) -> None:
        """Read so many rows at most beside the actors; then `owner` gets `Committed(token)`.

        Fewer may come; none says that there are no more.
        """
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


def handlers_of(cls: type) -> dict[type[Message], str]:
    """Which message a class handles in which of its methods, inherited ones included."""
    return {
        method.handles: name
        for base in reversed(cls.__mro__)
        for name, method in vars(base).items()
        if hasattr(method, "handles")
    }


class Part:
    """A piece of an actor: one conversation, with its state and its handlers.

    A part is a plain object. Its actor makes it, gives it the parts it needs, and calls its
    hooks in an order that stands in the actor. What a part has to tell upwards is an event of
    its actor.
    """

    handlers: ClassVar[dict[type[Message], str]] = {}

    def __init_subclass__(cls) -> None:
        cls.handlers = handlers_of(cls)


class Context(Protocol):
    """What a part may ask of its actor, and nothing else of it."""

    @property
    def address(self) -> Address:
        """Where the actor is."""
        ...

    @property
    def sender(self) -> Address:
        """Who sent the message of this turn."""
        ...

    @property
    def system(self) -> System:
        """The node, its clock, random octets, meter."""
        ...

    @property
    def clock(self) -> Clock:
        """Which boot, and the seconds since."""
        ...

    @property
    def log(self) -> Any:
        """The log of the actor."""
        ...

    def tell(self, to: Address, body: Message) -> None:
        """Send, and expect no answer."""
        ...

    def ask(self, to: Address, body: Message, then: Then, timeout: float) -> None:
        """Send; `then` gets the answer, or `Failed`, in a later turn."""
        ...

    def later(self) -> "Later":
        """Return this from a handler to answer its question in a later turn."""
        ...

    def remind(self, seconds: float, body: Message) -> Timer:
        """Set a timer: a message from this actor to itself."""
        ...

    def go_on(self, seconds: float, body: Message) -> None:
        """Set the timer of this kind of message: one set before does not come."""
        ...


class Actor(pykka.ThreadingActor):
    """A mailbox, some state, and one handler for each message it understands.

    What a handler returns is the answer. `raise Refused` is an answer too; any
    other exception is a crash, and the supervisor starts a fresh actor.

    A large actor names its `parts` at the class and hands them to `serve` once they are made:
    each handles messages of its own. Until then their messages are answered `not_ready`.
    """

    use_daemon_thread = True
    parts: ClassVar[tuple[type[Part], ...]] = ()
    _handlers: ClassVar[dict[type[Message], str]] = {}
    _handled_by: ClassVar[dict[type[Message], type]] = {}

    def __init_subclass__(cls) -> None:
        cls._handlers = handlers_of(cls)
        cls._handled_by = dict.fromkeys(cls._handlers, cls)
        for part in cls.parts:
            for kind in part.handlers:
                if kind in cls._handled_by:
                    raise TypeError(f"{kind.__name__} is handled twice in {cls.__name__}")
                cls._handled_by[kind] = part

    @classmethod
    def handled_by(cls) -> dict[type[Message], type]:
        """Return which class handles each message: this one, or one of its parts."""
        return dict(cls._handled_by)

    @classmethod
    def start(cls, *_: Any, **__: Any) -> NoReturn:
        """Refuse: on a thread of its own an actor would find no mail that it could wait for."""
        kind = cls.__name__
        raise TypeError(f"not {kind}.start(system, name): call system.spawn(name, {kind}, ...)")

    def __init__(self, system: System, name: str) -> None:
        super().__init__()
        self.system, self.address = system, Address(name, system.node)
        self.log = structlog.get_logger().bind(node=system.node, actor=name)
        self._tokens = itertools.count(int.from_bytes(system.random(8), "big") >> 2)
        self._waiting: dict[int, tuple[Address, Then, Timer]] = {}
        self._commits: dict[int, Callable[[], None]] = {}
        self._ticks: dict[type[Message], Timer] = {}
        self._envelope: Envelope | None = None
        self._served: dict[type, Part] = {}

    def serve(self, *parts: Part) -> None:
        """Let parts handle their messages from now on.

        The table is made at the class, and the method is looked up by its name: so a test that
        puts another method in its place is heard, and not answered `not_understood`. A table of
        its own for each actor would be half of what a small one takes in memory.
        """
        for part in parts:
            if type(part) not in self.parts:
                raise TypeError(f"{type(part).__name__} is no part of {type(self).__name__}")
            self._served[type(part)] = part

    def admits(self, _: Message) -> bool:
        """Whether a wire word is heard; what is not admitted is dropped without an answer."""
        return True

    # What a handler may do

    @property
    def clock(self) -> Clock:
        """Which boot, and the seconds since."""
        return Clock(self.system.boot_id, self.system.now())

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

    def read_rows(self, rows: Range, most: int, then: Callable[[Slice], None]) -> None:
        """Have the last rows of a range read beside the actors; `then` gets them in a later turn.

        Fewer than `most` may come; none says that there are no more.
        """
        token, into = next(self._tokens), Slice()
        self._commits[token] = partial(then, into)
        self.system.read(self.address, rows, most, into, token)

    @property
    def waiting(self) -> int:
        """How many messages wait in the mailbox; any thread may ask."""
        return self.mailbox.qsize()

    @property
    def pressing(self) -> int:
        """How many messages wait in the mailbox that are not in bulk."""
        return self.mailbox.pressing

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
        """Let go, tell the supervisor, then answer the open question."""
        try:
            self.crashed()
        finally:
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

    def crashed(self) -> None:
        """Let go of what the next one wants, as a port; called after a crash."""

    @handles(Ping)
    def ping(self, _: Ping) -> Pong:
        """Answer: a mailbox is in order, so `started()` is done by now."""
        return Pong()

    def _handle(self, body: Message) -> Message | Later | None:
        handler = self._handler(type(body))
        if isinstance(handler, Failed):
            return handler
        if body.wire and not self.admits(body):
            return None
        try:
            return handler(body)
        except Refused as no:
            return Failed(code=no.code, why=str(no))

    def _handler(self, kind: type[Message]) -> Callable[[Any], Message | Later | None] | Failed:
        owner = self._handled_by.get(kind)
        if owner is None:
            return Failed(code="not_understood", why=kind.__name__)
        part = self._served.get(owner)
        handler: Callable[[Any], Message | Later | None]
        if part is not None:
            handler = getattr(part, part.handlers[kind])
        elif kind in self._handlers:
            handler = getattr(self, self._handlers[kind])
        else:
            return Failed(code="not_ready", why=f"{self.address.name} is still loading")
        return handler

    def _settle(self, token: int, sender: Address | None, body: Message) -> None:
        asked, then, timer = self._waiting.get(token, (None, None, None))
        if then and timer and sender in (asked, None):  # only whom we asked may answer
            del self._waiting[token]
            timer.cancel()
            then(body)
