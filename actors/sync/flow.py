"""How many bits a second both ends confirm, and how many of them the nodes burn themselves.

No actor, no clock, no I/O. Sizes are octets, rates octets a second.
"""

import itertools
from collections import deque

from actors.crypto.batch_tag import KEY_OCTETS

WINDOW_S, WINDOW_MAX_S = 60.0, 3_600.0
"""Rates are over this long at least, and at most."""
INTERVALS = 3
"""And over so many intervals between confirmed batches: bits come until so many pass without."""
GRAIN_S = 1.0
"""What is confirmed within so short a time is one arrival."""
SAMPLES_MAX = 256


class Tally:
    """How many there were, and when."""

    def __init__(self) -> None:
        self.samples: deque[list[float]] = deque(maxlen=SAMPLES_MAX)

    def add(self, number: int, now: float, grain_s: float) -> None:
        """So many more; what is not further apart than the grain is one sample."""
        if self.samples and now - self.samples[-1][0] < grain_s:
            self.samples[-1][1] += number
        else:
            self.samples.append([now, number])

    def after(self, time: float) -> float:
        """Return how many there were after this time."""
        late = itertools.takewhile(lambda sample: sample[0] > time, reversed(self.samples))
        return sum(number for _, number in late)


class Flow:
    """What came in, less what went into pads and tags; told of totals now and then."""

    def __init__(self) -> None:
        self._came, self._burnt = Tally(), Tally()
        self._batches = self._octets = self._other = 0
        self._since: float | None = None

    def note(self, now: float, *, batches: int, octets: int, burnt: int) -> None:
        """In this life so many batches were confirmed, of so many octets without their tag keys.

        `burnt`: so many octets went into pads, and tags of keys, of either end.
        """
        if self._since is None:
            self._since = now
        if tags := (batches - self._batches) * KEY_OCTETS:
            self._came.add(octets - self._octets + tags, now, GRAIN_S)
        if inner := tags + burnt - self._other:
            self._burnt.add(inner, now, max(GRAIN_S, self.window_s / WINDOW_S))
        self._batches, self._octets, self._other = batches, octets, burnt

    @property
    def window_s(self) -> float:
        """Seconds that rates are over: the longer of a minute and three intervals."""
        samples = self._came.samples
        gaps = min(INTERVALS, len(samples) - 1)
        mean = (samples[-1][0] - samples[-1 - gaps][0]) / gaps if gaps > 0 else 0.0
        return min(WINDOW_MAX_S, max(WINDOW_S, INTERVALS * mean))

    def rates(self, now: float) -> tuple[float, float]:
        """Return what is confirmed a second, and what of it is left; of a young store since then.

        More may be burnt than comes: out of the stock. Then nothing is left.
        """
        since = now if self._since is None else self._since
        seconds = max(GRAIN_S, min(self.window_s, now - since))
        came = self._came.after(now - self.window_s)
        burnt = self._burnt.after(now - self.window_s)
        return came / seconds, max(0.0, came - burnt) / seconds

    def comes(self, now: float) -> bool:
        """Whether bits were confirmed within the window."""
        samples = self._came.samples
        return bool(samples) and now - samples[-1][0] < self.window_s
