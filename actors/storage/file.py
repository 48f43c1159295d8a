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
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from actors.base import (
    NUMBER_MAX,
    NUMBER_OCTETS,
    NUMBERED,
    Change,
    Drop,
    Numbered,
    Range,
    Row,
)
from actors.storage.database import (
    PAGE,
    RESTORE,
    Connection,
    Many,
    connect,
    creating,
    errors,
    is_old,
    transaction,
    truncate_log,
    upgrading,
)
from actors.storage.errors import (
    StoreBroken,
    StoreCorrupt,
    StoreForeign,
    StoreMissing,
    WrongKey,
)
from actors.storage.path import beside, check_permissions, sync_folder, take_lock
from actors.storage.sealing import RENEW, SALT_OCTETS, RowSealer, Unsealable
from actors.storage.write_ahead import damage
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
_PUT_NUMBERED = {
    kind: Many(
        f"INSERT INTO {kind} VALUES ",  # noqa: S608 -- one of ours
        "(?, ?, ?, ?, ?)",
        ", ",
        " ON CONFLICT (number) DO UPDATE SET ends = excluded.ends, clear = excluded.clear,"
        " holds = excluded.holds, sealed = excluded.sealed",
    )
    for kind in NUMBERED
}
_DROP_NUMBERED = {
    kind: Many(f"DELETE FROM {kind} WHERE ", "number = ?", " OR ")  # noqa: S608 -- one of ours
    for kind in NUMBERED
}
_STORE_BITS = 44
"""Bits of a number that are the row's; those above are the store's."""

