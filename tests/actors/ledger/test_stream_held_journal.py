"""Segments, grants held and rows, without actors."""

import random
from collections.abc import Sequence

import pytest

from actors.base import Clock, Drop, Row
from actors.ledger.held import Held
from actors.ledger.peering_state import PeeringState
from actors.ledger.segment import Segment, segment_id, segment_key
from actors.ledger.stream import Stream
from actors.protocol.blocks import SegmentId
from actors.protocol.common import Refused
from actors.protocol.grants import Grant, Piece
from actors.protocol.keys import KeyName
from actors.storage.journal import Journal, Shelf
from tests.kit.numbered import found

ID = b"twelve octet"


def rows(journal: Journal) -> list[Row]:
    return [change for change in journal.take() if isinstance(change, Row)]


def stream(journal: Journal | None = None, shelf: Shelf | None = None) -> Stream:
    journal = Journal("b") if journal is None else journal
    shelf = shelf or Shelf(())
    return Stream(journal, shelf, PeeringState(journal, shelf, 1), 0)


def held(journal: Journal, written: Sequence[Row] = (), now: float = 0.0, boot: str = "x") -> Held:
    clock, shelf = Clock(boot, now), Shelf(written)
    return Held(
        journal,
        shelf,
        clock,
        alive=lambda _: True,
        redelivery_s=30.0,
        repeat_s=0.0,
        receipts_from=1000,
        pair_octets=1 << 20,
        sae_octets=1 << 20,
        found=found(written),
    )


def grant(number: int = 2, slaves: tuple[str, ...] = ("bob",)) -> Grant:
    return Grant(ID, (Piece(1, 0, 0, 8 * number),), 8, number, "alice", slaves, "confirmed", 60.0)


# Journal


def test_of_several_changes_to_one_row_the_last_is_handed_over() -> None:
    journal = Journal("b")
    journal.put("k", b"1", 1)
    journal.put("k", b"2", 2, b"secret")
    journal.drop("k", b"1")

    taken = journal.take()

    assert Drop("b", "k", b"1") in taken
    assert len(taken) == 2
    assert len(journal) == 0
    assert "secret" not in repr(taken)


def test_rows_are_found_again_by_kind_and_in_order() -> None:
    journal = Journal("b")
    journal.put("k", b"2", [2, "two"], b"octets")
    journal.put("k", b"1", None)
    journal.put("other", b"0", 0)

    there = list(Shelf(rows(journal)).each("k"))

    assert there == [(b"1", None, b""), (b"2", [2, "two"], b"octets")]


# Stream


def test_segment_names_are_laid_out_and_read_back() -> None:
    for name in (SegmentId(0, 0), SegmentId(1, (1 << 62) - 1)):
        assert segment_id(segment_key(name)) == name


def test_octets_are_taken_front_to_back_over_segments_and_blanked() -> None:
    it = stream()
    for batch in (0, 2):
        it.enter(SegmentId(1, batch), bytes([batch + 1]) * 1000, write_bits=True)
        it.lease_next(0.0)
        it.lease_held(SegmentId(1, batch))

    first, one = it.take(600, 1.0)
    second, two = it.take(600, 1.0)

    assert first == (Piece(1, 0, 0, 600),)
    assert second == (Piece(1, 0, 600, 400), Piece(1, 2, 0, 200))
    assert (one, two) == (b"\1" * 600, b"\1" * 400 + b"\3" * 200)
    assert it.stock == it.usable == 800
    assert not any(it.segments[SegmentId(1, 0)].octets)
    assert [segment.id for segment in it.closable()] == []
    it.known(first)
    it.known(second)
    assert [segment.id for segment in it.closable()] == [SegmentId(1, 0)]


def test_used_ranges_are_merged_and_overlaps_found() -> None:
    segment = Segment(SegmentId(0, 1), bytearray(b"x" * 100), owned=False)
    for start, end in ((0, 10), (10, 20), (50, 60), (20, 30), (60, 70)):
        segment.mark(start, end)

    assert segment.used == [(0, 30), (50, 70)]
    assert segment.overlaps(29, 31)
    assert segment.overlaps(0, 100)
    assert not segment.overlaps(30, 50)
    assert not segment.spent


