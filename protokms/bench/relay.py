"""Figures of relay: chains of nodes as processes, keys filled end to end, what a hop costs.

The emulated links fill the stores of neighbours first, and are then stopped (they live in
processes of their own): what is measured is relay, and not the generator of an emulation.
"""

import itertools
import os
import signal
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import uvloop

from protokms.bench import delivery as bench_delivery
from protokms.bench import loader
from protokms.config.load import load
from protokms.lab import lab, topology
from protokms.lab import run as lab_run
from protokms.lab.lab import Lab, LabNode
from protokms.lab.topology import ProcessPlan, Topology
from protokms.manage import client as manage_client
from protokms.manage import words
from protokms.manage.client import ManageFailed
from transport.https import client_context

KEY_BITS = 256
LINKS = "links"
FILL_S = 120.0
FAST_BIT_S = 200e6
"""Bit/s over one hop that hardly any machine passes: it sets what the stores must hold."""

STOCK = 3.0
"""Bits in the store of two neighbours for a bit relayed: half is the other end's, a part SAEs'."""

START_S = 60.0
COLD_S = 30.0
_PAUSE_S = 0.05
_REPORT_S = 0.6
_FULL = 0.9
_COUNTERS = ("protokms_frames_sent_total", "protokms_relay_pad_octets_total")

Figures = dict[str, Any]
Say = Callable[[str], None]


@dataclass(frozen=True)
class Chain:
    """A running chain of nodes; the first and the last are the ends of a session."""

    folder: Path
    lab: Lab

    @property
    def ends(self) -> tuple[LabNode, LabNode]:
        """Return the first node and the last."""
        return self.lab.nodes[0], self.lab.nodes[-1]

    def cpu(self) -> float:
        """Return the seconds of processor time that all core processes have used so far."""
        pids = (self._pid(node, "core") for node in self.lab.nodes)
        return sum(bench_delivery.cpu_seconds(pid) for pid in pids)

    def total(self, name: str) -> float:
        """Return a counter of /metrics, summed over its series and all nodes."""
        return sum(sum(_series(node, name)) for node in self.lab.nodes)

    def stored(self, node: LabNode, peer: str) -> float:
        """Return the bits in store of a node with a peer."""
        return bench_delivery.metric(node, "protokms_bits", f'kind="stored",peer="{peer}"')

    def ask(self, word: words.Word) -> Figures:
        """Ask the first node on its management socket."""
        made = load(self.folder / self.ends[0].config, files=False)
        assert made.manage, "a lab has one"
        return manage_client.ask(made.manage.socket, word)

    def links(self, number: int) -> None:
        """Send a signal to the processes of all quantum links."""
        for node in self.lab.nodes:
            with suppress(ProcessLookupError):
                os.kill(self._pid(node, LINKS), number)

    def _pid(self, node: LabNode, process: str) -> int:
        return lab_run.processes_of(self.folder, node)[process].pid


def relay(hops: Sequence[int], seconds: float, say: Say) -> Figures:
    """Measure each number of hops, and `enc_keys` of a distant pair beside a neighbour pair."""
    figures: Figures = {"machine": bench_delivery.machine(), "seconds": seconds, "hops": {}}
    for number in hops:
        figures["hops"][number] = _one(number, seconds, say)
    _compare(figures)
    return figures


def _one(hops: int, seconds: float, say: Say) -> Figures:
    say(f"{hops} hops: {hops + 1} nodes, filling the stores of neighbours")
    needed = STOCK * FAST_BIT_S / hops * seconds
    with _running(hops, needed) as chain:
        first, last = chain.ends
        made: Figures = {}
        if hops > 1:
            _await_bits(chain, _FULL * max(1 << 26, needed))
            say(f"{hops} hops: the first key of a new pair")
            made["first_key_s"] = round(first_key(chain), 3)
            chain.links(signal.SIGSTOP)
            say(f"{hops} hops: filling the far store")
            made |= _fill(chain, seconds, first, last)
            chain.links(signal.SIGCONT)
            session(chain, 1)
        else:
            made |= _ingest(chain, seconds, first, last)
        if hops > 1:
            say(f"{hops} hops: enc_keys, a distant pair beside a neighbour pair")
            made["enc_keys"] = uvloop.run(_latency(chain, seconds))
        return made


