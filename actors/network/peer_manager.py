"""The peer manager: who is who, who is up, which SAE is served where.

The signed directory is the truth. What a peer says about itself may confirm it, never change it.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from actors.base import Actor, System, handles
from actors.network.homes import DirectoryHomes
from actors.network.linking import Linking
from actors.protocol import alarms, peers
from actors.protocol.common import Failed, Health, Healthy, Refused
from actors.protocol.trees import Child
from actors.runtime.places import LinkPlaces
from transport.envelope import Address
from transport.message import Message, local

_CAPABILITIES_S = 5.0
_LOG_S = 60.0
_TEXT_LIMIT = 64
_REFUSES = "refuses our key"
_LEFT = "the directory names it no more; its store stays, with what it holds"


@dataclass(frozen=True, slots=True)
class PeerPlan:
    """What the composition of a node tells its peer manager.

    `stores` are the neighbours, which have a key store here from the start, and hear `Located`
    without asking; `relays` are those of them that have a relay here. `audience` are the front
    ends of the node: they hear `HomesChanged`, and ask for the pieces. `watchers` are the actors
    that hear `Directory`, `Linked`, and of every peer that comes up or goes down. `alive()` says
    which peers the transport hears; `subtree(peer)` makes what a neighbour has that comes at run
    time, but for its link, which runs over an interface in `places`.
    """

    me: peers.Capabilities
    directory: peers.Directory
    subtree: Callable[[str], Child]
    places: LinkPlaces = field(default_factory=LinkPlaces)
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
    words: tuple[str, ...] | None = None
    """Which of ours it knows; None: it has not said so."""
    trouble: str = ""
    asking: bool = False
    logged: float = -_LOG_S
    alarms: dict[str, str] = field(default_factory=dict)
    """Those that stand, and what each says."""


@local
class AskAgain(Message):
    """Time to ask a peer once more who it is."""

    peer: str


class PeerManager(Actor):
    """Keeps the directory, liveness and what peers claim; starts and stops links on demand."""

    parts = (Linking,)

    def __init__(self, system: System, name: str, plan: PeerPlan) -> None:
        super().__init__(system, name)
        self._plan = plan
        self._directory = plan.directory
        self._kms = _by_name(plan.directory, system.node)
        self._homes = _homes(plan.directory)
        self._known: dict[str, _Known] = {}
        self._stores = dict.fromkeys(plan.stores)
        self._relays = dict.fromkeys(plan.relays)
        self._has_had_link = dict.fromkeys(plan.stores)
        self._audience = {f"key_store/{peer}": None for peer in plan.stores}
        self._fronts = {name.partition("/")[0] for name in plan.audience}
        self._conflicts = 0
        self._left_told: list[str] = []
        self._linking = Linking(
            self,
            events=self,
            places=plan.places,
            subtree=plan.subtree,
            neighbours=plan.stores,
            root=plan.root,
        )
        self.serve(self._linking)

    def started(self) -> None:
        """Say who is where, and ask everybody who is up already."""
        self.system.meter.set("protokms_directory_serial", self._directory.serial)
        self._publish()
        self.links_changed()
        for peer in sorted(self._plan.alive()):
            self._up(peer)
        self._linking.started()

    # The directory

    @handles(peers.Directory)
    def replace(self, new: peers.Directory) -> peers.Done:
        """Take a newer directory; the same one again is harmless, an older one refused."""
        if new == self._directory:
            return peers.Done()
        if new.serial <= self._directory.serial:
            self.system.meter.add("protokms_directory_refusals", reason="stale")
            raise Refused("stale", f"serial {new.serial}, here is {self._directory.serial}")
        kms, homes = _by_name(new, self.system.node), _homes(new)
        before, self._kms, self._homes = self._kms, kms, homes
        self._directory = new
        for peer in sorted(self._known.keys() - self._kms.keys()):
            self._tell_alarms(peer, self._known.pop(peer))
        self.log.info("directory", serial=new.serial, kmss=len(new.kmss))
        self.system.meter.set("protokms_directory_serial", new.serial)
        self._publish()
        for peer in sorted(before.keys() - self._kms.keys()):
            self._leaves(peer)
        for peer in sorted(self._kms.keys() - before.keys()):
            self._tell_listed(peer)
        self._gauge_left()
        for peer in sorted(self._plan.alive()):
            self._up(peer)
        return peers.Done()

    @handles(peers.Subscribe)
    def subscribe(self, _: peers.Subscribe) -> None:
        """Add the sender to those who hear `Located`; a key store hears of its peer too.

        A relay hears of its neighbour alone, who watches the network all there is to know, and a
        front end how many pieces there are to ask for.
        """
        if self.sender.name in self._plan.watchers:
            self._brief(self.sender.name)
            return
        if self.sender.name in self._plan.audience:
            self.tell(self.sender, self._homes_changed())
            return
        kind, _sep, peer = self.sender.name.partition("/")
        if kind in self._fronts:
            return  # its bridge, or a front end that is none of ours: `Located` does not travel
        if kind == "relay":
            self._relays[peer] = None
        else:
            self._audience[self.sender.name] = None
            self.tell(self.sender, self._located())
        if kind == "key_store":
            self._stores[peer] = None
            if peer not in self._kms:
                self._tell_listed(peer)
                self._gauge_left()
        if kind in ("key_store", "relay") and self._of(peer).up:
            self.tell(self.sender, peers.PeerUp(peer=peer))
        if kind in ("key_store", "relay"):
            self._tell_words(self.sender, self.sender.name.partition("/")[2])

    @handles(peers.GetHomes)
    def get_homes(self, ask: peers.GetHomes) -> peers.Homes:
        """Tell a front end one piece of where all SAEs are."""
        if ask.serial != self._directory.serial:
            raise Refused("stale", f"serial {ask.serial}, here is {self._directory.serial}")
        return self._homes.piece(ask.piece)

    # Liveness and claims

    @handles(peers.PeerUp)
    def peer_up(self, news: peers.PeerUp) -> None:
        """Pass the news on, and ask the peer who it is."""
        self._up(news.peer)

    @handles(peers.PeerDown)
    def peer_down(self, news: peers.PeerDown) -> None:
        """Pass the news on; a neighbour whose connection is merely idle is there."""
        if news.peer in self._kms and not (news.idle and news.peer in self._linking.linked):
            self._of(news.peer).up = False
            self._pass_on(news.peer, news)

    @handles(peers.KeyRefused)
    def key_refused(self, news: peers.KeyRefused) -> None:
        """Say why a peer is not heard: it, or this node, has a directory that is out of date."""
        if news.peer in self._kms and not self._of(news.peer).up:
            serial = self._directory.serial
            trouble = f"{news.peer} {_REFUSES}; directory serial {serial} here"
            self._of(news.peer).trouble = trouble
            self._tell_alarms(news.peer, self._of(news.peer), key_refused=trouble)
            self._log_trouble(news.peer)

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
        """Answer with every peer of the directory, and those that have left it and a store here."""
        rows = [(name, self._of(name)) for name in sorted(self._kms) if name != self.system.node]
        states = [peers.PeerState(name, one.up, one.version, one.trouble) for name, one in rows]
        states += (peers.PeerState(name, False, "", _LEFT) for name in self._left())
        return peers.Peers(peers=tuple(sorted(states, key=lambda state: state.name)))

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

    # What its links tell it

    def may_link(self, peer: str) -> None:
        """Refuse a link to nobody, or to this node."""
        if peer not in self._kms or peer == self.system.node:
            raise Refused("no_such_peer", peer)

    def store_there(self, peer: str) -> None:
        """Tell the store of a new neighbour all it has missed."""
        if peer in self._has_had_link:
            return
        store = self._here(f"key_store/{peer}")
        self._stores[peer] = self._audience[store.name] = None
        self._has_had_link[peer] = self._relays[peer] = None
        self.tell(store, self._located())
        if self._of(peer).up:
            self.tell(store, peers.PeerUp(peer=peer))

    def links_changed(self) -> None:
        """Tell who watches the network which neighbours there are."""
        for name in self._plan.watchers:
            self.tell(self._here(name), self._links())

    # In here

    def _up(self, peer: str) -> None:
        if peer not in self._kms or peer == self.system.node:
            return
        known = self._of(peer)
        if _REFUSES in known.trouble:
            known.trouble = ""
            self._tell_alarms(peer, known)
        known.up = True
        self._pass_on(peer, peers.PeerUp(peer=peer))
        self._ask_who(peer)

    def _leaves(self, peer: str) -> None:
        """A peer is no KMS of this network any more: it is away for all who know it."""
        self._pass_on(peer, peers.PeerDown(peer=peer))
        self._tell_listed(peer)
        self.log.warning("peer_left", peer=peer, why=_LEFT)

    def _tell_listed(self, peer: str) -> None:
        if peer in self._stores:
            listed = peers.PeerListed(peer=peer, listed=peer in self._kms)
            self.tell(self._here(f"key_store/{peer}"), listed)

    def _left(self) -> list[str]:
        return sorted(peer for peer in self._stores if peer not in self._kms)

    def _gauge_left(self) -> None:
        before, self._left_told = self._left_told, self._left()
        self.system.meter.set("protokms_peers_left", len(self._left_told))
        to = alarms.told(self.system.node)
        for peer in before:
            if peer not in self._left_told:
                self.tell(to, alarms.Ended(id="peer_left", subject=peer))
        for peer in self._left_told:
            if peer not in before:
                self.tell(to, alarms.Raised(id="peer_left", subject=peer))

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
        self._hear_words(peer, claim.words)
        missing = sorted(set(self._plan.me.words) - set(claim.words))
        known.version, before = _short(claim.version), known.trouble
        troubles = {}
        if missing:
            said = f"version {known.version} does not know {', '.join(missing)[:200]}"
            troubles["other_version"] = said
        if other := self._other_mode(claim.interfaces):
            troubles["other_mode"] = other
            if other not in before:
                self.system.meter.add("protokms_alarms", kind="other_mode", peer=peer)
        known.trouble = "; ".join(troubles.values())
        self._tell_alarms(peer, known, **troubles)
        if troubles:
            self._log_trouble(peer)
        return ""

    def _hear_words(self, peer: str, told: Collection[str]) -> None:
        """Let those who speak to it know which words it understands, of those we know."""
        known, theirs = self._of(peer), set(told)
        words = tuple(word for word in self._plan.me.words if word in theirs)
        if words == known.words:
            return
        same = (it.words for it in self._known.values() if it.words == words)
        known.words = next(same, words)  # nearly all peers say the same: they share one tuple
        for name in self._plan.watchers:
            self._tell_words(self._here(name), peer)
        if peer in self._stores:
            self._tell_words(self._here(f"key_store/{peer}"), peer)
        if peer in self._relays:
            self._tell_words(self._here(f"relay/{peer}"), peer)

    def _tell_words(self, to: Address, peer: str) -> None:
        if (words := self._of(peer).words) is not None:
            self.tell(to, peers.PeerSpeaks(peer=peer, words=words))

    def _other_mode(self, interfaces: Collection[str]) -> str:
        """Say so if a peer gives keys out in another mode: it may not know yet what is due (R9)."""
        ours, theirs = _modes(self._plan.me.interfaces), _modes(interfaces)
        if not (ours and theirs) or ours == theirs:
            return ""
        theirs_told = _short(" and ".join(theirs))
        return f"its mode is {theirs_told}, ours {ours[0]}: set [store] mode to one for all nodes"

    def _alarm(self, peer: str, trouble: str) -> None:
        self._conflicts += 1
        self._of(peer).trouble = trouble
        self.system.meter.add("protokms_conflicts", peer=peer)
        self._tell_alarms(peer, self._of(peer), peer_conflict=trouble)
        self._log_trouble(peer)

    def _tell_alarms(self, peer: str, known: _Known, **now: str) -> None:
        """Raise what stands now of a peer, and end what stood; what has not changed is not told."""
        to, before = alarms.told(self.system.node), known.alarms
        known.alarms = now
        for id_ in sorted(before.keys() - now.keys()):
            self.tell(to, alarms.Ended(id=id_, subject=peer))
        for id_, text in now.items():
            if before.get(id_) != text:
                self.tell(to, alarms.Raised(id=id_, subject=peer, text=text))

    def _log_trouble(self, peer: str) -> None:
        known, now = self._of(peer), self.system.now()
        if now - known.logged >= _LOG_S:  # a peer must not fill our disk
            known.logged = now
            self.log.error("peer_trouble", peer=peer, trouble=known.trouble, alarm=True)

    def _publish(self) -> None:
        located = self._located()
        for name in self._audience:
            self.tell(self._here(name), located)
        for name in self._plan.audience:
            self.tell(self._here(name), self._homes_changed())
        for name in self._plan.watchers:
            self.tell(self._here(name), self._directory)

    def _links(self) -> peers.Linked:
        return peers.Linked(peers=tuple(sorted(self._linking.linked)))

    def _brief(self, watcher: str) -> None:
        """Tell one that has just started all that it has missed."""
        news: list[Message] = [self._directory, self._links()]
        news += [
            peers.PeerSpeaks(peer=peer, words=known.words)
            for peer, known in self._known.items()
            if known.words
        ]
        news += [peers.PeerUp(peer=peer) for peer, known in self._known.items() if known.up]
        for body in news:
            self.tell(self._here(watcher), body)

    def _located(self) -> peers.Located:
        serial = self._directory.serial
        return peers.Located(serial=serial, here=self.system.node, homes=self._homes.kms)

    def _homes_changed(self) -> peers.HomesChanged:
        serial, pieces = self._directory.serial, self._homes.pieces
        return peers.HomesChanged(serial=serial, here=self.system.node, pieces=pieces)

    def _of(self, peer: str) -> _Known:
        return self._known.setdefault(peer, _Known()) if peer in self._kms else _Known()

    def _here(self, name: str) -> Address:
        return Address(name, self.system.node)


def _by_name(directory: peers.Directory, node: str) -> dict[str, peers.Kms]:
    """Index a directory by KMS name; `Refused("malformed")` if it contradicts itself."""
    kmss = {kms.name: kms for kms in directory.kmss}
    if len(kmss) < len(directory.kmss) or len({kms.id for kms in kmss.values()}) < len(kmss):
        raise Refused("malformed", "a KMS name or id is there twice")
    if node not in kmss:
        raise Refused("malformed", f"{node} is not in the directory")
    return kmss


def _homes(directory: peers.Directory) -> DirectoryHomes:
    """Index a directory by SAE; `Refused("malformed")` if it contradicts itself."""
    homes = DirectoryHomes(directory)
    if len(homes.kms) < sum(len(kms.saes) for kms in directory.kmss):
        raise Refused("malformed", "an SAE is bound to two KMSs")
    return homes


def _down(news: peers.PeerUp | peers.PeerDown) -> str:
    return "peer_idle" if isinstance(news, peers.PeerDown) and news.idle else "peer_down"


def _modes(interfaces: Collection[str]) -> list[str]:
    return sorted({it.removeprefix(peers.MODE) for it in interfaces if it.startswith(peers.MODE)})


def _short(text: str) -> str:
    return text[:_TEXT_LIMIT]
