"""How much a distant store holds: it follows what is asked for, between two marks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.demand import AHEAD_S, LEAST, QUIET, REQUESTS, SMOOTH_S, Demand, Level, Rate


def test_a_steady_rate_is_measured() -> None:
    rate = Rate()
    for second in range(300):
        rate.add(1000)
        rate.tick(float(second))

    assert rate.value == pytest.approx(1000, rel=0.01)


def test_a_rate_falls_by_half() -> None:
    rate = Rate()
    rate.tick(0.0)
    rate.value = 800.0

    rate.tick(SMOOTH_S)

    assert rate.value == pytest.approx(400)


def test_the_same_moment_twice_changes_nothing() -> None:
    rate = Rate()
    rate.tick(1.0)
    rate.add(500)

    assert rate.tick(1.0) == 0.0
    assert rate.tick(2.0) > 0.0


def test_a_rate_close_to_nothing_is_nothing() -> None:
    demand = Demand()
    demand.tick(0.0)
    demand.served(int(QUIET))

    assert demand.tick(1.0)[0] == 0


def test_refusals_raise_the_most_but_not_the_rate() -> None:
    demand = Demand()
    demand.tick(0.0)
    for _ in range(1000):
        demand.refused(5000)

    assert demand.tick(1.0) == (0, 4885)


def test_a_store_nobody_asks_is_ready_for_the_first_requests() -> None:
    level = Level(1 << 20)

    assert (level.low, level.high) == (LEAST // 2, LEAST)


def test_the_marks_follow_both_rate_and_size() -> None:
    level = Level(1 << 24)

    level.follow(10_000, 2000)

    assert level.high == 10_000 * AHEAD_S + REQUESTS * 2000
    assert level.low == level.high // 2


def test_marks_set_by_hand_hold_whatever_is_asked() -> None:
    level = Level(1 << 24)
    level.fix(5000, 9000)

    level.follow(10_000, 2000)
    fixed = level.low, level.high
    level.fix(0, 0)
    level.follow(0, 0)

    assert fixed == (5000, 9000)
    assert level.high == LEAST


def test_one_mark_set_by_hand_moves_the_other() -> None:
    level = Level(1 << 24)
    level.fix(80_000, 0)
    level.follow(0, 0)
    low_only = level.low, level.high
    level.fix(0, 6000)
    level.follow(0, 0)

    assert low_only == (80_000, 160_000)
    assert (level.low, level.high) == (3000, 6000)


def test_filled_from_below_low_up_to_high_then_left_alone() -> None:
    level = Level(1 << 20)
    level.fix(4000, 8000)
    level.follow(0, 0)

    held = [3000, 5000, 7400, 7600, 7000, 5000, 4000, 3999, 4500]

    assert [level.room(it) for it in held] == [5000, 3000, 600, 0, 0, 0, 0, 4001, 3500]


@given(
    st.integers(LEAST, 1 << 26),
    st.integers(0, 1 << 30),
    st.integers(0, 1 << 20),
    st.integers(0, 1 << 27),
    st.integers(0, 1 << 27),
    st.integers(0, 1 << 27),
)
def test_never_more_than_the_limit(
    most: int, rate: int, size: int, low: int, high: int, held: int
) -> None:
    level = Level(most)
    level.fix(low, high)
    level.follow(rate, size)

    assert 0 <= level.low <= level.high <= most
    assert 0 <= level.room(held) <= max(0, level.high - held)
