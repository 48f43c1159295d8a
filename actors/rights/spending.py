"""How much of what SAEs may have they have had: one bucket for each limit in use; no actor."""

from collections import OrderedDict
from collections.abc import Iterable

from actors.rights.right import Limit
from actors.runtime.bucket import Bucket, micros

SCOPES_MAX = 1 << 16
"""Limits in use at a time; past it the one that was not used for longest begins anew."""


class Spending:
    """Asked before bits are given, told when they are; times are seconds."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[tuple[str, ...], Bucket] = OrderedDict()

    def wait(self, limits: Iterable[Limit], bits: int, now: float) -> tuple[float, Limit | None]:
        """Return in how many seconds all of them let so many bits pass, and which is the last."""
        longest, found = 0, None
        for limit in limits:
            bucket = self._buckets.get(limit.scope)
            if bucket is None or bucket.rate != limit.rate:
                continue  # as good as full
            micro = bucket.wait(bits, micros(now))
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
        there = min(self._bucket(limit, now).bits(micros(now)) for limit in limits)
        passes = not self.wait(limits, least, now)[0]
        return max(there, least) if passes else 0

    def take(self, limits: Iterable[Limit], bits: int, now: float) -> None:
        """So many bits are given."""
        for limit in limits:
            self._bucket(limit, now).take(bits, micros(now))

    def give_back(self, limits: Iterable[Limit], bits: int, now: float) -> None:
        """They were not given after all."""
        for limit in limits:
            self._bucket(limit, now).give_back(bits, micros(now))

    def _bucket(self, limit: Limit, now: float) -> Bucket:
        bucket = self._buckets.get(limit.scope)
        if bucket is None or bucket.rate != limit.rate:
            bucket = self._buckets[limit.scope] = Bucket(limit.rate, micros(now))
            if len(self._buckets) > SCOPES_MAX:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(limit.scope)
        return bucket
