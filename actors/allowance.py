"""How much somebody may ask of us in a time: so much at once, and so much a second."""


class Allowance:
    """A bucket of `burst` that fills at `rate` a second; a plain value, moved by who has it."""

    __slots__ = ("_at", "_burst", "_left", "_rate")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate, self._burst, self._left, self._at = rate, burst, burst, now

    def take(self, n: float, now: float) -> bool:
        """Take `n`, or nothing and False."""
        self._left = min(self._burst, self._left + self._rate * max(0.0, now - self._at))
        self._at = now
        if n > self._left:
            return False
        self._left -= n
        return True