def test_used_ranges_in_any_order_are_those_of_a_set_of_octets() -> None:
    dice = random.Random(7)
    for _ in range(200):
        size = dice.choice([8, 30, 200])
        segment, gone = Segment(SegmentId(0, 1), bytearray(size), owned=False), set[int]()
        for _ in range(30):
            start = dice.randrange(size)
            end = min(size, start + dice.choice([1, 2, 3, size]))
            octets = set(range(start, end))
            assert segment.overlaps(start, end) == bool(gone & octets)
            segment.mark(start, end)
            gone |= octets

            starts = [at for at in sorted(gone) if at - 1 not in gone]
            ends = [at + 1 for at in sorted(gone) if at + 1 not in gone]
            assert segment.used == list(zip(starts, ends, strict=True))


def test_after_a_start_a_lease_is_burnt_and_its_octets_go_from_the_disk() -> None:
    journal = Journal("b")
    it = stream(journal)
    it.enter(SegmentId(1, 0), b"secret octets" * 100, write_bits=True)
    it.lease_next(0.0)
    journal = Journal("b")
    again = stream(journal, Shelf(rows(it._journal)))

    again.wipe()

    assert again.stock == 0
    assert [segment.id for segment in again.closable()] == [SegmentId(1, 0)]
    assert Drop("b", "bits", segment_key(SegmentId(1, 0))) in journal.take()


# Held


def test_rows_bring_grants_back_with_what_each_slave_has_left() -> None:
    journal = Journal("b")
    it = held(journal)
    it.hold(grant(2, ("bob", "bert")), bytes(range(16)), Clock("x", 0.0))
    _, receipt = it.fetch("alice", "bob", [KeyName(ID, 1)], 1.0)
    it.written(receipt, Clock("x", 2.0))

    again = held(Journal("b"), rows(journal), 3.0)

    assert again.holdings[ID].left == {"bob": 0b01, "bert": 0b11}
    assert again.load("alice", "bob") == 8
    assert again.load_of("bert") == 16
    with pytest.raises(Refused):
        again.fetch("alice", "bob", [KeyName(ID, 1)], 4.0)
    assert again.fetch("alice", "bert", [KeyName(ID, 1)], 4.0)[0] == (bytes(range(8, 16)),)


def test_the_octets_of_a_key_are_blanked_when_its_last_slave_has_it() -> None:
    journal = Journal("b")
    it = held(journal)
    it.hold(grant(2, ("bob", "bert")), b"A" * 8 + b"B" * 8, Clock("x", 0.0))
    kept = []
    for slave in ("bob", "bert"):
        _, receipt = it.fetch("alice", slave, [KeyName(ID, 0)], 1.0)
        it.written(receipt, Clock("x", 2.0))
        kept.append(bytes(it.holdings[ID].octets))

    assert kept == [b"A" * 8 + b"B" * 8, bytes(8) + b"B" * 8]


def test_a_deadline_of_another_boot_begins_anew_with_what_was_left() -> None:
    journal = Journal("b")
    held(journal).hold(grant(), bytes(16), Clock("x", 1000.0))
    kept = rows(journal)

    same, other = held(Journal("b"), kept, 1050.0), held(Journal("b"), kept, 5.0, "y")

    assert same.holdings[ID].deadline == 1060.0
    assert other.holdings[ID].deadline == 65.0


def test_deadlines_of_grants_long_gone_are_not_kept() -> None:
    it = held(Journal("b"))
    for n in range(3000):
        id_ = n.to_bytes(12, "big")
        made = Grant(id_, (), 8, 1, "alice", ("bob",), "confirmed", 3600.0)
        it.hold(made, bytes(8), Clock("x", 0.0))
        _, receipt = it.fetch("alice", "bob", [KeyName(id_, 0)], 1.0)
        it.written(receipt, Clock("x", 1.0))

    assert it._dues <= 1003
    assert not it._receipts


def test_keys_of_two_grants_come_all_or_none() -> None:
    it = held(Journal("b"))
    it.hold(grant(), bytes(16), Clock("x", 0.0))

    with pytest.raises(Refused):
        it.fetch("alice", "bob", [KeyName(ID, 0), KeyName(b"another one.", 0)], 1.0)
    assert it.fetch("alice", "bob", [KeyName(ID, 0)], 1.0)[0] == (bytes(8),)
