"""What the two ends of a shared key store say to each other about grants (R9, R10)."""

from actors.protocol.blocks import Head
from transport.message import Message, part, wire


@part
class Piece:
    """`length` octets at `offset` of the segment named by holder and batch."""

    holder: int
    batch: int
    offset: int
    length: int


SEALED = "sealed"
"""The mode of grants whose keys come sealed; never announced in the open."""


@part
class Grant:
    """`number` keys of `size` octets each for SAEs, lying in `pieces`, in that order.

    `id` is 96 random bits; `remaining` the seconds the grant still has to live.
    """

    id: bytes
    pieces: tuple[Piece, ...]
    size: int
    number: int
    master: str
    slaves: tuple[str, ...]
    mode: str
    remaining: float


@wire("grants.announced/1")
class GrantsAnnounced(Message):
    """The owner has allocated these; hold them for the slaves."""

    head: Head
    grants: tuple[Grant, ...]


@wire("grants.sealed/1")
class GrantSealed(Message):
    """A grant whose keys were drawn at the owner: they come under one-time bits of the stream.

    `grant.pieces` is where these lie: 32 octets that key the tag, then the pad. Acknowledged,
    refused, taken back and repeated, byte for byte, like any other grant.
    """

    head: Head
    grant: Grant
    sealed: bytes
    tag: bytes


@part
class Load:
    """Octets that the slaves' side holds and nobody has fetched."""

    master: str
    slave: str
    octets: int
    """Of this pair."""
    of_slave: int
    """Of this slave and all masters at the owner."""
    room: int
    """That the slaves' side would still hold for this pair."""


@wire("grants.held/1")
class GrantsHeld(Message):
    """These are durable at the slaves' side; `loads` of the pairs they are for, or asked for."""

    head: Head
    ids: tuple[bytes, ...]
    loads: tuple[Load, ...]


@wire("grants.load_query/1")
class LoadQuery(Message):
    """How much of this pair, and of this slave, was not fetched yet? `GrantsHeld` says."""

    head: Head
    master: str
    slave: str


@part
class Refusal:
    """A grant that is not held, and why; it is void."""

    id: bytes
    code: str


@wire("grants.refused/1")
class GrantsRefused(Message):
    """These are not held, and never will be."""

    head: Head
    refusals: tuple[Refusal, ...]


@part
class Voided:
    """A grant taken back before it was answered, and where its octets lay."""

    id: bytes
    pieces: tuple[Piece, ...]


@wire("grants.void/1")
class GrantsVoid(Message):
    """These were never answered and never will be; beats every announcement."""

    head: Head
    grants: tuple[Voided, ...]


@wire("grants.void_held/1")
class GrantsVoidHeld(Message):
    """The voids are durable at the slaves' side."""

    head: Head
    ids: tuple[bytes, ...]


@wire("grants.query/1")
class GrantQuery(Message):
    """An SAE asks for a grant unknown here: have you announced it? (`local` mode)."""

    head: Head
    id: bytes


@wire("grants.unknown/1")
class GrantUnknown(Message):
    """No, there is no such grant."""

    head: Head
    id: bytes
