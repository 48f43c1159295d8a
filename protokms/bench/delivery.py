"""Figures: two nodes and a loader on this machine, with the yardstick in the same run."""

import asyncio
import json
import os
import platform
import re
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop
from cryptography.hazmat.primitives.poly1305 import Poly1305

from protokms.bench import loader
from protokms.bench.cost import costed
from protokms.lab import lab, topology
from protokms.lab import run as lab_run
from protokms.lab.lab import Lab, LabNode
from protokms.node import ports
from transport.https import client_context

CONNECTIONS = (1, 16, 64)
PAUSE_S = 0.2
FILL_S = 60.0
PAGE = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")

Figures = dict[str, Any]


@dataclass(frozen=True)
class Bench:
    """A running lab of two nodes, and what a loader needs to talk to them as its SAEs."""

    folder: Path
    lab: Lab

    def tls(self, sae: int) -> ssl.SSLContext:
        """Make the TLS side of the SAE of node 0 or 1."""
        it = self.lab.saes[sae]
        root = self.folder
        return client_context(root / self.lab.ca, root / it.cert, root / it.key)

    def facts(self, node: int) -> Figures:
        """Read memory and processor time of a node from the kernel."""
        processes = lab_run.processes_of(self.folder, self.lab.nodes[node])
        pid = processes["core"].pid
        pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
        return {"rss_mib": pages * PAGE / (1 << 20), "cpu_s": cpu_seconds(pid)}

    def seconds(self) -> dict[str, float]:
        """Read how much processor time each node has used."""
        return {who: self.facts(node)["cpu_s"] for node, who in enumerate(("near", "far"))}

    def bits(self, node: int, kind: str) -> float:
        """Read a node's gauge of bits in its store."""
        return metric(self.lab.nodes[node], "protokms_bits", f'kind="{kind}"')


def cpu_seconds(pid: int) -> float:
    """Read how much processor time a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def metric(node: LabNode, name: str, label: str) -> float:
    """Read one value from /metrics; 0 when it is not there yet."""
    with urllib.request.urlopen(f"{node.metrics}/metrics", timeout=5.0) as answer:  # noqa: S310
        text = answer.read().decode()
    rows = (row for row in text.splitlines() if row.startswith(f"{name}{{") and label in row)
    return sum(float(row.rpartition(" ")[2]) for row in rows)


@contextmanager
def running(link: Figures, store: Figures) -> Iterator[tuple[Bench, float]]:
    """Run a lab of two nodes; yield it, and the seconds until both were ready."""
    with tempfile.TemporaryDirectory(prefix="protokms-bench-") as made:
        folder = Path(made) / "lab"
        shape = topology.parse("chain:2")
        the_lab = lab.init(folder, shape)
        for node in the_lab.nodes:
            tune(folder / node.config, "store", store)
            tune(folder / node.config, "link", link)
            tune(folder / node.config, "etsi014", {"max_in_flight_per_sae": 512})
        began = time.perf_counter()
        states = lab_run.up(folder)
        ready = time.perf_counter() - began
        try:
            raise_if_late(states)
            yield Bench(folder, the_lab), ready
        finally:
            lab_run.down(folder)


def raise_if_late(states: Sequence[lab_run.NodeState]) -> None:
    """Raise `RuntimeError` with the reasons of all nodes that were not ready in time."""
    if late := [f"{state.name}: {'; '.join(state.reasons)}" for state in states if state.reasons]:
        raise RuntimeError("; ".join(late))


def fast(rate: float, max_bytes: int) -> Figures:
    """Make the options of a link of so many bit/s."""
    return {"round_s": None, "rate_bit_s": rate, "max_bytes": max_bytes}


def tune(file: Path, table: str, values: Figures) -> None:
    """Set keys of a table in a node's configuration; None takes one out."""
    text = file.read_text(encoding="utf-8")
    for name, value in values.items():
        text = re.sub(rf"(?m)^{name} += .*\n", "", text)
        if value is None:
            continue
        row = f"{name} = {json.dumps(value)}\n"
        text = re.sub(rf"(?m)^(\[+{table}\]+.*\n)", rf"\g<1>{row}", text)
    file.write_text(text, encoding="utf-8")


