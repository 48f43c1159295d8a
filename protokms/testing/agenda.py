"""What happens next: one clock, one queue, one seed."""

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable, Hashable

from actors.runtime.timers import Alarm

Call = Callable[[], None]

STEPS = 1_000_000
"""Steps without time passing after which a network counts as running in circles."""


class Agenda:
    """Everything that is yet to happen, and the time.

    Things wait in lanes (a mailbox, a wire, a disk) and keep their order within a lane. By
    default the lanes are served in the order of arrival; with `shuffle` the seed decides which
    one moves next, so that another seed tries another interleaving.
    """

    def __init__(self, seed: int = 0, *, shuffle: bool = False) -> None:
        self.now = 0.0
        self.random = random.Random(seed)  # noqa: S311 -- a seed, not a secret
        self.steps = 0
        """Things done so far."""
        self._shuffle = shuffle
        self._queue: deque[Call] = deque()
        self._lanes: dict[Hashable, deque[Call]] = {}
        self._open: list[Hashable] = []
        """With `shuffle`: the lanes in which something waits, in no order."""
        self._timers: list[tuple[float, float, int, Alarm]] = []
        self._count = itertools.count()

    def soon(self, lane: Hashable, call: Call) -> None:
        """Do this without time passing, after all else in its lane."""
        if not self._shuffle:
            self._queue.append(call)
        elif waiting := self._lanes.get(lane):
            waiting.append(call)
        else:
            self._lanes[lane] = deque((call,))
            self._open.append(lane)

    def later(self, seconds: float, call: Call) -> Alarm:
        """Do this when so many seconds have passed."""
        alarm = Alarm(call)
        tie = self.random.random() if self._shuffle else 0.0
        heapq.heappush(self._timers, (self.now + max(seconds, 0.0), tie, next(self._count), alarm))
        return alarm

    def step(self) -> bool:
        """Do the next thing that needs no time; false if there is none."""
        if self._queue:
            call = self._queue.popleft()
        elif self._open:
            call = self._draw()
        else:
            return False
        self.steps += 1
        call()
        return True

    def _draw(self) -> Call:
        number = int(self.random.random() * len(self._open))
        lane = self._open[number]
        waiting = self._lanes[lane]
        call = waiting.popleft()
        if not waiting:
            del self._lanes[lane]
            self._open[number] = self._open[-1]
            self._open.pop()
        return call

    def settle(self) -> None:
        """Do everything that can be done without time passing."""
        for _ in range(STEPS):
            if not self.step():
                return
        raise RuntimeError(f"no rest after {STEPS} steps at {self.now} s")

    def advance(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        """Let time pass, one timer after the other, or less of it if `until` comes true.

        `RuntimeError` when timers of no time are set again and again, and none passes.
        """
        end = self.now + seconds
        self.settle()
        rings = 0
        while not until():
            if not self._timers or self._timers[0][0] > end:
                self.now = end
                return
            before = self.now
            self.now, _, _, alarm = heapq.heappop(self._timers)
            rings = rings + 1 if self.now == before else 0
            if rings > STEPS:
                raise RuntimeError(f"{STEPS} timers in a row at {self.now} s")
            if alarm.call:
                alarm.call()
                self.settle()
