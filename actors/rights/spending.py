"""How much of what SAEs may have they have had: one bucket for each limit in use; no actor."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import NamedTuple

from actors.rights.right import Limit
from actors.runtime.bucket import Bucket, micros

SCOPES_MAX = 1 << 16
"""Limits in use at a time; past it the one that was not used for longest begins anew."""


class Charge(NamedTuple):
    """What was taken for one request, and where: it is given back there, whatever rows say then."""

    buckets: tuple[Bucket, ...]
    bits: int


NOTHING = Charge((), 0)


class Spending:
    """Asked before bits are given, told when they are; times are seconds."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[tuple[str, ...], Bucket] = OrderedDict()

    def wait(
        self, limits: Iterable[Limit], bits: int, now: float, ahead: int = 0
    ) -> tuple[float, Limit | None]:
        """Return in how many seconds all of them let so many bits pass, and which is the last.

        `ahead` are bits that pass before, and are not taken yet.
        """
        longest, found = 0, None
        for limit in limits:
            micro = self._there(limit, now).wait(bits, micros(now), ahead)
            if micro > longest:
                longest, found = micro, limit
        return longest / micros(1.0), found

    def bits(self, limits: Iterable[Limit], least: int, now: float) -> int | None:
        """Return how many bits all of them would let pass now; None: there is no limit.

        So many as `least`, if they let that pass though it is more than they hold.
        """
        limits = tuple(limits)
        if not limits:
            return None
        there = min(self._there(limit, now).bits(micros(now)) for limit in limits)
        passes = not self.wait(limits, least, now)[0]
        return max(there, least) if passes else 0

    def take(self, limits: Iterable[Limit], bits: int, now: float) -> Charge:
        """So many bits are given."""
        buckets = tuple(self._bucket(limit, now) for limit in limits)
        for bucket in buckets:
            bucket.take(bits, micros(now))
        return Charge(buckets, bits)

    def give_back(self, charge: Charge, now: float) -> None:
        """They were not given after all."""
        for bucket in charge.buckets:
            bucket.give_back(charge.bits, micros(now))

    def _there(self, limit: Limit, now: float) -> Bucket:
        """Return the bucket of a limit, to look into it: a full one if nothing was taken of it.

        The row may have another rate by now.
        """
        bucket = self._buckets.get(limit.scope)
        if bucket is None:
            return Bucket(limit.rate, micros(now))
        if bucket.rate != limit.rate:
            bucket.change(limit.rate, micros(now))
        return bucket

    def _bucket(self, limit: Limit, now: float) -> Bucket:
        bucket = self._buckets[limit.scope] = self._there(limit, now)
        self._buckets.move_to_end(limit.scope)
        if len(self._buckets) > SCOPES_MAX:
            self._buckets.popitem(last=False)
        return bucket
