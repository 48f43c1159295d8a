"""Figures: delivery while nobody, and while many, trouble the front end for controllers."""

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvloop

from protokms.bench import loader
from protokms.bench.delivery import Bench, fast, raise_if_late, tune, wait_for_bits
from protokms.lab import lab, topology
from protokms.lab import run as lab_run

ROUNDS = 3
CONNECTIONS = 16
RATE = 160e6
LEAD_S, END_S, FILL_S = 1.5, 60.0, 60.0
_STORE = {
    "max_bits": 1 << 30,
    "max_undelivered_bits_per_pair": 1 << 34,
    "max_undelivered_bits_per_sae": 1 << 34,
}


def troubled(seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Ask for keys on 16 connections: alone, and beside troublemakers, in turns.

    They are rivals that write the same list, readers of events that read nothing, or vanish, and
    SAEs that try their certificates, all at once, in a process of their own. `per_s` are medians
    of the rounds. `of_alone` is the share that is left; theirs is the processor as well, where
    there are few.
    """
    with tempfile.TemporaryDirectory(prefix="protokms-bench-") as made:
        folder = Path(made) / "lab"
        the_lab = lab.init(folder, topology.parse("chain:2"), controller=True)
        for node in the_lab.nodes:
            tune(folder / node.config, "store", _STORE)
            tune(folder / node.config, "link", fast(RATE, 8192))
        bench = Bench(folder, the_lab)
        say("two nodes: filling their stores")
        states = lab_run.up(folder, FILL_S)
        try:
            raise_if_late(states)
            wait_for_bits(bench, 200e6)
            return uvloop.run(_measure(bench, seconds, say))
        finally:
            lab_run.down(folder)


async def _measure(bench: Bench, seconds: float, say: Callable[[str], None]) -> dict[str, Any]:
    alone, beside, trouble = list[loader.Score](), list[loader.Score](), Counter[str]()
    for _ in range(ROUNDS):
        say("enc_keys, alone")
        alone.append(await _load(bench, seconds))
        say("the same beside troublemakers")
        command = (sys.executable, "-m", "protokms.bench.troublemakers", str(bench.folder))
        process = await asyncio.create_subprocess_exec(
            *command, str(seconds + LEAD_S), stdout=subprocess.PIPE
        )
        try:
            await asyncio.sleep(LEAD_S)
            beside.append(await _load(bench, seconds))
            async with asyncio.timeout(END_S):
                told, _ = await process.communicate()
            trouble.update(json.loads(told))
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    figures: dict[str, Any] = {"alone": _row(alone), "beside": _row(beside)}
    figures["of_alone"] = round(figures["beside"]["per_s"] / figures["alone"]["per_s"], 2)
    return figures | {"trouble": dict(trouble)}


async def _load(bench: Bench, seconds: float) -> loader.Score:
    request = loader.get(f"/api/v1/keys/{bench.lab.saes[1].id}/enc_keys")
    return await loader.load(
        bench.lab.nodes[0].etsi014, bench.tls(0), CONNECTIONS, seconds, request
    )


def _row(scores: list[loader.Score]) -> dict[str, Any]:
    rates = [score.per_second for score in scores]
    return {
        "per_s": round(statistics.median(rates)),
        "least_per_s": round(min(rates)),
        "most_per_s": round(max(rates)),
        "p99_ms": round(1e3 * statistics.median(score.quantile(0.99) for score in scores), 1),
        "refused": sum(score.refused for score in scores),
    }
