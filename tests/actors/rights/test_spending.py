"""What SAEs have had of what they may have: charges, and rows that change."""

import pytest

from actors.rights import spending
from actors.rights.right import Limit
from actors.rights.spending import Spending
from actors.runtime.bucket import DEPTH_S

RATE = 1_000
FULL = RATE * DEPTH_S


def limit(rate: int = RATE, name: str = "1") -> Limit:
    return Limit(("application", name), f"application {name}", rate)


def test_a_debt_outlives_another_rate() -> None:
    had = Spending()
    had.take([limit()], 3 * FULL, 0.0)

    for rate in (10 * RATE, RATE // 2):
        assert had.wait([limit(rate)], 1, 0.0)[0] == pytest.approx((2 * FULL + 1) / rate)
        assert had.bits([limit(rate)], 1, 0.0) == 0


def test_what_is_left_is_left_under_another_rate_and_no_more_than_that_one_holds() -> None:
    had = Spending()
    had.take([limit()], FULL // 4, 0.0)

    assert had.bits([limit(10 * RATE)], 1, 0.0) == 3 * FULL // 4
    assert had.bits([limit(RATE // 2)], 1, 0.0) == FULL // 2


def test_who_has_had_nothing_lately_has_all_of_another_rate() -> None:
    had = Spending()
    had.take([limit()], FULL, 0.0)

    assert had.bits([limit(10 * RATE)], 1, float(DEPTH_S)) == 10 * FULL


def test_what_came_in_under_the_rate_of_before_came_in_at_that_rate() -> None:
    had = Spending()
    had.take([limit()], FULL, 0.0)

    assert had.bits([limit(10 * RATE)], 1, 1.0) == RATE


def test_a_charge_is_given_back_where_it_was_taken() -> None:
    had = Spending()
    one = had.take([limit(), limit(name="2")], FULL, 0.0)
    had.take([limit(name="3")], FULL, 0.0)

    had.give_back(one, 0.0)

    there = [had.bits([limit(name=name)], 1, 0.0) for name in "123"]
    assert there == [FULL, FULL, 0]


def test_a_charge_is_given_back_though_the_rate_is_another_and_frees_nobody_of_a_debt() -> None:
    had = Spending()
    one = had.take([limit()], FULL, 0.0)
    had.take([limit(2 * RATE)], 2 * FULL, 0.0)

    had.give_back(one, 0.0)

    assert had.wait([limit(2 * RATE)], 1, 0.0)[0] == pytest.approx((FULL + 1) / (2 * RATE))


def test_who_only_asks_makes_nobody_else_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spending, "SCOPES_MAX", 1)
    had = Spending()
    had.take([limit()], FULL, 0.0)

    for name in "23":
        assert had.bits([limit(name=name)], 1, 0.0) == FULL
        assert had.wait([limit(name=name)], FULL, 0.0) == (0.0, None)

    assert had.bits([limit()], 1, 0.0) == 0


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spending, "SCOPES_MAX", 2)
    had = Spending()
    for name in "123":
        charge = had.take([limit(name=name)], FULL, 0.0)
    had.wait([limit(name="9")], 1, 0.0)

    assert [had.wait([limit(name=name)], FULL, 0.0)[0] for name in "123"] == [0.0, 4.0, 4.0]
    had.give_back(charge, 0.0)
