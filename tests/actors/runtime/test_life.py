"""One thread for all turns: what takes its time stands in nobody's way."""

import threading
from collections.abc import Iterator
from typing import ClassVar

import pykka
import pytest

from actors.base import Actor, System, handles
from actors.mailbox import AHEAD_MAX, Mailbox
from actors.protocol.common import Failed, Ping, Pong
from actors.runtime import life
from actors.runtime.system import ThreadSystem
from protokms.node.meter import MemoryMeter
from transport.envelope import Address, Envelope
from transport.message import Message, local

PATIENCE_S = 5.0


@local
class Burst(Message):
    """Tell yourself to go on, so many times."""

    left: int


@local
class Load(Message):
    """What takes long."""

    bulk: ClassVar[bool] = True


@local
class Leave(Message):
    """End as if by `sys.exit`."""


class Slow(Actor):
    """Takes its time to start, to stop and to die, until it may go on."""

    def __init__(self, system: System, name: str, go: threading.Event) -> None:
        super().__init__(system, name)
        self._go = go
        self.threads: list[int] = []

    def started(self) -> None:
        assert self._go.wait(PATIENCE_S)

    def stopped(self) -> None:
        assert self._go.wait(PATIENCE_S)

    def on_failure(self, *died: object) -> None:
        assert self._go.wait(PATIENCE_S)
        super().on_failure(*died)  # type: ignore[arg-type]

    @handles(Burst)
    def burst(self, due: Burst) -> None:
        self.threads.append(threading.get_ident())
        if due.left:
            self.tell(self.address, Burst(left=due.left - 1))

    @handles(Leave)
    def leave(self, _: Leave) -> None:
        raise SystemExit


class Restless(Actor):
    """Tells itself to go on until it may rest."""

    def __init__(self, system: System, name: str, rest: threading.Event) -> None:
        super().__init__(system, name)
        self._rest = rest

    @handles(Burst)
    def burst(self, due: Burst) -> None:
        if not self._rest.is_set():
            self.tell(self.address, due)


class Noting(Actor):
    """Notes whose turn it is."""

    def __init__(self, system: System, name: str, went: list[str]) -> None:
        super().__init__(system, name)
        self._went = went

    @handles(Burst)
    def burst(self, _: Burst) -> None:
        self._went.append(self.address.name)


def _wait(go: threading.Event) -> None:
    assert go.wait(PATIENCE_S)


class Quick(Actor):
    """Answers pings."""


@pytest.fixture
def system() -> Iterator[ThreadSystem]:
    made = ThreadSystem("a", MemoryMeter())
    made.spawn("quick", Quick)
    yield made
    assert made.shutdown(PATIENCE_S)


@pytest.fixture
def go() -> threading.Event:
    return threading.Event()


def ping(system: ThreadSystem, name: str, wait: float = PATIENCE_S) -> Message:
    return system.ask(Address(name, "a"), Ping(), wait).result(2 * PATIENCE_S)


def test_a_slow_start_stops_nobody_else_and_its_mail_waits(
    system: ThreadSystem, go: threading.Event
) -> None:
    system.spawn("slow", Slow, go)
    early = system.ask(Address("slow", "a"), Ping(), PATIENCE_S)

    assert ping(system, "quick") == Pong()
    assert not early.done()
    go.set()
    assert early.result(PATIENCE_S) == Pong()


@pytest.mark.parametrize("end", ["stop", "crash"])
def test_a_slow_end_stops_nobody_else_and_the_next_life_waits_for_it(
    system: ThreadSystem, go: threading.Event, end: str
) -> None:
    go.set()
    system.spawn("slow", Slow, go)
    assert ping(system, "slow") == Pong()
    go.clear()
    if end == "stop":
        system.stop("slow")
        system.spawn("slow", Quick)
        second = system.ask(Address("slow", "a"), Ping(), PATIENCE_S)
    else:
        second = system.ask(Address("slow", "a"), Leave(), PATIENCE_S)

    assert ping(system, "quick") == Pong()
    assert not second.done()
    go.set()
    answer = second.result(PATIENCE_S)
    assert answer == (Pong() if end == "stop" else Failed(code="crashed", why="slow"))


def test_an_actor_that_never_rests_leaves_turns_to_the_others(
    system: ThreadSystem, go: threading.Event
) -> None:
    system.spawn("restless", Restless, go)
    here = Address("restless", "a")
    system.send(Envelope(here, here, Burst(left=1)))

    try:
        assert ping(system, "quick") == Pong()
    finally:
        go.set()


def test_all_turns_are_on_one_thread(system: ThreadSystem, go: threading.Event) -> None:
    go.set()
    system.spawn("slow", Slow, go)
    here = Address("slow", "a")
    system.send(Envelope(here, here, Burst(left=200)))
    while len((actor := system._lives["slow"].actor).threads) < 201:  # type: ignore[attr-defined]
        assert ping(system, "quick") == Pong()

    assert set(actor.threads) == {system._stage._thread.ident}  # type: ignore[attr-defined]


def test_turns_that_take_long_leave_the_stage_to_other_actors(
    system: ThreadSystem, go: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(life, "_TURNS_S", 0.0)
    went: list[str] = []
    for name in ("one", "other"):
        system.spawn(name, Noting, went)
        assert ping(system, name) == Pong()
    system._stage.soon(lambda: _wait(go))

    for name in ("one", "one", "other", "other"):
        here = Address(name, "a")
        system.send(Envelope(here, here, Burst(left=0)))
    go.set()

    assert [ping(system, name) for name in ("one", "other")] == [Pong()] * 2
    assert went == ["one", "other"] * 2


def test_a_mailbox_wakes_its_reader_once_for_all_that_has_come() -> None:
    woken: list[int] = []
    box = Mailbox()
    box.wake = lambda: woken.append(1)

    box.drop("before the first rest")
    assert not woken
    box.rest()
    box.take()
    box.rest()
    for text in ("x", "y"):
        box.drop(text)

    assert len(woken) == 2
    assert [box.take(), box.take()] == ["x", "y"]


def test_a_closed_mailbox_takes_nothing_and_gives_back_what_it_holds() -> None:
    box = Mailbox()
    box.drop("x")

    assert box.close() == ["x"]
    with pytest.raises(pykka.ActorDeadError):
        box.drop("y")


HERE = Address("quick", "a")
SOME, LOAD = Envelope(HERE, HERE, Ping()), Envelope(HERE, HERE, Load())


def test_messages_in_bulk_are_read_after_the_others_that_wait() -> None:
    box = Mailbox()
    for message in (LOAD, SOME, LOAD, SOME, "stop"):
        box.drop(message)

    assert (box.qsize(), box.pressing) == (5, 3)
    assert [box.take() for _ in range(5)] == [SOME, SOME, "stop", LOAD, LOAD]
    assert (box.qsize(), box.pressing) == (0, 0)


def test_messages_in_bulk_are_read_however_many_others_come() -> None:
    box = Mailbox()
    box.drop(LOAD)
    box.drop(LOAD)
    read = []
    for _ in range(3 * AHEAD_MAX):
        box.drop(SOME)
        box.drop(SOME)
        read.append(box.take())

    assert [n for n, message in enumerate(read) if message is LOAD] == [
        AHEAD_MAX,
        2 * AHEAD_MAX + 1,
    ]


def test_a_mailbox_with_nothing_but_bulk_wakes_its_reader() -> None:
    woken: list[int] = []
    box = Mailbox()
    box.wake = lambda: woken.append(1)
    box.rest()

    box.drop(LOAD)

    assert woken == [1]
    assert not box.empty()
    assert box.close() == [LOAD]
