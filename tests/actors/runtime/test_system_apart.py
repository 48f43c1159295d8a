"""Actors of one node in two processes, and of two nodes: what passes between, and what does not."""

import threading
from collections.abc import Iterator

import pytest

from actors.base import Actor, handles
from actors.protocol.common import Failed, Ping, Pong
from actors.runtime.system import ThreadSystem
from protokms.node.meter import MemoryMeter
from transport.codec import encode
from transport.envelope import Address, Envelope
from transport.message import Message, Secret, local, wire
from transport.roles import Roles
from transport.sealing import ProcessSealer
from transport.session import Doorman, Doors, Refusals

PATIENCE_S = 5.0
KEY = bytes(range(32))
DOORS = Doors({"apart.say/1": "parrot", "apart.said/1": "parrot"}, {"apart.said/1"})

_WORDS = {
    "test_system_apart.Fetch": ("test_system_apart.Fetched",),
    "common.Ping": ("common.Pong",),
}
ROLES = {("edge", "parrot"): _WORDS, ("edge", "etsi014"): _WORDS}


def placed(name: str) -> str:
    """Name the process of an actor."""
    return {"edge/front": "front", "etsi014": "front"}.get(name, "core")


@local
class Fetch(Message):
    """Give me the secret."""


@local
class Fetched(Message):
    """Here."""

    secret: Secret


@wire("apart.say/1")
class Say(Message):
    """Say that again."""

    text: str


@wire("apart.said/1")
class Said(Message):
    """There."""

    text: str


@local
class Relay(Message):
    """Say it at another node."""

    node: str
    text: str


class Parrot(Actor):
    """Says what it is told, here or elsewhere."""

    @handles(Fetch)
    def fetch(self, _: Fetch) -> Fetched:
        return Fetched(secret=Secret(b"key bits"))

    @handles(Say)
    def say(self, ask: Say) -> Said:
        return Said(text=ask.text)

    @handles(Relay)
    def relay(self, ask: Relay) -> object:
        answer = self.later()
        to = Address("parrot", ask.node)
        self.ask(to, Say(text=ask.text), then=answer, timeout=PATIENCE_S)
        return answer


class Site:
    """Processes joined by function calls in the place of sockets."""

    def __init__(self) -> None:
        self.systems: dict[str, ThreadSystem] = {}
        self.frames: list[bytes] = []
        self.meter = MemoryMeter()
        for node, process, other in (("a", "core", "front"), ("a", "front", "core"), ("b",) * 3):
            self._start(node, "core" if node == "b" else process, other)

    def _start(self, node: str, process: str, other: str) -> None:
        sealers = {other: ProcessSealer(KEY, process, other)}
        roles = Roles(ROLES, (), placed)
        doorman = Doorman(node, DOORS, sealers, Refusals(self.meter), roles)
        name = node if process == "core" else f"{node}/{process}"

        def post(to: str, octets: bytes) -> bool:
            self.frames.append(octets)
            if to in self.systems:
                self.systems[to].receive(node, process, octets)
            return to in self.systems

        self.systems[name] = ThreadSystem(
            node,
            self.meter,
            process=process,
            placement=placed,
            post=post,
            admit=doorman.admit,
            sealers=sealers,
        )

    def ask(self, at: str, to: str, body: Message) -> Message:
        future = self.systems[at].ask(Address.parse(to), body, PATIENCE_S)
        return future.result(2 * PATIENCE_S)


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    for system in made.systems.values():
        assert system.shutdown(PATIENCE_S)


def test_a_question_from_another_process_is_answered_and_its_secret_sealed(site: Site) -> None:
    site.systems["a"].spawn("parrot", Parrot)

    answer = site.ask("a/front", "parrot@a", Fetch())

    assert answer == Fetched(secret=Secret(b"key bits"))
    assert len(site.frames) == 2
    assert not any(b"key bits" in frame for frame in site.frames)


def test_the_core_reaches_the_front_as_well(site: Site) -> None:
    site.systems["a/front"].spawn("etsi014", Parrot)

    assert site.ask("a", "etsi014@a", Ping()) == Pong()


