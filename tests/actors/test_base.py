"""The base of every actor: who may answer, and when things run."""

import pytest

from actors.base import Actor, Context, Drop, Numbered, Part, Row, Slice, System, handles
from actors.protocol.common import Committed, Failed, Ping, Pong, TimedOut
from protokms.testing.cluster import Cluster
from transport.envelope import Address, Envelope
from transport.message import Message, Secret, local, wire


@local
class AskFor(Message):
    """Ask somebody for a pong."""

    who: str
    timeout: float


@local
class Write(Message):
    """Make a row durable."""

    id: bytes


@local
class Base(Message):
    """Which class handles this?"""


@local
class Answered(Message):
    """This one."""

    by: str


class Asker(Actor):
    """Asks, and notes what comes back."""

    def __init__(self, system: System, name: str) -> None:
        super().__init__(system, name)
        self.answers: list[Message] = []
        self.written: list[bytes] = []

    @handles(AskFor)
    def ask_for(self, ask: AskFor) -> None:
        to = Address(ask.who, self.system.node)
        self.ask(to, Ping(), then=self.answers.append, timeout=ask.timeout)

    @handles(Write)
    def write(self, ask: Write) -> None:
        self.commit([Row("s", "k", ask.id)], lambda: self.written.append(ask.id))

    @handles(Base)
    def base(self, _: Base) -> Answered:
        return Answered(by="base")


@local
class Count(Message):
    """Count one more; the first time is 1."""


@wire("test_base.said/1")
class Said(Message):
    """What a peer says."""

    n: int


class Counter(Part):
    """Counts, in one conversation of its own."""

    def __init__(self, context: Context) -> None:
        self.context, self.n = context, 0

    @handles(Count)
    def count(self, _: Count) -> Answered:
        self.n += 1
        return Answered(by=f"{self.context.address.name}: {self.n} at {self.context.clock.now}")

    @handles(Said)
    def said(self, word: Said) -> Answered:
        return Answered(by=str(word.n))


class Whole(Actor):
    """An actor over one part; it hears small numbers of peers alone."""

    parts = (Counter,)

    @handles(Base)
    def load(self, _: Base) -> None:
        self.serve(Counter(self))

    def admits(self, word: Message) -> bool:
        return not isinstance(word, Said) or word.n < 10


class Heir(Asker):
    """Overrides a handler without marking it, and adds nothing."""

    def base(self, _: Base) -> Answered:
        return Answered(by="heir")


def asker(cluster: Cluster) -> Asker:
    cluster.spawn("asker@a", Asker)
    found = cluster.actor("asker@a")
    assert isinstance(found, Asker)
    return found


def test_only_the_one_asked_can_answer_and_only_once() -> None:
    cluster = Cluster("a")
    actor, asked = asker(cluster), cluster.probe("asked@a")
    liar = cluster.probe("liar@a")
    cluster.tell("asker@a", AskFor(who="asked", timeout=1.0))
    token = asked.envelopes[0].token
    system = cluster.nodes["a"]

    for sender in (liar, asked, asked):
        body = Failed(code=sender.address.name, why="")
        system.send(Envelope(sender.address, actor.address, body, token, answer=True))
    cluster.advance(2.0)

    assert actor.answers == [Failed(code="asked", why="")]


def test_an_answer_that_comes_too_late_is_not_heard() -> None:
    cluster = Cluster("a")
    actor, asked = asker(cluster), cluster.probe("asked@a")
    cluster.tell("asker@a", AskFor(who="asked", timeout=1.0))

    cluster.advance(1.0)
    question = asked.envelopes[0]
    late = Envelope(question.to, question.sender, Pong(), question.token, answer=True)
    cluster.nodes["a"].send(late)
    cluster.settle()

    assert actor.answers == [Failed(code="timeout", why="no answer")]


def test_only_the_actor_itself_can_say_that_time_is_up_or_rows_are_durable() -> None:
    cluster = Cluster("a")
    actor, asked = asker(cluster), cluster.probe("asked@a")
    cluster.tell("asker@a", AskFor(who="asked", timeout=1.0))
    cluster.fill_disk("a")
    cluster.tell("asker@a", Write(id=b"1"))
    (commit,) = actor._commits

    cluster.tell("asker@a", TimedOut(token=asked.envelopes[0].token))
    cluster.tell("asker@a", Committed(token=commit))

    assert actor.answers == []
    assert actor.written == []
    cluster.free_disk("a")
    assert actor.written == [b"1"]


