"""Half an hour of everything at once on real nodes: promises hold, nothing grows.

SOAK_MINUTES=30 (default), LAB=chain:2 (any shape), PAIRS=all or neighbours, SEED=n.
"""

import os
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from protokms.lab import topology
from protokms.lab.topology import LinkPlan, Topology
from tests.processes.real_history import check
from tests.processes.real_lab import RealLab
from tests.processes.real_load import Load
from tests.processes.real_soak import Drift, Fate, Watch, table

MINUTES = float(os.environ.get("SOAK_MINUTES", "30"))
LAB = os.environ.get("LAB", "chain:2")
PAIRS = os.environ.get("PAIRS", "all")
SEED = int(os.environ.get("SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
REDELIVERY_S = 30.0
BREATH_S = 0.03
SPARED = "kms-1"
THREADS_MORE, FILES_MORE, RSS_MORE = 1, 4, 12 << 20
"""How much more a node may hold in the last quarter of its life than in the second."""

SLACK = 24
"""How much more any life may hold at a time: noise is made at one node after the other."""


def troubled(text: str) -> Topology:
    """Make a shape, and let its links lose, double, reorder and spoil datagrams."""
    plain = topology.parse(text)
    links = [
        LinkPlan(
            a=link.a,
            b=link.b,
            rate_bit_s=4e6,
            loss=0.1,
            duplication=0.05,
            reordering=0.1,
            corruption=0.01,
            seed=SEED % 1000 + n,
        )
        for n, link in enumerate(plain.links)
    ]
    return Topology(nodes=plain.nodes, links=links)


def pairs_of(bench: RealLab) -> list[tuple[str, str]]:
    """Return masters and slaves that talk to each other."""
    saes = bench.made.saes
    return [
        (one.id, other.id)
        for one in saes
        for other in saes
        if one.node != other.node and (PAIRS == "all" or bench.neighbours(one.node, other.node))
    ]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[RealLab]:
    made = RealLab(tmp_path / "lab", troubled(LAB))
    made.configure("store", max_bits=8_000_000, redelivery_s=REDELIVERY_S)
    yield made
    made.down()


def say(text: str) -> None:
    """Say it where pytest shows it: when the test fails, or with `-s`."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_nothing_breaks_and_nothing_grows(bench: RealLab) -> None:
    say(f"\nSEED={SEED} LAB={LAB} PAIRS={PAIRS}: {MINUTES:g} minutes")
    bench.up()
    bench.await_keys()
    pairs = pairs_of(bench)
    dice, fate, watch = random.Random(SEED), Fate(bench, SEED, SPARED), Watch(bench)
    load = Load(bench, max(4, len(pairs)), SEED, pairs=pairs, breath_s=BREATH_S)
    until = time.monotonic() + 60 * MINUTES

    load.start()
    watch.start()
    try:
        while time.monotonic() < until:
            load.await_progress(dice.randint(1, 20))
            fate.strike()
        load.await_progress(20)
    finally:
        load.stop()
        watch.stop()
    bench.await_keys()
    load.settle(again=10_000)
    found = check(load.ops, fate.downs, REDELIVERY_S, "confirmed")
    alarms = {node: bench.metric(node, "protokms_alarms_total") for node in bench.nodes}

    say(f"{len(load.ops)} requests, {len(fate.downs)} lives ended; {dict(fate.done)}; {found}")
    for node in bench.nodes:
        for line in table(watch, node):
            say(line)
    assert found.delivered
    assert not any(alarms.values()), alarms
    assert all(bench.ready(node) for node in bench.nodes)
    assert not any("actor_crashed" in bench.events(node) for node in bench.nodes)
    nothing_grows(watch)


def nothing_grows(watch: Watch) -> None:
    """Compare the quarters of the long life, and every life with it."""
    (long,) = watch.of(SPARED)
    threads, files, rss = (Drift.of(long, name) for name in ("threads", "files", "rss"))
    assert threads.late <= threads.early + THREADS_MORE, threads
    assert files.late <= files.early + FILES_MORE, files
    assert rss.late <= rss.early + RSS_MORE, rss
    for life in (rows for rows in watch.lives.values() if rows):
        assert Drift.of(life, "threads").most <= threads.most + SLACK, life
        assert Drift.of(life, "files").most <= files.most + SLACK, life
