"""The end of a run: the faults stop, and all must be well."""

from typing import TYPE_CHECKING, Any

from actors.protocol import keys
from protokms.testing.sim.front import refused
from protokms.testing.sim.operation import Operation
from protokms.testing.sim.promise import BrokenPromise

if TYPE_CHECKING:
    from protokms.testing.sim.world import World

CALM_S = 22.0
STILL_S = 14.0
_FAR_TRIES = 40
_LOOKS, _LOOK_AGAIN_S = 5, 0.3
"""A relay's segment that closes at this very moment is gone at one end and not at the other."""
_DRINKS, _SMALL = 150, 8 << 20


class Calm:
    """Looks at a world after its storm; every step raises `BrokenPromise` if it is not well."""

    def __init__(self, world: "World") -> None:
        self._world = world

    def rest(self) -> None:
        """Let the faults stop, then the links, and see what is left open."""
        self._world.workload.stopped = True
        self._world.mischief.heal()
        self._world.until(self._world.cluster.now + CALM_S)
        for fibre in self._world.fibres.values():
            fibre.still = True
        self._world.until(self._world.cluster.now + STILL_S)
        for one, other in self._world.plan.links:
            if (one, other) not in self._world.checker.octets.betrayed:
                self._at_rest(one, other)
        for node in self._world.plan.names:
            self._world.checker.ledgers.bounded(node)
        self._no_alarms()
        self._fetch_all()

    def _at_rest(self, one: str, other: str) -> None:
        """LIVE: nothing is open; where relay goes on, at one of several moments."""
        for left in reversed(range(_LOOKS if self._world.plan.far else 1)):
            try:
                self._world.checker.ledgers.rest(one, other)
            except BrokenPromise as broken:
                if broken.promise != "LIVE" or not left:
                    raise
                self._world.until(self._world.cluster.now + _LOOK_AGAIN_S)
            else:
                return

    def _no_alarms(self) -> None:
        """P9: nobody raises an alarm in a network where nothing was rolled back and none lies."""
        excused = {"restore", "betray"} & {fault.kind for fault in self._world.plan.faults}
        alarms = {
            node: self._world.cluster.count(node, "protokms_alarms")
            for node in self._world.plan.names
        }
        if any(alarms.values()) and not excused:
            raise BrokenPromise("P9", f"false alarms: {alarms}")

    def _fetch_all(self) -> None:
        """P3: whatever is due is still there."""
        deliveries, now = self._world.checker.deliveries, self._world.cluster.now
        due = [it for it in deliveries.places() if deliveries.must(*it, now)]
        for name, slave in due:
            told = deliveries.told[name.grant]
            ask = keys.GetKeyWithIds(master=told.ask.master, slave=slave, names=(name,))
            self._insist(self._world.plan.saes[slave], told.issuer, ask, keys.KeysWithIds)

    def lives_on(self) -> None:
        """LIVE: fresh bits still become keys, in both directions."""
        for fibre in self._world.fibres.values():
            fibre.still = False
        self._world.until(self._world.cluster.now + 4.0)
        at = {node: sae for sae, node in self._world.plan.saes.items()}
        for one, other in self._world.plan.links:
            if (one, other) in self._world.checker.octets.betrayed:
                continue
            for node, peer in ((one, other), (other, one)):
                ask = keys.GetKey(master=at[node], slaves=(at[peer],), number=1, size=32)
                self._insist(node, peer, ask, keys.Keys)
        plan = self._world.plan
        quiet = not plan.far and not self._world.checker.octets.betrayed
        if (
            quiet
            and plan.store["max_bits"] < _SMALL
            and self._world.terms().pair_octets > _SMALL // 64
        ):
            self._thirst()
        for node, peer in self._world.plan.distant if self._world.plan.far else ():
            ask = keys.GetKey(master=at[node], slaves=(at[peer],), number=1, size=32)
            self._insist(node, peer, ask, keys.Keys, tries=_FAR_TRIES)

    def _thirst(self) -> None:
        """LIVE: a store that was full and is used up fills again."""
        at = {node: sae for sae, node in self._world.plan.saes.items()}
        for node, peer in self._world.plan.links:
            ask = keys.GetKey(master=at[node], slaves=(at[peer],), number=16, size=64)
            for _ in range(_DRINKS):
                told: list[Operation] = []
                self._world.fronts.ask(node, peer, ask, told.append, area=(node, peer))
                self._world.cluster.agenda.advance(10.0, until=lambda told=told: bool(told))  # type: ignore[misc]
                if refused(told[0]):
                    break
        self._world.until(self._world.cluster.now + 20.0)
        for node, peer in self._world.plan.links:
            small = keys.GetKey(master=at[node], slaves=(at[peer],), number=1, size=32)
            self._insist(node, peer, small, keys.Keys)

    def _insist(self, node: str, peer: str, ask: Any, wanted: type[Any], *, tries: int = 1) -> None:
        told: list[Operation] = []
        area = tuple(self._world.plan.names) if tries > 1 else ()
        for _ in range(tries):
            told.clear()
            op = self._world.fronts.ask(node, peer, ask, told.append, area=area)
            self._world.cluster.agenda.advance(10.0, until=lambda: bool(told))
            if op and isinstance(op.answer, wanted):
                return
            if op and refused(op) == "too_many_undelivered":
                return  # the checker has agreed to that
            if tries > 1:
                self._world.fronts.ensure(node, peer, ask.master)
                self._world.until(self._world.cluster.now + 1.0)
        raise BrokenPromise("LIVE", f"{ask} at {node}, after all: {op and op.answer}")
