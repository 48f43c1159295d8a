"""Delivered keys are gone from the disk of both nodes: from rows, free pages, and the log (P4)."""

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from actors.base import Range
from actors.keystore.options import STORE_BITS_MIN
from actors.storage.file import StoreFile
from actors.storage.sealing import RowSealer
from protokms.client import SaeKey
from protokms.lab.topology import NodePlan, Topology
from tests.processes.real_ears import windows
from tests.processes.real_lab import RealLab, drawn, eventually, pair

pytestmark = pytest.mark.slow

ERASE_S = 1.0
PATIENCE_S = 30.0
"""Far more than `ERASE_S`, for a slow machine; the exact time is tested on a manual clock."""
ROOM = STORE_BITS_MIN
"""Bits that a store takes: once it is full the log does not grow, and not wrap, by itself."""
TRACE = 16
"""Octets of a sealed value by which it is known again, taken from every `TRACE_EVERY` of it."""
TRACE_EVERY = 256
SALT = 4
"""Octets of a sealed value that it has in common with others: the number of the salt."""

_SEALED = (
    "SELECT sealed FROM row WHERE holds ORDER BY store, kind, id",
    """
    SELECT sealed FROM holding AS h JOIN store AS s ON h.number >> 44 = s.number
    ORDER BY s.name, h.number DESC
    """,
)
"""Rows with bits, in the order in which they are read."""


@dataclass(slots=True)
class Disk:
    """What a thief of the disk and the node key has: rows, and the files octet by octet."""

    opened: list[bytes] = field(default_factory=list)
    sealed: list[bytes] = field(default_factory=list)
    raw: dict[str, bytes] = field(default_factory=dict)

    def holds(self, octets: bytes) -> list[bytes]:
        """Return the sealed values that any window of these octets is in."""
        wanted = set(windows(octets))
        return [
            sealed
            for sealed, value in zip(self.sealed, self.opened, strict=True)
            if any(window in value for window in wanted)
        ]

    def traces(self, sealed: bytes) -> list[str]:
        """Return the files in which a part of a sealed value is."""
        parts = [sealed[at : at + TRACE] for at in range(SALT, len(sealed) - TRACE, TRACE_EVERY)]
        return [name for name, octets in self.raw.items() if any(part in octets for part in parts)]


class Thief:
    """Takes copies of a node's files, and opens them with its key."""

    def __init__(self, bench: RealLab, node: str, room: Path) -> None:
        self._bench, self.node, self._room = bench, node, room
        self._taken = 0

    def take(self) -> Disk:
        """Copy what is on the disk now; open every row."""
        self._taken += 1
        folder = self._room / f"{self.node}-{self._taken}"
        copy = self._bench.copy_store(self.node, folder)
        found = Disk()
        for file in folder.iterdir():
            found.raw[file.name] = file.read_bytes()
        key = self._bench.node_key(self.node)
        with contextlib.closing(sqlite3.connect(copy)) as db:
            sealer = RowSealer(key, self.node)
            for number, salt, proof in db.execute("SELECT number, salt, proof FROM salt"):
                assert sealer.add(number, salt, proof)
            stores = [name for (name,) in db.execute("SELECT DISTINCT store FROM row ORDER BY 1")]
            named = [name for (name,) in db.execute("SELECT name FROM store ORDER BY 1")]
            found.sealed = [value for query in _SEALED for (value,) in db.execute(query)]
        store = StoreFile.open(copy, self.node, key)
        try:
            rows = [row for name in stores for row in store.load(name)]
            held = [it for name in named for it in store.numbered(Range(name, "holding"))]
        finally:
            store.close()
        found.opened = [row.secret.reveal() for row in rows if row.secret is not None]
        found.opened += [it.octets for it in held]
        shutil.rmtree(folder)
        return found


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[RealLab]:
    made = RealLab(tmp_path / "lab", pair(rate_bit_s=3e5))
    made.configure("store", erase_s=ERASE_S, redelivery_s=2.0, max_bits=ROOM)
    made.up()
    made.await_keys(256)
    yield made
    made.down()


