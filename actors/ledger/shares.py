"""Shares of a link's bits: SAEs here, and each session that crosses, by weights (R13).

No actor, no clock, no I/O; sizes are octets. Start-time fair queueing: every request gets a start
tag (its class's virtual finish, or the virtual time now), the smallest tag is next, and what
comes in is kept for it until it suffices. So no class takes what another has waited for, and
nothing dead-locks on parts of requests that nobody can complete. SAEs here do not queue: they
have an account, filled up to a floor at a share of what is taken, and refused beyond it.
"""

import heapq
import math
from dataclasses import dataclass
from typing import NamedTuple

CLASSES_MAX = 256
WAITING_MAX = 64
"""Requests of one class that wait."""
QUANTUM = 512
"""Octets by which the account of SAEs here is filled at a time."""
FLOOR_S = 20.0
"""SAEs here have a floor of what comes in in so many seconds,"""
FLOOR_KEPT_S = 600.0
"""and on a slow link only as long after they last asked: there others need every bit,"""
FLOOR_LEAST, FLOOR_LEAST_S = 256, 1.0
"""but for what comes in in so many seconds, or so many octets, enough for a first request."""
LOCAL_PARTS, PREFILL_PARTS = 1, 3
"""While that account is below its floor, prefill gets at most this share of what comes in."""


class Request(NamedTuple):
    """`octets` that `name` waits for; ordered by tag, then by age."""

    tag: float
    number: int
    id: int
    name: str
    octets: int


@dataclass(slots=True)
class _Class:
    weight: int
    finish: float
    waiting: int = 0


