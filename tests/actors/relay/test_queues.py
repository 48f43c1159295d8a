"""Queues of a relay and the order among them: weighted deficit round robin (R13)."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.protocol.limits import LANES_MAX, WEIGHT_MAX
from actors.protocol.relay import CHUNK_MAX, WINDOW, ChunkId, LaneOpened, SessionId
from actors.relay.queues import Chunk, SendQueue, SendQueues
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


def opened(queues: SendQueues, number: int, weight: int = 1) -> SendQueue:
    queue = queues.open(terms(number, weight), 0.0)
    assert queue
    return queue


def put(queues: SendQueues, queue: SendQueue, n: int, size: int = CHUNK_MAX) -> None:
    payload = Secret(bytes(size))
    for seq in range(n):
        id_ = ChunkId(queue.terms.session, queue.terms.share, EPOCH, seq)
        queue.queued.append(Chunk(id_, payload, 10.0))
    queues.join_round(queue)


def take(queues: SendQueues, n: int) -> list[tuple[int, int]]:
    """Take so many turns: the number of the session, and the octets."""
    turns = []
    for _ in range(n):
        turn = queues.next()
        if turn is None:
            break
        queue, chunk = turn
        turns.append((queue.terms.session.number, len(chunk.payload)))
    return turns


def test_shares_of_one_weight_take_turns() -> None:
    queues = SendQueues()
    for number in (1, 2, 3):
        put(queues, opened(queues, number), 4)

    assert Counter(number for number, _ in take(queues, 6)) == {1: 2, 2: 2, 3: 2}


def test_a_weight_is_a_share_of_the_octets() -> None:
    queues = SendQueues()
    for number, weight in ((1, 1), (2, 3)):
        put(queues, opened(queues, number, weight), 100)

    turns = Counter(number for number, _ in take(queues, 40))

    assert turns == {1: 10, 2: 30}


def test_small_chunks_get_no_more_octets_than_large_ones() -> None:
    queues = SendQueues()
    put(queues, opened(queues, 1), 1000, size=1100)
    put(queues, opened(queues, 2), 100, size=CHUNK_MAX)
    octets: Counter[int] = Counter()

    for number, size in take(queues, 300):
        octets[number] += size

    assert abs(octets[1] - octets[2]) <= 2 * CHUNK_MAX


def test_a_send_queue_with_a_full_window_gives_its_turn_up_and_comes_back() -> None:
    queues = SendQueues()
    full, free = opened(queues, 1), opened(queues, 2)
    put(queues, full, 2)
    put(queues, free, 3)
    full.awaiting_pad = dict.fromkeys(range(WINDOW), full.queued[0])

    assert take(queues, 9) == [(2, CHUNK_MAX)] * 3
    full.awaiting_pad.clear()
    queues.join_round(full)
    assert take(queues, 9) == [(1, CHUNK_MAX)] * 2


def test_a_send_queue_whose_store_is_not_ready_is_left_out() -> None:
    queues = SendQueues()
    queue = opened(queues, 1)
    queue.pad_refused = True
    put(queues, queue, 1)

    assert queues.next() is None


def test_an_empty_send_queue_saves_nothing_up() -> None:
    queues = SendQueues()
    queue = opened(queues, 1, WEIGHT_MAX)
    put(queues, queue, 1, size=1)

    assert len(take(queues, 9)) == 1
    assert queues.next() is None
    assert queue.deficit == 0


@pytest.mark.parametrize(("said", "counts"), [(0, 1), (-5, 1), (3, 3), (10**9, WEIGHT_MAX)])
def test_weights_are_within_bounds(said: int, counts: int) -> None:
    assert opened(SendQueues(), 1, said).weight == counts


def test_so_many_send_queues_and_no_more() -> None:
    queues = SendQueues()
    for number in range(LANES_MAX):
        opened(queues, number)

    assert queues.open(terms(LANES_MAX), 0.0) is None
    assert queues.open(terms(0, 5), 0.0) is queues.by_share[SessionId("a", 0), 0]
    queues.close((SessionId("a", 0), 0))
    assert queues.open(terms(LANES_MAX), 0.0)


def test_a_closed_send_queue_has_no_turn() -> None:
    queues = SendQueues()
    queue = opened(queues, 1)
    put(queues, queue, 2)

    assert queues.close(queue.key) is queue
    assert queues.close(queue.key) is None
    assert queues.next() is None


@given(
    st.lists(
        st.tuples(st.integers(1, WEIGHT_MAX), st.integers(1, CHUNK_MAX)), min_size=1, max_size=6
    ),
    st.integers(1, 200),
)
def test_nobody_gets_more_than_its_share_and_two_turns(
    kinds: list[tuple[int, int]], turns: int
) -> None:
    queues = SendQueues()
    for number, (weight, size) in enumerate(kinds):
        put(queues, opened(queues, number, weight), 300, size=size)
    octets: Counter[int] = Counter()

    for number, size in take(queues, turns):
        octets[number] += size

    backlogged = [n for n in range(len(kinds)) if queues.by_share[SessionId("a", n), 0].queued]
    rounds = [octets[n] / (CHUNK_MAX * kinds[n][0]) for n in backlogged]
    assert not rounds or max(rounds) - min(rounds) <= 2
