"""Keys that a device has given before: a device that repeats itself must not make used bits new."""

import hashlib
from collections.abc import Iterable

from actors.modules.devices.device import DeviceKey

KEPT = 65_536
"""So many keys are remembered: a repeat of an older one is not noticed."""
SEEN_KEY = 32
"""Octets of the key that is drawn for the digests."""
_DIGEST = 16


class Seen:
    """Remembers key_IDs, and keyed digests of keys, of one process; the key is drawn here.

    What lives longer than a link is shared by its lives, so a restarted link remembers too.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._marks: dict[bytes, None] = {}

    def repeated(self, keys: Iterable[DeviceKey]) -> bool:
        """Note these keys; whether any of them, or its key_ID, was there before."""
        again = False
        for key in keys:
            for mark in (self._mark(b"i", key.key_id.lower().encode()), self._bits(key)):
                again |= mark in self._marks
                self._marks[mark] = None
        while len(self._marks) > 2 * KEPT:
            del self._marks[next(iter(self._marks))]
        return again

    def _bits(self, key: DeviceKey) -> bytes:
        return self._mark(b"k", key.octets.reveal())

    def _mark(self, kind: bytes, octets: bytes) -> bytes:
        return hashlib.blake2b(octets, digest_size=_DIGEST, key=self._key, person=kind).digest()
