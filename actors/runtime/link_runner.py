"""The quantum links that a process starts at run time, over its interfaces, as core tells it."""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from actors.base import Context, Later, Part, Then, handles
from actors.protocol.common import Failed, Refused
from actors.protocol.siblings import Lost
from actors.protocol.trees import (
    Child,
    StartChild,
    Started,
    StartLink,
    StopChild,
    StopLink,
    Stopped,
)
from transport.envelope import Address
from transport.message import Message

_TREE_S = 5.0


class Interfaces(Protocol):
    """What a process can make links of, as its files say."""

    @property
    def fixed(self) -> Mapping[str, int]:
        """The peers to whom its file binds an interface for good; 0: core has the number."""
        ...

    def link(self, peer: str, interface: int) -> Child:
        """Make a link, or raise `Refused` as `StartLink` says."""
        ...

    def holder(self, peer: str) -> str:
        """Return the supervisor that takes a link to this peer as its child."""
        ...


class NoInterfaces:
    """Of a supervisor that is told of no links, as that of one peer."""

    def __init__(self) -> None:
        self.fixed: Mapping[str, int] = {}

    def link(self, peer: str, interface: int) -> Child:
        """Refuse."""
        raise Refused("no_such_interface", f"{interface} for {peer}; there are none here")

    def holder(self, peer: str) -> str:
        """Return what is never asked for."""
        return f"peer/{peer}"


class _Run(NamedTuple):
    interface: int
    name: str


class LinkRunner(Part):
    """Starts and stops links at run time; not durable.

    Where core is another process, they last as long as it is heard: it says anew what it wants
    when it is back. So no edge goes on with a link that a core started anew does not know.
    """

    def __init__(self, context: Context, interfaces: Interfaces) -> None:
        self._context, self._interfaces = context, interfaces
        self._runs: dict[str, _Run] = {}

    def runs(self, name: str) -> bool:
        """Whether this is a link that was started at run time."""
        return any(run.name == name for run in self._runs.values())

    @handles(StartLink)
    def on_start_link(self, ask: StartLink) -> Started | Later:
        """Start a link, unless it runs already; one that was given up, too."""
        if self._check(ask.peer, ask.interface):
            return Started()
        child = self._interfaces.link(ask.peer, ask.interface)
        answer, run = self._context.later(), _Run(ask.interface, child.name)

        def there(reply: Message) -> None:
            if not isinstance(reply, Failed) or reply.code == "duplicate":
                answer(Started())
                return
            if reply.code != "timeout":  # it may run, and is to be stopped then
                self._ended(ask.peer, run)
            answer(reply)

        self._runs[ask.peer] = run
        self._tell_holder(ask.peer, StartChild(child=child), there)
        return answer

    @handles(StopLink)
    def on_stop_link(self, ask: StopLink) -> Stopped | Later:
        """Stop a link, if there is one."""
        if ask.peer in self._interfaces.fixed:
            why = f"a [[link]] binds {ask.peer} for good: take it out of the file, or pause it"
            raise Refused("bound", why)
        run = self._runs.get(ask.peer)
        if run is None:
            return Stopped()
        answer = self._context.later()

        def gone(reply: Message) -> None:
            if isinstance(reply, Failed) and reply.code == "timeout":
                answer(reply)
                return
            self._ended(ask.peer, run)
            answer(Stopped())

        self._tell_holder(ask.peer, StopChild(name=run.name), gone)
        return answer

    @handles(Lost)
    def on_lost(self, _: Lost) -> None:
        """Core is away: run nothing of what it has asked for."""
        runs, self._runs = self._runs, {}
        for peer, run in runs.items():
            self._tell_holder(peer, StopChild(name=run.name), lambda _: None)

    def _ended(self, peer: str, run: _Run) -> None:
        if self._runs.get(peer) is run:
            del self._runs[peer]

    def _check(self, peer: str, interface: int) -> bool:
        """Tell whether the file runs this link already; `Refused` if it cannot be."""
        fixed = self._interfaces.fixed
        if fixed.get(peer) in (0, interface):
            return True
        bound = {**fixed, **{it: run.interface for it, run in self._runs.items()}}
        for other, number in bound.items():
            if number == interface and other != peer:
                raise Refused("in_use", f"interface {interface} leads to {other}")
            if other == peer and number != interface:
                raise Refused("link_up", f"interface {number} leads to {peer} already")
        return False

    def _tell_holder(self, peer: str, body: StartChild | StopChild, then: Then) -> None:
        holder = Address(self._interfaces.holder(peer), self._context.address.node)
        self._context.ask(holder, body, then, _TREE_S)
