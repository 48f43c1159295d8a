"""Buckets of tokens: what passes in any time, debts, and how long to wait."""

from hypothesis import given
from hypothesis import strategies as st

from actors.runtime.bucket import DEPTH_S, Bucket, micros

S = micros(1.0)
RATES = st.integers(1, (1 << 32) - 1)
STEPS = st.lists(
    st.tuples(st.integers(0, 100 * S), st.integers(1, 1 << 20)), min_size=1, max_size=40
)


@given(RATES, STEPS)
def test_no_more_passes_in_any_time_than_the_rate_and_what_it_holds(
    rate: int, steps: list[tuple[int, int]]
) -> None:
    bucket, now, passed = Bucket(rate, 0), 0, list[tuple[int, int]]()
    for pause, bits in steps:
        now += pause
        if not bucket.wait(bits, now):
            bucket.take(bits, now)
            passed.append((now, bits))

    for first in range(len(passed)):
        for last in range(first, len(passed)):
            took = sum(bits for _, bits in passed[first : last + 1])
            most = rate * (passed[last][0] - passed[first][0] + DEPTH_S * S)
            larger = max(bits for _, bits in passed[first : last + 1])
            assert took * S <= most + larger * S


@given(RATES, STEPS)
def test_who_waits_as_long_as_is_told_is_let_pass_and_not_before(
    rate: int, steps: list[tuple[int, int]]
) -> None:
    bucket, now = Bucket(rate, 0), 0
    for pause, bits in steps:
        wait = bucket.wait(bits, now)
        if wait:
            assert bucket.wait(bits, now + wait - 1) == 1
        now += wait
        assert bucket.wait(bits, now) == 0
        bucket.take(bits, now)
        now += pause


def test_a_request_larger_than_the_bucket_passes_when_it_is_full_and_leaves_a_debt() -> None:
    bucket = Bucket(10, 0)

    assert bucket.wait(256, 0) == 0
    bucket.take(256, 0)

    assert bucket.bits(0) == 0
    assert bucket.wait(1, 0) == (256 - 40 + 1) * S // 10
    assert bucket.wait(256, 0) == 256 * S // 10


def test_what_is_ahead_passes_first() -> None:
    bucket = Bucket(10, 0)

    assert bucket.wait(20, 0, ahead=20) == 0
    assert bucket.wait(20, 0, ahead=25) == 5 * S // 10
    assert bucket.wait(256, 0, ahead=1) == S // 10
    assert bucket.bits(0) == 40


def test_what_is_given_back_is_there_again_and_never_more() -> None:
    bucket = Bucket(10, 0)
    bucket.take(30, 0)
    bucket.give_back(20, 0)
    assert bucket.bits(0) == 30
    bucket.give_back(20, 0)

    assert bucket.bits(0) == 40
    assert bucket.is_full(0)


def test_what_is_taken_up_to_leaves_no_debt_and_a_clock_never_goes_back() -> None:
    bucket = Bucket(10, 5 * S)
    took = [bucket.take_up_to(bits, 5 * S) for bits in (10, 100, 1)]

    assert took == [10, 30, 0]
    assert bucket.bits(0) == 0
    assert bucket.bits(6 * S) == 10
