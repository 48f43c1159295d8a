"""Links that a supervisor is told to run: started, stopped, refused, given up; where they are."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import pytest

from actors.base import Actor
from actors.protocol import alarms
from actors.protocol.common import Failed, Ping, Pong, Refused
from actors.protocol.siblings import Lost
from actors.protocol.trees import Child, Started, StartLink, StopChild, StopLink, Stopped
from actors.runtime.places import Interface, LinkPlaces
from actors.runtime.supervisor import Patience, Supervisor
from protokms.testing.cluster import Cluster
from protokms.testing.probe import Probe
from protokms.testing.steps import StepSystem
from transport.message import Message

ROOT = "supervisor/links@a"
PATIENCE = Patience(limit=3, period=10.0, first_wait=1.0, longest_wait=3.0)
GIVEN_UP: list[str] = []


class Idle(Actor):
    """Stands where a link would."""


class Stillborn(Actor):
    """A link whose module does not start."""

    def started(self) -> None:
        raise OSError("no such device")


class Files:
    """A process with interfaces 1, 2 and 3, of which 3 is bound to `z` for good; `y` is broken."""

    fixed: Mapping[str, int] = {"z": 3}

    def link(self, peer: str, interface: int) -> Child:
        if interface not in (1, 2):
            raise Refused("no_such_interface", str(interface))
        if peer == "x":
            raise Refused("unknown_peer", peer)
        return Child(f"quantum_link/{peer}", Stillborn if peer == "y" else Idle)

    def holder(self, peer: str) -> str:
        return "busy" if peer == "w" else "supervisor/links"


def give_up(name: str, _why: str) -> None:
    GIVEN_UP.append(name)


@pytest.fixture
def tree() -> Iterator[Cluster]:
    def start(system: StepSystem) -> None:
        kind: Any = partial(Supervisor, interfaces=Files())
        front = (Child("etsi014", Idle),)
        system.spawn("supervisor/links", kind, front, give_up, PATIENCE)

    GIVEN_UP.clear()
    yield Cluster("a", start, hear_peers=(), tolerant=True)
    assert GIVEN_UP == []


@pytest.fixture
def board(tree: Cluster) -> Probe:
    return tree.probe(f"{alarms.NAME}@a")


def start(tree: Cluster, peer: str, interface: int = 1) -> Message:
    return tree.ask(ROOT, StartLink(peer=peer, interface=interface))


def stop(tree: Cluster, peer: str) -> Message:
    return tree.ask(ROOT, StopLink(peer=peer))


def runs(tree: Cluster, peer: str) -> bool:
    return tree.ask(f"quantum_link/{peer}@a", Ping()) == Pong()


def test_a_link_is_started_and_stopped(tree: Cluster) -> None:
    assert start(tree, "b") == Started()
    assert runs(tree, "b")

    assert stop(tree, "b") == Stopped()
    assert not runs(tree, "b")
    assert start(tree, "c") == Started()


def test_a_link_is_stopped_though_no_answer_came_in_time_before(tree: Cluster) -> None:
    """Who does not answer in time may have started it, or go on with it."""
    busy = tree.probe("busy@a")
    late = [
        tree.ask(ROOT, it, 10.0) for it in (StartLink(peer="w", interface=1), StopLink(peer="w"))
    ]
    assert [isinstance(it, Failed) and it.code for it in late] == ["timeout", "timeout"]

    busy.on(StopChild, Stopped())

    assert stop(tree, "w") == stop(tree, "w") == Stopped()
    assert len(busy.of(StopChild)) == 2  # and none when it was known to be gone


def test_the_same_again_is_answered_alike(tree: Cluster) -> None:
    start(tree, "b")
    first = tree.actor("quantum_link/b@a")

    assert start(tree, "b") == Started()
    assert tree.actor("quantum_link/b@a") is first
    assert stop(tree, "b") == stop(tree, "b") == Stopped()
    assert start(tree, "z", 3) == Started()


@pytest.mark.parametrize(
    ("peer", "interface", "code"),
    [
        ("b", 2, "link_up"),
        ("c", 1, "in_use"),
        ("c", 3, "in_use"),
        ("z", 2, "link_up"),
        ("c", 4, "no_such_interface"),
        ("x", 2, "unknown_peer"),
    ],
)
def test_a_link_that_cannot_be_is_refused(
    tree: Cluster, peer: str, interface: int, code: str
) -> None:
    start(tree, "b")

    answer = start(tree, peer, interface)

    assert isinstance(answer, Failed)
    assert (answer.code, runs(tree, "b")) == (code, True)
    assert start(tree, "c", 2) == Started()  # what was refused holds no interface


def test_a_link_that_the_file_binds_is_not_stopped(tree: Cluster) -> None:
    answer = stop(tree, "z")

    assert isinstance(answer, Failed)
    assert answer.code == "bound"


def test_links_last_as_long_as_core_is_heard(tree: Cluster) -> None:
    start(tree, "b")
    start(tree, "c", 2)

    tree.tell(ROOT, Lost(), "greeter/links@a")
    tree.settle()

    assert not runs(tree, "b")
    assert not runs(tree, "c")
    assert tree.ask("etsi014@a", Ping()) == Pong()
    assert start(tree, "c", 1) == Started()


def test_a_link_that_keeps_dying_is_given_up_alone(tree: Cluster, board: Probe) -> None:
    start(tree, "b")
    start(tree, "y", 2)

    tree.advance(20.0)

    assert runs(tree, "b")
    assert tree.ask("etsi014@a", Ping()) == Pong()
    (told,) = board.of(alarms.Raised)
    assert (told.id, told.subject) == ("link_not_ready", "y")
    assert "OSError" in told.text
    board.clear()
    assert stop(tree, "y") == Stopped()
    (ended,) = [it for it in board.envelopes if it.body == alarms.Ended(id="")]
    assert ended.sender.name == "quantum_link/y"  # who wants it no more hears no more of it
    assert start(tree, "y", 2) == Started()  # and it has its patience again


def test_a_link_that_was_given_up_can_be_started_again_as_it_is(tree: Cluster) -> None:
    start(tree, "y", 2)
    tree.advance(20.0)
    before = tree.count("a", "protokms_actor_deaths", actor="quantum_link/y")

    assert start(tree, "y", 2) == Started()
    tree.advance(20.0)

    assert tree.count("a", "protokms_actor_deaths", actor="quantum_link/y") == 2 * before


def test_a_link_that_waits_for_its_next_life_can_be_stopped_and_started(tree: Cluster) -> None:
    start(tree, "b")
    tree.crash_actor("quantum_link/b@a")
    tree.advance(0.5)

    assert stop(tree, "b") == Stopped()
    assert start(tree, "b") == Started()
    first = tree.actor("quantum_link/b@a")
    tree.advance(5.0)

    assert tree.actor("quantum_link/b@a") is first
    assert stop(tree, "b") == Stopped()  # the supervisor has not died of it


def test_a_supervisor_without_interfaces_runs_no_link() -> None:
    plain = Cluster("a", _spawn, hear_peers=())

    answer = plain.ask("supervisor@a", StartLink(peer="b", interface=1))

    assert isinstance(answer, Failed)
    assert answer.code == "no_such_interface"


def _spawn(system: StepSystem) -> None:
    system.spawn("supervisor", Supervisor, (), lambda *_: None)


# Where links are, for core


@pytest.fixture
def places() -> LinkPlaces:
    known = [(1, "core", ""), (2, "far", ""), (3, "far", "z")]
    return LinkPlaces(Interface(n, "emulated", process, peer) for n, process, peer in known)


def test_a_link_is_in_the_process_of_its_interface(places: LinkPlaces) -> None:
    assert (places.bind("b", 2), places.process_of("b")) == ("far", "far")
    assert (places.bind("b", 2), dict(places.bound)) == ("far", {"b": 2})
    assert [it.peer for it in places.all()] == ["", "b", "z"]


def test_a_link_that_was_is_heard_until_it_is_forgotten(places: LinkPlaces) -> None:
    places.bind("b", 2)
    places.leave("b")
    assert (places.process_of("b"), dict(places.bound)) == ("far", {})

    places.bind("b", 1)
    assert places.process_of("b") == "core"
    places.leave("b")
    places.forget("b")
    assert places.process_of("b") is None


@pytest.mark.parametrize(
    ("peer", "number", "code"),
    [
        ("c", 0, "no_such_interface"),
        ("c", 9, "no_such_interface"),
        ("c", 2, "in_use"),
        ("c", 3, "in_use"),
        ("b", 1, "link_up"),
        ("z", 1, "link_up"),
    ],
)
def test_an_interface_leads_to_one_peer(
    places: LinkPlaces, peer: str, number: int, code: str
) -> None:
    places.bind("b", 2)

    with pytest.raises(Refused) as no:
        places.bind(peer, number)

    assert no.value.code == code
    assert dict(places.bound) == {"b": 2}


def test_what_a_file_binds_is_not_bound_at_run_time(places: LinkPlaces) -> None:
    assert places.bind("z", 3) == "far"
    places.leave("z")

    assert dict(places.bound) == {}
    assert places.process_of("z") is None
    assert places.is_fixed("z")
