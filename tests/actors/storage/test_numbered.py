"""Rows of grants: in tables of their own, under running numbers (R18)."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from actors.base import Change, Drop, Numbered, Range, Row
from actors.storage.errors import StoreCorrupt, StoreError
from actors.storage.file import StoreFile, check, rotate
from actors.storage.writer import Storage
from protokms.testing.disk import MemoryStore
from transport.message import Secret

KEY = Secret(bytes(range(32)))
ENDS = b"alice and bob"


def held(n: int, store: str = "s", ends: bytes = ENDS) -> Row:
    return Row(store, "holding", id_of(n), b"clear", Secret(bytes([n]) * 32), ends)


def grave(n: int, store: str = "s") -> Row:
    return Row(store, "tombstone", id_of(n), b"gone")


def id_of(n: int) -> bytes:
    return n.to_bytes(8, "big")


def read(n: int) -> Numbered:
    return Numbered(n, ENDS, b"clear", bytes([n]) * 32)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture(params=["memory", "file"])
def storage(request: pytest.FixtureRequest, path: Path) -> Iterator[Storage]:
    made = MemoryStore() if request.param == "memory" else StoreFile.create(path, "a", KEY)
    yield made
    made.close()


def test_the_last_come_first_within_a_range(storage: Storage) -> None:
    storage.apply([held(n) for n in (1, 2, 3, 5, 8)])
    storage.apply([held(4, store="t"), grave(9)])

    assert storage.numbered(Range("s", "holding")) == [read(n) for n in (8, 5, 3, 2, 1)]
    assert storage.numbered(Range("s", "holding"), 2) == [read(8), read(5)]
    assert storage.numbered(Range("s", "holding", 2, 5)) == [read(5), read(3)]
    assert storage.numbered(Range("t", "holding")) == [read(4)]
    assert storage.numbered(Range("s", "tombstone")) == [Numbered(9, b"", b"gone", b"")]
    assert storage.numbered(Range("u", "holding")) == []
    assert storage.load("s") == []


def test_rows_are_counted_by_their_ends(storage: Storage) -> None:
    storage.apply([held(1), held(2), held(3, ends=b"alice and carol"), held(4, store="t")])

    assert sorted(storage.weigh(Range("s", "holding"))) == [(ENDS, 2), (b"alice and carol", 1)]
    assert storage.weigh(Range("s", "holding", 0, 1)) == [(ENDS, 1)]
    assert storage.weigh(Range("u", "holding")) == []


def test_a_tombstone_takes_the_number_of_its_grant(storage: Storage) -> None:
    storage.apply([held(7), Row("s", "segment", b"1", b"x")])
    changes: list[Change] = [Drop("s", "holding", id_of(7)), grave(7), held(8)]
    storage.apply(changes)

    assert storage.numbered(Range("s", "holding")) == [read(8)]
    assert [it.number for it in storage.numbered(Range("s", "tombstone"))] == [7]
    assert storage.load("s") == [Row("s", "segment", b"1", b"x")]


def test_a_row_is_written_anew(storage: Storage) -> None:
    storage.apply([held(1)])
    storage.apply([Row("s", "holding", id_of(1), b"later", Secret(bytes(32)), b"others")])

    assert storage.numbered(Range("s", "holding")) == [Numbered(1, b"others", b"later", bytes(32))]


def test_rows_survive_the_process_and_a_new_key(path: Path) -> None:
    made = StoreFile.create(path, "a", KEY)
    made.apply([held(n) for n in range(1, 200)])
    made.apply([held(9, store="t"), grave(3, store="t")])
    made.close()
    rotate(path, "a", KEY, Secret(bytes(32)))

    again = StoreFile.open(path, "a", Secret(bytes(32)), prove=False)
    assert again.numbered(Range("s", "holding")) == [read(n) for n in range(199, 0, -1)]
    assert again.numbered(Range("t", "holding")) == [read(9)]
    again.close()
    rows = check(path, "a", Secret(bytes(32))).rows
    assert rows == {("s", "holding"): 199, ("t", "holding"): 1, ("t", "tombstone"): 1}


@pytest.mark.parametrize("n", [0, 1 << 44])
def test_no_other_store_has_room_for_such_a_number(path: Path, n: int) -> None:
    made = StoreFile.create(path, "a", KEY)
    with pytest.raises(TypeError, match="number"):
        made.apply([Row("s", "holding", id_of(n), b"", Secret(b"x"), ENDS)])
    made.close()


def test_an_index_that_leads_past_a_row_is_noticed_at_a_start(path: Path) -> None:
    made = StoreFile.create(path, "a", KEY)
    made.apply([Row("kms-b", "segment", n.to_bytes(9, "big"), b"x" * 30) for n in range(300)])
    made.close()
    whole, name = path.read_bytes(), b"kms-b"
    places = [at + 4 for at in range(len(whole)) if whole.startswith(name, at)]
    missed = 0
    for at in places:  # in the table, and in the index
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 2]) + whole[at + 1 :])
        with suppress(StoreError), closing(StoreFile.open(path, "a", KEY, prove=False)) as store:
            missed += len(store.load("kms-b")) < 300

    assert len(places) >= 600
    assert missed == 0


CHANGES = [
    "UPDATE holding SET clear = x'00' WHERE number & 7 = 1",
    "UPDATE holding SET ends = x'00' WHERE number & 7 = 1",
    "UPDATE holding SET holds = 0 WHERE number & 7 = 1",
    "UPDATE holding SET number = number + 8 WHERE number & 7 = 1",
    "UPDATE holding SET number = number + (1 << 44) WHERE number & 7 = 1",
    "INSERT INTO tombstone SELECT * FROM holding WHERE number & 7 = 1",
    "UPDATE holding SET sealed = (SELECT sealed FROM holding WHERE number & 7 = 2)",
    "UPDATE store SET name = 'u' WHERE name = 's'",
]


@pytest.mark.parametrize("sql", CHANGES)
@pytest.mark.parametrize("prove", [True, False])
def test_a_changed_or_moved_row_is_noticed(path: Path, sql: str, prove: bool) -> None:
    made = StoreFile.create(path, "a", KEY)
    made.apply([held(1), held(2), held(3, store="t")])
    made.close()
    db = sqlite3.connect(path)
    db.execute(sql)
    db.commit()
    db.close()

    with pytest.raises(StoreCorrupt):
        read_all(path, prove=prove)


def read_all(path: Path, *, prove: bool) -> None:
    opened = StoreFile.open(path, "a", KEY, prove=prove)
    try:
        for store in "stu":
            for kind in ("holding", "tombstone"):
                opened.numbered(Range(store, kind))
    finally:
        opened.close()