def test_a_wire_word_reaches_another_node_and_its_answer_comes_back(site: Site) -> None:
    for name in ("a", "b"):
        site.systems[name].spawn("parrot", Parrot)

    answer = site.ask("a", "parrot@a", Relay(node="b", text="x"))

    assert answer == Said(text="x")


def test_a_local_word_does_not_leave_its_node(site: Site) -> None:
    site.systems["b"].spawn("parrot", Parrot)

    answer = site.ask("a", "parrot@b", Fetch())

    assert answer == Failed(code="undeliverable", why="parrot@b")
    assert site.frames == []


def test_a_node_that_cannot_be_reached_is_undeliverable(site: Site) -> None:
    site.systems["a"].spawn("parrot", Parrot)

    answer = site.ask("a", "parrot@a", Relay(node="c", text="x"))

    assert answer == Failed(code="undeliverable", why="parrot@c")
    assert site.meter.value("protokms_undeliverable", reason="queue") == 1


def test_an_actor_that_is_missing_in_the_other_process_is_undeliverable(site: Site) -> None:
    assert site.ask("a/front", "parrot@a", Ping()) == Failed(code="undeliverable", why="parrot@a")


def test_what_an_actor_says_to_itself_stays_here(site: Site) -> None:
    """A timer of one that is gone, and that lives in another process by now."""
    gone = Address("etsi014", "a")

    site.systems["a"].send(Envelope(gone, gone, Ping()))

    assert site.frames == []
    assert site.meter.value("protokms_undeliverable", reason="no_actor") == 1


def test_a_core_that_cannot_be_reached_is_told_by_its_name(site: Site) -> None:
    del site.systems["a"]

    assert site.ask("a/front", "parrot@a", Ping()) == Failed(code="core_down", why="parrot@a")


def test_open_questions_end_with_the_process() -> None:
    site = Site()
    system = site.systems["a"]

    class Deaf:
        def tell(self, _: object) -> None:
            """Say nothing."""

    system.register("deaf", Deaf())
    future = system.ask(Address("deaf", "a"), Ping(), timeout=3600.0)

    for each in site.systems.values():
        each.shutdown()

    assert future.result(PATIENCE_S) == Failed(code="stopped", why="the process stops")


@wire("apart.wait/1")
class Wait(Message):
    """Do nothing until somebody says go on."""

    text: str


class Sleeper(Actor):
    """Reads its mail only once it may."""

    go = threading.Event()
    asleep = threading.Event()

    @handles(Wait)
    def wait(self, _: Wait) -> None:
        self.asleep.set()
        assert self.go.wait(PATIENCE_S)


@pytest.mark.parametrize(("text", "most"), [("", 10_000), ("x" * 60_000, 16 * 2**20 // 60_000)])
def test_a_peer_cannot_fill_a_mailbox_and_whoever_is_at_home_still_can(
    text: str, most: int
) -> None:
    meter = MemoryMeter()
    doors = Doors({"apart.wait/1": "sleeper"}, set())
    doorman = Doorman("a", doors, {}, Refusals(meter))
    system = ThreadSystem("a", meter, admit=doorman.admit)
    Sleeper.go.clear()
    Sleeper.asleep.clear()
    try:
        to = system.spawn("sleeper", Sleeper)
        frame = encode(Envelope(Address("liar", "b"), to, Wait(text=text)))
        system.receive("b", "core", frame)
        assert Sleeper.asleep.wait(PATIENCE_S)
        for _ in range(most + 50):
            system.receive("b", "core", frame)
        waiting = system._lives["sleeper"].actor.waiting
        dropped = meter.value("protokms_undeliverable", reason="mailbox_full")
        pong = system.ask(to, Ping(), PATIENCE_S)
        Sleeper.go.set()

        assert abs(waiting - most) <= 3  # a frame is a little more than its text
        assert waiting + dropped == most + 50
        assert isinstance(pong.result(), Pong)
    finally:
        Sleeper.go.set()
        system.shutdown()
