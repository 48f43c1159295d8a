"""The thread that groups commits."""

import queue
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from actors.base import Change, Drop, Numbered, Range, Row, Slice
from actors.protocol.common import Committed
from actors.storage.errors import StoreBroken, StoreCorrupt, StoreFull
from actors.storage.file import StoreFile
from actors.storage.writer import Writer
from protokms.node.meter import MemoryMeter
from protokms.testing.disk import MemoryStore
from transport.envelope import Address, Envelope
from transport.message import Secret

OWNER = Address("key_store/b", "a")
PATIENCE_S = 5.0


def row(n: int) -> Row:
    return Row("s", "k", n.to_bytes(4, "big"), b"", Secret(b"secret"))


class SlowStore(MemoryStore):
    """Waits in the middle of a commit until it is let go on, and notes the groups."""

    def __init__(self) -> None:
        super().__init__()
        self.entered, self.go_on = threading.Semaphore(0), threading.Semaphore(0)
        self.groups: list[int] = []
        self.full = self.broken = False
        self.refused = threading.Semaphore(0)

    def apply(self, changes: Iterable[Change]) -> None:
        changes = list(changes)
        self.entered.release()
        self.go_on.acquire(timeout=PATIENCE_S)
        if self.broken:
            raise StoreBroken("the disk is gone", "buy another")
        if self.full:
            self.refused.release()
            raise StoreFull("no room", "make some")
        self.groups.append(len(changes))
        super().apply(changes)


class Bench:
    """A writer over a slow store, and what it says to whom."""

    def __init__(self) -> None:
        self.store, self.meter = SlowStore(), MemoryMeter()
        self.said: queue.SimpleQueue[Envelope] = queue.SimpleQueue()
        self.fatal: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.unfit: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.full: queue.SimpleQueue[bool] = queue.SimpleQueue()
        self.writer = Writer(
            self.store,
            self.meter,
            deliver=self.said.put,
            fatal=self.fatal.put,
            unfit=self.unfit.put,
            on_full=self.full.put,
        )
        self.writer.start()

    def hear(self) -> int:
        envelope = self.said.get(timeout=PATIENCE_S)
        assert envelope.sender == envelope.to == OWNER
        assert isinstance(envelope.body, Committed)
        return envelope.body.token


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.store.full = made.store.broken = False
    made.store.go_on.release(100)
    made.writer.stop()


def test_what_waits_becomes_one_commit_and_is_told_in_order(bench: Bench) -> None:
    bench.writer.commit(OWNER, [row(0)], 1)
    bench.store.entered.acquire(timeout=PATIENCE_S)
    for n in range(1, 10):
        bench.writer.commit(OWNER, [row(n), row(n + 100)], n + 1)
    nothing_yet = bench.said.empty()
    bench.store.go_on.release(2)

    told = [bench.hear() for _ in range(10)]

    assert nothing_yet
    assert told == list(range(1, 11))
    assert bench.store.groups == [1, 18]
    assert bench.meter.value("protokms_commits") == 2
    assert bench.meter.value("protokms_commit_rows") == 19


def test_a_load_sees_every_commit_asked_for_before(bench: Bench) -> None:
    bench.store.go_on.release(10)
    bench.writer.commit(OWNER, [row(1)], 1)

    assert bench.writer.load("s") == [row(1)]


def test_a_broken_disk_is_fatal_and_answers_nothing(bench: Bench) -> None:
    bench.store.broken = True
    bench.store.go_on.release()
    bench.writer.commit(OWNER, [row(1)], 1)

    why = bench.fatal.get(timeout=PATIENCE_S)

    assert why.startswith("the store failed: the disk is gone; buy another")
    assert bench.said.empty()


