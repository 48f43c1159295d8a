"""The mirror of what the peer allocates: octets it names are its to use, and never used (R7)."""

from actors.protocol.blocks import SegmentId
from actors.protocol.grants import Piece
from actors.waking import Waking

PIECES_MAX = 512


class Mirror(Waking):
    """Checks places that the peer names in a grant or under a sealed frame, and cuts there."""

    def check_pieces(self, pieces: tuple[Piece, ...]) -> str:
        """Return the code of the refusal; `wait` if the batch is being decided, "" if all is well.

        Octets that are not the peer's to allocate, or were used, freeze the store.
        """
        for number, piece in enumerate(pieces):
            name = SegmentId(piece.holder, piece.batch)
            segment = self.stream.segments.get(name)
            if segment is None:
                mine = piece.holder == self.stream.end
                return "wait" if mine and piece.batch in self.batches.held else "no_such_segment"
            start, end = piece.offset, piece.offset + piece.length
            if end > len(segment.octets) or any(_meet(piece, it) for it in pieces[:number]):
                return "malformed"
            if segment.mine or not segment.leased or segment.overlaps(start, end):
                self.alarm("overlap")
                self.standing.freeze()
                return "overlap"
        return ""

    def cut(self, pieces: tuple[Piece, ...]) -> bytes:
        """Copy the octets of places that were checked, in their order."""
        return b"".join(self._cut(piece) for piece in pieces)

    def _cut(self, piece: Piece) -> bytes:
        segment = self.stream.segments[SegmentId(piece.holder, piece.batch)]
        return bytes(segment.octets[piece.offset : piece.offset + piece.length])


def in_range(pieces: tuple[Piece, ...]) -> bool:
    """Whether the numbers of places make sense."""
    each = all(p.length > 0 and p.offset >= 0 and p.batch >= 0 for p in pieces)
    return each and 0 < len(pieces) <= PIECES_MAX


def _meet(one: Piece, other: Piece) -> bool:
    """Whether two pieces share octets."""
    same = (one.holder, one.batch) == (other.holder, other.batch)
    apart = one.offset + one.length <= other.offset or other.offset + other.length <= one.offset
    return same and not apart
