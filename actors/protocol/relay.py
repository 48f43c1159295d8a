"""How a chunk of fresh random bits goes hop by hop: sealed, opened, sealed again (R4, R13, R14).

A chunk is one datagram of the stream shared by the two ends of a session, or one XOR share of
it. It is named by session, share, datagram epoch and seq, and lies in clear only in the memory
of the nodes on its path, as a `Secret`. Sizes are octets.
"""

from actors.protocol.blocks import Head
from actors.protocol.grants import Piece
from transport.message import Message, Secret, local, part, wire

SHARES_MAX = 8
"""A session goes over 1 path to this many disjoint ones."""
WEIGHT_MAX = 16
"""A session weighs 1 to this: what it gets of a link, and of the turns of a relay (R13)."""


@part
class SessionId:
    """One establishment of a session: who began it, and a random number. A re-route is another."""

    origin: str
    number: int


@part
class ChunkId:
    """One share of one datagram; `epoch` are the starts of both ends of the far store (16)."""

    session: SessionId
    share: int
    epoch: bytes
    seq: int


@wire("relay.carry/1")
class Carry(Message):
    """A chunk over one hop: XOR with a one-time pad, and a one-time tag over it and its place.

    `head` and `pieces` say where in the neighbours' store the bits lie: first the key of the
    tag, then the pad. `hop` is the place of the sender on the path; the origin is 0.
    """

    head: Head
    pieces: tuple[Piece, ...]
    chunk: ChunkId
    hop: int
    sealed: bytes
    tag: bytes


@wire("relay.carried/1")
class Carried(Message):
    """These are accepted, into a bounded queue or at their end: send others."""

    chunks: tuple[ChunkId, ...]


@wire("relay.not_carried/1")
class NotCarried(Message):
    """Not accepted. `lost`: seal it anew with fresh bits; all else: give it up."""

    chunk: ChunkId
    code: str


@local
class LaneOpened(Message):
    """A share of a session crosses this node: from actor `source` to actor `target`, both here.

    Names: `relay/<neighbour>`, or `virtual_link/<peer>` at the two ends. `hop` is the place of
    this node on `path`. Told to both actors, again whenever they ask.
    """

    session: SessionId
    share: int
    shares: int
    source: str
    target: str
    hop: int
    path: tuple[str, ...]
    weight: int


@local
class LaneClosed(Message):
    """It crosses no more: what is queued for it is dropped."""

    session: SessionId
    share: int


@local
class AskLanes(Message):
    """A relay or virtual link has (re)started: tell it its lanes."""


@local
class ForgetLanes(Message):
    """`sessions` has started anew: every lane is closed; those that stand are opened again."""


@local
class LaneBroken(Message):
    """A relay cannot carry for this lane any more; `code` says why. For `sessions`."""

    session: SessionId
    share: int
    code: str


@local
class Pass(Message):
    """Take this chunk over: the answer is `Passed` once there is room for it (R13)."""

    chunk: ChunkId
    payload: Secret


@local
class Passed(Message):
    """It is in a bounded queue, or at its end."""
