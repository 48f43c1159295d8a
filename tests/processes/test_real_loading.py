"""A node killed while it loads what lies undelivered in its store (R18)."""

import os
import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from protokms.client import SaeClient, SaeError, SaeKey
from tests.processes.real_lab import RealLab, drawn, eventually, exchange, pair

KEYS = 40
SEED = int(os.environ.get("SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[RealLab]:
    made = RealLab(tmp_path / "lab", pair(rate_bit_s=6e6))
    yield made
    made.down()


def fetched(far: SaeClient, key: SaeKey) -> list[SaeKey]:
    """Fetch a key, unless it is not loaded yet: nothing but "later" may be said of it."""
    try:
        return far.dec_keys("sae-1", [key.key_id])
    except SaeError as no:
        if no.status != 503:
            raise
        return []


def counted(bench: RealLab, event: str) -> int:
    return bench.events("kms-2").count(event)


def left(bench: RealLab) -> float:
    return bench.metric("kms-2", "protokms_grants_to_load", peer="kms-1")


@pytest.mark.slow
def test_kill_9_at_any_moment_of_a_start_loses_no_key(bench: RealLab) -> None:
    dice = random.Random(SEED)
    bench.up()
    bench.await_keys()
    with bench.client("sae-1") as near:
        keys = [drawn(near, "sae-2", 1)[0] for _ in range(KEYS)]
    assert bench.terminate("kms-2") == 0  # it has marked them: they are loaded after it serves
    bench.rows_s = 0.1
    for moment in ("begins", "serves", "loads", "loads"):
        began, serves = len(bench.log("kms-2")), counted(bench, "node_started")
        bench.launch("kms-2")
        if moment == "begins":
            more = dice.randint(0, 1000)
            eventually(lambda: len(bench.log("kms-2")) > began + more, f"{more} more are logged")  # noqa: B023
        else:
            eventually(lambda: counted(bench, "node_started") > serves, "it serves")  # noqa: B023
        if moment == "loads":
            most = dice.randint(KEYS // 4, KEYS)
            eventually(lambda: left(bench) <= most, f"{most} grants are left at most")  # noqa: B023
        bench.kill("kms-2")
    bench.start("kms-2")

    with bench.client("sae-1") as near, bench.client("sae-2") as far:
        exchange(near, far, 1)
        for key in keys:
            assert eventually(partial(fetched, far, key), "it is loaded") == [key]
    assert counted(bench, "grants_to_load") >= 3
    assert counted(bench, "grants_loaded") >= 1
    assert not any(bench.metric(node, "protokms_alarms_total") for node in bench.nodes)
    assert not any("actor_crashed" in bench.events(node) for node in bench.nodes)
