"""Queues of a relay and the order among them: weighted deficit round robin (R13)."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.lanes import CHUNK_MAX, LANES_MAX, WINDOW, Chunk, Lane, Lanes
from actors.protocol.relay import WEIGHT_MAX, ChunkId, LaneOpened, SessionId
from transport.message import Secret

EPOCH = bytes(16)


def terms(number: int, weight: int = 1, share: int = 0) -> LaneOpened:
    return LaneOpened(
        session=SessionId("a", number),
        share=share,
        shares=1,
        source="virtual_link/c",
        target="relay/b",
        hop=0,
        path=("a", "b", "c"),
        weight=weight,
    )


def opened(lanes: Lanes, number: int, weight: int = 1) -> Lane:
    lane = lanes.open(terms(number, weight), 0.0)
    assert lane
    return lane


def put(lanes: Lanes, lane: Lane, n: int, size: int = CHUNK_MAX) -> None:
    payload = Secret(bytes(size))
    for seq in range(n):
        id_ = ChunkId(lane.terms.session, lane.terms.share, EPOCH, seq)
        lane.queue.append(Chunk(id_, payload, 10.0))
    lanes.queued(lane)


def take(lanes: Lanes, n: int) -> list[tuple[int, int]]:
    """Take so many turns: the number of the session, and the octets."""
    turns = []
    for _ in range(n):
        turn = lanes.next()
        if turn is None:
            break
        lane, chunk = turn
        turns.append((lane.terms.session.number, len(chunk.payload)))
    return turns


def test_lanes_of_one_weight_take_turns() -> None:
    lanes = Lanes()
    for number in (1, 2, 3):
        put(lanes, opened(lanes, number), 4)

    assert Counter(number for number, _ in take(lanes, 6)) == {1: 2, 2: 2, 3: 2}


def test_a_weight_is_a_share_of_the_octets() -> None:
    lanes = Lanes()
    for number, weight in ((1, 1), (2, 3)):
        put(lanes, opened(lanes, number, weight), 100)

    turns = Counter(number for number, _ in take(lanes, 40))

    assert turns == {1: 10, 2: 30}


def test_small_chunks_get_no_more_octets_than_large_ones() -> None:
    lanes = Lanes()
    put(lanes, opened(lanes, 1), 1000, size=1100)
    put(lanes, opened(lanes, 2), 100, size=CHUNK_MAX)
    octets: Counter[int] = Counter()

    for number, size in take(lanes, 300):
        octets[number] += size

    assert abs(octets[1] - octets[2]) <= 2 * CHUNK_MAX


def test_a_lane_with_a_full_window_gives_its_turn_up_and_comes_back() -> None:
    lanes = Lanes()
    full, free = opened(lanes, 1), opened(lanes, 2)
    put(lanes, full, 2)
    put(lanes, free, 3)
    full.asked = dict.fromkeys(range(WINDOW), full.queue[0])

    assert take(lanes, 9) == [(2, CHUNK_MAX)] * 3
    full.asked.clear()
    lanes.queued(full)
    assert take(lanes, 9) == [(1, CHUNK_MAX)] * 2


def test_a_lane_whose_store_is_not_ready_is_left_out() -> None:
    lanes = Lanes()
    lane = opened(lanes, 1)
    lane.waits = True
    put(lanes, lane, 1)

    assert lanes.next() is None


def test_an_idle_lane_saves_nothing_up() -> None:
    lanes = Lanes()
    lane = opened(lanes, 1, WEIGHT_MAX)
    put(lanes, lane, 1, size=1)

    assert len(take(lanes, 9)) == 1
    assert lanes.next() is None
    assert lane.deficit == 0


@pytest.mark.parametrize(("said", "counts"), [(0, 1), (-5, 1), (3, 3), (10**9, WEIGHT_MAX)])
def test_weights_are_within_bounds(said: int, counts: int) -> None:
    assert opened(Lanes(), 1, said).weight == counts


def test_so_many_lanes_and_no_more() -> None:
    lanes = Lanes()
    for number in range(LANES_MAX):
        opened(lanes, number)

    assert lanes.open(terms(LANES_MAX), 0.0) is None
    assert lanes.open(terms(0, 5), 0.0) is lanes.lanes[SessionId("a", 0), 0]
    lanes.close((SessionId("a", 0), 0))
    assert lanes.open(terms(LANES_MAX), 0.0)


def test_a_closed_lane_has_no_turn() -> None:
    lanes = Lanes()
    lane = opened(lanes, 1)
    put(lanes, lane, 2)

    assert lanes.close(lane.key) is lane
    assert lanes.close(lane.key) is None
    assert lanes.next() is None


@given(
    st.lists(
        st.tuples(st.integers(1, WEIGHT_MAX), st.integers(1, CHUNK_MAX)), min_size=1, max_size=6
    ),
    st.integers(1, 200),
)
def test_nobody_gets_more_than_its_share_and_two_turns(
    kinds: list[tuple[int, int]], turns: int
) -> None:
    lanes = Lanes()
    for number, (weight, size) in enumerate(kinds):
        put(lanes, opened(lanes, number, weight), 300, size=size)
    octets: Counter[int] = Counter()

    for number, size in take(lanes, turns):
        octets[number] += size

    backlogged = [n for n in range(len(kinds)) if lanes.lanes[SessionId("a", n), 0].queue]
    rounds = [octets[n] / (CHUNK_MAX * kinds[n][0]) for n in backlogged]
    assert not rounds or max(rounds) - min(rounds) <= 2
