"""Figures of relay over a distance: chains of nodes whose hosts are network namespaces.

The same chain is measured on loopback first and last, and between these once for each delay and
loss of the way between any two hosts. SAEs are near their node: what they wait for is the work of
the nodes, and whatever of the distance these make them pay for.
"""

import asyncio
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
"""What is asked in each mode, and the seconds before each: over a distance the processors rest
while a word is on its way, which costs a request 1 ms; so they rest on loopback as well."""

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


def distances(
    hops: int,
    ways: Sequence[Conditions],
    seconds: float,
    say: Say,
    network: str = NETWORK,
) -> Figures:
    """Measure each of these ways, so many seconds of filling each; loopback first and last.

    `LabError` if this machine makes no hosts for us.
    """
    netns.check_tools("tap")
    figures: Figures = {
        "machine": bench_delivery.machine(),
        "hops": hops,
        "seconds": seconds,
        "link_bit_s": LINK_BIT_S,
    }
    before = _place(hops, None, seconds, say, network)
    made = {str(way): _place(hops, way, seconds, say, network) for way in ways}
    after = _place(hops, None, seconds, say, network)
    figures |= {"loopback": {"before": before, "after": after}}
    for row in made.values():
        compare(row, before, after)
    return figures | {"ways": made}


def compare(row: Figures, before: Figures, after: Figures) -> None:
    """Set a row beside what was measured on loopback: may its medians be what they are?"""
    row["keys_s_by_loopback"] = round(2 * row["keys_s"] / (before["keys_s"] + after["keys_s"]), 3)
    for mode in MODES:
        loopback = (before[mode]["p50_ms"] + after[mode]["p50_ms"]) / 2
        most = FACTOR * loopback + (row["rtt_ms"] if mode == "confirmed" else 0.0)
        row[mode]["p50_may_be_ms"] = round(most, 3)
        row[mode]["pays_for_distance"] = row[mode]["p50_ms"] > most


def _place(hops: int, way: Conditions | None, seconds: float, say: Say, network: str) -> Figures:
    where = "loopback" if way is None else str(way)
    say(f"{where}: {hops + 1} nodes start")
    with _running(hops, way, network) as chain:
        made: Figures = {} if way is None else {"rtt_ms": round(_round_trip_ms(chain), 3)}
        say(f"{where}: the first key, and how fast the store of the ends fills")
        made["first_key_s"] = round(first_key(chain), 3)
        made |= _fill(chain, seconds)
        for mode in MODES:
            say(f"{where}: enc_keys of the ends, {mode}")
            if mode != MODES[0]:
                _restart(chain, mode)
            session(chain, 1)
            made[mode] = uvloop.run(_ask(chain))
        return made


@contextmanager
def _running(hops: int, way: Conditions | None, network: str) -> Iterator[Chain]:
    """Run a chain in the first of the modes."""
    with tempfile.TemporaryDirectory(prefix="protokms-bench-") as name:
        folder = Path(name) / "lab"
        shape = topology.parse(f"chain:{hops + 1}")
        made = lab.init(folder, shape if way is None else topology.on_hosts(shape, network))
        for node in made.nodes:
            file = folder / node.config
            bench_delivery.tune(file, "link", bench_delivery.fast(LINK_BIT_S, DATAGRAM))
            bench_delivery.tune(file, "store", {"max_bits": 1 << 27})
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


def _fill(chain: Chain, seconds: float) -> Figures:
    """Fill the store of the ends for so long, and until it holds what is asked for later."""
    before, counted = _segments(chain), 0.0
    session(chain, 1 << 26)
    began, first = time.perf_counter(), _stock(chain)
    while time.perf_counter() < began + seconds or not counted:
        time.sleep(PAUSE_S)
        counted = _stock(chain) - first
        if time.perf_counter() > began + STOCK_S:
            raise RuntimeError(f"the store of the ends was not filled within {STOCK_S:g} s")
    spent = time.perf_counter() - began
    after = _segments(chain)
    _await_stock(chain, STOCK_BITS)
    return {"keys_s": round(counted / KEY_BITS / spent), "tcp": _sent_again(before, after)}


def _await_stock(chain: Chain, bits: float) -> None:
    until = time.monotonic() + STOCK_S
    while _stock(chain) < bits:
        if time.monotonic() > until:
            raise TimeoutError(f"no {bits:g} bits in the store of the ends within {STOCK_S:g} s")
        time.sleep(PAUSE_S)


def _stock(chain: Chain) -> float:
    first, last = chain.ends
    return chain.stored(last, first.name)


async def _ask(chain: Chain) -> Figures:
    """Ask for one key after the other, of the first node for the last, with a rest before each."""
    saes, root = chain.lab.saes, chain.folder
    tls = client_context(root / chain.lab.ca, root / saes[0].cert, root / saes[0].key)
    request = loader.get(f"/api/v1/keys/{saes[-1].id}/enc_keys")
    asker = await loader.connect(chain.ends[0].etsi014, tls)
    score, before = loader.Score(), _segments(chain)
    try:
        for _ in range(REQUESTS):
            await asyncio.sleep(REST_S)
            began = time.perf_counter()
            status = await asyncio.wait_for(asker.once(request), START_S)
            if status == 200:  # noqa: PLR2004 -- OK
                score.seconds.append(time.perf_counter() - began)
            else:
                score.refused += 1
    finally:
        await asker.close()
    return {
        "p50_ms": round(score.quantile(0.5) * 1e3, 3),
        "p95_ms": round(score.quantile(0.95) * 1e3, 3),
        "requests": len(score.seconds),
        "refused": score.refused,
        "tcp": _sent_again(before, _segments(chain)),
    }


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
