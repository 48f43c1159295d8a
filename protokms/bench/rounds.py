"""Figures: requests for keys of this build, of another one, and of the bare server, in turns."""

import json
import os
import ssl
import statistics
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvloop

from protokms.bench import loader
from protokms.bench.cost import Figures, costed
from protokms.bench.delivery import (
    FILL_S,
    Bench,
    fast,
    idle,
    machine,
    tune,
    wait_for_bits,
    yardstick,
)
from protokms.lab import lab

ROUNDS = 5
MODES = ("confirmed", "local")
STORE_BITS, FILLED_BITS = 1 << 30, 900e6
THIS, BEFORE, YARDSTICK = "this", "before", "yardstick"
SPREAD_MAX_PERCENT = 20.0
"""A share is printed only where the rounds of both differ by less than that."""

KEYS_AT_ONCE = 128
_RATE_BIT_S, _MOST_BITS = 160e6, 1 << 34
_COMMAND_S = 120.0
_STOP_S = 5.0
_SPIN = "while True: pass"

Serve = Callable[[float], Figures]
"""Loads one server for so many seconds; returns the row."""


@dataclass(frozen=True)
class Work:
    """What a loader does; `busy`: while a program keeps one core of the machine busy."""

    name: str
    connections: int
    keys: int = 1
    cycles: bool = False
    busy: bool = False

    @property
    def bare(self) -> bool:
        """Whether the yardstick can do it as well."""
        return not self.cycles and self.keys == 1


WORKS = (
    *(Work(f"enc_{n}", n) for n in (1, 16, 64)),
    Work("enc_1_busy", 1, busy=True),
    Work("keys_128", 8, keys=KEYS_AT_ONCE),
    Work("cycles_1", 1, cycles=True),
    Work("cycles_16", 16, cycles=True),
)


def delivery(
    seconds: float,
    say: Callable[[str], None],
    *,
    against: Path | None = None,
    rounds: int = ROUNDS,
    works: Sequence[Work] = WORKS,
) -> Figures:
    """Ask for keys over ETSI 014, in both modes, beside the bare server; medians of the rounds.

    `against` is the Python of another build: each makes its labs with its own `lab init`. All of
    them run throughout; one is asked at a time, the order turned round in each second round.
    Processor time is in µs a request; `spread_percent` is the difference of the fastest and the
    slowest round, of the median.
    """
    builds = {THIS: Path(sys.executable)} | ({BEFORE: against} if against else {})
    figures: Figures = {"machine": machine() | {"build": interpreter()}}
    figures |= {"seconds": seconds, "rounds": rounds}
    with ExitStack() as stack:
        labs: dict[tuple[str, str], Bench] = {}
        for build, python in builds.items():
            for mode in MODES:
                say(f"two nodes of {build}, mode {mode}: filling their stores")
                labs[build, mode] = made = stack.enter_context(_running(python, mode))
                rss = round(made.facts(0)["rss_mib"])
                figures.setdefault(build, {})[mode] = {"rss_mib_filled_1_gbit": rss}
        for work in works:
            rows = _turns(work, labs, seconds, rounds, say)
            _fill_in(figures, work, rows)
    say("an idle pair")
    return figures | {"idle": idle()}


def python_of(venv: Path) -> Path:
    """Return the Python of a virtual environment with a build; `ValueError`: there is none."""
    python = venv.absolute() / "bin/python"
    if not (python.exists() and (python.parent / "protokms").exists()):
        raise ValueError(f"{venv} is no virtual environment in which protokms is installed")
    return python


def interpreter() -> Figures:
    """Tell how this Python was built: without profile and link-time optimisation it is slower."""
    flags = sysconfig.get_config_var("CONFIG_ARGS") or ""
    return {"pgo": "--enable-optimizations" in flags, "lto": "--with-lto" in flags}


def compared(rows: Mapping[str, Sequence[Figures]], share_of: str, name: str) -> Figures:
    """Return the ratio of the medians of `name`, or why none is told: rounds that differ."""
    spreads = {who: spread_percent([row["per_s"] for row in found]) for who, found in rows.items()}
    worst = max(spreads, key=spreads.__getitem__)
    if spreads[worst] > SPREAD_MAX_PERCENT:
        return {"not_told": f"rounds of {worst} differ by {spreads[worst]} %"}
    of, base = (statistics.median(row["per_s"] for row in rows[it]) for it in (name, share_of))
    return {"ratio": round(of / base, 2)}


def spread_percent(rates: Sequence[float]) -> float:
    """Return by how much the fastest and the slowest differ, in percent of the median."""
    return round(100 * (max(rates) - min(rates)) / max(statistics.median(rates), 1e-9), 1)


