"""One thread that keeps all timers of a process; a timer is a message that comes later."""

import heapq
import itertools
import threading
import time
from collections.abc import Callable

_LIMIT = 200_000


class Alarm:
    """One timer; cancelled ones are dropped when their time comes."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], None]) -> None:
        self.call: Callable[[], None] | None = call

    def cancel(self) -> None:
        """Let it not ring."""
        self.call = None


class Timers:
    """A heap of deadlines on the monotonic clock; the thread sleeps until the next one."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Alarm]] = []
        self._count = itertools.count()
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="timers", daemon=True)
        self._thread.start()

    def after(self, seconds: float, call: Callable[[], None]) -> Alarm:
        """Call later, on the timer thread; `call` must not block. `OverflowError` past a limit."""
        alarm = Alarm(call)
        with self._changed:
            if len(self._heap) >= _LIMIT:
                self._heap = [entry for entry in self._heap if entry[2].call]
                heapq.heapify(self._heap)
                if len(self._heap) >= _LIMIT:
                    raise OverflowError(f"{_LIMIT} timers are set")
            due = time.monotonic() + seconds
            first = not self._heap or due < self._heap[0][0]
            heapq.heappush(self._heap, (due, next(self._count), alarm))
            if first:
                self._changed.notify()
        return alarm

    def stop(self) -> None:
        """End the thread; what has not rung never will."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._stopping and not self._due():
                    wait = self._heap[0][0] - time.monotonic() if self._heap else None
                    self._changed.wait(wait)
                if self._stopping:
                    return
                alarm = heapq.heappop(self._heap)[2]
            if alarm.call:
                alarm.call()

    def _due(self) -> bool:
        return bool(self._heap) and self._heap[0][0] <= time.monotonic()
