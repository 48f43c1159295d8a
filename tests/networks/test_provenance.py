"""Where the bits of keys came from, and how old they are: told if asked, at no cost if not."""

import pytest

from actors.ledger.peering_state import PeeringState
from actors.ledger.segment import LINK, Way
from actors.ledger.stream import UNKNOWN, Stream
from actors.protocol import blocks, keys
from actors.storage.journal import Journal, Shelf
from tests.kit.pair import Pair

NORTH = ("a", "n", "b")
SOUTH = ("a", "s", "t", "b")


def key(pair: Pair, size: int = 32, *, at: str = "a") -> keys.Keys:
    master, slave = ("alice", "bob") if at == "a" else ("bob", "alice")
    ask = keys.GetKey(master=master, slaves=(slave,), number=1, size=size, provenance=True)
    answer = pair.cluster.ask(pair.at(at), ask, 5.0)
    assert isinstance(answer, keys.Keys), answer
    return answer


@pytest.mark.parametrize("at", ["a", "b"])
@pytest.mark.parametrize("mode", ["confirmed", "local"])
def test_both_ends_know_over_which_paths_bits_came(at: str, mode: str) -> None:
    pair = Pair(virtual=True, mode=mode)
    for _ in range(4):
        pair.feed(via=(NORTH, SOUTH))
        pair.cluster.advance(0.2)

    (told,) = key(pair, at=at).provenance

    assert told.octets == 32
    assert told.paths == (NORTH, SOUTH)
    assert 0.0 <= told.age < 1.0


def test_a_batch_over_several_paths_names_them_all() -> None:
    pair = Pair(virtual=True)
    for _ in range(2):
        pair.feed(2000, via=(NORTH,))
        pair.feed(2000, via=(SOUTH,))
        pair.cluster.advance(0.2)

    (told,) = key(pair).provenance

    assert told.paths == (NORTH, SOUTH)


def test_keys_of_several_batches_are_told_in_their_order() -> None:
    pair = Pair(virtual=True)
    for via in ((NORTH,), (NORTH,), (SOUTH,), (SOUTH,)):
        pair.feed(2000, via=via)
        pair.cluster.advance(0.2)

    told = key(pair, 2100).provenance

    assert sum(via.octets for via in told) == 2100
    assert [via.paths for via in told] == [(NORTH,), (SOUTH,)]
    assert told[0].age > told[1].age


def test_bits_of_a_quantum_link_have_no_path_but_an_age() -> None:
    pair = Pair()
    pair.fill()
    pair.cluster.advance(10.0)

    (told,) = key(pair).provenance

    assert told.paths == ()
    assert 10.0 <= told.age < 12.0


def test_paths_and_age_outlive_a_start_of_the_process() -> None:
    pair = Pair(virtual=True)
    for _ in range(12):
        pair.feed(4000, via=(NORTH,))
        pair.cluster.advance(0.2)
    pair.cluster.restart("a")
    pair.cluster.advance(5.0)

    (told,) = key(pair).provenance

    assert told.paths == (NORTH,)
    assert told.age > 5.0


def test_after_a_reboot_the_age_is_not_known() -> None:
    pair = Pair(virtual=True)
    for _ in range(12):
        pair.feed(4000, via=(NORTH,))
        pair.cluster.advance(0.2)
    pair.cluster.restart("a", reboot=True)
    pair.cluster.advance(5.0)

    (told,) = key(pair).provenance

    assert told.paths == (NORTH,)
    assert told.age == UNKNOWN


def test_a_batch_not_yet_decided_at_a_start_keeps_its_paths() -> None:
    pair = Pair(virtual=True)
    pair.lost = {blocks.BlocksHeld}
    pair.feed(4000, via=(NORTH,))
    pair.cluster.advance(0.5)
    pair.cluster.restart("b")
    pair.lost = set()

    pair.cluster.advance(5.0)

    for node in ("a", "b"):
        (segment,) = pair.store(node).stream.segments.values()
        assert segment.way == ((NORTH,), 1)


def test_nothing_is_told_unless_it_is_asked_for() -> None:
    pair = Pair()
    pair.fill()

    assert pair.key().provenance == ()


@pytest.mark.parametrize(("values", "way"), [(5, LINK), (8, ((NORTH,), 1))])
def test_rows_of_an_earlier_version_are_read(values: int, way: Way) -> None:
    pair = Pair(virtual=True)  # of bits of a quantum link no path is kept
    pair.fill(4, via=(NORTH,))
    rows = [row for kind in ("segment", "bits") for row in pair.rows("a", kind)]
    shelf = Shelf(rows)
    journal = Journal("b")
    for id_, clear, _ in shelf.each("segment"):
        journal.put("segment", id_, clear[:values])
    old = [row for row in journal.take() if not isinstance(row, tuple)]

    shelf = Shelf([*old, *(row for row in rows if row.kind == "bits")])
    stream = Stream(journal, shelf, PeeringState(journal, shelf, 1), 0)

    assert stream.segments
    assert all(it.way == way for it in stream.segments.values())
    assert all((it.since is None) == (way == LINK) for it in stream.segments.values())
