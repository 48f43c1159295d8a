"""What SAEs do: ask for keys, fetch them, retry, report, look at the status; and steal."""

import random
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from actors.protocol import keys
from actors.protocol.grants import Grant
from actors.protocol.keys import KeyName
from protokms.testing.cluster import Cluster
from protokms.testing.sim.checker.octets import UNIT
from protokms.testing.sim.checker.operation import Operation
from protokms.testing.sim.checker.overheard import Overheard
from protokms.testing.sim.checker.refusals import FINAL
from protokms.testing.sim.faults.plan import Plan
from protokms.testing.sim.run.front import Fronts, refused

EVERY_S = 0.11
TRIES = 5
_RECENT = 40


class Workload:
    """SAEs of all nodes, on one seed; `operations` counts in `fronts`."""

    def __init__(
        self, plan: Plan, cluster: Cluster, fronts: Fronts, heard: Overheard, dice: random.Random
    ) -> None:
        self._plan, self._cluster, self._fronts, self._heard = plan, cluster, fronts, heard
        self._dice, self._home = dice, plan.saes
        self._at: dict[str, list[str]] = {}
        for sae, node in plan.saes.items():
            self._at.setdefault(node, []).append(sae)
        self._pairs = [ends for link in plan.links for ends in (link, link[::-1])]
        self.stopped = False

    def start(self) -> None:
        """Begin, and go on until `stopped`."""
        if not self.stopped:
            self._act()
            self._later(self._dice.expovariate(1 / EVERY_S), self.start)

    def _act(self) -> None:
        fate = self._dice.random()
        if fate < 0.62:  # noqa: PLR2004 -- odds
            self.enc(*self._ends())
        elif fate < 0.8:  # noqa: PLR2004 -- odds
            self.fetch_some()
        elif fate < 0.9:  # noqa: PLR2004 -- odds
            self.steal()
        else:
            self.status()

    def _ends(self) -> tuple[str, str]:
        fate = self._dice.random()
        if self._plan.far and fate > 0.7:  # noqa: PLR2004 -- odds
            ends = self._dice.choice(self._plan.distant)
            return ends if fate > 0.85 else ends[::-1]  # noqa: PLR2004 -- odds
        node, peer = self._dice.choice(self._pairs)
        return (node, node) if fate < 0.05 else (node, peer)  # noqa: PLR2004

    # Masters

    def enc(self, node: str, peer: str, *, tries: int = 2) -> None:
        """A master asks for keys, for one slave or for all at the other node, or for more."""
        dice = self._dice
        master = dice.choice(self._at[node])
        there = [sae for sae in self._at[peer] if sae != master]
        slaves = tuple(there) if dice.random() < 0.2 else (dice.choice(there),)  # noqa: PLR2004
        number, size = dice.choice([1, 1, 1, 2, 5, 12]), UNIT * dice.randint(1, 8)
        if self._plan.far and dice.random() < 0.1:  # noqa: PLR2004 -- odds
            self._multicast(node, master, number, size)
            return
        ask = keys.GetKey(master=master, slaves=slaves, number=number, size=size)
        area = self._area(node, peer)
        self._fronts.ask(node, peer, ask, partial(self._got, tries=tries), area=area)

    def _multicast(self, node: str, master: str, number: int, size: int) -> None:
        """A master asks for the same keys for SAEs at several nodes."""
        others = [sae for sae in self._home if sae != master]
        slaves = tuple(self._dice.sample(others, self._dice.randint(2, 3)))
        ask = keys.GetMulticast(master=master, slaves=slaves, number=number, size=size)
        self._fronts.ask(node, "", ask, partial(self._got, tries=0), area=tuple(self._plan.names))

    def _area(self, node: str, peer: str) -> tuple[str, ...]:
        """Where trouble may be felt: anywhere, over a distance."""
        near = node == peer or (node, peer) in self._pairs
        return () if near else tuple(self._plan.names)

    def _got(self, op: Operation, *, tries: int) -> None:
        """The master tells the slaves, out of band; each fetches, sooner or later or never."""
        got, ask = op.answer, op.ask
        assert isinstance(ask, keys.GetKey | keys.GetMulticast)
        if not isinstance(got, keys.Keys):
            self._try_again(op, ask.master, tries)
            return
        names = [KeyName(got.grant, index) for index in range(ask.number)]
        for slave in ask.slaves:
            fate = self._dice.random()
            if fate < 0.15:  # noqa: PLR2004 -- odds
                continue
            wait = self._dice.choice([0.0, 0.01, 0.3, 2.0, 9.0])
            some = self._split(names) if fate > 0.7 else [names]  # noqa: PLR2004 -- odds
            for part in some:
                self._later(wait, partial(self._fetch, tuple(part), slave, ask.master))

    def _try_again(self, op: Operation, master: str, tries: int) -> None:
        """Ask once more, now and then; over a distance have a session first."""
        if not tries or refused(op) in FINAL:
            return
        if op.far:
            self._fronts.ensure(op.node, op.peer, master)
            self._later(1.0, partial(self.enc, op.node, op.peer, tries=tries - 1))
        elif self._dice.random() < 0.3:  # noqa: PLR2004 -- odds
            self._later(0.1, partial(self.enc, op.node, op.peer, tries=tries - 1))

    def _split(self, names: list[KeyName]) -> list[list[KeyName]]:
        cut = self._dice.randint(1, len(names))
        return [part for part in (names[:cut], names[cut:]) if part]

    # Slaves

    def _fetch(
        self, names: tuple[KeyName, ...], slave: str, master: str, *, tries: int = TRIES
    ) -> None:
        ask = keys.GetKeyWithIds(master=master, slave=slave, names=names)

        def fetched(op: Operation) -> None:
            if isinstance(op.answer, keys.KeysWithIds):
                self._respond(op)
            elif refused(op) not in FINAL and tries:
                wait = 0.1 * 2 ** (TRIES - tries)
                self._later(wait, lambda: self._fetch(names, slave, master, tries=tries - 1))

        ends = self._home[slave], self._home[master]
        if not self._fronts.ask(*ends, ask, fetched, area=self._area(*ends)) and tries:
            self._later(1.0, lambda: self._fetch(names, slave, master, tries=tries - 1))

    def _respond(self, op: Operation) -> None:
        """A response goes out, or breaks; its report may be late, or never come."""
        assert isinstance(op.ask, keys.GetKeyWithIds)
        ask, fate = op.ask, self._dice.random()
        wait = self._dice.choice([0.0, 0.01, 0.2])
        if fate < 0.7:  # noqa: PLR2004 -- odds
            self._later(wait, lambda: self._fronts.report(op, written=True))
        elif fate < 0.88:  # noqa: PLR2004 -- odds
            self._later(wait, lambda: self._fronts.report(op, written=False))
            again = wait + self._dice.choice([0.01, 1.0, 5.0, 12.0])
            self._later(again, lambda: self._fetch(ask.names, ask.slave, ask.master))
        elif fate < 0.94:  # noqa: PLR2004 -- odds
            self._later(12.0, lambda: self._fronts.report(op, written=True))
        else:
            wait = self._dice.choice([13.0, 50.0])
            self._later(wait, lambda: self._fetch(ask.names, ask.slave, ask.master))

    def fetch_some(self) -> None:
        """A slave asks for keys it has heard of, some of them perhaps not for the first time."""
        grant = self._some()
        if grant is None:
            return
        picked = self._dice.sample(range(grant.number), self._dice.randint(1, grant.number))
        names = tuple(KeyName(grant.id, index) for index in picked)
        self._fetch(names, self._dice.choice(grant.slaves), grant.master, tries=0)

    def _some(self) -> Grant | None:
        recent = list(self._heard.grants)[-_RECENT:]
        return self._heard.grants[self._dice.choice(recent)] if recent else None

    # Thieves, and who only looks

    def steal(self) -> None:
        """An SAE asks for what is not its own, or for what nobody has."""
        dice, grant = self._dice, self._some()
        if grant is None or dice.random() < 0.3:  # noqa: PLR2004 -- odds
            self._ask_wrongly()
            return
        index = grant.number if dice.random() < 0.2 else dice.randrange(grant.number)  # noqa: PLR2004
        names = (KeyName(grant.id, index),)
        node, peer = self._home[grant.slaves[0]], self._home[grant.master]
        ask = keys.GetKeyWithIds(master=grant.master, slave=grant.slaves[0], names=names)
        thieves = [sae for sae in self._home if sae not in grant.slaves]
        if index < grant.number:
            if dice.random() < 0.5:  # noqa: PLR2004 -- odds
                ask = replace(ask, slave=dice.choice(thieves))
            else:
                others = [sae for sae in self._home if sae != grant.master]
                ask = replace(ask, master=dice.choice(others))
        if dice.random() < 0.2:  # noqa: PLR2004 -- odds
            ask = replace(ask, names=(KeyName(dice.randbytes(keys.ID_OCTETS), 0),))
        self._fronts.ask(node, peer, ask, _nothing, honest=False)

    def _ask_wrongly(self) -> None:
        """Ask in the name of an SAE that is elsewhere, for SAEs that are elsewhere, for nothing."""
        dice = self._dice
        node, peer = dice.choice(self._pairs)
        strangers = [sae for sae, home in self._home.items() if home != node]
        mine = dice.choice(self._at[node])
        wrong = dice.choice(
            [
                keys.GetKey(
                    master=dice.choice(strangers), slaves=(self._at[peer][0],), number=1, size=8
                ),
                keys.GetKey(master=mine, slaves=("nobody",), number=1, size=8),
                keys.GetKey(master=mine, slaves=(self._at[peer][0],), number=0, size=8),
                keys.GetKey(master=mine, slaves=(self._at[peer][0],) * 2, number=1, size=8),
            ]
        )
        self._fronts.ask(node, peer, wrong, _nothing, honest=False)

    def status(self) -> None:
        """An SAE looks at what there is."""
        node, peer = self._dice.choice(self._pairs)
        master, slave = self._dice.choice(self._at[node]), self._dice.choice(self._at[peer])
        ask = keys.GetStatus(master=master, slave=slave, size=32)
        self._fronts.ask(node, peer, ask, _nothing)

    def _later(self, seconds: float, call: Callable[[], None]) -> None:
        self._cluster.agenda.later(seconds, call)


def _nothing(_: Operation) -> None:
    pass
