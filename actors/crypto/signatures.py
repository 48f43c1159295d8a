"""What a KMS says to those beyond its neighbours: signed with its Ed25519 key (the directory's).

Each kind of text begins with its own name, so that no signature serves for two kinds.
"""

import base64
import binascii
from functools import lru_cache
from typing import Any

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from actors.protocol.routes import LinkLoad
from actors.protocol.sessions import KeyTransportSession, Refresh, SetUp
from transport.message import Secret

SIGNATURE_OCTETS = 64
_KEYS_KEPT = 4096


class Signer:
    """Signs for one node; `private` are the 32 octets of its Ed25519 key."""

    def __init__(self, private: Secret) -> None:
        self._key = Ed25519PrivateKey.from_private_bytes(private.reveal())

    def sign(self, text: bytes) -> bytes:
        """Return the 64 octets of a signature."""
        return self._key.sign(text)

    @property
    def public(self) -> str:
        """The base64 of the public key, as a directory has it."""
        return base64.b64encode(self._key.public_key().public_bytes_raw()).decode()


def verifies(public: str, text: bytes, signature: bytes) -> bool:
    """Tell whether the owner of a public key (base64) has signed exactly this text."""
    key = _public(public)
    if key is None:
        return False
    try:
        key.verify(signature, text)
    except InvalidSignature:
        return False
    return True


def looked_at() -> int:
    """Return how many signatures this process has looked at: what its time goes for (R13)."""
    asked = _public.cache_info()
    return asked.hits + asked.misses


def state_text(origin: str, seq: int, links: tuple[LinkLoad, ...]) -> bytes:
    """Lay out what the signature of a link-state is over."""
    rows = [[load.peer, load.stock, load.rate] for load in links]
    return _text("routes.state/1", origin, seq, rows)


def session_text(ask: SetUp) -> bytes:
    """Lay out what the signature of a key transport session is over: all but hop and wait.

    It is the same for `/2` as for `/1`: whoever knows only the old word hears that.
    """
    word, name = KeyTransportSession.wire, (ask.session.origin, ask.session.number)
    return _text(word, *name, ask.share, ask.shares, ask.path, ask.weight, ask.serial)


def refresh_text(origin: str, serial: int) -> bytes:
    """Lay out what the signature of a refresh is over: that its origin lives."""
    return _text(Refresh.wire, origin, serial)


def _text(*values: Any) -> bytes:
    return msgspec.msgpack.encode(values)


@lru_cache(maxsize=_KEYS_KEPT)
def _public(text: str) -> Ed25519PublicKey | None:
    try:
        return Ed25519PublicKey.from_public_bytes(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        return None
