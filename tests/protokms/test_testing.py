"""The network in one thread: what a story on it may rely on."""

import pytest

from actors.base import Actor, Drop, Row, System, handles
from actors.protocol.common import Failed, Ping, Pong, Refused
from protokms.testing.cluster import ActorCrashed, Cluster, NoAnswer
from protokms.testing.steps import StepSystem
from transport.envelope import Address
from transport.message import Message, local, wire
from transport.session import Doors


@wire("test.note/1")
class Note(Message):
    """Remember this."""

    text: str


@wire("test.noted/1")
class Noted(Message):
    """It is durable."""

    text: str


@local
class Read(Message):
    """What is there?"""


@local
class Content(Message):
    """All notes, in order of their text."""

    texts: tuple[str, ...]


@local
class Break(Message):
    """Crash."""


@local
class SendNote(Message):
    """Note this at the other node, and answer when it is done there."""

    to: str
    text: str


class Notebook(Actor):
    """Keeps notes; answers once they are durable."""

    def __init__(self, system: System, name: str) -> None:
        super().__init__(system, name)
        self.texts: list[str] = []

    def started(self) -> None:
        self.texts = [row.id.decode() for row in self.system.load("notes")]

    @handles(Note)
    def note(self, note: Note) -> Message | None:
        if not note.text:
            raise Refused("empty")
        answer = self.later()
        row = Row("notes", "note", note.text.encode())
        self.commit([row], lambda: (self.texts.append(note.text), answer(Noted(text=note.text)))[1])
        return answer  # type: ignore[return-value]

    @handles(Read)
    def read(self, _: Read) -> Content:
        return Content(texts=tuple(self.texts))

    @handles(SendNote)
    def send_note(self, ask: SendNote) -> object:
        answer = self.later()
        self.ask(Address("notebook", ask.to), Note(text=ask.text), then=answer, timeout=1.0)
        return answer

    @handles(Break)
    def break_down(self, _: Break) -> None:
        raise ZeroDivisionError("on purpose")


def recipe(system: StepSystem) -> None:
    system.spawn("notebook", Notebook)


@pytest.fixture
def pair() -> Cluster:
    doors = Doors({"test.note/1": "notebook"}, {"test.noted/1", "common.failed/1"})
    return Cluster("a-b", recipe, doors=doors)


def test_an_answer_waits_for_the_commit(pair: Cluster) -> None:
    assert pair.ask("notebook@a", Note(text="x")) == Noted(text="x")
    assert pair.ask("notebook@a", Read()) == Content(texts=("x",))


def test_a_refusal_is_an_answer(pair: Cluster) -> None:
    assert pair.ask("notebook@a", Note(text="")) == Failed(code="empty", why="empty")


def test_words_cross_from_node_to_node(pair: Cluster) -> None:
    assert pair.ask("notebook@a", SendNote(to="b", text="x")) == Noted(text="x")
    assert pair.ask("notebook@b", Read()) == Content(texts=("x",))
    assert pair.now == 0.0


def test_a_cut_wire_ends_in_a_timeout(pair: Cluster) -> None:
    pair.cut("a", "b")

    answer = pair.ask("notebook@a", SendNote(to="b", text="x"), wait=5.0)

    assert answer == Failed(code="timeout", why="no answer")
    assert pair.now == 1.0


def test_a_wire_cut_one_way_still_delivers_the_other_way(pair: Cluster) -> None:
    pair.cut("b", "a", one_way=True)

    answer = pair.ask("notebook@a", SendNote(to="b", text="x"), wait=5.0)

    assert answer == Failed(code="timeout", why="no answer")
    assert pair.ask("notebook@b", Read()) == Content(texts=("x",))


def test_what_was_durable_survives_a_crash_and_nothing_else_does(pair: Cluster) -> None:
    pair.ask("notebook@a", Note(text="x"))
    pair.crash_at_commit("a")
    with pytest.raises(NoAnswer):
        pair.ask("notebook@a", Note(text="y"))

    pair.restart("a")

    assert pair.ask("notebook@a", Read()) == Content(texts=("x",))


def test_a_crash_just_after_the_commit_keeps_the_rows_and_loses_the_answer(pair: Cluster) -> None:
    pair.crash_at_commit("a", before=False)
    with pytest.raises(NoAnswer):
        pair.ask("notebook@a", Note(text="x"))

    pair.restart("a")

    assert pair.ask("notebook@a", Read()) == Content(texts=("x",))


def test_the_nth_commit_can_be_the_last(pair: Cluster) -> None:
    pair.crash_at_commit("a", 2)

    pair.ask("notebook@a", Note(text="x"))
    with pytest.raises(NoAnswer):
        pair.ask("notebook@a", Note(text="y"))


def test_what_is_sent_to_a_node_known_to_be_down_is_undeliverable(pair: Cluster) -> None:
    pair.crash("b")
    pair.advance(3.0)

    answer = pair.ask("notebook@a", SendNote(to="b", text="x"))

    assert answer == Failed(code="undeliverable", why="notebook@b")


def test_a_restore_brings_back_the_past(pair: Cluster) -> None:
    pair.ask("notebook@a", Note(text="x"))
    copy = pair.backup("a")
    pair.ask("notebook@a", Note(text="y"))

    pair.restore("a", copy)

    assert pair.ask("notebook@a", Read()) == Content(texts=("x",))


def test_a_crash_of_an_actor_is_an_error_unless_the_cluster_is_tolerant(pair: Cluster) -> None:
    with pytest.raises(ActorCrashed, match="notebook@a in Break, seed 0"):
        pair.ask("notebook@a", Break())
