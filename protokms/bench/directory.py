"""Figures: a lab whose directory names very many SAEs; how long it takes to start, and memory."""

import os
import tempfile
import time
import urllib.request
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvloop

from protokms.bench import loader
from protokms.bench.delivery import cpu_seconds, raise_if_late
from protokms.config import directory
from protokms.config.keyfiles import read_key
from protokms.lab import lab, topology
from protokms.lab import run as lab_run
from protokms.lab.lab import Lab
from transport.https import client_context

START_S = 300.0
_MEMORY = {"VmRSS:": "rss_mib", "VmHWM:": "most_rss_mib"}


def directories(saes: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Start two nodes with so many SAEs in the directory: in one process each, and spread.

    Half of the SAEs belong to each node. `first_key_s` is from the start of the nodes until an SAE
    of the first has a key with one of the second.
    """
    figures: dict[str, Any] = {"saes": saes, "cores": os.cpu_count()}
    for kind, spread in (("in_one", False), ("spread", True)):
        say(f"{saes:,} SAEs, nodes {'spread over processes' if spread else 'in one process'}")
        with tempfile.TemporaryDirectory(prefix="protokms-bench-") as made:
            figures |= _started(Path(made) / "lab", saes, kind, spread=spread)
    return figures


def _started(folder: Path, saes: int, kind: str, *, spread: bool) -> dict[str, Any]:
    shape = topology.parse("chain:2")
    the_lab = lab.init(folder, topology.spread(shape) if spread else shape)
    file, read_s = grow(folder, saes)
    began = time.perf_counter()
    states = lab_run.up(folder, START_S)
    try:
        raise_if_late(states)
        ready = time.perf_counter() - began
        uvloop.run(_first_key(folder, the_lab))
        first = time.perf_counter() - began
        with urllib.request.urlopen(f"{the_lab.nodes[0].metrics}/metrics") as answer:  # noqa: S310
            series = sum(not row.startswith(b"#") for row in answer.read().splitlines())
        return {
            "file_mb": round(file.stat().st_size / 1e6, 1),
            "read_s": round(read_s, 2),
            kind: {"ready_s": round(ready, 2), "first_key_s": round(first, 2), "series": series},
            **{f"{kind}_{name}": _use(pid) for name, pid in states[0].pids.items()},
        }
    finally:
        lab_run.down(folder)


def grow(folder: Path, saes: int) -> tuple[Path, float]:
    """Bind so many more SAEs to the nodes of a lab, sign that; return the file, seconds to read."""
    file, ca = folder / "directory.json", folder / "ca/signing.pub"
    known = directory.read(file, ca)
    names = [f"sae-{number:09}" for number in range(saes - sum(len(it.saes) for it in known.kmss))]
    kmss = tuple(
        replace(kms, saes=(*kms.saes, *names[at :: len(known.kmss)]))
        for at, kms in enumerate(known.kmss)
    )
    octets = directory.octets_of(replace(known, serial=known.serial + 1, kmss=kmss))
    file.write_bytes(octets)
    private = read_key(folder / "ca/signing.key")
    directory.signature_path(file).write_bytes(directory.sign(octets, private))
    began = time.perf_counter()
    directory.read(file, ca)
    return file, time.perf_counter() - began


async def _first_key(folder: Path, the_lab: Lab) -> None:
    """Ask until there is a key; `TimeoutError` of the loader if the node does not answer."""
    near, far = the_lab.saes[0], the_lab.saes[1]
    tls = client_context(folder / the_lab.ca, folder / near.cert, folder / near.key)
    request = loader.get(f"/api/v1/keys/{far.id}/enc_keys")
    until = time.monotonic() + START_S
    while time.monotonic() < until:
        score = await loader.load(the_lab.nodes[0].etsi014, tls, 1, 0.0, request)
        if score.seconds:
            return
    raise TimeoutError(f"no key in {START_S} s")


def _use(pid: int) -> dict[str, float]:
    """Read memory and processor time of a process."""
    rows = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    found = {row.split()[0]: row.split()[1] for row in rows if row.startswith("Vm")}
    memory = {name: round(int(found[key]) / 1024) for key, name in _MEMORY.items()}
    return {**memory, "cpu_s": round(cpu_seconds(pid), 1)}
