"""Leases follow demand (R6): a start burns little where little is used."""

from actors.crypto.one_time_pad import KEY_OCTETS
from actors.keystore.key_store import LEASE_AHEAD
from actors.keystore.options import STORE_BITS_MIN
from actors.protocol import keys
from actors.sync.intake import BATCHES_LEAST
from tests.kit.pair import Pair
from transport.message import Secret


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


def test_r5_an_end_that_leases_all_it_can_leaves_some_of_a_full_store_to_the_other() -> None:
    """What is leased cannot be given, and a full store takes nothing in beside it."""
    pair = Pair(max_bits=STORE_BITS_MIN)
    for _ in range(100):
        pair.feed(4_000)
    pair.cluster.advance(5.0)
    assert pair.store("a").intake.is_full
    assert len(pair.store("a").stream.segments) >= BATCHES_LEAST

    for _ in range(20):  # a relay with a long queue of pads
        pair.store("a").segments.want(STORE_BITS_MIN // 8)
        pair.lease("a", STORE_BITS_MIN // 8)
        pair.cluster.advance(1.0)

    for _ in range(4):
        pair.key(8, 1_024, at="b")
    pair.key(128, 1_024, at="a")


def test_r6_the_smallest_store_leases_enough_for_the_largest_request_under_seal() -> None:
    pair = Pair(max_bits=STORE_BITS_MIN)
    needed = LEASE_AHEAD + KEY_OCTETS
    pair.fill(63, 4_096 + KEY_OCTETS)
    for _ in range(5):
        pair.lease("a", needed)
        pair.store("a").segments.want(needed)
        pair.cluster.advance(0.5)
    assert pair.store("a").stream.stock > needed

    ends = {"grant": bytes(12), "master": "alice", "slaves": ("bob",)}
    octets = Secret(bytes(LEASE_AHEAD))
    ask = keys.Prepare(**ends, number=128, size=LEASE_AHEAD // 128, octets=octets)  # type: ignore[arg-type]

    assert pair.cluster.ask(pair.at("a"), ask, 5.0) == keys.Prepared(grant=bytes(12))
