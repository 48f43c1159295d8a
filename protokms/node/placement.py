"""Which actors of a node its core runs, and where the others live, as its configuration says.

What an edge runs is in `edge_placement`, which imports much less than this.
"""

import math
from collections import UserDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from actors.base import Change, Row
from actors.keystore.loading import upgraded
from actors.keystore.multicast import PATIENCE_S
from actors.keystore.options import REQUEST_S
from actors.protocol import intent, peers
from actors.protocol.roles import GREETER, PROCESS
from actors.protocol.trees import Child
from actors.runtime.futures import EDGE
from actors.runtime.own import OwnActor
from actors.runtime.places import LinkPlaces
from actors.runtime.supervisor import GiveUp
from protokms.config import own_actors
from protokms.config.interfaces import numbered
from protokms.config.keyfiles import read_key
from protokms.config.sections import CORE, FRONT, QUANTUM_LINK, NodeConfig, PolicyRow
from protokms.node.composition import ROOT, Composition
from protokms.node.edge_placement import actor, agent, front
from protokms.node.interfaces import FileInterfaces, link_child
from transport.message import Secret

_STORE_SHARE, _MULTICAST_SHARE = 0.6, 0.8
"""Of the time that the front end waits: keys that come when it has given up would lie unfetched
until they expire."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Reads the configuration of a node for its composition: what core runs.

    `quarantine` and `end` are what giving up on a peer, and on the node, means.
    """

    config: NodeConfig
    version: str
    quarantine: GiveUp
    end: GiveUp
    places: LinkPlaces = field(init=False)
    policies: UserDict[str, intent.Policy] = field(init=False)
    """Those that were read last; a reload puts others in their place."""

    def __post_init__(self) -> None:
        """Find out which process has which interface."""
        object.__setattr__(self, "policies", UserDict(policies_of(self.config.policies)))
        object.__setattr__(self, "places", LinkPlaces(numbered(self.config)))

    def own_actors(self) -> Mapping[str, OwnActor]:
        """Return the actors of other packages, by name, or raise `ConfigError`."""
        return own_actors.made(self.config.actors, self.config.path)

    def root(
        self,
        directory: peers.Directory,
        alive: Callable[[], Collection[str]],
        own: Mapping[str, OwnActor] = MappingProxyType({}),
    ) -> Child:
        """Return the supervisor of core and all below it."""
        return replace(self.composition(directory, alive), own=own).root()

    @staticmethod
    def upgraded(rows: Iterable[Row]) -> Iterator[Change]:
        """Turn rows that the actors of an earlier version wrote into those of today."""
        return upgraded(rows)

    def placed(self, name: str) -> str:
        """Return the process where an actor of this node lives."""
        kind, _, process = name.partition("/")
        if kind in {ROOT, EDGE, PROCESS, GREETER}:
            return process or CORE
        if kind == QUANTUM_LINK and (found := self.places.process_of(name.partition("/")[2])):
            return found
        return self.config.process_of(actor(name))

    def reread(self, rows: Iterable[PolicyRow]) -> tuple[str, intent.Seed]:
        """Have other policies from now on; return whom to tell, and what."""
        self.policies.data = made = policies_of(rows)
        return intent.NAME, intent.Seed(policies=made)

    def outside(self) -> list[str]:
        """Return the actors that other processes of this node run."""
        bound = [(peer, self.places.process_of(peer)) for peer in self.places.bound]
        links = [f"{QUANTUM_LINK}/{peer}" for peer, process in bound if process != CORE]
        return [*self.config.apart, *links]

    @staticmethod
    def own() -> list[str]:
        """Return the actors that core tells others of: none, since an edge knows them by name."""
        return []

    def composition(
        self, directory: peers.Directory, alive: Callable[[], Collection[str]]
    ) -> Composition:
        """Return the composition of the node; what is placed elsewhere is not in it."""
        config, fronts = self.config, tuple(self.config.audience)
        links = {link.peer: link for link in config.links}

        def link_here(peer: str) -> Child | None:
            return link_child(links[peer]) if peer in links else None

        return Composition(
            node=config.node.name,
            version=self.version,
            directory=directory,
            signing=Secret(read_key(config.node.signing_key)),
            neighbours=tuple(config.neighbours),
            link=link_here,
            places=self.places,
            makes=FileInterfaces(config.links, config.interfaces, lambda peer: f"peer/{peer}"),
            alive=alive,
            quarantine=self.quarantine,
            end=self.end,
            store=config.store,
            relay=config.relay,
            request_s=self._patience(REQUEST_S, _STORE_SHARE),
            multicast_s=self._patience(PATIENCE_S, _MULTICAST_SHARE),
            front=_front(config),
            agent=agent(config.etsi015) if config.etsi015 else None,
            audience=fronts,
            interfaces=("etsi014/1.1.1",) if fronts else (),
            controlled=config.controlled,
            policies=self.policies,
        )

    def _patience(self, seconds: float, share: float) -> float:
        """Return how long a request may take in here, of the time that the front end waits."""
        front_s = self.config.etsi014.request_timeout_s if self.config.etsi014 else math.inf
        return min(seconds, share * front_s)


def policies_of(rows: Iterable[PolicyRow]) -> dict[str, intent.Policy]:
    """Return the rules of a configuration by their names."""
    return {
        row.name: intent.Policy(
            10 * at if row.order is None else row.order,
            (*row.masters, *((intent.PER_SAE,) if row.rate_of == "sae" else ())),
            tuple(row.slaves),
            allow=row.allow,
            max_bandwidth=row.max_bandwidth,
            stock_bits=row.stock_bits,
            ttl_s=row.ttl_s,
            priority=row.priority,
            paths=row.paths,
        )
        for at, row in enumerate(rows, 1)
    }


def _front(config: NodeConfig) -> Child | None:
    loopback = config.store.allow_loopback_pairs
    return front(FRONT, config.etsi014, loopback=loopback) if config.etsi014 else None
