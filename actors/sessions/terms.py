"""Sessions in plain values: what an origin has promised to keep, and what a hop may believe."""

import hashlib
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

import msgspec

from actors.base import Row
from actors.protocol.common import Refused
from actors.protocol.limits import SHARES_MAX, WEIGHT_MAX
from actors.protocol.relay import LaneOpened, SessionId
from actors.protocol.sessions import BITS_MAX, CODES, AddSession, SetUp, are_disjoint, is_path

STORE = "sessions"
_NUMBER_MAX = 1 << 63

Path = tuple[str, ...]
HopKey = tuple[SessionId, int]


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


@dataclass(frozen=True, slots=True)
class Named:
    """When an SAE last asked for keys of a pair, or how many there are; durable.

    `at` counts within `boot`: how long a node was off is not known after another one (R12).
    """

    destination: str
    boot: str
    at: float

    def row(self) -> Row:
        """Lay it out for the disk."""
        return Row(STORE, "named", self.destination.encode(), msgspec.msgpack.encode(self))

    @staticmethod
    def read(clear: bytes) -> "Named":
        """Read what `row` has laid out."""
        return msgspec.msgpack.decode(clear, type=Named)

    def is_old(self, boot: str, now: float, named_s: float) -> bool:
        """Whether nobody has named the pair for so long, as far as is known."""
        return boot == self.boot and now - self.at >= named_s


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


@dataclass(slots=True)
class HopState:
    """One share of a session at one node of its path: soft state, until `expires`."""

    session: SessionId
    share: int
    shares: int
    path: Path
    hop: int
    weight: int
    serial: int
    expires: float
    together: bool = False
    """Whether every node before this one takes `Refresh`: it was asked for with `/2`."""

    @property
    def key(self) -> HopKey:
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


class HopTable:
    """What this node keeps of sessions that begin, cross or end here, a share an entry."""

    def __init__(self) -> None:
        self._table: dict[HopKey, HopState] = {}
        self._by_expiry: dict[HopKey, HopState] = {}
        """Those of others, in the order in which they were refreshed: no walk over all."""
        self._ending: dict[str, dict[HopKey, HopState]] = {}
        """Those that end here, by origin."""

    def __len__(self) -> int:
        return len(self._table)

    def __iter__(self) -> Iterator[HopState]:
        return iter(self._table.values())

    def __contains__(self, key: HopKey) -> bool:
        return key in self._table

    def get(self, session: SessionId, share: int) -> HopState | None:
        """Return what is kept of a share."""
        return self._table.get((session, share))

    def add(self, state: HopState) -> None:
        """Keep a share."""
        self._table[state.key] = state
        if state.hop:
            self.refreshed(state, state.expires)
        if not state.after:
            self._ending.setdefault(state.session.origin, {})[state.key] = state

    def refreshed(self, state: HopState, expires: float) -> None:
        """Let a share stand until then; never earlier than one that was refreshed before."""
        state.expires = expires
        self._by_expiry.pop(state.key, None)
        self._by_expiry[state.key] = state

    def expired(self, now: float) -> Iterator[HopState]:
        """Return, one by one, what was not refreshed in time; the caller removes it."""
        while self._by_expiry:
            state = next(iter(self._by_expiry.values()))
            if state.expires >= now:
                return
            del self._by_expiry[state.key]
            yield state

    def remove(self, key: HopKey) -> bool:
        """Forget a share; whether there was one."""
        state = self._table.pop(key, None)
        self._by_expiry.pop(key, None)
        if state and not state.after:
            ending = self._ending[state.session.origin]
            del ending[key]
            if not ending:
                del self._ending[state.session.origin]
        return state is not None

    def ends_here(self, origin: str) -> bool:
        """Whether a session from that KMS ends here."""
        return origin in self._ending

    def end_here_together(self, origin: str) -> bool:
        """Whether all shares from that KMS that end here came by nodes that take `Refresh`."""
        return all(state.together for state in self._ending.get(origin, {}).values())

    def in_transit(self) -> int:
        """Count the sessions that lead over this node, and on."""
        return len({state.session for state in self if state.before and state.after})


def well_formed(ask: SetUp) -> bool:
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


def begins(one: str, other: str) -> bool:
    """Whether, of two ends whose SAEs both ask, the first begins the session: a digest of both.

    Each node begins about half of its sessions, whatever its name: shares of links go by origin.
    """
    lower, higher = sorted((one, other))
    digest = hashlib.sha256(f"{lower}\n{higher}".encode()).digest()
    return (digest[0] & 1 == 0) == (one == lower)


def blame(path: Path, hop: int, code: str, node: str) -> tuple[str, str]:
    """Return code and culprit as the node at `hop` may believe it, who was told by the next one.

    Nobody is blamed but a node that is further on.
    """
    return code if code in CODES else "no_route", node if node in path[hop + 1 :] else path[hop + 1]
