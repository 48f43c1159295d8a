"""How much two nodes may have in store, and how much may lie undelivered: what a status may say."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from actors.protocol import grants, keys
from actors.protocol.keys import KeyName
from protokms.testing.sim.checker import refusals
from protokms.testing.sim.checker.deliveries import Deliveries
from protokms.testing.sim.checker.octets import total
from protokms.testing.sim.checker.operation import Operation
from protokms.testing.sim.checker.overheard import Overheard
from protokms.testing.sim.checker.promise import BrokenPromise
from protokms.testing.sim.checker.trouble import Troubles

_DOWN_S = 4.0
_LITTLE = 24 << 10
_STALE_S = 4.0
"""How old what one end knows of the other may be."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What the network under test is set to."""

    mode: str
    home: dict[str, str]
    ttl_s: float = 3600.0
    redelivery_s: float = 30.0
    erase_s: float = 10.0
    pair_octets: int = 1 << 20
    sae_octets: int = 2 << 20
    earlier_octets: int = 0
    """So many more may lie there of earlier starts of the issuer (R9)."""
    slice_s: dict[str, float] = field(default_factory=dict)
    """Seconds that a node takes for a slice, of one row at least, after a start."""

    def waiting_most(self, mode: str) -> int:
        """Octets of a pair that may wait to be fetched; each `local` grant counts, of any start.

        `mode`: of the pair's store; `own` where both SAEs are of one node.
        """
        return self.pair_octets + (0 if mode == "local" else self.earlier_octets)


class Stocks:
    """Bounds from what was overheard and delivered; they hold whatever got lost."""

    def __init__(
        self,
        terms: Terms,
        overheard: Overheard,
        deliveries: Deliveries,
        troubles: Troubles,
        now: Callable[[], float],
    ) -> None:
        self._terms, self._overheard = terms, overheard
        self._deliveries, self._troubles, self._now = deliveries, troubles, now
        self._open: dict[int, Operation] = {}
        """Requests for keys with no answer yet: what they are to get counts for limits already."""

    def invoked(self, op: Operation) -> None:
        """A request goes in."""
        if isinstance(op.ask, keys.GetKey | keys.GetMulticast):
            self._open[op.number] = op

    def over(self, op: Operation) -> None:
        """It has its answer, or will have none."""
        self._open.pop(op.number, None)

    def free(self, one: str, other: str) -> int:
        """Octets that two nodes may still have for use: an upper bound."""
        pair = (one, other) if one < other else (other, one)
        free: Counter[tuple[int, int]] = Counter()
        for place, octets in self._overheard.segments.items():
            if place.pair == pair:
                free[place.number, place.random] += len(octets) - self._overheard.octets.used(place)
        return max(free.values(), default=0)

    def short(self, op: Operation) -> bool:
        """Whether the two may well have no bits left."""
        return op.far or (op.node != op.peer and self.free(op.node, op.peer) < _LITTLE)

    def full(self, op: Operation) -> bool:
        """Whether so much may lie undelivered that a limit is reached."""
        ask = op.ask
        if not isinstance(ask, keys.GetKey | keys.GetMulticast):
            return False
        # An acknowledgement that got lost: the owner counts a local grant twice, until it hears.
        unsure = self._terms.mode == "local" and self._troubles.any(
            refusals.ANYTHING, op.nodes, op.at, op.end, 2 * _STALE_S
        )
        times = 2 if unsure else 1
        pairs: dict[str, int] = dict.fromkeys(ask.slaves, ask.number * ask.size)
        saes = dict(pairs)
        for other in self._open.values():
            assert isinstance(other.ask, keys.GetKey | keys.GetMulticast)
            for slave in pairs.keys() & other.ask.slaves:
                octets = other.ask.number * other.ask.size
                saes[slave] += octets
                pairs[slave] += octets if other.ask.master == ask.master else 0
        for grant in self._overheard.grants.values():
            for slave in grant.slaves:
                if slave in pairs:
                    left = self._left(grant, slave) * times
                    saes[slave] += left
                    pairs[slave] += left if grant.master == ask.master else 0
        pair, sae = self._terms.pair_octets, self._terms.sae_octets
        return any(n > pair for n in pairs.values()) or any(n > sae for n in saes.values())

    def _left(self, grant: grants.Grant, slave: str) -> int:
        delivered = self._deliveries.delivered
        before = self._now() - _STALE_S
        keys_ = (KeyName(grant.id, index) for index in range(grant.number))
        had = sum(delivered.get(key, {}).get(slave, before) < before for key in keys_)
        return total(grant) - had * grant.size

    def judge(self, op: Operation, stock: keys.Stock) -> None:
        """P9: a status tells no more than there is, and nothing of a peer long dead."""
        assert isinstance(op.ask, keys.GetStatus)
        if op.node == op.peer:
            return
        if stock.stored * op.ask.size > self.free(op.node, op.peer):
            raise BrokenPromise("P9", f"status at {op.node}: {stock}, which there is not")
        dead = self._troubles.dead_for(op.peer, op.end) > _DOWN_S
        if (
            stock.stored
            and dead
            and not self._troubles.any(("pause", "start"), (op.node,), op.at - _DOWN_S, op.end, 1.0)
        ):
            raise BrokenPromise("P9", f"status at {op.node}: {stock}, and {op.peer} is dead")
        if not 0 <= stock.stored <= max(stock.capacity, 0):
            raise BrokenPromise("P9", f"status at {op.node}: {stock}")
