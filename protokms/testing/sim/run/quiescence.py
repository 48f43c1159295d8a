"""The end of a run: the faults stop, and all must be well."""

from typing import TYPE_CHECKING, Any

from actors.protocol import keys
from protokms.testing.sim.checker.operation import Operation
from protokms.testing.sim.checker.promise import BrokenPromise
from protokms.testing.sim.faults.fault import Fault
from protokms.testing.sim.run.calm import Calm
from protokms.testing.sim.run.front import refused

if TYPE_CHECKING:
    from protokms.testing.sim.run.world import World

QUIESCENCE_S = 22.0
STILL_S = 14.0
_FAR_TRIES = 40
_LOOKS, _LOOK_AGAIN_S = 5, 0.3
"""A relay's segment that closes at this very moment is gone at one end and not at the other."""
_PAD_LOOKS, _PAD_LOOK_S = 12, 1.1
"""As many looks after the first, each after another tick of the store that tells."""
_DRINKS, _SMALL = 150, 8 << 20
_PROMPT_S = 0.25
_TOLD_S = 1.0
"""Where nothing is in the way an answer comes in less than a tick of anything."""
_MISSED_S, _DEAD_S, _BACK_S = 5.0, 12.0, 10.0
"""After how long a death is looked for, how long it lasts, and how long the node has afterwards."""


