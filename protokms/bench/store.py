"""Figures: a start on a store that holds very many undelivered keys."""

import asyncio
import json
import os
import ssl
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import uvloop

from protokms.bench import loader
from protokms.bench.delivery import (
    Bench,
    Figures,
    fast,
    metric,
    raise_if_late,
    tune,
    wait_for_bits,
)
from protokms.lab import lab, topology
from protokms.lab import run as lab_run

START_S = 300.0
CONNECTIONS = 64
KEY_BITS = 256

_RATE_BIT_S, _LEAST_BITS, _MOST_BITS = 160e6, 1 << 26, 1 << 34
_TTL_S = 86_400
_ROUND_S, _LEAST_S = 5.0, 0.1
_PAUSE_S = 0.05
_LATE_S = 1.5
"""Seconds longer than `dec_keys` waits for a key that is not loaded."""
_OK = 200


def store(undelivered: int, say: Callable[[str], None]) -> Figures:
    """Start two nodes anew after `kill -9`: as they are, and with undelivered keys at the second.

    There is one key of 256 bits in each grant, the worst case. `first_key_cpu_s` is the processor
    time of the second node until both ends have given a key, `loaded_cpu_s` until all are loaded.
    The keys are fetched for proof: the first and the last that were made.
    """
    with tempfile.TemporaryDirectory(prefix="protokms-bench-") as made:
        bench, bits = _lab(Path(made) / "lab", undelivered)
        try:
            say(f"two nodes: filling their stores with {bits / 1e6:,.0f} Mbit")
            raise_if_late(lab_run.up(bench.folder, START_S))
            wait_for_bits(bench, bits)
            say("a start without undelivered keys")
            empty = _start(bench)
            say(f"making {undelivered:,} keys")
            first, last = uvloop.run(_make(bench, undelivered))
            wait_for_bits(bench, bits)
            held = _held(bench, undelivered)
            say(f"a start with {held:,} undelivered keys")
            full = _start(bench)
            uvloop.run(_fetch(bench, [first, last]))
        finally:
            lab_run.down(bench.folder)
    more_octets = (full["rss_mib"] - empty["rss_mib"]) * (1 << 20)
    return {
        "undelivered": held,
        "cores": os.cpu_count(),
        "empty": empty,
        "full": full,
        "first_key_more_cpu_s": round(full["first_key_cpu_s"] - empty["first_key_cpu_s"], 2),
        "octets_a_grant": round(more_octets / max(held, 1)),
    }


def _lab(folder: Path, undelivered: int) -> tuple[Bench, float]:
    """Make a lab whose nodes have room for so many keys; return it, and the bits to begin with."""
    the_lab = lab.init(folder, topology.parse("chain:2"))
    bits = max(_LEAST_BITS, 2 * KEY_BITS * undelivered)
    settings = {
        "max_bits": bits,
        "max_undelivered_bits_per_pair": _MOST_BITS,
        "max_undelivered_bits_per_sae": _MOST_BITS,
        "max_undelivered_bits_of_earlier_starts": _MOST_BITS,
        "ttl_s": _TTL_S,
    }
    for node in the_lab.nodes:
        tune(folder / node.config, "store", settings)
        tune(folder / node.config, "link", fast(_RATE_BIT_S, 8192))
    return Bench(folder, the_lab), bits / 2


