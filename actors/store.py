"""The file of a node: rows in SQLite, sealed under the node key.

Erasing (R16): `secure_delete` overwrites what is deleted in the pages of the database, but old
pages stay in the write-ahead log until `checkpoint` truncates it. What a file system with
snapshots, or a flash disk, keeps of overwritten blocks is out of reach; there, only the node key
makes old octets unreadable.

Tampering: no row can be changed or moved unnoticed. Who can write to the disk can remove rows, or
put an older file in the place of this one; the peers notice that (R7), the file does not.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from actors.base import Change, Drop, Row
from actors.database import (
    PAGE,
    RESTORE,
    Connection,
    Many,
    connect,
    creating,
    errors,
    transaction,
    truncate_log,
)
from actors.sealing import RENEW, SALT_OCTETS, RowSealer, Unsealable
from actors.store_errors import (
    StoreBroken,
    StoreCorrupt,
    StoreForeign,
    StoreMissing,
    WrongKey,
)
from actors.store_path import beside, check_permissions, sync_folder, take_lock
from actors.write_ahead import damage
from transport.message import Secret

_PUT = Many(
    "INSERT INTO row VALUES ",
    "(?, ?, ?, ?, ?, ?)",
    ", ",
    " ON CONFLICT (store, kind, id) DO UPDATE"
    " SET clear = excluded.clear, holds = excluded.holds, sealed = excluded.sealed",
)
_DROP = Many("DELETE FROM row WHERE ", "(store = ? AND kind = ? AND id = ?)", " OR ")
_ALL = "SELECT store, kind, id, clear, holds, sealed FROM row"


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

    def __init__(self, path: Path, db: Connection, sealer: RowSealer, lock: int) -> None:
        """Use `open` or `create`."""
        self.path, self.owed = path, 0
        self._db, self._sealer, self._lock = db, sealer, lock

    @classmethod
    def create(cls, path: Path, node: str, key: Secret) -> Self:
        """Make a new, empty file, and open it; `StoreMissing` if there is one already."""
        for each in (path, *beside(path)):
            if each.exists():
                raise StoreMissing(f"{each} is there already", "open it, or move it away")
        new = path.with_name(path.name + ".new")
        lock = take_lock(path)
        try:
            for leftover in (new, *beside(new)):
                leftover.unlink(missing_ok=True)
            os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            with creating(new) as db:
                db.execute("INSERT INTO meta VALUES ('node', ?)", (node,))
                _new_salt(db, RowSealer(key, node))
            new.rename(path)
            sync_folder(path)
        finally:
            os.close(lock)
        return cls.open(path, node, key)

    @classmethod
    def open(cls, path: Path, node: str, key: Secret) -> Self:
        """Open a file and check all of it; one of `actors.store_errors` says what is wrong."""
        check_permissions(path)
        with contextlib.ExitStack() as undo:
            lock = take_lock(path)
            undo.callback(os.close, lock)
            _check_log(beside(path)[0])
            with errors(path):
                db = undo.enter_context(contextlib.closing(connect(path)))
                sealer = _sealer(path, db, node, key)
                store = cls(path, db, sealer, lock)
                used = {sealer.salt_of(row[-1]) for row in store._verified()}
                _forget_salts(db, used)
                sealer.use(_new_salt(db, sealer))
                store.owed = 1  # whatever the last process left in the log
                store.checkpoint()
            undo.pop_all()
        return store

    def load(self, store: str) -> list[Row]:
        """Return every row of a store, ordered by kind and id."""
        with errors(self.path):
            query = _ALL + " WHERE store = ? ORDER BY kind, id"
            return [self._open(row) for row in self._db.execute(query, (store,))]

    def apply(self, changes: Iterable[Change]) -> None:
        """Make the changes durable, all or none; of two to one row the later holds.

        `StoreFull` means that none was made; after `StoreBroken` nobody knows.
        """
        if self._sealer.sealed > RENEW:
            with errors(self.path):
                self._sealer.use(_new_salt(self._db, self._sealer))
        last = {(each.store, each.kind, each.id): each for each in changes}
        drops = [key for key, each in last.items() if isinstance(each, Drop)]
        puts = [self._sealed(each) for each in last.values() if isinstance(each, Row)]
        alone = not drops and _PUT.at_once(puts)
        with errors(self.path), contextlib.nullcontext() if alone else transaction(self._db):
            dropped = _DROP.run(self._db, drops)
            _PUT.run(self._db, puts)
        self.owed += dropped + len(puts)

    def checkpoint(self) -> bool:
        """Move the log into the database and truncate it; false if that could not be done."""
        log = beside(self.path)[0]
        if not truncate_log(self._db) or (log.exists() and log.stat().st_size):
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
        with errors(self.path), transaction(self._db):
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
        with errors(self.path):
            query = "SELECT store, kind, count(*) FROM row GROUP BY 1, 2"
            rows = self._db.execute(query).fetchall()
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
            raise StoreCorrupt(f"{self.path}: row {where} is not as written", RESTORE) from None

    def _verified(self) -> Iterator[Sequence[Any]]:
        for row in self._db.execute(_ALL):
            self._open(row)
            yield row


def check(path: Path, node: str, key: Secret) -> Report:
    """Open a file, which checks all of it, and count what is there."""
    with contextlib.closing(StoreFile.open(path, node, key)) as store:
        return store.report()


def rotate(path: Path, node: str, old: Secret, new: Secret) -> None:
    """Seal a file anew under another node key: on return only that one opens it."""
    with contextlib.closing(StoreFile.open(path, node, old)) as store:
        store.rotate(new)


def _check_log(log: Path) -> None:
    if why := damage(log, PAGE):
        raise StoreCorrupt(f"{log} is damaged: {why}", RESTORE)


def _sealer(path: Path, db: Connection, node: str, key: Secret) -> RowSealer:
    ((owner,),) = db.execute("SELECT value FROM meta WHERE name = 'node'").fetchall()
    if owner != node:
        raise StoreForeign(f"{path} belongs to node {owner}, not {node}", "correct [node] data")
    sealer = RowSealer(key, node)
    salts = db.execute("SELECT number, salt, proof FROM salt").fetchall()
    known = [sealer.add(*each) for each in salts]
    if salts and not any(known):
        raise WrongKey(f"{path} was sealed under another node key", "correct [node] node_key")
    if not salts or not all(known):
        raise StoreCorrupt(f"{path}: a salt is not as written", RESTORE)
    return sealer


def _new_salt(db: Connection, sealer: RowSealer) -> int:
    salt = os.urandom(SALT_OCTETS)
    proof = sealer.proof(salt)
    number = db.execute("INSERT INTO salt (salt, proof) VALUES (?, ?)", (salt, proof)).lastrowid
    assert number
    sealer.add(number, salt, proof)
    return number


def _forget_salts(db: Connection, used: set[int]) -> None:
    unused = [each for each in db.execute("SELECT number FROM salt") if each[0] not in used]
    db.executemany("DELETE FROM salt WHERE number = ?", unused)
