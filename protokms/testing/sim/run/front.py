"""The front ends of a simulated network, and what SAEs do through them."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from actors.protocol import intent, keys, sessions
from actors.protocol.common import Failed
from protokms.testing.cluster import Cluster
from protokms.testing.sim.checker.checker import PATIENCE_S, Checker
from protokms.testing.sim.checker.operation import Operation
from protokms.testing.steps import StepSystem
from transport.envelope import Address, Envelope
from transport.message import Message

if TYPE_CHECKING:
    from actors.runtime.timers import Alarm

FRONT = "sim_front"
_UNHEARD = 1 << 40
Then = Callable[[Operation], None]


class Fronts:
    """Puts requests to the stores of live nodes, and brings the answers back."""

    def __init__(self, cluster: Cluster, checker: Checker) -> None:
        self.operations: list[Operation] = []
        self._cluster, self._checker = cluster, checker
        self._open: dict[int, tuple[Operation, Then, Alarm]] = {}
        self._systems: dict[int, StepSystem] = {}
        for node in cluster.nodes:
            cluster.place(f"{FRONT}@{node}", _Front(self, node))
        cluster.obituaries.append(self._died)

    def ask(
        self,
        node: str,
        peer: str,
        body: Message,
        then: Then,
        *,
        honest: bool = True,
        area: tuple[str, ...] = (),
    ) -> Operation | None:
        """Ask the store of `node` for `peer`; None if nobody is there to take the request.

        For several KMSs ask `multicast`: `peer` is empty then. `area` as in `Operation`.
        """
        system = self._cluster.nodes[node]
        if not system.alive:
            return None
        number = len(self.operations) + 1
        op = Operation(number, body, node, peer, self._cluster.now, honest, area=area)
        self.operations.append(op)
        late = self._cluster.agenda.later(PATIENCE_S, partial(self._give_up, number))
        self._open[number] = op, then, late
        self._checker.invoked(op)
        to = Address(f"key_store/{peer}" if peer else "multicast", node)
        system.send(Envelope(Address(FRONT, node), to, body, number))
        self._systems[number] = system
        return op

    def ensure(self, node: str, peer: str, sae: str) -> None:
        """Have a session to a distant node, as a front end does; its answer is not waited for."""
        system = self._cluster.nodes[node]
        if system.alive:
            body = sessions.EnsureSession(peer=peer, sae=sae)
            ends = Address(FRONT, node), Address("sessions", node)
            system.send(Envelope(*ends, body, _UNHEARD))

    def split(self, node: str, peer: str, shares: int) -> None:
        """Have a session over so many disjoint paths, as an operator would."""
        link = intent.Link(intent.VIRT, node, peer, n=shares)
        edit = intent.Edit(intent.PUT, intent.LINK, "", link=link)
        body = intent.Write(owner=intent.CLI, edits=(edit,))
        ends = Address(FRONT, node), Address(intent.NAME, node)
        self._cluster.nodes[node].send(Envelope(*ends, body, _UNHEARD))

    def report(self, op: Operation, *, written: bool) -> None:
        """Say what became of a response, if the front end lived to see it."""
        answer, system = op.answer, self._cluster.nodes[op.node]
        lives = system.alive and self._systems.get(op.number) is system
        if not (isinstance(answer, keys.KeysWithIds) and lives):
            return
        kind = keys.Written if written else keys.Broken
        to = Address(f"key_store/{op.peer}", op.node)
        system.send(Envelope(Address(FRONT, op.node), to, kind(receipt=answer.receipt)))
        self._checker.reported(op, written=written)

    def hear(self, node: str, envelope: Envelope) -> None:
        """An answer has come."""
        op, then, late = self._open.pop(envelope.token, (None, None, None))
        if op and then and late and op.node == node:
            late.cancel()
            self._checker.answered(op, envelope.body)
            then(op)

    def _give_up(self, number: int) -> None:
        op, then, _ = self._open.pop(number)
        self._checker.silence(op, died=False)
        then(op)

    def _died(self, node: str) -> None:
        for number, (op, then, late) in list(self._open.items()):
            if op.node == node:
                late.cancel()
                del self._open[number]
                self._checker.silence(op, died=True)
                then(op)


class _Front:
    """An inbox: one a node, of all its lives."""

    def __init__(self, fronts: Fronts, node: str) -> None:
        self._fronts, self._node = fronts, node

    def tell(self, envelope: Envelope) -> None:
        """Take a message."""
        self._fronts.hear(self._node, envelope)


def refused(op: Operation) -> str:
    """The code of a refusal; `lost` for no answer, nothing for what was asked for."""
    if op.outcome != "answered":
        return "lost"
    return op.answer.code if isinstance(op.answer, Failed) else ""