@contextmanager
def _running(python: Path, mode: str) -> Iterator[Bench]:
    with tempfile.TemporaryDirectory(prefix="protokms-bench-") as made:
        folder = Path(made) / "lab"
        _command(python, "init", folder)
        the_lab = lab.read(folder)
        most = {f"max_undelivered_bits_per_{it}": _MOST_BITS for it in ("pair", "sae")}
        for node in the_lab.nodes:
            file = folder / node.config
            tune(file, "store", {"mode": mode, "max_bits": STORE_BITS, **most})
            tune(file, "link", fast(_RATE_BIT_S, 8192))
            tune(file, "etsi014", {"max_in_flight_per_sae": 512})
        _command(python, "up", folder)
        try:
            bench = Bench(folder, lab.read(folder))
            wait_for_bits(bench, FILLED_BITS)
            yield bench
        finally:
            _command(python, "down", folder)


def _command(python: Path, verb: str, folder: Path) -> None:
    command = [str(python), "-P", "-m", "protokms", "lab", verb, str(folder)]
    done = subprocess.run(  # noqa: S603
        command, capture_output=True, text=True, timeout=_COMMAND_S + FILL_S, check=False
    )
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise RuntimeError(f"lab {verb} of {python} failed: {' '.join(last)}")


def _turns(
    work: Work,
    labs: Mapping[tuple[str, str], Bench],
    seconds: float,
    rounds: int,
    say: Callable[[str], None],
) -> dict[tuple[str, str], list[Figures]]:
    """Ask one after the other, in each round; rows by build and mode."""
    served: dict[tuple[str, str], Serve] = {
        who: lambda span, bench=bench: uvloop.run(_measure(bench, work, span))  # type: ignore[misc]
        for who, bench in labs.items()
    }
    if work.bare:
        bare = next(iter(labs.values()))
        served[YARDSTICK, ""] = lambda span: yardstick(bare, span, (work.connections,)).popitem()[1]
    rows: dict[tuple[str, str], list[Figures]] = {who: [] for who in served}
    with _busy_core() if work.busy else nullcontext():
        for number in range(rounds):
            say(f"{work.name}, round {number + 1} of {rounds}")
            order = list(served.items())
            for who, serve in reversed(order) if number % 2 else order:
                rows[who].append(serve(seconds))
    return rows


@contextmanager
def _busy_core() -> Iterator[None]:
    """Keep one core busy, with a program that does nothing else."""
    with subprocess.Popen([sys.executable, "-c", _SPIN]) as spinner:  # noqa: S603
        try:
            os.sched_setaffinity(spinner.pid, {min(os.sched_getaffinity(0))})
            yield
        finally:
            spinner.kill()
            spinner.wait(_STOP_S)


async def _measure(bench: Bench, work: Work, seconds: float) -> Figures:
    master, slave = bench.lab.saes[0].id, bench.lab.saes[1].id
    near, far = bench.lab.nodes[0].etsi014, bench.lab.nodes[1].etsi014
    number = f"?number={work.keys}" if work.keys > 1 else ""
    request = loader.get(f"/api/v1/keys/{slave}/enc_keys{number}")
    if work.cycles:
        ends = _ends(request, master, (near, bench.tls(0)), (far, bench.tls(1)))
        doing = loader.cycles(*ends, work.connections, seconds)
    else:
        doing = loader.load(near, bench.tls(0), work.connections, seconds, request)
    return await costed(doing, bench.seconds)


def _ends(
    request: bytes, master: str, near: tuple[str, ssl.SSLContext], far: tuple[str, ssl.SSLContext]
) -> tuple[Any, Any]:
    def second(body: bytes) -> bytes:
        key_id = json.loads(body)["keys"][0]["key_ID"]
        return loader.get(f"/api/v1/keys/{master}/dec_keys?key_ID={key_id}")

    def equal(one: bytes, other: bytes) -> bool:
        return bool(json.loads(one)["keys"] == json.loads(other)["keys"])

    return (*near, request), (*far, second, equal)


def _fill_in(figures: Figures, work: Work, rows: Mapping[tuple[str, str], list[Figures]]) -> None:
    for (build, mode), found in rows.items():
        medians = {key: round(statistics.median(row[key] for row in found), 2) for key in found[0]}
        medians["spread_percent"] = spread_percent([row["per_s"] for row in found])
        if work.keys > 1:
            medians["keys_s"] = round(medians["per_s"] * work.keys)
        home = figures.setdefault(build, {})
        (home.setdefault(mode, {}) if mode else home)[work.name] = medians
    for mode in MODES:
        mine = rows[THIS, mode]
        if bare := rows.get((YARDSTICK, "")):
            share = compared({YARDSTICK: bare, THIS: mine}, YARDSTICK, THIS)
            figures.setdefault(f"share_of_yardstick_{mode}", {})[work.name] = share
        if before := rows.get((BEFORE, mode)):
            gain = compared({BEFORE: before, THIS: mine}, BEFORE, THIS)
            costs = [statistics.median(map(_cost, found)) for found in (mine, before)]
            gain["cpu_ratio"] = round(costs[0] / max(costs[1], 1e-9), 2)
            figures.setdefault(f"this_to_before_{mode}", {})[work.name] = gain


def _cost(row: Figures) -> float:
    """Return the processor time of both nodes, µs a request."""
    return float(row["cpu_us_near"] + row["cpu_us_far"])
