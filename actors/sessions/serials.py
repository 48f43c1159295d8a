"""The one counter of what an origin signs for its sessions: it grows over all starts of its node.

No actor, no I/O. A serial is the number of the start, durable before any is used, and a counter
in memory: so one row a start is enough for all that is signed.
"""

import msgspec

from actors.base import Row
from actors.sessions.terms import STORE

COUNTER_BITS = 32
SERIAL_MAX = (1 << 63) - 1


class Serials:
    """Draws serials once its start is durable."""

    def __init__(self) -> None:
        self._before = 0
        self._last = 0

    @property
    def live(self) -> bool:
        """Whether serials may be drawn."""
        return self._last > 0

    def loaded(self, row: Row) -> None:
        """Learn which start was the last one."""
        self._before = msgspec.msgpack.decode(row.clear, type=int)

    def begin(self) -> Row:
        """Return what has to be durable before `begun` is called."""
        return _row(self._before + 1)

    def begun(self) -> None:
        """It is: from now on serials are larger than those of any start before."""
        self._last = max(self._last, (self._before + 1) << COUNTER_BITS)

    def next(self) -> int:
        """Draw a serial."""
        self._last += 1
        return self._last

    def outdo(self, serial: int) -> Row | None:
        """Go on after a serial that is ours and larger than all we know; a row, if it is so.

        Our store was restored from a backup, or is another one.
        """
        if not self._last < serial <= SERIAL_MAX:
            return None
        self._last = serial
        return _row(serial >> COUNTER_BITS)


def _row(start: int) -> Row:
    return Row(STORE, "start", b"", msgspec.msgpack.encode(start))