class Thieves:
    """One at every node, who remember where keys lay sealed while they did."""

    def __init__(self, bench: RealLab, room: Path) -> None:
        self._each = [Thief(bench, node, room) for node in bench.nodes]
        self._blobs: dict[str, list[bytes]] = {thief.node: [] for thief in self._each}

    def remember(self, octets: bytes) -> set[str]:
        """Note every sealed value that holds some of these octets; return at which nodes any is."""
        for thief in self._each:
            self._blobs[thief.node] += thief.take().holds(octets)
        return {node for node, blobs in self._blobs.items() if blobs}

    def find_nothing(self, octets: bytes) -> None:
        """Wait until no disk holds these octets, nor a sealed value that had them."""
        for thief in self._each:
            what = f"the keys leave the disk of {thief.node}"
            eventually(partial(self._gone, thief, octets), what, PATIENCE_S)

    def _gone(self, thief: Thief, octets: bytes) -> bool:
        disk = thief.take()
        return not disk.holds(octets) and not any(map(disk.traces, self._blobs[thief.node]))


@pytest.fixture
def thieves(bench: RealLab, tmp_path: Path) -> Thieves:
    return Thieves(bench, tmp_path)


def octets_of(keys: list[SaeKey]) -> bytes:
    return b"".join(key.key.reveal() for key in keys)


def ids_of(keys: list[SaeKey]) -> list[str]:
    return [key.key_id for key in keys]


@pytest.mark.parametrize("mode", ["confirmed", "local"])
def test_delivered_keys_are_gone_from_both_disks(
    bench: RealLab, thieves: Thieves, mode: str
) -> None:
    bench.down()
    bench.configure("store", mode=mode)
    bench.up()
    bench.await_keys(256)
    with bench.client("sae-1") as near, bench.client("sae-2") as far:
        sent = drawn(near, "sae-2", 16, 1024)
        lay = thieves.remember(octets_of(sent))
        got = far.dec_keys("sae-1", ids_of(sent))
        thieves.remember(octets_of(sent))

    assert got == sent
    assert lay == {"kms-1", "kms-2"}
    thieves.find_nothing(octets_of(sent))


def test_one_delivered_key_of_several_is_gone_and_the_others_are_not(
    bench: RealLab, thieves: Thieves
) -> None:
    with bench.client("sae-1") as near, bench.client("sae-2") as far:
        sent = drawn(near, "sae-2", 4, 1024)
        thieves.remember(octets_of(sent[:1]))
        assert far.dec_keys("sae-1", ids_of(sent[:1])) == sent[:1]

        thieves.find_nothing(octets_of(sent[:1]))

        assert far.dec_keys("sae-1", ids_of(sent[1:])) == sent[1:]


def test_a_key_delivered_just_before_kill_9_is_gone_some_time_after_the_start(
    bench: RealLab, thieves: Thieves
) -> None:
    with bench.client("sae-1") as near, bench.client("sae-2") as far:
        sent = drawn(near, "sae-2", 8, 512)
        thieves.remember(octets_of(sent))
        assert far.dec_keys("sae-1", ids_of(sent)) == sent
    for node in bench.nodes:
        bench.kill(node)
    bench.start(*bench.nodes)

    thieves.find_nothing(octets_of(sent))


def test_same_node_keys_are_gone_too(tmp_path: Path) -> None:
    alone = Topology(nodes=[NodePlan(name="kms-1", saes=["sae-1", "sae-2"])])
    bench = RealLab(tmp_path / "one", alone)
    bench.configure("store", erase_s=ERASE_S)
    thieves = Thieves(bench, tmp_path)
    bench.up()
    try:
        with bench.client("sae-1") as near, bench.client("sae-2") as far:
            sent = drawn(near, "sae-2", 8, 512)
            lay = thieves.remember(octets_of(sent))
            assert far.dec_keys("sae-1", ids_of(sent)) == sent

            thieves.find_nothing(octets_of(sent))
    finally:
        bench.down()
    assert lay == {"kms-1"}
