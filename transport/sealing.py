"""Key material between two processes of one node: AES-256-GCM under a seal of their own.

CURVE protects the frame already, but with elliptic curves; key bits never rest on those alone.
A sealed octet string is `salt (16) | nonce (12) | ciphertext and tag`, all in octets.
"""

import os
from functools import lru_cache

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_OCTETS = 32
_SALT = 16
_NONCE = 12
_TAG = 16
_RENEW = 1 << 30  # random nonces under one key: NIST SP 800-38D allows 2^32
_LIVES = 8  # salts of the other process whose key is kept: one a start of it


class ProcessSealer:
    """Seals what process `mine` says to process `theirs`, opens what it hears from there.

    `key` is the seal of this one pair of processes: core and one beside it. Each direction and
    each life of a sealer has its own key, derived from the seal, so a sealed octet string cannot
    be played back to its sender. Any thread may call.
    """

    def __init__(self, key: bytes, mine: str, theirs: str) -> None:
        if len(key) != KEY_OCTETS or mine == theirs:
            raise ValueError(f"a sealer takes {KEY_OCTETS} octets and two different processes")
        self._key = key
        self._out, self._in = _direction(mine, theirs), _direction(theirs, mine)
        self._opener = lru_cache(maxsize=_LIVES)(self._derive)
        self._sealed = 0
        self._life = self._new_life()

    def seal(self, octets: bytes) -> bytes:
        """Encrypt and authenticate."""
        self._sealed += 1
        if self._sealed > _RENEW:
            self._sealed = 1
            self._life = self._new_life()
        salt, cipher = self._life
        nonce = os.urandom(_NONCE)
        return salt + nonce + cipher.encrypt(nonce, octets, self._out)

    def open(self, octets: bytes) -> bytes:
        """Undo `seal` of the other process, or raise `ValueError`."""
        if len(octets) < _SALT + _NONCE + _TAG:
            raise ValueError("too short for sealed octets")
        nonce, rest = octets[_SALT : _SALT + _NONCE], octets[_SALT + _NONCE :]
        try:
            return self._opener(self._in, octets[:_SALT]).decrypt(nonce, rest, self._in)
        except InvalidTag:
            raise ValueError("sealed octets do not open") from None

    def _new_life(self) -> tuple[bytes, AESGCM]:
        salt = os.urandom(_SALT)
        return salt, self._derive(self._out, salt)

    def _derive(self, direction: bytes, salt: bytes) -> AESGCM:
        kdf = HKDF(algorithm=SHA256(), length=KEY_OCTETS, salt=salt, info=direction)
        return AESGCM(kdf.derive(self._key))


def _direction(sender: str, receiver: str) -> bytes:
    pair = "|".join(sorted((sender, receiver)))
    return f"protokms process seal/1|{pair}|{sender}>{receiver}".encode()
