"""Figures: a node as one process, with its front end apart, and with two front ends, in turns."""

import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop
from msgspec import structs

from protokms.bench import loader
from protokms.bench.cost import Figures, costed
from protokms.bench.delivery import (
    FILL_S,
    PAGE,
    Bench,
    cpu_seconds,
    fast,
    machine,
    raise_if_late,
    tune,
    wait_for_bits,
    yardstick,
)
from protokms.lab import lab, topology
from protokms.lab import run as lab_run
from protokms.lab.topology import ProcessPlan

ROUNDS = 5
CONNECTIONS = (16, 64)
SHAPES = {"one_process": 0, "front_apart": 1, "two_fronts": 2}
"""How many front ends the node that is asked has in processes of their own."""

_RATE_BIT_S, _STORED_BITS, _FULL_BITS = 40e6, 1 << 26, 60e6
_MOST_BITS = 1 << 34
_IN_FLIGHT = 512


@dataclass(frozen=True)
class _Shape:
    """A lab of two nodes; of the first, how much each process uses."""

    bench: Bench

    def seconds(self) -> dict[str, float]:
        """Read how much processor time each process has used, and the other node."""
        near, far = (lab_run.processes_of(self.bench.folder, it) for it in self.bench.lab.nodes)
        found = {name: cpu_seconds(one.pid) for name, one in near.items()}
        return {**found, "far": sum(cpu_seconds(one.pid) for one in far.values())}

    def memory(self) -> dict[str, float]:
        """Read how much memory each process of the first node has resident, in MiB."""
        near = lab_run.processes_of(self.bench.folder, self.bench.lab.nodes[0])
        return {name: _rss_mib(one.pid) for name, one in near.items()}


def spread(seconds: float, say: Callable[[str], None]) -> Figures:
    """Measure `enc_keys` at each shape of a node and at the yardstick, one after the other.

    Each figure is the median of the rounds. Processor time is in µs a request, of each process.
    """
    figures: Figures = {"machine": machine(), "seconds": seconds, "rounds": ROUNDS}
    with ExitStack() as stack:
        shapes = {}
        for name, fronts in SHAPES.items():
            say(f"two nodes, {name}: filling their stores")
            shapes[name] = stack.enter_context(_running(fronts))
        for name, shape in shapes.items():
            figures[name] = {"rss_mib_started": shape.memory()}
        bare = next(iter(shapes.values())).bench
        for connections in CONNECTIONS:
            rows: dict[str, list[Figures]] = {name: [] for name in ("yardstick", *shapes)}
            for number in range(1, ROUNDS + 1):
                say(f"{connections} connections, round {number} of {ROUNDS}")
                rows["yardstick"].append(yardstick(bare, seconds, (connections,)).popitem()[1])
                for name, shape in shapes.items():
                    rows[name].append(uvloop.run(_measure(shape, connections, seconds)))
            for name, found in rows.items():
                figures.setdefault(name, {})[f"enc_{connections}"] = _medians(found)
        for name, shape in shapes.items():
            figures[name]["rss_mib"] = shape.memory()
    return figures


@contextmanager
def _running(fronts: int) -> Iterator[_Shape]:
    with tempfile.TemporaryDirectory(prefix="protokms-bench-") as made:
        folder = Path(made) / "lab"
        the_lab = lab.init(folder, _topology(fronts))
        for file in folder.glob("*/*.toml"):
            limits = {f"max_{name}_per_sae": _IN_FLIGHT for name in ("in_flight", "connections")}
            tune(file, "etsi014", limits)
            tune(file, "link", fast(_RATE_BIT_S, 8192))
            undelivered = dict.fromkeys(("pair", "sae"), _MOST_BITS)
            most = {f"max_undelivered_bits_per_{it}": n for it, n in undelivered.items()}
            tune(file, "store", {"max_bits": _STORED_BITS, **most})
        states = lab_run.up(folder, FILL_S)
        try:
            raise_if_late(states)
            bench = Bench(folder, the_lab)
            wait_for_bits(bench, _FULL_BITS)  # a link that fills costs processor time
            yield _Shape(bench)
        finally:
            lab_run.down(folder)


def _topology(fronts: int) -> topology.Topology:
    plain = topology.parse("chain:2")
    names = ["etsi014"] if fronts == 1 else [f"etsi014/{n}" for n in range(1, fronts + 1)]
    apart = [
        ProcessPlan(name=f"front-{number}", actors=[name])
        for number, name in enumerate(names[:fronts], 1)
    ]
    near = structs.replace(plain.nodes[0], processes=apart)
    return structs.replace(plain, nodes=[near, plain.nodes[1]])


async def _measure(shape: _Shape, connections: int, seconds: float) -> Figures:
    bench = shape.bench
    request = loader.get(f"/api/v1/keys/{bench.lab.saes[1].id}/enc_keys")
    url, tls = bench.lab.nodes[0].etsi014, bench.tls(0)
    return await costed(loader.load(url, tls, connections, seconds, request), shape.seconds)


def _medians(rows: list[Figures]) -> dict[str, Any]:
    return {name: round(statistics.median(row[name] for row in rows), 2) for name in rows[0]}


def _rss_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return round(pages * PAGE / (1 << 20), 1)
