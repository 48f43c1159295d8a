"""SQLite, set up for a store: no other file knows it.

A connection is opened for one thread at a time, alone on its file, with every commit on the disk
before it returns, and with what is deleted overwritten.
"""

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from actors.storage.errors import StoreBroken, StoreCorrupt, StoreFull, StoreLocked, StoreNewer

Connection = sqlite3.Connection

VERSION = 2
"""2: grants and tombstones lie in tables of their own, under running numbers."""
_APPLICATION = 0x4B4D5331
PAGE = 8192  # of 4096, 8192, 16384 the best for small rows and 64 KiB segments together
_WAL_PAGES = 4000  # 32 MiB; a checkpoint stops all commits, so let many share one
_CHUNKS = (64, 32, *range(16, 0, -1))

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
# A number is that of its store, and the one within it: so the rows of a store lie together.
_NUMBERED = """
CREATE TABLE store (number INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE holding (
    number INTEGER PRIMARY KEY, ends BLOB NOT NULL,
    clear BLOB NOT NULL, holds INTEGER NOT NULL, sealed BLOB NOT NULL
) STRICT;
CREATE TABLE tombstone (
    number INTEGER PRIMARY KEY, ends BLOB NOT NULL,
    clear BLOB NOT NULL, holds INTEGER NOT NULL, sealed BLOB NOT NULL
) STRICT;
"""
RESTORE = (
    "restore the file from a backup, and remove -wal and -shm beside it; "
    "or remove it and reset the stores with every peer"
)

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


@contextlib.contextmanager
def creating(path: Path) -> Iterator[Connection]:
    """Set up a new database in an empty file; complete when the block ends."""
    with errors(path), contextlib.closing(_connect(path)) as db:
        db.execute(f"PRAGMA page_size = {PAGE}")
        db.executescript(_SCHEMA + _NUMBERED)
        yield db
        db.execute(f"PRAGMA application_id = {_APPLICATION}")
        db.execute(f"PRAGMA user_version = {VERSION}")


def connect(path: Path, *, prove: bool = True) -> Connection:
    """Open a database that `creating` made, and check every page of it.

    Without `prove` the indices of the numbered tables are not compared with these, which takes ten
    times as long: their rows are counted and read one by one. All other rows are read by an index,
    which is always compared.
    """
    db = _connect(path)
    try:
        _check_version(path, db)
        _set_pragmas(path, db)
        checks = ["integrity_check(1)"] if prove else ["quick_check(1)", "integrity_check('row')"]
        for check in checks:
            found, *_ = db.execute(f"PRAGMA {check}").fetchone()
            if found != "ok":
                raise StoreCorrupt(f"{path} is damaged: {found}", RESTORE)
    except BaseException:
        db.close()
        raise
    return db


def is_old(db: Connection) -> bool:
    """Whether an earlier version wrote this: it has no tables for numbers."""
    ((version,),) = db.execute("PRAGMA user_version").fetchall()
    return bool(version < VERSION)


@contextlib.contextmanager
def upgrading(db: Connection) -> Iterator[None]:
    """Make a database one of this version, with all that is done in the block, or not at all."""
    with transaction(db):
        for statement in filter(str.strip, _NUMBERED.split(";")):
            db.execute(statement)
        yield
        db.execute(f"PRAGMA user_version = {VERSION}")


def truncate_log(db: Connection) -> bool:
    """Move all that is in the log into the database, and empty it; false if that failed."""
    try:
        busy, *_ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    except sqlite3.OperationalError:  # a full disk, for one; the log keeps what it holds
        return False
    return not busy


def _connect(path: Path) -> Connection:
    db = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        timeout=0.0,
        cached_statements=4 * len(_CHUNKS),
    )
    # Before anything is read: then the index of the log is kept in memory, not in a shared file.
    db.execute("PRAGMA locking_mode = EXCLUSIVE")
    return db


def _check_version(path: Path, db: Connection) -> None:
    ((application,),) = db.execute("PRAGMA application_id").fetchall()
    ((version,),) = db.execute("PRAGMA user_version").fetchall()
    if application != _APPLICATION:
        raise StoreCorrupt(f"{path} is not a store of protokms, or damaged", RESTORE)
    if version < 1:
        raise StoreCorrupt(f"{path} says it has version {version}, which never was", RESTORE)
    if version > VERSION:
        raise StoreNewer(
            f"{path} has version {version}, this program knows {VERSION}",
            "run the program that wrote it, or a later one",
        )


def _set_pragmas(path: Path, db: Connection) -> None:
    for name, value, must in _PRAGMAS:
        db.execute(f"PRAGMA {name} = {value}").fetchall()
        says = db.execute(f"PRAGMA {name}").fetchone()
        if name == "mmap_size" and says is None:
            continue  # a SQLite without memory mapping
        if not says or says[0] != must:
            raise StoreBroken(f"{path}: SQLite refuses {name} = {value}", "use another file system")


@contextlib.contextmanager
def errors(path: Path) -> Iterator[None]:
    """Turn what SQLite raises into one of our errors, which hold no values of rows."""
    try:
        yield
    except UnicodeDecodeError:  # the text of an error of SQLite, quoting what is damaged
        raise StoreCorrupt(f"{path} is damaged", RESTORE) from None
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
        raise StoreCorrupt(f"{path}: {name}", RESTORE) from None


class Many:
    """One statement for many rows, a few texts of it that SQLite prepares once.

    Each call of SQLite lets go of the interpreter's lock and waits to get it back, which under
    load takes longer than the work itself: hence few calls, not one a row.
    """

    def __init__(self, head: str, row: str, between: str, tail: str = "") -> None:
        self._texts = {n: f"{head}{between.join([row] * n)}{tail}" for n in _CHUNKS}

    def at_once(self, rows: Sequence[object]) -> bool:
        """Tell whether `run` would be a single statement, which is a transaction by itself."""
        return len(rows) in self._texts

    def run(self, db: Connection, rows: Sequence[Sequence[object]]) -> int:
        """Run it for all the rows; return how many rows of the table it changed."""
        at = changed = 0
        for n, text in self._texts.items():
            while len(rows) - at >= n:
                values = [value for row in rows[at : at + n] for value in row]
                changed += db.execute(text, values).rowcount
                at += n
        return changed


@contextlib.contextmanager
def transaction(db: Connection) -> Iterator[None]:
    """Do all that follows, or nothing."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
