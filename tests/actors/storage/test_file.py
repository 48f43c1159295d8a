"""The file of a node: durable, sealed, erased, and never silently something else."""

import os
import random
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.base import Drop, Row
from actors.storage.errors import (
    StoreCorrupt,
    StoreError,
    StoreExposed,
    StoreForeign,
    StoreFull,
    StoreLocked,
    StoreMissing,
    StoreNewer,
    WrongKey,
)
from actors.storage.file import StoreFile, check, rotate
from actors.storage.writer import Storage
from protokms.testing.disk import MemoryStore
from transport.message import Secret

KEY = Secret(bytes(range(32)))
OTHER = Secret(bytes(32))


def row(n: int, octets: int = 40, store: str = "s") -> Row:
    return Row(store, "segment", n.to_bytes(4, "big"), b"clear", Secret(bytes([n]) * octets))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def file(path: Path) -> Iterator[StoreFile]:
    made = StoreFile.create(path, "a", KEY)
    yield made
    made.close()


# The contract that a story on a fake disk relies on


@pytest.fixture(params=["memory", "file"])
def storage(request: pytest.FixtureRequest, path: Path) -> Iterator[Storage]:
    made = MemoryStore() if request.param == "memory" else StoreFile.create(path, "a", KEY)
    yield made
    made.close()


def test_rows_come_back_as_they_were_and_in_order(storage: Storage) -> None:
    bare, empty = Row("s", "b", b"1", b"x"), Row("s", "a", b"1", b"", Secret(b""))

    storage.apply([bare, row(2), row(1), empty, row(3, store="t")])

    assert storage.load("s") == [empty, bare, row(1), row(2)]
    assert storage.load("t") == [row(3, store="t")]
    assert storage.load("u") == []


def test_of_two_changes_to_one_row_the_later_holds(storage: Storage) -> None:
    storage.apply([row(1), row(1, octets=50), row(2), Drop("s", "segment", row(2).id)])
    storage.apply([Drop("s", "segment", row(3).id), row(3), Drop("s", "segment", b"never was")])

    assert storage.load("s") == [row(1, octets=50), row(3)]


def test_a_row_written_again_replaces_the_first(storage: Storage) -> None:
    storage.apply([row(1)])

    storage.apply([Row("s", "segment", row(1).id, b"new")])

    assert storage.load("s") == [Row("s", "segment", row(1).id, b"new")]


def test_erasures_are_owed_until_a_checkpoint(storage: Storage) -> None:
    storage.apply([row(1)])
    storage.checkpoint()
    storage.apply([Drop("s", "segment", row(1).id)])
    owed = storage.owed

    done = storage.checkpoint()

    assert (owed, done, storage.owed) == (1, True, 0)


def test_a_row_that_is_rewritten_owes_the_erasure_of_what_was_there(storage: Storage) -> None:
    storage.apply([row(1)])
    storage.checkpoint()

    storage.apply([row(1, octets=20)])
    owed = storage.owed

    assert owed == 1
    assert storage.checkpoint()
    assert storage.owed == 0


# Durable


def test_rows_survive_the_process(path: Path, file: StoreFile) -> None:
    file.apply([row(1)])
    file.close()

    with_rows = StoreFile.open(path, "a", KEY)

    assert with_rows.load("s") == [row(1)]
    with_rows.close()


KILLED = """
import os, sys
from pathlib import Path
from actors.base import Row
from actors.storage.file import StoreFile
from transport.message import Secret
store = StoreFile.open(Path(sys.argv[1]), "a", Secret(bytes(range(32))))
store.apply([Row("s", "k", b"1", b"", Secret(b"kept"))])
os.kill(os.getpid(), 9)
"""


@pytest.mark.slow
def test_a_commit_survives_kill_9(path: Path, file: StoreFile) -> None:
    file.close()

    subprocess.run([sys.executable, "-c", KILLED, path], check=False)

    after = StoreFile.open(path, "a", KEY)
    assert after.load("s") == [Row("s", "k", b"1", b"", Secret(b"kept"))]
    after.close()


# Sealed and erased


def octets_on_disk(path: Path) -> bytes:
    return b"".join(each.read_bytes() for each in sorted(path.parent.glob(path.name + "*")))


def sealed_value(path: Path, file: StoreFile) -> bytes:
    """Read what stands in the file for the one row there is."""
    assert file.checkpoint()
    copy = path.with_name("copy.db")
    copy.write_bytes(path.read_bytes())
    db = sqlite3.connect(copy)
    ((sealed,),) = db.execute("SELECT sealed FROM row").fetchall()
    db.close()
    copy.unlink()
    assert isinstance(sealed, bytes)
    return sealed


