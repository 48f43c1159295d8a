"""How much a store is asked for, and how much it is to hold therefore. No actor, no clock, no I/O.

Sizes are octets, rates octets a second.
"""

import math

SMOOTH_S = 30.0
"""Half of what was asked this long ago still counts, and a half of that."""
AHEAD_S = 20.0
"""A store is filled up to what goes out in this time, at the rate measured."""
LEAST = 32 << 10
"""What is held though nobody asks: enough for the first requests at both ends."""
REQUESTS = 4
"""So many of the largest requests are held, whatever the rate."""
QUIET = 64.0
"""A lower rate is none."""


class Rate:
    """Octets a second, smoothed; told what there was, and now and then what time it is."""

    def __init__(self) -> None:
        self.value = 0.0
        self._since, self._at = 0, -math.inf

    def add(self, octets: int) -> None:
        """So many more."""
        self._since += octets

    def tick(self, now: float) -> float:
        """Return the rate; the longer ago, the less it counts."""
        passed = now - self._at
        if passed > 0:
            if math.isfinite(passed):
                weight = 1.0 - 0.5 ** (passed / SMOOTH_S)
                self.value += (self._since / passed - self.value) * weight
            self._since, self._at = 0, now
        return self.value


class Demand:
    """What SAEs at this end ask for: how much a second, and how much at once."""

    def __init__(self) -> None:
        self._served = Rate()
        self._most, self._at = 0.0, 0.0

    def served(self, octets: int) -> None:
        """Bits went out."""
        self._served.add(octets)
        self._most = max(self._most, float(octets))

    def refused(self, octets: int) -> None:
        """There were not so many; asking again and again makes no higher rate."""
        self._most = max(self._most, float(octets))

    def tick(self, now: float) -> tuple[int, int]:
        """Return the rate, and the most asked at once, which is forgotten by and by."""
        rate = self._served.tick(now)
        self._most *= 0.5 ** (max(0.0, now - self._at) / SMOOTH_S)
        self._at = now
        return int(rate) if rate >= QUIET else 0, int(self._most)


class Level:
    """Between two marks: filled from below `low` up to `high`, then left alone."""

    def __init__(self, most: int) -> None:
        self._limit = most
        self._fixed = (0, 0)
        self.low, self.high = 0, 0
        self.filling = True
        self.follow(0, 0)

    def fix(self, low: int, high: int) -> None:
        """Set marks by hand; 0 follows demand."""
        self._fixed = max(0, low), max(0, high)

    def follow(self, rate: int, most: int) -> None:
        """Set the marks by what both ends are asked for."""
        low, high = self._fixed
        self.high = high or max(LEAST, int(rate * AHEAD_S) + REQUESTS * most, 2 * low)
        self.high = min(self.high, self._limit)
        self.low = min(low or self.high // 2, self.high)

    def room(self, held: int) -> int:
        """Octets to bring in now, with `held` there or on the way to being held."""
        if held < self.low:
            self.filling = True
        elif held >= self.high - self.high // 16:  # nobody draws the last few octets
            self.filling = False
        return max(0, self.high - held) if self.filling else 0
