"""The supervisor: a fresh actor for a dead one, and a limit to its patience."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from actors.base import Actor, System, handles
from actors.protocol import alarms
from actors.protocol.common import Died, Refused
from actors.protocol.trees import Child, StartChild, Started, StopChild, Stopped
from actors.runtime.link_runner import Interfaces, LinkRunner, NoInterfaces
from transport.envelope import Address, Envelope
from transport.message import Message, local

GiveUp = Callable[[str, str], None]
"""Called with the name of a supervisor's child and why it cannot be kept alive."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How many deaths in how many seconds are borne, and the waits before a fresh start."""

    limit: int = 5
    period: float = 30.0
    first_wait: float = 0.05
    longest_wait: float = 5.0


@local
class Restart(Message):
    """Time to try again with this child."""

    name: str


class Supervisor(Actor):
    """Starts its children in order, and a fresh one, after a wait, for each that dies.

    Past its patience it stops them all and calls `give_up(name, why)`: for the root of a
    process that ends the process, for the subtree of a peer it quarantines that peer. A link that
    was started at run time is given up alone: nobody else suffers for what core has asked for.
    The root of a process that has `interfaces` makes links of them.
    """

    parts = (LinkRunner,)

    def __init__(
        self,
        system: System,
        name: str,
        children: Sequence[Child],
        give_up: GiveUp,
        patience: Patience | None = None,
        *,
        interfaces: Interfaces | None = None,
    ) -> None:
        super().__init__(system, name)
        self._links = LinkRunner(self, interfaces or NoInterfaces())
        self.serve(self._links)
        self._children = {child.name: child for child in children}
        self._give_up, self._patience = give_up, patience or Patience()
        self._deaths: dict[str, list[float]] = {}
        """Of each link that was started at run time, and of all others together."""
        self._dead: dict[str, None] = {}
        """Those that wait for a fresh start."""
        self._given_up = False

    def started(self) -> None:
        """Start the children, first to last."""
        for child in self._children.values():
            self._start(child)

    def stopped(self) -> None:
        """Stop the children, last to first."""
        for name in reversed(self._children):
            self.system.stop(name)

    @handles(Died)
    def died(self, news: Died) -> None:
        """Arrange for a fresh child, unless too many have died lately."""
        if news.name not in self._children or self._given_up:
            return
        self._over(news.name)
        now, which = self.system.now(), news.name if self._links.runs(news.name) else ""
        before = self._deaths.get(which, [])
        deaths = [t for t in before if now - t < self._patience.period] + [now]
        self._deaths[which] = deaths
        self.log.error("actor_died", child=news.name, why=news.why, deaths=len(deaths))
        self.system.meter.add("protokms_actor_deaths", actor=news.name)
        if len(deaths) > self._patience.limit:
            self._end(news, alone=bool(which))
            return
        self._dead[news.name] = None
        wait = self._patience.first_wait * 2 ** (len(deaths) - 1)
        self.remind(min(wait, self._patience.longest_wait), Restart(name=news.name))

    def _end(self, news: Died, *, alone: bool) -> None:
        """Give up: on this child if it is a link of run time, or on all of them."""
        if not alone:
            self._given_up = True
            self.stopped()
            self._give_up(news.name, news.why)
            return
        del self._children[news.name], self._deaths[news.name]
        why = f"given up, since it died too often: {news.why}"
        self.log.error("link_given_up", child=news.name, why=why, alarm=True)
        peer = news.name.partition("/")[2]
        self._say_for(news.name, alarms.Raised(id="link_not_ready", subject=peer, text=why))

    @handles(Restart)
    def restart(self, due: Restart) -> None:
        """Start a fresh child under the old name, unless it was stopped, or started, meanwhile."""
        if due.name in self._dead and not self._given_up and self.sender == self.address:
            self._start(self._children[due.name])

    @handles(StartChild)
    def start_child(self, ask: StartChild) -> Started:
        """Take one more child in, perhaps instead of one that is made otherwise."""
        if self._given_up:
            raise Refused("quarantined", self.address.name)
        before = self._children.get(ask.child.name)
        if before and (before == ask.child or not ask.instead):
            raise Refused("duplicate", ask.child.name)
        if before:
            self.system.stop(before.name)
            self._over(before.name)
        self._children[ask.child.name] = ask.child
        self._start(ask.child)
        return Started()

    @handles(StopChild)
    def stop_child(self, ask: StopChild) -> Stopped:
        """Let one child go."""
        if self._children.pop(ask.name, None) is None:
            self._over(ask.name)  # it may have been given up
            raise Refused("no_such_child", ask.name)
        self._deaths.pop(ask.name, None)
        self._dead.pop(ask.name, None)
        self.system.stop(ask.name)
        self._over(ask.name)
        return Stopped()

    def _over(self, name: str) -> None:
        """Say for a child that is gone that its alarms are over: its next life raises them anew."""
        self._say_for(name, alarms.Ended(id=""))

    def _say_for(self, name: str, news: alarms.Raised | alarms.Ended) -> None:
        own = Address(name, self.system.node)
        self.system.send(Envelope(own, alarms.told(self.system.node), news))

    def _start(self, child: Child) -> None:
        self._dead.pop(child.name, None)
        self.system.spawn(child.name, child.kind, *child.args, parent=self.address)
