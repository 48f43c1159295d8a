"""The file of a node: rows in SQLite, sealed under the node key. No other file knows SQLite.

Erasing (R16): `secure_delete` overwrites what is deleted in the pages of the database, but old
pages stay in the write-ahead log until `checkpoint` truncates it. What a file system with
snapshots, or a flash disk, keeps of overwritten blocks is out of reach; there, only the node key
makes old octets unreadable.

Tampering: no row can be changed or moved unnoticed. Who can write to the disk can remove rows, or
put an older file in the place of this one; the peers notice that (R7), the file does not.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from actors.base import Change, Drop, Row
from actors.sealing import RENEW, SALT_OCTETS, RowSealer, Unsealable
from actors.store_errors import (
    StoreBroken,
    StoreCorrupt,
    StoreForeign,
    StoreFull,
    StoreLocked,
    StoreMissing,
    StoreNewer,
    WrongKey,
)
from actors.store_path import beside, check_permissions, sync_folder, take_lock
from transport.message import Secret

VERSION = 1
_APPLICATION = 0x4B4D5331
_PAGE = 8192  # of 4096, 8192, 16384 the best for small rows and 64 KiB segments together
_WAL_PAGES = 1000

# An ordinary table with an index takes small rows at 1.7 times the speed of WITHOUT ROWID.
_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE salt (number INTEGER PRIMARY KEY, salt BLOB NOT NULL, proof BLOB NOT NULL) STRICT;
CREATE TABLE row (
    store TEXT NOT NULL, kind TEXT NOT NULL, id BLOB NOT NULL,
    clear BLOB NOT NULL, holds INTEGER NOT NULL, sealed BLOB NOT NULL,
    UNIQUE (store, kind, id)
) STRICT;
"""
_PUT = """
INSERT INTO row VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (store, kind, id)
DO UPDATE SET clear = excluded.clear, holds = excluded.holds, sealed = excluded.sealed
"""
_DROP = "DELETE FROM row WHERE store = ? AND kind = ? AND id = ?"
_ALL = "SELECT store, kind, id, clear, holds, sealed FROM row"
_RESTORE = "restore the file from a backup, or remove it and reset the stores with every peer"

_PRAGMAS: tuple[tuple[str, str | int, str | int], ...] = (
    # name, what it is set to, what it must then say
    ("locking_mode", "EXCLUSIVE", "exclusive"),  # no reader can keep a checkpoint from truncating
    ("journal_mode", "WAL", "wal"),
    ("synchronous", "FULL", 2),
    ("secure_delete", "ON", 1),
    ("temp_store", "MEMORY", 2),
    ("cell_size_check", "ON", 1),
    ("trusted_schema", "OFF", 0),
    ("mmap_size", 0, 0),
    ("wal_autocheckpoint", _WAL_PAGES, _WAL_PAGES),
)


@dataclass(frozen=True, slots=True)
class Report:
    """What is in a file: rows by (store, kind), octets of the file, salts in use."""

    node: str
    octets: int
    salts: int
    rows: dict[tuple[str, str], int] = field(default_factory=dict)


