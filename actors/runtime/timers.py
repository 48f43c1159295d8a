"""All timers of a process, on its stage; a timer is a message that comes later."""

import asyncio
import heapq
import itertools
import math
import threading
import time
from collections.abc import Callable

import structlog

from transport.stage import Stage, kind_and_place

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
    """A heap of deadlines on the monotonic clock; the loop is asked to wake us for the first."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._heap: list[tuple[float, int, Alarm]] = []
        self._count = itertools.count()
        self._lock = threading.Lock()
        self._stopping = False
        self._armed: asyncio.TimerHandle | None = None

    def after(self, seconds: float, call: Callable[[], None]) -> Alarm:
        """Call later, on the stage; any thread may ask. `OverflowError` past a limit."""
        alarm = Alarm(call)
        with self._lock:
            if len(self._heap) >= _LIMIT:
                self._heap = [entry for entry in self._heap if entry[2].call]
                heapq.heapify(self._heap)
                if len(self._heap) >= _LIMIT:
                    raise OverflowError(f"{_LIMIT} timers are set")
            due = time.monotonic() + seconds
            first = not self._heap or due < self._heap[0][0]
            heapq.heappush(self._heap, (due, next(self._count), alarm))
        if first and self._stage.here:
            self._arm()
        elif first:
            self._stage.call(self._arm)
        return alarm

    def stop(self) -> None:
        """Let nothing ring any more."""
        self._stopping = True

    # On the stage

    def _arm(self) -> None:
        if self._armed:
            self._armed.cancel()
            self._armed = None
        with self._lock:
            due = self._heap[0][0] if self._heap else None
        if due is not None and not self._stopping:
            # Loops round to milliseconds: rather a little late than early, and then once more.
            wait = math.ceil(max(0.0, due - time.monotonic()) * 1000) / 1000
            self._armed = self._stage.loop.call_later(wait, self._ring)

    def _ring(self) -> None:
        self._armed = None
        for call in self._due():
            if not self._stopping:
                self._call(call)
        self._arm()

    @staticmethod
    def _call(call: Callable[[], None]) -> None:
        """One timer that raises is no reason for the others not to ring."""
        try:
            call()
        except Exception as why:
            structlog.get_logger().error("timer_failed", why=kind_and_place(why))

    def _due(self) -> list[Callable[[], None]]:
        now, calls = time.monotonic(), []
        with self._lock:
            while self._heap and self._heap[0][0] <= now:
                alarm = heapq.heappop(self._heap)[2]
                if alarm.call:
                    calls.append(alarm.call)
        return calls
