"""What the slaves' side holds and nobody has fetched, as far as the owner knows (R9, R12).

No actor, no clock, no I/O. In `local` mode the owner checks these limits before it answers. What it
knows is at least what is held: what it was told last, and all that it has answered and that the
slaves' side has not acknowledged. Sizes are octets, not bits.
"""

from collections import Counter
from collections.abc import Hashable
from typing import TypeVar

from actors.protocol.grants import Grant, Load

K = TypeVar("K", bound=Hashable)


class Loads:
    """Octets not fetched yet, by pair of SAEs."""

    def __init__(self) -> None:
        self._pairs: dict[tuple[str, str], int] = {}
        self._slaves: dict[str, int] = {}
        self._unheard: Counter[tuple[str, str]] = Counter()
        self._unheard_of: Counter[str] = Counter()

    def told(self, load: Load) -> None:
        """The slaves' side says what it holds."""
        _note(self._pairs, (load.master, load.slave), load.octets)
        _note(self._slaves, load.slave, load.of_slave)

    def unheard(self, grant: Grant, sign: int = 1) -> None:
        """A grant is answered and not acknowledged; with `sign` -1 it is acknowledged."""
        for slave in grant.slaves:
            octets = sign * grant.number * grant.size
            self._unheard[grant.master, slave] += octets
            self._unheard_of[slave] += octets
            if not self._unheard[grant.master, slave]:
                del self._unheard[grant.master, slave]
            if not self._unheard_of[slave]:
                del self._unheard_of[slave]

    def of_pair(self, master: str, slave: str) -> int:
        """Octets that this pair has not fetched."""
        return self._pairs.get((master, slave), 0) + self._unheard[master, slave]

    def of_slave(self, slave: str) -> int:
        """Octets that this SAE has not fetched, from whichever master here."""
        return self._slaves.get(slave, 0) + self._unheard_of[slave]


def _note(table: dict[K, int], key: K, octets: int) -> None:
    if octets > 0:
        table[key] = octets
    else:
        table.pop(key, None)