def machine() -> Figures:
    """Tell what this machine does: durable writes, one-time tags."""
    with tempfile.NamedTemporaryFile() as file:
        seconds = []
        for number in range(200):
            os.pwrite(file.fileno(), b"x" * 4096, number * 4096)
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            seconds.append(time.perf_counter() - began)
    block, key = bytes(1 << 20), bytes(range(32))
    began = time.perf_counter()
    for _ in range(64):
        Poly1305.generate_tag(key, block)
    poly = 64 * 8 * len(block) / (time.perf_counter() - began) / 1e6
    seconds.sort()
    return {
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "fdatasync_p50_us": round(seconds[100] * 1e6),
        "fdatasync_p99_us": round(seconds[197] * 1e6),
        "poly1305_mbit_s": round(poly),
    }


def wait_for_bits(bench: Bench, bits: float) -> None:
    """Wait until the stores hold so many bits; `TimeoutError` if they do not."""
    until = time.monotonic() + FILL_S
    while min(bench.bits(0, "stored"), bench.bits(1, "stored")) < bits:
        if time.monotonic() > until:
            raise TimeoutError(f"the stores did not reach {bits:.0f} bits in {FILL_S} s")
        time.sleep(PAUSE_S)


def yardstick(bench: Bench, seconds: float, connections: Sequence[int] = CONNECTIONS) -> Figures:
    """Measure the bare server with the certificates of a lab; a row for each of `connections`."""
    home = (bench.folder / bench.lab.nodes[0].config).parent
    port = next(ports.free("yardstick", ()))
    files = [str(home / "tls.crt"), str(home / "tls.key"), str(bench.folder / bench.lab.ca)]
    command = [sys.executable, "-m", "protokms.bench.yardstick", *files, str(port)]
    log = (bench.folder / "yardstick.log").open("wb")
    with log, subprocess.Popen(command, stderr=log) as process:  # noqa: S603
        try:
            return uvloop.run(_against(bench, port, process.pid, seconds, connections))
        finally:
            process.terminate()


async def _against(
    bench: Bench, port: int, pid: int, seconds: float, counts: Sequence[int]
) -> Figures:
    url, tls, request = f"https://127.0.0.1:{port}", bench.tls(0), loader.get("/")
    for _ in range(600):
        try:
            await loader.load(url, tls, 1, 0.2, request)
            break
        except OSError:
            await asyncio.sleep(0.05)
    rows = {}
    for connections in counts:
        work = loader.load(url, tls, connections, seconds, request)
        rows[f"enc_{connections}"] = await costed(work, lambda: {"near": cpu_seconds(pid)})
    return rows


def idle(seconds: float = 5.0) -> Figures:
    """Measure a node of a pair at rest whose stores are full: start, memory, processor."""
    with running(fast(400e3, 999), {"max_bits": 1 << 21}) as (bench, ready):
        wait_for_bits(bench, 1 << 20)
        time.sleep(5.0)
        before = bench.facts(0)
        time.sleep(seconds)
        after = bench.facts(0)
    share = (after["cpu_s"] - before["cpu_s"]) / seconds
    return {
        "ready_s": round(ready, 2),
        "rss_mib": round(after["rss_mib"], 1),
        "cpu_percent": round(100 * share, 2),
    }


def ingest(seconds: float, max_bytes: int, rate: float) -> Figures:
    """Measure how fast an emulated link fills both stores, synchronised and durable."""
    made: Figures = {"machine": machine(), "max_bytes": max_bytes, "asked_mbit_s": rate / 1e6}
    with running(fast(rate, max_bytes), {"max_bits": 1 << 33}) as (bench, _):
        before, cpu = _stored(bench), [bench.facts(node)["cpu_s"] for node in (0, 1)]
        began = time.perf_counter()
        time.sleep(seconds)
        after, spent = _stored(bench), time.perf_counter() - began
        used = [bench.facts(node)["cpu_s"] - cpu[node] for node in (0, 1)]
        lost = metric(bench.lab.nodes[0], "protokms_octets_lost_total", "peer=")
    made["mbit_s"] = round((after - before) / spent / 1e6, 1)
    made["cores_sender"], made["cores_receiver"] = (round(u / spent, 2) for u in used)
    per_mbit = [round(1e3 * u / max((after - before) / 1e6, 1e-9), 2) for u in used]
    made["cpu_ms_a_mbit_sender"], made["cpu_ms_a_mbit_receiver"] = per_mbit
    made["octets_lost"] = lost
    return made


def _stored(bench: Bench) -> float:
    return min(bench.bits(0, "stored"), bench.bits(1, "stored"))
