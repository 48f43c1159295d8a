"""One command at a time for what two must not do to a lab at once."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from protokms.lab.lab import LabError, read


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """Let no two commands start nodes of one lab, or make its hosts, at the same time.

    `LabError` if the folder holds no lab.
    """
    read(folder)
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)  # lab.json is replaced meanwhile
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise LabError("another command is at this lab just now; wait for it") from None
    finally:
        os.close(handle)
