"""One run: a network, its SAEs, its faults, and at the end calm, when everything must be well."""

import contextlib
import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import structlog

from actors.key_store import KeyStore
from actors.protocol import keys
from protokms.testing.breaking import SimulatedCrash
from protokms.testing.disk import Disk, FileDisk, MemoryStore
from protokms.testing.kms import KmsNetwork
from protokms.testing.sim.checker import Checker, Terms
from protokms.testing.sim.coverage import Pairs
from protokms.testing.sim.fibre import Fibre
from protokms.testing.sim.front import Fronts, refused
from protokms.testing.sim.ledgers import Ledgers, silent
from protokms.testing.sim.mischief import Mischief
from protokms.testing.sim.operation import Operation
from protokms.testing.sim.plan import LEAST_OPERATIONS, WARM_S, Plan
from protokms.testing.sim.promise import BrokenPromise
from protokms.testing.sim.workload import Workload
from transport.codec import decode

NEAR, FAR = (40e3, 999), (160e3, 3999)
"""Rate (bit/s) and longest datagram (octets) of a link, and of one that carries chunks as well."""

SAMPLE_S = 2.0
CALM_S = 22.0
STILL_S = 14.0
_LEASE_OCTETS, _WANT_OCTETS = 2000, 6000
_FAR_TRIES = 40
_DRINKS, _SMALL = 150, 8 << 20


class SmallLeases(KeyStore):
    """So small that segments are left to give away."""

    lease_octets = _LEASE_OCTETS
    want_octets = _WANT_OCTETS


@dataclass(slots=True)
class Outcome:
    """What a run did; a run that breaks a promise has none, it raises."""

    seed: int
    operations: int
    faults: int
    steps: int
    seconds: float
    met: Pairs = field(repr=False)
    answers: dict[str, int] = field(repr=False)


