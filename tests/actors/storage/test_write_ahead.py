"""A damaged write-ahead log is told from one that a power cut has torn."""

import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from actors.base import Row
from actors.storage.errors import StoreCorrupt
from actors.storage.file import StoreFile
from actors.storage.write_ahead import damage
from transport.message import Secret

KEY = Secret(bytes(range(32)))
PAGE = 1024
FRAME = 24 + PAGE
COMMITS = 12


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[int]]:
    """A log of several commits, and where each of them ends."""
    folder = tmp_path_factory.mktemp("log")
    ends = []
    with closing(sqlite3.connect(folder / "db", isolation_level=None)) as db:
        db.execute(f"PRAGMA page_size = {PAGE}")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE t (v BLOB)")
        for n in range(COMMITS):
            db.execute("INSERT INTO t VALUES (?)", (bytes([n]) * 3 * PAGE,))
            ends.append((folder / "db-wal").stat().st_size)
        shutil.copy2(folder / "db-wal", folder / "copy")
    return folder / "copy", ends


def judged(tmp_path: Path, octets: bytes) -> str:
    (tmp_path / "log").write_bytes(octets)
    return damage(tmp_path / "log", PAGE)


def test_a_log_as_it_was_written_is_well(logs: tuple[Path, list[int]], tmp_path: Path) -> None:
    assert damage(logs[0], PAGE) == ""
    assert damage(tmp_path / "none", PAGE) == ""


def test_a_flipped_bit_in_any_commit_but_the_last_is_damage(
    logs: tuple[Path, list[int]], tmp_path: Path
) -> None:
    whole, dice = logs[0].read_bytes(), random.Random(1)
    for at in [*range(32), *(dice.randrange(32, logs[1][-2]) for _ in range(60))]:
        spoilt = bytearray(whole)
        spoilt[at] ^= 1 << dice.randrange(8)

        assert "is not as written" in judged(tmp_path, bytes(spoilt)), at


def torn(whole: bytes, ends: list[int]) -> Iterator[bytes]:
    for end in ends[:-1]:
        yield whole[:end]
        yield whole[: end + 24]
        yield whole[: end + FRAME]  # a part of the next, without its commit
        yield whole[: end + 24] + bytes(FRAME - 24)
        # Blocks reach a disk in any order: the commit is there, what it commits is not.
        yield whole[:end] + bytes(FRAME) + whole[end + FRAME : end + (ends[1] - ends[0])]


def test_what_a_power_cut_leaves_is_no_damage(logs: tuple[Path, list[int]], tmp_path: Path) -> None:
    for octets in torn(logs[0].read_bytes(), logs[1]):
        assert judged(tmp_path, octets) == ""


def test_frames_of_an_earlier_log_are_no_damage(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "db", isolation_level=None)) as db:
        db.execute(f"PRAGMA page_size = {PAGE}")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE t (v BLOB)")
        for _ in range(COMMITS):
            db.execute("INSERT INTO t VALUES (?)", (bytes(3 * PAGE),))
        before = (tmp_path / "db-wal").stat().st_size
        db.execute("PRAGMA wal_checkpoint(RESTART)")
        db.execute("INSERT INTO t VALUES (1)")  # over the beginning of the old one

        assert (tmp_path / "db-wal").stat().st_size == before
        assert damage(tmp_path / "db-wal", PAGE) == ""


def test_a_store_with_a_damaged_log_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = StoreFile.create(path, "kms-1", KEY)
    for n in range(5):
        store.apply([Row("kms-2", "bits", bytes([n]), b"", Secret(bytes(100)))])
    spoilt = bytearray((tmp_path / "store.db-wal").read_bytes())
    database = path.read_bytes()
    store.close()
    spoilt[40] ^= 1
    path.write_bytes(database)
    (tmp_path / "store.db-wal").write_bytes(spoilt)
    (tmp_path / "store.db-wal").chmod(0o600)

    for _ in range(2):  # a service manager tries again
        with pytest.raises(StoreCorrupt, match=r"store\.db-wal is damaged: frame 1 of"):
            StoreFile.open(path, "kms-1", KEY)

    assert (tmp_path / "store.db-wal").read_bytes() == spoilt
    assert path.read_bytes() == database