def test_a_row_that_is_not_as_written_makes_the_file_unfit(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed(_: Range, __: int = -1) -> list[Numbered]:
        raise StoreCorrupt("a row is not as written", "restore it")

    monkeypatch.setattr(bench.store, "numbered", changed)
    bench.writer.read(OWNER, Range("s", "holding"), 1, Slice(), 1)

    why = bench.unfit.get(timeout=PATIENCE_S)

    assert why == "the store failed: a row is not as written; restore it"
    assert bench.fatal.empty()
    assert bench.said.empty()


@pytest.mark.slow
def test_a_full_disk_keeps_everybody_waiting_and_loses_nothing(bench: Bench) -> None:
    bench.store.full = True
    bench.store.go_on.release(2)
    bench.writer.commit(OWNER, [row(1)], 1)
    bench.store.refused.acquire(timeout=PATIENCE_S)
    news = bench.full.get(timeout=PATIENCE_S)
    nothing_yet = bench.said.empty()
    shown = bench.meter.value("protokms_store_full")
    full = bench.writer.full
    bench.store.refused.acquire(timeout=PATIENCE_S)  # it has tried again
    bench.store.full = False
    bench.store.go_on.release(1)

    told = bench.hear()

    assert (news, bench.full.get(timeout=PATIENCE_S)) == (True, False)
    assert (nothing_yet, shown, told) == (True, 1.0, 1)
    assert bench.fatal.empty()
    assert bench.meter.value("protokms_store_full") == 0.0
    assert (full, bench.writer.full) == (True, False)


def test_a_stop_does_what_was_asked_for_first(bench: Bench) -> None:
    bench.store.go_on.release(10)
    bench.writer.commit(OWNER, [row(1)], 1)

    assert bench.writer.stop()

    assert bench.hear() == 1
    assert bench.store.load("s") == [row(1)]


def test_a_stop_with_a_full_disk_answers_nothing(bench: Bench) -> None:
    bench.store.full = True
    bench.writer.commit(OWNER, [row(1)], 1)
    bench.store.entered.acquire(timeout=PATIENCE_S)
    stop = threading.Thread(target=bench.writer.stop)
    stop.start()
    bench.store.go_on.release(10)
    stop.join(PATIENCE_S)

    assert bench.fatal.get(timeout=PATIENCE_S).startswith("the store failed: no room; make some")
    assert bench.said.empty()


class Checkpoints(MemoryStore):
    """Counts checkpoints; the first ones fail."""

    def __init__(self, failures: int) -> None:
        super().__init__()
        self.failures, self.done = failures, threading.Event()

    def checkpoint(self) -> bool:
        if self.failures:
            self.failures -= 1
            return False
        super().checkpoint()
        self.done.set()
        return True


def test_what_is_dropped_is_erased_in_time_even_if_that_fails_at_first() -> None:
    store, meter = Checkpoints(failures=2), MemoryMeter()
    writer = Writer(store, meter, deliver=lambda _: None, fatal=pytest.fail, erase_s=0.02)
    writer.start()

    writer.commit(OWNER, [row(1), Drop("s", "k", row(1).id)], 1)

    assert store.done.wait(PATIENCE_S)
    assert writer.stop()
    assert meter.value("protokms_checkpoints_failed") == 2
    assert meter.value("protokms_erasures_owed") == 0


def test_who_erases_too_late_says_so_and_when_it_is_made_up_for() -> None:
    store, late = Checkpoints(failures=1_000_000), queue.SimpleQueue[bool]()
    writer = Writer(
        store,
        MemoryMeter(),
        deliver=lambda _: None,
        fatal=pytest.fail,
        on_late=late.put,
        erase_s=0.02,
    )
    writer.start()
    writer.commit(OWNER, [row(1), Drop("s", "k", row(1).id)], 1)

    assert late.get(timeout=PATIENCE_S) is True
    store.failures = 0
    assert late.get(timeout=PATIENCE_S) is False

    assert writer.stop()
    assert late.empty()


def test_the_writer_and_the_file_together(tmp_path: Path) -> None:
    store = StoreFile.create(tmp_path / "store.db", "a", Secret(bytes(32)))
    said: queue.SimpleQueue[Envelope] = queue.SimpleQueue()
    writer = Writer(store, MemoryMeter(), deliver=said.put, fatal=pytest.fail)
    writer.start()
    for n in range(50):
        writer.commit(OWNER, [row(n)], n)

    tokens = [said.get(timeout=PATIENCE_S).body for _ in range(50)]
    assert writer.stop()

    assert tokens == [Committed(token=n) for n in range(50)]
    again = StoreFile.open(tmp_path / "store.db", "a", Secret(bytes(32)))
    assert again.load("s") == [row(n) for n in range(50)]
    again.close()
