"""Sessions in plain values: what an origin has promised to keep, and what a hop may believe."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import msgspec

from actors.base import Row
from actors.protocol.common import Refused
from actors.protocol.relay import SHARES_MAX, WEIGHT_MAX, LaneOpened, SessionId
from actors.protocol.sessions import CODES, AddSession, KeyTransportSession

STORE = "sessions"
NODES_MAX = 128
"""Nodes on a path, its ends included."""

BITS_MAX = 1 << 40
_NUMBER_MAX = 1 << 63

Path = tuple[str, ...]
LaneKey = tuple[SessionId, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What is wanted of a session; durable. `sae`: made on demand, for this one."""

    destination: str
    paths: tuple[Path, ...] = ()
    n: int = 1
    low_bits: int = 0
    high_bits: int = 0
    weight: int = 1
    sae: str = ""

    @property
    def fixed(self) -> bool:
        """Whether the paths are given, and never replaced."""
        return bool(self.paths)

    def row(self) -> Row:
        """Lay it out for the disk."""
        return Row(STORE, "terms", self.destination.encode(), msgspec.msgpack.encode(self))

    @staticmethod
    def read(clear: bytes) -> "Terms":
        """Read what `row` has laid out."""
        return msgspec.msgpack.decode(clear, type=Terms)


def terms_of(ask: AddSession, node: str, known: Collection[str], default: int = 1) -> Terms:
    """Check what is asked of the origin `node`, or raise `Refused`; `default`: so many paths."""
    ask = replace(ask, n=ask.n or len(ask.paths) or default)
    if ask.destination not in known:
        raise Refused("no_such_peer", f"{node}: {ask.destination[:64]} is not in the directory")
    if ask.destination == node:
        raise Refused("malformed", "a session is with another KMS")
    if not (1 <= ask.n <= SHARES_MAX and 1 <= ask.weight <= WEIGHT_MAX):
        raise Refused("malformed", f"1 to {SHARES_MAX} paths, a weight of 1 to {WEIGHT_MAX}")
    if not 0 <= ask.low_bits <= ask.high_bits <= BITS_MAX:
        raise Refused("malformed", "the low water mark is above the high one, or out of range")
    if ask.paths:
        _check_paths(ask, node, known)
    return Terms(
        destination=ask.destination,
        paths=ask.paths,
        n=ask.n,
        low_bits=ask.low_bits,
        high_bits=ask.high_bits,
        weight=ask.weight,
    )


def _check_paths(ask: AddSession, node: str, known: Collection[str]) -> None:
    if len(ask.paths) != ask.n:
        raise Refused("malformed", f"{ask.n} paths are asked for, {len(ask.paths)} given")
    for path in ask.paths:
        if not is_path(path) or (path[0], path[-1]) != (node, ask.destination):
            raise Refused(
                "malformed", f"a path leads from {node} to {ask.destination}, no node twice"
            )
        strangers = [name for name in path if name not in known]
        if strangers:
            raise Refused("no_such_peer", f"{node}: {strangers[0][:64]} is not in the directory")
    if not are_disjoint(ask.paths):
        raise Refused("not_enough_disjoint_paths", f"{node}: a node is on two of the paths")


def is_path(path: Sequence[str]) -> bool:
    """Tell whether these may be the nodes of a path, by their number and no node twice."""
    return 2 <= len(path) <= NODES_MAX and len(set(path)) == len(path)  # noqa: PLR2004


def are_disjoint(paths: Sequence[Path]) -> bool:
    """Tell whether paths between the same ends share no other node, nor the direct link."""
    between = [name for path in paths for name in path[1:-1]]
    direct = sum(len(path) == 2 for path in paths)  # noqa: PLR2004
    return len(set(between)) == len(between) and direct <= 1


@dataclass(slots=True)
class Lane:
    """One share of a session at one node of its path: soft state, until `expires`."""

    session: SessionId
    share: int
    shares: int
    path: Path
    hop: int
    weight: int
    serial: int
    expires: float

    @property
    def key(self) -> LaneKey:
        """How it is found."""
        return self.session, self.share

    @property
    def before(self) -> str:
        """The node before this one on the path; none at the origin."""
        return self.path[self.hop - 1] if self.hop else ""

    @property
    def after(self) -> str:
        """The node after this one; none at the destination."""
        return self.path[self.hop + 1] if self.hop + 1 < len(self.path) else ""

    @property
    def source(self) -> str:
        """The actor here that its chunks come from."""
        return f"relay/{self.before}" if self.before else f"virtual_link/{self.path[-1]}"

    @property
    def target(self) -> str:
        """The actor here that they go to."""
        return f"relay/{self.after}" if self.after else f"virtual_link/{self.path[0]}"

    def opened(self) -> LaneOpened:
        """Say it to the two."""
        return LaneOpened(
            session=self.session,
            share=self.share,
            shares=self.shares,
            source=self.source,
            target=self.target,
            hop=self.hop,
            path=self.path,
            weight=self.weight,
        )


def well_formed(ask: KeyTransportSession) -> bool:
    """Tell whether a request could be one, whoever says it."""
    return (
        is_path(ask.path)
        and ask.path[0] == ask.session.origin
        and 0 < ask.hop < len(ask.path)
        and 0 <= ask.share < ask.shares <= SHARES_MAX
        and 0 < ask.weight <= WEIGHT_MAX
        and 0 < ask.serial < _NUMBER_MAX
        and 0 <= ask.session.number < _NUMBER_MAX
        and ask.wait > 0
    )


def blame(path: Path, hop: int, code: str, node: str) -> tuple[str, str]:
    """Return code and culprit as the node at `hop` may believe it, who was told by the next one.

    Nobody is blamed but a node that is further on.
    """
    return code if code in CODES else "no_route", node if node in path[hop + 1 :] else path[hop + 1]
