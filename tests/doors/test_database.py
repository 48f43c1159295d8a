"""Databases with flipped bits, lost pages, logs cut or exchanged: refused, or whole; not empty."""

import random
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from actors.storage.errors import StoreError
from actors.storage.file import StoreFile
from tests.doors.tally import Tally
from tests.processes.real_ears import windows
from tests.processes.real_lab import RealLab, drawn, eventually, exchange, pair, protokms
from transport.message import Secret

pytestmark = pytest.mark.slow

DOOR = "database"
SEED = 1_977
NODE = "kms-1"
PAGE, FRAME, LOG_HEAD = 8_192, 8_192 + 24, 32

Rows = frozenset[tuple[object, ...]]


class Copies:
    """A database with its log as `kill -9` leaves them, the same without a log, and its key."""

    def __init__(self, folder: Path) -> None:
        bench = RealLab(folder / "lab", pair(rate_bit_s=1e6))
        bench.configure("store", erase_s=2.0)
        try:
            bench.up()
            bench.await_keys()
            with bench.client("sae-1") as near, bench.client("sae-2") as far:
                for _ in range(4):
                    exchange(near, far, 16)
                drawn(near, "sae-2", 4)
                drawn(far, "sae-1", 4)
                eventually(lambda: log_of(bench.store(NODE)).stat().st_size > 20 * FRAME, "a log")
                self.killed = bench.copy_store(NODE, folder / "killed")
            bench.kill(NODE)
        finally:
            bench.down()
        self.bench, self.key = bench, bench.node_key(NODE)
        (folder / "stopped").mkdir()
        self.stopped = folder / "stopped/store.db"
        for file in self.killed.parent.iterdir():
            shutil.copy2(file, self.stopped.parent / file.name)
        StoreFile.open(self.stopped, NODE, self.key).close()
        assert not log_of(self.stopped).exists()


def log_of(store: Path) -> Path:
    return store.with_name(store.name + "-wal")


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Copies:
    return Copies(tmp_path_factory.mktemp("database"))