@contextmanager
def _running(hops: int, bits: float) -> Iterator[Chain]:
    with tempfile.TemporaryDirectory(prefix="protokms-bench-") as name:
        folder = Path(name) / "lab"
        made = lab.init(folder, _chain(hops + 1))
        undelivered = 1 << 34
        store = {
            "max_bits": max(1 << 26, int(bits)),
            "max_undelivered_bits_per_pair": undelivered,
            "max_undelivered_bits_per_sae": undelivered,
        }
        for node in made.nodes:
            file = folder / node.config
            bench_delivery.tune(file, "store", store)
            fast = bench_delivery.fast(100e6, 8192)
            bench_delivery.tune(file.with_name(f"{LINKS}.toml"), "link", fast)
        chain = Chain(folder, made)
        try:
            bench_delivery.raise_if_late(lab_run.up(folder, START_S))
            yield chain
        finally:
            chain_is_up = all(lab_run.processes_of(folder, node) for node in made.nodes)
            if chain_is_up:
                chain.links(signal.SIGCONT)
            lab_run.down(folder)


def _chain(nodes: int) -> Topology:
    """Make a chain whose quantum links live in processes of their own."""
    plan = topology.parse(f"chain:{nodes}")
    made = []
    for node in plan.nodes:
        peers = [it.b if it.a == node.name else it.a for it in plan.links_of(node.name)]
        process = ProcessPlan(name=LINKS, actors=[f"quantum_link/{peer}" for peer in peers])
        made.append(msgspec.structs.replace(node, processes=[process]))
    return Topology(nodes=made, links=plan.links)


def _await_bits(chain: Chain, bits: float) -> None:
    """Wait until every store of two neighbours holds so many bits, or as many as it ever will."""
    until = time.monotonic() + FILL_S
    nodes = chain.lab.nodes
    while time.monotonic() < until:
        pairs = itertools.pairwise(nodes)
        if min(chain.stored(one, other.name) for one, other in pairs) >= bits:
            return
        time.sleep(bench_delivery.PAUSE_S)
    raise TimeoutError(f"the stores of neighbours did not reach {bits:.0f} bits in {FILL_S} s")


def session(chain: Chain, bits: int) -> None:
    """Fill the far store up to so many bits; 1: no more."""
    word = words.AddSession(destination=chain.ends[1].name, low_bits=bits, high_bits=bits)
    until = time.monotonic() + START_S
    while True:
        try:
            chain.ask(word)
        except ManageFailed:
            if time.monotonic() > until:
                raise
            time.sleep(_PAUSE_S)
        else:
            return


def first_key(chain: Chain) -> float:
    """Return the seconds from the first request of a pair that nobody has configured to its key."""
    from protokms.lab.demo import await_keys, client  # noqa: PLC0415 -- loads a node

    saes = chain.lab.saes
    with client(chain.folder, chain.lab, saes[0]) as master:
        master.status(saes[1].id)  # a neighbour: the connection is open
        began = time.perf_counter()
        await_keys(master, saes[-1].id, 1, COLD_S)
        return time.perf_counter() - began


class _Sample(NamedTuple):
    """How things stood when the far store said that it holds more."""

    at: float
    bits: float
    cpu: float
    frames: float
    pads: float


def _fill(chain: Chain, seconds: float, first: LabNode, last: LabNode) -> Figures:
    """Let a session fill the far store as fast as it can; count between two of its reports.

    A store says twice a second what it holds: the first and the last change are the window.
    """
    before = chain.stored(last, first.name)
    session(chain, 1 << 30)
    samples: list[_Sample] = []
    until = time.perf_counter() + START_S
    while time.perf_counter() < until:
        bits = chain.stored(last, first.name)
        if bits > (samples[-1].bits if samples else before):
            frames, pads = (chain.total(name) for name in _COUNTERS)
            samples.append(_Sample(time.perf_counter(), bits, chain.cpu(), frames, pads))
            until = min(until, samples[0].at + seconds + _REPORT_S)
        time.sleep(_PAUSE_S)
    if len(samples) < 2:  # noqa: PLR2004 -- no window
        raise RuntimeError("the far store was not filled for long enough to count")
    return _rates(samples[0], samples[-1], len(chain.lab.nodes) - 1)


