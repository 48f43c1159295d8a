"""Key transport sessions: from an origin over trusted nodes to a KMS without a common link.

Durable at the origin only; on the path they are soft state that the origin refreshes.
"""

from collections.abc import Sequence

from actors.protocol.relay import SessionId
from transport.message import Message, local, part, wire

CODES = (
    "no_route",
    "no_such_peer",
    "not_enough_bits",
    "not_allowed",
    "not_enough_disjoint_paths",
    "node_full",
    "entry_full",
    "link_full",
    "share_full",
    "peers_full",
)
"""Why a session is refused; `Failed.why` names the node that refuses."""

LIMITS = {
    "node_full": "max_crossing",
    "entry_full": "max_lanes",
    "link_full": "max_lanes",
    "share_full": "max_lanes_per_origin",
    "peers_full": "max_distant_peers",
}
"""Of the codes, those of a limit that is reached at the node that refuses, and its name there.

`entry_full` is of what comes from the node before, `link_full` of what goes to the one after.
"""

TOO_MANY = "too_many_sessions"
"""Why no session is made on demand now: there are as many as may be, for the SAE or in all."""

OWN_LIMITS = ("max_sessions", "max_sessions_per_sae", "max_distant_peers")
"""Which limit it is that `TOO_MANY` tells of."""

NODES_MAX = 128
"""Nodes on a path, its ends included."""

BITS_MAX = 1 << 40
"""A water mark, at most."""

SOON = ("undeliverable", "no_keys", "not_ready", "peer_down")
"""What a key store answers, or somebody for it, until a session has brought it the first bits."""


def is_path(path: Sequence[str]) -> bool:
    """Tell whether these may be the nodes of a path, by their number and no node twice."""
    return 2 <= len(path) <= NODES_MAX and len(set(path)) == len(path)  # noqa: PLR2004


def are_disjoint(paths: Sequence[Sequence[str]]) -> bool:
    """Tell whether paths between the same ends share no other node, nor the direct link."""
    between = [name for path in paths for name in path[1:-1]]
    direct = sum(len(path) == 2 for path in paths)  # noqa: PLR2004
    return len(set(between)) == len(between) and direct <= 1


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
    sae: str = ""
    """For whom it was made on demand; empty: it was added."""


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
    """All of them, by destination, and how many of other nodes lead over this one, and on.

    `stores`: distant peers that have a key store here, whoever began a session with them.
    """

    sessions: tuple[SessionState, ...]
    crossing: int
    stores: tuple[str, ...] = ()


@part
class Permit:
    """Sessions of others that may lead over this node, or end at it, as `intent` says.

    `ends` are ends of the path, both or the one that is known, `before` and `after` the nodes
    beside this one on it; empty: any.
    """

    ends: tuple[str, ...]
    before: str = ""
    after: str = ""


@local
class Permits(Message):
    """All there are; they count where `accept` is `controlled`. Said by `intent`."""

    permits: tuple[Permit, ...]


@local
class AskPermits(Message):
    """Sessions have started: what may cross, or end here? Answered with a word, `Permits`."""


@local
class EnsureSession(Message):
    """An SAE here wants keys with one at `peer`: have a store, and a session, on demand.

    Answered with `SessionEnsured` once there is a key store for that peer here, or `Failed`:
    `not_allowed` if none are made on demand here, `TOO_MANY` with one of `OWN_LIMITS` as the
    reason, or `not_ready` if the store fails.
    """

    peer: str
    sae: str


@local
class SessionEnsured(Message):
    """There is a key store for that peer; `code` is why the session that fills it does not stand.

    One of `CODES`, and only after it was tried, or `TOO_MANY`; otherwise nothing. `node` is who
    refuses, `limit` the configuration key there of what is reached, if it is that.
    """

    code: str = ""
    node: str = ""
    limit: str = ""


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


@wire("sessions.key_transport_session/2")
class KeyTransportSession2(Message):
    """As `/1`, signature included, so that it may be said on as `/1`; the answer is a `/2`.

    Said to a node that takes `Refresh`. `serial` is of the one counter of its origin.
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


@wire("sessions.key_transport_session_reply/2")
class KeyTransportSessionReply2(Message):
    """As `/1`; `together`: every node from here on takes `Refresh`."""

    established: bool
    code: str
    node: str
    together: bool


SetUp = KeyTransportSession | KeyTransportSession2
SetUpReply = KeyTransportSessionReply | KeyTransportSessionReply2

NAMES_MAX = 32_768
"""Shares that one refresh names."""


@wire("sessions.refresh/1")
class Refresh(Message):
    """The origin lives: those of its shares that are named stand for a while longer (R13).

    `serial` grows with every word that the origin signs; the signature (Ed25519, of the origin)
    is over the two. `lanes` is the word of the sender alone: of each share that leads from it to
    you the number of its session (8 octets) and its own (1). What is not named is not refreshed.
    """

    origin: str
    serial: int
    signature: bytes
    lanes: bytes


@wire("sessions.refresh_reply/1")
class RefreshReply(Message):
    """Heard; `lost` are those named that are neither here nor being set up, laid out alike.

    `serial` and `signature` are the newest that was heard of this origin, if that was newer than
    what it says now, else 0 and nothing: an origin that was restored from a backup goes on there.
    """

    lost: bytes
    serial: int
    signature: bytes


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