def put(folder: Path, store: bytes, log: bytes = b"") -> Path:
    """Write a database, and a log beside it."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    file = folder / "store.db"
    for path, octets in ((file, store), (log_of(file), log)):
        if octets or path == file:
            path.write_bytes(octets)
            path.chmod(0o600)
    return file


def rows_of(file: Path, key: Secret) -> Rows | str:
    """Return what a node would load, or why it does not start."""
    try:
        store = StoreFile.open(file, NODE, key)
    except StoreError as no:
        return f"refused: {type(no).__name__}" if no.reason and no.remedy else "refused"
    try:
        names = {name for name, _ in store.report().rows}
        loaded = [row for name in sorted(names) for row in store.load(name)]
        return frozenset(
            (row.store, row.kind, row.id, row.clear, row.secret and row.secret.reveal())
            for row in loaded
        )
    finally:
        store.close()


def flipped(octets: bytes, dice: random.Random, n: int) -> Iterator[bytes]:
    """Flip a bit in each octet of the first hundred, and at n places of all the rest."""
    for at in [*range(100), *(dice.randrange(100, len(octets)) for _ in range(n))]:
        spoilt = bytearray(octets)
        spoilt[at] ^= 1 << dice.randrange(8)
        yield bytes(spoilt)


def cut(octets: bytes, dice: random.Random, n: int) -> Iterator[bytes]:
    """Cut off at page ends and anywhere."""
    for _ in range(n):
        yield octets[: PAGE * dice.randrange(len(octets) // PAGE)]
        yield octets[: dice.randrange(1, len(octets))]


def overwritten(octets: bytes, dice: random.Random, n: int) -> Iterator[bytes]:
    """Blank a page, fill one with noise, put one in the place of another."""
    pages = len(octets) // PAGE
    for _ in range(n):
        one, other = (PAGE * dice.randrange(pages) for _ in range(2))
        for page in (bytes(PAGE), dice.randbytes(PAGE), octets[other : other + PAGE]):
            yield octets[:one] + page + octets[one + PAGE :]


HARM: dict[str, Callable[[bytes, random.Random], Iterator[bytes]]] = {
    "bits flipped": partial(flipped, n=300),
    "cut off": partial(cut, n=40),
    "pages overwritten": partial(overwritten, n=40),
}


@pytest.mark.parametrize("kind", HARM)
def test_a_harmed_database_is_refused_or_whole(
    copies: Copies, tmp_path: Path, tally: Tally, kind: str
) -> None:
    store = copies.stopped.read_bytes()
    whole = rows_of(put(tmp_path / "x", store), copies.key)
    assert not isinstance(whole, str)

    for octets in HARM[kind](store, random.Random(SEED)):
        file = put(tmp_path / "x", octets)
        found = rows_of(file, copies.key)
        tally.note(DOOR, kind, found if isinstance(found, str) else "whole")
        assert isinstance(found, str) or found == whole
        assert not isinstance(found, str) or file.read_bytes() == octets

    assert len(whole) > 5


def test_a_harmed_log_is_refused_or_ends_at_a_commit(
    copies: Copies, tmp_path: Path, tally: Tally
) -> None:
    store, log = copies.killed.read_bytes(), log_of(copies.killed).read_bytes()
    ends = [0, *range(LOG_HEAD, len(log) + 1, FRAME)]
    commits = [rows_of(put(tmp_path / "x", store, log[:end]), copies.key) for end in ends]
    last: list[Rows | str] = [rows for n, rows in enumerate(commits) if rows not in commits[:n]]

    for kind, harm in HARM.items():
        for octets in harm(log, random.Random(SEED + 1)):
            file = put(tmp_path / "x", store, octets)
            found = rows_of(file, copies.key)
            tally.note(DOOR, f"log: {kind}", found if isinstance(found, str) else "a commit")
            # That a log was cut off only the peers can tell, and what its last commit was; a page
            # across two frames may take the last of them together.
            known = last[{"bits flipped": -2, "pages overwritten": -4, "cut off": 0}[kind] :]
            assert isinstance(found, str) or found in known
            assert not isinstance(found, str) or log_of(file).read_bytes() == octets

    assert len(set(commits)) > 5


def test_the_node_itself_says_which_file_and_what_to_do(
    copies: Copies, tmp_path: Path, tally: Tally
) -> None:
    bench, store = copies.bench, copies.stopped.read_bytes()
    config = str(bench.folder / NODE / "node.toml")
    dice = random.Random(SEED + 2)
    harmed = [next(HARM[kind](store, dice)) for kind in ("cut off", "pages overwritten")]
    harmed += dice.sample(list(flipped(store, dice, 300)), 6)

    for octets in harmed:
        file = bench.store(NODE)
        log_of(file).unlink(missing_ok=True)
        file.write_bytes(octets)
        done = protokms("node", config, "--check")
        well = not isinstance(rows_of(put(tmp_path / "x", octets), copies.key), str)
        tally.note(DOOR, "node --check", f"exit {done.returncode}")
        assert done.returncode == (0 if well else 1), done.stderr
        assert well or (b"store.db" in done.stderr and b"Remedy: " in done.stderr), done.stderr
        assert b"Traceback" not in done.stderr


def test_an_older_log_beside_a_newer_database_is_taken_for_a_backup(
    tmp_path: Path, tally: Tally
) -> None:
    bench = RealLab(tmp_path / "lab", pair(rate_bit_s=1e6))
    bench.configure("store", erase_s=1.0)
    try:
        bench.up()
        bench.await_keys()
        with bench.client("sae-1") as near, bench.client("sae-2") as far:
            before = exchange(near, far, 16)
            old = log_of(bench.copy_store(NODE, tmp_path / "old")).read_bytes()
            for _ in range(3):  # until the log has been truncated, and holds other things
                size = bench.store(NODE).stat().st_size
                before += exchange(near, far, 32)
                eventually(
                    lambda size=size: bench.store(NODE).stat().st_size > size,  # type: ignore[misc]
                    "the database grows",
                )
        bench.kill(NODE)
        log_of(bench.store(NODE)).write_bytes(old)
        tally.note(DOOR, "an older log", "rolled back or refused")
        check = protokms("node", str(bench.folder / NODE / "node.toml"), "--check")
        assert check.returncode in {0, 1}
        if check.returncode:
            assert b"Remedy: " in check.stderr
            return
        bench.start(NODE)
        bench.await_keys()
        eventually(lambda: bench.metric(NODE, "protokms_alarms_total", kind="rolled_back"), "alarm")
        with bench.client("sae-1") as near, bench.client("sae-2") as far:
            after = exchange(near, far, 64) + exchange(near, far, 64)
    finally:
        bench.down()
    used = {part for key in before for part in windows(key.key.reveal())}
    assert not any(part in used for key in after for part in windows(key.key.reveal()))
