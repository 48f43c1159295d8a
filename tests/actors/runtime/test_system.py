"""One contract for the system on threads and the one in steps, so that stories prove both."""

import queue
import threading
from collections.abc import Iterator
from typing import Any, Protocol

import pytest

from actors.base import Actor, Row, System, handles
from actors.protocol.common import Died, Failed, Ping, Pong, Refused
from actors.protocol.trees import Child
from actors.runtime.supervisor import Patience, Supervisor
from actors.runtime.system import ThreadSystem
from actors.storage.writer import Writer
from protokms.node.meter import MemoryMeter
from protokms.testing.cluster import Cluster
from protokms.testing.disk import MemoryStore
from transport.envelope import Address, Envelope
from transport.message import Message, Secret, local

PATIENCE_S = 5.0


@local
class Echo(Message):
    """Say that again."""

    text: str


@local
class Echoed(Message):
    """There."""

    text: str
    secret: Secret | None = None


@local
class Trip(Message):
    """Crash."""

    text: str


@local
class TripLater(Message):
    """Crash over a message to yourself."""


@local
class Keep(Message):
    """Make this durable, then answer."""

    text: str


@local
class Kept(Message):
    """All that is durable."""

    texts: tuple[str, ...]


@local
class Alarm(Message):
    """Tell somebody after some seconds, unless it is cancelled."""

    to: str
    seconds: float
    cancel: bool


class Parrot(Actor):
    """Says what it is told, and dies when told."""

    def __init__(self, system: System, name: str, fails: str = "") -> None:
        super().__init__(system, name)
        if fails == "made":
            raise OSError("on purpose")
        if fails == "exit":
            raise SystemExit(1)
        self._fails = fails
        self.texts: list[str] = []
        self.gone = threading.Event()

    def started(self) -> None:
        self.texts = [row.id.decode() for row in self.system.load("parrot")]
        if self._fails == "started":
            raise OSError("on purpose")

    def stopped(self) -> None:
        self.tell(Address("watcher", self.system.node), Echoed(text="stopped"))

    @handles(Echo)
    def echo(self, ask: Echo) -> Echoed:
        if not ask.text:
            raise Refused("empty")
        return Echoed(text=ask.text, secret=Secret(b"k"))

    @handles(Trip)
    def trip(self, ask: Trip) -> None:
        raise ZeroDivisionError(ask.text)

    @handles(TripLater)
    def trip_later(self, _: TripLater) -> None:
        self.tell(self.address, Trip(text="self"))

    @handles(Keep)
    def keep(self, ask: Keep) -> object:
        answer = self.later()

        def done() -> None:
            self.texts.append(ask.text)
            answer(Kept(texts=tuple(self.texts)))

        self.commit([Row("parrot", "word", ask.text.encode())], done)
        return answer

    @handles(Alarm)
    def alarm(self, ask: Alarm) -> None:
        to = Address(ask.to, self.system.node)
        timer = self.system.after(ask.seconds, Envelope(self.address, to, Echoed(text="late")))
        if ask.cancel:
            timer.cancel()


class Greeter(Parrot):
    """Says when it has started."""

    def started(self) -> None:
        self.tell(Address("watcher", self.system.node), Echoed(text="started"))


class Inbox(Protocol):
    """Stands under a name and keeps what it gets."""

    def take(self) -> Message:
        """Return the next message."""
        ...


class World(Protocol):
    """One node, in either runtime."""

    system: Any

    def ask(self, name: str, body: Message, wait: float = 1.0) -> Message: ...

    def inbox(self, name: str) -> Inbox: ...

    def count(self, name: str, **labels: str) -> float: ...


class StepWorld:
    def __init__(self) -> None:
        self.cluster = Cluster("a", tolerant=True)
        self.system = self.cluster.nodes["a"]

    def ask(self, name: str, body: Message, wait: float = 1.0) -> Message:
        return self.cluster.ask(f"{name}@a", body, wait)

    def inbox(self, name: str) -> "StepInbox":
        return StepInbox(self.cluster, name)

    def count(self, name: str, **labels: str) -> float:
        return self.cluster.count("a", name, **labels)


class StepInbox:
    def __init__(self, cluster: Cluster, name: str) -> None:
        self._cluster, self._probe = cluster, cluster.probe(f"{name}@a")

    def take(self) -> Message:
        for _ in range(100):
            self._cluster.settle()
            if self._probe.envelopes:
                return self._probe.envelopes.pop(0).body
            self._cluster.advance(0.1)
        raise queue.Empty


