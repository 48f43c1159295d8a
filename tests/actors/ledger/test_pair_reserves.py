"""What a pair of SAEs may take beside the others that ask (R13)."""

from hypothesis import given
from hypothesis import strategies as st

from actors.ledger.pair_reserves import ACTIVE_S, PAIRS_MAX, RESERVE_OCTETS, Claim, PairReserves
from actors.runtime.bucket import DEPTH_S

GREEDY, QUIET = ("sae-1", "sae-2"), ("sae-3", "sae-4")


def test_a_pair_alone_may_take_all() -> None:
    reserves = PairReserves(1 << 20)
    reserves.note(GREEDY, 0.0)

    assert reserves.may_take(GREEDY, 100_000, 0.0) == 100_000


def test_a_pair_leaves_what_is_reserved_for_another_that_asks() -> None:
    reserves = PairReserves(1 << 20)
    reserves.note(GREEDY, 0.0)
    reserves.note(QUIET, 0.0)

    assert reserves.may_take(GREEDY, 100_000, 1.0) == 100_000 - RESERVE_OCTETS
    assert reserves.may_take(GREEDY, 100_000, ACTIVE_S) == 100_000


def test_where_there_is_little_each_may_take_its_part() -> None:
    reserves = PairReserves(1 << 20)
    for pair in (GREEDY, QUIET):
        reserves.note(pair, 0.0)

    assert reserves.may_take(GREEDY, 100, 0.0) == reserves.may_take(QUIET, 100, 0.0) == 50


def test_where_there_is_little_two_pairs_that_always_ask_get_the_same() -> None:
    reserves, had, there = PairReserves(1 << 20), {GREEDY: 0, QUIET: 0}, 0

    for second in range(600):
        there += 37  # 300 bit/s
        for pair in (GREEDY, GREEDY, GREEDY, QUIET):
            reserves.note(pair, float(second))
            if reserves.may_take(pair, there, float(second)) >= 32:
                reserves.take(pair, 32, float(second))
                had[pair] += 32
                there -= 32

    assert there < 128
    assert abs(had[GREEDY] - had[QUIET]) < 0.1 * had[QUIET]


def test_what_was_taken_long_ago_does_not_count() -> None:
    reserves = PairReserves(1 << 20)
    for pair in (GREEDY, QUIET):
        reserves.note(pair, 0.0)
    reserves.take(GREEDY, 10_000, 0.0)
    at_first = reserves.may_take(GREEDY, 1000, 0.0)
    reserves.note(QUIET, 9.0)

    assert at_first == 0
    assert reserves.may_take(GREEDY, 1000, 60.0) == 1000


def test_all_reserves_together_have_a_limit() -> None:
    reserves = PairReserves(10_000)
    for n in range(100):
        reserves.note(("sae", str(n)), 0.0)

    assert reserves.may_take(GREEDY, 1 << 20, 0.0) == (1 << 20) - 10_000


@given(st.lists(st.integers(0, 50), max_size=60), st.integers(0, 1 << 20))
def test_nobody_is_kept_from_everything(pairs: list[int], there: int) -> None:
    reserves = PairReserves(1 << 18)
    for n in pairs:
        reserves.note(("sae", str(n)), 0.0)

    assert there // (len(set(pairs)) + 1) <= reserves.may_take(GREEDY, there, 0.0) <= there


def test_so_many_pairs_are_remembered() -> None:
    reserves = PairReserves(1 << 40)
    for n in range(PAIRS_MAX + 1):
        reserves.note(("sae", str(n)), 0.0)

    kept = (1 << 40) - reserves.may_take(("sae", str(PAIRS_MAX)), 1 << 40, 0.0)

    assert kept == (PAIRS_MAX - 1) * RESERVE_OCTETS


RATE = 256
CLAIM = Claim("an application", RATE)
"""One key of 256 bits a second."""


def test_what_a_claim_keeps_is_left_though_its_pair_has_never_asked() -> None:
    reserves = PairReserves(1 << 20)
    reserves.claim({QUIET: CLAIM}, 0.0)
    reserves.note(GREEDY, 0.0)

    kept = RATE * DEPTH_S // 8
    assert reserves.may_take(GREEDY, 1000, 0.0) == 1000 - kept
    assert reserves.may_take(GREEDY, kept, 0.0) == 0
    assert reserves.may_take(QUIET, kept, 0.0) == kept


