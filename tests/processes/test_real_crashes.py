"""Nodes killed again and again under load, and what their SAEs saw of it."""

import math
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes.real_history import Down, Op, check
from tests.processes.real_lab import RealLab, eventually, exit_code, pair
from tests.processes.real_load import End, Load

REDELIVERY_S = 30.0
KILLS = 20
SLOW_S = 0.1
SOAK = int(os.environ.get("SOAK", "500"))
"""How many times `make kills` kills a node, in all modes together."""

MODES = ("confirmed", "local")
SEED = int(os.environ.get("SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
VICTIMS = (["kms-1"], ["kms-2"], ["kms-1"], ["kms-2"], ["kms-1", "kms-2"])


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[RealLab]:
    made = RealLab(tmp_path / "lab", pair(rate_bit_s=6e6))
    yield made
    made.down()


def crash(bench: RealLab, load: Load, dice: random.Random) -> tuple[list[Down], float]:
    """Kill a node, or both, at some moment; and the seconds until all was ready again.

    What is started anew has a slow disk or a fast one.
    """
    load.await_progress(dice.randint(1, 25))
    downs = [Down(node, time.monotonic()) for node in dice.choice(VICTIMS)]
    for down in downs:
        bench.kill(down.node)
        down.gone = time.monotonic()
    bench.slow_s = dice.choice((0.0, SLOW_S))
    seconds = bench.start(*(down.node for down in downs))
    for down in downs:
        down.until = time.monotonic()
    return downs, seconds


def report(text: str) -> None:
    """Say it where pytest shows it: when the test fails, or with `-s`."""
    sys.stdout.write(text + "\n")


def story(bench: RealLab, kills: int, mode: str) -> None:
    dice, took = random.Random(SEED), list[float]()
    downs: list[Down] = []
    bench.configure("store", mode=mode, redelivery_s=REDELIVERY_S)
    bench.up()
    bench.await_keys()
    load = Load(bench, threads=4, seed=SEED, mode=mode)
    report(f"\nSEED={SEED}: {kills} times kill -9, {mode}")
    began = time.monotonic()
    load.start()
    try:
        while len(downs) < kills:
            gone, seconds = crash(bench, load, dice)
            downs += gone
            took.append(seconds)
        load.await_progress(20)
    finally:
        load.stop()
    bench.await_keys()
    load.settle(again=10_000)

    found = check(load.ops, downs, REDELIVERY_S, mode)
    alarms = {node: bench.metric(node, "protokms_alarms_total") for node in bench.nodes}

    took.sort()
    minutes = (time.monotonic() - began) / 60
    report(f"{len(load.ops)} requests, {len(downs)} nodes killed in {minutes:.1f} min; {found}")
    report(f"ready again after {took[len(took) // 2]:.2f} s (median), {took[-1]:.2f} s (slowest)")
    assert found.delivered
    assert not any(alarms.values()), alarms
    assert all(bench.ready(node) for node in bench.nodes)
    assert not any("actor_crashed" in bench.events(node) for node in bench.nodes)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_twenty_times_kill_9_under_load_breaks_no_promise(bench: RealLab) -> None:
    story(bench, KILLS, "confirmed")


@pytest.mark.soak
@pytest.mark.timeout(0)
@pytest.mark.parametrize("mode", MODES)
def test_kill_9_under_load_for_long_breaks_no_promise(bench: RealLab, mode: str) -> None:
    story(bench, math.ceil(SOAK / len(MODES)), mode)


@pytest.mark.slow
def test_sigterm_finishes_the_request_that_is_open(bench: RealLab) -> None:
    bench.configure("transport", heartbeat_s=20.0)  # a peer that hangs counts as there
    bench.up()
    bench.await_keys()
    got: list[Op] = []

    def ask() -> None:
        with bench.client("sae-1") as client:
            got.append(End(client, "kms-1", []).enc("sae-1", "sae-2", 4, 256))

    thread = threading.Thread(target=ask)
    process = bench.process("kms-1")
    with bench.frozen("kms-2"):  # so that it cannot be answered yet
        thread.start()
        eventually(lambda: bench.facts("kms-1", "etsi014")["requests"] == "1", "it is open")
        process.signal(signal.SIGTERM)
        eventually(lambda: "node_stopping" in bench.events("kms-1"), "it drains")
        open_still = not got
    thread.join()

    assert open_still
    assert exit_code(process) == 0
    assert got[0].ok or "no answer in time" in got[0].why  # if this machine is very slow
    with bench.client("sae-2") as far:
        fetched = far.dec_keys("sae-1", list(got[0].ids)) if got[0].ok else []
    assert tuple(key.key.reveal() for key in fetched) == got[0].values
