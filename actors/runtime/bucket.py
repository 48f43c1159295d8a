"""Buckets of tokens: how many bits a row lets SAEs have now. Integer arithmetic, no clock.

A bucket holds what comes in `DEPTH_S`, and is full at the beginning. A request is let pass if there
is as much as it takes, or if the bucket is full: so one that is larger than the bucket passes too,
and leaves a debt. In any `t` seconds a bucket of `rate` lets pass at most rate * (t + DEPTH_S)
bits, and one such larger request.
"""

DEPTH_S = 4
_US = 1_000_000
"""Time is counted in microseconds: a token is the millionth part of a bit."""


def micros(seconds: float) -> int:
    """Return a time as a bucket counts it."""
    return int(seconds * _US)


class Bucket:
    """How many bits there are; `rate` in bit/s, at least 1, `now` in microseconds."""

    __slots__ = ("_at", "_level", "rate")

    def __init__(self, rate: int, now: int) -> None:
        self.rate, self._at = rate, now
        self._level = rate * DEPTH_S * _US

    def _fill(self, now: int) -> int:
        if now > self._at:
            self._level = min(self._level + (now - self._at) * self.rate, self._most)
            self._at = now
        return self._level

    @property
    def _most(self) -> int:
        return self.rate * DEPTH_S * _US

    def bits(self, now: int) -> int:
        """Return how many bits there are; none while there is a debt."""
        return max(0, self._fill(now) // _US)

    def is_full(self, now: int) -> bool:
        """Whether it is as one that was never used."""
        return self._fill(now) == self._most

    def wait(self, bits: int, now: int, ahead: int = 0) -> int:
        """Return in how many microseconds so many bits may pass, after those `ahead`; 0: now."""
        missing = min(bits * _US, self._most) + ahead * _US - self._fill(now)
        return max(0, -(-missing // self.rate))

    def take(self, bits: int, now: int) -> None:
        """Let so many pass."""
        self._level = self._fill(now) - bits * _US

    def take_up_to(self, bits: int, now: int) -> int:
        """Take so many, or what there is: no debt is made. Return how many."""
        took = min(bits, self.bits(now))
        self._level -= took * _US
        return took

    def change(self, rate: int, now: int) -> None:
        """Have another rate from now on: a debt stays one, and what is full stays full."""
        full = self.is_full(now)
        self.rate = rate
        self._level = self._most if full else min(self._level, self._most)

    def give_back(self, bits: int, now: int) -> None:
        """Put back what was taken for nothing."""
        self._level = min(self._fill(now) + bits * _US, self._most)