def _start(bench: Bench) -> Figures:
    """Kill both nodes, start them, and watch the second until its undelivered keys are loaded."""
    for node in bench.lab.nodes:
        lab_run.kill(bench.folder, node.name)
    late: list[lab_run.NodeState] = []
    began = time.perf_counter()
    up = threading.Thread(target=lambda: late.extend(lab_run.up(bench.folder, START_S)))
    up.start()
    try:
        uvloop.run(_first_keys(bench))
        found = {"first_key_s": time.perf_counter() - began}
        found["first_key_cpu_s"] = bench.facts(1)["cpu_s"]
        until = time.monotonic() + START_S
        while metric(bench.lab.nodes[1], "protokms_grants_to_load", "peer="):
            if time.monotonic() > until:
                raise TimeoutError(f"not all is loaded after {START_S} s")
            time.sleep(_PAUSE_S)
        found["loaded_s"] = time.perf_counter() - began
    finally:
        up.join()
    raise_if_late(late)
    facts = bench.facts(1)
    found |= {"loaded_cpu_s": facts["cpu_s"], "rss_mib": facts["rss_mib"]}
    return {name: round(value, 2) for name, value in found.items()}


def _held(bench: Bench, least: int) -> int:
    """Wait until the second node tells of all grants that were made: it counts now and then."""
    until = time.monotonic() + START_S
    while (held := int(metric(bench.lab.nodes[1], "protokms_grants_held", "peer="))) < least:
        if time.monotonic() > until:
            raise TimeoutError(f"{held} undelivered keys after {START_S} s")
        time.sleep(_PAUSE_S)
    return held


async def _first_keys(bench: Bench) -> None:
    """Ask both nodes until each has given a key."""
    tls = [bench.tls(node) for node in (0, 1)]
    for node in (0, 1):
        until = time.monotonic() + START_S
        while not await _gives(bench, tls[node], node):
            if time.monotonic() > until:
                raise TimeoutError(f"no key in {START_S} s")
            await asyncio.sleep(_PAUSE_S)


async def _gives(bench: Bench, tls: ssl.SSLContext, node: int) -> bool:
    try:
        ask = await loader.connect(bench.lab.nodes[node].etsi014, tls)
    except OSError:
        return False  # it does not listen yet
    status = await ask.once(_enc(bench, node))
    await ask.close()
    return status == _OK


def _enc(bench: Bench, node: int) -> bytes:
    slave = bench.lab.saes[1 - node].id
    return loader.get(f"/api/v1/keys/{slave}/enc_keys?size={KEY_BITS}")


async def _make(bench: Bench, undelivered: int) -> tuple[bytes, bytes]:
    """Make so many keys at least; return what was answered for the first and for the last."""
    url, tls, request = bench.lab.nodes[0].etsi014, bench.tls(0), _enc(bench, 0)
    first, have, rate = await _one(url, tls, request), 2, 1_000.0
    until = time.monotonic() + START_S + undelivered / 100
    while have < undelivered:
        seconds = min(_ROUND_S, max(_LEAST_S, (undelivered - have) / rate))
        score = await loader.load(url, tls, CONNECTIONS, seconds, request)
        have, rate = have + len(score.seconds), max(100.0, score.per_second)
        if time.monotonic() > until:
            raise TimeoutError(f"only {have} keys were made")
    return first, await _one(url, tls, request)


async def _fetch(bench: Bench, answers: list[bytes]) -> None:
    """Fetch keys where they lie; `RuntimeError` unless they are what their master was given."""
    url, tls, master = bench.lab.nodes[1].etsi014, bench.tls(1), bench.lab.saes[0].id
    for given in answers:
        (key,) = json.loads(given)["keys"]
        path = f"/api/v1/keys/{master}/dec_keys?key_ID={key['key_ID']}"
        got = json.loads(await _one(url, tls, loader.get(path)))["keys"]
        if [it["key"] for it in got] != [key["key"]]:
            raise RuntimeError("a key that was fetched is not the one that was given")


async def _one(url: str, tls: ssl.SSLContext, request: bytes) -> bytes:
    """Return the body of an answer; one that is refused is asked for again for a while."""
    ask = await loader.connect(url, tls)
    try:
        until = time.monotonic() + START_S
        while True:
            status, body = await ask.answer(request)
            if status == _OK:
                return body
            if time.monotonic() > until:
                raise RuntimeError(f"refused with {status}")
            await asyncio.sleep(_LATE_S)
    finally:
        await ask.close()
