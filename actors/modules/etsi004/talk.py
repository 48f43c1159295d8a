"""What is asked of a device that gives streams of key, what it answers, and how keys are named.

Sizes are octets, as in ETSI GS QKD 004, unless a name says otherwise.
"""

import re
from dataclasses import dataclass
from uuid import UUID

from transport.message import Secret

INDEX_MAX = (1 << 32) - 1
_NAME = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/(open|[0-9]{1,10})")


@dataclass(frozen=True, slots=True)
class Open:
    """Open this stream, or a new one (OPEN_CONNECT)."""

    stream: UUID | None = None


@dataclass(frozen=True, slots=True)
class NewKeys:
    """Give so many chunks, from this index on (GET_KEY, one after the other).

    `chunk` is the size of each that was agreed upon.
    """

    stream: UUID
    first: int
    number: int
    chunk: int


@dataclass(frozen=True, slots=True)
class NamedKeys:
    """Give these chunks, which the other end got from its own device; 0: whatever their size."""

    stream: UUID
    indexes: tuple[int, ...]
    chunk: int


@dataclass(frozen=True, slots=True)
class Close:
    """The stream is of no use any more (CLOSE)."""

    stream: UUID


Request = Open | NewKeys | NamedKeys | Close


@dataclass(frozen=True, slots=True)
class Opened:
    """The stream is open, and each of its chunks has so many octets."""

    stream: UUID
    chunk: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a stream."""

    index: int
    octets: Secret


@dataclass(frozen=True, slots=True)
class Chunks:
    """Some pieces, ascending; none: there is not enough key at the moment."""

    chunks: tuple[Chunk, ...]


@dataclass(frozen=True, slots=True)
class Closed:
    """It is closed, or was not there."""


Answer = Opened | Chunks | Closed


def name(stream: UUID, index: int | None) -> str:
    """Return the key_ID that tells the other end of a chunk; None: it is to open the stream."""
    return f"{stream}/{'open' if index is None else index}"


def read_name(key_id: str) -> tuple[UUID, int | None] | None:
    """Return what such a key_ID says; None if it is another's."""
    found = _NAME.fullmatch(key_id)
    if found is None:
        return None
    index = None if found[2] == "open" else int(found[2])
    return None if (index or 0) > INDEX_MAX else (UUID(found[1]), index)
