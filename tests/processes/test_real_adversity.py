"""A link that loses, doubles, reorders and spoils datagrams: keys flow, memory stays."""

import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.processes.real_history import check
from tests.processes.real_lab import RealLab, eventually, exchange, pair
from tests.processes.real_load import Load

pytestmark = pytest.mark.slow

MISCHIEF = {"loss": 0.2, "duplication": 0.05, "reordering": 0.1, "corruption": 0.01}
ROUNDS = 6
ANSWERS_A_ROUND = 200
GROWTH = 8 << 20
"""Octets of memory that a node may take more: of the order of one arena of malloc."""


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[RealLab]:
    made = RealLab(tmp_path / "lab", pair(rate_bit_s=4e6, seed=7, **MISCHIEF))
    made.configure("store", max_bits=8_000_000)
    made.up()
    yield made
    made.down()


def has_grown(bench: RealLab, node: str, peer: str, before: float) -> bool:
    return bench.bits(node, peer, "stored") > before + 500_000


def test_stock_grows_and_keys_are_equal_on_a_bad_link(bench: RealLab) -> None:
    bench.await_keys()
    ends = (("kms-1", "kms-2"), ("kms-2", "kms-1"))

    before = {node: bench.bits(node, peer, "stored") for node, peer in ends}
    for node, peer in ends:
        eventually(partial(has_grown, bench, node, peer, before[node]), "stock grows")
    with bench.client("sae-1") as near, bench.client("sae-2") as far:
        keys = [key for _ in range(20) for key in exchange(near, far, 32)]

    befallen = {
        what: bench.metric("kms-1", "protokms_link_adversity_total", what=what) for what in MISCHIEF
    }
    assert len({key.key.reveal() for key in keys}) == 640
    assert all(befallen.values()), befallen
    assert bench.metric("kms-2", "protokms_link_dropped_total", reason="duplicate") > 0
    assert not any(bench.metric(node, "protokms_alarms_total") for node in bench.nodes)


def test_memory_is_flat_on_a_bad_link_under_load(bench: RealLab) -> None:
    bench.await_keys()
    load = Load(bench, threads=4, seed=1)
    memory: dict[str, list[int]] = {node: [] for node in bench.nodes}
    began = time.monotonic()

    load.start()
    try:
        for _ in range(ROUNDS):
            load.await_progress(ANSWERS_A_ROUND)
            for node in bench.nodes:
                memory[node].append(bench.rss(node))
    finally:
        load.stop()
    bench.await_keys()
    load.settle(again=500)

    found = check(load.ops, [], 30.0, "confirmed")
    mib = {node: [octets >> 20 for octets in rows] for node, rows in memory.items()}
    sys.stdout.write(f"\n{time.monotonic() - began:.0f} s; {found}; MiB at {mib}\n")
    for rows in memory.values():
        assert rows[-1] - rows[ROUNDS // 3] < GROWTH, mib
