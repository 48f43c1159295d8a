"""The supervisor: fresh actors for dead ones, up to a limit."""

import pytest

from actors.base import Actor, System, handles
from actors.protocol.common import Died, Failed, Ping, Pong
from actors.protocol.trees import Child, StartChild, Started, StopChild, Stopped
from actors.runtime.supervisor import Patience, Supervisor
from protokms.testing.cluster import Cluster
from transport.message import Message, local

PATIENCE = Patience(limit=3, period=10.0, first_wait=1.0, longest_wait=3.0)
GONE = Failed(code="undeliverable", why="child@a")


@local
class Fall(Message):
    """Crash, for the reason given."""

    why: int


class Faller(Actor):
    """Crashes when told."""

    @handles(Fall)
    def fall(self, ask: Fall) -> None:
        raise RuntimeError(ask.why)


class StillBorn(Actor):
    """Never starts."""

    def started(self) -> None:
        raise RuntimeError


class Order(Actor):
    """Notes when it starts and stops."""

    def __init__(self, system: System, name: str, notes: list[str]) -> None:
        super().__init__(system, name)
        self._notes = notes

    def started(self) -> None:
        self._notes.append(f"+{self.address.name}")

    def stopped(self) -> None:
        self._notes.append(f"-{self.address.name}")


class Tree:
    def __init__(self, *children: Child) -> None:
        self.given_up: list[str] = []
        self.cluster = Cluster("a", tolerant=True)
        self.cluster.spawn(
            "supervisor@a",
            Supervisor,
            children,
            lambda name, _: self.given_up.append(name),
            PATIENCE,
        )
        self._falls = 0

    def fall(self) -> None:
        self._falls += 1
        self.cluster.ask("child@a", Fall(why=self._falls))

    def ping(self) -> Message:
        return self.cluster.ask("child@a", Ping())


def test_the_waits_for_a_fresh_actor_double_up_to_the_longest() -> None:
    tree = Tree(Child("child", Faller))
    waits = []

    for _ in range(3):
        tree.fall()
        since = tree.cluster.now
        while tree.ping() == GONE:
            tree.cluster.advance(0.25)
        waits.append(tree.cluster.now - since)

    assert waits == [1.0, 2.0, 3.0]
    assert tree.given_up == []


def test_too_many_deaths_are_too_many() -> None:
    notes: list[str] = []
    tree = Tree(Child("first", Order, (notes,)), Child("child", Faller))

    for _ in range(4):
        tree.fall()
        tree.cluster.advance(3.0)

    assert tree.given_up == ["child"]
    assert tree.ping() == GONE
    assert notes == ["+first", "-first"]
    assert tree.cluster.ask("supervisor@a", StartChild(child=Child("x", Faller))) == Failed(
        code="quarantined", why="supervisor"
    )


def test_old_deaths_are_forgotten() -> None:
    tree = Tree(Child("child", Faller))

    for _ in range(6):
        tree.fall()
        tree.cluster.advance(11.0)

    assert tree.given_up == []
    assert tree.ping() == Pong()


def test_a_child_that_never_starts_is_given_up() -> None:
    tree = Tree(Child("child", StillBorn))

    tree.cluster.advance(10.0)

    assert tree.given_up == ["child"]


def test_children_start_first_to_last_and_stop_last_to_first() -> None:
    notes: list[str] = []
    tree = Tree(*(Child(name, Order, (notes,)) for name in ("one", "two")))

    tree.cluster.nodes["a"].stop("supervisor")
    tree.cluster.settle()

    assert notes == ["+one", "+two", "-two", "-one"]


def test_children_come_and_go_while_it_runs() -> None:
    tree = Tree()
    child = Child("child", Faller)

    assert tree.cluster.ask("supervisor@a", StartChild(child=child)) == Started()
    assert tree.ping() == Pong()
    again = tree.cluster.ask("supervisor@a", StartChild(child=child))
    assert again == Failed(code="duplicate", why="child")
    assert tree.cluster.ask("supervisor@a", StopChild(name="child")) == Stopped()
    assert tree.ping() == GONE
    nobody = tree.cluster.ask("supervisor@a", StopChild(name="child"))
    assert nobody == Failed(code="no_such_child", why="child")


@pytest.mark.parametrize("name", ["stranger", "supervisor"])
def test_the_death_of_a_stranger_changes_nothing(name: str) -> None:
    tree = Tree(Child("child", Faller))

    tree.cluster.tell("supervisor@a", Died(name=name, why=""))
    tree.cluster.advance(5.0)

    assert tree.ping() == Pong()
    assert tree.given_up == []
