"""Lets the faults of a list happen to a network, and heals them when their time is over."""

import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import combinations, pairwise
from typing import Any

from protokms.testing.kms import KmsNetwork
from protokms.testing.sim.checker.checker import Checker
from protokms.testing.sim.checker.overheard import head_of
from protokms.testing.sim.faults.byzantine_peer import ByzantinePeer
from protokms.testing.sim.faults.coverage import Coverage
from protokms.testing.sim.faults.device import Device
from protokms.testing.sim.faults.fault import CRASHES, KINDS, PATIENCE_S, Fault
from protokms.testing.sim.faults.fibre import Fibre
from protokms.testing.sim.faults.node_faults import NodeFaults, Wire
from protokms.testing.sim.faults.plan import Plan
from transport.codec import Malformed, decode
from transport.message import Message

_KEPT = 300
_OVER_S = 15.0
"""So many seconds after the next one a head counts no more, whatever was cut off or lost."""
_TRAITS = {"loss": "loss", "duplicate": "duplicate", "reorder": "reorder", "delay": "jitter"}
_LINK = {
    "datagram_loss": "loss",
    "datagram_twice": "twice",
    "datagram_late": "late",
    "datagram_spoilt": "spoilt",
    "datagram_wrong": "wrong",
}


class Impairments(NodeFaults):
    """Applies faults; hears every frame, to say it again or to lie by its model."""

    def __init__(
        self, plan: Plan, kms: KmsNetwork, fibres: dict[Wire, Fibre], checker: Checker
    ) -> None:
        self.coverage = Coverage()
        self.done = 0
        self._plan, self._kms, self._cluster = plan, kms, kms.cluster
        self._fibres, self._checker = fibres, checker
        self._frames: dict[Wire, deque[bytes]] = {}
        self._said: dict[Wire, dict[type[Message], Message]] = {}
        self._heads: dict[Wire, list[tuple[float, Any]]] = {}
        """One head of each pair of lives and epoch, and when it was said first."""
        self._down: dict[str, Fault] = {}
        self._copies: dict[Fault, tuple[object, set[bytes]]] = {}
        self._armed: list[Fault] = []
        self._active: dict[tuple[str, Wire], int] = {}
        self._cluster.obituaries.append(self._died)

    def schedule(self, faults: Sequence[Fault]) -> None:
        """Let these happen when their time comes."""
        later = self._cluster.agenda.later
        for fault in faults:
            begin = self._arm if fault.word else self._strike
            later(fault.at - self._cluster.now, partial(begin, fault))
            if fault.kind == "restore":
                later(fault.at - fault.amount - self._cluster.now, partial(self._copy, fault))

    def become(self, devices: Sequence[Device]) -> None:
        """Let links give what these give when their time comes."""
        for device in devices:
            fibre = self._fibres[device.ends]
            begin = partial(fibre.becomes, device, device.at)
            self._cluster.agenda.later(device.at - self._cluster.now, begin)

    def heard(self, what: str, sender: str, to: str, frame: bytes, body: Message) -> None:
        """A frame is on a wire, or a fault has met it there."""
        wire, now = (sender, to), self._cluster.now
        if what == "posted":
            self._frames.setdefault(wire, deque(maxlen=_KEPT)).append(frame)
            self._said.setdefault(wire, {})[type(body)] = body
            if head := head_of(body):
                heads = self._heads.setdefault(wire, [])
                if not heads or replace(heads[-1][1], seq=head.seq) != head:
                    heads.append((now, head))
            self.coverage.word(sender, to, body.wire, now)
            for fault in [it for it in self._armed if it.word == body.wire]:
                if _concerns(fault, sender, to):
                    self._awaited(fault)
            return
        for kind in ("cut", "cut_one_way", "isolate") if what == "cut" else (what,):
            if self._active.get((kind, wire)):
                self.coverage.met_by(kind, body.wire)

    def heal(self) -> None:
        """Put everything right that lasts; what has not struck yet never will."""
        self._armed.clear()
        for one, other in combinations(self._plan.names, 2):
            self._cluster.net.change(
                one, other, up=True, loss=0.0, duplicate=0.0, reorder=0.0, delay=0.0, jitter=0.0
            )
            self._cluster.presence.look(one, other)
        for fibre in self._fibres.values():
            fibre.dark, fibre.source = False, None
            fibre.loss = fibre.twice = fibre.late = fibre.spoilt = fibre.wrong = 0.0
        for node in self._plan.names:
            self._cluster.forget_doom(node)
            self._cluster.drift(node, 1.0)
            self._cluster.slow_disk(node, 0.0)
            self._cluster.free_disk(node)

    # Striking

    def _arm(self, fault: Fault) -> None:
        self._armed.append(fault)
        self._cluster.agenda.later(PATIENCE_S, partial(self._awaited, fault))

    def _awaited(self, fault: Fault) -> None:
        if fault in self._armed:
            self._armed.remove(fault)
            if fault.kind in (*_TRAITS, "cut", "cut_one_way"):
                self._strike(fault)  # in time for the frame that is just being sent
            else:
                self._cluster.agenda.soon(("fault", fault), partial(self._strike, fault))

    def _strike(self, fault: Fault) -> None:
        self.done += 1
        cluster, nodes = self._cluster, fault.where[:1]
        if fault.kind == "actor_crash" or len(fault.where) == 1:
            self.coverage.strikes(fault.kind, nodes, cluster.now)
        elif fault.kind not in _TRAITS and not fault.kind.startswith(("cut", "lie", "replay")):
            self.coverage.strikes(fault.kind, fault.where, cluster.now)
        where = nodes if fault.kind in ("actor_crash", "pause") else fault.where
        kind = "down" if fault.kind in CRASHES else fault.kind
        if kind != "down":
            self._checker.troubles.add(kind, where, cluster.now, cluster.now + fault.seconds)
        getattr(self, f"_{fault.kind}", self._trait)(fault)

    def _ends(self, fault: Fault, *, both: bool) -> list[Wire]:
        one, other = fault.where
        return [(one, other), (other, one)] if both else [(one, other)]

    def _for_a_while(self, fault: Fault, wires: list[Wire], undo: Callable[[], None]) -> None:
        for wire in wires:
            key = fault.kind, wire
            self._active[key] = self._active.get(key, 0) + 1

        def over() -> None:
            for wire in wires:
                self._active[fault.kind, wire] -= 1
            undo()

        self._cluster.agenda.later(fault.seconds, over)

    # Wires

    def _trait(self, fault: Fault) -> None:
        if fault.kind in _LINK:
            self._link(fault, _LINK[fault.kind], fault.amount)
            return
        trait = _TRAITS[fault.kind]
        both = bool(fault.dice & 1)

        def change(amount: float) -> None:
            traits: dict[str, Any] = {"one_way": not both, trait: amount}
            self._cluster.net.change(*_wire(fault), **traits)

        change(fault.amount)
        self._for_a_while(fault, self._ends(fault, both=both), lambda: change(0.0))

    def _cut(self, fault: Fault) -> None:
        self._part(fault, [fault.where], one_way=False)

    def _cut_one_way(self, fault: Fault) -> None:
        self._part(fault, [fault.where], one_way=True)

    def _isolate(self, fault: Fault) -> None:
        node = fault.where[0]
        ends = [(node, peer) for peer in self._plan.names if peer != node]
        for one, other in ends:
            now = self._cluster.now
            self._checker.troubles.add("cut", (one, other), now, now + fault.seconds)
        self._part(fault, ends, one_way=False)

    def _part(self, fault: Fault, ends: Sequence[tuple[str, ...]], *, one_way: bool) -> None:
        for one, other in ends:
            self._cluster.cut(one, other, one_way=one_way)

        def mend() -> None:
            for one, other in ends:
                self._cluster.mend(one, other)

        wires = [wire for one, other in ends for wire in ((one, other), (other, one))]
        self._for_a_while(fault, wires, mend)

    def _replay(self, fault: Fault) -> None:
        past = list(self._frames.get(_wire(fault), ()))
        dice = random.Random(fault.dice)  # noqa: S311 -- a seed
        for _ in range(int(fault.amount) if past else 0):
            self._inject(fault, dice.choice(past[-40:] if dice.random() < 0.5 else past))  # noqa: PLR2004

    def _garbage(self, fault: Fault) -> None:
        """Frames spoilt on the way: CURVE lets none through, the doorman refuses the rest."""
        past = list(self._frames.get(_wire(fault), ()))
        dice = random.Random(fault.dice)  # noqa: S311 -- a seed
        for _ in range(int(fault.amount) if past else 0):
            frame = bytearray(dice.choice(past))
            for _ in range(dice.randint(1, 4)):
                frame[dice.randrange(len(frame))] = dice.randrange(256)
            cut = bytes(frame[: dice.randint(1, len(frame))])
            try:
                decode(cut, fault.where[0])
            except Malformed:
                self._cluster.inject(*_wire(fault), cut)

    def _inject(self, fault: Fault, frame: bytes) -> None:
        self._cluster.inject(*_wire(fault), frame)
        try:
            self.coverage.met_by(fault.kind, decode(frame, fault.where[0]).body.wire)
        except Malformed:
            return

    def _lie(self, fault: Fault) -> None:
        peer = self._byzantine_peer(fault)
        for _ in range(int(fault.amount)):
            word, frame = peer.lie()
            self._cluster.inject(*_wire(fault), frame)
            self.coverage.met_by(fault.kind, word)

    def _betray(self, fault: Fault) -> None:
        self._checker.betrayed(*fault.where)
        now = self._cluster.now
        self._checker.troubles.add("betray", fault.where, now, now + 1e9)
        peer = self._byzantine_peer(fault)
        for number in range(int(fault.amount)):
            wait = number * 0.3
            self._cluster.agenda.later(wait, partial(self._tell_lie, fault, peer))

    def _tell_lie(self, fault: Fault, peer: ByzantinePeer) -> None:
        said = self._said.get(_wire(fault), {})
        heads = [head for head in map(head_of, said.values()) if head]
        word, frame = peer.betrayal(max(heads, key=lambda head: head.seq) if heads else None)
        self._cluster.inject(*_wire(fault), frame)
        self.coverage.met_by(fault.kind, word)

    def _byzantine_peer(self, fault: Fault) -> ByzantinePeer:
        one, other = fault.where
        names = [*self._plan.saes, *self._plan.names]
        dice = random.Random(fault.dice)  # noqa: S311 -- a seed
        said = self._said.setdefault((one, other), {})
        return ByzantinePeer(dice, one, other, names, said, old=self._old(one, other))

    def _old(self, one: str, other: str) -> list[Any]:
        """Heads that counted once: said before another one that is old enough to be known."""
        heads = self._heads.get((one, other), [])
        now = self._cluster.now
        pairs = pairwise(heads)
        old = [head for (_, head), (after, _) in pairs if now - after >= _OVER_S]
        today = [replace(head, seq=0) for _, head in heads[len(old) :]]
        return [head for head in old if replace(head, seq=0) not in today]


def _concerns(fault: Fault, sender: str, to: str) -> bool:
    if KINDS[fault.kind].where in ("node", "actor"):
        return fault.where[0] in (sender, to)
    return {*fault.where} == {sender, to}


def _wire(fault: Fault) -> Wire:
    one, other = fault.where
    return one, other