class StoreFile:
    """One node's durable rows; for one thread at a time.

    `owed` is how many rows at most were dropped or rewritten since the log was last truncated,
    and may still be read from it by whoever has the disk and the node key.
    """

    def __init__(self, path: Path, db: sqlite3.Connection, sealer: RowSealer, lock: int) -> None:
        """Use `open` or `create`."""
        self.path, self.owed = path, 0
        self._db, self._sealer, self._lock = db, sealer, lock

    @classmethod
    def create(cls, path: Path, node: str, key: Secret) -> Self:
        """Make a new, empty file, and open it; `StoreMissing` if there is one already."""
        if path.exists():
            raise StoreMissing(f"{path} is there already", "move it away, or open it")
        new = path.with_name(path.name + ".new")
        for leftover in (new, *beside(new), *beside(path)):
            leftover.unlink(missing_ok=True)
        os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with _errors(path), contextlib.closing(_connect(new)) as db:
            db.execute(f"PRAGMA page_size = {_PAGE}")
            db.executescript(_SCHEMA)
            db.execute("INSERT INTO meta VALUES ('node', ?)", (node,))
            _new_salt(db, RowSealer(key, node))
            db.execute(f"PRAGMA application_id = {_APPLICATION}")
            db.execute(f"PRAGMA user_version = {VERSION}")
        new.rename(path)
        sync_folder(path)
        return cls.open(path, node, key)

    @classmethod
    def open(cls, path: Path, node: str, key: Secret) -> Self:
        """Open a file and check all of it; one of `actors.store_errors` says what is wrong."""
        check_permissions(path)
        with contextlib.ExitStack() as undo:
            lock = take_lock(path)
            undo.callback(os.close, lock)
            with _errors(path):
                db = undo.enter_context(contextlib.closing(_connect(path)))
                _check_version(path, db)
                _set_pragmas(path, db)
                found = [row[0] for row in db.execute("PRAGMA integrity_check(1)")]
                if found != ["ok"]:
                    raise StoreCorrupt(f"{path} is damaged: {found[0]}", _RESTORE)
                sealer = _sealer(path, db, node, key)
                store = cls(path, db, sealer, lock)
                used = {sealer.salt_of(row[-1]) for row in store._verified(_ALL)}
                _forget_salts(db, used)
                sealer.use(_new_salt(db, sealer))
                store.checkpoint()
            undo.pop_all()
        return store

    def load(self, store: str) -> list[Row]:
        """Return every row of a store, ordered by kind and id."""
        with _errors(self.path):
            query = _ALL + " WHERE store = ? ORDER BY kind, id"
            return [self._open(row) for row in self._db.execute(query, (store,))]

    def apply(self, changes: Iterable[Change]) -> None:
        """Make the changes durable, all or none; of two to one row the later holds.

        `StoreFull` means that none was made; after `StoreBroken` nobody knows.
        """
        if self._sealer.sealed > RENEW:
            with _errors(self.path):
                self._sealer.use(_new_salt(self._db, self._sealer))
        last = {(each.store, each.kind, each.id): each for each in changes}
        drops = [key for key, each in last.items() if isinstance(each, Drop)]
        puts = [self._sealed(each) for each in last.values() if isinstance(each, Row)]
        with _errors(self.path), self._transaction():
            dropped = self._db.executemany(_DROP, drops).rowcount if drops else 0
            if puts:
                self._db.executemany(_PUT, puts)
        self.owed += dropped + len(puts)

    def checkpoint(self) -> bool:
        """Move the log into the database and truncate it; false if that could not be done."""
        try:
            busy, *_ = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.OperationalError:  # a full disk, for one; the log keeps what it holds
            return False
        wal = beside(self.path)[0]
        if busy or (wal.exists() and wal.stat().st_size):
            return False
        self.owed = 0
        return True

    @property
    def octets(self) -> int:
        """The size of the database and its log."""
        return sum(each.stat().st_size for each in (self.path, *beside(self.path)) if each.exists())

    def close(self) -> None:
        """Truncate the log, close the file, let go of the lock; harmless when closed."""
        if self._lock >= 0:
            self.checkpoint()
            self._db.close()
            os.close(self._lock)
            self._lock = -1

    def rotate(self, new: Secret) -> None:
        """Seal everything anew under another node key: all of it, or nothing.

        It is durable, and nothing sealed under the old key is left in the file, on return.
        """
        (node,) = self._db.execute("SELECT value FROM meta WHERE name = 'node'").fetchone()
        fresh = RowSealer(new, node)
        with _errors(self.path), self._transaction():
            self._db.execute("DELETE FROM salt")
            fresh.use(_new_salt(self._db, fresh))
            for (rowid,) in self._db.execute("SELECT rowid FROM row").fetchall():
                (values,) = self._db.execute(f"{_ALL} WHERE rowid = ?", (rowid,)).fetchall()
                sealed = fresh.seal(self._open(values))
                self._db.execute("UPDATE row SET sealed = ? WHERE rowid = ?", (sealed, rowid))
        self._sealer, self.owed = fresh, self.owed + 1
        if not self.checkpoint():
            raise StoreBroken(
                f"{self.path} has the new key, but its log keeps rows under the old one",
                "make room on the disk and open it again",
            )

    def report(self) -> Report:
        """Count what is there."""
        with _errors(self.path):
            rows = self._db.execute(
                "SELECT store, kind, count(*) FROM row GROUP BY 1, 2"
            ).fetchall()
            ((salts,),) = self._db.execute("SELECT count(*) FROM salt").fetchall()
            (node,) = self._db.execute("SELECT value FROM meta WHERE name = 'node'").fetchone()
        return Report(node, self.octets, salts, {(store, kind): n for store, kind, n in rows})

    def _sealed(self, row: Row) -> tuple[Any, ...]:
        holds = row.secret is not None
        return row.store, row.kind, row.id, row.clear, holds, self._sealer.seal(row)

    def _open(self, values: Sequence[Any]) -> Row:
        store, kind, id_, clear, holds, sealed = values
        try:
            return self._sealer.open(Row(store, kind, id_, clear), sealed, holds=bool(holds))
        except (Unsealable, AttributeError, TypeError):
            where = f"{store}/{kind}/{id_.hex()}"
            raise StoreCorrupt(f"{self.path}: row {where} is not as written", _RESTORE) from None

    def _verified(self, query: str) -> Iterator[Sequence[Any]]:
        for row in self._db.execute(query):
            self._open(row)
            yield row

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise


