"""Key containers (014 6.3) as JSON, laid out by hand: no other copy of a key is made on the way."""

from binascii import b2a_base64
from collections.abc import Sequence

from actors.protocol import keys
from transport.message import Secret


def container(ids: Sequence[str], secrets: Sequence[Secret]) -> bytes:
    """Write a key container (014 6.3) of keys by their ids (UUIDs), in that order."""
    rows = [
        b'{"key_ID":"%b","key":"%b"}' % (text.encode(), b2a_base64(secret.reveal(), newline=False))
        for text, secret in zip(ids, secrets, strict=True)
    ]
    return b'{"keys":[%b]}' % b",".join(rows)


def container_of_grant(made: keys.Keys, extensions: Sequence[bytes] = ()) -> bytes:
    """Write a key container (014 6.3) of a whole grant; `extensions`, one a key, are JSON."""
    octets, size = made.octets.reveal(), made.size
    first = keys.key_id(made.grant, 0)[:-8].encode()  # the index is the last 8 digits
    rows = [
        b'{"key_ID":"%b%08x","key":"%b"}'
        % (first, index, b2a_base64(octets[at : at + size], newline=False))
        for index, at in enumerate(range(0, len(octets), size))
    ]
    if extensions:
        told = zip(rows, extensions, strict=True)
        rows = [b'%b,"key_extension":%b}' % (row[:-1], extension) for row, extension in told]
    return b'{"keys":[%b]}' % b",".join(rows)
