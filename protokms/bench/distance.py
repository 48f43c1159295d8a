"""Figures of relay over a distance: chains of nodes whose hosts are network namespaces.

The same chain runs on loopback all the time, once in each mode, and requests are made of both in
turns. SAEs are near their node: what they wait for is the work of the nodes, and whatever of the
distance these make them pay for.
"""

import asyncio
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import uvloop

from protokms.bench import delivery as bench_delivery
from protokms.bench import loader
from protokms.bench.relay import KEY_BITS, Chain, first_key, session
from protokms.lab import lab, netns, topology
from protokms.lab import run as lab_run
from protokms.lab.wire import Conditions
from transport.https import client_context

NETWORK = "198.18.0.0/24"
"""RFC 2544: a network for measurements, which no host has."""

LINK_BIT_S, DATAGRAM = 2e6, 1_200
"""What a quantum link brings, in datagrams that one frame carries."""

STOCK_BITS = 1 << 22
"""Bits in the store of the two ends before keys are asked for: more than is asked for."""

REQUESTS, REST_S = 60, 0.05
"""What is asked in each mode, and the seconds before each: over a distance processors rest while a
word is on its way, and what comes then takes 1 ms longer; so they rest on loopback as well."""

MAX_BITS = 1 << 26

MODES = ("confirmed", "local")
FACTOR = 1.2
"""By so much the median may be above that on loopback, beside one round trip in `confirmed`."""

START_S, STOCK_S, PAUSE_S = 120.0, 180.0, 0.1
_CONNECTS = 15
_CONNECT = """
import socket, statistics, sys, time
took = []
for _ in range(int(sys.argv[3])):
    began = time.perf_counter()
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=30).close()
    took.append(time.perf_counter() - began)
print(statistics.median(took))
"""

Figures = dict[str, Any]
Say = Callable[[str], None]


class Segments(NamedTuple):
    """What TCP has sent so far, and what of it again."""

    sent: int
    again: int


class _Plan(NamedTuple):
    """What all chains have in common: how long they are, and the network of those on hosts."""

    hops: int
    network: str


def distances(
    hops: int,
    ways: Sequence[Conditions],
    seconds: float,
    say: Say,
    network: str = NETWORK,
) -> Figures:
    """Measure each of these ways between hosts, so many seconds of filling each, beside loopback.

    `LabError` if this machine makes no hosts for us.
    """
    netns.check_tools("tap")
    figures: Figures = {
        "machine": bench_delivery.machine(),
        "hops": hops,
        "seconds": seconds,
        "link_bit_s": LINK_BIT_S,
        "loopback": {},
        "ways": {},
    }
    plan = _Plan(hops, network)
    with ExitStack() as stack:
        near: dict[str, Chain] = {}
        for mode in MODES:
            say(f"loopback, {mode}: the first key, and how fast the store of the ends fills")
            near[mode] = stack.enter_context(_running(plan, mode))
            figures["loopback"][mode] = _filled(near[mode], seconds)
        keys_s = statistics.mean(it["keys_s"] for it in figures["loopback"].values())
        for way in ways:
            row = _measure(plan, way, near, seconds, say)
            row["keys_s_by_loopback"] = round(row["keys_s"] / max(keys_s, 1.0), 3)
            figures["ways"][str(way)] = row
    return figures


def _measure(
    plan: _Plan, way: Conditions, near: Mapping[str, Chain], seconds: float, say: Say
) -> Figures:
    say(f"{way}: {plan.hops + 1} nodes start")
    with _running(plan, MODES[0], way) as far:
        rtt_ms = _round_trip_ms(far)
        say(f"{way}: the first key, and how fast the store of the ends fills")
        made: Figures = {"rtt_ms": round(rtt_ms, 3)} | _filled(far, seconds)
        for mode in MODES:
            say(f"{way}: enc_keys of the ends, {mode}")
            if mode != MODES[0]:
                _restart(far, mode)
            for chain in (near[mode], far):
                session(chain, 1)
            made[mode] = uvloop.run(_ask(near[mode], far))
            compare(made[mode], rtt_ms if mode == "confirmed" else 0.0)
        return made


def compare(row: Figures, round_trips_ms: float) -> None:
    """Set a median beside that on loopback: may it be what it is, with so many round trips?"""
    most = FACTOR * row["loopback_p50_ms"] + round_trips_ms
    row["p50_may_be_ms"] = round(most, 3)
    row["pays_for_distance"] = row["p50_ms"] > most


@contextmanager
def _running(plan: _Plan, mode: str, way: Conditions | None = None) -> Iterator[Chain]:
    """Run a chain: on hosts with such a way between them, or on loopback."""
    with tempfile.TemporaryDirectory(prefix="protokms-bench-") as name:
        folder = Path(name) / "lab"
        shape = topology.parse(f"chain:{plan.hops + 1}")
        made = lab.init(folder, shape if way is None else topology.on_hosts(shape, plan.network))
        for node in made.nodes:
            file = folder / node.config
            bench_delivery.tune(file, "link", bench_delivery.fast(LINK_BIT_S, DATAGRAM))
            bench_delivery.tune(file, "store", {"max_bits": MAX_BITS, "mode": mode})
        try:
            if way is not None:
                netns.make(folder, way, "tap")
            bench_delivery.raise_if_late(lab_run.up(folder, START_S))
            yield Chain(folder, made)
        finally:
            lab_run.down(folder)


