"""Figures: SAEs that ask now and then, alone and beside one that asks for all it can get."""

import asyncio
import json
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from protokms.bench import loader
from protokms.bench.delivery import FILL_S, Bench, fast, raise_if_late, tune, wait_for_bits
from protokms.lab import lab, topology
from protokms.lab import run as lab_run

QUIET = 20
ROUNDS = 3
PAUSE_S = 0.5
CONNECTIONS, KEYS, BITS = 64, 128, 8_192

LEAD_S, END_S = 1.5, 30.0
"""Seconds that the greedy one has to connect, and to end."""
FILLED_S = 4.0
"""Seconds for which bits come in first, but no more of them than half of a store."""

_STORE_BITS, _STORED_BITS = 1 << 30, 500e6
_MOST_BITS = 1 << 34


@dataclass
class _Quiet:
    """What became of the requests of all quiet SAEs."""

    seconds: list[float] = field(default_factory=list)
    in_the_way: list[float] = field(default_factory=list)
    refused: int = 0

    def row(self) -> dict[str, Any]:
        """Lay it out."""
        return {
            "answered": len(self.seconds),
            "refused": self.refused,
            "p50_ms": _ms(self.seconds, 0.5),
            "p99_ms": _ms(self.seconds, 0.99),
            "cpu_in_the_way_p50_ms": _ms(self.in_the_way, 0.5),
        }


@dataclass
class _Greedy:
    """What came back to the greedy SAE, in all rounds."""

    answered: int = 0
    refused: int = 0
    seconds: float = 0.0
    p50_ms: list[float] = field(default_factory=list)

    def add(self, told: dict[str, Any]) -> None:
        """Count a round."""
        self.answered += told["answered"]
        self.refused += told["refused"]
        self.seconds += told["seconds"]
        self.p50_ms.append(told["p50_ms"])

    def row(self) -> dict[str, Any]:
        """Lay it out."""
        bits = self.answered * KEYS * BITS
        return {
            "answered": self.answered,
            "refused": self.refused,
            "p50_ms": max(self.p50_ms),
            "mbit_s": round(bits / max(self.seconds, 1e-9) / 1e6, 1),
        }


def _ms(seconds: list[float], share: float) -> float:
    ordered = sorted(seconds) or [0.0]
    return round(1e3 * ordered[int(share * (len(ordered) - 1))], 1)


def beside(seconds: float, rate: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Let quiet SAEs ask for one key every half second: alone and beside a greedy SAE, in turns.

    The greedy one has 64 connections, and asks for 128 keys of 8,192 bits on each, over and over,
    from a process of its own. `rate` is that of the link, bit/s. `quiet_to_alone` is how many times
    longer the quiet ones wait, by their medians; `cpu_to_alone` the same of the processor time
    that both nodes use while one waits, which depends less on other work of the machine.
    """
    with tempfile.TemporaryDirectory(prefix="protokms-bench-") as made:
        bench = _lab(Path(made) / "lab", rate)
        say(f"two nodes with {QUIET + 1} SAEs: filling their stores")
        states = lab_run.up(bench.folder, FILL_S)
        try:
            raise_if_late(states)
            wait_for_bits(bench, min(_STORED_BITS, rate * FILLED_S))
            return uvloop.run(_measure(bench, seconds, say))
        finally:
            lab_run.down(bench.folder)


def _lab(folder: Path, rate: float) -> Bench:
    shape = topology.parse("chain:2")
    names = ["greedy", *(f"quiet-{number}" for number in range(QUIET))]
    nodes = [msgspec.structs.replace(shape.nodes[0], saes=names), *shape.nodes[1:]]
    the_lab = lab.init(folder, msgspec.structs.replace(shape, nodes=nodes))
    store = {
        "max_bits": _STORE_BITS,
        "max_undelivered_bits_per_pair": _MOST_BITS,
        "max_undelivered_bits_per_sae": _MOST_BITS,
    }
    for node in the_lab.nodes:
        tune(folder / node.config, "store", store)
        tune(folder / node.config, "link", fast(rate, 8192))
    return Bench(folder, the_lab)


async def _measure(bench: Bench, seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    alone, among, greedy = _Quiet(), _Quiet(), _Greedy()
    for _ in range(ROUNDS):
        say(f"{QUIET} quiet SAEs, alone")
        await _ask_quietly(bench, seconds, alone)
        say(f"the same beside {CONNECTIONS} connections with {KEYS} keys of {BITS:,} bits each")
        async with _greedy(bench, seconds + LEAD_S) as score:
            await asyncio.sleep(LEAD_S)
            await _ask_quietly(bench, seconds, among)
            greedy.add(await score)
    figures: dict[str, Any] = {"alone": alone.row(), "beside": among.row(), "greedy": greedy.row()}
    for name, what in (("quiet_to_alone", "p50_ms"), ("cpu_to_alone", "cpu_in_the_way_p50_ms")):
        least = max(figures["alone"][what], 0.1)
        figures[name] = round(figures["beside"][what] / least, 2)
    return figures


def _path(bench: Bench) -> str:
    return f"/api/v1/keys/{bench.lab.saes[-1].id}/enc_keys"


@asynccontextmanager
async def _greedy(bench: Bench, seconds: float) -> AsyncIterator[Awaitable[dict[str, Any]]]:
    """Run the greedy SAE; what is yielded waits for its score."""
    sae, root = bench.lab.saes[0], bench.folder
    files = (root / bench.lab.ca, root / sae.cert, root / sae.key)
    path = f"{_path(bench)}?number={KEYS}&size={BITS}"
    wanted = (bench.lab.nodes[0].etsi014, *files, CONNECTIONS, seconds, path)
    command = (sys.executable, "-m", "protokms.bench.greedy", *map(str, wanted))
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)

    async def score() -> dict[str, Any]:
        async with asyncio.timeout(seconds + END_S):
            told, _ = await process.communicate()
        found: dict[str, Any] = json.loads(told)
        return found

    try:
        yield score()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _ask_quietly(bench: Bench, seconds: float, found: _Quiet) -> None:
    """Ask for a key on one connection of each SAE; they begin one after the other."""
    url, request = bench.lab.nodes[0].etsi014, loader.get(_path(bench))
    nodes = [lab_run.processes_of(bench.folder, node)["core"].pid for node in bench.lab.nodes]

    async def one(tls: ssl.SSLContext, late_s: float) -> None:
        await asyncio.sleep(late_s)
        until = time.perf_counter() + seconds - late_s
        ask = await loader.connect(url, tls)
        while time.perf_counter() < until:
            used, began = _used(nodes), time.perf_counter()
            if await ask.once(request) == 200:  # noqa: PLR2004 -- OK
                found.seconds.append(time.perf_counter() - began)
                found.in_the_way.append(_used(nodes) - used)
            else:
                found.refused += 1
            await asyncio.sleep(PAUSE_S)
        await ask.close()

    quiet = [bench.tls(number) for number in range(1, QUIET + 1)]
    await asyncio.gather(*(one(tls, PAUSE_S * at / QUIET) for at, tls in enumerate(quiet)))


def _used(processes: Sequence[int]) -> float:
    """Read how much processor time processes have used, to the nanosecond.

    The clock of another process has no name in Python; Linux makes its number so.
    """
    return sum(time.clock_gettime((~pid << 3) | 2) for pid in processes)
