"""How many bits come in and are left: over a minute, or three intervals between batches."""

import pytest

from actors.crypto.batch_tag import KEY_OCTETS
from actors.sync.flow import SAMPLES_MAX, WINDOW_MAX_S, Flow

BATCH = 1_000
"""Octets of a batch, with its tag key."""


def flow(gap_s: float, batches: int, burnt: int = 0) -> Flow:
    """One batch every so many seconds, from the first second on; the last is the newest."""
    made = Flow()
    made.note(0.0, batches=0, octets=0, burnt=0)
    for n in range(1, batches + 1):
        octets = n * (BATCH - KEY_OCTETS)
        made.note(gap_s * n, batches=n, octets=octets, burnt=n * burnt)
    return made


@pytest.mark.parametrize(
    ("gap_s", "window_s"), [(0.1, 60.0), (10.0, 60.0), (30.0, 90.0), (5_000.0, WINDOW_MAX_S)]
)
def test_the_window_is_a_minute_three_intervals_or_an_hour(gap_s: float, window_s: float) -> None:
    assert flow(gap_s, 20).window_s == window_s


@pytest.mark.parametrize("gap_s", [0.1, 2.0, 10.0, 30.0, 1_000.0])
def test_what_comes_is_what_both_ends_confirm_and_what_is_left_is_less_pads_and_tags(
    gap_s: float,
) -> None:
    many = flow(gap_s, 2_000, burnt=100)

    skr, eskr = many.rates(gap_s * 2_000)

    assert skr == pytest.approx(BATCH / gap_s, rel=0.05)
    assert eskr == pytest.approx((BATCH - KEY_OCTETS - 100) / gap_s, rel=0.05)
    assert len(many._came.samples) <= SAMPLES_MAX


def test_bits_come_until_three_intervals_pass_without_one() -> None:
    seldom = flow(30.0, 10)

    assert seldom.comes(300.0 + 89.0)
    assert seldom.rates(300.0 + 89.0)[0] > 0
    assert not seldom.comes(300.0 + 90.0)
    assert seldom.rates(300.0 + 90.0) == (0.0, 0.0)


def test_a_young_store_is_measured_since_it_began() -> None:
    young = flow(1.0, 5)

    assert young.rates(5.0)[0] == BATCH
    assert Flow().rates(5.0) == (0.0, 0.0)
    assert not Flow().comes(5.0)


def test_what_is_burnt_out_of_the_stock_leaves_nothing_and_no_debt() -> None:
    drained = flow(1.0, 100, burnt=10 * BATCH)

    skr, eskr = drained.rates(100.0)
    assert skr == pytest.approx(BATCH, rel=0.05)
    assert eskr == 0.0
