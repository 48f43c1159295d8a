"""For each key and each slave: may it be handed out, must it be, must it not (P3, P5, R11)?

What is not known for sure counts as `unclear`: then both are allowed. Times are the cluster's;
slack covers ticks and clocks that run a little apart.
"""

from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from actors.protocol import grants, keys
from actors.protocol.keys import KeyName
from protokms.testing.sim.checker.operation import Operation
from protokms.testing.sim.checker.promise import BrokenPromise
from protokms.testing.sim.checker.trouble import Troubles

WRITING_S = 10.0
SLACK_S = 2.0
DURABLE_S = 1.0
"""Seconds after which a report is durable, if nothing happens to its node meanwhile."""

_STOPPED = ("pause", "disk_full", "slow_disk", "down", "actor_crash")
_MOVED = ("drift", "jump")
_CLOCKS = (*_MOVED, *_STOPPED)


@dataclass(slots=True)
class Due:
    """One key for one slave."""

    state: str = "whole"
    """`whole`, `out` (in a response), `broken` (may be asked for again), `written`, `unclear`."""
    since: float = 0.0
    late: float = 0.0
    """Seconds after `since` in which its grant is loaded at most: then its window begins."""
    receipt: int = 0
    """The operation whose response it is, or was, in."""
    asking: set[int] = field(default_factory=set)
    """Operations that have asked for it and are open."""


@dataclass(slots=True)
class Told:
    """A grant that a master was answered with."""

    ask: keys.GetKey | keys.GetMulticast
    issuer: str
    ages: dict[str, float]
    """The nodes of the slaves, and what their clocks had counted then."""
    mode: str
    asked_at: float
    asked_ages: dict[str, float]
    """What these clocks and that of the issuer had counted when the master asked."""
    excused: bool = False
    starts: dict[str, int] = field(default_factory=dict)
    """How often these nodes had been started again by then."""
    forgotten: set[str] = field(default_factory=set)
    """Nodes of slaves that have gone back to a time before they held it."""


