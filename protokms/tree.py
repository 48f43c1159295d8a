"""Which actors a node has, under which supervisor, made from its configuration.

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
├─ multicast              one grant for SAEs at several KMSs
├─ etsi014
└─ peer/<distant KMS>     likewise, when there is or was a session with it
   ├─ key_store/<distant KMS>
   └─ virtual_link/<distant KMS>
```
A `[[process]]` has a `supervisor/<process>` of its own with the actors placed there.
"""

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

import msgspec

from actors.distant import SessionOptions
from actors.keeper import StoreOptions
from actors.key_store import KeyStore
from actors.modules import udp
from actors.modules.adversity import Adversity
from actors.multicast import PATIENCE_S, Multicast
from actors.own_links import RouterOptions
from actors.own_store import OwnStore
from actors.peer_manager import PeerManager, PeerPlan
from actors.protocol import doors, peers
from actors.protocol.common import Refused
from actors.protocol.trees import Child
from actors.quantum_link import QuantumLink
from actors.relay import Relay
from actors.router import Router
from actors.sessions import SessionManager
from actors.supervisor import Supervisor
from actors.virtual_link import VirtualLink
from protokms.config import read_link
from protokms.keyfiles import BadFile, read_key
from protokms.sections import CORE, Link, NodeConfig
from protokms.tables import ConfigError
from transport.message import Secret

ROOT = "supervisor"
FRONT = "etsi014"
_TEXTS = ("bind", "certificate", "key", "client_ca", "crl")
_STORE_S, _STORE_SHARE, _MULTICAST_SHARE = 3.0, 0.6, 0.8
"""Seconds that a key store takes for a request, and its share of the time the front end waits:
keys that come when the front end has given up would lie unfetched until they expire."""
GiveUp = Callable[[str, str], None]