def check(path: Path, node: str, key: Secret) -> Report:
    """Open a file, which checks all of it, and count what is there."""
    with contextlib.closing(StoreFile.open(path, node, key)) as store:
        return store.report()


def rotate(path: Path, node: str, old: Secret, new: Secret) -> None:
    """Seal a file anew under another node key: on return only that one opens it."""
    with contextlib.closing(StoreFile.open(path, node, old)) as store:
        store.rotate(new)


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=0.0,
    )
    # Before anything is read: then the index of the log is kept in memory, not in a shared file.
    db.execute("PRAGMA locking_mode = EXCLUSIVE")
    return db


def _check_version(path: Path, db: sqlite3.Connection) -> None:
    ((application,),) = db.execute("PRAGMA application_id").fetchall()
    ((version,),) = db.execute("PRAGMA user_version").fetchall()
    if application != _APPLICATION:
        raise StoreCorrupt(f"{path} is not a store of protokms, or damaged", _RESTORE)
    if version < VERSION:
        raise StoreCorrupt(f"{path} says it has version {version}, which never was", _RESTORE)
    if version > VERSION:
        raise StoreNewer(
            f"{path} has version {version}, this program knows {VERSION}",
            "run the program that wrote it, or a later one",
        )


def _set_pragmas(path: Path, db: sqlite3.Connection) -> None:
    for name, value, must in _PRAGMAS:
        db.execute(f"PRAGMA {name} = {value}").fetchall()
        says = db.execute(f"PRAGMA {name}").fetchone()
        if name == "mmap_size" and says is None:
            continue  # a SQLite without memory mapping
        if not says or says[0] != must:
            raise StoreBroken(f"{path}: SQLite refuses {name} = {value}", "use another file system")


def _sealer(path: Path, db: sqlite3.Connection, node: str, key: Secret) -> RowSealer:
    ((owner,),) = db.execute("SELECT value FROM meta WHERE name = 'node'").fetchall()
    if owner != node:
        raise StoreForeign(f"{path} belongs to node {owner}, not {node}", "correct [node] data")
    sealer = RowSealer(key, node)
    salts = db.execute("SELECT number, salt, proof FROM salt").fetchall()
    known = [sealer.add(*each) for each in salts]
    if salts and not any(known):
        raise WrongKey(f"{path} was sealed under another node key", "correct [node] node_key")
    if not salts or not all(known):
        raise StoreCorrupt(f"{path}: a salt is not as written", _RESTORE)
    return sealer


def _new_salt(db: sqlite3.Connection, sealer: RowSealer) -> int:
    salt = os.urandom(SALT_OCTETS)
    proof = sealer.proof(salt)
    number = db.execute("INSERT INTO salt (salt, proof) VALUES (?, ?)", (salt, proof)).lastrowid
    assert number
    sealer.add(number, salt, proof)
    return number


def _forget_salts(db: sqlite3.Connection, used: set[int]) -> None:
    unused = [each for each in db.execute("SELECT number FROM salt") if each[0] not in used]
    db.executemany("DELETE FROM salt WHERE number = ?", unused)


@contextlib.contextmanager
def _errors(path: Path) -> Iterator[None]:
    """Turn what SQLite raises into one of our errors, which hold no values of rows."""
    try:
        yield
    except UnicodeDecodeError:  # the text of an error of SQLite, quoting what is damaged
        raise StoreCorrupt(f"{path} is damaged", _RESTORE) from None
    except sqlite3.Error as why:
        name = getattr(why, "sqlite_errorname", type(why).__name__)
        if name.startswith("SQLITE_CONSTRAINT"):
            raise TypeError(f"a row that no store takes: {name}") from None
        if name == "SQLITE_FULL":
            raise StoreFull(f"no room on the disk of {path}", "free some") from None
        if name in ("SQLITE_BUSY", "SQLITE_LOCKED"):
            raise StoreLocked(f"{path} is open in another program", "end that program") from None
        if name.startswith(("SQLITE_IOERR", "SQLITE_CANTOPEN", "SQLITE_READONLY")):
            raise StoreBroken(f"{path}: {name}", "look at the disk and the permissions") from None
        raise StoreCorrupt(f"{path}: {name}", _RESTORE) from None
