"""Which datagrams of an epoch have come in already."""

from collections import deque

_FAR = 1 << 32
_CLOSED_RUNS = 64

WIDTH = 65_536
"""A datagram may come so many seqs after its time; a later one is dropped."""


class Window:
    """Tells new seqs from old ones in bounded memory.

    A sender that starts anew within an epoch goes on at a random seq, up or down: a *run*. A
    jump of 2**32 or more means that a run began; the one before is closed, its stragglers and
    repeats are dropped. (Past 64 closed runs the oldest is forgotten: the key stores would
    discard the repeat.)
    """

    def __init__(self) -> None:
        self._seen = bytearray(WIDTH)
        self._low = self._high = -1
        self._closed: deque[tuple[int, int]] = deque(maxlen=_CLOSED_RUNS)

    def refusal(self, seq: int) -> str:
        """Note this seq; return why it is not taken: `duplicate`, `late`, or "" if it is new."""
        if not self._low - _FAR < seq < self._high + _FAR or self._high < 0:
            if any(low - _FAR < seq < high + _FAR for low, high in self._closed):
                return "late"
            self._begin_run(seq)
        elif seq > self._high:
            self._advance(seq)
        elif seq <= self._high - WIDTH:
            return "late"
        elif self._seen[seq % WIDTH]:
            return "duplicate"
        self._seen[seq % WIDTH] = 1
        self._low = min(self._low, seq)
        return ""

    def _begin_run(self, seq: int) -> None:
        if self._high >= 0:
            self._closed.append((self._low, self._high))
        self._seen = bytearray(WIDTH)
        self._low = self._high = seq

    def _advance(self, seq: int) -> None:
        if seq - self._high >= WIDTH:
            self._seen = bytearray(WIDTH)
        else:
            for skipped in range(self._high + 1, seq):
                self._seen[skipped % WIDTH] = 0
        self._high = seq
