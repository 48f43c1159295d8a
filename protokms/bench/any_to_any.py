"""Figures of networks where every pair of nodes has a session: do all stand, at what cost?

As in `bench network` every node runs the actors of a real one, on a virtual clock. All pairs ask
at once, from both ends. Then nothing is sent for a minute: what a node does all the same is what
its sessions cost. Then every pair asks for a key, once, in both directions.
"""

import gc
import multiprocessing
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from actors.crypto import signatures
from actors.protocol import keys, sessions
from protokms.bench import network
from protokms.testing.disk import MemoryStore
from protokms.testing.kms import KmsNetwork

STORE_BITS = network.STORE["max_bits"]
RATE_BIT_S, SLOW_BIT_S = 20e6, 400e3
LINKS_FULL_S = 5.0
FIRST_LOOK_S, REST_S = 15.0, 60.0
STOCKED_S, LOOK_EVERY_S = 600.0, 10.0
"""Stores are full once no bit of a link was spent in so many seconds; they have so long."""
DRAINED_S, DEMAND_S = 20.0, 40.0
DEMAND_EVERY_S = 1.0
KEYS_AT_ONCE, KEY_OCTETS = 8, 32
ANSWER_S = 5.0

Figures = dict[str, Any]
Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Case:
    """A network, and who asks for keys with whom; `relay` is `[relay]` of all nodes.

    `busy`: afterwards all pairs ask for as much as they can get. `limit` is the key of what is
    reached first when more ask from one side of its link.
    """

    links: str
    pairs: tuple[Pair, ...]
    rate_bit_s: float = RATE_BIT_S
    one_by_one: bool = False
    busy: bool = False
    limit: str = ""
    relay: dict[str, Any] = field(default_factory=dict)

    @property
    def distinct(self) -> set[frozenset[str]]:
        """Return the pairs, whichever way."""
        return {frozenset(pair) for pair in self.pairs}


def dumbbell(k: int, *, slow: bool = False) -> Case:
    """Two stars of so many leaves, joined by one link: all pairs over it."""
    near, far = [f"a{n:03}" for n in range(k)], [f"b{n:03}" for n in range(k)]
    links = [*(f"{it}-h" for it in near), "h-k", *(f"k-{it}" for it in far)]
    pairs = [pair for one in near for two in far for pair in ((one, two), (two, one))]
    rate = SLOW_BIT_S if slow else RATE_BIT_S
    return Case(" ".join(links), tuple(pairs), rate, busy=slow, limit="max_lanes")


def spur(leaves: int) -> Case:
    """One node that asks for every leaf beyond one link, one after the other."""
    far = [f"b{n:03}" for n in range(leaves)]
    links = " ".join(["a-h", "h-k", *(f"k-{it}" for it in far)])
    return Case(
        links, tuple(("a", it) for it in far), one_by_one=True, limit="max_lanes_per_origin"
    )


def mesh(size: int, seed: int = 1) -> Case:
    """Draw the graph of `bench network`: every node with every other one."""
    links = network.shape(size, random.Random(seed))  # noqa: S311 -- a network to be drawn again
    near = {frozenset(link.split("-")) for link in links.split()}
    names = sorted({name for link in near for name in link})
    both = [(one, two) for one in names for two in names if one != two]
    return Case(links, tuple(pair for pair in both if frozenset(pair) not in near))


KINDS: dict[str, Callable[[int], Case]] = {
    "mesh": mesh,
    "dumbbell": dumbbell,
    "slow": partial(dumbbell, slow=True),
    "spur": spur,
}


def any_to_any(shapes: Sequence[tuple[str, int]], say: Callable[[str], None]) -> Figures:
    """Measure each of these networks, in a process of its own."""
    made: Figures = {"store_bits": STORE_BITS, "networks": {}}
    for kind, size in shapes:
        name = f"{kind} {size}"
        say(name)
        fresh = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, mp_context=fresh, initializer=network.quiet) as pool:
            made["networks"][name] = pool.submit(one_case, kind, size).result()
    return made


