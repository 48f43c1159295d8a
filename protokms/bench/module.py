"""Figures: what a device behind ETSI 014 gives, and what of it becomes key over a link, beside it.

Without a device two nodes of ours are the pair: their emulated link is held to a rate, and the
link of two others fetches what these give.
"""

import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from protokms.bench.delivery import Bench, cpu_seconds, fast, metric, raise_if_late, tune
from protokms.client import SaeClient, SaeError
from protokms.lab import lab, topology
from protokms.lab import run as lab_run

SIZES = (256, 1_024, 8_192)
NUMBERS = (1, 16, 128)
GIVE_BIT_S = 60e6
"""Of our own pair, while it is measured what one gives."""
GIVE_MAX_BITS = 1 << 28
"""What it has in store then; full, its link rests while keys are asked for."""
READY_S, SETTLE_S, PAUSE_S = 60.0, 20.0, 0.2
LOOK_S = 2.0
"""What the devices had in store at first is fetched when it gets no less in that time."""
LEAST_BITS = 500e3
"""A slow link is measured until so many are due: key comes in batches of 9 kbit and more."""
ENOUGH, BUSY = 0.9, 0.5
MAX_BITS, _MOST_BITS = 1 << 30, 1 << 34
_LIMITS = {
    "max_undelivered_bits_per_pair": _MOST_BITS,
    "max_undelivered_bits_per_sae": _MOST_BITS,
}
_UNAVAILABLE, _REFUSED = 503, 400
_LINK = re.compile(r"(?ms)^\[\[link\]\].*?(?=^\[|\Z)")

Figures = dict[str, Any]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Side:
    """A device at one site, and who asks it: an SAE with its certificate; the SAE of the other."""

    url: str
    far_sae: str
    certificate: Path
    key: Path
    ca: Path


def module(
    near: Side | None, far: Side | None, rates: Sequence[float], seconds: float, say: Say
) -> Figures:
    """Measure the device `near`, then the link over it and `far`; for None our own pair.

    `rates` are bit/s that the pair is held to, one after the other: our own is, another is by
    itself (then the first counts, and only for `share_of_rate`).
    """
    figures: Figures = {"seconds": seconds, "cores": os.cpu_count(), "links": {}}
    if near:
        say(f"what {near.url} gives")
        figures["device"] = _gives(near, seconds, say)
        if far:
            say("a link over the two devices")
            figures["links"][f"{rates[0]:g}"] = _link((near, far), None, rates[0], seconds)
        return figures
    say("two nodes as the pair of devices: filling their stores")
    with _pair(GIVE_BIT_S, GIVE_MAX_BITS) as pair:
        _await(lambda: pair.bits(0, "stored") >= ENOUGH * GIVE_MAX_BITS, READY_S)
        figures["device"] = _gives(_sides(pair)[0], seconds, say)
    for rate in rates:
        say(f"a link over a pair that is held to {rate:g} bit/s")
        with _pair(rate) as pair:
            figures["links"][f"{rate:g}"] = _link(_sides(pair), pair, rate, seconds)
    return figures


@contextmanager
def _pair(rate: float, max_bits: int = MAX_BITS) -> Iterator[Bench]:
    """Run two nodes whose emulated link gives so many bit/s, until their stores are full."""
    largest = min(8_192, max(50, int(rate / 8)))
    with _lab("devices", fast(rate, largest), max_bits=max_bits) as bench:
        yield bench


@contextmanager
def _lab(
    name: str, link: Mapping[str, Any], sides: Sequence[Side] = (), max_bits: int = MAX_BITS
) -> Iterator[Bench]:
    with tempfile.TemporaryDirectory(prefix="protokms-bench-") as made:
        folder = Path(made) / name
        the_lab = lab.init(folder, topology.parse("chain:2"))
        for node in the_lab.nodes:
            tune(folder / node.config, "store", {"max_bits": max_bits, **_LIMITS})
            tune(folder / node.config, "link", dict(link))
        for end, side in enumerate(sides):
            _connect(folder / the_lab.nodes[end].config, the_lab.nodes[1 - end].name, end, side)
        try:
            raise_if_late(lab_run.up(folder, READY_S))
            yield Bench(folder, the_lab)
        finally:
            lab_run.down(folder)


def _connect(file: Path, peer: str, end: int, side: Side) -> None:
    """Let the one link of a node begin at a device: the first asks for keys, the other fetches."""
    said = {name: str(getattr(side, name)) for name in ("url", "far_sae")}
    said |= {name: str(getattr(side, name).resolve()) for name in ("certificate", "key", "ca")}
    rows = "".join(f"{name} = {json.dumps(value)}\n" for name, value in said.items())
    head = f'peer = "{peer}"\nmodule = "etsi014"\nrole = "{("sender", "receiver")[end]}"\n'
    table = f"[[link]]\n{head}[link.etsi014]\n{rows}\n"
    text, changed = _LINK.subn(lambda _: table, file.read_text(encoding="utf-8"))
    assert changed == 1, "a lab of two has one link"
    file.write_text(text, encoding="utf-8")


def _sides(pair: Bench) -> tuple[Side, Side]:
    """Return what the SAEs of two nodes see of them."""
    saes, root = pair.lab.saes[:2], pair.folder
    first, second = (
        Side(
            url=str(pair.lab.nodes[end].etsi014),
            far_sae=saes[1 - end].id,
            certificate=root / saes[end].cert,
            key=root / saes[end].key,
            ca=root / pair.lab.ca,
        )
        for end in (0, 1)
    )
    return first, second


# What a device gives