class Quiescence:
    """Looks at a world after its storm; every step raises `BrokenPromise` if it is not well."""

    def __init__(self, world: "World") -> None:
        self._world = world

    def rest(self) -> None:
        """Let the faults stop, then the links, and see what is left open."""
        self._world.workload.stopped = True
        self._world.impairments.heal()
        self._world.until(self._world.cluster.now + QUIESCENCE_S)
        for fibre in self._world.fibres.values():
            fibre.still = True
        self._world.until(self._world.cluster.now + STILL_S)
        for one, other in self._world.plan.links:
            if (one, other) not in self._world.checker.octets.betrayed:
                self._at_rest(one, other)
        self._pads_done()
        if self._may_be_calm:
            self._calm().look()
        for node in self._world.plan.names:
            self._world.checker.ledgers.bounded(node)
        self._no_alarms()
        self._fetch_all()

    def _calm(self) -> Calm:
        liars = {fault.where[0] for fault in self._world.plan.faults if fault.kind == "lie"}
        return Calm(self._world.cluster, self._world.until, liars)

    def _at_rest(self, one: str, other: str) -> None:
        """LIVE: nothing is open; where relay goes on, at one of several moments."""
        for left in reversed(range(_LOOKS if self._world.plan.far else 1)):
            try:
                self._world.checker.rest(one, other)
            except BrokenPromise as broken:
                if broken.promise != "LIVE" or not left:
                    raise
                self._world.until(self._world.cluster.now + _LOOK_AGAIN_S)
            else:
                return

    def _pads_done(self) -> None:
        """LIVE: relays are done with the pads they had; where they go on, at some moment each."""
        out = self._pads_out()
        for _ in range(_PAD_LOOKS):
            if not out:
                return
            self._world.until(self._world.cluster.now + _PAD_LOOK_S)
            out &= self._pads_out()
        if out:
            raise BrokenPromise("LIVE", f"pads are out at all times: {sorted(out)}")

    def _pads_out(self) -> set[tuple[str, str]]:
        """Ends of links whose relay has a pad that it is not done with."""
        links = self._world.plan.links
        count = self._world.cluster.count
        return {
            (node, peer)
            for node, peer in (*links, *((other, one) for one, other in links))
            if count(node, "protokms_pads_out", peer=peer)
        }

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
        """LIVE: fresh bits still become keys, in both directions, and every slave gets them."""
        for fibre in self._world.fibres.values():
            fibre.still = False
        self._world.until(self._world.cluster.now + 4.0)
        plan, betrayed = self._world.plan, self._world.checker.octets.betrayed
        for one, other in plan.links:
            if (one, other) not in betrayed:
                self._near(one, other)
                self._near(other, one)
        if self._may_be_calm:
            for node in plan.names:
                self._own(node)
        if (
            not plan.far
            and not betrayed
            and plan.store["max_bits"] < _SMALL
            and self._world.terms().pair_octets > _SMALL // 64
        ):
            self._thirst()
        for node, peer in plan.distant if plan.far else ():
            if (node, peer) not in betrayed:
                self._far(node, peer)
        if plan.far and self._may_be_calm:
            self._several(plan.names[0], plan.distant[0][1])

    def outlives(self) -> None:
        """LIVE, P9: a node dies once more; the others soon tell so, and it comes back."""
        world = self._world
        if not self._may_be_calm:
            return
        calm, cluster = self._calm(), world.cluster
        victim, peer = world.plan.links[-1]
        death = Fault(cluster.now, "crash", (victim,), seconds=_DEAD_S, amount=1.0)
        world.impairments.schedule([death])
        back = cluster.now + _DEAD_S
        world.until(cluster.now + _MISSED_S)
        calm.without(victim)
        world.until(back + _BACK_S)
        calm.agree()
        self._near(victim, peer)
        self._near(peer, victim)

    @property
    def _may_be_calm(self) -> bool:
        """Whether all is looked at: nobody lies, and the network is not one of many nodes."""
        return not self._world.checker.octets.betrayed and self._world.plan.sizes is None

    @property
    def _at(self) -> dict[str, str]:
        """An SAE of each node."""
        return {node: sae for sae, node in self._world.plan.saes.items()}

    def _near(self, node: str, peer: str) -> None:
        """P9: a status says that there is something, if there is."""
        master, slave = self._at[node], self._at[peer]
        status = keys.GetStatus(master=master, slave=slave, size=32)
        stock = self._insist(node, peer, status, keys.Stock)
        if stock and not stock.answer.stored:  # type: ignore[union-attr]
            # what the peer holds unfetched is as it was last told: the second in a row is right
            self._world.until(self._world.cluster.now + _TOLD_S)
            stock = self._insist(node, peer, status, keys.Stock)
        made = self._insist(
            node, peer, keys.GetKey(master=master, slaves=(slave,), number=1, size=32), keys.Keys
        )
        if made and stock and not stock.answer.stored:  # type: ignore[union-attr]
            raise BrokenPromise("P9", f"a status at {node} says 0, and {peer} and it have bits")
        self._fetch_fresh(made)

    def _own(self, node: str) -> None:
        """Keys for two SAEs of one node."""
        one, other = (sae for sae, home in self._world.plan.saes.items() if home == node)
        ask = keys.GetKey(master=one, slaves=(other,), number=1, size=32)
        self._fetch_fresh(self._insist(node, node, ask, keys.Keys))

    def _far(self, node: str, peer: str) -> None:
        """Once there is a session, there are keys whenever somebody asks."""
        ask = keys.GetKey(master=self._at[node], slaves=(self._at[peer],), number=1, size=32)
        self._fetch_fresh(self._insist(node, peer, ask, keys.Keys, tries=_FAR_TRIES))

    def _several(self, node: str, peer: str) -> None:
        """The same keys at several KMSs."""
        slaves = tuple(self._at[name] for name in (self._world.plan.names[1], peer))
        slaves = tuple(dict.fromkeys(slaves))
        ask = keys.GetMulticast(master=self._at[node], slaves=slaves, number=1, size=32)
        if len(slaves) > 1:
            self._fetch_fresh(self._insist(node, "", ask, keys.Keys, tries=_FAR_TRIES))

    def _fetch_fresh(self, made: Operation | None) -> None:
        """Every slave gets what its master has got just now."""
        if made is None:
            return
        assert isinstance(made.ask, keys.GetKey | keys.GetMulticast)
        assert isinstance(made.answer, keys.Keys)
        master, names = made.ask.master, (keys.KeyName(made.answer.grant, 0),)
        for slave in made.ask.slaves:
            ask = keys.GetKeyWithIds(master=master, slave=slave, names=names)
            self._insist(self._world.plan.saes[slave], made.node, ask, keys.KeysWithIds)

    def _thirst(self) -> None:
        """LIVE: a store that was full and is used up fills again."""
        at = self._at
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

    def _insist(
        self, node: str, peer: str, ask: Any, wanted: type[Any], *, tries: int = 1
    ) -> Operation | None:
        """Ask until what is wanted comes; None if a limit is reached.

        LIVE: no try waits for a timer.
        """
        told: list[Operation] = []
        area = tuple(self._world.plan.names) if tries > 1 else ()
        for _ in range(tries):
            told.clear()
            op = self._world.fronts.ask(node, peer, ask, told.append, area=area)
            self._world.cluster.agenda.advance(10.0, until=lambda: bool(told))
            if op and isinstance(op.answer, wanted):
                if op.end - op.at > _PROMPT_S and self._may_be_calm:
                    raise BrokenPromise("LIVE", f"{ask} at {node}: after {op.end - op.at:.2f} s")
                return op
            if op and refused(op) == "too_many_undelivered":
                return None  # the checker has agreed to that
            if tries > 1 and peer:
                self._world.fronts.ensure(node, peer, ask.master)
            if tries > 1:
                self._world.until(self._world.cluster.now + 1.0)
        raise BrokenPromise("LIVE", f"{ask} at {node}, after all: {op and op.answer}")
