"""Grants held for slaves, each packed in one octet array: half a million are no burden (R18).

No actor, no clock, no I/O. A record is `number | deadline | ends | pieces | what each slave has
not got | keys`. Collections of the interpreter pass it by, and its keys can be blanked in place.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from actors.protocol.grants import Grant, Piece

_HEAD = struct.Struct(">QdIH")  # number, deadline, number of the ends, how many pieces
_PIECE = struct.Struct(">BQII")


class Ends(NamedTuple):
    """What many grants have in common; stands once."""

    size: int
    number: int
    master: str
    slaves: tuple[str, ...]
    mode: str
    width: int
    """Octets of one slave's bitmap."""


class Holding:
    """A grant held for its slaves: a view of its record."""

    __slots__ = ("_bitmaps", "_keys", "_record", "deadline", "ends", "id", "number")

    def __init__(self, id_: bytes, record: bytearray, table: dict[int, Ends]) -> None:
        self.number: int
        self.deadline: float
        self.number, self.deadline, ends, pieces = _HEAD.unpack_from(record)
        self.id, self._record, self.ends = id_, record, table[ends]
        self._bitmaps: int = _HEAD.size + pieces * _PIECE.size
        self._keys = self._bitmaps + self.ends.width * len(self.ends.slaves)

    @property
    def places(self) -> list[tuple[int, int, int, int]]:
        """Where its keys lay in the stream, in the epoch in which they were allocated."""
        return list(_PIECE.iter_unpack(self._record[_HEAD.size : self._bitmaps]))

    @property
    def pieces(self) -> tuple[Piece, ...]:
        """The same, as words have it."""
        return tuple(Piece(*each) for each in self.places)

    @property
    def bitmaps(self) -> list[bytes]:
        """What each slave has not got, as it lies in a row."""
        width, keys = self.ends.width, self._keys
        return [bytes(self._record[at : at + width]) for at in range(self._bitmaps, keys, width)]

    @property
    def left(self) -> dict[str, int]:
        """What each slave has not got."""
        maps = (int.from_bytes(bits, "big") for bits in self.bitmaps)
        return dict(zip(self.ends.slaves, maps, strict=True))

    @property
    def octets(self) -> bytearray:
        """A copy of its keys."""
        return self._record[self._keys :]

    @property
    def grant(self) -> Grant:
        """The grant as it was announced, but for the time it still has to live."""
        size, number, master, slaves, mode = self.ends[:5]
        return Grant(self.id, self.pieces, size, number, master, slaves, mode, 0.0)

    @property
    def is_delivered(self) -> bool:
        """Whether all slaves have got all keys."""
        return not any(self._record[self._bitmaps : self._keys])

    def lacks(self, slave: str, index: int) -> bool:
        """Whether a slave has not got a key."""
        return bool(self._record[self._octet(slave, index)] >> (index & 7) & 1)

    def key(self, index: int) -> bytes:
        """Copy one key."""
        start = self._keys + index * self.ends.size
        return bytes(self._record[start : start + self.ends.size])

    def got(self, slave: str, index: int) -> None:
        """A slave has got a key; if it was the last one, the key is blanked."""
        self._record[self._octet(slave, index)] &= ~(1 << (index & 7))
        if len(self.ends.slaves) == 1 or not any(self.lacks(it, index) for it in self.ends.slaves):
            start = self._keys + index * self.ends.size
            self._record[start : start + self.ends.size] = bytes(self.ends.size)

    def blank(self) -> None:
        """Forget the keys."""
        self._record[self._keys :] = bytes(len(self._record) - self._keys)

    def _octet(self, slave: str, index: int) -> int:
        """Where the bit of a key stands: bitmaps are laid out like numbers, the highest first."""
        width, slaves = self.ends.width, self.ends.slaves
        place = 0 if slave == slaves[0] else slaves.index(slave)
        return self._bitmaps + place * width + width - 1 - (index >> 3)


class Holdings:
    """All grants held, by id."""

    def __init__(self) -> None:
        self._records: dict[bytes, bytearray] = {}
        self._ends: dict[int, Ends] = {}
        self._known: dict[Ends, int] = {}
        self._count: dict[int, int] = {}
        self._next = 0

    def put(  # noqa: PLR0917 -- called for half a million rows at a start
        self,
        id_: bytes,
        number: int,
        deadline: float,
        ends: Ends,
        pieces: bytes,
        left: bytes,
        octets: bytes,
    ) -> None:
        """Hold one more; `pieces` as `packed` makes them, `left` a bitmap for each slave."""
        known = self._known.get(ends)
        if known is None:
            known = self._known[ends] = self._next
            self._ends[known], self._count[known] = ends, 0
            self._next += 1
        self._count[known] += 1
        head = _HEAD.pack(number, deadline, known, len(pieces) // _PIECE.size)
        self._records[id_] = bytearray(b"".join((head, pieces, left, octets)))

    def get(self, id_: bytes) -> Holding | None:
        """Look at one, if it is there."""
        record = self._records.get(id_)
        return None if record is None else Holding(id_, record, self._ends)

    def pop(self, id_: bytes) -> Holding:
        """Hold it no longer."""
        record = self._records.pop(id_)
        holding = Holding(id_, record, self._ends)
        known = self._known[holding.ends]
        self._count[known] -= 1
        if not self._count[known]:
            del self._count[known], self._known[self._ends.pop(known)]
        return holding

    def values(self) -> Iterator[Holding]:
        """Look at all of them."""
        return (Holding(id_, record, self._ends) for id_, record in self._records.items())

    def keys(self) -> set[bytes]:
        """Return all ids."""
        return set(self._records)

    def __getitem__(self, id_: bytes) -> Holding:
        return Holding(id_, self._records[id_], self._ends)

    def __contains__(self, id_: object) -> bool:
        return id_ in self._records

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)


def packed(pieces: list[tuple[int, int, int, int]]) -> bytes:
    """Pack places."""
    if len(pieces) == 1:
        return _PIECE.pack(*pieces[0])
    return b"".join(_PIECE.pack(*piece) for piece in pieces)
