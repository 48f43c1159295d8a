"""Whole KMS nodes in one thread: all their actors, quantum links over pipes in memory.

    kms = KmsNetwork("kms-1--kms-2 kms-2--kms-3")    # sae-1 at kms-1 ..., as in a lab
    kms.advance(5.0)                                 # links deliver bits
    made = kms.enc("sae-1", "sae-3", wait=10.0)      # Keys, or Failed; sets up a session
    same = kms.dec("sae-3", "sae-1", made.grant)

Everything a `Cluster` can do to nodes and wires can be done to `kms.cluster`.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from actors.distant import SessionOptions
from actors.keeper import StoreOptions
from actors.key_store import KeyStore
from actors.modules.memory import Pipe
from actors.multicast import Multicast
from actors.own_links import RouterOptions
from actors.own_store import OwnStore
from actors.peer_manager import PeerManager, PeerPlan
from actors.protocol import keys, peers, sessions
from actors.protocol.common import Failed, Refused
from actors.protocol.doors import DOORS
from actors.protocol.trees import Child
from actors.quantum_link import QuantumLink
from actors.relay import Relay
from actors.router import Router
from actors.sessions import SessionManager
from actors.signing import Signer
from actors.supervisor import Supervisor
from actors.virtual_link import VirtualLink
from protokms.testing.cluster import Cluster
from protokms.testing.steps import StepSystem
from transport.message import Message, Secret

RATE_BIT_S = 400e3
_PAUSE_S = 0.1


class KmsNetwork:
    """Nodes as `protokms node` would run them, but for HTTP, sockets and threads.

    `nodes` is as for `Cluster`; node number i serves `sae-i` unless `saes` (SAE to node) says
    otherwise. `link` are options of `actors.modules.memory.Pipe`, `store` those of
    `actors.keeper.StoreOptions`, `relay` those of `actors.distant.SessionOptions`; `pipe` makes
    each link, `store_kind` is the class of the stores shared with neighbours; what is left goes
    to the `Cluster`.
    """

    def __init__(
        self,
        nodes: str | Iterable[str],
        *,
        saes: dict[str, str] | None = None,
        link: dict[str, Any] | None = None,
        store: dict[str, Any] | None = None,
        relay: dict[str, Any] | None = None,
        store_kind: type[KeyStore] = KeyStore,
        pipe: Callable[..., Pipe] = Pipe,
        **cluster: Any,
    ) -> None:
        self._link = {"rate_bit_s": RATE_BIT_S, **(link or {})}
        self._store, self._relay = store or {}, relay or {}
        self._store_kind = store_kind
        self._saes = saes
        self.directory: peers.Directory | None = None
        self._kmss: dict[str, peers.Kms] = {}
        self.cluster = Cluster(nodes, **cluster)
        self._name_all()
        self.pipes = {ends: pipe(**self._link) for ends in self.cluster.links}
        """The quantum links, by sender and receiver."""
        self.cluster.recipe = self._recipe
        for name, system in self.cluster.nodes.items():
            self._recipe(system)
            assert name == system.node
        self.cluster.settle()

    # What SAEs do

    def enc(
        self, master: str, *slaves: str, number: int = 1, size: int = 32, wait: float = 5.0
    ) -> keys.Keys | Failed:
        """Ask for keys as `enc_keys` would, a session on demand included; `size` in octets.

        Slaves may be at several KMSs, too.
        """
        until, kms = self.cluster.now + wait, self.saes[slaves[0]]
        if len({self.saes[slave] for slave in slaves}) > 1:
            several = keys.GetMulticast(master=master, slaves=slaves, number=number, size=size)
            home = f"multicast@{self.saes[master]}"
            return self.cluster.ask(home, several, wait)  # type: ignore[return-value]
        ask = keys.GetKey(master=master, slaves=slaves, number=number, size=size)
        while True:
            made = self._ask(master, slaves[0], ask, max(0.0, until - self.cluster.now))
            if not isinstance(made, Failed) or made.code not in sessions.SOON:
                return made  # type: ignore[return-value]
            if self.cluster.now >= until:
                return made
            ensure = sessions.EnsureSession(peer=kms, sae=master)
            sure = self.cluster.ask(f"sessions@{self.saes[master]}", ensure, wait)
            if isinstance(sure, Failed):
                return sure
            self.advance(min(_PAUSE_S, until - self.cluster.now))

    def dec(
        self, slave: str, master: str, grant: bytes, *indexes: int, wait: float = 5.0
    ) -> keys.KeysWithIds | Failed:
        """Fetch keys as `dec_keys` would, and report the response as written."""
        names = tuple(keys.KeyName(grant, index) for index in indexes or (0,))
        ask = keys.GetKeyWithIds(master=master, slave=slave, names=names)
        answer = self._ask(slave, master, ask, wait)
        if isinstance(answer, keys.KeysWithIds):
            written = keys.Written(receipt=answer.receipt)
            self.cluster.tell(self.store_of(slave, master), written)
        return answer  # type: ignore[return-value]

    def store_of(self, here: str, there: str) -> str:
        """Return the address of the key store of this SAE's node for another SAE."""
        return f"key_store/{self.saes[there]}@{self.saes[here]}"

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.cluster.advance(seconds)

    @property
    def saes(self) -> dict[str, str]:
        """Which SAE is at which node."""
        assert self.directory, "made with the network"
        return {sae: kms.name for kms in self.directory.kmss for sae in kms.saes}

    def _ask(self, here: str, there: str, ask: Message, wait: float) -> Message:
        return self.cluster.ask(self.store_of(here, there), ask, wait)

    # What a node is made of

    def _name_all(self) -> None:
        names = list(self.cluster.nodes)
        given = self._saes or {f"sae-{n}": name for n, name in enumerate(names, 1)}
        at: dict[str, list[str]] = {name: [] for name in names}
        for sae, home in given.items():
            at[home].append(sae)
        for number, name in enumerate(names, 1):
            id_ = f"00000000-0000-4000-8000-{number:012}"
            curve, address = f"{number:040}", f"tcp://127.0.0.1:{number}"
            signing = Signer(signing_key(name)).public
            self._kmss[name] = peers.Kms(name, id_, address, curve, signing, tuple(at[name]))
        self.directory = peers.Directory(serial=1, kmss=tuple(self._kmss.values()))
        self._neighbours: dict[str, list[str]] = {name: [] for name in names}
        for one, other in self.cluster.links:
            self._neighbours[one].append(other)
            self._neighbours[other].append(one)

    def _recipe(self, system: StepSystem) -> None:
        node = system.node
        assert self.directory, "made with the network"
        me = self._kmss[node]
        plan = PeerPlan(
            me=peers.Capabilities(
                id=me.id, name=node, version="test", words=tuple(sorted(DOORS)), interfaces=()
            ),
            directory=self.directory,
            subtree=self._subtree(node),
            link=_no_more_links,
            stores=tuple(self._neighbours[node]),
            relays=tuple(self._neighbours[node]),
            watchers=("router", "sessions"),
            alive=lambda: self._alive(node),
        )
        signing, distant = signing_key(node), self._distant
        options = SessionOptions(signing=signing, subtree=distant, **self._relay)
        children: Sequence[Child] = (
            Child(f"key_store/{node}", OwnStore, (self._options(node),)),
            *(self._subtree(node)(peer) for peer in self._neighbours[node]),
            Child("peer_manager", PeerManager, (plan,)),
            Child("router", Router, (RouterOptions(signing=signing),)),
            Child("sessions", SessionManager, (options,)),
            Child("multicast", Multicast),
        )
        system.spawn("supervisor", Supervisor, children, self._give_up)

    def _subtree(self, node: str) -> Any:
        def make(peer: str) -> Child:
            sends = (node, peer) in self.pipes
            pipe = self.pipes[(node, peer) if sends else (peer, node)]
            module = pipe.sender if sends else pipe.receiver
            children = (
                Child(f"key_store/{peer}", self._store_kind, (self._options(peer),)),
                Child(f"relay/{peer}", Relay, (peer,)),
                Child(f"quantum_link/{peer}", QuantumLink, (peer, module)),
            )
            return Child(f"peer/{peer}", Supervisor, (children, self._give_up))

        return make

    def _distant(self, peer: str) -> Child:
        children = (
            Child(f"key_store/{peer}", KeyStore, (replace(self._options(peer), virtual=True),)),
            Child(f"virtual_link/{peer}", VirtualLink, (peer,)),
        )
        return Child(f"peer/{peer}", Supervisor, (children, self._give_up))

    def _options(self, peer: str) -> StoreOptions:
        return StoreOptions(peer=peer, **self._store)

    def _alive(self, node: str) -> list[str]:
        presence = self.cluster.presence
        return [peer for peer in presence.peers(node) if presence.up(node, peer)]

    def _give_up(self, name: str, why: str) -> None:
        raise AssertionError(f"{name} was given up: {why}")


def signing_key(node: str) -> Secret:
    """Return the Ed25519 key of a node, the same in every run."""
    return Secret(hashlib.sha256(node.encode()).digest())


def _no_more_links(peer: str, _options: str) -> Child:
    raise Refused("not_allowed", f"no link to {peer} is added at run time here")
