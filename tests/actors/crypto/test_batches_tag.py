"""Batches and their tags, without actors."""

from hypothesis import given, settings
from hypothesis import strategies as st

from actors.crypto import batch_tag
from actors.ledger.batches import BATCH_MAX, BATCH_MIN, Batches
from actors.ledger.peering_state import PeeringState
from actors.ledger.stream import Stream
from actors.protocol.blocks import BlocksHeld, Head, Run
from actors.storage.journal import Journal, Shelf

PLACE = (1, 0, 1, 4)
RUNS, LENGTHS = (Run(0, 1),), (600, 600)


def end(number: int) -> Batches:
    journal = Journal("peer")
    state = PeeringState(journal, Shelf(()), 1 + number)
    stream = Stream(journal, Shelf(()), state, number)
    return Batches(journal, Shelf(()), state, stream)


def held(batches: Batches, number: int) -> BlocksHeld:
    it = batches.held[number]
    head = Head(1, 2, 1, 0, 0)
    return BlocksHeld(
        head=head, batch=number, runs=it.runs, lengths=it.lengths, tag=it.tag, credit=0
    )


def test_a_tag_agrees_only_with_the_same_octets_ids_and_place() -> None:
    octets = bytes(range(256)) * 5
    mark = batch_tag.make(octets, PLACE, RUNS, LENGTHS)

    assert batch_tag.agrees(octets, PLACE, RUNS, LENGTHS, mark)
    for wrong in (b"", mark[:15], mark + b"\0", bytes(16)):
        assert not batch_tag.agrees(octets, PLACE, RUNS, LENGTHS, wrong)
    for at in (0, 31, 32, len(octets) - 1):
        spoilt = octets[:at] + bytes([octets[at] ^ 1]) + octets[at + 1 :]
        assert not batch_tag.agrees(spoilt, PLACE, RUNS, LENGTHS, mark)
    assert not batch_tag.agrees(octets, (1, 0, 0, 4), RUNS, LENGTHS, mark)
    assert not batch_tag.agrees(octets, PLACE, (Run(1, 2),), LENGTHS, mark)
    assert not batch_tag.agrees(octets, PLACE, RUNS, (601, 599), mark)


@settings(max_examples=60)
@given(
    st.lists(st.integers(1, 4000), min_size=1, max_size=80),
    st.randoms(use_true_random=False),
    st.floats(0, 0.5),
)
def test_both_ends_make_the_same_segments_of_whatever_arrives(
    sizes: list[int], dice: object, loss: float
) -> None:
    sender, receiver = end(0), end(1)
    payloads = [bytes([n % 251]) * size for n, size in enumerate(sizes)]
    sender.emit(0, payloads, 0.0, 1 << 30)
    come = [n for n in range(len(sizes)) if n % 10 >= 10 * loss]
    receiver.arrive(come, [payloads[n] for n in come], 0.0, 1 << 30)

    for number in receiver.form():
        decision = sender.decide(held(receiver, number))
        assert decision is True
        receiver.conclude(number, confirmed=True)

    one, two = sender._stream.segments, receiver._stream.segments
    assert one.keys() == two.keys()
    for name, segment in one.items():
        assert segment.octets == two[name].octets
        assert BATCH_MIN - 32 <= len(segment.octets) <= BATCH_MAX
        assert segment.owned is not two[name].owned
    assert receiver.arrived < BATCH_MIN
    assert dice


def test_a_batch_that_names_a_datagram_twice_or_in_strange_numbers_is_discarded() -> None:
    sender, receiver = end(0), end(1)
    sender.emit(0, [bytes(600)] * 4, 0.0, 1 << 30)
    receiver.arrive([0, 1], [bytes(600)] * 2, 0.0, 1 << 30)
    (number,) = receiver.form()
    true = held(receiver, number)
    strange: list[tuple[Run, ...]] = [
        (),
        (Run(0, 0), Run(0, 0)),
        (Run(1, 0),),
        (Run(0, (1 << 64) - 1),),
        (Run(-5, -4),),
    ]

    for batch, runs in enumerate(strange, 10):
        word = BlocksHeld(
            head=true.head, batch=batch, runs=runs, lengths=true.lengths, tag=true.tag, credit=0
        )
        assert sender.decide(word) is False
    for batch in (-1, 1 << 62, -(1 << 63)):
        word = BlocksHeld(
            head=true.head, batch=batch, runs=RUNS, lengths=LENGTHS, tag=true.tag, credit=0
        )
        assert sender.decide(word) is None


def test_rows_bring_undecided_batches_back() -> None:
    receiver = end(1)
    receiver.arrive(range(3), [b"x" * 900] * 3, 0.0, 1 << 30)
    (number,) = receiver.form()
    rows = [row for row in receiver._journal.take() if hasattr(row, "clear")]
    shelf = Shelf([row for row in rows if not isinstance(row, tuple)])
    journal = Journal("peer")
    state = PeeringState(journal, shelf, 9)

    again = Batches(journal, shelf, state, Stream(journal, shelf, state, 1))

    assert again.held[number].tag == receiver.held[number].tag
    assert again.held[number].octets == receiver.held[number].octets
    assert again.undecided == receiver.undecided
    assert state.seq == 1
