"""Which SAEs want keys here, and how many bits they were given (ETSI GS QKD 015: consumed_bits).

No actor, no clock, no I/O.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from actors.crypto.one_time_pad import KEY_OCTETS
from actors.protocol.usage import (
    FORGET_S,
    INTERVAL_S,
    KEPT,
    MEAN_S,
    PAIRS_MAX,
    Interval,
    Pair,
)


@dataclass(slots=True)
class Account:
    """One pair: when it last wanted keys, what it was given in the interval that runs, and before.

    `number` is the interval that runs.
    """

    last: float
    number: int
    octets: int = 0
    intervals: tuple[Interval, ...] = ()

    def turn(self, now: float) -> None:
        """Close the interval that ran, if it is over."""
        number = int(now // INTERVAL_S)
        if number != self.number:
            if self.octets:
                closed = Interval(self.number, self.octets * 8)
                self.intervals = (*self.intervals[-(KEPT - 1) :], closed)
            self.number, self.octets = number, 0

    def mean(self, now: float) -> float:
        """Return the bits a second over the last minute; an interval is taken to be even."""
        self.turn(now)
        begun = now - MEAN_S
        bits = self.octets * 8.0
        for interval in self.intervals[-3:]:
            end = (interval.number + 1) * INTERVAL_S
            bits += interval.bits * min(1.0, max(0.0, end - begun) / INTERVAL_S)
        return bits / MEAN_S


class Accounts:
    """All pairs of one store."""

    def __init__(self) -> None:
        self._of: dict[tuple[str, tuple[str, ...]], Account] = {}
        self.tags = 0
        """Octets burnt as tag keys of grants that were sealed, by either end."""

    def wanted(self, master: str, slaves: Sequence[str], now: float) -> None:
        """SAEs want keys, whether or not they get any."""
        self._account(master, slaves, now)

    def given(
        self, master: str, slaves: Sequence[str], octets: int, now: float, *, sealed: bool = False
    ) -> None:
        """They were given so many octets."""
        self.tags += KEY_OCTETS if sealed else 0
        account = self._account(master, slaves, now)
        account.turn(now)
        account.octets += octets

    def pairs(self, now: float) -> tuple[Pair, ...]:
        """Tell of all, by SAEs; who has wanted nothing for long is forgotten."""
        self._of = {key: it for key, it in self._of.items() if now - it.last < FORGET_S}
        return tuple(
            Pair(master, slaves, account.mean(now), account.intervals)
            for (master, slaves), account in sorted(self._of.items())
        )

    def _account(self, master: str, slaves: Sequence[str], now: float) -> Account:
        key = master, tuple(sorted(slaves))
        account = self._of.get(key)
        if account is None:
            if len(self._of) >= PAIRS_MAX:
                del self._of[next(iter(self._of))]
            account = self._of[key] = Account(now, int(now // INTERVAL_S))
        account.last = now
        return account
