"""The actors of a node, and under which supervisor: the same in a real network and a simulated one.

```
supervisor                give up = the process ends with 70
├─ key_store/<own name>   keys for two SAEs of this node
├─ peer/<neighbour>       give up = the peer is quarantined, the node stays
│  ├─ key_store/<neighbour>
│  ├─ relay/<neighbour>   chunks of sessions, one hop
│  └─ quantum_link/<neighbour>
├─ peer_manager
├─ router                 signed link-state, paths
├─ sessions               begins, admits and ends sessions; starts what follows
├─ intent                 what is wanted of the node, by whom; sees to it
├─ multicast              one grant for SAEs at several KMSs
├─ alarms                 what operators are told of trouble
├─ etsi014                or no front end, as in a simulation
├─ etsi015                likewise, for controllers
├─ guard/<name>           give up = the actor stays away, the node stays
│  └─ own/<name>          of another package
└─ peer/<distant KMS>     likewise, when there is or was a session with it
   ├─ key_store/<distant KMS>
   └─ virtual_link/<distant KMS>
```
What differs from network to network is an argument: what makes quantum links, the front end, who
is alive, what giving up means. Clock, random octets and disk are those of the system that the
root is spawned in.
"""

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial

from actors.intent.intent import Intent, IntentPlan
from actors.keystore.key_store import KeyStore
from actors.keystore.multicast import PATIENCE_S, Multicast
from actors.keystore.options import REQUEST_S, StoreOptions, StorePlan
from actors.keystore.own_store import OwnStore
from actors.links.virtual_link import VirtualLink
from actors.network.originate import RouterOptions
from actors.network.peer_manager import PeerManager, PeerPlan
from actors.network.router import Router
from actors.protocol import alarms, doors, intent, peers
from actors.protocol.common import Refused
from actors.protocol.trees import Child
from actors.relay.relay import Relay
from actors.runtime.alarms import Alarms, Board
from actors.runtime.link_runner import Interfaces, NoInterfaces
from actors.runtime.own import GUARD, OwnActor, address_of, tells
from actors.runtime.places import LinkPlaces
from actors.runtime.ports import CORE
from actors.runtime.supervisor import GiveUp, Supervisor
from actors.sessions.options import SessionOptions, SessionPlan
from actors.sessions.sessions import SessionManager
from transport.message import Secret

ROOT = "supervisor"


