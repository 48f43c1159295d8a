"""ETSI GS QKD 004 as octets: the form of QUBIP's open server, as the standard prescribes none.

TLS over TCP. A frame has 8 octets (version 1.0.1, service, length of the rest), then what the
service says; all numbers are big-endian, a stream id is in the order of RFC
4122, 16 zeros for none.
"""

import struct
from typing import NamedTuple
from uuid import UUID

from actors.modules.datagram import MAX_PAYLOAD
from actors.modules.devices.device import DeviceError
from actors.modules.etsi004.statuses import EDITIONS, Status
from actors.modules.etsi004.talk import Chunk
from transport.message import Secret

OPEN, GET, CLOSE = 0x02, 0x04, 0x08
"""Services; the answer to each is one more."""

METADATA_MAX = 4_096
"""Octets of metadata that may come with a chunk; nothing of it is used."""
BODY_MAX = MAX_PAYLOAD + METADATA_MAX + 16
"""Octets after the head of a frame, at most; more are not read."""

_HEAD = struct.Struct("!BBBbI")
HEAD = _HEAD.size
_VERSION = (1, 0, 1)
_NUMBER = struct.Struct("!I")
_PAIR = struct.Struct("!II")
_QOS = struct.Struct("!7I256s")
_GET = struct.Struct("!16sII")
_ID = 16
NOBODY = UUID(int=0)


class Qos(NamedTuple):
    """The quality of service of a stream, in the order of table 2; 0: as the device likes.

    `chunk` in octets, the rates in bit/s, `timeout` in milliseconds, `ttl` in seconds.
    """

    chunk: int
    max_bps: int = 0
    min_bps: int = 0
    jitter: int = 0
    priority: int = 0
    timeout: int = 0
    ttl: int = 0
    metadata: bytes = b"application/json"


def frame(service: int, body: bytes) -> bytes:
    """Return a frame."""
    return _HEAD.pack(*_VERSION, service, len(body)) + body


def read_head(octets: bytes, service: int) -> int:
    """Return how long the answer to a service is; `DeviceError` if it is another's."""
    major, _, _, found, length = _HEAD.unpack(octets)
    if major != _VERSION[0]:
        raise malformed("the answer is not that of an ETSI GS QKD 004 server")
    if found != service + 1:
        raise malformed(f"service {found} answers, {service} was asked")
    if length > BODY_MAX:
        raise malformed(f"an answer has more than {BODY_MAX:,} octets")
    return int(length)


def open_connect(source: str, destination: str, qos: Qos, stream: UUID | None) -> bytes:
    """Return OPEN_CONNECT; both URIs are ASCII without zeros."""
    ends = f"{source}\0{destination}\0".encode("ascii")
    return frame(OPEN, ends + _QOS.pack(*qos) + (stream or NOBODY).bytes)


def get_key(stream: UUID, index: int) -> bytes:
    """Return GET_KEY."""
    return frame(GET, _GET.pack(stream.bytes, index, METADATA_MAX))


def close(stream: UUID) -> bytes:
    """Return CLOSE."""
    return frame(CLOSE, stream.bytes)


def read_status(body: bytes, edition: int) -> tuple[Status, str]:
    """Return what an answer begins with, and how to tell an operator."""
    if len(body) < _NUMBER.size:
        raise malformed("an answer has no status")
    (number,) = _NUMBER.unpack_from(body)
    found = EDITIONS[edition].get(number)
    if found is None:
        raise malformed(f"it answers {number}, which is no status of edition {edition}")
    return found, f"it answers {number}: {found.value}"


def read_opened(body: bytes) -> tuple[UUID, Qos]:
    """Return which stream was opened, or what is offered in its place."""
    at = _NUMBER.size
    if len(body) != at + _QOS.size + _ID:
        raise malformed("the answer to OPEN_CONNECT has another length")
    qos = Qos._make(_QOS.unpack_from(body, at))
    return UUID(bytes=body[-_ID:]), qos._replace(metadata=qos.metadata.rstrip(b"\0"))


def read_chunk(body: bytes, size: int) -> Chunk:
    """Return the chunk that an answer to GET_KEY has, of this size; 0: of any."""
    at = _NUMBER.size + _PAIR.size
    if len(body) < at + _NUMBER.size:
        raise malformed("the answer to GET_KEY is too short")
    index, length = _PAIR.unpack_from(body, _NUMBER.size)
    if not 0 < length <= MAX_PAYLOAD or (size and length != size):
        raise malformed(f"a chunk has {length} octets" + (f", not {size}" if size else ""))
    if len(body) < at + length + _NUMBER.size:
        raise malformed("the answer to GET_KEY is too short")
    (metadata,) = _NUMBER.unpack_from(body, at + length)
    if len(body) != at + length + _NUMBER.size + metadata:
        raise malformed("the answer to GET_KEY has another length")
    return Chunk(index, Secret(body[at : at + length]))


def malformed(text: str) -> DeviceError:
    """Return the error of an answer that makes no sense."""
    return DeviceError("malformed", text)
