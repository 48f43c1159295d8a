"""Figures of chains whose links are as slow as real devices: what of their bits becomes keys.

Links begin dry as their nodes are started, and go on. Once all nodes are ready two SAEs at the
ends ask for keys as fast as there are any, and fetch each. The first key therefore waits for less
than a link that is dry; the share of bits counts all that the slowest link has ever emitted.
"""

import itertools
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from protokms.bench import delivery as bench_delivery
from protokms.client import SaeClient, SaeError
from protokms.lab import demo, lab, topology
from protokms.lab import run as lab_run
from protokms.lab.lab import Lab

KEY_BITS = 256
START_S = 60.0
PAUSE_S = 0.2
KEYS_MAX = 64
LARGEST, SMALLEST = 999, 50
DATAGRAM_S = 2.0
BATCH_OCTETS = 1_164
"""The least batch of a link: `BATCH_FORMED` of the ledger, which key stores alone may import."""
_UNAVAILABLE = 503

Figures = dict[str, Any]
Say = Callable[[str], None]


def relay(hops: Sequence[int], rate_bit_s: float, seconds: float, say: Say) -> Figures:
    """Measure each number of hops for so many seconds after the first key."""
    figures: Figures = {"rate_bit_s": rate_bit_s, "seconds": seconds, "hops": {}}
    for number in hops:
        say(f"{number} hops: {number + 1} nodes, links of {rate_bit_s:g} bit/s, dry")
        figures["hops"][number] = _one(number, rate_bit_s, seconds)
    return figures


def datagram(rate_bit_s: float) -> int:
    """Return the octets of the largest datagram: one that a slow device fills in some seconds."""
    return min(LARGEST, max(SMALLEST, int(rate_bit_s / 8 * DATAGRAM_S)))


def patience(rate_bit_s: float) -> float:
    """Return how many seconds nodes, or a first key, may take: the links begin dry."""
    return START_S + 4 * 8 * BATCH_OCTETS / rate_bit_s


def _one(hops: int, rate_bit_s: float, seconds: float) -> Figures:
    with tempfile.TemporaryDirectory(prefix="protokms-bench-") as name:
        folder = Path(name) / "lab"
        made = lab.init(folder, topology.parse(f"chain:{hops + 1}"))
        link = bench_delivery.fast(rate_bit_s, datagram(rate_bit_s))
        for node in made.nodes:
            bench_delivery.tune(folder / node.config, "link", link)
        try:
            bench_delivery.raise_if_late(lab_run.up(folder, patience(rate_bit_s)))
            return _measure(folder, made, rate_bit_s, seconds)
        finally:
            lab_run.down(folder)


def _measure(folder: Path, made: Lab, rate_bit_s: float, seconds: float) -> Figures:
    ends = made.saes[0], made.saes[-1]
    with (
        demo.client(folder, made, ends[0]) as master,
        demo.client(folder, made, ends[1]) as slave,
    ):
        began, most = time.monotonic(), patience(rate_bit_s)
        number = _keys(master, slave, ends[0].id, ends[1].id)
        while not number:
            if time.monotonic() > began + most:
                raise TimeoutError(f"no key within {most:.0f} s")
            time.sleep(PAUSE_S)
            number = _keys(master, slave, ends[0].id, ends[1].id)
        first = time.monotonic() - began
        while time.monotonic() < began + first + seconds:
            more = _keys(master, slave, ends[0].id, ends[1].id)
            number += more
            if not more:
                time.sleep(PAUSE_S)
    emitted = min(_emitted(made, *ends) for ends in itertools.pairwise(made.nodes))
    return {
        "first_key_s": round(first, 2),
        "keys": number,
        "bit_s": round(KEY_BITS * number / (first + seconds), 1),
        "share_of_bits": round(KEY_BITS * number / emitted, 3),
    }


def _keys(master: SaeClient, slave: SaeClient, here: str, there: str) -> int:
    """Ask for as many keys as there are, and fetch them; return how many both ends have."""
    try:
        stored = master.status(there)["stored_key_count"]
        given = master.enc_keys(there, min(max(1, stored), KEYS_MAX))
    except SaeError as no:
        if no.status != _UNAVAILABLE:
            raise
        return 0
    fetched = slave.dec_keys(here, [key.key_id for key in given])
    if [key.key for key in fetched] != [key.key for key in given]:
        raise RuntimeError("both ends have not the same keys")
    return len(given)


def _emitted(made: Lab, one: Any, other: Any) -> float:
    """Return the bits that a link has emitted, whichever end sends."""
    name = "protokms_link_octets_total"
    ends = (one, other), (other, one)
    octets = (
        bench_delivery.metric(node, name, f'peer="{peer.name}",way="sent"') for node, peer in ends
    )
    return 8 * sum(octets)