class World:
    """Everything of one run; `run` may be called once."""

    def __init__(self, plan: Plan, logs: list[Any], folder: Path | None = None) -> None:
        self.plan, self._logs = plan, logs
        self._broken: BrokenPromise | None = None
        self.kms = self._network(folder)
        self.cluster = self.kms.cluster
        self.fibres = {ends: self._fibre(ends) for ends in self.kms.pipes}
        names = self.cluster.nodes
        stores = {node: list(names) for node in names}
        self.checker = Checker(
            self._terms(),
            Ledgers(self.cluster.rows, stores),
            self._drawn,
            lambda one, other: (one, other) in self.fibres or (other, one) in self.fibres,
            now=lambda: self.cluster.now,
            age=self.cluster.age,
        )
        self.checker.octets.whole = not plan.far
        for node in names:
            self.checker.troubles.add("start", (node,), 0.0, 3.0)
        self.cluster.draws.append(lambda _, octets: self.checker.octets.draw(octets))
        self.fronts = Fronts(self.cluster, self.checker)
        self.mischief = Mischief(plan, self.kms, self.fibres, self.checker)
        self.cluster.net.watchers.append(self._overhear)
        self.workload = Workload(
            plan, self.cluster, self.fronts, self.checker.overheard, self._dice("saes")
        )

    def run(self) -> Outcome:
        """Run it all; `BrokenPromise` if that is what comes out."""
        self.mischief.schedule(self.plan.faults)
        self.workload.start()
        if self.plan.shares > 1:
            self.cluster.agenda.later(WARM_S, self._split)
        self._until(self.plan.length_s)
        while len(self.fronts.operations) < LEAST_OPERATIONS:
            self._until(self.cluster.now + SAMPLE_S)
        self._calm()
        silent(self.checker.octets, bytes(self.checker.overheard.frames), repr(self._logs))
        self._lives_on()
        return self._outcome()

    def _split(self) -> None:
        for node, peer in self.plan.distant:
            if self.cluster.nodes[node].alive:
                self.fronts.split(node, peer, self.plan.shares)

    # What it is made of

    def _network(self, folder: Path | None) -> KmsNetwork:
        plan = self.plan

        def disk(node: str) -> Disk:
            return FileDisk(folder / f"{node}.db", node) if folder else MemoryStore()

        made = KmsNetwork(
            plan.nodes,
            saes=plan.saes,
            store=plan.store,
            store_kind=SmallLeases if plan.small_leases and not plan.far else KeyStore,
            link=dict(zip(("rate_bit_s", "max_bytes"), FAR if plan.far else NEAR, strict=True)),
            pipe=partial(Fibre, f"fibre/{plan.seed}"),
            seed=plan.seed,
            shuffle=True,
            tolerant=True,
            disk=disk,
        )
        for one, other in plan.links:
            made.cluster.worsen(one, other, delay=plan.delay_s)
        for node in plan.names:
            made.cluster.slow_disk(node, plan.commit_s)
        return made

    def _fibre(self, ends: tuple[str, str]) -> Fibre:
        fibre = self.kms.pipes[ends]
        assert isinstance(fibre, Fibre), "the network was given this class"
        fibre.agenda = self.cluster.agenda
        return fibre

    def _terms(self) -> Terms:
        store = self.plan.store
        return Terms(
            mode=self.plan.mode,
            home=self.plan.saes,
            ttl_s=store["ttl_s"],
            redelivery_s=store["redelivery_s"],
            pair_octets=store["max_undelivered_bits_pair"] // 8,
        )

    def _dice(self, what: str) -> random.Random:
        return random.Random(f"{what}/{self.plan.seed}")  # noqa: S311 -- a seed, not a secret

    def _drawn(self, sender: str, to: str, seq: int) -> bytes:
        fibre = self.fibres.get((sender, to))
        return fibre.drawn.get(seq, b"") if fibre else b""

    # While it runs

    def _overhear(self, what: str, sender: str, to: str, frame: bytes) -> None:
        body = decode(frame, sender).body
        if what == "posted":
            try:
                self.checker.overheard.hear(sender, to, frame, body)
            except BrokenPromise as broken:  # in a turn of an actor, which would die of it
                self._broken = self._broken or broken
        self.mischief.heard(what, sender, to, frame, body)

    def _until(self, end: float) -> None:
        while self.cluster.now < end:
            some = min(SAMPLE_S, end - self.cluster.now)
            self.cluster.agenda.advance(some, until=lambda: self._broken is not None)
            self._check()

    def _check(self) -> None:
        if self._broken:
            raise self._broken
        for crash in self.cluster.crashes:
            if not isinstance(crash.why, SimulatedCrash):
                word = type(crash.during.body).__name__ if crash.during else "its start"
                raise BrokenPromise("CRASH", f"{crash.address} in {word}") from crash.why
        self.checker.sample()

    def _calm(self) -> None:
        """Let the faults stop, then the links, and see what is left open."""
        self.workload.stopped = True
        self.mischief.heal()
        self._until(self.cluster.now + CALM_S)
        for fibre in self.fibres.values():
            fibre.still = True
        self._until(self.cluster.now + STILL_S)
        for one, other in self.plan.links:
            if (one, other) not in self.checker.octets.betrayed:
                self.checker.ledgers.rest(one, other)
        for node in self.plan.names:
            self.checker.ledgers.bounded(node)
        self._no_alarms()
        self._fetch_all()

    def _no_alarms(self) -> None:
        """P9: nobody raises an alarm in a network where nothing was rolled back and none lies."""
        excused = {"restore", "betray"} & {fault.kind for fault in self.plan.faults}
        alarms = {node: self.cluster.count(node, "protokms_alarms") for node in self.plan.names}
        if any(alarms.values()) and not excused:
            raise BrokenPromise("P9", f"false alarms: {alarms}")

    def _fetch_all(self) -> None:
        """P3: whatever is due is still there."""
        deliveries, now = self.checker.deliveries, self.cluster.now
        due = [it for it in deliveries.places() if deliveries.must(*it, now)]
        for name, slave in due:
            told = deliveries.told[name.grant]
            ask = keys.GetKeyWithIds(master=told.ask.master, slave=slave, names=(name,))
            self._insist(self.plan.saes[slave], told.issuer, ask, keys.KeysWithIds)

    def _lives_on(self) -> None:
        """LIVE: fresh bits still become keys, in both directions."""
        for fibre in self.fibres.values():
            fibre.still = False
        self._until(self.cluster.now + 4.0)
        at = {node: sae for sae, node in self.plan.saes.items()}
        for one, other in self.plan.links:
            if (one, other) in self.checker.octets.betrayed:
                continue
            for node, peer in ((one, other), (other, one)):
                ask = keys.GetKey(master=at[node], slaves=(at[peer],), number=1, size=32)
                self._insist(node, peer, ask, keys.Keys)
        plan = self.plan
        quiet = not plan.far and not self.checker.octets.betrayed
        if quiet and plan.store["max_bits"] < _SMALL and self._terms().pair_octets > _SMALL // 64:
            self._thirst()
        for node, peer in self.plan.distant if self.plan.far else ():
            ask = keys.GetKey(master=at[node], slaves=(at[peer],), number=1, size=32)
            self._insist(node, peer, ask, keys.Keys, tries=_FAR_TRIES)

    def _thirst(self) -> None:
        """LIVE: a store that was full and is used up fills again."""
        at = {node: sae for sae, node in self.plan.saes.items()}
        for node, peer in self.plan.links:
            ask = keys.GetKey(master=at[node], slaves=(at[peer],), number=16, size=64)
            for _ in range(_DRINKS):
                told: list[Operation] = []
                self.fronts.ask(node, peer, ask, told.append, area=(node, peer))
                self.cluster.agenda.advance(10.0, until=lambda told=told: bool(told))  # type: ignore[misc]
                if refused(told[0]):
                    break
        self._until(self.cluster.now + 20.0)
        for node, peer in self.plan.links:
            small = keys.GetKey(master=at[node], slaves=(at[peer],), number=1, size=32)
            self._insist(node, peer, small, keys.Keys)

    def _insist(self, node: str, peer: str, ask: Any, wanted: type[Any], *, tries: int = 1) -> None:
        told: list[Operation] = []
        area = tuple(self.plan.names) if tries > 1 else ()
        for _ in range(tries):
            told.clear()
            op = self.fronts.ask(node, peer, ask, told.append, area=area)
            self.cluster.agenda.advance(10.0, until=lambda: bool(told))
            if op and isinstance(op.answer, wanted):
                return
            if op and refused(op) == "too_many_undelivered":
                return  # the checker has agreed to that
            if tries > 1:
                self.fronts.ensure(node, peer, ask.master)
                self._until(self.cluster.now + 1.0)
        raise BrokenPromise("LIVE", f"{ask} at {node}, after all: {op and op.answer}")

    def _outcome(self) -> Outcome:
        answers: dict[str, int] = {}
        for op in self.fronts.operations:
            what = type(op.answer).__name__ if op.answer else op.outcome
            what = getattr(op.answer, "code", what)
            answers[what] = answers.get(what, 0) + 1
        return Outcome(
            seed=self.plan.seed,
            operations=len(self.fronts.operations),
            faults=self.mischief.done,
            steps=self.cluster.agenda.steps,
            seconds=self.cluster.now,
            met=self.mischief.coverage.met,
            answers=answers,
        )


def _quick_folder() -> Path | None:
    """A folder in memory, where there is one: what files do is tried, not how long it takes."""
    memory = Path("/dev/shm")  # noqa: S108 -- files in a folder of our own
    return memory if os.access(memory, os.W_OK) else None


@contextlib.contextmanager
def world(plan: Plan) -> Iterator[World]:
    """Make the world of a plan; at the end its files are closed and gone."""
    with contextlib.ExitStack() as stack:
        folder = None
        if plan.files:
            folder = Path(stack.enter_context(TemporaryDirectory(dir=_quick_folder())))
        logs = stack.enter_context(structlog.testing.capture_logs())
        made = World(plan, logs, folder)
        stack.callback(made.cluster.close)
        yield made


def run(plan: Plan) -> Outcome:
    """Make the world of a plan and run it."""
    with world(plan) as made:
        try:
            return made.run()
        except BrokenPromise as broken:
            broken.at = made.cluster.now
            raise
