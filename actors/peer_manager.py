"""The peer manager: who is who, who is up, which SAE is served where.

The signed directory is the truth. What a peer says about itself may confirm it, never change it.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from actors.base import Actor, Later, System, handles
from actors.protocol import peers
from actors.protocol.common import Failed, Health, Healthy, Refused
from actors.protocol.trees import Child, StartChild, StopChild
from transport.envelope import Address
from transport.message import Message, local

_CAPABILITIES_S = 5.0
_TREE_S = 5.0
_LOG_S = 60.0
_TEXT_LIMIT = 64


@dataclass(frozen=True, slots=True)
class PeerPlan:
    """What the composition of a node tells its peer manager.

    `stores` are the neighbours, which have a key store here from the start; these, and the
    actors in `audience`, hear `Located` without asking; `relays` are those of them that have a
    relay here. `watchers` are the actors that hear `Directory`, `Linked`, and of every peer that
    comes up or goes down. `alive()` says which peers the transport hears; `subtree(peer)` and
    `link(peer, options)` make children for neighbours that come at run time, and raise `Refused`
    for options that are wrong.
    """

    me: peers.Capabilities
    directory: peers.Directory
    subtree: Callable[[str], Child]
    link: Callable[[str, str], Child]
    alive: Callable[[], Collection[str]] = tuple
    audience: tuple[str, ...] = ()
    stores: tuple[str, ...] = ()
    relays: tuple[str, ...] = ()
    watchers: tuple[str, ...] = ()
    root: str = "supervisor"


@dataclass(slots=True)
class _Known:
    """What is known of one peer beyond the directory."""

    up: bool = False
    version: str = ""
    trouble: str = ""
    asking: bool = False
    logged: float = -_LOG_S


@local
class AskAgain(Message):
    """Time to ask a peer once more who it is."""

    peer: str


class PeerManager(Actor):
    """Keeps the directory, liveness and what peers claim; starts and stops links on demand."""

    def __init__(self, system: System, name: str, plan: PeerPlan) -> None:
        super().__init__(system, name)
        self._plan = plan
        self._directory = plan.directory
        self._kms = _checked(plan.directory, system.node)
        self._known: dict[str, _Known] = {}
        self._stores = dict.fromkeys(plan.stores)
        self._relays = dict.fromkeys(plan.relays)
        self._linked = dict.fromkeys(plan.stores)
        self._has_had_link = dict.fromkeys(plan.stores)
        self._audience = dict.fromkeys(plan.audience)
        self._audience |= {f"key_store/{peer}": None for peer in plan.stores}
        self._conflicts = 0

    def started(self) -> None:
        """Say who is where, and ask everybody who is up already."""
        self.system.meter.set("protokms_directory_serial", self._directory.serial)
        self._publish()
        self._publish_links()
        for peer in sorted(self._plan.alive()):
            self._up(peer)

    # The directory

    @handles(peers.Directory)
    def replace(self, new: peers.Directory) -> peers.Done:
        """Take a newer directory; the same one again is harmless, an older one refused."""
        if new == self._directory:
            return peers.Done()
        if new.serial <= self._directory.serial:
            self.system.meter.add("protokms_directory_refusals", reason="stale")
            raise Refused("stale", f"serial {new.serial}, here is {self._directory.serial}")
        self._kms = _checked(new, self.system.node)
        self._directory = new
        self._known = {peer: known for peer, known in self._known.items() if peer in self._kms}
        self.log.info("directory", serial=new.serial, kmss=len(new.kmss))
        self.system.meter.set("protokms_directory_serial", new.serial)
        self._publish()
        for peer in sorted(self._plan.alive()):
            self._up(peer)
        return peers.Done()

    @handles(peers.Subscribe)
    def subscribe(self, _: peers.Subscribe) -> None:
        """Add the sender to those who hear `Located`; a key store hears of its peer too.

        A relay hears of its neighbour alone, and who watches the network all there is to know.
        """
        if self.sender.name in self._plan.watchers:
            self._brief(self.sender.name)
            return
        kind, _sep, peer = self.sender.name.partition("/")
        if kind == "relay":
            self._relays[peer] = None
        else:
            self._audience[self.sender.name] = None
            self.tell(self.sender, self._located())
        if kind == "key_store":
            self._stores[peer] = None
        if kind in ("key_store", "relay") and self._of(peer).up:
            self.tell(self.sender, peers.PeerUp(peer=peer))

    # Liveness and claims

    @handles(peers.PeerUp)
    def peer_up(self, news: peers.PeerUp) -> None:
        """Pass the news on, and ask the peer who it is."""
        self._up(news.peer)

    @handles(peers.PeerDown)
    def peer_down(self, news: peers.PeerDown) -> None:
        """Pass the news on; a neighbour whose connection is merely idle is there."""
        if news.peer in self._kms and not (news.idle and news.peer in self._linked):
            self._of(news.peer).up = False
            self._pass_on(news.peer, news)

    @handles(peers.Capabilities)
    def capabilities(self, claim: peers.Capabilities) -> peers.CapabilitiesReply:
        """Hear who a peer says it is, and answer the same; a conflict is refused."""
        if trouble := self._weigh(self.sender.node, claim):
            raise Refused("conflict", trouble)
        me = self._plan.me
        return peers.CapabilitiesReply(
            id=me.id, name=me.name, version=me.version, words=me.words, interfaces=me.interfaces
        )

    @handles(AskAgain)
    def ask_again(self, due: AskAgain) -> None:
        """Ask a peer that did not answer, as long as it is up."""
        if due.peer in self._kms and self._of(due.peer).up:
            self._ask_who(due.peer)

    @handles(peers.ListPeers)
    def list_peers(self, _: peers.ListPeers) -> peers.Peers:
        """Answer with every peer of the directory."""
        rows = [(name, self._of(name)) for name in sorted(self._kms) if name != self.system.node]
        states = (peers.PeerState(name, one.up, one.version, one.trouble) for name, one in rows)
        return peers.Peers(peers=tuple(states))

    @handles(Health)
    def health(self, _: Health) -> Healthy:
        """Ready whenever it answers; peers in trouble are facts, and alarms of their own."""
        known = [(name, self._of(name)) for name in sorted(self._kms)]
        troubles = [(f"trouble/{name}", one.trouble) for name, one in known if one.trouble]
        facts = [
            ("directory_serial", str(self._directory.serial)),
            ("peers_up", str(sum(one.up for _, one in known))),
            ("conflicts", str(self._conflicts)),
        ]
        return Healthy(ready=True, reasons=(), facts=(*facts, *troubles))

    # Links at run time

    @handles(peers.AddQuantumPeer)
    def add_quantum_peer(self, ask: peers.AddQuantumPeer) -> Later:
        """Start a link, and the peer's subtree with its key store when there is none."""
        if ask.peer not in self._kms or ask.peer == self.system.node:
            raise Refused("no_such_peer", ask.peer)
        if ask.peer in self._stores and ask.peer not in self._has_had_link:
            raise Refused("not_allowed", f"{ask.peer} is reached by relay since the start")
        link, subtree = self._plan.link(ask.peer, ask.options), self._plan.subtree(ask.peer)
        answer = self.later()

        def subtree_there(reply: Message) -> None:
            if isinstance(reply, Failed) and reply.code != "duplicate":
                answer(reply)
                return
            store = self._here(f"key_store/{ask.peer}")
            self._stores[ask.peer] = self._audience[store.name] = None
            self._has_had_link[ask.peer] = self._relays[ask.peer] = None
            self.tell(store, self._located())
            if self._of(ask.peer).up:
                self.tell(store, peers.PeerUp(peer=ask.peer))
            self.ask(self._here(subtree.name), StartChild(child=link), link_there, _TREE_S)

        def link_there(reply: Message) -> None:
            if not isinstance(reply, Failed):
                self._linked[ask.peer] = None
                self._publish_links()
            answer(reply if isinstance(reply, Failed) else peers.Done())

        root = self._here(self._plan.root)
        self.ask(root, StartChild(child=subtree), subtree_there, _TREE_S)
        return answer

    @handles(peers.RemoveQuantumPeer)
    def remove_quantum_peer(self, ask: peers.RemoveQuantumPeer) -> Later:
        """Stop a link; the key store and what it holds stay."""
        answer = self.later()

        def gone(reply: Message) -> None:
            if not isinstance(reply, Failed):
                self._linked.pop(ask.peer, None)
                self._publish_links()
            answer(reply if isinstance(reply, Failed) else peers.Done())

        name = f"quantum_link/{ask.peer}"
        if ask.peer not in self._kms:
            raise Refused("no_such_peer", ask.peer)
        self.ask(self._here(f"peer/{ask.peer}"), StopChild(name=name), gone, _TREE_S)
        return answer

    # In here

    def _up(self, peer: str) -> None:
        if peer not in self._kms or peer == self.system.node:
            return
        self._of(peer).up = True
        self._pass_on(peer, peers.PeerUp(peer=peer))
        self._ask_who(peer)

    def _pass_on(self, peer: str, news: peers.PeerUp | peers.PeerDown) -> None:
        up = isinstance(news, peers.PeerUp)
        self.log.info("peer_up" if up else _down(news), peer=peer)
        for name in self._plan.watchers:
            self.tell(self._here(name), news)
        if peer in self._stores:
            if up:  # a store that is fresh, or was started after us, knows nobody yet
                self.tell(self._here(f"key_store/{peer}"), self._located())
            self.tell(self._here(f"key_store/{peer}"), news)
        if peer in self._relays:
            self.tell(self._here(f"relay/{peer}"), news)

    def _ask_who(self, peer: str) -> None:
        known = self._of(peer)

        def told(reply: Message) -> None:
            known.asking = False
            if peer not in self._kms:
                return
            if isinstance(reply, peers.CapabilitiesReply):
                self._weigh(peer, reply)
            elif isinstance(reply, Failed) and reply.code == "conflict":
                self._alarm(peer, "it refuses who we say we are: " + _short(reply.why))
            else:
                self.remind(_CAPABILITIES_S, AskAgain(peer=peer))

        if not known.asking:
            known.asking = True
            self.ask(Address("peer_manager", peer), self._plan.me, told, _CAPABILITIES_S)

    def _weigh(self, peer: str, claim: peers.Capabilities | peers.CapabilitiesReply) -> str:
        """Compare a claim with the directory; return what is wrong with it, or nothing."""
        kms = self._kms.get(peer)
        if kms is None:
            raise Refused("no_such_peer", peer)
        known = self._of(peer)
        if (claim.name, claim.id) != (kms.name, kms.id):
            said = f"it says it is {_short(claim.name)!r} with id {_short(claim.id)!r}"
            self._alarm(peer, f"{said}, the directory says {kms.id!r}")
            return known.trouble
        missing = sorted(set(self._plan.me.words) - set(claim.words))
        known.version, known.trouble = _short(claim.version), ""
        if missing:
            known.trouble = f"version {known.version} does not know {', '.join(missing)[:200]}"
            self._log_trouble(peer)
        return ""

    def _alarm(self, peer: str, trouble: str) -> None:
        self._conflicts += 1
        self._of(peer).trouble = trouble
        self.system.meter.add("protokms_conflicts", peer=peer)
        self._log_trouble(peer)

    def _log_trouble(self, peer: str) -> None:
        known, now = self._of(peer), self.system.now()
        if now - known.logged >= _LOG_S:  # a peer must not fill our disk
            known.logged = now
            self.log.error("peer_trouble", peer=peer, trouble=known.trouble, alarm=True)

    def _publish(self) -> None:
        located = self._located()
        for name in self._audience:
            self.tell(self._here(name), located)
        for name in self._plan.watchers:
            self.tell(self._here(name), self._directory)

    def _publish_links(self) -> None:
        for name in self._plan.watchers:
            self.tell(self._here(name), self._links())

    def _links(self) -> peers.Linked:
        return peers.Linked(peers=tuple(sorted(self._linked)))

    def _brief(self, watcher: str) -> None:
        """Tell one that has just started all that it has missed."""
        news: list[Message] = [self._directory, self._links()]
        news += [peers.PeerUp(peer=peer) for peer, known in self._known.items() if known.up]
        for body in news:
            self.tell(self._here(watcher), body)

    def _located(self) -> peers.Located:
        kmss = self._directory.kmss
        return peers.Located(
            serial=self._directory.serial,
            here=self.system.node,
            saes=tuple(sorted((sae, kms.name) for kms in kmss for sae in kms.saes)),
            ids=tuple(sorted((kms.name, kms.id) for kms in kmss)),
        )

    def _of(self, peer: str) -> _Known:
        return self._known.setdefault(peer, _Known()) if peer in self._kms else _Known()

    def _here(self, name: str) -> Address:
        return Address(name, self.system.node)


def _checked(directory: peers.Directory, node: str) -> dict[str, peers.Kms]:
    """Index a directory by KMS name; `Refused("malformed")` if it contradicts itself."""
    kmss = {kms.name: kms for kms in directory.kmss}
    saes = [sae for kms in directory.kmss for sae in kms.saes]
    if len(kmss) < len(directory.kmss) or len({kms.id for kms in kmss.values()}) < len(kmss):
        raise Refused("malformed", "a KMS name or id is there twice")
    if len(set(saes)) < len(saes):
        raise Refused("malformed", "an SAE is bound to two KMSs")
    if node not in kmss:
        raise Refused("malformed", f"{node} is not in the directory")
    return kmss


def _down(news: peers.PeerUp | peers.PeerDown) -> str:
    return "peer_idle" if isinstance(news, peers.PeerDown) and news.idle else "peer_down"


def _short(text: str) -> str:
    return text[:_TEXT_LIMIT]
