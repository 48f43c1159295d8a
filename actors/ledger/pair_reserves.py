"""What each pair of SAEs may take of the bits for SAEs here, beside the others that ask (R13).

Each pair that has asked within `ACTIVE_S` has a reserve of `RESERVE_OCTETS` that no other pair
takes. Where there is not so much, as on a slow link, a pair may take as long as it has had no more
than its equal part: of what all have taken lately and of what is there. So one pair that takes
all it gets cannot bring the others to nothing, and an idle pair keeps nothing from anybody.

A pair with a *claim* of some bit/s has more: what came for it in the last `DEPTH_S` seconds, and it
did not take, is kept for it beside all that, whether it asks or not. So what it asks for at that
rate is there as long as as much comes in, however much others take. Past its claim it is a pair
like others.

No actor, no clock, no I/O; sizes are octets.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from actors.runtime.bucket import Bucket, micros

ACTIVE_S = 10.0
"""What was taken counts half after so many seconds, too."""
RESERVE_OCTETS = 4096
"""128 keys of 256 bits."""
PAIRS_MAX = 4096
"""Pairs that are remembered; the one that has not asked for longest is forgotten first."""

Pair = tuple[str, str]
"""Master SAE and (first) slave SAE."""


@dataclass(slots=True)
class _Taken:
    """Octets taken, as they count at the time `at`."""

    octets: float = 0.0
    at: float = 0.0

    def by(self, now: float) -> float:
        """Return what still counts."""
        if now > self.at:
            self.octets *= 0.5 ** ((now - self.at) / ACTIVE_S)
            self.at = now
        return self.octets


class Claim(NamedTuple):
    """So many bit/s are kept for all pairs that have the claim of this name."""

    name: str
    rate: int


@dataclass(slots=True)
class Aside:
    """Octets set aside for one request, as they count; and the bits that its claim gave of them."""

    taken: _Taken
    of_pair: _Taken
    kept: Bucket | None = None
    bits: int = 0


class PairReserves:
    """Which pairs have asked lately, and what is kept for whom.

    `most` are the octets that all reserves may come to, and that all claims may.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._asked: OrderedDict[Pair, float] = OrderedDict()
        self._taken: dict[Pair, _Taken] = {}
        self._all = _Taken()
        self._claims: Mapping[Pair, Claim] = {}
        self._kept: dict[Claim, Bucket] = {}

    def claim(self, claims: Mapping[Pair, Claim], now: float) -> None:
        """Keep so much for these pairs, and for no others."""
        self._claims = claims
        self._kept = {
            claim: self._kept.get(claim) or Bucket(claim.rate, micros(now))
            for claim in claims.values()
        }

    def _claimed(self, pair: Pair, now: float) -> tuple[int, int]:
        """Return the octets kept for a pair by its claim, and those by the claims of others."""
        if not self._kept:
            return 0, 0
        at, mine = micros(now), self._claims.get(pair)
        own = self._kept[mine].bits(at) // 8 if mine else 0
        others = sum(it.bits(at) for claim, it in self._kept.items() if claim != mine) // 8
        return own, min(others, self._most)

    def note(self, pair: Pair, now: float) -> None:
        """A pair asks for keys."""
        self._asked[pair] = now
        self._asked.move_to_end(pair)
        self._taken.setdefault(pair, _Taken(at=now))
        if len(self._asked) > PAIRS_MAX:
            self._forget_oldest(now)

    def take(self, pair: Pair, octets: int, now: float) -> Aside:
        """Octets are set aside for a pair that has asked."""
        of_pair = self._taken[pair]
        of_pair.octets = of_pair.by(now) + octets
        self._all.octets = self._all.by(now) + octets
        made = Aside(_Taken(octets, now), of_pair)
        if claim := self._claims.get(pair):
            made.kept = self._kept[claim]
            made.bits = made.kept.take_up_to(8 * octets, micros(now))
        return made

    def give_back(self, pair: Pair, aside: Aside, now: float) -> None:
        """None of these octets was given to the pair for which they were set aside."""
        octets = aside.taken.by(now)
        if self._taken.get(pair) is aside.of_pair:  # else they count no more
            aside.of_pair.octets = max(0.0, aside.of_pair.by(now) - octets)
            self._all.octets = max(0.0, self._all.by(now) - octets)
        if aside.kept:
            aside.kept.give_back(aside.bits, micros(now))

    def may_take(self, pair: Pair, there: int, now: float) -> int:
        """Return how many of the octets that are `there` for SAEs here this pair may take."""
        while self._asked and now - next(iter(self._asked.values())) >= ACTIVE_S:
            self._forget_oldest(now)
        own, claimed = self._claimed(pair, now)
        all_there, there = there, max(0, there - claimed)
        others = len(self._asked) - (pair in self._asked)
        kept = min(others * RESERVE_OCTETS, self._most)
        had = self._taken[pair].by(now) if pair in self._taken else 0.0
        part = (self._all.by(now) + there) / (others + 1) - had
        return max(min(all_there, own), min(there, max(there - kept, int(part), 0)))

    def _forget_oldest(self, now: float) -> None:
        pair, _ = self._asked.popitem(last=False)
        gone = self._taken.pop(pair).by(now)
        self._all.octets = max(0.0, self._all.by(now) - gone)
