"""One segment of the stream that two ends share: its octets, its owner, what of it is used.

Sizes are octets, not bits.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from actors.base import Clock
from actors.protocol.blocks import SegmentId

Range = tuple[int, int]
Paths = tuple[tuple[str, ...], ...]
"""Names of nodes from one end to the other, for each path that bits came over; none: a link."""


class Way(NamedTuple):
    """How bits came: all their paths, and over how many at a time at the least (XOR shares)."""

    paths: Paths = ()
    least: int = 0


LINK = Way()
"""The quantum link itself."""


NEVER = -1e9


@dataclass(slots=True)
class Segment:
    """One piece of the stream.

    The owner uses it front to back: `next` is the first octet it has not used. The other end
    mirrors that: `used` are the (start, end) ranges it knows to be gone, merged, ascending.
    """

    id: SegmentId
    octets: bytearray = field(repr=False)
    owned: bool
    transfer_no: int = 0
    leased: bool = False
    next: int = 0
    used: list[Range] = field(default_factory=list)
    touched: float = 0.0
    last_sent: float = NEVER
    grants: int = 0
    """Grants and pads in this segment whose fate the owner does not know yet."""
    way: Way = LINK
    since: Clock | None = None
    """When it was confirmed here; None if nobody noted that."""

    @property
    def free(self) -> int:
        """Octets that the owner may still allocate."""
        return len(self.octets) - self.next

    @property
    def spent(self) -> bool:
        """Whether no octet is left that somebody could use."""
        used = self.next if self.owned else sum(end - start for start, end in self.used)
        return used >= len(self.octets)

    def blank(self, start: int, end: int) -> None:
        """Forget octets in memory."""
        self.octets[start:end] = bytes(end - start)

    def overlaps(self, start: int, end: int) -> bool:
        """Whether any of these octets is known to be gone."""
        after = bisect_left(self.used, (end,))
        return after > 0 and self.used[after - 1][1] > start

    @property
    def left(self) -> int:
        """Octets that the owner may still allocate, as far as this end knows."""
        return self.free if self.owned else len(self.octets) - sum(e - s for s, e in self.used)

    def mark(self, start: int, end: int) -> int:
        """Mirror: the owner has used these octets; return how many of them are news."""
        self.blank(start, end)
        if self.used and self.used[-1][1] == start:  # nearly always: owners go front to back
            self.used[-1] = (self.used[-1][0], end)
            return end - start
        first = bisect_left(self.used, (start,))
        if first and self.used[first - 1][1] >= start:
            first -= 1
        after = bisect_right(self.used, (end, len(self.octets)))
        met = self.used[first:after]
        if met:
            start, end = min(start, met[0][0]), max(end, met[-1][1])
        self.used[first:after] = [(start, end)]
        return end - start - sum(e - s for s, e in met)


def way_of(rows: Iterable[Iterable[str]], least: int | None = None) -> Way:
    """Read a way as it lies in a row; one of an earlier version does not tell the least."""
    paths = tuple(tuple(path) for path in rows)
    return Way(paths, min(1, len(paths)) if least is None else least)


def segment_key(name: SegmentId) -> bytes:
    """Lay out the name of a segment as the id of its rows."""
    return bytes((name.holder,)) + name.batch.to_bytes(8, "big")


def segment_id(key: bytes) -> SegmentId:
    """Undo `segment_key`."""
    return SegmentId(key[0], int.from_bytes(key[1:], "big"))
