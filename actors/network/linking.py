"""Quantum links that come and go at run time, each over an interface of some process."""

from collections.abc import Callable, Iterable
from typing import Protocol

from actors.base import Context, Later, Part, handles
from actors.protocol import peers
from actors.protocol.common import Failed, Refused
from actors.protocol.siblings import ProcessUp
from actors.protocol.trees import Child, StartChild, StartLink, StopLink
from actors.runtime.places import LinkPlaces
from actors.runtime.ports import CORE
from transport.envelope import Address
from transport.message import Message, local

_TREE_S = 5.0

LAST_WORDS_S = 10.0
"""Seconds for which a link that was stopped in another process is still heard."""

_AWAY = ("core_down", "crashed", "not_ready", "timeout", "undeliverable")
"""Codes of `Failed` that say nothing of what becomes of a link."""


@local
class Forget(Message):
    """Time to hear no more of a link that was stopped."""

    peer: str


class LinkEvents(Protocol):
    """What the peer manager hears of its links."""

    def may_link(self, peer: str) -> None:
        """Raise `Refused` if there can be no link to this peer."""
        ...

    def store_there(self, peer: str) -> None:
        """A store, and a relay, of this peer run now."""
        ...

    def links_changed(self) -> None:
        """`linked` is another."""
        ...


class Linking(Part):
    """Starts and stops links: the subtree of the peer in core, the link where its interface is."""

    def __init__(
        self,
        context: Context,
        *,
        events: LinkEvents,
        places: LinkPlaces,
        subtree: Callable[[str], Child],
        neighbours: Iterable[str],
        root: str,
    ) -> None:
        self._context, self._events = context, events
        self._places, self._subtree, self._root = places, subtree, root
        self.linked = dict.fromkeys([*neighbours, *places.bound])
        self._stopping: set[str] = set()
        """Peers whose link is to stop, and has not yet: what was to start does not."""

    def started(self) -> None:
        """Say again what is wanted: who said it before may have died on the way."""
        for peer, number in self._places.bound.items():
            self._start(peer, number, lambda _: None)

    @handles(peers.AddQuantumPeer)
    def on_add(self, ask: peers.AddQuantumPeer) -> peers.Done | Later:
        """Start a link, and the peer's subtree with its key store when there is none."""
        self._events.may_link(ask.peer)
        self._places.bind(ask.peer, ask.interface)
        self._stopping.discard(ask.peer)
        if self._places.is_fixed(ask.peer):
            return peers.Done()
        answer = self._context.later()

        def there(reply: Message) -> None:
            refused = isinstance(reply, Failed) and reply.code not in _AWAY
            if refused and self._places.bound.get(ask.peer) == ask.interface:
                self._leave(ask.peer)
            answer(reply if isinstance(reply, Failed) else peers.Done())

        self._start(ask.peer, ask.interface, there)
        return answer

    @handles(peers.RemoveQuantumPeer)
    def on_remove(self, ask: peers.RemoveQuantumPeer) -> peers.Done | Later:
        """Stop a link; the key store and what it holds stay."""
        if self._places.is_fixed(ask.peer):
            raise Refused("bound", f"a [[link]] binds {ask.peer} for good")
        if ask.peer not in self._places.bound:
            return peers.Done()
        answer = self._context.later()
        self._stopping.add(ask.peer)

        def gone(reply: Message) -> None:
            failed, wanted_again = isinstance(reply, Failed), ask.peer not in self._stopping
            self._stopping.discard(ask.peer)
            if not (failed or wanted_again):
                self._leave(ask.peer)
            answer(reply if failed else peers.Done())

        self._context.ask(self._supervisor_of(ask.peer), StopLink(peer=ask.peer), gone, _TREE_S)
        return answer

    @handles(peers.ListInterfaces)
    def on_list(self, _: peers.ListInterfaces) -> peers.Interfaces:
        """Tell of all interfaces, and where they lead."""
        found = (
            peers.InterfaceState(
                number=it.number,
                module=it.module,
                process=it.process,
                peer=it.peer,
                fixed=self._places.is_fixed(it.peer),
            )
            for it in self._places.all()
        )
        return peers.Interfaces(interfaces=tuple(found))

    @handles(ProcessUp)
    def on_process_up(self, news: ProcessUp) -> None:
        """A process that is back runs no link of run time: say which are wanted."""
        for peer, number in self._places.bound.items():
            if self._places.process_of(peer) == news.process:
                self._start(peer, number, lambda _: None)

    @handles(Forget)
    def on_forget(self, due: Forget) -> None:
        """The last words of a link have been said."""
        if self._context.sender == self._context.address:
            self._places.forget(due.peer)

    def _start(self, peer: str, number: int, then: Callable[[Message], None]) -> None:
        """Start what there is not yet of a neighbour: the subtree, then the link."""

        def subtree_there(reply: Message) -> None:
            if isinstance(reply, Failed) and reply.code != "duplicate":
                then(reply)
                return
            if peer in self._stopping or self._places.bound.get(peer) != number:
                then(Failed(code="not_ready", why=f"the link to {peer} was removed meanwhile"))
                return
            self._events.store_there(peer)
            start = StartLink(peer=peer, interface=number)
            self._context.ask(self._supervisor_of(peer), start, link_there, _TREE_S)

        def link_there(reply: Message) -> None:
            if not isinstance(reply, Failed) and peer in self._places.bound:
                self.linked[peer] = None
                self._events.links_changed()
            then(reply)

        tree = StartChild(child=self._subtree(peer), instead=True)  # of one that relay has filled
        self._context.ask(self._here(self._root), tree, subtree_there, _TREE_S)

    def _leave(self, peer: str) -> None:
        self._places.leave(peer)
        self._context.remind(LAST_WORDS_S, Forget(peer=peer))
        if self.linked.pop(peer, peer) is None:
            self._events.links_changed()

    def _supervisor_of(self, peer: str) -> Address:
        process = self._places.process_of(peer) or CORE
        return self._here(self._root if process == CORE else f"{self._root}/{process}")

    def _here(self, name: str) -> Address:
        return Address(name, self._context.address.node)
