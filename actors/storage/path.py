"""The file of a store as a file: its permissions, its lock, what lies beside it."""

import fcntl
import os
from pathlib import Path

from actors.storage.errors import StoreExposed, StoreLocked, StoreMissing


def beside(path: Path) -> tuple[Path, ...]:
    """Name the files that SQLite keeps beside a database: the log first."""
    return tuple(path.with_name(path.name + end) for end in ("-wal", "-shm", "-journal"))


def check_permissions(path: Path) -> None:
    """Raise `StoreMissing`, or `StoreExposed` if anybody but the owner may read the file."""
    if not path.is_file():
        raise StoreMissing(
            f"there is no file {path}",
            "mount its volume, bring the file back or correct its path; only a node that has never "
            "run makes one, with `protokms node FILE --new`",
        )
    for each in (path, *beside(path)):
        if each.exists() and each.stat().st_mode & 0o077:
            mode = each.stat().st_mode & 0o777
            raise StoreExposed(f"{each} has mode {mode:03o}", f"run `chmod 600 {each}`")


def take_lock(path: Path) -> int:
    """Lock a file beside the store, and return it open; `StoreLocked` if another has it.

    (A lock on the store itself would be lost when any copy of its descriptor is closed.)
    """
    lock = os.open(path.with_name(path.name + ".lock"), os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(lock)
        raise StoreLocked(
            f"{path} is open in process {holder}", "stop that process, or wait for its end"
        ) from None
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock


def sync_folder(path: Path) -> None:
    """Make the name of a file durable."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