def test_no_secret_is_readable_in_the_file(path: Path, file: StoreFile) -> None:
    file.apply([Row("s", "k", b"1", b"", Secret(b"sixteen octets!!" * 8))])

    in_the_log = octets_on_disk(path)
    assert file.checkpoint()

    assert b"sixteen octets!!" not in in_the_log + octets_on_disk(path)


@pytest.mark.parametrize("octets", [40, pytest.param(65536, marks=pytest.mark.slow)])
def test_a_dropped_row_is_neither_in_the_database_nor_in_the_log(
    path: Path, file: StoreFile, octets: int
) -> None:
    file.apply([row(1, octets)])
    sealed = sealed_value(path, file)
    pieces = {sealed[at : at + 32] for at in range(0, len(sealed) - 31, 32)}
    present = [piece in octets_on_disk(path) for piece in sorted(pieces)]

    file.apply([Drop("s", "segment", row(1).id)])
    assert file.checkpoint()

    left = octets_on_disk(path)
    assert sum(present) > len(pieces) * 0.9  # some straddle two pages
    assert not any(piece in left for piece in pieces)


def test_an_overwritten_secret_is_gone_as_well(path: Path, file: StoreFile) -> None:
    file.apply([row(1)])
    sealed = sealed_value(path, file)

    file.apply([Row("s", "segment", row(1).id, b"clear")])
    assert file.checkpoint()

    assert sealed[16:] not in octets_on_disk(path)


def test_the_same_octets_are_sealed_differently_each_time(path: Path, file: StoreFile) -> None:
    file.apply([row(1)])
    first = sealed_value(path, file)
    file.apply([row(1)])

    second = sealed_value(path, file)

    assert first != second
    assert file.load("s") == [row(1)]


def test_a_new_node_key_opens_and_the_old_one_does_not(path: Path, file: StoreFile) -> None:
    file.apply([row(n) for n in range(20)])
    before = octets_on_disk(path)
    file.rotate(OTHER)
    file.apply([row(21)])
    file.close()

    with pytest.raises(WrongKey):
        StoreFile.open(path, "a", KEY)
    renewed = StoreFile.open(path, "a", OTHER)

    assert renewed.load("s") == [*(row(n) for n in range(20)), row(21)]
    assert before != octets_on_disk(path)
    renewed.close()


def test_a_file_is_checked_and_given_a_new_key_from_outside(path: Path, file: StoreFile) -> None:
    file.apply([row(1)])
    file.close()

    rotate(path, "a", KEY, OTHER)

    assert check(path, "a", OTHER).rows == {("s", "segment"): 1}
    with pytest.raises(WrongKey):
        check(path, "a", KEY)


def test_salts_that_seal_nothing_are_forgotten(path: Path, file: StoreFile) -> None:
    file.apply([row(1)])
    file.close()
    for _ in range(5):
        StoreFile.open(path, "a", KEY).close()

    last = StoreFile.open(path, "a", KEY)

    assert last.report().salts == 2  # that of row 1, and that of this start
    assert last.report().rows == {("s", "segment"): 1}
    last.close()


# Refused


def test_a_second_process_is_refused_and_told_who_has_it(path: Path, file: StoreFile) -> None:
    with pytest.raises(StoreLocked, match=f"open in process {os.getpid()}"):
        StoreFile.open(path, "a", KEY)

    file.close()
    StoreFile.open(path, "a", KEY).close()


def test_what_is_missing_is_not_made_silently(path: Path) -> None:
    with pytest.raises(StoreMissing, match="there is no file"):
        StoreFile.open(path, "a", KEY)

    assert not path.exists()


def test_a_file_that_is_there_is_not_made_anew(path: Path, file: StoreFile) -> None:
    file.apply([row(1)])

    with pytest.raises(StoreMissing, match="there already"):
        StoreFile.create(path, "a", KEY)


def test_a_log_without_its_file_is_not_thrown_away(path: Path) -> None:
    path.with_name("store.db-wal").write_bytes(b"x")

    with pytest.raises(StoreMissing, match=r"store\.db-wal is there already"):
        StoreFile.create(path, "a", KEY)


def test_an_empty_file_is_no_store(path: Path) -> None:
    path.touch(mode=0o600)

    with pytest.raises(StoreCorrupt):
        StoreFile.open(path, "a", KEY)


def test_the_wrong_key_is_told_from_the_wrong_node(path: Path, file: StoreFile) -> None:
    file.close()

    with pytest.raises(WrongKey):
        StoreFile.open(path, "a", OTHER)
    with pytest.raises(StoreForeign, match="belongs to node a, not b"):
        StoreFile.open(path, "b", KEY)


