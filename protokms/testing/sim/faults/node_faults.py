"""Faults of nodes, their disks, their clocks, and of the quantum links between them."""

import random
from collections.abc import Callable

from protokms.testing.cluster import Cluster
from protokms.testing.sim.checker.checker import Checker
from protokms.testing.sim.faults.fault import Fault
from protokms.testing.sim.faults.fibre import Fibre
from protokms.testing.sim.faults.plan import Plan

RESTART_S = 0.5
"""Seconds after which a node is started again that died of no fault."""

Wire = tuple[str, str]


class NodeFaults:
    """Half of `Impairments`: one method for each kind of fault, named after it."""

    _plan: Plan
    _cluster: Cluster
    _checker: Checker
    _fibres: dict[Wire, Fibre]
    _down: dict[str, Fault]
    _copies: dict[Fault, tuple[object, set[bytes]]]

    def _for_a_while(self, fault: Fault, wires: list[Wire], undo: Callable[[], None]) -> None:
        raise NotImplementedError

    # Nodes

    def _crash(self, fault: Fault) -> None:
        self._fall(fault, max(0.0, fault.amount - 1.0))

    def _reboot(self, fault: Fault) -> None:
        self._fall(fault, float(not fault.dice & 1))

    def _fall(self, fault: Fault, durable: float) -> None:
        """Of commits that have not returned, this share is durable; the tail is lost."""
        node = fault.where[0]
        if self._cluster.nodes[node].alive:
            self._down[node] = fault
            self._cluster.crash(node, durable=durable)

    def _crash_before_commit(self, fault: Fault) -> None:
        self._doom(fault, before=True)

    def _crash_after_commit(self, fault: Fault) -> None:
        self._doom(fault, before=False)

    def _commit_error(self, fault: Fault) -> None:
        """Exit 70: nothing of the commit is durable, nothing of it is answered."""
        self._doom(fault, before=True)

    def _doom(self, fault: Fault, *, before: bool) -> None:
        node = fault.where[0]
        if self._cluster.nodes[node].alive:
            self._down[node] = fault
            self._cluster.crash_at_commit(node, max(1, int(fault.amount)), before=before)

    def _died(self, node: str) -> None:
        fault = self._down.pop(node, None)
        seconds = fault.seconds if fault else RESTART_S
        reboot = fault is not None and fault.kind == "reboot"
        why = fault.kind if fault else ""
        self._checker.died(node, why)
        if why != "restore":
            self._cluster.agenda.later(seconds, lambda: self._start(node, reboot=reboot))

    def _start(self, node: str, *, reboot: bool) -> None:
        if not self._cluster.nodes[node].alive:
            self._checker.started(node)
            self._cluster.restart(node, reboot=reboot)

    def _copy(self, fault: Fault) -> None:
        node = fault.where[0]
        self._copies[fault] = self._cluster.backup(node), self._checker.ledgers.grants(node)

    def _restore(self, fault: Fault) -> None:
        node = fault.where[0]
        copy, kept = self._copies.pop(fault)
        now = self._cluster.now
        self._checker.troubles.add("restore", (node,), now, now + fault.seconds)
        self._down[node] = fault
        if self._cluster.nodes[node].alive:
            self._cluster.crash(node)
        self._down.pop(node, None)
        self._checker.restored(node, kept)
        self._cluster.replace_disk(node, copy)
        self._cluster.agenda.later(fault.seconds, lambda: self._start(node, reboot=True))

    def _pause(self, fault: Fault) -> None:
        self._cluster.pause(fault.where[0], fault.seconds)

    def _drift(self, fault: Fault) -> None:
        self._cluster.drift(fault.where[0], fault.amount)
        self._for_a_while(fault, [], lambda: self._cluster.drift(fault.where[0], 1.0))

    def _jump(self, fault: Fault) -> None:
        self._cluster.jump(fault.where[0], fault.amount)

    def _disk_full(self, fault: Fault) -> None:
        node = fault.where[0]
        self._cluster.fill_disk(node)
        self._for_a_while(fault, [], lambda: self._cluster.free_disk(node))

    def _slow_disk(self, fault: Fault) -> None:
        node = fault.where[0]
        self._cluster.slow_disk(node, fault.amount)
        back = self._plan.commit_s
        self._for_a_while(fault, [], lambda: self._cluster.slow_disk(node, back))

    def _actor_crash(self, fault: Fault) -> None:
        node, name = fault.where
        self._cluster.crash_actor(f"{name}@{node}")
        if name.startswith("key_store/"):
            self._checker.loads(node)

    # Quantum links

    def _fibre(self, fault: Fault) -> Fibre:
        return self._fibres[fault.where[0], fault.where[1]]

    def _link(self, fault: Fault, trait: str, amount: float) -> None:
        fibre = self._fibre(fault)
        setattr(fibre, trait, amount)
        self._for_a_while(fault, [], lambda: setattr(fibre, trait, 0))

    def _dark(self, fault: Fault) -> None:
        self._link(fault, "dark", 1)

    def _datagram_replay(self, fault: Fault) -> None:
        self._fibre(fault).again(int(fault.amount), random.Random(fault.dice))  # noqa: S311
