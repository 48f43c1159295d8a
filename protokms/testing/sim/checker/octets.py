"""Which octets served which purpose: told apart by value, and by the place where they lie."""

from bisect import bisect_left
from collections.abc import Iterator
from typing import NamedTuple

from actors.protocol import grants
from actors.protocol.keys import KeyName
from protokms.testing.sim.checker.promise import BrokenPromise

UNIT = 8
"""Octets that are told apart by their value: every length that a link draws is a multiple."""

Purpose = tuple[object, ...]


class Place(NamedTuple):
    """A segment of the stream of two nodes: `holder` is the node that formed the batch."""

    pair: tuple[str, str]
    number: int
    random: int
    holder: str
    batch: int


def units(octets: bytes) -> Iterator[bytes]:
    """Cut octets into the units they are told apart by; fewer at the end are like any others."""
    return (octets[i : i + UNIT] for i in range(0, len(octets) - UNIT + 1, UNIT))


class Octets:
    """P1 and P2: a name has one value, an octet one purpose, wherever either shows.

    `betrayed` are pairs of nodes of which one lies: nothing is promised about what they share.
    """

    def __init__(self) -> None:
        self.drawn: set[bytes] = set()
        self.whole = True
        """Whether every use begins where a unit begins: not where chunks of any size cross."""
        self.values: dict[KeyName, bytes] = {}
        self.betrayed: set[tuple[str, str]] = set()
        self._uses: dict[bytes, Purpose] = {}
        self._ranges: dict[Place, list[tuple[int, int, Purpose]]] = {}

    def draw(self, octets: bytes) -> None:
        """Note random octets that some node has drawn."""
        if len(octets) % UNIT == 0:
            self.drawn.update(units(octets) if self.whole else (octets[:UNIT],))

    def use(self, octets: bytes, purpose: Purpose) -> None:
        """P2, by value: these octets serve this purpose, and no other."""
        for unit in units(octets):
            before = self._uses.setdefault(unit, purpose)
            if before != purpose:
                raise BrokenPromise("P2", f"octets of {before} are octets of {purpose}")

    def lie(self, place: Place, start: int, end: int, purpose: Purpose) -> None:
        """P2, by place: these octets of a segment serve this purpose, and no other."""
        if place.pair in self.betrayed:
            return
        ranges = self._ranges.setdefault(place, [])
        at = bisect_left(ranges, (start, end), key=_where)
        for other in ranges[max(0, at - 1) : at + 1]:
            if other[0] < end and start < other[1] and other[2] != purpose:
                raise BrokenPromise("P2", f"{place} {start}:{end}: {other[2]} and {purpose}")
        if (start, end) not in map(_where, ranges[at : at + 1]):
            ranges.insert(at, (start, end, purpose))

    def key(self, name: KeyName, octets: bytes, *, drawn: bool = True) -> None:
        """P1: a key_ID has one value, made of octets that were `drawn`, in whole units, for it."""
        if self.values.setdefault(name, octets) != octets:
            raise BrokenPromise("P1", f"two values of {name}")
        if drawn and self.whole and any(unit not in self.drawn for unit in units(octets)):
            raise BrokenPromise("P1", f"{name} holds octets that nobody drew")
        self.use(octets, ("key", name))

    def used(self, place: Place) -> int:
        """Return how many octets of a segment serve a purpose."""
        return sum(end - start for start, end, _ in self._ranges.get(place, ()))


def _where(used: tuple[int, int, Purpose]) -> tuple[int, int]:
    return used[:2]


def total(grant: grants.Grant) -> int:
    """Return the octets of all keys of a grant."""
    return grant.number * grant.size
