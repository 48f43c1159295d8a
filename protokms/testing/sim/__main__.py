"""`python -m protokms.testing.sim`: many seeds, or one again."""

import argparse
import sys
from collections.abc import Callable

from protokms.testing.sim import coverage, fault, runner
from protokms.testing.sim.plan import NODES_MAX, Sizes, plan

_SHRINK_MAX = 3
_TOLD_EACH_S = 30.0
_NODES_LEAST = 4
"""Fewer might leave no pair without a common link."""


def main(words: list[str] | None = None) -> int:
    """Run what the command line asks for; 1 if a promise was broken."""
    asked = _parser().parse_args(words)
    if asked.seed is not None:
        return _one(asked.seed, asked.faults, asked.nodes, shrink=asked.shrink)
    seeds = range(asked.first, asked.first + asked.seeds)
    counted = runner.total(seeds, asked.jobs, asked.nodes, _progress(len(seeds)))
    _say(str(counted))
    if asked.coverage:
        _say(coverage.table(counted.met))
    for kind, words_ in coverage.never_met(counted.met).items():
        _say(f"{kind} never met: {', '.join(words_)}")
    for number, failure in enumerate(counted.failures):
        _report(failure, shrink=asked.shrink and number < _SHRINK_MAX)
    return bool(counted.failures)


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


def _one(seed: int, faults: str | None, sizes: Sizes | None, *, shrink: bool) -> int:
    wanted = plan(seed, None if faults is None else fault.read(faults), sizes)
    _say(f"seed {seed}: {wanted.nodes}, {wanted.mode}, {wanted.store}")
    result = runner.attempt(wanted)
    if isinstance(result, runner.Failure):
        _report(result, shrink=shrink)
        return 1
    _say(f"clean: {result}")
    return 0


def _report(failure: runner.Failure, *, shrink: bool) -> None:
    _say(f"\nFAILED seed {failure.seed} at {failure.at:.3f} s: {failure.what}\n{failure.trace}")
    _say(f"  {failure.command}")
    if shrink:
        less = runner.shrunk(failure)
        count = "the same" if less.faults is None else len(less.faults)
        _say(f"with fewer faults ({count}): {less.what}\n  {less.command}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m {runner.MODULE}", description=__doc__)
    parser.add_argument("--seed", type=int, help="run this one seed")
    parser.add_argument("--faults", help="with these faults in the place of those of the seed")
    parser.add_argument("--seeds", type=int, default=100, help="run so many seeds")
    parser.add_argument("--first", type=int, default=0, help="from this one on")
    parser.add_argument("--jobs", type=int, default=1, help="on so many cores")
    parser.add_argument(
        "--nodes", type=_sizes, help="in random networks of so many nodes, such as 5-30"
    )
    parser.add_argument("--coverage", action="store_true", help="print which fault met which word")
    parser.add_argument(
        "--no-shrink", dest="shrink", action="store_false", help="leave failures as they are"
    )
    return parser


def _sizes(text: str) -> Sizes:
    least, _, most = text.partition("-")
    sizes = int(least), int(most)
    if not _NODES_LEAST <= sizes[0] <= sizes[1] <= NODES_MAX:
        raise ValueError(text)
    return sizes


def _say(text: str) -> None:
    sys.stdout.write(text.rstrip() + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