def test_a_file_of_a_later_version_is_left_alone(path: Path, file: StoreFile) -> None:
    file.close()
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 3")
    db.close()
    before = path.read_bytes()

    with pytest.raises(StoreNewer, match="version 3"):
        StoreFile.open(path, "a", KEY)

    assert path.read_bytes() == before


def test_a_file_others_may_read_is_refused(path: Path, file: StoreFile) -> None:
    file.close()
    path.chmod(0o640)

    with pytest.raises(StoreExposed, match="chmod 600"):
        StoreFile.open(path, "a", KEY)


def test_everything_made_is_for_the_owner_alone(path: Path, file: StoreFile) -> None:
    file.apply([row(1)])

    modes = {each.name: each.stat().st_mode & 0o777 for each in path.parent.iterdir()}

    assert set(modes.values()) == {0o600}
    assert modes.keys() == {"store.db", "store.db-wal", "store.db.lock"}


def test_a_full_disk_changes_nothing_and_can_be_tried_again(path: Path, file: StoreFile) -> None:
    file.apply([row(1)])
    db = file._db
    ((pages,),) = db.execute("PRAGMA page_count").fetchall()
    db.execute(f"PRAGMA max_page_count = {pages + 2}").fetchall()

    with pytest.raises(StoreFull):
        file.apply([Drop("s", "segment", row(1).id), row(2, octets=1 << 17)])
    before = file.load("s")
    db.execute("PRAGMA max_page_count = 1000000").fetchall()
    file.apply([row(2)])

    assert before == [row(1)]
    assert file.load("s") == [row(1), row(2)]


# Tampered with


def changed(path: Path, sql: str) -> None:
    db = sqlite3.connect(path)
    db.execute(sql)
    db.commit()
    db.close()


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE row SET clear = x'00' WHERE id = x'00000001'",
        "UPDATE row SET holds = 0 WHERE id = x'00000001'",
        "UPDATE row SET id = x'00000009' WHERE id = x'00000001'",
        "UPDATE row SET kind = 'grant' WHERE id = x'00000001'",
        "UPDATE row SET store = 't' WHERE id = x'00000001'",
        "UPDATE row SET sealed = (SELECT sealed FROM row WHERE id = x'00000002')",
        "UPDATE row SET sealed = x'00'",
        "DELETE FROM salt",
    ],
)
def test_a_changed_or_moved_row_is_noticed(path: Path, file: StoreFile, sql: str) -> None:
    file.apply([row(1), row(2), Row("s", "bare", b"1", b"x")])
    file.close()
    changed(path, sql)

    with pytest.raises(StoreCorrupt):
        StoreFile.open(path, "a", KEY)


def test_one_old_row_put_back_is_the_limit_that_the_threat_model_names(
    path: Path, file: StoreFile
) -> None:
    """Nothing vouches for all rows at once: who can write the disk is trusted not to do this."""
    old, new = Row("s", "bare", b"1", b"old"), Row("s", "bare", b"1", b"new")
    file.apply([old])
    for end in ("", "-wal"):
        shutil.copy(f"{path}{end}", f"{path}.kept{end}")
    kept = sqlite3.connect(f"{path}.kept").execute("SELECT clear, sealed FROM row").fetchone()
    file.apply([new, row(2)])
    file.close()
    db = sqlite3.connect(path)
    db.execute("UPDATE row SET clear = ?, sealed = ? WHERE kind = 'bare'", kept)
    db.commit()
    db.close()

    assert StoreFile.open(path, "a", KEY).load("s") == [old, row(2)]


@pytest.mark.parametrize("flips", [20, pytest.param(300, marks=pytest.mark.slow)])
def test_no_flipped_bit_changes_a_row_unnoticed(path: Path, file: StoreFile, flips: int) -> None:
    rows = [Row("s", "bare", b"1", b"x" * 50), *(row(n, octets=10 * n) for n in range(1, 30))]
    file.apply(rows)
    file.close()
    good = path.read_bytes()
    in_use = [place for place, octet in enumerate(good) if octet]
    dice = random.Random(7)
    noticed = 0

    for _ in range(flips):
        at = dice.choice(in_use) * 8 + dice.randrange(8)
        bad = bytearray(good)
        bad[at // 8] ^= 1 << at % 8
        path.write_bytes(bad)
        try:
            flipped = StoreFile.open(path, "a", KEY)
        except StoreError:
            noticed += 1
        else:
            assert flipped.load("s") == rows, f"bit {at}"
            flipped.close()

    assert noticed > flips / 3


def test_noise_is_no_store(path: Path, file: StoreFile) -> None:
    file.close()
    path.write_bytes(random.Random(7).randbytes(path.stat().st_size))

    with pytest.raises(StoreCorrupt):
        StoreFile.open(path, "a", KEY)
