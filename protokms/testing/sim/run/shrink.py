"""Makes the list of faults of a failing run shorter: delta debugging."""

import math
import time
from collections.abc import Callable, Sequence

from protokms.testing.sim.faults.fault import Fault

RUNS_MAX = 150
Fails = Callable[[list[Fault]], bool]
"""Runs with these faults; true if it fails as before."""
Tell = Callable[[int, int], None]
"""Hears, after each run, how many faults are left and how many runs there were."""


def shrink(
    faults: Sequence[Fault],
    fails: Fails,
    *,
    most: int = RUNS_MAX,
    until: float = math.inf,
    now: Callable[[], float] = time.monotonic,
    tell: Tell = lambda _left, _runs: None,
) -> list[Fault]:
    """Return a part of the list that still fails, in at most `most` runs begun before `until`.

    Zeller's ddmin without its subset step: pieces are left out, halves first, one place after
    the other. After each pass they are half as long; a quarter, if nothing went. The end is
    reached when each fault that is left was found to be needed since the last one went.
    """
    left, size, start = list(faults), max(1, len(faults) // 2), 0
    needed = runs = gone = 0
    while left and (size > 1 or needed < len(left)) and runs < most and now() < until:
        rest = left[:start] + left[start + size :]
        runs += 1
        if fails(rest):
            gone, left, needed = gone + 1, rest, 0
        else:
            start, needed = start + size, needed + 1
        tell(len(left), runs)
        if start >= len(left):
            if size > 1:
                size, needed = max(1, size // (2 if gone else 4)), 0
            start = gone = 0
    return left