class ThreadWorld:
    def __init__(self, *, through_codec: bool) -> None:
        self._meter = MemoryMeter()
        self.fatal: list[str] = []
        self.writer = Writer(
            MemoryStore(), self._meter, deliver=self._deliver, fatal=self.fatal.append
        )
        self.system = ThreadSystem(
            "a", self._meter, durable=self.writer, through_codec=through_codec
        )
        self.writer.start()

    def _deliver(self, envelope: Envelope) -> None:
        self.system.send(envelope)

    def ask(self, name: str, body: Message, wait: float = 1.0) -> Message:
        answer = self.system.ask(Address(name, "a"), body, timeout=max(wait, PATIENCE_S))
        return answer.result(timeout=2 * PATIENCE_S)

    def inbox(self, name: str) -> "ThreadInbox":
        made = ThreadInbox()
        self.system.register(name, made)
        return made

    def count(self, name: str, **labels: str) -> float:
        return self._meter.value(name, **labels)


class ThreadInbox:
    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Envelope] = queue.SimpleQueue()

    def tell(self, envelope: Envelope) -> None:
        self._queue.put(envelope)

    def take(self) -> Message:
        return self._queue.get(timeout=PATIENCE_S).body


@pytest.fixture(params=["steps", "threads", "through the codec"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    if request.param == "steps":
        yield StepWorld()
        return
    made = ThreadWorld(through_codec=request.param != "threads")
    yield made
    assert made.system.shutdown(PATIENCE_S), "an actor does not end"
    assert made.writer.stop()
    assert made.fatal == []


def test_a_question_gets_an_answer(world: World) -> None:
    world.system.spawn("parrot", Parrot)

    assert world.ask("parrot", Echo(text="x")) == Echoed(text="x", secret=Secret(b"k"))


def test_a_refusal_is_an_answer_and_no_death(world: World) -> None:
    world.system.spawn("parrot", Parrot)

    assert world.ask("parrot", Echo(text="")) == Failed(code="empty", why="empty")
    assert world.ask("parrot", Ping()) == Pong()


def test_a_question_to_nobody_is_undeliverable(world: World) -> None:
    answer = world.ask("nobody", Ping())

    assert answer == Failed(code="undeliverable", why="nobody@a")
    assert world.count("protokms_undeliverable", reason="no_actor") == 1


def test_an_answer_comes_after_the_commit_and_a_fresh_actor_finds_the_rows(world: World) -> None:
    world.system.spawn("parrot", Parrot)
    first = world.ask("parrot", Keep(text="x"))
    world.system.stop("parrot")
    world.system.spawn("parrot", Parrot)

    assert first == Kept(texts=("x",))
    assert world.ask("parrot", Keep(text="y")) == Kept(texts=("x", "y"))


def test_a_death_is_answered_and_the_parent_hears_of_it(world: World) -> None:
    parent = world.inbox("parent")
    world.system.spawn("parrot", Parrot, parent=Address("parent", "a"))

    answer = world.ask("parrot", Trip(text="key bits"))
    news = parent.take()

    assert answer == Failed(code="crashed", why="parrot")
    assert isinstance(news, Died)
    assert news.name == "parrot"
    assert news.why.startswith("ZeroDivisionError at test_system.py:")
    assert "key bits" not in news.why
    assert world.ask("parrot", Ping()) == Failed(code="undeliverable", why="parrot@a")


def test_who_crashed_last_is_the_last_of_those_that_have_crashed() -> None:
    system = ThreadSystem("a", MemoryMeter())
    try:
        for name in ("one", "two", "one"):
            system.spawn(name, Parrot, "made")

        assert list(system.crashes()) == ["two", "one"]
    finally:
        system.shutdown()


@pytest.mark.parametrize("fails", ["made", "exit", "started"])
def test_a_start_that_raises_is_a_death(world: World, fails: str) -> None:
    parent = world.inbox("parent")

    world.system.spawn("parrot", Parrot, fails, parent=Address("parent", "a"))

    news = parent.take()
    assert isinstance(news, Died)
    assert news.why.startswith("SystemExit" if fails == "exit" else "OSError")
    assert world.ask("parrot", Ping()) == Failed(code="undeliverable", why="parrot@a")


def test_a_supervisor_puts_a_fresh_actor_under_the_old_name(world: World) -> None:
    patience = Patience(first_wait=0.001, longest_wait=0.001)
    watcher = world.inbox("watcher")
    child = Child("parrot", Greeter)
    world.system.spawn("supervisor", Supervisor, [child], lambda *_: None, patience)

    hello = watcher.take()
    world.ask("parrot", Trip(text="x"))
    again = watcher.take()

    assert hello == again == Echoed(text="started")
    assert world.ask("parrot", Ping()) == Pong()


def test_a_message_that_killed_twice_is_not_read_again(world: World) -> None:
    for _ in range(2):
        world.system.spawn("parrot", Parrot)
        assert world.ask("parrot", Trip(text="x")) == Failed(code="crashed", why="parrot")
    world.system.spawn("parrot", Parrot)

    third = world.ask("parrot", Trip(text="x"))

    assert third == Failed(code="undeliverable", why="parrot@a")
    assert world.count("protokms_poison_dropped", actor="parrot") == 1
    assert world.ask("parrot", Echo(text="y")) == Echoed(text="y", secret=Secret(b"k"))
    assert world.ask("parrot", Trip(text="z")) == Failed(code="crashed", why="parrot")


def test_what_an_actor_tells_itself_is_never_poison(world: World) -> None:
    parent = world.inbox("parent")
    for _ in range(3):
        world.system.spawn("parrot", Parrot, parent=Address("parent", "a"))
        world.system.send(Envelope(Address("parent", "a"), Address("parrot", "a"), TripLater()))
        assert isinstance(parent.take(), Died)

    assert world.count("protokms_poison_dropped", actor="parrot") == 0


def test_a_stopped_actor_handles_its_mailbox_first_and_says_goodbye(world: World) -> None:
    watcher, asker = world.inbox("watcher"), world.inbox("asker")
    world.system.spawn("parrot", Parrot)
    here, there = Address("asker", "a"), Address("parrot", "a")

    world.system.send(Envelope(here, there, Echo(text="x"), token=1))
    world.system.stop("parrot")
    world.system.send(Envelope(here, there, Echo(text="y"), token=2))

    answers = [asker.take(), asker.take()]
    assert sorted(type(answer).__name__ for answer in answers) == ["Echoed", "Failed"]
    assert watcher.take() == Echoed(text="stopped")


def test_a_name_is_given_once(world: World) -> None:
    world.system.spawn("parrot", Parrot)

    with pytest.raises(ValueError, match="parrot@a"):
        world.system.spawn("parrot", Parrot)


def test_a_timer_rings_and_a_cancelled_one_does_not(world: World) -> None:
    ear = world.inbox("ear")
    world.system.spawn("parrot", Parrot)
    world.ask("parrot", Ping())

    for seconds, cancel in ((0.001, True), (0.002, False)):
        body = Alarm(to="ear", seconds=seconds, cancel=cancel)
        world.system.send(Envelope(Address("ear", "a"), Address("parrot", "a"), body))

    assert ear.take() == Echoed(text="late")
    assert world.ask("parrot", Ping()) == Pong()
    assert world.count("protokms_undeliverable", reason="no_actor") == 0


def test_messages_of_one_sender_keep_their_order(world: World) -> None:
    ear = world.inbox("ear")
    world.system.spawn("parrot", Parrot)
    there = Address("parrot", "a")

    for n in range(1, 50):
        world.system.send(Envelope(Address("ear", "a"), there, Echo(text=str(n)), token=n))

    said = [ear.take() for _ in range(1, 50)]
    assert [each.text for each in said if isinstance(each, Echoed)] == list(map(str, range(1, 50)))


def test_what_lies_in_the_mailbox_of_the_dead_is_returned(world: World) -> None:
    ear = world.inbox("ear")
    world.system.spawn("parrot", Parrot)
    here, there = Address("ear", "a"), Address("parrot", "a")
    world.ask("parrot", Ping())

    world.system.send(Envelope(here, there, Trip(text="x"), token=1))
    world.system.send(Envelope(here, there, Echo(text="y"), token=2))

    answers = [ear.take(), ear.take()]
    assert Failed(code="crashed", why="parrot") in answers
    assert Failed(code="undeliverable", why="parrot@a") in answers
