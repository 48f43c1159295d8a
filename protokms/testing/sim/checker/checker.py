"""Decides over a history whether a promise was broken; it knows the words, and no actor.

It is told what SAEs asked for and got, what was on the wires, what was drawn, what the disks
hold, and what trouble there was. What it cannot know it does not judge.
"""

import heapq
import itertools
from collections.abc import Callable, Collection

from actors.protocol import grants, keys
from actors.protocol.common import Failed
from actors.protocol.keys import KeyName
from protokms.testing.sim.checker import refusals
from protokms.testing.sim.checker.deliveries import Deliveries, Told
from protokms.testing.sim.checker.ledgers import Ledgers, named
from protokms.testing.sim.checker.octets import Octets
from protokms.testing.sim.checker.operation import Operation
from protokms.testing.sim.checker.overheard import Drawn, Overheard
from protokms.testing.sim.checker.promise import BrokenPromise
from protokms.testing.sim.checker.stocks import Stocks, Terms
from protokms.testing.sim.checker.trouble import Troubles
from transport.message import Message

PATIENCE_S = 6.0
"""Seconds in which every request is answered, unless its node is in trouble."""

_SILENT = ("pause", "disk_full", "slow_disk", "down", "actor_crash", "drift", "jump")
_ERASE_SLACK_S = 4.0
_EXPIRE_SLACK_S = 8.0
_LAST = 100
_EMPTY_SLICES = 8


