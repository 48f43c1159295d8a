"""`python -m protokms.testing.sim`: many seeds, or one again."""

import argparse
import sys
import time
from collections.abc import Callable

from protokms.testing.sim.faults import coverage, fault, fault_args
from protokms.testing.sim.faults.plan import NODES_MAX, Plan, Sizes, plan
from protokms.testing.sim.run import runner

_SEEDS, _FIRST, _JOBS = 100, 0, 1
_SHRINK_MAX, _SHRINK_S = 3, 300.0
"""So many failures are shrunk, in so much time for all."""
_TOLD_EACH_S = 30.0
_NODES_LEAST = 4
"""Fewer might leave no pair without a common link."""


def main(words: list[str] | None = None) -> int:
    """Run what the command line asks for; 1 if a promise was broken."""
    asked = _asked(words)
    if asked.seed is not None:
        return _one(asked.plan, shrink=asked.shrink)
    seeds = range(asked.first, asked.first + asked.seeds)
    counted = runner.total(seeds, asked.jobs, asked.nodes, _progress(len(seeds)))
    _say(str(counted))
    if asked.coverage:
        _say(coverage.table(counted.met))
    for kind, words_ in coverage.never_met(counted.met).items():
        _say(f"{kind} never met: {', '.join(words_)}")
    until = time.monotonic() + _SHRINK_S
    for number, failure in enumerate(counted.failures):
        _report(failure, until if asked.shrink and number < _SHRINK_MAX else None)
    return bool(counted.failures)


def _asked(words: list[str] | None) -> argparse.Namespace:
    """Read the command line; `plan` is that of the one seed, if one is asked for."""
    parser = _parser()
    asked = parser.parse_args(words)
    if asked.seed is None:
        if asked.faults is not None:
            parser.error("--faults needs --seed: faults take the place of those of one seed")
        asked.seeds, asked.jobs = asked.seeds or _SEEDS, asked.jobs or _JOBS
        asked.first = _FIRST if asked.first is None else asked.first
        return asked
    for name in ("seeds", "first", "jobs", "coverage"):
        if getattr(asked, name) is not None:
            parser.error(f"--{name} is for many seeds, and --seed runs one: leave one of them away")
    try:
        faults = None if asked.faults is None else fault.read(asked.faults)
        asked.plan = plan(asked.seed, faults, asked.nodes)
        fault_args.check(asked.plan, asked.plan.faults)
    except ValueError as error:
        parser.error(f"--faults: {error}")
    return asked


def _progress(seeds: int) -> Callable[[runner.Total], None]:
    """Make what says, on standard error and now and then, how far a long run is."""
    told = 0.0

    def tell(so_far: runner.Total) -> None:
        nonlocal told
        if so_far.real_s - told < _TOLD_EACH_S:
            return
        told = so_far.real_s
        failed = ", ".join(str(failure.seed) for failure in so_far.failures) or "none"
        sys.stderr.write(f"{so_far.runs} of {seeds} seeds, {told:.0f} s, failed: {failed}\n")

    return tell


def _shrinking(now: Callable[[], float] = time.monotonic) -> Callable[[int, int], None]:
    """Make what says, on standard error and now and then, how far the leaving out has come."""
    told = now()

    def tell(left: int, runs: int) -> None:
        nonlocal told
        if now() - told >= _TOLD_EACH_S:
            told = now()
            sys.stderr.write(f"{left} faults left after {runs} runs\n")

    return tell


def _one(wanted: Plan, *, shrink: bool) -> int:
    _say(f"seed {wanted.seed}: {wanted.nodes}, {wanted.mode}, {wanted.store}")
    _say("; ".join(map(str, wanted.devices)))
    result = runner.attempt(wanted)
    if isinstance(result, runner.Failure):
        _report(result, time.monotonic() + _SHRINK_S if shrink else None)
        return 1
    _say(f"clean: {result}")
    return 0


def _report(failure: runner.Failure, shrink_until: float | None) -> None:
    _say(f"\nFAILED seed {failure.seed} at {failure.at:.3f} s: {failure.what}\n{failure.trace}")
    _say(f"  {failure.command}")
    if shrink_until is not None:
        less = runner.shrunk(failure, until=shrink_until, tell=_shrinking())
        count = "the same" if less.faults is None else len(less.faults)
        _say(f"with fewer faults ({count}): {less.what}\n  {less.command}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m {runner.MODULE}",
        description=__doc__,
        epilog=f"A fault is {fault.FORM}; docs/testing.md has the rest.",
    )
    parser.add_argument("--seed", type=_whole, help="run this one seed")
    parser.add_argument("--faults", help="with these faults in the place of those of the seed")
    parser.add_argument("--seeds", type=_number, help=f"run so many seeds ({_SEEDS})")
    parser.add_argument("--first", type=_whole, help=f"from this one on ({_FIRST})")
    parser.add_argument("--jobs", type=_number, help=f"on so many cores ({_JOBS})")
    parser.add_argument(
        "--nodes",
        type=_sizes,
        metavar="LEAST-MOST",
        help=f"in random networks of so many nodes, {_NODES_LEAST} to {NODES_MAX}",
    )
    parser.add_argument(
        "--coverage", action="store_const", const=True, help="print which fault met which word"
    )
    parser.add_argument(
        "--no-shrink", dest="shrink", action="store_false", help="leave failures as they are"
    )
    return parser


def _whole(text: str, least: int = 0) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) >= least):
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number, {least} or more")
    return int(text)


def _number(text: str) -> int:
    return _whole(text, 1)


def _sizes(text: str) -> Sizes:
    least, _, most = text.partition("-")
    try:
        sizes = _whole(least), _whole(most)
        if _NODES_LEAST <= sizes[0] <= sizes[1] <= NODES_MAX:
            return sizes
    except argparse.ArgumentTypeError:
        pass
    wanted = f"LEAST-MOST, {_NODES_LEAST} to {NODES_MAX}, such as 5-30"
    raise argparse.ArgumentTypeError(f"'{text}' is not {wanted}")


def _say(text: str) -> None:
    sys.stdout.write(text.rstrip() + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