def _rates(one: _Sample, other: _Sample, hops: int) -> Figures:
    spent, bits, cpu, frames, pads = (b - a for a, b in zip(one, other, strict=True))
    keys = bits / KEY_BITS
    return {
        "keys_s": round(keys / spent),
        "mbit_s": round(bits / spent / 1e6, 2),
        "messages_a_key": round(frames / keys, 4),
        "cpu_us_a_key": round(1e6 * cpu / keys, 2),
        "cpu_us_a_key_a_hop": round(1e6 * cpu / keys / hops, 2),
        "cores": round(cpu / spent, 2),
        "pad_bits_a_bit_a_hop": round(8 * pads / bits / hops, 3),
        "window_s": round(spent, 2),
    }


def _ingest(chain: Chain, seconds: float, first: LabNode, last: LabNode) -> Figures:
    """One hop is a quantum link: nothing is relayed; how fast does it fill the two stores?"""
    bits, began = chain.stored(first, last.name), time.perf_counter()
    time.sleep(min(seconds, 2.0))
    mbit = (chain.stored(first, last.name) - bits) / (time.perf_counter() - began) / 1e6
    return {"quantum_link_mbit_s": round(mbit, 2)}


async def _latency(chain: Chain, seconds: float) -> Figures:
    """Ask for keys of both pairs in turns, on one connection each time, in the same run."""
    saes, root = chain.lab.saes, chain.folder
    tls = client_context(root / chain.lab.ca, root / saes[0].cert, root / saes[0].key)
    scores: dict[str, loader.Score] = {"neighbour": loader.Score(), "distant": loader.Score()}
    for _ in range(4):
        for name, slave in (("neighbour", saes[1].id), ("distant", saes[-1].id)):
            request = loader.get(f"/api/v1/keys/{slave}/enc_keys")
            part = await loader.load(chain.ends[0].etsi014, tls, 1, seconds / 4, request)
            scores[name].seconds += part.seconds
            scores[name].refused += part.refused
    made: Figures = {
        name: {
            "p50_ms": round(score.quantile(0.5) * 1e3, 3),
            "p99_ms": round(score.quantile(0.99) * 1e3, 3),
            "requests": len(score.seconds),
            "refused": score.refused,
        }
        for name, score in scores.items()
    }
    near, far = scores["neighbour"].quantile(0.5), scores["distant"].quantile(0.5)
    made["distant_by_neighbour_p50"] = round(far / max(near, 1e-9), 3)
    return made


def _compare(figures: Figures) -> None:
    """Say how cost and delay grow with the number of hops."""
    rows = {hops: row for hops, row in figures["hops"].items() if "cpu_us_a_key_a_hop" in row}
    if len(rows) < 2:  # noqa: PLR2004 -- nothing to compare
        return
    least, most = min(rows), max(rows)
    one, other = rows[least], rows[most]
    figures["cpu_a_hop_growth"] = round(
        other["cpu_us_a_key_a_hop"] / max(one["cpu_us_a_key_a_hop"], 1e-9), 3
    )
    delay = (other["first_key_s"] - one["first_key_s"]) / (most - least)
    figures["first_key_ms_a_hop"] = round(1e3 * delay, 1)


def _series(node: LabNode, name: str) -> Iterator[float]:
    with urllib.request.urlopen(f"{node.metrics}/metrics", timeout=5.0) as answer:  # noqa: S310
        for row in answer.read().decode().splitlines():
            if row.startswith((f"{name}{{", f"{name} ")):
                yield float(row.rpartition(" ")[2])
