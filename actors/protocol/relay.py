"""How a chunk of fresh random bits goes hop by hop: sealed, opened, sealed again (R4, R13, R14).

A chunk is one datagram of the stream shared by the two ends of a session, or one XOR share of
it. It is named by session, share, datagram epoch and seq, and lies in clear only in the memory
of the nodes on its path, as a `Secret`. Sizes are octets.
"""

from actors.protocol.blocks import Head
from actors.protocol.grants import Piece
from transport.message import Message, Secret, local, part, wire

# On these both relays of a hop, the link that begins a session and what is set up agree.
CHUNK_MIN = 1_100
"""Octets of the smallest chunk: a batch by itself."""
CHUNK_PAD_MIN = CHUNK_MIN + 32
"""Octets of its pad at each hop, with the key of the tag."""
CHUNK_MAX = 32_784
"""Octets of the largest chunk; two of them make a batch with its tag key."""
QUEUE_MAX = 1
"""Chunks of a lane that a relay has taken over and not yet asked a pad for."""
WINDOW = 4
"""Chunks of a lane that may be asked for or sent, and not acknowledged."""
ROOM_MAX = 8 * CHUNK_MAX
"""Octets of room that are told at most."""
HOLD_S, GIVE_UP_S = 8.0, 10.0
"""Seconds for which a relay holds a chunk back for want of room, and after which it drops one."""
GIVE_UP_MAX_S = 590.0
CHUNKS_GIVEN_UP = 3
"""On a slow link it waits as long as so many of the smallest chunks take."""
ANSWER_S = 1.0
"""Seconds by which an answer may come later than it was asked for."""

UNDECIDED_S, UNDECIDED_MAX_S = 20.0, 1_200.0
"""Seconds after which a chunk that no batch has named is discarded: at least, and at most,"""
CHUNKS_LATE = 6
"""and as long as so many of the smallest take to cross the slowest link of their path."""


def undecided_s(rate: float) -> float:
    """Seconds after which a chunk that no batch has named is discarded (R2, R13).

    By the octets a second that the slowest link of its path brings; 0: not known.
    """
    if rate <= 0:
        return UNDECIDED_S
    return min(UNDECIDED_MAX_S, max(UNDECIDED_S, CHUNKS_LATE * CHUNK_PAD_MIN / rate))


def give_up_s(rate: float) -> float:
    """Seconds after which a relay drops a chunk, by what its link brings; 0: not known."""
    if rate <= 0:
        return GIVE_UP_S
    return min(GIVE_UP_MAX_S, max(GIVE_UP_S, CHUNKS_GIVEN_UP * CHUNK_PAD_MIN / rate))


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


@wire("relay.room/1")
class Room(Message):
    """From here to the end of the session there are pads for `octets` more of this share.

    Chunks of it up to seq `after` are counted; -1: there was none.
    """

    session: SessionId
    share: int
    after: int
    octets: int


@wire("relay.wants/1")
class Wants(Message):
    """The origin of this share has demand and no room: keep bits for one chunk of it."""

    session: SessionId
    share: int


@local
class LaneRoom(Message):
    """As `Room`, from a relay to the source of a share on its node.

    `hold_s`: so long the relay may hold a chunk back before it answers.
    """

    session: SessionId
    share: int
    after: int
    octets: int
    hold_s: float


@local
class LaneWants(Message):
    """As `Wants`, from the source of a share to its target on this node."""

    session: SessionId
    share: int


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
