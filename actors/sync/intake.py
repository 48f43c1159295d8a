"""How much a store may take in: its limit, water marks that follow demand, what it holds.

No actor, no clock, no I/O. Sizes are octets, rates octets a second.
"""

from actors.ledger.batches import BATCH_FORMED, BATCH_MAX, Batches
from actors.ledger.stream import Stream
from actors.protocol.relay import CHUNK_MIN

AHEAD_S = 20.0
"""A store is filled up to what goes out in this time, at the rate measured."""
LEAST = 32 << 10
"""What is held though nobody asks, enough for the first requests at both ends: at most this,"""
PATH_S = 20.0
"""and what the slowest link of the path brings in so many seconds,"""
LEAST_CHUNKS = 2
"""but as much as so many of the smallest chunks, one for each end."""
REQUESTS = 4
"""So many of the largest requests are held, whatever the rate."""
BATCHES_LEAST = 8
"""A store holds so many batches or more when it is full, so that both ends own some: what one end
has leased the other cannot get, and nothing comes in beside it."""
BATCH_LEAST = 4 << 10

Wanted = tuple[int, int]
"""What an end is asked for: octets a second, and the largest request."""


def least_held(rate: int) -> int:
    """Octets to hold though nobody asks, by what the path brings a second; 0: not known."""
    if rate <= 0:
        return LEAST
    return min(LEAST, max(LEAST_CHUNKS * CHUNK_MIN, int(rate * PATH_S)))


class WaterMarks:
    """Filled from below `low` up to `high`, then left alone."""

    def __init__(self, most: int) -> None:
        self._limit = most
        self._fixed = (0, 0)
        self.low, self.high = 0, 0
        self.filling = True
        self.follow(0, 0)

    def fix(self, low: int, high: int) -> None:
        """Set marks by hand; 0 follows demand."""
        self._fixed = max(0, low), max(0, high)

    def follow(self, rate: int, most: int, least: int = LEAST) -> None:
        """Set the marks by what both ends are asked for, and what is held though nobody asks."""
        low, high = self._fixed
        self.high = high or max(least, int(rate * AHEAD_S) + REQUESTS * most, 2 * low)
        self.high = min(self.high, self._limit)
        self.low = min(low or self.high // 2, self.high)

    def allowance(self, held: int) -> int:
        """Octets to bring in now, with `held` there or on the way to being held."""
        if held < self.low:
            self.filling = True
        elif held >= self.high - self.high // 16:  # nobody draws the last few octets
            self.filling = False
        return max(0, self.high - held) if self.filling else 0


class Intake:
    """What the link may bring, and what the far sender may send."""

    def __init__(self, stream: Stream, batches: Batches, most: int, *, distant: bool) -> None:
        self._stream, self._batches, self._distant = stream, batches, distant
        self.most = most
        """Octets that the store may hold."""
        self.marks = WaterMarks(most)
        """Of a store without a quantum link, which is kept between them."""
        self.here: Wanted = (0, 0)
        self.there: Wanted = (0, 0)
        self.paused = False
        """Whether nothing is to come in, however much fits."""
        self._scarce = False
        """Whether the path brings so little that a pair nobody asks for holds one chunk."""
        self._form_up_to(most)

    def asked(self, here: Wanted) -> None:
        """Note what this end is asked for."""
        self.here = here

    def heard(self, there: Wanted) -> None:
        """Note what the other end says that it is asked for."""
        self.there = there

    def follow(self, *, both: bool, path_rate: int = 0) -> None:
        """Set the water marks by what this end is asked for, or both are, and by the path."""
        rate, most = self.here
        if both:
            rate, most = rate + self.there[0], max(most, self.there[1])
        least = least_held(path_rate)
        self._scarce = least <= LEAST_CHUNKS * CHUNK_MIN
        self.marks.follow(rate, most, least)
        self._form_up_to(self.marks.high)

    def _form_up_to(self, held: int) -> None:
        """Form no larger batches than suit a store of so many octets."""
        self._batches.form_up_to(min(BATCH_MAX, max(BATCH_LEAST, held // BATCHES_LEAST)))

    @property
    def held(self) -> int:
        """Octets for whoever is asked for keys, and those that may become such.

        What an end has leased the other cannot get (R5): the lease of one that is asked for
        nothing, or has enough, must not keep the other dry.
        """
        stream, batches, fresh = self._stream, self._batches, self._stream.fresh_octets
        ours, theirs = stream.stock + fresh[False], stream.theirs + fresh[True]
        asked, they_are = any(self.here), any(self.there)
        least = min(ours, theirs) if asked is they_are else ours if asked else theirs
        return least + batches.undecided + batches.arrived

    @property
    def is_low(self) -> bool:
        """Whether the lower mark was passed, and filling has not begun."""
        return (
            not self.paused
            and self._distant
            and not self.marks.filling
            and self.held < self.marks.low
        )

    @property
    def is_full(self) -> bool:
        """Whether nothing is to come in: no smallest batch fits, or the upper mark is reached."""
        if self.paused:
            return True
        return not self.marks.filling if self._distant else self.free() < BATCH_FORMED

    def wanted(self) -> int:
        """Octets to bring in up to the upper mark, if the lower one was passed."""
        if self.paused:
            return 0
        if self._scarce and not (any(self.here) or any(self.there)):
            stream, batches = self._stream, self._batches
            there = stream.stock + stream.theirs + batches.undecided + batches.arrived
            if there >= CHUNK_MIN // 2:
                return 0  # one chunk is enough for whoever asks first
        return self.marks.allowance(self.held)

    def allowance(self) -> int:
        """Octets that the link may bring, those on their way included."""
        most = 0 if self.paused else self.most - self._stream.octets
        return min(most, self.wanted()) if self._distant else most

    def free(self) -> int:
        """Octets that fit in beside all that is pending."""
        if self.paused:
            return 0
        batches = self._batches
        pending = batches.undecided + batches.emitted + batches.arrived
        return self.most - self._stream.octets - pending