@dataclass(frozen=True, slots=True)
class Tree:
    """Makes the children of one node; `quarantine` and `end` are what giving up means."""

    config: NodeConfig
    version: str
    quarantine: GiveUp
    end: GiveUp

    @property
    def node(self) -> str:
        """The name of the node."""
        return self.config.node.name

    def root(
        self, process: str, directory: peers.Directory, alive: Callable[[], Collection[str]]
    ) -> Child:
        """Return the supervisor of a process and all below it."""
        if process == CORE:
            return Child(ROOT, Supervisor, (self._core(directory, alive), self.end))
        names = next(one.actors for one in self.config.processes if one.name == process)
        return Child(f"{ROOT}/{process}", Supervisor, (self._elsewhere(names), self.end))

    def placed(self, name: str) -> str:
        """Return the process where an actor of this node lives."""
        kind, _, process = name.partition("/")
        if kind == ROOT:
            return process or CORE
        return self.config.process_of(FRONT if kind == FRONT else name)  # etsi014/http goes along

    def outside(self, process: str) -> list[str]:
        """Return the actors that other processes of this node run."""
        return [name for one in self.config.processes if one.name != process for name in one.actors]

    def subtree(self, peer: str, link: Child | None = None) -> Child:
        """Return the supervisor of all that concerns one neighbour."""
        store = Child(f"key_store/{peer}", KeyStore, (self._options(peer),))
        relay = Child(f"relay/{peer}", Relay, (peer,))
        children = (store, relay, link) if link else (store, relay)
        return Child(f"peer/{peer}", Supervisor, (children, self.quarantine))

    def distant(self, peer: str) -> Child:
        """Return the supervisor of all that concerns a peer without a common quantum link."""
        options = replace(self._options(peer), virtual=True)
        store = Child(f"key_store/{peer}", KeyStore, (options,))
        link = Child(f"virtual_link/{peer}", VirtualLink, (peer,))
        return Child(f"peer/{peer}", Supervisor, ((store, link), self.quarantine))

    def link(self, peer: str, options: str) -> Child:
        """Return a quantum link from the JSON of a `[[link]]` table; `Refused` if it is wrong."""
        try:
            table = msgspec.json.decode(options or "{}")
            table = {"peer": peer} | table if isinstance(table, dict) else table
            link = read_link(msgspec.json.encode(table).decode(), self.config.path.parent)
            if link.peer != peer:
                raise Refused("malformed", f"these are the options of a link to {link.peer}")
            return self._link(link)
        except (ConfigError, BadFile, ValueError) as why:
            raise Refused("malformed", str(why)) from why

    def _core(
        self, directory: peers.Directory, alive: Callable[[], Collection[str]]
    ) -> tuple[Child, ...]:
        config = self.config
        linked = {link.peer: link for link in config.links}
        me = next(kms for kms in directory.kmss if kms.name == self.node)
        plan = PeerPlan(
            me=peers.Capabilities(
                id=me.id,
                name=me.name,
                version=self.version,
                words=tuple(sorted(doors.DOORS)),
                interfaces=("etsi014/1.1.1",) if config.etsi014 else (),
            ),
            directory=directory,
            subtree=self.subtree,
            link=self.link,
            alive=alive,
            audience=(FRONT,) if config.etsi014 else (),
            stores=tuple(linked),
            relays=tuple(linked),
            watchers=("router", "sessions"),
        )
        signing = Secret(read_key(config.node.signing_key))
        return (
            Child(f"key_store/{self.node}", OwnStore, (self._options(self.node),)),
            *(self.subtree(peer, self._here(link)) for peer, link in linked.items()),
            Child("peer_manager", PeerManager, (plan,)),
            Child("router", Router, (RouterOptions(signing=signing),)),
            Child("sessions", SessionManager, (self._sessions(signing),)),
            Child("multicast", Multicast, (self._patience(PATIENCE_S, _MULTICAST_SHARE),)),
            *([self._front()] if config.etsi014 and self.placed(FRONT) == CORE else []),
        )

    def _elsewhere(self, names: Collection[str]) -> tuple[Child, ...]:
        links = [link for link in self.config.links if f"quantum_link/{link.peer}" in names]
        front = [self._front()] if FRONT in names and self.config.etsi014 else []
        return (*map(self._link, links), *front)

    def _here(self, link: Link) -> Child | None:
        here = self.placed(f"quantum_link/{link.peer}") == CORE
        return self._link(link) if here else None

    def _link(self, link: Link) -> Child:
        adversity = Adversity(
            loss=link.loss,
            duplication=link.duplication,
            reordering=link.reordering,
            corruption=link.corruption,
            outages=tuple(link.outages),
            seed=link.seed,
        )
        options = udp.Options(
            peer=link.peer,
            role=link.role,
            bind=str(link.bind),
            remote=str(link.remote),
            secret=Secret(read_key(link.secret)),
            round_s=link.round_s,
            rate_bit_s=link.rate_bit_s,
            max_bytes=link.max_bytes,
            adversity=adversity,
            allow_insecure_emulation=link.allow_insecure_emulation,
        )
        return Child(f"quantum_link/{link.peer}", QuantumLink, (link.peer, udp.factory(options)))

    def _sessions(self, signing: Secret) -> SessionOptions:
        relay = self.config.relay
        return SessionOptions(
            signing=signing,
            subtree=self.distant,
            root=ROOT,
            on_demand=relay.on_demand,
            accept=relay.accept,
            paths=relay.paths,
            weight=relay.weight,
            max_sessions=relay.max_sessions,
            max_sessions_per_sae=relay.max_sessions_per_sae,
            max_distant=relay.max_distant_peers,
            max_crossing=relay.max_crossing,
            refresh_s=relay.refresh_s,
            expiry_s=relay.expiry_s,
            idle_s=relay.idle_session_s,
        )

    def _options(self, peer: str) -> StoreOptions:
        store, etsi = self.config.store, self.config.etsi014
        return StoreOptions(
            peer=peer,
            request_timeout_s=self._patience(_STORE_S, _STORE_SHARE),
            max_bits=store.max_bits,
            mode=store.mode,
            ttl_s=store.ttl_s,
            erase_s=store.erase_s,
            redelivery_s=store.redelivery_s,
            repeat_window_s=store.repeat_window_s,
            max_undelivered_bits_pair=store.max_undelivered_bits_per_pair,
            max_undelivered_bits_sae=store.max_undelivered_bits_per_sae,
            allow_same_node=store.allow_same_node,
            allow_loopback_pairs=store.allow_loopback_pairs,
            min_key_octets=etsi.min_key_size_bits // 8 if etsi else 8,
        )

    def _patience(self, seconds: float, share: float) -> float:
        """Return how long a request may take in here, of the time that the front end waits."""
        front_s = self.config.etsi014.request_timeout_s if self.config.etsi014 else math.inf
        return min(seconds, share * front_s)

    def _front(self) -> Child:
        from etsi.frontend import EtsiFrontend  # noqa: PLC0415 -- only where HTTP is served
        from etsi.options import Options  # noqa: PLC0415

        section = self.config.etsi014
        assert section, "placed, so it is there"
        known = {name: getattr(section, name, None) for name in Options.__struct_fields__}
        chosen = {name: value for name, value in known.items() if value is not None}
        text = {name: str(chosen[name]) for name in _TEXTS if name in chosen}
        loops = self.config.store.allow_loopback_pairs
        lists = {"deny": tuple(section.deny), "allow_loopback_pairs": loops}
        return Child(FRONT, EtsiFrontend, (Options(**chosen | text | lists),))
