"""The stage: one thread, one queue, no wake-up too many and none too few."""

import queue
import threading
from collections.abc import Iterator

import pytest

from transport import stage
from transport.stage import Stage, kind_and_place

PATIENCE_S = 5.0


class Site:
    """A stage and what it said of its own end."""

    def __init__(self) -> None:
        self.fatal: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.said: queue.SimpleQueue[object] = queue.SimpleQueue()
        self.stage = Stage("test", self.fatal.put)

    def next(self) -> object:
        return self.said.get(timeout=PATIENCE_S)


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.stage.stop()


def test_what_is_asked_for_is_done_in_order_on_the_thread(site: Site) -> None:
    for n in range(200):
        site.stage.soon(lambda n=n: site.said.put((n, site.stage.here)))  # type: ignore[misc]

    assert [site.next() for _ in range(200)] == [(n, True) for n in range(200)]
    assert not site.stage.here


def test_what_many_threads_ask_for_is_all_done(site: Site) -> None:
    def ask() -> None:
        for _ in range(200):
            site.stage.soon(lambda: site.said.put(1))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()

    assert [site.next() for _ in range(800)] == [1] * 800


def test_acts_that_ask_for_acts_leave_room_for_the_loop(site: Site) -> None:
    going = threading.Event()

    def again() -> None:
        if not going.is_set():
            site.stage.soon(again)

    site.stage.soon(again)
    site.stage.call(going.set)

    assert going.wait(PATIENCE_S)


def test_acts_that_take_long_leave_room_for_the_loop(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "_ACTS_S", 0.0)
    held, go = threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        assert go.wait(PATIENCE_S)

    def both() -> None:
        site.stage.soon(hold)
        site.stage.soon(lambda: site.said.put("act"))

    site.stage.soon(both)
    assert held.wait(PATIENCE_S)
    site.stage.call(site.said.put, "socket")
    go.set()

    assert [site.next(), site.next()] == ["socket", "act"]


def test_what_is_done_again_and_again_takes_its_turn_and_rests_while_another_does_not_end(
    site: Site,
) -> None:
    other = Site()
    held, go = threading.Event(), threading.Event()
    site.stage.every(0.001, lambda: site.said.put(site.stage.here))
    assert [site.next() for _ in range(3)] == [True] * 3

    def hold() -> None:
        held.set()
        assert go.wait(PATIENCE_S)

    site.stage.soon(hold)
    assert held.wait(PATIENCE_S)
    while not site.said.empty():
        site.next()
    other.stage.every(0.001, lambda: other.said.put(True))
    beats = [other.next() for _ in range(20)]  # that much time passes
    quiet = site.said.empty()
    go.set()
    other.stage.stop()

    assert len(beats) == 20
    assert quiet
    assert site.next() is True


def test_an_act_that_raises_is_fatal_and_its_text_is_not_told(site: Site) -> None:
    def stumble() -> None:
        raise RuntimeError("SECRET")

    site.stage.soon(stumble)
    site.stage.soon(lambda: site.said.put("still here"))

    why = site.fatal.get(timeout=PATIENCE_S)
    assert why.startswith("the stage: RuntimeError at test_stage.py:")
    assert "SECRET" not in why
    assert site.next() == "still here"


def test_a_stopped_stage_does_nothing_and_says_nothing(site: Site) -> None:
    site.stage.stop()
    site.stage.soon(lambda: site.said.put("late"))
    site.stage.call(site.said.put, "late")

    assert site.said.empty()
    assert site.fatal.empty()


def test_an_exception_is_named_by_kind_and_place() -> None:
    assert kind_and_place(OSError("SECRET")) == "OSError"
    assert kind_and_place(None) == "NoneType"
