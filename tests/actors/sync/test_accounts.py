"""Who takes how many bits of a store: intervals of 30 s, and the mean of a minute."""

import pytest

from actors.protocol.usage import FORGET_S, KEPT, Interval, Pair
from actors.sync import accounts
from actors.sync.accounts import Accounts

ME = "sae-1"


def only(book: Accounts, now: float) -> Pair:
    (pair,) = book.pairs(now)
    return pair


def test_bits_are_counted_in_the_interval_in_which_they_were_given() -> None:
    book = Accounts()
    for now in (29.0, 30.0, 59.9, 90.0):
        book.given(ME, ("sae-2",), 4, now)

    assert only(book, 119.9).intervals == (Interval(0, 32), Interval(1, 64)), "one is not over"
    assert only(book, 120.0).intervals == (Interval(0, 32), Interval(1, 64), Interval(3, 32))


def test_a_hundred_and_twenty_intervals_are_kept() -> None:
    book = Accounts()
    for n in range(KEPT + 5):
        book.given(ME, ("sae-2",), n + 1, 30.0 * n)

    numbers = [it.number for it in only(book, 30.0 * (KEPT + 5)).intervals]
    assert numbers == list(range(5, KEPT + 5))


@pytest.mark.parametrize("now", [60.0, 75.0, 89.0, 600.0])
def test_the_mean_is_that_of_the_last_minute(now: float) -> None:
    book = Accounts()
    for second in range(int(now)):
        book.given(ME, ("sae-2",), 100, second + 0.5)

    assert only(book, now).mean == pytest.approx(800.0)
    assert only(book, now + 60.0).mean < 800.0
    assert only(book, now + 120.0).mean == 0.0


def test_slaves_are_one_pair_in_any_order_and_the_masters_are_two() -> None:
    book = Accounts()
    book.given(ME, ("b", "a"), 1, 0.0)
    book.given(ME, ("a", "b"), 1, 0.0)
    book.wanted("a", (ME,), 0.0)

    assert [(it.master, it.slaves, it.mean > 0) for it in book.pairs(1.0)] == [
        ("a", (ME,), False),
        (ME, ("a", "b"), True),
    ]


def test_who_wants_nothing_for_long_is_forgotten_and_who_is_known_longest_makes_room(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(accounts, "PAIRS_MAX", 2)
    book = Accounts()
    for n, slave in enumerate(("a", "b", "c")):
        book.wanted(ME, (slave,), float(n))

    assert [it.slaves for it in book.pairs(3.0)] == [("b",), ("c",)]
    assert [it.slaves for it in book.pairs(1.0 + FORGET_S)] == [("c",)]
