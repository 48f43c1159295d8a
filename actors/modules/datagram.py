"""The datagram of the emulated quantum link: its octets, and how they are checked.

    magic "PKQ1" | channel, 8 octets | seq, 64 bits | length, 16 bits | payload | MAC, 16 octets

Numbers are big-endian; 38 octets come on top of the payload. `channel` and the MAC's key are
derived (HKDF-SHA256) from the link's pre-shared secret, the datagram epoch and the names of
sender and receiver, in that order: a datagram of another epoch, another link or the other
direction names another channel and has a MAC under another key.

The MAC is keyed BLAKE2b (RFC 7693) of 16 octets; at 500 octets of payload it costs half of what
HMAC-SHA256 does. That is enough here, though between KMSs tags are one-time Wegman-Carter ones:
this link stands in for the authenticated channel inside a pair of QKD modules, its payload
travels in clear anyway, and octets forged into it never become key: the two key stores verify
every batch with a one-time key before either uses it.
"""

import struct
from hashlib import blake2b
from hmac import compare_digest

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from transport.message import Secret

MAGIC = b"PKQ1"
MAC_OCTETS = 16
MAX_DATAGRAM = 65_507
"""Octets of the largest UDP datagram over IPv4."""

_HEAD = struct.Struct(">4s8sQH")
_NAME = slice(4, 12)
_NAME_OCTETS, _KEY_OCTETS = 8, 32

OVERHEAD = _HEAD.size + MAC_OCTETS
"""Octets of a datagram that are not payload."""

MAX_PAYLOAD = 64_000
"""Octets of key material in the largest datagram that is sent or taken."""


class Malformed(ValueError):
    """What came in is no datagram for us; the text is the reason it is counted under."""


class Channel:
    """One direction of one link in one datagram epoch: it seals datagrams and opens them."""

    def __init__(self, secret: Secret, epoch: bytes, sender: str, receiver: str) -> None:
        info = b"".join(
            len(part).to_bytes(2, "big") + part
            for part in (b"proto-kms emulated link 1", epoch, sender.encode(), receiver.encode())
        )
        hkdf = HKDF(SHA256(), _NAME_OCTETS + _KEY_OCTETS, salt=None, info=info)
        derived = hkdf.derive(secret.reveal())
        self.name, self._key = derived[:_NAME_OCTETS], derived[_NAME_OCTETS:]

    def seal(self, seq: int, payload: bytes) -> bytes:
        """Make the datagram that carries this payload, 1 to 64,000 octets."""
        body = _HEAD.pack(MAGIC, self.name, seq, len(payload)) + payload
        return body + self._mac(body)

    def open(self, datagram: bytes) -> tuple[int, bytes]:
        """Return seq and payload, or raise `Malformed`: `malformed`, `stranger` or `corrupt`."""
        size = len(datagram) - OVERHEAD
        if not 1 <= size <= MAX_PAYLOAD:
            raise Malformed("malformed")
        magic, name, seq, length = _HEAD.unpack_from(datagram)
        if magic != MAGIC or length != size:
            raise Malformed("malformed")
        if name != self.name:
            raise Malformed("stranger")
        mac = self._mac(datagram[:-MAC_OCTETS])
        if not compare_digest(mac, datagram[-MAC_OCTETS:]):
            raise Malformed("corrupt")
        return seq, datagram[_HEAD.size : -MAC_OCTETS]

    def _mac(self, body: bytes) -> bytes:
        return blake2b(body, digest_size=MAC_OCTETS, key=self._key).digest()


def channel_name(datagram: bytes) -> bytes:
    """Return the channel that a datagram of the right form names, unchecked."""
    return datagram[_NAME]