class Checker:
    """The history of one run, and its judgement, raised as `BrokenPromise`."""

    def __init__(
        self,
        terms: Terms,
        ledgers: Ledgers,
        drawn: Drawn,
        neighbours: Callable[[str, str], bool],
        *,
        now: Callable[[], float],
        age: Callable[[str], float],
    ) -> None:
        self.troubles = Troubles()
        self.octets = Octets()
        self.overheard = Overheard(self.octets, drawn, neighbours, now)
        self._neighbours = neighbours
        times = {"ttl_s": terms.ttl_s, "redelivery_s": terms.redelivery_s}
        self.deliveries = Deliveries(self.troubles, age, terms.home, **times)
        self.overheard.on_new_epoch = self._new_epoch
        self.ledgers = ledgers
        self.stocks = Stocks(terms, self.overheard, self.deliveries, self.troubles, now)
        self._terms, self._now, self._age = terms, now, age
        self._to_erase: list[tuple[float, int, KeyName]] = []
        self._to_expire: list[tuple[float, int, bytes]] = []
        self._ties = itertools.count()
        self._restored: set[str] = set()

    # What SAEs do

    def invoked(self, op: Operation) -> None:
        """A request goes in."""
        self.stocks.invoked(op)
        if isinstance(op.ask, keys.GetKeyWithIds):
            self.deliveries.invoked(op)
        elif isinstance(op.ask, keys.GetKey | keys.GetMulticast):
            slaves = (self._terms.home.get(slave) for slave in op.ask.slaves)
            op.ages = {node: self._age(node) for node in (op.node, *slaves) if node}

    def answered(self, op: Operation, body: Message) -> None:
        """An answer comes out."""
        op.outcome, op.answer, op.end = "answered", body, self._now()
        self.stocks.over(op)
        if isinstance(body, keys.Keys):
            self._keys(op, body)
        elif isinstance(body, keys.KeysWithIds):
            self._keys_with_ids(op, body)
        elif isinstance(body, keys.Stock):
            if not self._betrayed(op):
                self.stocks.judge(op, body)
        elif isinstance(body, Failed):
            self._failed(op, body)
        else:
            raise BrokenPromise("P9", f"{op.ask} is answered with {body}")

    def silence(self, op: Operation, *, died: bool) -> None:
        """No answer came, and none will."""
        op.outcome, op.end = "unknown", self._now()
        self.stocks.over(op)
        if isinstance(op.ask, keys.GetKeyWithIds):
            self.deliveries.gone(op)
        excused = died or self.troubles.any(_SILENT, (op.node,), op.at, op.end, PATIENCE_S)
        if not excused and not self._betrayed(op):
            raise BrokenPromise("P8", f"{op.ask} at {op.node} has no answer after {PATIENCE_S} s")

    def reported(self, op: Operation, *, written: bool) -> None:
        """The front end says what became of a response."""
        self.deliveries.reported(op, self._now(), written=written)
        assert isinstance(op.ask, keys.GetKeyWithIds)
        if written:
            due = self._now() + self._terms.erase_s + _ERASE_SLACK_S
            for name in op.ask.names:
                heapq.heappush(self._to_erase, (due, next(self._ties), name))

    # What happens to nodes

    def died(self, node: str, why: str = "") -> None:
        """A node is dead."""
        self.troubles.died(node, self._now())
        self.deliveries.died(node, self._now(), why)

    def started(self, node: str) -> None:
        """A node is back."""
        self.troubles.started(node, self._now())
        self.deliveries.started(node, self._now(), self.loads(node))

    def loads(self, node: str) -> float:
        """A node loads its grants, or an actor of it does; return how long that may take."""
        late = self._terms.slice_s.get(node, 0.0)
        late *= late and self.ledgers.to_load(node) + _EMPTY_SLICES
        self.troubles.add("loading", (node,), self._now(), self._now() + late)
        return late

    def restored(self, node: str, kept: Collection[bytes]) -> None:
        """A node has gone back to a copy with these grants in it."""
        self._restored.add(node)
        self.overheard.restored(node)
        self.deliveries.restored(node, kept, self.overheard.held)

    def _new_epoch(self, node: str, peer: str) -> None:
        """Local grants that the slaves' side did not hold go with the old epoch."""
        for id_, told in self.deliveries.told.items():
            if told.mode == "local" and told.issuer == node and peer in told.ages:
                told.excused |= id_ not in self.overheard.held

    def betrayed(self, one: str, other: str) -> None:
        """One of two nodes lies to the other from now on."""
        pair = (one, other) if one < other else (other, one)
        self.octets.betrayed.add(pair)
        for told in self.deliveries.told.values():
            told.excused |= {told.issuer, *told.ages} == set(pair)

    # Answers

    def _betrayed(self, op: Operation) -> bool:
        return tuple(sorted(op.nodes)) in self.octets.betrayed

    def _keys(self, op: Operation, got: keys.Keys) -> None:
        ask, heard = op.ask, self.overheard
        assert isinstance(ask, keys.GetKey | keys.GetMulticast)
        if not op.honest:
            raise BrokenPromise("P5", f"{ask} was answered")
        if got.grant in heard.given:
            raise BrokenPromise("R10", f"grant {got.grant.hex()} was given twice")
        octets = got.octets.reveal()
        if (len(octets), got.size) != (ask.number * ask.size, ask.size):
            raise BrokenPromise("P1", "not as many octets as were asked for")
        heard.given.add(got.grant)
        made = grants.Grant(got.grant, (), ask.size, ask.number, ask.master, ask.slaves, "", 0.0)
        if isinstance(ask, keys.GetMulticast):
            heard.grants[got.grant] = made  # a word names only the slaves at its reader
        heard.grants.setdefault(got.grant, made)
        betrayed = self._betrayed(op)
        ages = {self._terms.home[slave]: self._age(self._terms.home[slave]) for slave in ask.slaves}
        if not betrayed:
            for index in range(ask.number):
                start = index * got.size
                name, key = KeyName(got.grant, index), octets[start : start + got.size]
                self.octets.key(name, key, drawn=self._whole(op))
            self._durable(op, got.grant, list(ages))
        mode = self._terms.mode if op.peer not in ("", op.node) else "own"
        told = Told(ask, op.node, ages, mode, op.at, op.ages, excused=betrayed)
        self.deliveries.tell(got.grant, told)
        due = self._now() + self._terms.ttl_s + _EXPIRE_SLACK_S
        heapq.heappush(self._to_expire, (due, next(self._ties), got.grant))
        for slave in () if betrayed else ask.slaves:
            if self.deliveries.waiting(ask.master, slave, op.end) > self._terms.waiting_most(mode):
                raise BrokenPromise("P8", f"more lies undelivered for {slave} than may")

    def _whole(self, op: Operation) -> bool:
        """Whether keys are whole units of what was drawn: not over a distance."""
        return op.peer in ("", op.node) or self._neighbours(op.node, op.peer)

    def _durable(self, op: Operation, grant: bytes, holders: list[str]) -> None:
        """R8, R9: nothing is answered before the rows that it stands on are durable."""
        if grant in self.overheard.voided:
            raise BrokenPromise("R9", f"grant {grant.hex()} was voided and then answered")
        local = self._terms.mode == "local" and op.peer not in ("", op.node)
        kind = "unheard" if local else "holding"
        if grant in self.overheard.held:
            return  # the row may have come and gone
        for node in [op.node] if local else holders:
            rows = self.ledgers.rows(node) if node not in self._restored else ()
            if rows and not any(row.kind == kind and named(row) == grant for row in rows):
                raise BrokenPromise("R8", f"{grant.hex()} was answered, not durable at {node}")

    def _keys_with_ids(self, op: Operation, got: keys.KeysWithIds) -> None:
        ask = op.ask
        assert isinstance(ask, keys.GetKeyWithIds)
        betrayed = self._betrayed(op)
        self.deliveries.served(op, self.overheard.grants.get)
        for name, secret in zip(ask.names, got.octets, strict=True):
            if betrayed:
                continue
            if self.overheard.void_held.get((op.node, name.grant), op.at) < op.at:
                raise BrokenPromise("R9", f"{name} was given out after its void was held")
            self.octets.key(name, secret.reveal(), drawn=False)

    def _failed(self, op: Operation, no: Failed) -> None:
        if isinstance(op.ask, keys.GetKeyWithIds):
            if no.code in refusals.OF_KEYS:
                self.deliveries.refused(op, no.code, excused=self._unheard(op))
            else:
                self.deliveries.gone(op, clear=no.code != "undeliverable")
        if not self._betrayed(op):
            short, full = self.stocks.short(op), self.stocks.full(op)
            refusals.judge(op, no.code, self.troubles, short=short, full=full)

    def _unheard(self, op: Operation) -> bool:
        """Whether a local grant may be unknown to the slaves' side, and its owner in trouble."""
        assert isinstance(op.ask, keys.GetKeyWithIds)
        if self._terms.mode != "local" or op.peer in ("", op.node):
            return False
        unheard = any(name.grant not in self.overheard.held for name in op.ask.names)
        return unheard and self.troubles.any(refusals.ANYTHING, op.nodes, op.at, op.end, 8.0)

    def rest(self, one: str, other: str) -> None:
        """LIVE, P1, P4: two nodes have one stream, and nothing of the epochs that are over."""
        self.ledgers.rest(one, other)
        pair, now = tuple(sorted((one, other))), self.ledgers.epochs(one, other)
        over = [
            octets
            for place, octets in self.overheard.segments.items()
            if place.pair == pair and (place.number, place.random) not in now
        ]
        self.ledgers.over(one, other, over)

    # From time to time

    def sample(self) -> None:
        """P4, R15: look at the disks."""
        now = self._now()
        last = list(self.octets.values.values())[-_LAST:]
        for node in dict.fromkeys(self._terms.home.values()):
            self.ledgers.sealed(node, last)
        self._delivered(now)
        self._expired(now)

    def _delivered(self, now: float) -> None:
        """P4: what was delivered is gone."""
        gone: dict[str, list[bytes]] = {}
        late = []
        while self._to_erase and self._to_erase[0][0] <= now:
            _, tie, name = heapq.heappop(self._to_erase)
            told = self.deliveries.told.get(name.grant)
            if told is None or told.excused or name not in self.octets.values:
                continue
            if not self.deliveries.delivered.get(name, {}).keys() >= set(told.ask.slaves):
                continue
            nodes = {told.issuer, *told.ages}
            if nodes & self._restored:
                continue
            calm = self.troubles.last(_SILENT, nodes) + self._terms.erase_s + _ERASE_SLACK_S
            if calm > now:
                late.append((max(calm, now + 1.0), tie, name))
                continue
            for node in nodes:
                gone.setdefault(node, []).append(self.octets.values[name])
        for entry in late:
            if entry[0] < float("inf"):
                heapq.heappush(self._to_erase, entry)
        for node, octets in gone.items():
            self.ledgers.erased(node, octets)

    def _expired(self, now: float) -> None:
        """P4: what has outlived its time is gone, fetched or not; a stop may have made it long."""
        gone: dict[str, list[bytes]] = {}
        late = []
        while self._to_expire and self._to_expire[0][0] <= now:
            due, tie, grant = heapq.heappop(self._to_expire)
            told = self.deliveries.told[grant]
            nodes = {told.issuer, *told.ages}
            if told.excused or nodes & self._restored:
                continue
            calm = self.troubles.last(_SILENT, nodes) + self._terms.ttl_s + _EXPIRE_SLACK_S
            if due < calm:
                late.append((calm, tie, grant))
                continue
            names = (KeyName(grant, index) for index in range(told.ask.number))
            octets = [self.octets.values[name] for name in names if name in self.octets.values]
            for node in nodes:
                gone.setdefault(node, []).extend(octets)
        for entry in late:
            if entry[0] < float("inf"):
                heapq.heappush(self._to_expire, entry)
        for node, octets in gone.items():
            self.ledgers.erased(node, octets)
