"""The thread that makes rows durable: all commits that wait become one (R8, R16)."""

import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple, Protocol, TypeVar

from actors.base import Change, Meter, Numbered, Range, Row, Slice
from actors.protocol.common import Committed
from actors.runtime.crashes import describe
from actors.storage.errors import StoreError, StoreFull
from transport.envelope import Address, Envelope

GROUP = 4096
"""Requests that one transaction takes at most."""

GROUP_OCTETS = 16 << 20
"""Octets after which a transaction takes no more requests."""

WAITING = 200_000
"""Requests that may wait while the disk is full; one more is fatal."""

_RETRY_S = 0.5
_ERASE_AGAIN_S = 1.0
_LOAD_S = 600.0

T = TypeVar("T")


class Storage(Protocol):
    """What the writer writes to; `actors.storage.file.StoreFile` is one."""

    owed: int

    @property
    def octets(self) -> int:
        """How big it is."""
        ...

    def load(self, store: str) -> list[Row]:
        """Return every row of a store without a running number."""
        ...

    def numbered(self, rows: Range, most: int = -1) -> list[Numbered]:
        """Return rows under running numbers, so many at most, the last first."""
        ...

    def weigh(self, rows: Range) -> list[tuple[bytes, int]]:
        """Count rows by their `ends`, unread."""
        ...

    def apply(self, changes: Sequence[Change]) -> None:
        """Make the changes durable, all or none; `StoreFull` if there is no room for them."""
        ...

    def checkpoint(self) -> bool:
        """Erase what was dropped; false if that must be tried again."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class _Commit(NamedTuple):
    owner: Address
    changes: Sequence[Change]
    token: int


class _Load(NamedTuple):
    act: Callable[[], Any]
    found: "Future[Any]"


class _Slice(NamedTuple):
    owner: Address
    rows: Range
    most: int
    into: Slice
    token: int


class _Stop(NamedTuple):
    pass


_Task = _Commit | _Load | _Slice | _Stop


class Writer:
    """Groups commits; owners hear `Committed`, in the order in which they asked, through `deliver`.

    `fatal(why)` is called once if rows could not be made durable for another reason than a full
    disk: nothing is answered then, and the process must end. `unfit(why)` is called instead if the
    file is damaged, which no fresh start puts right. `on_full(True)` says that commits
    wait for room, `on_full(False)` that they go on; nothing is lost or answered in between.
    Dropped rows are erased within `erase_s` seconds: the log is truncated every half of that
    while any are owed. `on_late(True)` says that this has failed for longer than `erase_s`,
    `on_late(False)` that it is made up for. Without work the thread sleeps.
    """

    def __init__(
        self,
        storage: Storage,
        meter: Meter,
        *,
        deliver: Callable[[Envelope], None],
        fatal: Callable[[str], None],
        unfit: Callable[[str], None] | None = None,
        on_full: Callable[[bool], None] = lambda _: None,
        on_late: Callable[[bool], None] = lambda _: None,
        erase_s: float = 10.0,
    ) -> None:
        self._storage, self._meter = storage, meter
        self._deliver, self._fatal, self._on_full = deliver, fatal, on_full
        self._unfit = unfit or fatal
        self._every, self._on_late = erase_s / 2, on_late
        self._tasks: queue.SimpleQueue[_Task] = queue.SimpleQueue()
        self._due, self._owed_since = 0.0, 0.0
        self._late = False
        self.full, self._ended = False, False
        self.reading, self.reads = False, 0
        """Whether an actor that starts has rows read just now; how often one had."""
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="store_writer", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def commit(self, owner: Address, changes: Sequence[Change], token: int) -> None:
        """Queue changes; `owner` hears `Committed(token)` once they are durable."""
        self._tasks.put(_Commit(owner, changes, token))

    def read(self, owner: Address, rows: Range, most: int, into: Slice, token: int) -> None:
        """Queue the reading of a slice; `owner` hears `Committed(token)` when it is there."""
        self._tasks.put(_Slice(owner, rows, most, into, token))

    def load(self, store: str) -> list[Row]:
        """Read a store but what has a number, after all commits queued before; it blocks."""
        return self._now(lambda: self._storage.load(store))

    def numbered(self, rows: Range, most: int) -> list[Numbered]:
        """Read so many rows under running numbers at most, the last first; it blocks."""
        return self._now(lambda: self._storage.numbered(rows, most))

    def weigh(self, rows: Range) -> list[tuple[bytes, int]]:
        """Count rows by their `ends`, unread; it blocks."""
        return self._now(lambda: self._storage.weigh(rows))

    def _now(self, act: Callable[[], T]) -> T:
        found: Future[T] = Future()
        self._tasks.put(_Load(act, found))
        return found.result(_LOAD_S)

    def stop(self, timeout: float = 10.0) -> bool:
        """Do what is queued, truncate the log, close the file; false if that takes too long."""
        self._stopping.set()
        self._tasks.put(_Stop())
        self._thread.join(timeout)
        return not self._thread.is_alive()

    # On the thread

    def _run(self) -> None:
        try:
            while not self._ended:
                self._turn(self._gather())
            self._storage.close()
            self._show()
        except Exception as why:
            if isinstance(why, StoreError) and not why.passes:
                self._unfit(f"the store failed: {why}")  # no values of rows are in it
            else:
                self._fatal(f"the store failed: {describe(why)}")

    def _gather(self) -> list[_Task]:
        """Wait for work, or until it is time to erase; return all that waits."""
        wait = max(0.0, self._due - time.monotonic()) if self._storage.owed else None
        try:
            tasks = [self._tasks.get(timeout=wait)]
        except queue.Empty:
            return []
        while len(tasks) < GROUP and not self._tasks.empty():
            tasks.append(self._tasks.get())
        return tasks

    def _turn(self, tasks: list[_Task]) -> None:
        group: list[_Commit] = []
        octets = 0
        for task in tasks:
            if isinstance(task, _Commit):
                group.append(task)
                octets += sum(map(_octets, task.changes))
            if not isinstance(task, _Commit) or octets >= GROUP_OCTETS:
                self._write(group)
                group, octets = [], 0
            if isinstance(task, _Load):
                self._read(task)
            elif isinstance(task, _Slice):
                task.into.rows = self._storage.numbered(task.rows, task.most)
                done = Committed(token=task.token)
                self._deliver(Envelope(task.owner, task.owner, done))
            elif isinstance(task, _Stop):
                self._ended = True
        self._write(group)
        if self._storage.owed and time.monotonic() >= self._due:
            self._erase()

    def _write(self, group: list[_Commit]) -> None:
        if not group:
            return
        began, clean = time.monotonic(), not self._storage.owed
        changes = [change for each in group for change in each.changes]
        self._apply(changes)
        now = time.monotonic()
        if clean:
            self._due, self._owed_since = now + self._every, now
        self._meter.add("protokms_commits")
        self._meter.add("protokms_commit_rows", len(changes))
        self._meter.add("protokms_commit_seconds", now - began)
        self._meter.set("protokms_erasures_owed", self._storage.owed)
        for owner, _, token in group:
            self._deliver(Envelope(owner, owner, Committed(token=token)))

    def _apply(self, changes: list[Change]) -> None:
        while True:
            try:
                self._storage.apply(changes)
            except StoreFull:
                if self._tasks.qsize() > WAITING or self._stopping.is_set():
                    raise
                self._be_full(full=True)
                self._stopping.wait(_RETRY_S)
            else:
                self._be_full(full=False)
                return

    def _be_full(self, *, full: bool) -> None:
        if full is not self.full:
            self.full = full
            self._meter.set("protokms_store_full", float(full))
            self._on_full(full)

    def _read(self, task: _Load) -> None:
        self.reading = True
        try:
            found = task.act()
            self.reading, self.reads = False, self.reads + 1
            task.found.set_result(found)
        except Exception as why:
            task.found.set_exception(why)  # the actor that starts from it dies of it
            raise

    def _erase(self) -> None:
        done, now = self._storage.checkpoint(), time.monotonic()
        if not done:
            self._meter.add("protokms_checkpoints_failed")
        late = not done and now - self._owed_since > 2 * self._every
        if late is not self._late and (late or done):
            self._late = late
            self._on_late(late)
        self._due = now + (self._every if done else min(_ERASE_AGAIN_S, self._every))
        self._show()

    def _show(self) -> None:
        self._meter.set("protokms_erasures_owed", self._storage.owed)
        self._meter.set("protokms_store_octets", self._storage.octets)


def _octets(change: Change) -> int:
    if not isinstance(change, Row):
        return 0
    return len(change.clear) + (len(change.secret) if change.secret else 0)