class Shares:
    """Who is next, and what SAEs here may take; `stock` is all that this end may still allocate."""

    def __init__(self, floor: int) -> None:
        self.floor_most = self.floor = floor
        """Octets kept for SAEs here: at most, and now."""
        self._for_first = False
        """Whether that is for a first request alone."""
        self._asked_at = -math.inf
        self.account = 0
        """Octets kept for SAEs here though they do not ask."""
        self.reserved = 0
        """Octets of requests of SAEs here that were accepted and have no bits yet."""
        self.backlog = 0
        """Octets that others wait for."""
        self.wanted = 0
        """Octets claimed by others who ask once they are there."""
        self.refill_target = 0
        """What an SAE here was refused: the account is filled so far, whatever the floor."""
        self._now = self._local = 0.0
        self._number, self._idle = 0, True
        self._classes: dict[str, _Class] = {}
        self._heap: list[Request] = []
        self._open: dict[int, Request] = {}

    def __contains__(self, id_: int) -> bool:
        return id_ in self._open

    def __len__(self) -> int:
        return len(self._open)

    # SAEs here

    def asked(self, now: float) -> None:
        """An SAE here wants keys, whether or not there are any."""
        self._asked_at = now

    def follow(self, rate: float, now: float) -> None:
        """Set the floor by what comes in, octets a second; 0: not known."""
        most = self.floor_most
        floor = min(most, int(rate * FLOOR_S)) if rate > 0 else most
        idle = now - self._asked_at >= FLOOR_KEPT_S
        slow = rate <= 0 or floor < most
        least = max(FLOOR_LEAST, int(rate * FLOOR_LEAST_S))
        self._for_first = idle and slow
        self.floor = min(floor, least) if self._for_first else floor

    def for_local(self, stock: int) -> int:
        """Octets that SAEs here may take now: their account, and what nobody claims."""
        free = self._free(stock)
        return self.account + free - min(free, self.backlog + self.wanted)

    def reserve(self, octets: int, stock: int) -> None:
        """Accept a request of an SAE here; the caller has checked `for_local`."""
        free = self._free(stock)
        unclaimed = free - min(free, self.backlog + self.wanted)
        self.account -= max(0, octets - unclaimed)
        self.reserved += octets

    def came(self, octets: int, stock: int) -> None:
        """While others claim bits, SAEs here get their part of what comes in, up to the floor.

        As long as they do not ask, only of what is beyond the claims.
        """
        if not self.wanted:
            return
        free, most = self._free(stock), max(self.floor, self.refill_target)
        part = octets * LOCAL_PARTS // (LOCAL_PARTS + PREFILL_PARTS)
        if self._for_first and most <= self.floor:
            part = min(part, max(0, free - self.backlog - self.wanted))
        self.account += max(0, min(part, free, most - self.account))

    def room(self, stock: int) -> int:
        """Octets that others may take now: beside claims, what `next` would leave for them."""
        free, most = self._free(stock), max(self.floor, self.refill_target)
        if self.wanted:
            return free
        mine = min(most, (free + self.account) * LOCAL_PARTS // (LOCAL_PARTS + PREFILL_PARTS))
        return free - max(0, mine - self.account)

    def release(self, octets: int) -> None:
        """A reservation is over: its bits were taken just now, or it was given up."""
        self.reserved -= octets

    # Others

    def ask(self, id_: int, name: str, octets: int, weight: int) -> bool:
        """Queue a request of a class; false if there are too many, of it or of classes."""
        known = self._classes.get(name)
        if known is None:
            if len(self._classes) >= CLASSES_MAX:
                self._forget_idle()
            if len(self._classes) >= CLASSES_MAX:
                return False
            known = self._classes[name] = _Class(weight, self._now)
        if known.waiting >= WAITING_MAX:
            return False
        known.weight = weight
        tag = max(self._now, known.finish)
        known.finish = tag + octets / weight
        known.waiting += 1
        self._number += 1
        made = self._open[id_] = Request(tag, self._number, id_, name, octets)
        self.backlog += octets
        heapq.heappush(self._heap, made)
        return True

    def cancel(self, id_: int) -> None:
        """Drop a request, at no cost to its class; harmless when there is none."""
        made = self._open.pop(id_, None)
        if made is None:
            return
        of = self._over(made)
        of.finish -= made.octets / of.weight
        if len(self._heap) > 2 * len(self._open) + WAITING_MAX:  # most are of requests long gone
            self._heap = list(self._open.values())
            heapq.heapify(self._heap)

    def head(self) -> Request | None:
        """Whoever is next of those that queue."""
        while self._heap and self._open.get(self._heap[0].id) is not self._heap[0]:
            heapq.heappop(self._heap)
        return self._heap[0] if self._heap else None

    def next(self, stock: int, usable: int) -> Request | None:
        """Take out the request that is to be served now, out of `usable` octets; None if none."""
        head = self.head()
        if head is None:
            self._rest()
            return None
        if self._idle and not self.wanted:
            self._idle = False
            mine = (stock - self.reserved) * LOCAL_PARTS // (LOCAL_PARTS + PREFILL_PARTS)
            self.account = max(self.account, mine)
        free = self._free(stock)
        while self._local_first(head) and free > 0:
            free -= self._credit(min(free, QUANTUM))
        if self._local_first(head) or head.octets > free or head.octets > usable - self.reserved:
            return None
        heapq.heappop(self._heap)
        del self._open[head.id]
        self._over(head)
        self._now = head.tag
        return head

    def _free(self, stock: int) -> int:
        """Octets in nobody's account; what has gone meanwhile is gone from the account."""
        target = max(self.floor, self.refill_target)
        self.account = max(0, min(self.account, target, stock - self.reserved))
        return max(0, stock - self.reserved - self.account)

    def _local_first(self, head: Request) -> bool:
        below = self.account < max(self.floor, self.refill_target)
        return below and not self.wanted and max(self._now, self._local) <= head.tag

    def _credit(self, octets: int) -> int:
        """Fill the account; its weight is a fixed part of the weights of all that wait."""
        octets = min(octets, max(self.floor, self.refill_target) - self.account)
        self.account += octets
        others = sum(it.weight for it in self._classes.values() if it.waiting)
        weight = others * LOCAL_PARTS / PREFILL_PARTS
        self._now = max(self._now, self._local)
        self._local = self._now + octets / weight
        return octets

    def _rest(self) -> None:
        """Nobody waits: when somebody does again, a share of what is there is for SAEs here."""
        self._idle = True
        self._now = max([self._now, *(it.finish for it in self._classes.values())])
        self._classes.clear()

    def _over(self, made: Request) -> _Class:
        self.backlog -= made.octets
        of = self._classes[made.name]
        of.waiting -= 1
        return of

    def _forget_idle(self) -> None:
        for name in [name for name, it in self._classes.items() if not it.waiting]:
            del self._classes[name]
