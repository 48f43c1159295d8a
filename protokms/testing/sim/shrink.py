"""Makes the list of faults of a failing run shorter: delta debugging."""

from collections.abc import Callable, Sequence

from protokms.testing.sim.fault import Fault

RUNS_MAX = 150
Fails = Callable[[list[Fault]], bool]
"""Runs with these faults; true if it fails as before."""


def shrink(faults: Sequence[Fault], fails: Fails, most: int = RUNS_MAX) -> list[Fault]:
    """Return a part of the list that still fails, in at most so many runs.

    Zeller's ddmin without its subset step: parts are left out, in halves first, then in smaller
    and smaller pieces; what is not needed for the failure goes.
    """
    left, pieces, runs = list(faults), 2, 0
    while left and runs < most:
        size = max(1, len(left) // pieces)
        for start in range(0, len(left), size):
            rest = left[:start] + left[start + size :]
            runs += 1
            if fails(rest):
                left, pieces = rest, max(2, pieces - 1)
                break
            if runs >= most:
                return left
        else:
            if size == 1:
                return left
            pieces = min(len(left), pieces * 2)
    return left