def one_case(kind: str, size: int) -> Figures:
    """Measure one network in this process, and one like it with a place too few."""
    made = measure(KINDS[kind](size))
    if KINDS[kind](size).limit:
        made |= past_the_limit(KINDS[kind](size))
    return made


def measure(case: Case, *, rest_s: float = REST_S) -> Figures:
    """Let all pairs ask, look, wait, and let each fetch a key."""
    ran, run = time.process_time(), _Run(case)
    before, rows = _rss(), run.rows_mib()
    made: Figures = {
        "nodes": run.size,
        "links": len(run.kms.cluster.links),
        "rate_bit_s": case.rate_bit_s,
        "pairs": len(case.pairs),
        "sessions": len(case.distinct),
    }
    frames = run.frames
    run.ask_for_sessions()
    run.kms.advance(FIRST_LOOK_S)
    made["stand_at_first_look"] = run.standing()
    made["set_up_frames"] = run.frames - frames
    made["stocked_after_s"] = run.stocked()
    made |= run.rest(rest_s)
    made |= run.first_keys()
    if case.busy:
        made |= run.demand()
    made["stand_at_the_end"] = run.standing()
    made["lanes_lost"] = run.count("protokms_lanes_lost")
    ends = 2 * len(case.distinct)  # none where all nodes are neighbours
    rows, grown = run.rows_mib() - rows, _rss() - before
    made["mib_a_pair_and_end"] = round(grown / ends, 3) if ends else None
    made["of_this_rows_mib"] = round(rows / ends, 3) if ends else None
    made["cpu_s"] = round(time.process_time() - ran, 1)
    return made


def past_the_limit(case: Case) -> Figures:
    """Let one more ask than there are places on the link, and tell what the last one hears."""
    most = len(case.distinct) - 1
    one_way = tuple(pair for pair in case.pairs if pair[0] < pair[1])
    run = _Run(replace(case, pairs=one_way, relay={case.limit: most}))
    run.ask_for_sessions()
    run.kms.advance(FIRST_LOOK_S)
    stand = run.standing()
    run.kms.advance(REST_S)
    return {
        "past_the_limit": {
            "places": most,
            "stand": stand,
            "stand_later": run.standing(),
            "refused": dict(run.refused()),
            "lanes_lost": run.count("protokms_lanes_lost"),
        }
    }


