"""A wire between the hosts of a lab: which frame comes where and when. Plain state, without I/O.

The place of a port is in its Ethernet address, so nothing is learnt. Port 0 is this machine: what
it sends and gets has no way to go.
"""

import heapq
import itertools
import re
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from protokms.config.tables import ConfigError, Problem

DELAY_MAX_S = 10.0
RATE_MIN_BIT_S, RATE_MAX_BIT_S = 1_000, 10_000_000_000
PORTS_MAX = 256
HERE = 0
"""The port of this machine."""

NOBODY = "02:70:6b:ff:ff:ff"
"""An Ethernet address that no port has: what is sent there gets lost without a word."""

QUEUE_S = 1.0
"""Seconds that a frame waits for the rate of its way at most; beyond it is lost."""

FRAMES_MAX = 65_536
"""Frames that are on their way at a time; one more is lost."""

_OURS = bytes.fromhex("02706b00")
_ADDRESS = len(_OURS) + 2
_GROUP = 1  # bit of the first octet: for several
_UNITS = {"kbit": 1e3, "mbit": 1e6, "gbit": 1e9}
_TIME = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)(ms|s)")
_SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)%")
_RATE = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)(kbit|mbit|gbit)")
_ALL = 100.0


class Conditions(msgspec.Struct, frozen=True, kw_only=True):
    """How each way between two hosts is: seconds, a share of 0 to 1, bit/s (None: no limit)."""

    delay_s: float = 0.0
    loss: float = 0.0
    rate_bit_s: float | None = None

    @property
    def is_none(self) -> bool:
        """Whether the way is as good as one can be."""
        return self == Conditions()

    def __str__(self) -> str:
        rate = "" if self.rate_bit_s is None else f", {self.rate_bit_s / 1e6:g} Mbit/s"
        return f"each way {self.delay_s * 1e3:g} ms, loss {self.loss * _ALL:g} %{rate}"


def conditions(delay: str, loss: str, rate: str) -> Conditions:
    """Read `50ms`, `2%` and `10mbit`; "" says nothing. `ConfigError` tells all faults."""
    problems = []
    time, share, pace = _TIME.fullmatch(delay), _SHARE.fullmatch(loss), _RATE.fullmatch(rate)
    delay_s = float(time[1]) / (1e3 if time[2] == "ms" else 1) if time else 0.0
    lost = float(share[1]) / _ALL if share else 0.0
    rate_bit_s = float(pace[1]) * _UNITS[pace[2]] if pace else None
    if delay and (not time or delay_s > DELAY_MAX_S):
        remedy = f"write 0ms to {DELAY_MAX_S:g}s, like 50ms"
        problems.append(Problem("--delay", "", f"{delay[:80]!r} is no delay", remedy))
    if loss and (not share or lost >= 1):
        remedy = "write a share below 100%, like 2%; `lab cut` lets nothing pass"
        problems.append(Problem("--loss", "", f"{loss[:80]!r} is no loss", remedy))
    if rate and (rate_bit_s is None or not RATE_MIN_BIT_S <= rate_bit_s <= RATE_MAX_BIT_S):
        remedy = "write 1kbit to 10gbit, like 10mbit"
        problems.append(Problem("--rate", "", f"{rate[:80]!r} is no rate", remedy))
    if problems:
        raise ConfigError(problems)
    return Conditions(delay_s=delay_s, loss=lost, rate_bit_s=rate_bit_s)


def address_of(port: int) -> str:
    """Return the Ethernet address of a port."""
    return (_OURS + port.to_bytes(2, "big")).hex(":")


class Arrival(NamedTuple):
    """A frame that comes out at a port; `number` keeps the order of frames of one time."""

    due: float
    number: int
    port: int
    frame: bytes


class Wire:
    """Joins ports, each with each; times are seconds of the caller's clock."""

    def __init__(self, ports: int, way: Conditions, draw: Callable[[], float]) -> None:
        self._ports, self._way, self._draw = ports, way, draw
        self._free: dict[tuple[int, int], float] = {}
        self._flying: list[Arrival] = []
        self._numbers = itertools.count()

    def send(self, port: int, frame: bytes, now: float) -> None:
        """Take a frame that comes in at a port."""
        for to in self._receivers(port, frame[:_ADDRESS]):
            due = self._due(port, to, len(frame) * 8, now)
            if due is not None and len(self._flying) < FRAMES_MAX:
                heapq.heappush(self._flying, Arrival(due, next(self._numbers), to, frame))

    def arrived(self, now: float) -> list[Arrival]:
        """Take out what has arrived by now, in order."""
        found = []
        while self._flying and self._flying[0].due <= now:
            found.append(heapq.heappop(self._flying))
        return found

    def next_due(self) -> float | None:
        """Return when the next frame arrives; None: nothing is on its way."""
        return self._flying[0].due if self._flying else None

    def _receivers(self, port: int, address: bytes) -> list[int]:
        if len(address) < _ADDRESS:
            return []
        if address[0] & _GROUP:
            return [to for to in range(self._ports) if to != port]
        to = int.from_bytes(address[len(_OURS) :], "big")
        known = address.startswith(_OURS) and to < self._ports and to != port
        return [to] if known else []

    def _due(self, port: int, to: int, bits: int, now: float) -> float | None:
        """Return when it arrives; None: it gets lost. Lost on the way takes time of the rate."""
        if HERE in (port, to):
            return now
        sent = now
        if self._way.rate_bit_s is not None:
            begun = max(now, self._free.get((port, to), now))
            if begun - now > QUEUE_S:
                return None
            sent = self._free[port, to] = begun + bits / self._way.rate_bit_s
        return None if self._draw() < self._way.loss else sent + self._way.delay_s
