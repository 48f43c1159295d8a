"""Bits stay on the disk until they are leased (R6, R16; decision 0052)."""

import pytest

from actors.protocol import blocks
from actors.protocol.grants import Piece
from tests.kit.ledger_check import check_counters, check_rest, octets_of
from tests.kit.pair import Pair

LATE_S = 5.0


def stocked(batches: int = 6) -> Pair:
    """Two ends with stock of which nothing is leased."""
    pair = Pair()
    pair.lost = {blocks.Lease}
    for node in "ab":
        pair.cluster.slow_picks(node, LATE_S)
    pair.fill(batches)
    pair.lost.clear()
    for node in "ab":
        pair.cluster.slow_picks(node, 0.0)
    return pair


def in_memory(pair: Pair, node: str) -> int:
    """Octets of stock in memory."""
    return sum(len(segment.octets) for segment in pair.store(node).stream.segments.values())


def leased(pair: Pair, node: str) -> int:
    """Octets of segments that either end has leased."""
    segments = pair.store(node).stream.segments.values()
    return sum(segment.size for segment in segments if segment.leased)


def rest(pair: Pair) -> None:
    pair.cluster.advance(5.0)
    stores = pair.store("a"), pair.store("b")
    check_rest(*stores)
    for store in stores:
        check_counters(store)


def test_only_what_is_leased_is_in_memory() -> None:
    pair = Pair()
    pair.fill(40)
    pair.key(), pair.key(at="b")
    rest(pair)

    for node in "ab":
        stream = pair.store(node).stream
        assert stream.octets > 100_000
        assert in_memory(pair, node) <= leased(pair, node) <= 70_000
        assert all(bool(it.octets) is it.leased for it in stream.segments.values())


def test_the_stock_does_not_grow_what_is_in_memory() -> None:
    sizes = []
    for batches in (20, 60):
        pair = Pair()
        pair.fill(batches)
        rest(pair)
        sizes.append(in_memory(pair, "a"))

    assert sizes[0] == sizes[1] > 0


def test_a_lease_is_said_when_its_octets_are_in_memory() -> None:
    pair = Pair()
    pair.cluster.slow_picks("a", LATE_S)
    pair.fill(2)
    pair.lease("a")
    pair.cluster.advance(LATE_S - 1.0)
    early = pair.said(blocks.Lease, "a")
    pair.cluster.advance(2.0)

    assert not early
    assert pair.said(blocks.Lease, "a")
    rest(pair)


def test_a_lease_is_held_when_its_octets_are_in_memory_however_often_it_is_said() -> None:
    pair = Pair()
    pair.cluster.slow_picks("b", LATE_S)
    pair.fill(2)
    pair.wire.clear()
    pair.lease("a")
    pair.cluster.advance(LATE_S - 1.0)
    said, early = len(pair.said(blocks.Lease, "a")), pair.said(blocks.LeaseHeld, "b")
    pair.cluster.advance(2.0)

    assert said > 1
    assert not early
    assert pair.said(blocks.LeaseHeld, "b")
    pair.cluster.slow_picks("b", 0.0)
    rest(pair)


def test_a_lease_that_nobody_has_said_is_not_held() -> None:
    pair = Pair()
    pair.cluster.slow_picks("a", LATE_S)
    pair.fill(2)
    pair.lease("a")
    stream = pair.store("a").stream
    asked = tuple(segment.id for segment in stream.asking())

    head = pair.store("b").state.head()
    pair.say("a", blocks.LeaseHeld(head=head, segments=asked))

    assert asked
    assert stream.usable == 0
    pair.cluster.slow_picks("a", 0.0)
    pair.cluster.advance(LATE_S)
    assert stream.usable > 0
    rest(pair)


def test_no_grant_waits_for_the_disk() -> None:
    pair = Pair()
    pair.fill(8)
    pair.lease("a")
    pair.cluster.advance(1.0)
    for node in "ab":
        pair.cluster.slow_picks(node, 3600.0)

    for _ in range(20):
        key = pair.key(16, 32, wait=0.5)
        found, _ = pair.fetch(key.grant, *range(16), wait=0.5)
        assert found == key.octets.reveal()


def test_at_a_start_what_the_peer_has_leased_is_there_before_anything_is_asked() -> None:
    pair = Pair()
    pair.fill(8)
    pair.lease("a")
    pair.cluster.advance(1.0)
    pair.cluster.slow_picks("b", 3600.0)
    pair.cluster.restart("b")
    pair.cluster.advance(2.0)

    key = pair.key(16, 32)
    found, _ = pair.fetch(key.grant, *range(16))

    assert found == key.octets.reveal()
    assert in_memory(pair, "b") == sum(
        segment.size
        for segment in pair.store("b").stream.segments.values()
        if segment.leased and not segment.owned and not segment.spent
    )


