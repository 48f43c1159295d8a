"""Figures of whole networks, simulated: do routes form, do random pairs get keys, at what cost?

Every node runs the actors of a real one, in one thread on a virtual clock; frames between nodes
go through the real codec. Each size runs in a process of its own, so that memory can be told.
"""

import logging
import multiprocessing
import random
import resource
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import structlog

from actors.protocol import keys, sessions
from actors.protocol.common import Health, Healthy
from protokms.testing.kms import KmsNetwork

SIZES = (10, 30, 100, 300, 1000)
LINK = {"rate_bit_s": 400e3, "max_bytes": 16_000}
"""Long datagrams, seldom: what is measured is the network, not the emulation of its links."""

STORE = {"max_bits": 2 << 20}
"""So little that every store fits into the memory of one machine."""

CHORDS = 0.5
"""Links beside those of a spanning tree, per node."""

NEAR = 8
"""The tree joins a node to one of so many before it: long ways, as in a country."""

CONVERGE_S = 120.0
WAVE = 100
"""So many pairs ask at the same time."""

WAIT_S = 30.0
AGAIN_S = 0.5
ANSWER_S = 5.0

Figures = dict[str, Any]
Say = Callable[[str], None]


def network(largest: int, pairs: int, say: Say, seed: int = 1) -> Figures:
    """Measure networks of growing size, up to `largest` nodes; `pairs` random pairs in each."""
    sizes = [size for size in SIZES if size < largest] + [largest]
    figures: Figures = {"seed": seed, "link_bit_s": LINK["rate_bit_s"], "nodes": {}}
    for size in sizes:
        say(f"{size} nodes")
        fresh = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=fresh, initializer=quiet) as pool:
            figures["nodes"][size] = pool.submit(one_size, size, pairs, seed).result()
    return figures


def one_size(size: int, pairs: int, seed: int) -> Figures:
    """Measure one network in this process."""
    dice = random.Random(seed)  # noqa: S311 -- a network to be drawn again
    begun, ran = time.perf_counter(), time.process_time()
    kms = KmsNetwork(shape(size, dice), link=LINK, store=STORE, seed=seed)
    built = time.perf_counter()
    made: Figures = {
        "links": len(kms.cluster.links),
        "build_wall_s": round(built - begun, 2),
        "rss_mib": _rss(),
    }
    made |= converge(kms)
    frames, begun = kms.cluster.net.carried, time.perf_counter()
    made |= _pairs(kms, dice, pairs)
    made["pairs_wall_s"] = round(time.perf_counter() - begun, 2)
    made["pair_frames_a_node"] = round((kms.cluster.net.carried - frames) / size, 1)
    made["cpu_s"] = round(time.process_time() - ran, 1)
    made["rss_mib_at_the_end"] = _rss()
    made["rss_mib_a_node"] = round(_rss() / size, 2)
    return made


def shape(size: int, dice: random.Random) -> str:
    """Draw a connected network: a tree of near nodes, and some chords."""
    links = {(dice.randrange(max(0, i - NEAR), i), i) for i in range(1, size)}
    for _ in range(round(CHORDS * size)):
        one, other = sorted(dice.sample(range(size), 2))
        links.add((one, other))
    return " ".join(f"n{one:05}-n{other:05}" for one, other in sorted(links))


def converge(kms: KmsNetwork) -> Figures:
    """Let time pass until every router knows the links of every node."""
    begun, size = time.perf_counter(), len(kms.cluster.nodes)
    while kms.cluster.now < CONVERGE_S:
        kms.advance(1.0)
        if all(_links_known(kms, node) == size for node in kms.cluster.nodes):
            break
    else:
        raise RuntimeError(f"routes did not form within {CONVERGE_S:g} s")
    return {
        "routes_s": round(kms.cluster.now, 1),
        "routes_wall_s": round(time.perf_counter() - begun, 2),
        "routes_frames_a_node": round(kms.cluster.net.carried / size, 1),
    }


def _links_known(kms: KmsNetwork, node: str) -> int:
    answer = kms.cluster.ask(f"router@{node}", Health())
    return int(dict(answer.facts).get("states_known", 0)) if isinstance(answer, Healthy) else 0


def _pairs(kms: KmsNetwork, dice: random.Random, count: int) -> Figures:
    """Fetch a key for random pairs of SAEs, many pairs at a time; look that both ends got one."""
    saes = sorted(kms.saes)
    wanted = [tuple(dice.sample(saes, 2)) for _ in range(count)]
    began, asked = kms.cluster.now, _Asked(kms)
    for at in range(0, count, WAVE):
        asked.wave(wanted[at : at + WAVE])
    waits = sorted(asked.waits)
    return {
        "pairs": count,
        "equal": asked.equal,
        "refused": dict(asked.refused),
        "pairs_s": round(kms.cluster.now - began, 1),
        "wait_p50_s": round(waits[len(waits) // 2], 2) if waits else None,
        "wait_p99_s": round(waits[int(0.99 * len(waits))], 2) if waits else None,
    }


class _Asked:
    """Asks for keys as the door of each node would: a session first, then again until it fills."""

    def __init__(self, kms: KmsNetwork) -> None:
        self._kms, self._homes = kms, kms.saes
        self.equal, self.refused, self.waits = 0, Counter[str](), list[float]()

    def wave(self, pairs: Sequence[tuple[str, ...]]) -> None:
        """Ask for all these pairs at once; who has no key after `WAIT_S` is refused."""
        began, missing = self._kms.cluster.now, list(pairs)
        while missing:
            late = list[tuple[str, ...]]()
            for master, slave in missing:
                why = self._key(master, slave)
                waited = self._kms.cluster.now - began
                if why in sessions.SOON and waited < WAIT_S:
                    late.append((master, slave))
                elif why:
                    self.refused[why] += 1
                else:
                    self.waits.append(waited)
            missing = late
            if missing:
                self._kms.advance(AGAIN_S)

    def _key(self, master: str, slave: str) -> str:
        """Fetch one key at both ends; return why there is none, or nothing."""
        kms, far = self._kms, self._homes[slave]
        ask = keys.GetKey(master=master, slaves=(slave,), number=1, size=32)
        made = kms.cluster.ask(kms.store_of(master, slave), ask, ANSWER_S)
        if not isinstance(made, keys.Keys):
            code = getattr(made, "code", "malformed")
            if code in sessions.SOON and far != self._homes[master]:
                ensure = sessions.EnsureSession(peer=far, sae=master)
                kms.cluster.tell(f"sessions@{self._homes[master]}", ensure)
            return code
        taken = kms.dec(slave, master, made.grant)
        self.equal += isinstance(taken, keys.KeysWithIds) and taken.octets[0] == made.octets
        return ""


def quiet() -> None:
    """Let the nodes of this process log nothing."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def _rss() -> float:
    """Return the most memory that this process has had, in MiB."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