Upgrade = Callable[[Iterable[Row]], Iterable[Change]]
"""What becomes of the rows that an earlier version wrote."""
Progress = Callable[[str], None]
"""Hears now and then what a long start is doing."""
_TOLD = 10_000
"""Rows of an old file after which it is told how far that is."""


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
        self._stores: dict[str, int] = {}

    @classmethod
    def create(cls, path: Path, node: str, key: Secret) -> Self:
        """Make a new, empty file, and open it; `StoreMissing` if there is one already."""
        for each in (path, *beside(path)):
            if each.exists():
                raise StoreMissing(f"{each} is there already", "leave out --new, or move it away")
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
    def open(
        cls,
        path: Path,
        node: str,
        key: Secret,
        *,
        prove: bool = True,
        upgrade: Upgrade | None = None,
        progress: Progress = lambda _: None,
    ) -> Self:
        """Open a file and check all of it; one of `actors.storage.errors` says what is wrong.

        Without `prove` the seal of a row is left to whoever reads it. A file of an earlier version
        needs `upgrade` before anything but reading is done: it turns all its rows into changes,
        all or none of which are made.
        """
        check_permissions(path)
        with contextlib.ExitStack() as undo:
            lock = take_lock(path)
            undo.callback(os.close, lock)
            _check_log(beside(path)[0])
            with errors(path):
                db = undo.enter_context(contextlib.closing(connect(path, prove=prove)))
                sealer = _sealer(path, db, node, key)
                store = cls(path, db, sealer, lock)
                store._know_stores()
                _forget_salts(db, store._proven() if prove else store._salts())
                sealer.use(_new_salt(db, sealer))
                if upgrade and is_old(db):
                    store._upgrade(upgrade, progress)
                store.owed = 1  # whatever the last process left in the log
                store.checkpoint()
            undo.pop_all()
        return store

    @staticmethod
    def look(path: Path) -> None:
        """See what can be seen without a key: who may read it, whether a process has it open."""
        check_permissions(path)
        os.close(take_lock(path))

    def load(self, store: str) -> list[Row]:
        """Return every row of a store without a running number, ordered by kind and id."""
        with errors(self.path):
            query = _ALL + " WHERE store = ? ORDER BY kind, id"
            return [self._open(row) for row in self._db.execute(query, (store,))]

    def numbered(self, rows: Range, most: int = -1) -> list[Numbered]:
        """Return rows under running numbers, so many at most, the last first; each is proved."""
        if rows.store not in self._stores:
            return []
        base = self._stores[rows.store] << _STORE_BITS
        open_ = self._sealer.opener(rows.store, rows.kind)
        query = (
            f"SELECT number, ends, clear, holds, sealed FROM {_table(rows.kind)}"  # noqa: S608
            " WHERE number > ? AND number <= ? ORDER BY number DESC LIMIT ?"
        )
        found = []
        with errors(self.path):
            for at, *parts in self._db.execute(query, (base + rows.above, base + rows.upto, most)):
                number = at - base
                try:
                    octets = open_(number.to_bytes(NUMBER_OCTETS, "big"), *parts)
                except (Unsealable, TypeError):
                    raise self._changed(rows.store, rows.kind, str(number)) from None
                found.append(Numbered(number, parts[0], parts[1], octets))
        return found

    def weigh(self, rows: Range) -> list[tuple[bytes, int]]:
        """Count rows by their `ends`, unread."""
        if rows.store not in self._stores:
            return []
        base = self._stores[rows.store] << _STORE_BITS
        query = (
            f"SELECT ends FROM {_table(rows.kind)}"  # noqa: S608
            " WHERE number > ? AND number <= ?"
        )
        with errors(self.path):
            # Not with GROUP BY: it would sort them all in memory that is not given back.
            found = self._db.execute(query, (base + rows.above, base + rows.upto))
            return sorted(Counter(ends for (ends,) in found).items())

    def apply(self, changes: Iterable[Change]) -> None:
        """Make the changes durable, all or none; of two to one row the later holds.

        `StoreFull` means that none was made; after `StoreBroken` nobody knows.
        """
        if self._sealer.sealed > RENEW:
            with errors(self.path):
                self._sealer.use(_new_salt(self._db, self._sealer))
        last = {(each.store, each.kind, each.id): each for each in changes}
        with errors(self.path):
            self._name_stores(last)
            work = self._sorted(last)
            alone = len(work) == 1 and isinstance(next(iter(last.values())), Row)
            alone = alone and work[0][0].at_once(work[0][1])
            with contextlib.nullcontext() if alone else transaction(self._db):
                changed = sum(many.run(self._db, rows) for many, rows in work)
        self.owed += changed

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
            for kind in self._tables():
                for (at,) in self._db.execute(f"SELECT number FROM {kind}").fetchall():  # noqa: S608
                    sealed = fresh.seal(self._numbered_row(kind, at))
                    query = f"UPDATE {kind} SET sealed = ? WHERE number = ?"  # noqa: S608
                    self._db.execute(query, (sealed, at))
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
            names = {number: name for name, number in self._stores.items()}
            for kind in self._tables():
                query = f"SELECT number >> {_STORE_BITS}, count(*) FROM {kind} GROUP BY 1"  # noqa: S608
                rows += [(names[at], kind, n) for at, n in self._db.execute(query)]
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
            raise self._changed(store, kind, id_.hex()) from None

    def _changed(self, store: str, kind: str, id_: str) -> StoreCorrupt:
        where = f"{store}/{kind}/{id_}"
        return StoreCorrupt(f"{self.path}: row {where} is not as written", RESTORE)

    # Rows under running numbers

    def _tables(self) -> tuple[str, ...]:
        return () if is_old(self._db) else NUMBERED

    def _know_stores(self) -> None:
        if not is_old(self._db):
            rows = self._db.execute("SELECT name, number FROM store")
            self._stores = dict(rows.fetchall())

    def _name_stores(self, changes: Iterable[tuple[str, str, bytes]]) -> None:
        """Give each store a number of its own before its first row that has one."""
        named = {store for store, kind, _ in changes if kind in NUMBERED}
        for store in sorted(named - self._stores.keys()):
            number = self._db.execute("INSERT INTO store (name) VALUES (?)", (store,)).lastrowid
            assert number, "a row that was inserted has one"
            self._stores[store] = number

    def _sorted(
        self, last: dict[tuple[str, str, bytes], Change]
    ) -> list[tuple[Many, Sequence[Sequence[object]]]]:
        """Sort changes into statements: what is dropped, then what is put."""
        drops = [key for key, each in last.items() if isinstance(each, Drop)]
        puts = [each for each in last.values() if isinstance(each, Row)]
        work: list[tuple[Many, Sequence[Sequence[object]]]] = [
            (_DROP, [key for key in drops if key[1] not in NUMBERED]),
            (_PUT, [self._sealed(row) for row in puts if row.kind not in NUMBERED]),
        ]
        for kind in NUMBERED:
            at = [(self._place(store, id_),) for store, it, id_ in drops if it == kind]
            rows = [self._sealed_numbered(row) for row in puts if row.kind == kind]
            work += [(_DROP_NUMBERED[kind], at), (_PUT_NUMBERED[kind], rows)]
        return [(many, rows) for many, rows in work if rows]

    def _place(self, store: str, id_: bytes) -> int:
        number = int.from_bytes(id_, "big")
        if len(id_) != NUMBER_OCTETS or not 0 < number <= NUMBER_MAX:
            raise TypeError("not the number of a row")
        return self._stores[store] << _STORE_BITS | number

    def _sealed_numbered(self, row: Row) -> tuple[Any, ...]:
        at, holds = self._place(row.store, row.id), row.secret is not None
        return at, row.ends, row.clear, holds, self._sealer.seal(row)

    def _numbered_row(self, kind: str, at: int) -> Row:
        query = f"SELECT ends, clear, holds, sealed FROM {kind} WHERE number = ?"  # noqa: S608
        ((ends, clear, holds, sealed),) = self._db.execute(query, (at,)).fetchall()
        names = {number: name for name, number in self._stores.items()}
        store, number = names[at >> _STORE_BITS], at & NUMBER_MAX
        row = Row(store, kind, number.to_bytes(NUMBER_OCTETS, "big"), clear, ends=ends)
        try:
            return self._sealer.open(row, sealed, holds=bool(holds))
        except (Unsealable, AttributeError, TypeError):
            raise self._changed(store, kind, str(number)) from None

    # At the opening

    def _proven(self) -> set[int]:
        """Prove every row; return the salts in use."""
        used = set()
        for row in self._db.execute(_ALL):
            self._open(row)
            used.add(self._sealer.salt_of(row[-1]))
        for kind in self._tables():
            for store, base in self._stores.items():
                limits = base << _STORE_BITS, (base + 1) << _STORE_BITS
                open_ = self._sealer.opener(store, kind)
                query = (
                    f"SELECT number, ends, clear, holds, sealed FROM {kind}"  # noqa: S608
                    " WHERE number >= ? AND number < ?"
                )
                for at, *parts in self._db.execute(query, limits):
                    number = at & NUMBER_MAX
                    try:
                        open_(number.to_bytes(NUMBER_OCTETS, "big"), *parts)
                    except (Unsealable, TypeError):
                        raise self._changed(store, kind, str(number)) from None
                    used.add(self._sealer.salt_of(parts[-1]))
            ((lost,),) = self._db.execute(
                f"SELECT count(*) FROM {kind}"  # noqa: S608
                f" WHERE number >> {_STORE_BITS} NOT IN (SELECT number FROM store)"
            )
            if lost:
                raise StoreCorrupt(f"{self.path}: {lost} rows are of no store", RESTORE)
        return used

    def _salts(self) -> set[int]:
        """Return the salts in use, without a look at what they seal."""
        used = set()
        for table in ("row", *self._tables()):
            query = f"SELECT DISTINCT substr(sealed, 1, 4) FROM {table}"  # noqa: S608
            used |= {int.from_bytes(head, "big") for (head,) in self._db.execute(query)}
        return used

    def _upgrade(self, upgrade: Upgrade, progress: Progress) -> None:
        """Rewrite what an earlier version wrote; killed meanwhile, it is all as it was."""
        ((total,),) = self._db.execute("SELECT count(*) FROM row").fetchall()

        def old() -> Iterator[Row]:
            rowids = self._db.execute("SELECT rowid FROM row ORDER BY rowid").fetchall()
            for n, (rowid,) in enumerate(rowids):
                if n % _TOLD == 0:
                    progress(f"rewriting a store of an earlier version: {n} of {total} rows")
                (values,) = self._db.execute(f"{_ALL} WHERE rowid = ?", (rowid,)).fetchall()
                yield self._open(values)

        with upgrading(self._db):
            some: dict[tuple[str, str, bytes], Change] = {}
            for change in upgrade(old()):
                some[change.store, change.kind, change.id] = change
                if len(some) >= _TOLD:
                    self._make(some)
                    some = {}
            self._make(some)
        self._know_stores()

    def _make(self, some: dict[tuple[str, str, bytes], Change]) -> None:
        self._name_stores(some)
        for many, rows in self._sorted(some):
            many.run(self._db, rows)


def check(path: Path, node: str, key: Secret) -> Report:
    """Open a file, which checks all of it, and count what is there; an old one stays as it is."""
    with contextlib.closing(StoreFile.open(path, node, key)) as store:
        return store.report()


def rotate(path: Path, node: str, old: Secret, new: Secret) -> None:
    """Seal a file anew under another node key: on return only that one opens it."""
    with contextlib.closing(StoreFile.open(path, node, old)) as store:
        store.rotate(new)


def _table(kind: str) -> str:
    """Return the table of a kind: no other text gets into a query."""
    if kind not in NUMBERED:
        raise TypeError("not a kind of rows with numbers")
    return kind


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