class Deliveries:
    """Follows every key of every grant to every slave it is for."""

    def __init__(
        self,
        troubles: Troubles,
        age: Callable[[str], float],
        home: dict[str, str],
        *,
        ttl_s: float,
        redelivery_s: float,
    ) -> None:
        self.told: dict[bytes, Told] = {}
        self.delivered: dict[KeyName, dict[str, float]] = {}
        """Slaves whose response with this key was written, for good, and when."""
        self._places: dict[tuple[KeyName, str], Due] = {}
        self._starts: Counter[str] = Counter()
        self._forgotten: dict[str, set[bytes]] = {}
        self._back: dict[str, tuple[float, int]] = {}
        """When nodes went back to a copy, in which keys had not lived so long yet."""
        self._troubles, self._age, self._home = troubles, age, home
        self._ttl_s, self._redelivery_s = ttl_s, redelivery_s

    def tell(self, grant: bytes, told: Told) -> None:
        """A master has its keys: from here on P3 binds."""
        told.starts = {node: self._starts[node] for node in told.ages}
        told.forgotten |= {node for node in told.ages if grant in self._forgotten.get(node, ())}
        self.told[grant] = told

    def must(self, name: KeyName, slave: str, now: float) -> bool:
        """Tell whether P3 says that this key must be handed out now."""
        told = self.told.get(name.grant)
        if told is None or told.excused or slave not in told.ask.slaves:
            return False
        node = self._home[slave]
        if node in told.forgotten or self._lived(told, node, now) > self._ttl_s - SLACK_S:
            return False
        due = self._at(name, slave)
        if due.asking or due.state in ("written", "unclear"):
            return False
        if due.state == "whole":
            return True
        window = self._redelivery_s - SLACK_S
        if due.state == "out":
            begins = due.since + WRITING_S + SLACK_S
            sure = not self._troubles.any(_CLOCKS, (node,), due.since, now)
            return sure and begins <= now < due.since + WRITING_S + window
        return not self._unsteady(node, due.since, now) and now < due.since + window

    def _unsteady(self, node: str, since: float, now: float) -> bool:
        """Whether a window that began then may have been longer or shorter.

        A clock that jumps at that very moment counts; the stop that it began with does not.
        """
        moved = self._troubles.any(_MOVED, (node,), since, now)
        return moved or self._troubles.any(_STOPPED, (node,), since + 0.001, now)

    def _lived(self, told: Told, node: str, now: float) -> float:
        """Return how much of its time a grant may have lived, at most.

        It counts on the clock of its issuer until it is held, and of the slaves' node from then on.
        """
        ahead = self._age(told.issuer) - told.asked_ages[told.issuer] - (now - told.asked_at)
        return self._age(node) - told.asked_ages[node] + max(0.0, ahead)

    def invoked(self, op: Operation) -> None:
        """A slave asks for keys: note which of them it must get."""
        assert isinstance(op.ask, keys.GetKeyWithIds)
        if not op.honest:
            return
        for name in op.ask.names:
            if self.must(name, op.ask.slave, op.at):
                op.due.append((name, op.ask.slave))
            self._at(name, op.ask.slave).asking.add(op.number)

    def served(self, op: Operation, grant_of: Callable[[bytes], grants.Grant | None]) -> None:
        """A slave has got keys: P5, and nothing that it had for sure."""
        assert isinstance(op.ask, keys.GetKeyWithIds)
        slave = op.ask.slave
        for name in op.ask.names:
            grant = grant_of(name.grant)
            if grant is None or slave not in grant.slaves or op.ask.master != grant.master:
                raise BrokenPromise("P5", f"{name} given to {slave} for {op.ask.master}")
            due = self._at(name, slave)
            self._in_time(name, slave)
            if self._over(due, self._home[slave], op.at):
                raise BrokenPromise("R11", f"{name} given to {slave} after it was {due.state}")
            due.asking.discard(op.number)
            if due.state not in ("written", "unclear"):
                due.state, due.since, due.late, due.receipt = "out", op.end, 0.0, op.number

    def _in_time(self, name: KeyName, slave: str) -> None:
        """R12: its time is over for sure; each start may begin what was left of it anew."""
        told, node = self.told.get(name.grant), self._home[slave]
        if told is None or node not in told.ages:
            return
        held = told.ages[node], told.starts.get(node, 0)
        since, starts = max(held, self._back.get(node, held))
        most = self._ttl_s * (1 + self._starts[node] - starts)
        if self._age(node) - since > most + SLACK_S:
            raise BrokenPromise("R12", f"{name} given to {slave} after its time")

    def waiting(self, master: str, slave: str, now: float) -> int:
        """Octets of a pair that lie at the slaves' side for sure: nobody has asked for them."""
        octets = 0
        for id_, told in self.told.items():
            gone = told.excused or self._home[slave] in told.forgotten
            if gone or told.ask.master != master or slave not in told.ask.slaves:
                continue
            if self._lived(told, self._home[slave], now) < self._ttl_s - SLACK_S:
                names = (KeyName(id_, index) for index in range(told.ask.number))
                whole = sum(self._untouched(name, slave) for name in names)
                octets += whole * told.ask.size
        return octets

    def _untouched(self, name: KeyName, slave: str) -> bool:
        due = self._places.get((name, slave))
        return due is None or (due.state == "whole" and not due.asking)

    def _over(self, due: Due, node: str, asked: float) -> bool:
        """Whether the key is erased for sure."""
        if due.state == "written":
            durable = due.since + DURABLE_S
            stopped = self._troubles.any(_STOPPED, (node,), due.since - SLACK_S, durable, SLACK_S)
            return asked > durable and not stopped
        if due.state == "broken":
            ends = due.since + due.late + self._redelivery_s + SLACK_S
            return asked > ends and not self._unsteady(node, due.since, asked)
        return False

    def refused(self, op: Operation, code: str, *, excused: bool) -> None:
        """A slave is told "no" for good: P3 is broken if every key was due, then and now."""
        assert isinstance(op.ask, keys.GetKeyWithIds)
        self.gone(op, clear=True)
        still = all(self.must(name, slave, op.end) for name, slave in op.due)
        if op.due and len(op.due) == len(op.ask.names) and still and not excused:
            raise BrokenPromise("P3", f"{op.ask.slave} was refused keys that were due: {code}")

    def gone(self, op: Operation, *, clear: bool = False) -> None:
        """An operation has no answer (or, `clear`, a "no" that changes nothing)."""
        assert isinstance(op.ask, keys.GetKeyWithIds)
        for name in op.ask.names if op.honest else ():
            due = self._at(name, op.ask.slave)
            due.asking.discard(op.number)
            if not clear and due.state != "written":
                due.state = "unclear"

    def reported(self, op: Operation, now: float, *, written: bool) -> None:
        """The front end has told the store that a response was written, or broke."""
        assert isinstance(op.ask, keys.GetKeyWithIds)
        lost = self._troubles.any(("actor_crash",), (op.node,), op.at, now)
        for name in op.ask.names:
            due = self._at(name, op.ask.slave)
            if lost and due.state != "written":
                due.state = "unclear"  # a fresh store knows nothing of this receipt
            if lost or due.state == "unclear":
                continue
            if written:
                due.state, due.since = "written", now
                if not due.asking and due.receipt == op.number:
                    self.delivered.setdefault(name, {})[op.ask.slave] = now
            elif due.receipt == op.number and due.state == "out":
                late = now > due.since + WRITING_S - SLACK_S
                due.state, due.since = ("unclear" if late else "broken"), now

    def died(self, node: str, now: float, why: str) -> None:
        """What is not durable at a node is not known; a window begins anew with its start."""
        for (name, slave), due in self._places.items():
            if self._home[slave] != node:
                continue
            fresh = now - due.since < DURABLE_S
            over = now - due.since > self._redelivery_s - SLACK_S
            stopped = self._troubles.any(_STOPPED, (node,), due.since - SLACK_S, now - 0.001)
            over |= self._troubles.any(("jump", "drift"), (node,), due.since, now)
            if due.state == "written" and (fresh or stopped or why == "restore"):
                due.state = "unclear"
                self.delivered.get(name, {}).pop(slave, None)
            elif (due.state == "broken" and (over or fresh)) or (
                due.state == "out" and (over or now - due.since > WRITING_S - SLACK_S)
            ):
                due.state = "unclear"
            elif due.state in ("out", "broken"):
                due.state, due.since = "broken", now

    def started(self, node: str, now: float, late: float) -> None:
        """A node serves again: a window begins now, or when its grant is loaded."""
        self._starts[node] += 1
        for (_, slave), due in self._places.items():
            if self._home[slave] == node and due.state == "broken":
                due.since, due.late = now, late

    def restored(self, node: str, kept: Collection[bytes], held: Collection[bytes]) -> None:
        """Excuse what P3 excuses when a node goes back to a copy with these grants in it.

        `held` are the grants that the slaves' side was heard to hold.
        """
        self._forgotten[node] = set(held) - set(kept)
        self._back[node] = self._age(node), self._starts[node]
        for id_, told in self.told.items():
            if node in told.ages and id_ not in kept:
                told.forgotten.add(node)
            told.excused |= told.mode == "local" and told.issuer == node and id_ not in held
        for (name, slave), due in self._places.items():
            if self._home[slave] == node:
                due.state = "unclear"
                self.delivered.get(name, {}).pop(slave, None)

    def places(self) -> list[tuple[KeyName, str]]:
        """Every key and slave that a master was told of."""
        return [
            (KeyName(id_, index), slave)
            for id_, told in self.told.items()
            for slave in told.ask.slaves
            for index in range(told.ask.number)
        ]

    def _at(self, name: KeyName, slave: str) -> Due:
        return self._places.setdefault((name, slave), Due())