_NO_KEY = "unknown_peer"
"""Why an interface makes no link: it has no pre-shared key for the peer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Composition:
    """Makes the children of one node.

    `link(peer)` makes the quantum link to a neighbour, or says that it lives in another process;
    at run time links run over the interfaces in `places`, and `makes` makes those of this process.
    `front` is the front end for SAEs here, `agent` that for controllers; `audience` are those for
    SAEs of the node, wherever they live, and hear where SAEs are.
    `interfaces` is what other KMSs are told that we serve. A request may take `request_s` seconds
    in a key store, and `multicast_s` if it is for several KMSs; `store_kind` is the class of the
    stores shared with neighbours. `wall` is the time of day, seconds since 1970. `controlled`: SAEs
    have keys by an application of a controller, and not without. `policies` are those of the
    configuration as it was read last, `own` actors of other packages, by name.
    """

    node: str
    version: str
    directory: peers.Directory
    signing: Secret
    neighbours: tuple[str, ...]
    link: Callable[[str], Child | None]
    alive: Callable[[], Collection[str]]
    quarantine: GiveUp
    end: GiveUp
    store: StoreOptions
    relay: SessionOptions
    request_s: float = REQUEST_S
    multicast_s: float = PATIENCE_S
    front: Child | None = None
    agent: Child | None = None
    audience: tuple[str, ...] = ()
    places: LinkPlaces = field(default_factory=LinkPlaces)
    makes: Interfaces = field(default_factory=NoInterfaces)
    interfaces: tuple[str, ...] = ()
    wall: Callable[[], float] = time.time
    controlled: bool = False
    policies: Mapping[str, intent.Policy] = field(default_factory=dict)
    store_kind: type[KeyStore] = KeyStore
    own: Mapping[str, OwnActor] = field(default_factory=dict)

    def root(self) -> Child:
        """Return the supervisor of all actors of the node."""
        sessions = SessionPlan(
            signing=self.signing, subtree=self.distant, root=ROOT, options=self.relay
        )
        children = (
            Child(f"key_store/{self.node}", OwnStore, (self._store(self.node),)),
            *(self.neighbour(peer, self.link(peer)) for peer in self.neighbours),
            Child("peer_manager", PeerManager, (self._plan(),)),
            Child("router", Router, (RouterOptions(signing=self.signing),)),
            Child("sessions", SessionManager, (sessions,)),
            Child(intent.NAME, Intent, (self._intent(),)),
            Child("multicast", Multicast, (self.multicast_s, None)),
            Child(alarms.NAME, Alarms, (Board(),)),
            *(front for front in (self.front, self.agent) if front),
            *(self._guarded(name, actor) for name, actor in self.own.items()),
        )
        root = partial(Supervisor, interfaces=self.makes)
        return Child(ROOT, root, (children, self.end))

    def _guarded(self, name: str, actor: OwnActor) -> Child:
        """Return the supervisor of an actor of another package: it falls alone."""
        child = Child(address_of(name), actor.kind, actor.args)
        return Child(f"{GUARD}/{name}", Supervisor, ((child,), self.quarantine))

    def neighbour(self, peer: str, link: Child | None = None) -> Child:
        """Return the supervisor of all that concerns one neighbour."""
        store = Child(f"key_store/{peer}", self.store_kind, (self._store(peer),))
        relay = Child(f"relay/{peer}", Relay, (peer,))
        children = (store, relay, link) if link else (store, relay)
        return Child(f"peer/{peer}", Supervisor, (children, self.quarantine))

    def distant(self, peer: str) -> Child:
        """Return the supervisor of all that concerns a peer without a common quantum link."""
        store = Child(f"key_store/{peer}", KeyStore, (self._store(peer, virtual=True),))
        link = Child(f"virtual_link/{peer}", VirtualLink, (peer,))
        return Child(f"peer/{peer}", Supervisor, ((store, link), self.quarantine))

    def _store(self, peer: str, *, virtual: bool = False) -> StorePlan:
        return StorePlan(
            peer=peer,
            options=self.store,
            virtual=virtual,
            request_timeout_s=self.request_s,
            known=None,
        )

    def _intent(self) -> IntentPlan:
        """Return the links of the configuration as rows: they are bound for good."""
        ids = {kms.name: kms.id for kms in self.directory.kmss}
        has = self.places.all()
        numbers = {one.peer: one.number for one in has}
        seeds = {
            intent.link_id(intent.PHYS, ids[self.node], ids[peer]): intent.Link(
                intent.PHYS, self.node, peer, interface=numbers.get(peer, 0)
            )
            for peer in self.neighbours
            if peer in ids
        }
        return IntentPlan(
            directory=self.directory,
            version=self.version,
            seeds={(intent.LINK, id_): link for id_, link in seeds.items()},
            policies=self.policies,
            interfaces={
                one.number: intent.Interface(one.number, one.module, peer=one.peer) for one in has
            },
            wall=self.wall,
            controlled=self.controlled,
            leads=self._leads,
        )

    def _leads(self, number: int, peer: str) -> str:
        """Return why an interface does not lead to a peer; what another process has is not known.

        Its file is read when it is asked, so a new one needs no restart.
        """
        here = {one.number for one in self.places.all() if one.process == CORE and not one.peer}
        try:
            if number in here:
                self.makes.link(peer, number)
        except Refused as no:
            return str(no) if no.code == _NO_KEY else ""
        return ""

    def _plan(self) -> PeerPlan:
        me = next(kms for kms in self.directory.kmss if kms.name == self.node)
        return PeerPlan(
            me=peers.Capabilities(
                id=me.id,
                name=me.name,
                version=self.version,
                words=tuple(sorted({*doors.DOORS, *tells(self.own)})),
                interfaces=(*self.interfaces, peers.MODE + self.store.mode),
            ),
            directory=self.directory,
            subtree=self.neighbour,
            places=self.places,
            alive=self.alive,
            audience=self.audience,
            stores=self.neighbours,
            relays=self.neighbours,
            watchers=("router", "sessions", intent.NAME),
            root=ROOT,
        )