def test_commits_run_in_the_order_they_were_made() -> None:
    cluster = Cluster("a")
    actor = asker(cluster)
    cluster.fill_disk("a")

    for n in range(20):
        cluster.tell("asker@a", Write(id=bytes([n])))
    cluster.free_disk("a")

    assert actor.written == [bytes([n]) for n in range(20)]


def test_what_nobody_handles_is_answered_so() -> None:
    cluster = Cluster("a")
    asker(cluster)

    assert cluster.ask("asker@a", Pong()) == Failed(code="not_understood", why="Pong")


def test_an_overridden_handler_is_the_one_that_runs() -> None:
    cluster = Cluster("a")
    cluster.spawn("asker@a", Heir)

    assert cluster.ask("asker@a", Base()) == Answered(by="heir")


def test_a_part_handles_its_messages_once_its_actor_serves_it() -> None:
    cluster = Cluster("a")
    cluster.spawn("whole@a", Whole)

    before = cluster.ask("whole@a", Count())
    cluster.tell("whole@a", Base())

    assert before == Failed(code="not_ready", why="whole is still loading")
    assert cluster.ask("whole@a", Count()) == Answered(by="whole: 1 at 0.0")
    assert cluster.ask("whole@a", Count()) == Answered(by="whole: 2 at 0.0")


def test_a_wire_word_that_is_not_admitted_is_dropped_before_its_handler() -> None:
    cluster = Cluster("a")
    asked = cluster.probe("asked@a")
    cluster.spawn("whole@a", Whole)
    cluster.tell("whole@a", Base())

    for n in (9, 10):
        to = Address("whole", "a")
        cluster.nodes["a"].send(Envelope(asked.address, to, Said(n=n), n))
    cluster.settle()

    assert asked.envelopes[0].body == Answered(by="9")
    assert len(asked.envelopes) == 1


def test_who_handles_a_word_is_known_without_an_actor() -> None:
    words = Whole.handled_by()

    assert (words[Count], words[Base], words[Ping]) == (Counter, Whole, Whole)


def test_no_two_parts_handle_one_word() -> None:
    class Other(Part):
        @handles(Count)
        def count(self, _: Count) -> None: ...

    with pytest.raises(TypeError, match="Count is handled twice"):
        type("Twice", (Actor,), {"parts": (Counter, Other)})


def test_a_part_that_the_class_does_not_name_is_not_served() -> None:
    class Stranger(Part):
        @handles(Count)
        def count(self, _: Count) -> None: ...

    cluster = Cluster("a")
    cluster.spawn("whole@a", Whole)
    whole = cluster.actor("whole@a")
    assert isinstance(whole, Whole)

    with pytest.raises(TypeError, match="Stranger is no part of Whole"):
        whole.serve(Stranger())


def test_a_row_shows_no_secret() -> None:
    row = Row("s", "k", b"1", b"clear", Secret(b"secret"))

    read = Numbered(7, b"ends", b"clear", b"secret")

    assert "secret" not in repr(row).lower()
    assert "secret" not in f"{read} {Slice([read])} {[read]!r}".lower()
    assert Drop("s", "k", b"1") == Drop("s", "k", b"1")


class Clockwork(Actor):
    """Goes on from timer to timer, in every life."""

    beats = 0

    def started(self) -> None:
        self.go_on(1.0, Base())

    @handles(Base)
    def beat(self, _: Base) -> None:
        type(self).beats += 1
        self.go_on(1.0, Base())


def test_an_actor_that_has_crashed_goes_on_no_faster() -> None:
    cluster = Cluster("a", tolerant=True)
    for _ in range(4):
        cluster.spawn("clock@a", Clockwork)
        cluster.advance(0.3)
        cluster.nodes["a"].failed("clock", None, None)
    cluster.spawn("clock@a", Clockwork)
    cluster.advance(3.0)
    Clockwork.beats = 0

    cluster.advance(10.0)

    assert 9 <= Clockwork.beats <= 11
