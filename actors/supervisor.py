"""The supervisor: a fresh actor for a dead one, and a limit to its patience."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from actors.base import Actor, System, handles
from actors.protocol.common import Died, Refused
from actors.protocol.trees import Child, StartChild, Started, StopChild, Stopped
from transport.message import Message, local


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
    process that ends the process, for the subtree of a peer it quarantines that peer.
    """

    def __init__(
        self,
        system: System,
        name: str,
        children: Sequence[Child],
        give_up: Callable[[str, str], None],
        patience: Patience | None = None,
    ) -> None:
        super().__init__(system, name)
        self._children = {child.name: child for child in children}
        self._give_up, self._patience = give_up, patience or Patience()
        self._deaths: list[float] = []
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
        now = self.system.now()
        self._deaths = [t for t in self._deaths if now - t < self._patience.period] + [now]
        self.log.error("actor_died", child=news.name, why=news.why, deaths=len(self._deaths))
        self.system.meter.add("protokms_actor_deaths", actor=news.name)
        if len(self._deaths) > self._patience.limit:
            self._given_up = True
            self.stopped()
            self._give_up(news.name, news.why)
            return
        wait = self._patience.first_wait * 2 ** (len(self._deaths) - 1)
        self.remind(min(wait, self._patience.longest_wait), Restart(name=news.name))

    @handles(Restart)
    def restart(self, due: Restart) -> None:
        """Start a fresh child under the old name."""
        if due.name in self._children and not self._given_up and self.sender == self.address:
            self._start(self._children[due.name])

    @handles(StartChild)
    def start_child(self, ask: StartChild) -> Started:
        """Take one more child in."""
        if self._given_up:
            raise Refused("quarantined", self.address.name)
        if ask.child.name in self._children:
            raise Refused("duplicate", ask.child.name)
        self._children[ask.child.name] = ask.child
        self._start(ask.child)
        return Started()

    @handles(StopChild)
    def stop_child(self, ask: StopChild) -> Stopped:
        """Let one child go."""
        if self._children.pop(ask.name, None) is None:
            raise Refused("no_such_child", ask.name)
        self.system.stop(ask.name)
        return Stopped()

    def _start(self, child: Child) -> None:
        self.system.spawn(child.name, child.kind, *child.args, parent=self.address)