def _gives(side: Side, seconds: float, say: Say) -> Figures:
    """Ask for keys over one connection, as a link does, for each size and number."""
    made: Figures = {}
    with SaeClient(side.url, side.ca, side.certificate, side.key) as client:
        for size in SIZES:
            for number in NUMBERS:
                say(f"enc_keys, {number} of {size} bits")
                made[f"{number}x{size}"] = _rate(client, side.far_sae, number, size, seconds)
    return made


def _rate(client: SaeClient, far: str, number: int, size: int, seconds: float) -> Figures:
    """Keys are asked for over and over; one that has none is asked again after a while."""
    keys = empty = 0
    refused = ""
    began = time.perf_counter()
    while time.perf_counter() < began + seconds and not refused:
        try:
            keys += len(client.enc_keys(far, number, size))
        except SaeError as why:
            if why.status == _UNAVAILABLE:
                empty += 1
                time.sleep(PAUSE_S)
            elif why.status == _REFUSED:
                refused = str(why)
            else:
                raise
    spent = time.perf_counter() - began
    row: Figures = {
        "keys_s": round(keys / spent),
        "mbit_s": round(keys * size / spent / 1e6, 2),
        "empty": empty,
    }
    return row | ({"refused": refused} if refused else {})


# A link over it


def _link(sides: tuple[Side, Side], pair: Bench | None, rate: float, seconds: float) -> Figures:
    """Measure what of the bits of a pair is key at both ends, once the link keeps up or cannot."""
    with _lab("nodes", {}, sides) as nodes:
        _await(lambda: _stored(nodes) > 0, READY_S)
        if pair:
            _settle(pair)
        before = _Moment.of(nodes, pair)
        time.sleep(max(seconds, LEAST_BITS / rate))
        return _row(before, _Moment.of(nodes, pair), rate)


def _settle(pair: Bench) -> None:
    """Wait until what the devices had in store is fetched, or is not getting less."""
    until = time.monotonic() + SETTLE_S
    before, now = float("inf"), pair.bits(0, "stored")
    while now < before and time.monotonic() < until:
        time.sleep(LOOK_S)
        before, now = now, pair.bits(0, "stored")


@dataclass(frozen=True)
class _Moment:
    """How far everything is at a moment."""

    at: float
    key: float
    fetched: float
    emitted: float
    processes: Mapping[str, float]
    machine: tuple[float, float]

    @classmethod
    def of(cls, nodes: Bench, pair: Bench | None) -> "_Moment":
        """Look at all of it now."""
        used = {f"node_{who}": spent for who, spent in _processes(nodes)}
        if pair:
            used |= {f"device_{who}": spent for who, spent in _processes(pair)}
        return cls(
            time.perf_counter(),
            _stored(nodes),
            _sent(nodes),
            _sent(pair) if pair else 0.0,
            used,
            _machine(),
        )


def _row(before: _Moment, after: _Moment, rate: float) -> Figures:
    spent, key = after.at - before.at, after.key - before.key
    emitted = after.emitted - before.emitted or after.fetched - before.fetched
    mbit = max(key / 1e6, 1e-9)
    used = {who: after.processes[who] - before.processes[who] for who in after.processes}
    busy = (after.machine[0] - before.machine[0]) / max(after.machine[1] - before.machine[1], 1e-9)
    row: Figures = {
        "device_bit_s": round(emitted / spent),
        "fetched_bit_s": round((after.fetched - before.fetched) / spent),
        "key_bit_s": round(key / spent),
        "share": round(key / max(emitted, 1.0), 3),
        "share_of_rate": round(key / spent / rate, 3),
        "cores_used": round(sum(used.values()) / spent / (os.cpu_count() or 1), 2),
        "cores_busy": round(busy, 2),
        "load_average": round(os.getloadavg()[0], 1),
        "cpu_ms_a_mbit": {who: round(1e3 * each / mbit, 1) for who, each in used.items()},
    }
    if row["share"] < ENOUGH:
        row["limit"] = _limit(used, spent, busy)
    return row


def _limit(used: Mapping[str, float], spent: float, busy: float) -> str:
    """Say what is in the way: a process that is busy all the time, the machine, or waiting."""
    who, most = max(used.items(), key=lambda each: each[1])
    if most / spent > ENOUGH:
        return f"{who} is busy all the time"
    if busy > BUSY:
        return f"the cores are {round(100 * busy)} % busy; of this bench {who} takes most"
    return "one request after the other: neither cores nor a process are busy"


def _stored(bench: Bench) -> float:
    return min(bench.bits(0, "stored"), bench.bits(1, "stored"))


def _sent(bench: Bench) -> float:
    """Bits that a link has emitted, whichever end sends."""
    name, way = "protokms_link_octets_total", 'way="sent"'
    return 8 * sum(metric(node, name, way) for node in bench.lab.nodes)


def _processes(bench: Bench) -> Iterator[tuple[str, float]]:
    for end, node in zip(("near", "far"), bench.lab.nodes, strict=True):
        yield end, cpu_seconds(lab_run.processes_of(bench.folder, node)["core"].pid)


def _machine() -> tuple[float, float]:
    """Return how much of the time of all cores was used, and how much there was, in ticks."""
    first = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0]
    user, nice, system, idle, wait, *rest = map(float, first.split()[1:9])
    whole = user + nice + system + idle + wait + sum(rest)
    return whole - idle - wait, whole


def _await(done: Callable[[], bool], seconds: float) -> None:
    until = time.monotonic() + seconds
    while not done():
        if time.monotonic() > until:
            raise TimeoutError(f"no bits came within {seconds:g} s")
        time.sleep(PAUSE_S)
