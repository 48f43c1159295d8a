"""Key transport sessions: from an origin over trusted nodes to a KMS without a common link.

Durable at the origin only; on the path they are soft state that the origin refreshes.
"""

from actors.protocol.relay import SessionId
from transport.message import Message, local, part, wire

CODES = (
    "no_route",
    "no_such_peer",
    "not_enough_bits",
    "not_allowed",
    "not_enough_disjoint_paths",
)
"""Why a session is refused; `Failed.why` names the node that refuses."""

SOON = ("undeliverable", "no_keys", "not_ready", "peer_down")
"""What a key store answers, or somebody for it, until a session has brought it the first bits."""


@local
class AddSession(Message):
    """Keep bits in store with `destination`, over these paths or over ones found here.

    `paths` are node names from here to the destination, `n` how many disjoint ones (each chunk
    is split in `n` XOR shares), 0: as many as are given, or else what this node is configured
    for; `low_bits` and `high_bits` are the water marks, 0: as demand asks. The same again is
    harmless; other terms replace the old ones.
    """

    destination: str
    paths: tuple[tuple[str, ...], ...] = ()
    n: int = 0
    low_bits: int = 0
    high_bits: int = 0
    weight: int = 1


@part
class SessionState:
    """One session as its origin sees it; `state` is `established`, or the code of a refusal."""

    destination: str
    paths: tuple[tuple[str, ...], ...]
    n: int
    low_bits: int
    high_bits: int
    weight: int
    fixed: bool
    state: str
    why: str


@local
class SessionAdded(Message):
    """It is established."""

    session: SessionState


@local
class RemoveSession(Message):
    """Fill no more; what both ends hold stays. Harmless when there is none."""

    destination: str


@local
class SessionRemoved(Message):
    """There is none any more."""


@local
class ListSessions(Message):
    """Which sessions begin here?"""


@local
class Sessions(Message):
    """All of them, by destination, and how many of other nodes lead over this one, and on."""

    sessions: tuple[SessionState, ...]
    crossing: int


@local
class EnsureSession(Message):
    """An SAE here wants keys with one at `peer`: have a store, and a session, on demand.

    Answered with `SessionEnsured` once there is a key store for that peer here, or `Failed`.
    """

    peer: str
    sae: str


@local
class SessionEnsured(Message):
    """There is a key store for that peer; `code` is why the session that fills it does not stand.

    One of `CODES`, and only after it was tried; otherwise nothing.
    """

    code: str = ""


@wire("sessions.key_transport_session/1")
class KeyTransportSession(Message):
    """Let one share of a session cross you, or end at you; asked hop by hop, and as a refresh.

    `signature` is the origin's (Ed25519) over all but `hop` and `wait`; `serial` grows with
    each. `hop` is the place on the path of who is asked; `wait` the seconds left for the answer.
    """

    session: SessionId
    share: int
    shares: int
    path: tuple[str, ...]
    weight: int
    serial: int
    signature: bytes
    hop: int
    wait: float


@wire("sessions.key_transport_session_reply/1")
class KeyTransportSessionReply(Message):
    """Established up to the destination, or the code of the refusal and the node that refuses."""

    established: bool
    code: str
    node: str


@wire("sessions.lost/1")
class SessionLost(Message):
    """Said towards the origin: this share cannot go on from `node`."""

    session: SessionId
    share: int
    code: str
    node: str


@wire("sessions.ended/1")
class SessionEnded(Message):
    """Said towards the destination: the origin has closed this share."""

    session: SessionId
    share: int
