"""Rows sealed under the node key (R15): AES-256-GCM, a key of its own for each process start.

A sealed value is `salt number (4) | nonce (12) | ciphertext and tag`, in octets; the number names
a random salt that stands in the file. A row without a secret is sealed too, with no octets in it:
its tag covers all that is readable in the row, so that nothing in the file changes unnoticed.
"""

import hmac
import os
import struct
from collections.abc import Callable
from dataclasses import replace

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from actors.base import Row
from transport.message import Secret

KEY_OCTETS = 32
SALT_OCTETS = 16
RENEW = 1 << 30
"""Rows sealed under one salt; random nonces bear 2^32 (NIST SP 800-38D)."""

_NONCE = 12
_HEAD = struct.Struct(">I")
_LENGTHS = struct.Struct(">5I?")


class Unsealable(ValueError):
    """A row is not what was written: changed, moved, or sealed under another key."""


class RowSealer:
    """Seals rows of one node's file, and opens them; `salts` are those in the file, by number."""

    def __init__(self, key: Secret, node: str) -> None:
        if len(key) != KEY_OCTETS:
            raise ValueError(f"a node key is {KEY_OCTETS} octets, not {len(key)}")
        self._key, self._node = key, node.encode()
        self._ciphers: dict[int, AESGCM] = {}
        self._number, self.sealed = 0, 0

    def derive(self, salt: bytes, purpose: str) -> bytes:
        """Derive 32 octets from the node key for a purpose."""
        info = f"protokms store {purpose}/1|".encode() + self._node
        kdf = HKDF(algorithm=SHA256(), length=KEY_OCTETS, salt=salt, info=info)
        return kdf.derive(self._key.reveal())

    def proof(self, salt: bytes) -> bytes:
        """Return what shows, beside a salt, which node key it goes with."""
        return self.derive(salt, "proof")

    def add(self, number: int, salt: bytes, proof: bytes) -> bool:
        """Learn a salt of the file; false if it goes with another node key."""
        if not hmac.compare_digest(self.proof(salt), proof):
            return False
        self._ciphers[number] = AESGCM(self.derive(salt, "rows"))
        return True

    def use(self, number: int) -> None:
        """Seal under this salt from now on."""
        self._number, self.sealed = number, 0

    def seal(self, row: Row) -> bytes:
        """Seal the secret of a row, or the lack of one."""
        self.sealed += 1
        head, nonce = _HEAD.pack(self._number), os.urandom(_NONCE)
        secret = row.secret.reveal() if row.secret else b""
        bound = self._bound(row, head, holds=row.secret is not None)
        return head + nonce + self._ciphers[self._number].encrypt(nonce, secret, bound)

    def open(self, row: Row, sealed: bytes, *, holds: bool) -> Row:
        """Return the row with its secret, or raise `Unsealable`; `holds` says if it has one."""
        head, nonce, rest = sealed[:4], sealed[4 : 4 + _NONCE], sealed[4 + _NONCE :]
        try:
            cipher = self._ciphers[self.salt_of(sealed)]
            secret = cipher.decrypt(nonce, rest, self._bound(row, head, holds=holds))
        except (InvalidTag, KeyError, ValueError):
            raise Unsealable("a row was changed, moved, or sealed under another key") from None
        return replace(row, secret=Secret(secret)) if holds else row

    @staticmethod
    def salt_of(sealed: bytes) -> int:
        """Tell the number of the salt of a sealed value."""
        if len(sealed) < _HEAD.size + _NONCE:
            raise Unsealable("too short for a sealed value")
        number: int = _HEAD.unpack_from(sealed)[0]
        return number

    def opener(self, store: str, kind: str) -> Callable[[bytes, bytes, bytes, bool, bytes], bytes]:
        """Return what opens many rows of one kind, by (id, ends, clear, holds, sealed).

        It is `open` without objects in between, since there may be half a million rows.
        """
        ciphers, number, bound = self._ciphers, _HEAD.unpack_from, self._binder(store, kind)

        def open_(id_: bytes, ends: bytes, clear: bytes, holds: bool, sealed: bytes) -> bytes:
            if len(sealed) < _HEAD.size + _NONCE:
                raise Unsealable("too short for a sealed value")
            to = bound(sealed[:4], id_, ends, clear, bool(holds))
            try:
                return ciphers[number(sealed)[0]].decrypt(sealed[4:16], sealed[16:], to)
            except (InvalidTag, KeyError, ValueError):
                raise Unsealable("a row was changed, moved, or sealed otherwise") from None

        return open_

    def _bound(self, row: Row, head: bytes, *, holds: bool) -> bytes:
        bound = self._binder(row.store, row.kind)
        return bound(head, row.id, row.ends, row.clear, holds)

    def _binder(self, store: str, kind: str) -> Callable[[bytes, bytes, bytes, bytes, bool], bytes]:
        """Return what makes of a row of one kind the octets to which its secret is bound."""
        node, named, of = self._node, store.encode(), kind.encode()
        names, sizes, lengths = node + named + of, (len(node), len(named), len(of)), _LENGTHS.pack

        def bound(head: bytes, id_: bytes, ends: bytes, clear: bytes, holds: bool) -> bytes:
            measured = lengths(*sizes, len(id_), len(clear), holds)
            return b"".join((measured, head, names, id_, clear, ends))

        return bound
