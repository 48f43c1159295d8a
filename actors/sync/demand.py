"""How much a store is asked for, and how much comes in. No actor, no clock, no I/O.

Sizes are octets, rates octets a second.
"""

import math

SMOOTH_S = 30.0
"""Half of what was asked this long ago still counts, and a half of that."""
QUIET = 64.0
"""A lower rate is none."""
WINDOW_S, WINDOW_MAX_S = 60.0, 3_600.0
"""Bits confirmed are averaged over a minute, or longer where they come in blocks; at most this."""
INTERVALS = 3
"""The least number of arrivals that a rate is measured by, as soon as there were so many."""
BLOCK_S = 1.0
"""What comes in so short a time is one arrival."""
LATE_PART = 4
"""An arrival that is late is looked for again after one such part of the time between two."""


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


class Yield:
    """What comes in: octets a second, over the longer of a minute and three arrivals.

    Of confirmed batches alone, so both ends measure the same, a round trip apart. Time for which
    the store was full does not count: then it says nothing of the link.
    """

    def __init__(self) -> None:
        self.rate = 0.0
        """Octets a second; 0: not known."""
        self._seen, self._time, self._measured = 0, 0.0, -math.inf
        self._came: list[tuple[float, int]] = []

    def measure(self, total: int, now: float, *, full: bool = False) -> None:
        """So many octets have come in all; `full`: none could come since the last look."""
        came, self._seen = total - self._seen, total
        if math.isfinite(self._measured) and not (full and not came):
            self._time += now - self._measured
        self._measured = now
        self._note(came)
        octets = sum(octets for _, octets in self._came[1:])
        self.rate = octets / max(1.0, self._time - self._came[0][0])

    @property
    def over_s(self) -> float:
        """Seconds over which the rate was measured."""
        return self._time - self._came[0][0] if self._came else 0.0

    def wait(self, octets: int, now: float) -> float:
        """Return the seconds until so many more will have come in, as it looks; 0: not known.

        What comes in blocks comes with the next one; one that is late may come at any moment.
        """
        if self.rate <= 0:
            return 0.0
        came, passed = self._came, self._time + max(0.0, now - self._measured)
        every = (came[-1][0] - came[0][0]) / (len(came) - 1)
        due = max(came[-1][0] + every - passed, every / LATE_PART) if every > BLOCK_S else 0.0
        return max(octets / self.rate, due)

    def _note(self, octets: int) -> None:
        came, now = self._came, self._time
        if octets and len(came) > 1 and now - came[-1][0] < BLOCK_S:
            came[-1] = came[-1][0], came[-1][1] + octets
        elif octets or not came:
            came.append((now, octets))
        while len(came) > INTERVALS + 1 and now - came[1][0] >= WINDOW_S:
            del came[0]
        while len(came) > 1 and now - came[1][0] >= WINDOW_MAX_S:
            del came[0]


class Demand:
    """What SAEs at this end ask for: how much a second, and how much at once."""

    def __init__(self) -> None:
        self._served = Rate()
        self._most, self._at = 0.0, 0.0
        self._named = False

    def named(self) -> None:
        """An SAE has asked how many keys there are."""
        self._named = True

    def take_named(self) -> bool:
        """Return whether one has since the last look."""
        named, self._named = self._named, False
        return named

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
