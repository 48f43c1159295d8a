"""TLS handshakes under way: how many, of which addresses, and which of them makes room.

No socket and no clock: the acceptor is its doorman.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class Handshakes(Generic[T]):
    """At most so many handshakes, of whatever kind `T`; no address has a limit of its own.

    One is left alone for `patience_s`, then it makes room for another that waits.
    """

    most: int
    patience_s: float
    _open: dict[T, tuple[str, float]] = field(default_factory=dict)
    """Address and beginning of each, the oldest first."""

    _of_address: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._open)

    def __iter__(self) -> Iterator[T]:
        return iter(self._open)

    @property
    def full(self) -> bool:
        """Whether the next one has to wait."""
        return len(self._open) >= self.most

    def begin(self, handshake: T, address: str, now: float) -> None:
        """Count one more."""
        self._open[handshake] = address, now
        self._of_address[address] = self._of_address.get(address, 0) + 1

    def end(self, handshake: T) -> str | None:
        """Count one less and return its address; None, if it was ended before."""
        found = self._open.pop(handshake, None)
        if found is None:
            return None
        address = found[0]
        left = self._of_address[address] - 1
        if left:
            self._of_address[address] = left
        else:
            del self._of_address[address]  # or addresses that never come back would stay
        return address

    def waits(self, now: float) -> float:
        """Return in how many seconds one may be asked to make room; 0, if it may be now."""
        began = next(iter(self._open.values()))[1]
        return max(0.0, began + self.patience_s - now)

    def slowest(self, now: float) -> T | None:
        """Return the one to make room: of the address with most, the oldest; None, if all are new.

        Whoever opens many and finishes none makes room for itself and for others; an honest
        client beside it is dropped only if it is slow, too, and no address has more.
        """
        found: T | None = None
        most = 0
        for handshake, (address, began) in self._open.items():
            if began + self.patience_s > now:
                break  # the rest is younger
            if self._of_address[address] > most:
                found, most = handshake, self._of_address[address]
        return found
