"""Keys at the rates of real devices, at neighbours and over relays: `docs/range.md` has the aims.

All networks begin with dry links; every key is fetched and compared. `make rates` runs all rates
and loads, for a good hour on one core, and shows the figures; what is `slow` is a part of them.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import structlog

from actors.ledger.batches import BATCH_FORMED
from actors.modules.emulated import Emulated
from actors.modules.memory import Pipe, PipeEnd
from actors.modules.module import Bits
from actors.protocol import keys
from actors.protocol.common import Failed
from actors.protocol.relay import CHUNK_PAD_MIN
from tests.kit.slow_path import KEY, SlowPath

log = structlog.get_logger()

HALF_HOUR = 1_800.0
RATES = (300.0, 1_000.0, 3_000.0, 10_000.0)
QUICK = (1_000.0, 3)
"""The cell of each table that is no matter of minutes."""


def cells(rates: Sequence[float], hops: Sequence[int]) -> list[Any]:
    """Return all cells of a table; but for one they take too long for each run."""
    found = itertools.product(rates, hops)
    slow, soak = pytest.mark.slow, pytest.mark.soak
    return [pytest.param(*it, marks=slow if it == QUICK else soak) for it in found]


def first_key_s(rate: float) -> float:
    """Seconds to the first key at most, where datagrams are as large as here.

    A batch, what it waits for, and that the links of a path do not begin at the same moment.
    """
    return 3 * BATCH_FORMED * 8 / rate + 2.0


def test_neighbours_have_keys_at_three_hundred_bits_a_second() -> None:
    path = SlowPath(1, rate_bit_s=300.0)
    (pair,) = path.greedy(300.0, ("s0", path.end))

    assert pair.first is not None
    assert pair.first <= first_key_s(300.0)
    assert pair.keys > 200


def test_a_distant_pair_has_keys_at_a_thousand_bits_a_second() -> None:
    path = SlowPath(2, rate_bit_s=1_000.0)
    (pair,) = path.greedy(60.0, ("s0", path.end))

    assert pair.first is not None
    assert pair.first <= first_key_s(1_000.0)
    assert pair.keys > 100
    assert not path.dead()


def test_one_step_below_the_range_a_request_is_refused() -> None:
    path = SlowPath(1, rate_bit_s=10.0, max_bytes=50)
    (pair,) = path.greedy(1_000.0, ("s0", path.end))
    refused = path.kms.enc("s0", path.end)

    assert path.emitted(0) > BATCH_FORMED
    assert pair.keys == 0
    assert isinstance(refused, Failed)
    assert refused.code == "no_keys"


@pytest.mark.slow
def test_small_blocks_are_gathered_until_they_make_a_batch() -> None:
    path = SlowPath(2, rate_bit_s=None, block_octets=200, block_s=60.0)
    (pair,) = path.greedy(900.0, ("s0", path.end), every_s=5.0)

    assert pair.keys > 50
    assert not path.dead()


def test_one_step_beyond_the_round_trips_a_request_hears_that_no_answer_came() -> None:
    path = SlowPath(1, rate_bit_s=20_000.0, max_bytes=500, rtt_s=4.5)
    path.kms.advance(60.0)
    late = path.kms.enc("s0", path.end, wait=20.0)

    assert isinstance(late, Failed)
    assert late.code == "timeout"


@pytest.mark.parametrize("hops", [1, 2])
def test_who_is_refused_hears_about_when_there_will_be_bits(hops: int) -> None:
    path = SlowPath(hops, rate_bit_s=300.0)
    path.greedy(150.0, ("s0", path.end))
    store, ask = path.kms.store_of("s0", path.end), keys.AskWait(octets=KEY)
    told = waited = 0.0
    for _ in range(5):
        while not isinstance(path.kms.enc("s0", path.end, wait=0.0), Failed):
            pass
        wait, asked_at = path.cluster.ask(store, ask, 5.0), path.cluster.now
        while isinstance(path.kms.enc("s0", path.end, wait=0.0), Failed):
            path.kms.advance(0.5)
        assert isinstance(wait, keys.Wait)
        assert wait.seconds >= 1
        told, waited = told + wait.seconds, waited + path.cluster.now - asked_at

    assert 0.6 * waited <= told <= 1.6 * waited  # rates go in steps of two


def test_a_session_that_nobody_uses_costs_one_chunk_a_hop() -> None:
    path = SlowPath(2, rate_bit_s=300.0)
    path.kms.advance(100.0)
    assert not any(path.pads(hop) for hop in range(2))

    path.ensure("s0", path.end)
    path.kms.advance(300.0)

    for hop in range(2):
        assert CHUNK_PAD_MIN <= path.pads(hop) < 2 * CHUNK_PAD_MIN


@pytest.mark.parametrize(("rate", "hops"), cells(RATES, (1, 2, 3, 5)))
def test_nearly_all_bits_of_the_slowest_link_become_keys(rate: float, hops: int) -> None:
    path = SlowPath(hops, rate_bit_s=rate)
    pairs = path.greedy(HALF_HOUR, ("s0", path.end), number=4 if rate > 1_000 else 1)

    log.info("figures", of=f"{rate:g} bit/s, {hops} hops", seen=path.figures(pairs))
    assert path.share(pairs) >= 0.90
    assert path.share_less_tags(pairs) >= 0.95
    assert pairs[0].first is not None
    assert pairs[0].first <= first_key_s(rate)
    assert not path.dead()


@pytest.mark.parametrize("rtt_s", [0.0, 0.3, 0.9])
@pytest.mark.parametrize(("rate", "hops"), cells(RATES[:3], (1, 3, 5)))
def test_the_first_key_takes_one_batch_and_three_and_a_half_round_trips(
    rate: float, hops: int, rtt_s: float
) -> None:
    """What comes in meanwhile differs by a fifth, and keys are looked for every second."""
    path = SlowPath(hops, rate_bit_s=rate, max_bytes=50, rtt_s=rtt_s)
    (pair,) = path.greedy(60.0 if rate < 1_000 else 30.0, ("s0", path.end))

    log.info("figures", of=f"{rate:g} bit/s, {hops} hops, RTT {rtt_s} s", first=pair.first)
    assert pair.first is not None
    assert pair.first <= 1.2 * BATCH_FORMED * 8 / rate + 3.5 * rtt_s + 2.0


@pytest.mark.soak
@pytest.mark.parametrize("hops", [1, 3])
def test_blocks_of_a_megabit_every_ten_minutes_become_keys(hops: int) -> None:
    path = SlowPath(hops, rate_bit_s=None, block_octets=125_000, block_s=600.0)
    pairs = path.greedy(3_590.0, ("s0", path.end))

    log.info("figures", of=f"blocks, {hops} hops", seen=path.figures(pairs))
    assert path.emitted(0) == 5 * 125_000
    assert path.share(pairs) >= 0.90
    assert path.share_less_tags(pairs) >= 0.95
    assert not path.dead()


@pytest.mark.parametrize(
    "rate",
    [pytest.param(300.0, marks=pytest.mark.slow), pytest.param(1_000.0, marks=pytest.mark.soak)],
)
def test_two_ends_that_both_ask_share_evenly(rate: float) -> None:
    path = SlowPath(2, rate_bit_s=rate)
    pairs = path.greedy(HALF_HOUR, ("s0", path.end), (path.end, "s0"))

    log.info("figures", of=f"{rate:g} bit/s, both ends", seen=path.figures(pairs))
    assert path.share(pairs) >= 0.88
    assert min(pair.keys for pair in pairs) >= 0.85 * max(pair.keys for pair in pairs)


@pytest.mark.soak
@pytest.mark.parametrize("rate", [300.0, 1_000.0])
def test_two_pairs_over_one_link_have_even_shares(rate: float) -> None:
    path = SlowPath(3, rate_bit_s=rate)
    pairs = path.greedy(HALF_HOUR, ("s0", "s2"), ("s1", "s3"))

    log.info("figures", of=f"{rate:g} bit/s, two pairs", seen=path.figures(pairs, hop=1))
    assert path.share(pairs, hop=1) >= 0.88
    assert min(pair.keys for pair in pairs) >= 0.85 * max(pair.keys for pair in pairs)


@pytest.mark.soak
def test_saes_of_neighbours_beside_a_relayed_pair_have_their_quarter() -> None:
    path = SlowPath(2, rate_bit_s=1_000.0)
    near, far = path.greedy(HALF_HOUR, ("s0", "s1"), ("s0", "s2"))

    log.info("figures", of="neighbours beside", seen=path.figures([near, far], hop=0))
    assert 0.15 <= near.keys / (near.keys + far.keys) <= 0.35
    assert path.share([near, far], hop=0) >= 0.88


class Pauses(Pipe):
    """A pipe whose sender is silent in every other stretch of `PAUSE_S` seconds."""

    def sender(self) -> Emulated:
        return Pausing(self._sender, PipeEnd(self, receives=False))


PAUSE_S = 300.0


class Pausing(Emulated):
    def tick(self, octets: int) -> Iterator[Bits]:
        silent = int(self._host.now() / PAUSE_S) % 2 == 0
        return iter(()) if silent else super().tick(octets)


@pytest.mark.soak
@pytest.mark.parametrize("hops", [1, 2])
def test_links_that_pause_for_minutes_lose_nothing(hops: int) -> None:
    path = SlowPath(hops, rate_bit_s=1_000.0, pipe=Pauses)
    pairs = path.greedy(2 * HALF_HOUR, ("s0", path.end))

    log.info("figures", of=f"pauses, {hops} hops", seen=path.figures(pairs))
    assert path.share(pairs) >= 0.90
    assert path.share_less_tags(pairs) >= 0.95
    assert not path.dead()


@pytest.mark.slow
def test_a_fast_path_gives_what_its_links_bring() -> None:
    """Four seconds at 20 Mbit/s; a request is for 64 keys, so that the asking is not the limit.

    What is on its way at the end counts as lost: of two seconds that was up to a seventh.
    """
    path = SlowPath(2, rate_bit_s=20e6, max_bytes=16_000)
    path.greedy(1.0, ("s0", path.end), number=64)
    before = path.emitted(0)
    pairs = path.greedy(4.0, ("s0", path.end), number=64, every_s=0.01)

    log.info(
        "figures",
        of="20 Mbit/s",
        seen=f"{pairs[0].keys * KEY / (path.emitted(0) - before):.2f} of what came in",
    )
    assert pairs[0].keys * KEY >= 0.9 * (path.emitted(0) - before)
    assert not path.dead()
