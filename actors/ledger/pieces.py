"""Places that the peer names in what it allocates: checked, cut, and never used again (R7).

No actor, no clock, no I/O. Whoever asks decides what follows of a code; nothing is frozen here.
"""

from actors.ledger.batches import Batches
from actors.ledger.stream import Stream
from actors.protocol.blocks import SegmentId
from actors.protocol.grants import Piece

PIECES_MAX = 512


class Pieces:
    """The mirror of what the peer allocates: octets it names are its to use."""

    def __init__(self, stream: Stream, batches: Batches) -> None:
        self._stream, self._batches = stream, batches

    def check(self, pieces: tuple[Piece, ...]) -> str:
        """Return the code of the refusal; `wait` if the batch is being decided, "" if all is well.

        `overlap`: octets are not the peer's to allocate, or were used.
        """
        for number, piece in enumerate(pieces):
            name = SegmentId(piece.holder, piece.batch)
            segment = self._stream.segments.get(name)
            if segment is None:
                return "wait" if self._batches.awaits(name) else "no_such_segment"
            start, end = piece.offset, piece.offset + piece.length
            if end > len(segment.octets) or any(_meet(piece, it) for it in pieces[:number]):
                return "malformed"
            if segment.owned or not segment.leased or segment.overlaps(start, end):
                return "overlap"
        return ""

    def weak(self, pieces: tuple[Piece, ...]) -> bool:
        """Whether places that were checked lie in what came over too few paths (R14)."""
        stream = self._stream
        segments = (stream.segments[SegmentId(it.holder, it.batch)] for it in pieces)
        return any(map(stream.is_weak, segments))

    def cut(self, pieces: tuple[Piece, ...]) -> bytes:
        """Copy the octets of places that were checked, in their order."""
        return b"".join(self._cut(piece) for piece in pieces)

    def _cut(self, piece: Piece) -> bytes:
        segment = self._stream.segments[SegmentId(piece.holder, piece.batch)]
        return bytes(segment.octets[piece.offset : piece.offset + piece.length])

    def use_up(self, pieces: tuple[Piece, ...]) -> None:
        """These octets are gone."""
        self._stream.mark(pieces)

    def within(self, piece: Piece) -> bool:
        """Whether a place lies in a segment that is there."""
        segment = self._stream.segments.get(SegmentId(piece.holder, piece.batch))
        if segment is None or piece.offset < 0 or piece.length <= 0:
            return False
        return piece.offset + piece.length <= len(segment.octets)

    def used(self, piece: Piece) -> bool:
        """Whether a place within a segment is not the peer's, or not to be allocated any more."""
        segment = self._stream.segments[SegmentId(piece.holder, piece.batch)]
        return segment.owned or segment.overlaps(piece.offset, piece.offset + piece.length)


def in_range(pieces: tuple[Piece, ...]) -> bool:
    """Whether the numbers of places make sense."""
    each = all(p.length > 0 and p.offset >= 0 and p.batch >= 0 for p in pieces)
    return each and 0 < len(pieces) <= PIECES_MAX


def _meet(one: Piece, other: Piece) -> bool:
    """Whether two pieces share octets."""
    same = (one.holder, one.batch) == (other.holder, other.batch)
    apart = one.offset + one.length <= other.offset or other.offset + other.length <= one.offset
    return same and not apart
