"""Ill luck for an emulated link, on purpose: for labs and tests, off unless asked for."""

import random
from collections.abc import Iterable
from dataclasses import dataclass

_HELD_BACK = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Adversity:
    """Probabilities (0..1) of what befalls a datagram, and outages: (start, length) in seconds.

    Outages count from the start of the module. `seed` makes the same ill luck come again.
    """

    loss: float = 0.0
    duplication: float = 0.0
    reordering: float = 0.0
    corruption: float = 0.0
    outages: tuple[tuple[float, float], ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("loss", "duplication", "reordering", "corruption"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a probability, 0 to 1")
        if any(start < 0 or length < 0 for start, length in self.outages):
            raise ValueError("an outage is a start and a length in seconds, neither negative")

    @property
    def active(self) -> bool:
        """Whether any ill luck is asked for."""
        return bool(self.outages) or any(
            (self.loss, self.duplication, self.reordering, self.corruption)
        )


class Impairments:
    """Applies an `Adversity` to datagrams, at the sender; one a module."""

    def __init__(self, adversity: Adversity, now: float) -> None:
        self._adversity, self._started = adversity, now
        self._dice = random.Random(adversity.seed)  # noqa: S311 - ill luck, not key material
        self._held: list[tuple[int, bytes]] = []
        self._passed = 0
        self.counts: dict[str, int] = {}
        """What has befallen how many since the caller last cleared this."""

    def apply(self, datagrams: Iterable[bytes], now: float) -> list[bytes]:
        """Return what is left to send, in the order in which it is to be sent."""
        if not self._adversity.active:
            return list(datagrams)
        since = now - self._started
        out = any(start <= since < start + length for start, length in self._adversity.outages)
        left: list[bytes] = []
        for datagram in datagrams:
            if out:
                self._note("outage")
                continue
            self._passed += 1
            left += self._due()
            if not self._happens("loss"):
                self._suffer(datagram, left)
        return left

    def _suffer(self, datagram: bytes, left: list[bytes]) -> None:
        copies = 2 if self._happens("duplication") else 1
        if self._happens("corruption"):
            datagram = self._flip(datagram)
        if self._happens("reordering"):
            self._held.append((self._passed + self._dice.randint(1, _HELD_BACK), datagram))
            copies -= 1
        left += [datagram] * copies

    def _due(self) -> list[bytes]:
        due = [datagram for when, datagram in self._held if when <= self._passed]
        if due:
            self._held = [entry for entry in self._held if entry[0] > self._passed]
        return due

    def _flip(self, datagram: bytes) -> bytes:
        spoiled = bytearray(datagram)
        spoiled[self._dice.randrange(len(spoiled))] ^= 1 << self._dice.randrange(8)
        return bytes(spoiled)

    def _happens(self, what: str) -> bool:
        probability: float = getattr(self._adversity, what)
        happens = self._dice.random() < probability
        if happens:
            self._note(what)
        return happens

    def _note(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1
