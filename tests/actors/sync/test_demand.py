"""How much a distant store holds: it follows what is asked for, between two marks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.sync.demand import QUIET, SMOOTH_S, WINDOW_MAX_S, Demand, Rate, Yield
from actors.sync.intake import AHEAD_S, LEAST, REQUESTS, WaterMarks, least_held


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
    marks = WaterMarks(1 << 20)

    assert (marks.low, marks.high) == (LEAST // 2, LEAST)


def test_the_marks_follow_both_rate_and_size() -> None:
    marks = WaterMarks(1 << 24)

    marks.follow(10_000, 2000)

    assert marks.high == 10_000 * AHEAD_S + REQUESTS * 2000
    assert marks.low == marks.high // 2


def test_marks_set_by_hand_hold_whatever_is_asked() -> None:
    marks = WaterMarks(1 << 24)
    marks.fix(5000, 9000)

    marks.follow(10_000, 2000)
    fixed = marks.low, marks.high
    marks.fix(0, 0)
    marks.follow(0, 0)

    assert fixed == (5000, 9000)
    assert marks.high == LEAST


def test_one_mark_set_by_hand_moves_the_other() -> None:
    marks = WaterMarks(1 << 24)
    marks.fix(80_000, 0)
    marks.follow(0, 0)
    low_only = marks.low, marks.high
    marks.fix(0, 6000)
    marks.follow(0, 0)

    assert low_only == (80_000, 160_000)
    assert (marks.low, marks.high) == (3000, 6000)


def test_filled_from_below_low_up_to_high_then_left_alone() -> None:
    marks = WaterMarks(1 << 20)
    marks.fix(4000, 8000)
    marks.follow(0, 0)

    held = [3000, 5000, 7400, 7600, 7000, 5000, 4000, 3999, 4500]

    assert [marks.allowance(it) for it in held] == [5000, 3000, 600, 0, 0, 0, 0, 4001, 3500]


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
    marks = WaterMarks(most)
    marks.fix(low, high)
    marks.follow(rate, size)

    assert 0 <= marks.low <= marks.high <= most
    assert 0 <= marks.allowance(held) <= max(0, marks.high - held)


def came(supply: Yield, *news: tuple[float, int]) -> float:
    for now, total in news:
        supply.measure(total, now)
    return supply.rate


def test_what_comes_in_is_measured_over_a_minute() -> None:
    seconds = [(0.5 * i, 100 * (i // 2)) for i in range(1000)]

    assert came(Yield(), *seconds) == pytest.approx(100, rel=0.05)


def test_as_long_as_nothing_came_no_rate_is_known() -> None:
    assert came(Yield(), (100.0, 0), (200.0, 0)) == 0.0


def test_blocks_are_measured_over_three_of_them() -> None:
    """One block of 125,000 octets every ten minutes: no look says more than that, or nothing."""
    supply = Yield()
    for second in range(7201):
        supply.measure(125_000 * (second // 600), float(second))
        if second > 4 * 600:
            assert 100 < supply.rate < 300


def test_a_link_that_pauses_has_a_low_rate_and_after_an_hour_none() -> None:
    supply = Yield()
    assert came(supply, *((float(i), 100 * i) for i in range(200))) == pytest.approx(100, rel=0.05)

    assert 0 < came(supply, (800.0, 100 * 199)) < 20
    assert came(supply, (200 + WINDOW_MAX_S, 100 * 199)) == 0.0


def test_while_a_store_is_full_its_link_has_the_rate_it_had() -> None:
    supply = Yield()
    before = came(supply, *((float(i), 100 * i) for i in range(200)))
    for now in range(200, 5000):
        supply.measure(100 * 199, float(now), full=True)

    assert supply.rate == before


def test_how_long_it_takes_until_so_much_has_come_in_is_not_known_before_anything_has() -> None:
    supply = Yield()
    came(supply, (0.0, 0), (100.0, 0))

    assert supply.wait(32, 100.0) == 0.0


def test_what_trickles_in_comes_by_and_by() -> None:
    supply = Yield()
    came(supply, *((0.5 * i, 50 * i) for i in range(300)))

    assert supply.wait(1_000, 149.5) == pytest.approx(10, rel=0.05)
    assert supply.wait(32, 149.5) == pytest.approx(0.32, rel=0.05)


def test_what_comes_in_blocks_comes_with_the_next_one() -> None:
    supply = Yield()
    came(supply, *((float(i), 125_000 * (i // 600)) for i in range(4 * 600 + 101)))

    assert supply.wait(32, 2_500.0) == pytest.approx(500, rel=0.01)
    assert supply.wait(250_000, 2_500.0) > 500
    assert supply.wait(32, 3_600.0) == pytest.approx(150, rel=0.01)  # it is late


@given(st.lists(st.tuples(st.floats(0.01, 400.0), st.integers(0, 1 << 20)), max_size=60))
def test_both_ends_measure_nearly_the_same(steps: list[tuple[float, int]]) -> None:
    """The other end sees it a round trip later, and does not look at the same moments."""
    here, there, now, total = Yield(), Yield(), 0.0, 0
    for passed, octets in steps:
        now, total = now + passed, total + octets
        here.measure(total, now)
        there.measure(total, now + 0.1)

    assert there.rate == pytest.approx(here.rate, rel=0.25, abs=1.0)


@pytest.mark.parametrize(
    ("rate", "octets"), [(0, LEAST), (37, 2_200), (125, 2_500), (1_000, 20_000), (1 << 20, LEAST)]
)
def test_what_is_held_though_nobody_asks_follows_the_path(rate: int, octets: int) -> None:
    marks = WaterMarks(1 << 20)
    marks.follow(0, 0, least_held(rate))

    assert marks.high == octets


def test_demand_raises_the_marks_of_a_slow_path() -> None:
    marks = WaterMarks(1 << 20)
    marks.follow(125, 32, least_held(125))

    assert marks.high == 125 * AHEAD_S + REQUESTS * 32
