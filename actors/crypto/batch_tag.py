"""The verification tag of a batch (R3): a one-time authenticator keyed by the batch itself."""

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.poly1305 import Poly1305

from actors.protocol.blocks import Run

KEY_OCTETS = 32
"""Octets at the front of a batch that are its tag key; burnt at both ends whatever the outcome."""


def _text(
    place: tuple[int, int, int, int], runs: tuple[Run, ...], lengths: tuple[int, ...]
) -> bytes:
    pairs = [(run.first, run.last) for run in runs]
    packed = msgspec.msgpack.encode((place, pairs, lengths))
    return len(packed).to_bytes(4, "big") + packed


def make(
    octets: bytes, place: tuple[int, int, int, int], runs: tuple[Run, ...], lengths: tuple[int, ...]
) -> bytes:
    """Return Poly1305(first 32 octets, place, ids, lengths, rest): 16 octets.

    `place` is (epoch number, epoch random, holder, batch). The key is used for this one
    text only: a batch is immutable, and its repetitions are identical.
    """
    text = _text(place, runs, lengths) + octets[KEY_OCTETS:]
    return Poly1305.generate_tag(octets[:KEY_OCTETS], text)


def spoilt(tag: bytes) -> bytes:
    """Return a tag with which no octets agree, to have a batch discarded."""
    return bytes(octet ^ 0xFF for octet in tag)


def agrees(
    octets: bytes,
    place: tuple[int, int, int, int],
    runs: tuple[Run, ...],
    lengths: tuple[int, ...],
    tag: bytes,
) -> bool:
    """Tell, in constant time, whether the other end holds the same octets under the same ids."""
    text = _text(place, runs, lengths) + octets[KEY_OCTETS:]
    try:
        Poly1305.verify_tag(octets[:KEY_OCTETS], text, tag)
    except (InvalidSignature, ValueError):
        return False
    return True