def _restart(chain: Chain, mode: str) -> None:
    """Let all nodes give keys out in another mode, from the same stock."""
    for node in chain.lab.nodes:
        bench_delivery.tune(chain.folder / node.config, "store", {"mode": mode})
    states = [lab_run.restart(chain.folder, node.name, START_S) for node in chain.lab.nodes]
    bench_delivery.raise_if_late([state for state in states if state.name == states[-1].name])
    _await_stock(chain, KEY_BITS)


def _filled(chain: Chain, seconds: float) -> Figures:
    """Wait for the first key; then fill the store of the ends, until all is there for later."""
    first_s = first_key(chain)
    before, counted = _segments(chain), 0.0
    session(chain, MAX_BITS)
    began, first = time.perf_counter(), _stock(chain)
    while time.perf_counter() < began + seconds or not counted:
        time.sleep(PAUSE_S)
        counted = _stock(chain) - first
        if time.perf_counter() > began + STOCK_S:
            raise RuntimeError(f"the store of the ends was not filled within {STOCK_S:g} s")
    spent = time.perf_counter() - began
    after = _segments(chain)
    _await_stock(chain, STOCK_BITS)
    session(chain, 1)
    return {
        "first_key_s": round(first_s, 3),
        "keys_s": round(counted / KEY_BITS / spent),
        "tcp": _sent_again(before, after),
    }


def _await_stock(chain: Chain, bits: float) -> None:
    until = time.monotonic() + STOCK_S
    while _stock(chain) < bits:
        if time.monotonic() > until:
            raise TimeoutError(f"no {bits:g} bits in the store of the ends within {STOCK_S:g} s")
        time.sleep(PAUSE_S)


def _stock(chain: Chain) -> float:
    first, last = chain.ends
    return chain.stored(last, first.name)


async def _ask(near: Chain, far: Chain) -> Figures:
    """Ask for one key after the other, of the first node for the last, in turns at both chains."""
    askers = [await _connect(chain) for chain in (near, far)]
    scores, before = [loader.Score(), loader.Score()], _segments(far)
    request = loader.get(f"/api/v1/keys/{far.lab.saes[-1].id}/enc_keys")
    try:
        for number in range(2 * REQUESTS):
            asker, score = askers[number % 2], scores[number % 2]
            await asyncio.sleep(REST_S)
            began = time.perf_counter()
            status = await asyncio.wait_for(asker.once(request), START_S)
            if status == 200:  # noqa: PLR2004 -- OK
                score.seconds.append(time.perf_counter() - began)
            else:
                score.refused += 1
    finally:
        for asker in askers:
            await asker.close()
    loopback, there = scores
    return {
        "p50_ms": round(there.quantile(0.5) * 1e3, 3),
        "p95_ms": round(there.quantile(0.95) * 1e3, 3),
        "loopback_p50_ms": round(loopback.quantile(0.5) * 1e3, 3),
        "loopback_p95_ms": round(loopback.quantile(0.95) * 1e3, 3),
        "requests": len(there.seconds),
        "refused": there.refused + loopback.refused,
        "tcp": _sent_again(before, _segments(far)),
    }


async def _connect(chain: Chain) -> loader.Asker:
    sae, root = chain.lab.saes[0], chain.folder
    tls = client_context(root / chain.lab.ca, root / sae.cert, root / sae.key)
    return await loader.connect(chain.ends[0].etsi014, tls)


def _round_trip_ms(chain: Chain) -> float:
    """Return what a TCP connection from the first host to the last takes: one round trip."""
    made = netns.read(chain.folder)
    assert made, "it was made"
    first, last = chain.ends
    target = urlsplit(last.metrics)
    args = ["-c", _CONNECT, str(target.hostname), str(target.port), str(_CONNECTS)]
    command = made.command(first.name, ["python3", *args])
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=START_S)  # noqa: S603  # words of our own
    return float(done.stdout) * 1e3


def _segments(chain: Chain) -> Segments:
    """Read what TCP of the hosts of all nodes says of itself; loopback is one host."""
    pids = (lab_run.processes_of(chain.folder, it)["core"].pid for it in chain.lab.nodes)
    hosts = {os.stat(f"/proc/{pid}/ns/net").st_ino: pid for pid in pids}
    texts = (Path(f"/proc/{pid}/net/snmp").read_text(encoding="ascii") for pid in hosts.values())
    found = [segments(text) for text in texts]
    return Segments(sum(it.sent for it in found), sum(it.again for it in found))


def segments(text: str) -> Segments:
    """Read the counters of `/proc/net/snmp`."""
    names, values = (row.split() for row in text.splitlines() if row.startswith("Tcp:"))
    counters = dict(zip(names[1:], map(int, values[1:]), strict=True))
    return Segments(counters["OutSegs"], counters["RetransSegs"])


def _sent_again(before: Segments, after: Segments) -> Figures:
    return {"segments": after.sent - before.sent, "retransmitted": after.again - before.again}
