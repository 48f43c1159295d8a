"""One run: a network, its SAEs, its faults, and quiescence, when all must be well."""

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

from actors.keystore.key_store import KeyStore
from actors.protocol import keys
from protokms.testing.breaking import SimulatedCrash
from protokms.testing.disk import Disk, FileDisk, MemoryStore
from protokms.testing.kms import KmsNetwork
from protokms.testing.sim.checker.checker import Checker
from protokms.testing.sim.checker.ledgers import Ledgers, silent
from protokms.testing.sim.checker.promise import BrokenPromise
from protokms.testing.sim.checker.stocks import Terms
from protokms.testing.sim.faults.coverage import Pairs
from protokms.testing.sim.faults.fibre import Fibre
from protokms.testing.sim.faults.impairments import Impairments
from protokms.testing.sim.faults.plan import LEAST_OPERATIONS, WARM_S, Plan
from protokms.testing.sim.run.front import Fronts
from protokms.testing.sim.run.quiescence import Quiescence
from protokms.testing.sim.run.workload import Workload
from transport.codec import decode
from transport.message import Message

NEAR, FAR = (40e3, 999), (160e3, 3999)
"""Rate (bit/s) and longest datagram (octets) of a link, and of one that carries chunks as well."""

SAMPLE_S = 2.0
_LEASE_OCTETS, _WANT_OCTETS = 2000, 6000


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
        self._heard: tuple[bytes, Message] = b"", keys.Written(receipt=0)
        self._broken: BrokenPromise | None = None
        self.kms = self._network(folder)
        self.cluster = self.kms.cluster
        self.fibres = {ends: self._fibre(ends) for ends in self.kms.pipes}
        names = self.cluster.nodes
        stores = {node: list(names) for node in names}
        self.checker = Checker(
            self.terms(),
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
        self.impairments = Impairments(plan, self.kms, self.fibres, self.checker)
        self.cluster.net.watchers.append(self._overhear)
        self.workload = Workload(
            plan, self.cluster, self.fronts, self.checker.overheard, self._dice("saes")
        )

    def run(self) -> Outcome:
        """Run it all; `BrokenPromise` if that is what comes out."""
        self.impairments.schedule(self.plan.faults)
        self.impairments.become(self.plan.devices)
        self.workload.start()
        if self.plan.shares > 1:
            self.cluster.agenda.later(WARM_S, self._split)
        self.until(self.plan.length_s)
        while len(self.fronts.operations) < LEAST_OPERATIONS:
            self.until(self.cluster.now + SAMPLE_S)
        end = Quiescence(self)
        end.rest()
        silent(self.checker.octets, bytes(self.checker.overheard.frames), repr(self._logs))
        end.lives_on()
        end.outlives()
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
            made.cluster.slow_slices(node, *_slices(plan.seed, node))
        return made

    def _fibre(self, ends: tuple[str, str]) -> Fibre:
        fibre = self.kms.pipes[ends]
        assert isinstance(fibre, Fibre), "the network was given this class"
        fibre.agenda = self.cluster.agenda
        return fibre

    def terms(self) -> Terms:
        """What the network is set to, for the checker."""
        store = self.plan.store
        return Terms(
            mode=self.plan.mode,
            home=self.plan.saes,
            ttl_s=store["ttl_s"],
            redelivery_s=store["redelivery_s"],
            pair_octets=store["max_undelivered_bits_per_pair"] // 8,
            earlier_octets=store["max_undelivered_bits_of_earlier_starts"] // 8,
            slice_s={node: _slices(self.plan.seed, node)[0] for node in self.plan.names},
        )

    def _dice(self, what: str) -> random.Random:
        return random.Random(f"{what}/{self.plan.seed}")  # noqa: S311 -- a seed, not a secret

    def _drawn(self, sender: str, to: str, seq: int) -> bytes:
        fibre = self.fibres.get((sender, to))
        return fibre.drawn.get(seq, b"") if fibre else b""

    # While it runs

    def _overhear(self, what: str, sender: str, to: str, frame: bytes) -> None:
        if frame is not self._heard[0]:
            self._heard = frame, decode(frame, sender).body
        body = self._heard[1]
        if what == "posted":
            try:
                self.checker.overheard.hear(sender, to, frame, body)
            except BrokenPromise as broken:  # in a turn of an actor, which would die of it
                self._broken = self._broken or broken
        self.impairments.heard(what, sender, to, frame, body)

    def until(self, end: float) -> None:
        """Let time pass, and look at what comes of it."""
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

    def _outcome(self) -> Outcome:
        answers: dict[str, int] = {}
        for op in self.fronts.operations:
            what = type(op.answer).__name__ if op.answer else op.outcome
            what = getattr(op.answer, "code", what)
            answers[what] = answers.get(what, 0) + 1
        return Outcome(
            seed=self.plan.seed,
            operations=len(self.fronts.operations),
            faults=self.impairments.done,
            steps=self.cluster.agenda.steps,
            seconds=self.cluster.now,
            met=self.impairments.coverage.met,
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


def _slices(seed: int, node: str) -> tuple[float, int]:
    """Tell how late slices of rows come at a node, and how many rows they have at most.

    It is drawn apart from the plan, so that the plan of a seed stays what it was.
    """
    dice = random.Random(f"slices/{seed}/{node}")  # noqa: S311 -- simulated
    return dice.choice([(0.0, 512), (0.0, 1), (0.02, 2), (0.3, 1)])
