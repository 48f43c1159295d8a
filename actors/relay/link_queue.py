"""The one queue of a link: whose chunk is next, and how much may wait here in clear (R13).

No actor, no clock, no I/O; sizes are octets. Origins take turns, each may send as much, whatever
number of sessions it has; among the shares of an origin turns go by weight. So a weight counts
among the sessions of its origin alone, and nobody gets more of a link by weighing more. Turns are
small, and few pads are asked for ahead: what waits long for its turn would be made ever smaller
by its origin, and a share of the link would be one on paper alone.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from actors.protocol.relay import SessionId

ShareKey = tuple[SessionId, int]
"""A session, and the number of one of its shares."""

TURN = 4_400
"""Octets of a turn: four of the smallest chunks."""
PADS_AHEAD = TURN
"""Octets of pads that a link waits for: one pad, or more as long as they are fewer than that."""
CLEAR_MAX = 32 << 20
"""Octets in clear that a relay holds, and the part of them that are of one origin at most."""
CLEAR_PARTS = 4


class Waiting(Protocol):
    """What the queue asks of the chunks of one share."""

    deficit: int
    """Octets that it may still send in this round."""

    @property
    def key(self) -> ShareKey:
        """How it is found."""
        ...

    @property
    def weight(self) -> int:
        """Its weight among those of its origin."""
        ...

    @property
    def ready(self) -> bool:
        """Whether a chunk of it may be sealed now."""
        ...

    @property
    def next_octets(self) -> int:
        """Of its next chunk; 0: there is none."""
        ...


W = TypeVar("W", bound=Waiting)


@dataclass(slots=True)
class _Origin(Generic[W]):
    """The shares of an origin that have something to send, in the order of their turns."""

    shares: dict[ShareKey, W] = field(default_factory=dict)
    deficit: int = 0

    def next(self) -> W | None:
        """Return the share whose turn it is, by weights; None if none is ready."""
        while self.shares:
            key, share = next(iter(self.shares.items()))
            if not share.ready:
                del self.shares[key]
                share.deficit = share.deficit if share.next_octets else 0
            elif share.deficit >= share.next_octets:
                return share
            else:
                share.deficit += TURN * share.weight
                del self.shares[key]  # to the end of the round
                self.shares[key] = share
        return None


class LinkQueue(Generic[W]):
    """Deficit round robin over origins, and within each over its shares."""

    def __init__(self) -> None:
        self._origins: dict[str, _Origin[W]] = {}
        """Those that have something to send, in the order of their turns."""

    def join(self, share: W) -> None:
        """Something has changed for a share: it takes part if it has something to send."""
        if share.ready:
            session, _ = share.key
            origin = self._origins.setdefault(session.origin, _Origin())
            origin.shares.setdefault(share.key, share)

    def leave(self, key: ShareKey) -> None:
        """A share is no more."""
        session, _ = key
        if origin := self._origins.get(session.origin):
            origin.shares.pop(key, None)

    def next(self) -> W | None:
        """Return the share whose next chunk is to be sent now, its cost paid; None if none is.

        What an origin, or a share, does not use of its turn counts in the next round, as long as
        it has something to send.
        """
        while self._origins:
            name, origin = next(iter(self._origins.items()))
            share = origin.next()
            if share is None:
                del self._origins[name]
            elif origin.deficit >= share.next_octets:
                origin.deficit -= share.next_octets
                share.deficit -= share.next_octets
                return share
            else:
                origin.deficit += TURN
                del self._origins[name]  # to the end of the round
                self._origins[name] = origin
        return None


class PadsAsked:
    """Octets of pads that a link waits for: the store is asked in the order of turns, not ahead."""

    def __init__(self) -> None:
        self._octets: dict[int, int] = {}
        """By our number for the pad."""
        self._total = 0

    @property
    def waits_for(self) -> int:
        """Octets that have not come yet."""
        return self._total

    @property
    def room(self) -> bool:
        """Whether one more may be asked for."""
        return self._total < PADS_AHEAD

    def ask(self, pad: int, octets: int) -> None:
        """One is asked for."""
        self._octets[pad] = octets
        self._total += octets

    def done(self, pad: int) -> None:
        """It has come, or is of no use any more; harmless when it is none of these."""
        self._total -= self._octets.pop(pad, 0)


class ClearOctets:
    """How many octets wait here in clear, in all and of each origin."""

    def __init__(self) -> None:
        self._of_share: dict[ShareKey, int] = {}
        self._of_origin = Counter[str]()
        self.total = 0

    def fits(self, origin: str, octets: int) -> bool:
        """Whether there is room for so many more of an origin."""
        of_origin = self._of_origin.get(origin, 0)
        least = of_origin + octets <= CLEAR_MAX // CLEAR_PARTS
        return least and self.total + octets <= CLEAR_MAX

    def count(self, key: ShareKey, octets: int) -> None:
        """A share has so many octets here now."""
        session, _ = key
        more = octets - self._of_share.pop(key, 0)
        if octets:
            self._of_share[key] = octets
        self.total += more
        self._of_origin[session.origin] += more
        if not self._of_origin[session.origin]:
            del self._of_origin[session.origin]  # names of origins come and go
