"""How much another node may say to us: what is past it costs next to nothing and is dropped."""

FRAMES_PER_S, FRAMES_AT_ONCE = 10_000.0, 20_000.0
OCTETS_PER_S, OCTETS_AT_ONCE = float(4 << 20), float(8 << 20)
SECONDS_PER_S, SECONDS_AT_ONCE = 0.3, 1.0
"""Time of our processor that reading its frames may take: a frame of a million small values takes
as much of it as a hundred thousand honest ones."""
TURNS_PER_S, TURNS_AT_ONCE = 5.0, 50.0
MUTE_S = 2.0
"""Seconds for which the heartbeats of a peer go unheard that comes up and goes down too often."""


class Allowance:
    """A bucket that fills by `rate` a second up to `most`; `now` is any clock in seconds."""

    __slots__ = ("_at", "_left", "_most", "_rate")

    def __init__(self, rate: float, most: float) -> None:
        self._rate, self._most = rate, most
        self._left, self._at = most, 0.0

    def take(self, n: float, now: float) -> bool:
        """Take so much; False, and nothing taken, if less is left."""
        if now > self._at:
            self._left = min(self._most, self._left + (now - self._at) * self._rate)
            self._at = now
        if n > self._left:
            return False
        self._left -= n
        return True

    def owe(self, n: float) -> None:
        """Take so much even if less is left: until it has filled up again nothing can be taken."""
        self._left -= n


class Quota:
    """What one peer may still send: frames, octets, seconds of reading, turns of its session."""

    __slots__ = ("_frames", "_muted_until", "_octets", "_seconds", "_turns")

    def __init__(self) -> None:
        self._frames = Allowance(FRAMES_PER_S, FRAMES_AT_ONCE)
        self._octets = Allowance(OCTETS_PER_S, OCTETS_AT_ONCE)
        self._seconds = Allowance(SECONDS_PER_S, SECONDS_AT_ONCE)
        self._turns = Allowance(TURNS_PER_S, TURNS_AT_ONCE)
        self._muted_until = 0.0

    def frame(self, octets: int, now: float) -> bool:
        """Tell whether a frame of so many octets is within it; it counts if so."""
        within = self._seconds.take(0.0, now) and self._frames.take(1.0, now)
        return within and self._octets.take(octets, now)

    def read(self, seconds: float) -> None:
        """Note what reading a frame has taken of the processor."""
        self._seconds.owe(seconds)

    def muted(self, now: float) -> bool:
        """Tell whether heartbeats go unheard."""
        return now < self._muted_until

    def turned(self, now: float) -> None:
        """Note a turn of the session; past the quota heartbeats go unheard for a while."""
        if not self._turns.take(1.0, now):
            self._muted_until = now + MUTE_S
