"""What crosses a hop: chunks sealed under one-time bits, checked and opened at its far end (R4)."""

from dataclasses import dataclass

from actors.crypto import one_time_pad
from actors.protocol.pads import Pad
from actors.protocol.relay import CHUNK_MAX, Carry, ChunkId
from transport.envelope import Address
from transport.message import Message, Secret

EPOCH_OCTETS = 16
SEQ_LIMIT = 1 << 62
PIECES_MAX = 64
"""Places that the one-time bits of a frame may come from."""
GRACE_S = 3.0
"""Seconds after a start for which a session, or that a peer is up, may not have been heard of."""

Ends = tuple[str, str]
"""The node that seals a frame, and the one that opens it."""


@dataclass(slots=True)
class Neighbour:
    """The node at the other end of a hop: its relay, and the store of bits shared with it."""

    name: str
    relay: Address
    store: Address
    since: float
    """When our relay started."""
    words: frozenset[str] | None = None
    """Which of our words it knows; None: it has not said so yet."""

    def speaks(self, kind: type[Message]) -> bool:
        """Whether it is known to know this word."""
        return self.words is not None and kind.wire in self.words

    def settled(self, now: float) -> bool:
        """Whether all that a relay is told at its start has been heard by now."""
        return now - self.since >= GRACE_S


def seal(ends: Ends, pad: Pad, chunk: ChunkId, hop: int, payload: Secret) -> Carry:
    """Seal a chunk; the tag binds it to direction, place of its bits, name and hop (R4)."""
    place = one_time_pad.carry_place(ends, pad.head, pad.pieces, chunk, hop)
    sealed, tag = one_time_pad.seal(pad.octets.reveal(), payload.reveal(), place)
    return Carry(head=pad.head, pieces=pad.pieces, chunk=chunk, hop=hop, sealed=sealed, tag=tag)


def open_frame(ends: Ends, word: Carry, bits: Secret) -> Secret:
    """Open what `seal` has sealed; raises `one_time_pad.Forged` if the tag does not verify."""
    place = one_time_pad.carry_place(ends, word.head, word.pieces, word.chunk, word.hop)
    return Secret(one_time_pad.open_(bits.reveal(), word.sealed, word.tag, place))


def well_named(chunk: ChunkId) -> bool:
    """Whether the numbers of a chunk make sense."""
    return len(chunk.epoch) == EPOCH_OCTETS and 0 <= chunk.seq < SEQ_LIMIT


def well_formed(word: Carry) -> bool:
    """Whether the sizes of a frame make sense."""
    length = len(word.sealed)
    return (
        well_named(word.chunk)
        and 0 < length <= CHUNK_MAX
        and len(word.tag) == one_time_pad.TAG_OCTETS
        and 0 < len(word.pieces) <= PIECES_MAX
        and all(piece.length > 0 for piece in word.pieces)
        and sum(piece.length for piece in word.pieces) == one_time_pad.KEY_OCTETS + length
    )


def bits_of(word: Carry) -> tuple[object, ...]:
    """Name the one-time bits of a frame, however often it is sent."""
    head = word.head
    return (head.mine, head.yours, head.number, head.random, *word.pieces)
