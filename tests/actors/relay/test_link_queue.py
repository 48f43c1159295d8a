"""The one queue of a link: origins in turn, weights within each; counters that are given back."""

from collections import Counter
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from actors.protocol.limits import WEIGHT_MAX
from actors.protocol.relay import CHUNK_MAX, CHUNK_MIN, SessionId
from actors.relay.link_queue import (
    CLEAR_MAX,
    CLEAR_PARTS,
    PADS_AHEAD,
    TURN,
    ClearOctets,
    LinkQueue,
    PadsAsked,
    ShareKey,
)


@dataclass
class Share:
    """Chunks of one size without end, or so many."""

    origin: str
    number: int = 0
    weight: int = 1
    size: int = CHUNK_MIN
    left: int = 1 << 20
    deficit: int = 0
    ready_: bool = field(default=True)

    @property
    def key(self) -> ShareKey:
        return SessionId(self.origin, self.number), 0

    @property
    def ready(self) -> bool:
        return self.ready_ and self.left > 0

    @property
    def next_octets(self) -> int:
        return self.size if self.left else 0


def sent(shares: list[Share], octets: int) -> Counter[tuple[str, int]]:
    """Send so many octets of what these have; say how many are whose."""
    queue = LinkQueue[Share]()
    for each in shares:
        queue.join(each)
    found: Counter[tuple[str, int]] = Counter()
    while found.total() < octets and (share := queue.next()):
        share.left -= 1
        found[share.origin, share.number] += share.size
        queue.join(share)
    return found


def of(found: Counter[tuple[str, int]], origin: str) -> int:
    return sum(octets for (name, _), octets in found.items() if name == origin)


def test_p3_sixty_four_heavy_sessions_of_one_origin_leave_half_to_another() -> None:
    heavy = [Share("greedy", number, weight=WEIGHT_MAX) for number in range(64)]

    found = sent([*heavy, Share("honest")], 2_000_000)

    assert abs(of(found, "honest") - of(found, "greedy")) <= 2 * TURN


def test_large_chunks_of_one_origin_get_no_more_than_small_ones_of_another() -> None:
    found = sent([Share("large", size=CHUNK_MAX), Share("small")], 2_000_000)

    assert abs(of(found, "large") - of(found, "small")) <= 2 * CHUNK_MAX


def test_within_an_origin_a_weight_is_a_share_of_the_octets() -> None:
    found = sent([Share("a", 1, weight=1), Share("a", 2, weight=3), Share("b")], 800_000)

    assert abs(of(found, "a") - of(found, "b")) <= 2 * TURN
    assert abs(3 * found["a", 1] - found["a", 2]) <= 6 * TURN


def test_what_stands_still_or_has_left_holds_up_nobody() -> None:
    queue = LinkQueue[Share]()
    still, gone, moving = Share("a"), Share("b"), Share("c")
    for share in (still, gone, moving):
        queue.join(share)
    still.ready_ = False
    queue.leave(gone.key)

    assert [queue.next() for _ in range(9)] == [moving] * 9
    moving.left = 0
    assert queue.next() is None
    still.ready_ = True
    queue.join(still)
    assert queue.next() is still


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abc"), st.integers(1, WEIGHT_MAX), st.integers(CHUNK_MIN, CHUNK_MAX)
        ),
        min_size=1,
        max_size=8,
    )
)
def test_no_origin_gets_more_than_its_part(kinds: list[tuple[str, int, int]]) -> None:
    shares = [Share(name, n, weight, size) for n, (name, weight, size) in enumerate(kinds)]
    names = {name for name, _, _ in kinds}

    found = sent(shares, 500_000)

    parts = [of(found, name) for name in names]
    assert max(parts) - min(parts) <= 2 * CHUNK_MAX + TURN


KEYS = st.tuples(st.builds(SessionId, st.sampled_from("ab"), st.integers(0, 3)), st.just(0))


@given(st.lists(st.tuples(KEYS, st.integers(0, 9000)), max_size=40))
def test_octets_in_clear_are_what_all_shares_have_and_all_given_back(
    counted: list[tuple[ShareKey, int]],
) -> None:
    clear, has = ClearOctets(), dict[ShareKey, int]()
    for key, octets in counted:
        clear.count(key, octets)
        has[key] = octets
        assert clear.total == sum(has.values())
    for key in has:
        clear.count(key, 0)

    assert clear.total == 0
    assert clear.fits("a", CLEAR_MAX // CLEAR_PARTS)


def test_an_origin_has_a_quarter_of_the_octets_in_clear_and_all_have_a_bound() -> None:
    clear, part = ClearOctets(), CLEAR_MAX // CLEAR_PARTS
    for name in "abcd":
        assert clear.fits(name, part)
        assert not clear.fits(name, part + 1)
        clear.count((SessionId(name, 1), 0), part)

    assert not clear.fits("e", 1)


def test_one_large_pad_is_asked_for_at_a_time_and_a_few_small_ones() -> None:
    asked = PadsAsked()
    asked.ask(1, CHUNK_MAX)
    assert not asked.room
    asked.done(1)
    asked.done(1)

    n = 0
    while asked.room:
        n += 1
        asked.ask(n, CHUNK_MIN)

    assert n == PADS_AHEAD // CHUNK_MIN
    for pad in range(1, n + 1):
        asked.done(pad)
    assert asked.waits_for == 0