@pytest.mark.parametrize("node", ["a", "b"])
def test_a_crash_between_the_lease_and_its_read_burns_it_at_both_ends(node: str) -> None:
    pair = Pair()
    pair.cluster.slow_picks(node, LATE_S)
    pair.fill(4)
    pair.lease("a")
    pair.cluster.advance(1.0)
    pair.cluster.slow_picks(node, 0.0)
    pair.cluster.restart(node)
    pair.cluster.advance(20.0)

    rest(pair)
    pair.fill(4)
    key = pair.key()
    assert pair.fetch(key.grant)[0] == key.octets.reveal()
    assert pair.alarms() == 0


@pytest.mark.parametrize("node", ["a", "b"])
def test_a_row_that_does_not_open_ends_the_node_and_no_lease_is_told(node: str) -> None:
    pair = Pair()
    pair.cluster.slow_picks("a", 0.5)
    pair.cluster.slow_picks("b", 0.5)
    pair.fill(1)
    pair.cluster.advance(5.0)
    pair.wire.clear()
    pair.cluster.fail_to_read(node)
    pair.fill(6)
    pair.lease("a")
    pair.cluster.advance(5.0)

    assert not pair.cluster.nodes[node].alive
    pair.cluster.restart(node)
    pair.cluster.advance(20.0)
    rest(pair)


def test_octets_of_an_epoch_that_is_over_are_not_those_of_this_one() -> None:
    pair = Pair()
    pair.fill(2)
    copy = pair.cluster.backup("b")
    pair.fill(2)
    pair.key()
    pair.cluster.slow_picks("a", LATE_S)
    pair.lease("a", 64 << 10)
    old = dict(pair.store("a").stream._reading)
    pair.cluster.restore("b", copy)
    pair.cluster.advance(1.0)
    pair.seq = 0
    pair.fill(4)
    pair.lease("a", 64 << 10)
    pair.cluster.advance(2 * LATE_S)

    segments = pair.store("a").stream.segments
    assert [name for name in old if name in segments and segments[name] is not old[name]]
    rest(pair)
    key = pair.key(4, 32)
    found, _ = pair.fetch(key.grant, *range(4))
    assert found == key.octets.reveal()


def test_a_liar_who_uses_what_is_still_being_read_waits_and_nothing_freezes() -> None:
    pair = Pair()
    pair.cluster.slow_picks("b", LATE_S)
    pair.fill(2)
    pair.lease("a")
    segments = pair.store("b").stream.segments
    name = next(n for n, it in segments.items() if it.leased and not it.owned)
    place = (Piece(name.holder, name.batch, 0, 64),)

    assert pair.store("b").pieces.check(place) == "wait"
    assert not pair.store("b").state.frozen
    pair.cluster.advance(LATE_S)
    assert pair.store("b").pieces.check(place) == ""


def test_what_is_leased_is_read_while_the_disk_is_full() -> None:
    pair = Pair()
    pair.cluster.slow_picks("a", 1.0)
    pair.fill(4)
    pair.wire.clear()
    pair.lease("a")
    pair.cluster.fill_disk("a")
    pair.feed(4000, sender="b")
    pair.cluster.advance(2.0)

    assert pair.cluster.nodes["a"].disk_full
    assert pair.said(blocks.Lease, "a")
    pair.cluster.free_disk("a")
    rest(pair)


def test_a_lease_burnt_unused_leaves_the_disk_unread() -> None:
    pair = Pair()
    pair.fill(4)
    pair.lease("a")
    pair.cluster.advance(1.0)
    burnt = [s.id for s in pair.store("a").stream.segments.values() if s.owned and s.leased]
    pair.cluster.restart("a")
    pair.cluster.advance(20.0)

    assert burnt
    assert not set(burnt) & pair.store("b").stream.segments.keys()
    stored = {row.id for node in "ab" for row in pair.rows(node, "bits")}
    assert not stored & {bytes((it.holder,)) + it.batch.to_bytes(8, "big") for it in burnt}


def test_what_lies_on_the_disk_is_the_same_at_both_ends() -> None:
    pair = stocked()
    a, b = pair.store("a"), pair.store("b")

    assert in_memory(pair, "a") == in_memory(pair, "b") == 0
    for name, segment in a.stream.segments.items():
        assert octets_of(a, segment) == octets_of(b, b.stream.segments[name])
        assert any(octets_of(a, segment))


def test_octets_that_a_word_names_before_they_are_leased_go_from_the_disk_too() -> None:
    pair = stocked()
    b = pair.store("b")
    segment = next(it for it in b.stream.segments.values() if not it.owned and not it.leased)
    place = Piece(segment.id.holder, segment.id.batch, 100, 64)
    octets = octets_of(b, segment)[100:164]
    b.stream.mark((place,))
    pair.cluster.cut("a", "b")
    pair.cluster.advance(2 * b.options.wipe_s + 10.0)

    assert any(octets)
    assert not any(octets in secret for secret in pair.secrets("b"))
    assert not b.stream.owes
