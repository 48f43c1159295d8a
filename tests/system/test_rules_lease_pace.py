"""Leases follow demand (R6): a start burns little where little is used."""

from actors.protocol import keys
from tests.system.pair import Pair


def test_r6_a_start_burns_only_what_was_leased_ahead() -> None:
    pair = Pair()
    pair.fill(20, 8_000)
    before = pair.store("a").stream.stock

    pair.cluster.restart("a")
    pair.cluster.advance(5.0)

    assert before - pair.store("a").stream.stock <= 24 << 10


def test_r6_who_needs_more_than_is_leased_gets_it_after_one_more_lease() -> None:
    pair = Pair()
    pair.fill(20, 8_000)

    made = pair.enc(60, 1_024)

    assert isinstance(made, keys.Keys)
    assert len(made.octets) == 60 * 1_024
