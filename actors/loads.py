"""What the slaves' side holds and nobody has fetched, as far as the owner knows (R9, R12).

No actor, no clock, no I/O. In `local` mode the owner checks these limits before it answers. What it
knows is at least what is held: what it was told last, and all that it has answered and that the
slaves' side has not acknowledged. Sizes are octets, not bits.
"""

from collections import Counter

from actors.protocol.grants import Grant


class Loads:
    """Octets not fetched yet, by pair of SAEs."""

    def __init__(self) -> None:
        self._told: dict[str, dict[str, int]] = {}
        self._unheard: Counter[tuple[str, str]] = Counter()
        self._unheard_of: Counter[str] = Counter()

    def told(self, master: str, slave: str, octets: int) -> None:
        """The slaves' side says what it holds of a pair."""
        masters = self._told.setdefault(slave, {})
        if octets > 0:
            masters[master] = octets
        else:
            masters.pop(master, None)
        if not masters:
            del self._told[slave]

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
        return self._told.get(slave, {}).get(master, 0) + self._unheard[master, slave]

    def of_slave(self, slave: str) -> int:
        """Octets that this SAE has not fetched, from whichever master here."""
        return sum(self._told.get(slave, {}).values()) + self._unheard_of[slave]

    def masters(self, slave: str) -> list[str]:
        """Whose keys this SAE has not fetched, as was last told."""
        return list(self._told.get(slave, ()))
