"""Runs many seeds, on several cores; turns a failure into one command that repeats it."""

import math
import shlex
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from protokms.testing.sim.checker.promise import BrokenPromise
from protokms.testing.sim.faults.coverage import Pairs
from protokms.testing.sim.faults.fault import Fault, write
from protokms.testing.sim.faults.plan import Plan, Sizes, plan
from protokms.testing.sim.run.shrink import Tell, shrink
from protokms.testing.sim.run.world import Outcome, run

MODULE = "protokms.testing.sim"


@dataclass(frozen=True, slots=True)
class Failure:
    """A run that broke a promise; `faults` is None if they are those of the seed.

    `sizes` are those of the random network that was asked for, if it was.
    """

    seed: int
    promise: str
    what: str
    at: float
    faults: tuple[Fault, ...] | None = None
    sizes: Sizes | None = None
    trace: str = field(default="", repr=False)

    @property
    def command(self) -> str:
        """The command that repeats it."""
        more = f" --nodes {self.sizes[0]}-{self.sizes[1]}" if self.sizes else ""
        more += "" if self.faults is None else f" --faults {shlex.quote(write(self.faults))}"
        return f"{interpreter()} -m {MODULE} --seed {self.seed}{more}"


def interpreter() -> str:
    """Return the Python that runs, as a word of a command to be typed in this folder."""
    used = Path(sys.executable or "python")
    here = Path.cwd()
    return shlex.quote(str(used.relative_to(here) if used.is_relative_to(here) else used))


@dataclass(slots=True)
class Total:
    """What many runs did together."""

    runs: int = 0
    operations: int = 0
    faults: int = 0
    steps: int = 0
    virtual_s: float = 0.0
    real_s: float = 0.0
    least_operations: int = 1 << 60
    least_faults: int = 1 << 60
    answers: Counter[str] = field(default_factory=Counter)
    met: Pairs = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)

    def add(self, result: "Outcome | Failure") -> None:
        """Count one run in."""
        self.runs += 1
        if isinstance(result, Failure):
            self.failures.append(result)
            return
        self.operations += result.operations
        self.faults += result.faults
        self.steps += result.steps
        self.virtual_s += result.seconds
        self.least_operations = min(self.least_operations, result.operations)
        self.least_faults = min(self.least_faults, result.faults)
        self.met.update(result.met)
        self.answers.update(result.answers)

    def __str__(self) -> str:
        clean = self.runs - len(self.failures)
        rate = self.steps / max(self.real_s, 1e-9)
        lines = [
            f"{self.runs} seeds, {clean} clean, {len(self.failures)} failed, {self.real_s:.0f} s",
            f"{self.operations} operations (at least {self.least_operations} a seed)",
            f"{self.faults} faults (at least {self.least_faults} a seed)",
            f"{self.steps} steps, {rate:,.0f} a second; {self.virtual_s:.0f} s of virtual time",
        ]
        counts = sorted(self.answers.items(), key=lambda item: -item[1])
        lines.append("answers: " + ", ".join(f"{what} {n}" for what, n in counts))
        return "\n".join(lines) if clean else lines[0]


def attempt(wanted: Plan) -> Outcome | Failure:
    """Run one plan; whatever goes wrong is a failure, with the command that repeats it."""
    sizes = wanted.sizes
    drawn = plan(wanted.seed, sizes=sizes).faults
    given = None if wanted.faults == drawn else tuple(wanted.faults)
    try:
        return run(wanted)
    except BrokenPromise as broken:
        why = traceback.format_exc() if broken.__cause__ else ""
        return Failure(wanted.seed, broken.promise, str(broken), broken.at, given, sizes, why)
    except Exception as error:
        trace = traceback.format_exc()
        what = f"{type(error).__name__}: {error}"
        return Failure(wanted.seed, "ERROR", what, 0.0, given, sizes, trace)


def _attempt_seed(seed: int, sizes: Sizes | None) -> Outcome | Failure:
    return attempt(plan(seed, sizes=sizes))


def many(
    seeds: Iterable[int], jobs: int, sizes: Sizes | None = None
) -> Iterator[Outcome | Failure]:
    """Run many seeds; results come in the order of the seeds."""
    one = partial(_attempt_seed, sizes=sizes)
    if jobs == 1:
        yield from map(one, seeds)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(one, seeds, chunksize=4)


def total(
    seeds: Iterable[int],
    jobs: int = 1,
    sizes: Sizes | None = None,
    tell: Callable[[Total], None] = lambda _: None,
) -> Total:
    """Run many seeds, and count; `tell(so_far)` after each."""
    counted, begun = Total(), time.monotonic()
    for result in many(seeds, jobs, sizes):
        counted.add(result)
        counted.real_s = time.monotonic() - begun
        tell(counted)
    return counted


def shrunk(
    failure: Failure, *, until: float = math.inf, tell: Tell = lambda _left, _runs: None
) -> Failure:
    """Find fewer faults that break the same promise under the same seed.

    `until` is when to stop, by `time.monotonic`; `tell` hears how far it is.
    """
    best = failure

    def fails(faults: list[Fault]) -> bool:
        nonlocal best
        again = attempt(plan(failure.seed, faults, failure.sizes))
        if isinstance(again, Failure) and again.promise == failure.promise:
            best = again
            return True
        return False

    drawn = plan(failure.seed, sizes=failure.sizes).faults
    begun = drawn if failure.faults is None else failure.faults
    before = [fault for fault in begun if fault.at <= failure.at or not failure.at]
    if len(before) < len(begun) and not fails(before):
        before = list(begun)
    shrink(before, fails, until=until, tell=tell)
    return best