class _Run:
    """A network whose links are full and whose routes are known."""

    def __init__(self, case: Case) -> None:
        self.case = case
        relay = {"max_sessions_per_sae": 65_536, "max_sessions": 65_536, **case.relay}
        link = network.LINK | {"rate_bit_s": case.rate_bit_s}
        self._disks: list[MemoryStore] = []
        self.kms = KmsNetwork(
            case.links, link=link, store=network.STORE, relay=relay, disk=self._disk
        )
        self._sae = {node: sae for sae, node in self.kms.saes.items()}
        self.size = len(self.kms.cluster.nodes)
        network.converge(self.kms)
        self.kms.advance(max(LINKS_FULL_S, STORE_BITS / case.rate_bit_s))

    def _disk(self, _: str) -> MemoryStore:
        self._disks.append(MemoryStore())
        return self._disks[-1]

    @property
    def frames(self) -> int:
        return self.kms.cluster.net.carried

    def count(self, name: str) -> float:
        """Count something at all nodes."""
        return sum(self.kms.cluster.count(node, name) for node in self.kms.cluster.nodes)

    def rows_mib(self) -> float:
        """Return what lies on the disks: here they are in memory too, those of nodes are not."""
        return sum(disk.octets for disk in self._disks) / (1 << 20)

    # Sessions

    def ask_for_sessions(self) -> None:
        """Let an SAE at each end of each pair want keys."""
        for here, there in self.case.pairs:
            ask = sessions.EnsureSession(peer=there, sae=self._sae[here])
            self.kms.cluster.tell(f"sessions@{here}", ask)
            if self.case.one_by_one:
                self.kms.advance(1.0)

    def _states(self) -> Iterator[tuple[frozenset[str], sessions.SessionState]]:
        for node in self.kms.cluster.nodes:
            answer = self.kms.cluster.ask(f"sessions@{node}", sessions.ListSessions())
            assert isinstance(answer, sessions.Sessions), answer
            for state in answer.sessions:
                yield frozenset((node, state.destination)), state

    def standing(self) -> int:
        """Count the pairs with a session that stands."""
        return len({pair for pair, state in self._states() if state.state == "established"})

    def refused(self) -> Counter[str]:
        """Tell why pairs have none, and who says so."""
        states = list(self._states())
        stand = {pair for pair, state in states if state.state == "established"}
        why = {pair: f"{it.state} {it.why}" for pair, it in states if pair not in stand}
        return Counter(why.values())

    # What it costs

    def stocked(self) -> float | None:
        """Wait until all have what they keep in store; return when, None if that takes too long."""
        begun = self.kms.cluster.now
        spent = self.count("protokms_relay_pad_octets")
        while self.kms.cluster.now - begun < STOCKED_S:
            before = spent
            self.kms.advance(LOOK_EVERY_S)
            spent = self.count("protokms_relay_pad_octets")
            if spent == before:
                return round(self.kms.cluster.now - begun + FIRST_LOOK_S - LOOK_EVERY_S, 1)
        return None

    def rest(self, seconds: float) -> Figures:
        """Let time pass while nobody asks for anything."""
        frames, checked = self.frames, signatures.looked_at()
        spent, ran = self.count("protokms_relay_pad_octets"), time.process_time()
        self.kms.advance(seconds)
        each = self.size * seconds
        return {
            "rest_frames_s_a_node": round((self.frames - frames) / each, 1),
            "rest_signatures_s_a_node": round((signatures.looked_at() - checked) / each, 2),
            "rest_pad_octets": self.count("protokms_relay_pad_octets") - spent,
            "rest_cpu_s_a_second": round((time.process_time() - ran) / seconds, 3),
        }

    # Keys

    def first_keys(self) -> Figures:
        """Let each pair ask for one key, once; look that both ends get the same."""
        equal, refused = 0, Counter[str]()
        for here, there in self.case.pairs:
            made = self._key(here, there, 1, ANSWER_S)
            if isinstance(made, keys.Keys):
                taken = self.kms.dec(self._sae[there], self._sae[here], made.grant)
                equal += isinstance(taken, keys.KeysWithIds) and taken.octets[0] == made.octets
            else:
                refused[made] += 1
        return {"keys_at_first_request": equal, "refused": dict(refused)}

    def demand(self) -> Figures:
        """Let all pairs ask for more than there is, over and over: how even are their shares?"""
        got = Counter[Pair]()
        begun = self.kms.cluster.now
        while self.kms.cluster.now < begun + DRAINED_S + DEMAND_S:
            if self.kms.cluster.now < begun + DRAINED_S:
                got.clear()  # what was in store
            for here, there in self.case.pairs:
                while isinstance(self._key(here, there, KEYS_AT_ONCE, 0.0), keys.Keys):
                    got[here, there] += KEYS_AT_ONCE
                self._one_more(got, here, there)
            self.kms.advance(DEMAND_EVERY_S)
        of_pairs = Counter[frozenset[str]]()
        for pair in self.case.pairs:
            of_pairs[frozenset(pair)] += got[pair]
        counts = sorted(of_pairs.values())
        return {
            "demand_s": DEMAND_S,
            "keys_a_pair_least": counts[0],
            "keys_a_pair_median": counts[len(counts) // 2],
            "keys_a_pair_most": counts[-1],
        }

    def _one_more(self, got: Counter[Pair], here: str, there: str) -> None:
        while isinstance(self._key(here, there, 1, 0.0), keys.Keys):
            got[here, there] += 1

    def _key(self, here: str, there: str, number: int, wait: float) -> keys.Keys | str:
        """Fetch keys at one end, or tell why there are none."""
        master, slave = self._sae[here], self._sae[there]
        ask = keys.GetKey(master=master, slaves=(slave,), number=number, size=KEY_OCTETS)
        made = self.kms.cluster.ask(self.kms.store_of(master, slave), ask, wait)
        return made if isinstance(made, keys.Keys) else getattr(made, "code", "malformed")


def _rss() -> float:
    """Return the memory that this process has now, in MiB."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)