def test_a_claim_holds_against_pairs_that_take_all_they_get_and_leaves_them_the_rest() -> None:
    reserves, had, there = PairReserves(1 << 20), {GREEDY: 0, QUIET: 0}, 0
    reserves.claim({QUIET: CLAIM}, 0.0)
    missed = 0

    for second in range(600):
        there += 40  # 320 bit/s, of which 256 are claimed
        for pair in (GREEDY, GREEDY, QUIET, GREEDY):
            now = float(second)
            reserves.note(pair, now)
            if reserves.may_take(pair, there, now) >= 32:
                reserves.take(pair, 32, now)
                had[pair] += 32
                there -= 32
            elif pair == QUIET:
                missed += 1

    assert missed == 0
    assert had[QUIET] == 600 * 32
    assert had[GREEDY] > 0.9 * 600 * 8 - 4 * 32


def test_past_its_claim_a_pair_leaves_something_to_others() -> None:
    reserves, had, there = PairReserves(1 << 20), {GREEDY: 0, QUIET: 0}, 0
    reserves.claim({GREEDY: CLAIM}, 0.0)

    for second in range(600):
        there += 64  # twice the claim, and who has it takes whatever it gets
        for pair in (GREEDY, GREEDY, GREEDY, QUIET):
            now = float(second)
            reserves.note(pair, now)
            if reserves.may_take(pair, there, now) >= 32:
                reserves.take(pair, 32, now)
                had[pair] += 32
                there -= 32

    assert had[QUIET] > 0.4 * 600 * 32
    assert had[GREEDY] >= 600 * 32


def test_all_claims_come_to_no_more_than_may_be_reserved_and_a_claim_of_two_pairs_is_one() -> None:
    reserves = PairReserves(100)
    reserves.claim({QUIET: CLAIM, ("sae-3", "sae-5"): CLAIM}, 0.0)
    reserves.note(GREEDY, 0.0)
    assert reserves.may_take(GREEDY, 1000, 0.0) == 1000 - 100
    reserves.note(QUIET, 0.0)
    reserves.take(QUIET, RATE * DEPTH_S // 8, 0.0)
    reserves.claim({QUIET: CLAIM}, 0.0)

    assert reserves.may_take(GREEDY, 10_000, 0.0) == 10_000 - 100  # as it has asked just now
    reserves.claim({}, 0.0)
    assert reserves.may_take(GREEDY, 1000, ACTIVE_S) == 1000


def test_what_was_set_aside_and_not_given_counts_towards_nothing() -> None:
    reserves = PairReserves(1 << 20)
    reserves.claim({QUIET: CLAIM}, 0.0)
    for pair in (GREEDY, QUIET):
        reserves.note(pair, 0.0)
    before = [reserves.may_take(pair, 5_000, 0.0) for pair in (GREEDY, QUIET)]
    had = reserves.take(QUIET, 10_000, 0.0)
    reserves.take(QUIET, 0, 2.0)

    after = [reserves.may_take(pair, 5_000, 2.0) for pair in (GREEDY, QUIET)]
    reserves.give_back(QUIET, had, 2.0)

    assert after != before
    assert [reserves.may_take(pair, 5_000, 2.0) for pair in (GREEDY, QUIET)] == before


def test_what_is_given_back_to_a_pair_that_was_forgotten_is_not_taken_from_others() -> None:
    reserves = PairReserves(1 << 20)
    reserves.note(QUIET, 0.0)
    had = reserves.take(QUIET, 10_000, 0.0)
    reserves.note(GREEDY, ACTIVE_S)
    reserves.take(GREEDY, 1_000, ACTIVE_S)
    reserves.may_take(GREEDY, 0, ACTIVE_S)  # forgets the other one
    reserves.note(QUIET, ACTIVE_S)
    before = reserves.may_take(QUIET, 500, ACTIVE_S)

    reserves.give_back(QUIET, had, ACTIVE_S)

    assert reserves.may_take(QUIET, 500, ACTIVE_S) == before == 500
