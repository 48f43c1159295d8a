"""The union of all ledgers: what the disks of all nodes say, read without the actors.

Rows are `Row(store, kind, id, clear, secret)`; `docs/protocol.md` and `actors/*.py` say what is
in them. Here only what the promises speak of is read.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any, TypeVar

import msgspec

from actors.base import NUMBERED, Row
from protokms.testing.sim.checker.octets import UNIT, Octets, units
from protokms.testing.sim.checker.promise import BrokenPromise

OPEN = ("held", "decided", "giving", "unheard", "void")
"""Kinds of rows that stand for something the peer has not acknowledged."""

ROWS_MAX = 20_000
_LOOKED_FOR = 50
"""Keys that are looked for at one time: to search is what takes long in a long run."""

T = TypeVar("T")
Load = Callable[[str, str], Iterable[Row]]
"""Read the rows of a store (second) at a node (first)."""


class Ledgers:
    """Reads the disks of a network; `stores` are the names of the stores at each node."""

    def __init__(self, load: Load, stores: dict[str, list[str]]) -> None:
        self._load, self._stores = load, stores

    def rows(self, node: str) -> Iterator[Row]:
        """Every row of a node."""
        for store in self._stores[node]:
            yield from self._load(node, store)

    def to_load(self, node: str) -> int:
        """How many rows of a node may be loaded after its start."""
        return sum(row.kind in NUMBERED for row in self.rows(node))

    def grants(self, node: str) -> set[bytes]:
        """The ids of all grants held for slaves at a node."""
        return {named(row) for row in self.rows(node) if row.kind == "holding"}

    def secrets(self, node: str) -> bytes:
        """Everything secret at a node, one after the other."""
        return b"|".join(row.secret.reveal() for row in self.rows(node) if row.secret)

    def bounded(self, node: str) -> None:
        """P8: there are not too many rows."""
        count = sum(1 for _ in self.rows(node))
        if count > ROWS_MAX:
            raise BrokenPromise("P8", f"{count} rows at {node}")

    def erased(self, node: str, gone: Iterable[bytes]) -> None:
        """P4: none of these octets (the first unit of some of them) is in any row of a node."""
        kept = self.secrets(node)
        for octets in _some(list(gone), _LOOKED_FOR):
            if octets[:UNIT] in kept:
                raise BrokenPromise("P4", f"octets of a delivered key are on the disk of {node}")

    def epochs(self, one: str, other: str) -> set[tuple[int, int]]:
        """The epochs in which two nodes are, as their disks say: number and random."""
        ends = (_clear(self._load(*ends), "standing") for ends in ((one, other), (other, one)))
        return {(it[0], it[1]) for end in ends for it in end.values()}

    def over(self, one: str, other: str, segments: Collection[bytes]) -> None:
        """R7: no bits of segments of epochs that are over are in a row; the ends of some tell."""
        for ends in ((one, other), (other, one)):
            rows = list(self._load(*ends))
            if lost := _secret(rows).keys() - _clear(rows, "segment").keys():
                raise BrokenPromise("P4", f"bits of {len(lost)} segments that {ends[0]} forgot")
            kept = b"|".join(_secret(rows).values())
            if any(octets[-UNIT:] in kept for octets in _some(list(segments), _LOOKED_FOR)):
                raise BrokenPromise("P4", f"{ends[0]} keeps bits of an epoch that is over")

    def sealed(self, node: str, keys: Iterable[bytes]) -> None:
        """R15: none of these keys (the first unit of some) is where anybody can read it."""
        clear = b"|".join(row.clear for row in self.rows(node))
        if any(octets[:UNIT] in clear for octets in _some(list(keys), _LOOKED_FOR)):
            raise BrokenPromise("R15", f"octets of a key lie in clear on the disk of {node}")

    # At rest

    def rest(self, one: str, other: str) -> None:
        """LIVE, P1: nothing is open between two nodes, and both have one stream."""
        ends = [list(self._load(*ends)) for ends in ((one, other), (other, one))]
        for node, rows in zip((one, other), ends, strict=True):
            still = [row.kind for row in rows if row.kind in OPEN]
            if still:
                raise BrokenPromise("LIVE", f"{still} still open at {node}")
            if any(standing[4] for standing in _clear(rows, "standing").values()):
                raise BrokenPromise("LIVE", f"the store at {node} is frozen")
        epochs = [next(iter(_clear(rows, "standing").values()), [1, 0])[:2] for rows in ends]
        if epochs[0] != epochs[1]:
            raise BrokenPromise("LIVE", f"{one} and {other} are in epochs {epochs}")
        self._one_stream(one, other, *ends)

    def _one_stream(self, one: str, other: str, rows: list[Row], their_rows: list[Row]) -> None:
        segments, theirs = _clear(rows, "segment"), _clear(their_rows, "segment")
        if segments.keys() != theirs.keys():
            raise BrokenPromise("LIVE", f"{one} and {other} have different segments")
        bits, their_bits = _secret(rows), _secret(their_rows)
        for id_, (mine, n, leased, *_) in segments.items():
            if (mine, n, leased) != (not theirs[id_][0], *theirs[id_][1:3]):
                raise BrokenPromise("R5", f"{one} and {other} differ about whose {id_.hex()} is")
            both = bits.get(id_, b""), their_bits.get(id_, b"")
            if any(a != b and _differ(a, b) for a, b in zip(*map(units, both), strict=False)):
                raise BrokenPromise("P1", f"segment {id_.hex()} differs at {one} and {other}")


def _differ(one: bytes, other: bytes) -> bool:
    """Whether octets differ that neither end has blanked: what it has used, or knows to be."""
    return any(a != b and a and b for a, b in zip(one, other, strict=True))


def silent(octets: Octets, frames: bytes, text: str) -> None:
    """P6: no key is in what went over a wire, or into a log."""
    for name, key in _some(list(octets.values.items()), 10 * _LOOKED_FOR):
        front = key[:UNIT]
        if front in frames:
            raise BrokenPromise("P6", f"octets of {name} were on a wire")
        if front.hex() in text:
            raise BrokenPromise("P6", f"octets of {name} are in a log")


def _some(things: list[T], most: int) -> list[T]:
    """At most so many of them, spread evenly."""
    return things[:: max(1, len(things) // most)]


def named(row: Row) -> bytes:
    """Return the id of the grant that a row is about."""
    id_: bytes = msgspec.msgpack.decode(row.clear)[0] if row.kind in NUMBERED else row.id
    return id_


def _clear(rows: Iterable[Row], kind: str) -> dict[bytes, Any]:
    return {row.id: msgspec.msgpack.decode(row.clear) for row in rows if row.kind == kind}


def _secret(rows: Iterable[Row]) -> dict[bytes, bytes]:
    return {row.id: row.secret.reveal() for row in rows if row.kind == "bits" and row.secret}
