"""Each process of a spread node killed in turn, under load: what SAEs saw, and how soon.

SPREAD_KILLS=n for `make kills`; BEAT_S=s is the heartbeat between the processes there, SEED=n.
"""

import os
import random
import signal
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path

import pytest
from msgspec import structs

from protokms.client import SaeClient, SaeError
from protokms.lab import topology
from protokms.lab.topology import Topology
from tests.processes.real_history import Down, check
from tests.processes.real_lab import RealLab, eventually, pair
from tests.processes.real_load import Load

NODE = "kms-1"
VICTIMS = ("core", "front-1", "front-2", "links")
KILLS = 20
SOAK = int(os.environ.get("SPREAD_KILLS", "100"))
BEAT_S = float(os.environ.get("BEAT_S", "0.2"))
SEED = int(os.environ.get("SEED", "0")) or random.SystemRandom().randrange(1, 1 << 32)
REDELIVERY_S = 30.0
CORE_DOWN = "the core of this KME is not reached now"


def spread_pair() -> Topology:
    """Two nodes, of which the first is four processes."""
    plain = pair(rate_bit_s=6e6)
    apart = topology.spread(plain, fronts=2).nodes[0]
    return structs.replace(plain, nodes=[apart, plain.nodes[1]])


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[RealLab]:
    made = RealLab(tmp_path / "lab", spread_pair())
    made.configure("store", redelivery_s=REDELIVERY_S)
    yield made
    made.down()


@dataclass(slots=True)
class Times:
    """Seconds, of each kill: until SAEs hear that core is down, and from the start until ready."""

    refused: list[float] = field(default_factory=list)
    ready: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))

    def lines(self) -> Iterator[str]:
        """Say median and most."""
        yield f"503 core_down {_spread(self.refused)} after the kill of core"
        for name, seconds in self.ready.items():
            yield f"ready {_spread(seconds)} after the start of {name}, {len(seconds)} times"


def _spread(seconds: Sequence[float]) -> str:
    found = sorted(seconds)
    return f"{found[len(found) // 2]:.2f} s (median), {found[-1]:.2f} s (slowest)"


def crash(bench: RealLab, name: str, times: Times) -> Down:
    """Kill one process, start it again; return when the node was not whole."""
    with bench.client("sae-1") as near:
        near.status("sae-2")
        process, down = bench.process(NODE, name), Down(NODE, time.monotonic())
        assert process.signal(signal.SIGKILL)
        assert process.wait(30.0)
        down.gone = time.monotonic()
        if name == "core":
            eventually(lambda: refusal(near) == CORE_DOWN, "the front end says so")
            times.refused.append(time.monotonic() - down.gone)
    begun = time.monotonic()
    bench.launch(NODE, name)
    eventually(lambda: is_ready(bench), f"ready with {name}")
    down.until = time.monotonic()
    times.ready[name].append(down.until - begun)
    return down


def refusal(client: SaeClient) -> str:
    try:
        client.status("sae-2")
    except SaeError as no:
        return str(no).partition(";")[0]
    return ""


def is_ready(bench: RealLab) -> bool:
    try:
        return bench.ready(NODE)
    except (OSError, ValueError):
        return False


def story(bench: RealLab, kills: int, beat_s: float) -> None:
    dice, times, downs = random.Random(SEED), Times(), list[Down]()
    for file in (bench.folder / NODE).glob("*.toml"):
        text = file.read_text()
        file.write_text(
            text.replace("sibling_heartbeat_s = 1.0", f"sibling_heartbeat_s = {beat_s}")
        )
    bench.up()
    bench.await_keys()
    load = Load(bench, threads=4, seed=SEED)
    report(f"\nSEED={SEED}: {kills} times kill -9 of one process, heartbeat {beat_s:g} s")
    began = time.monotonic()
    load.start()
    try:
        for name in islice(cycle(VICTIMS), kills):
            load.await_progress(dice.randint(1, 10))
            downs.append(crash(bench, name, times))
        load.await_progress(10)
    finally:
        load.stop()
    bench.await_keys()
    load.settle(again=5_000)

    found = check(load.ops, downs, REDELIVERY_S, "confirmed")
    alarms = {node: bench.metric(node, "protokms_alarms_total") for node in bench.nodes}

    report(f"{len(load.ops)} requests in {time.monotonic() - began:.0f} s; {found}")
    for line in times.lines():
        report(line)
    assert found.delivered
    assert not any(alarms.values()), alarms
    assert all(bench.ready(node) for node in bench.nodes)
    assert not any("actor_crashed" in bench.events(node) for node in bench.nodes)


def report(text: str) -> None:
    """Say it where pytest shows it: when the test fails, or with `-s`."""
    sys.stdout.write(text + "\n")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_twenty_times_kill_9_of_each_process_in_turn_breaks_no_promise(bench: RealLab) -> None:
    story(bench, KILLS, 1.0)


@pytest.mark.soak
@pytest.mark.timeout(0)
def test_kill_9_of_each_process_in_turn_for_long_breaks_no_promise(bench: RealLab) -> None:
    story(bench, SOAK, BEAT_S)
