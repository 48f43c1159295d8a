"""The timers of a stage."""

import queue
import threading
from collections.abc import Iterator

import pytest

from actors.runtime import timers
from actors.runtime.timers import Timers
from transport.stage import Stage

PATIENCE_S = 5.0


@pytest.fixture
def stage() -> Iterator[Stage]:
    broken: list[str] = []
    made = Stage("test", broken.append)
    yield made
    made.stop()
    assert not broken


@pytest.fixture
def clock(stage: Stage) -> Timers:
    return Timers(stage)


def test_timers_ring_in_the_order_of_their_times(clock: Timers) -> None:
    rung: queue.SimpleQueue[str] = queue.SimpleQueue()

    clock.after(0.02, lambda: rung.put("third"))
    clock.after(0.01, lambda: rung.put("second"))
    clock.after(0.0, lambda: rung.put("first"))

    assert [rung.get(timeout=PATIENCE_S) for _ in range(3)] == ["first", "second", "third"]


def test_a_cancelled_timer_does_not_ring(clock: Timers) -> None:
    rung: queue.SimpleQueue[str] = queue.SimpleQueue()

    until_it_is_cancelled = threading.Event()

    def hold_the_stage() -> None:
        until_it_is_cancelled.wait(PATIENCE_S)

    clock.after(0.0, hold_the_stage)
    clock.after(0.001, lambda: rung.put("cancelled")).cancel()
    clock.after(0.002, lambda: rung.put("rung"))
    until_it_is_cancelled.set()

    assert rung.get(timeout=PATIENCE_S) == "rung"


def test_a_timer_that_raises_keeps_no_other_from_ringing(clock: Timers) -> None:
    rung: queue.SimpleQueue[str] = queue.SimpleQueue()
    go_on = threading.Event()

    def hold_the_stage() -> None:
        go_on.wait(PATIENCE_S)

    def fail() -> None:
        raise ValueError("a fault in here")

    clock.after(0.0, hold_the_stage)
    clock.after(0.001, fail)
    clock.after(0.002, lambda: rung.put("together"))
    clock.after(0.05, lambda: rung.put("later"))
    go_on.set()

    assert [rung.get(timeout=PATIENCE_S) for _ in range(2)] == ["together", "later"]


def test_an_earlier_timer_wakes_the_thread(clock: Timers) -> None:
    rung = threading.Event()
    clock.after(3600.0, lambda: None)

    clock.after(0.0, rung.set)

    assert rung.wait(PATIENCE_S)


def test_there_is_a_limit_and_cancelled_timers_do_not_count(
    clock: Timers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timers, "_LIMIT", 2)
    first = clock.after(3600.0, lambda: None)
    clock.after(3600.0, lambda: None)

    with pytest.raises(OverflowError):
        clock.after(3600.0, lambda: None)
    first.cancel()

    clock.after(3600.0, lambda: None)


def test_a_stopped_clock_rings_no_more(clock: Timers, stage: Stage) -> None:
    rung, after = threading.Event(), threading.Event()
    clock.after(0.01, rung.set)

    clock.stop()
    Timers(stage).after(0.02, after.set)

    assert after.wait(PATIENCE_S)
    assert not rung.is_set()
