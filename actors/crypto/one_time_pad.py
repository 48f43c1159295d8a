"""One-time pad and one-time authenticator over one exact string of octets (R4).

XOR with the pad, then Poly1305 (Wegman-Carter: both halves of its key used once) over what the
reader knows anyway, its length, and the sealed octets. Sizes are octets. Never the same pad
twice: that is the caller's duty, and the ledger's (docs/decisions/0011-relay.md).
"""

from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.poly1305 import Poly1305

from actors.protocol.blocks import Head
from actors.protocol.grants import Grant, Piece
from actors.protocol.relay import ChunkId

KEY_OCTETS = 32
"""Octets at the front of a pad that key its tag."""
TAG_OCTETS = 16
Ends = tuple[str, str]
"""The names of the KMS that seals and of the one that opens."""


class Forged(ValueError):
    """The tag does not verify: not what was sealed under these bits, in this place."""


def seal(key_and_pad: bytes, text: bytes, associated: bytes) -> tuple[bytes, bytes]:
    """Seal `text` and return it with its tag (16 octets).

    `key_and_pad` are `KEY_OCTETS` and one octet for each of `text`, which are never used again;
    any other length, or an empty text, is a ValueError.
    """
    sealed = _xor(key_and_pad, text)
    return sealed, Poly1305.generate_tag(key_and_pad[:KEY_OCTETS], _text(associated, sealed))


def open_(key_and_pad: bytes, sealed: bytes, tag: bytes, associated: bytes) -> bytes:
    """Return the text, or raise `Forged`; a wrong length of `key_and_pad` is a ValueError."""
    text = _xor(key_and_pad, sealed)
    try:
        Poly1305.verify_tag(key_and_pad[:KEY_OCTETS], _text(associated, sealed), tag)
    except (InvalidSignature, ValueError):
        raise Forged("the tag does not verify") from None
    return text


def carry_place(
    ends: Ends, head: Head, pieces: tuple[Piece, ...], chunk: ChunkId, hop: int
) -> bytes:
    """Lay out what a chunk over one hop is bound to."""
    return _packed("carry/1", ends, head, pieces, chunk, hop)


def grant_place(ends: Ends, head: Head, grant: Grant) -> bytes:
    """Lay out what a sealed grant is bound to: all of it, the sealer's life, and the epoch.

    The life of the reader and the ledger seq change while the same seal is repeated.
    """
    life = (head.mine, head.number, head.random)
    return _packed("grant/1", ends, life, grant)


def _packed(*facts: Any) -> bytes:
    return msgspec.msgpack.encode(facts)


def _text(associated: bytes, sealed: bytes) -> bytes:
    """Join both so that no two pairs have one encoding: the first with its length before it."""
    return len(associated).to_bytes(8, "big") + associated + sealed


def _xor(key_and_pad: bytes, text: bytes) -> bytes:
    if not text or len(key_and_pad) != KEY_OCTETS + len(text):
        raise ValueError("a pad is as long as its text and the key of its tag")
    pad = int.from_bytes(key_and_pad[KEY_OCTETS:], "big")
    return (pad ^ int.from_bytes(text, "big")).to_bytes(len(text), "big")
