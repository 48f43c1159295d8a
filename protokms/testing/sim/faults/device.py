"""What a quantum link gives from some moment of a run on: at the rates of real devices."""

import math
import random
from collections.abc import Iterator
from dataclasses import dataclass

from protokms.testing.sim.checker.octets import UNIT

SLOWEST_BIT_S, FASTEST_BIT_S = 300.0, 20e6
BLOCKS = 0.25
"""In which share of the links bits come in blocks."""
BLOCK_S = (2.0, 30.0)
BLOCK_OCTETS_MAX = 1 << 19
CATCH_UP_S = 1.0
"""What a link could not take for longer is gone."""
_LARGEST, _SMALLEST = 960, 64
_DATAGRAM_S = 2.0


@dataclass(frozen=True, slots=True)
class Device:
    """From `at` on the link of `ends` gives so many bits a second, in blocks every `block_s`."""

    ends: tuple[str, str]
    at: float
    rate_bit_s: float
    block_s: float = 0.0

    def __str__(self) -> str:
        blocks = f" in blocks every {self.block_s:g} s" if self.block_s else ""
        return f"{'>'.join(self.ends)} {self.rate_bit_s:g} bit/s{blocks} from {self.at:g} s"


def drawn(dice: random.Random, ends: tuple[str, str], length_s: float) -> Device:
    """Draw what a link gives in the second half of a run, or some time before."""
    slowest, fastest = math.log(SLOWEST_BIT_S), math.log(FASTEST_BIT_S)
    rate = math.exp(dice.uniform(slowest, fastest))
    block_s = dice.uniform(*BLOCK_S) if dice.random() < BLOCKS else 0.0
    if block_s:
        rate = min(rate, 8 * BLOCK_OCTETS_MAX / block_s)
    at = dice.uniform(length_s / 3, length_s / 2)
    return Device(ends, round(at, 3), round(rate, 1), round(block_s, 1))


class Source:
    """What a device has ready: whole units, in datagrams that follow its rate."""

    def __init__(self, device: Device, now: float, dice: random.Random) -> None:
        self._device, self._dice, self._began = device, dice, now
        self._given = 0
        self._next = self._size()

    def due(self, now: float, octets: int) -> Iterator[int]:
        """Return the lengths of datagrams that are due, of so many octets at most."""
        device, passed = self._device, now - self._began
        if device.block_s:
            passed = passed // device.block_s * device.block_s
        made = int(device.rate_bit_s / 8 * passed)
        kept = device.block_s or CATCH_UP_S + _DATAGRAM_S
        self._given = max(self._given, made - max(_LARGEST, int(device.rate_bit_s / 8 * kept)))
        while self._given + self._next <= made and self._next <= octets:
            yield self._next
            self._given += self._next
            octets -= self._next
            self._next = self._size()

    def _size(self) -> int:
        """One that a slow device fills in some seconds."""
        most = min(_LARGEST, max(_SMALLEST, int(self._device.rate_bit_s / 8 * _DATAGRAM_S)))
        return UNIT * self._dice.randint(1, most // UNIT)
