"""Whole KMS nodes in one thread: all their actors, quantum links over pipes in memory.

    kms = KmsNetwork("kms-1--kms-2 kms-2--kms-3")    # sae-1 at kms-1 ..., as in a lab
    kms.advance(5.0)                                 # links deliver bits
    made = kms.enc("sae-1", "sae-3", wait=10.0)      # Keys, or Failed; sets up a session
    same = kms.dec("sae-3", "sae-1", made.grant)

Everything a `Cluster` can do to nodes and wires can be done to `kms.cluster`.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

from actors.crypto.signatures import Signer
from actors.keystore.key_store import KeyStore
from actors.keystore.options import StoreOptions
from actors.links.quantum_link import QuantumLink
from actors.modules.memory import Pipe
from actors.modules.module import Module
from actors.protocol import intent, keys, peers, sessions
from actors.protocol.common import Failed, Refused
from actors.protocol.trees import Child
from actors.runtime.own import OwnActor, doors_with
from actors.runtime.places import Interface, LinkPlaces
from actors.runtime.ports import CORE
from actors.sessions.options import SessionOptions
from protokms.node.composition import Composition
from protokms.testing.cluster import Cluster
from protokms.testing.steps import StepSystem
from transport.message import Message, Secret

RATE_BIT_S = 400e3
TODAY = 1_800_000_000.0
"""When a network begins, in seconds since 1970: the year 2027."""
_PAUSE_S = 0.1


class Ends(Protocol):
    """Makes the modules of both ends of a quantum link, one for each life of a link."""

    def sender(self) -> Module:
        """Make that of the end that comes first in the name of the link."""
        ...

    def receiver(self) -> Module:
        """Make that of the other end."""
        ...


class KmsNetwork:
    """Nodes as `protokms node` would run them, but for HTTP, sockets and threads.

    `nodes` is as for `Cluster`; node number i serves `sae-i` unless `saes` (SAE to node) says
    otherwise. `link` are options of `actors.modules.memory.Pipe`, `store` those of
    `[store]` and `relay` those of `[relay]` in a configuration;
    `pipe` makes each link, `store_kind` is the class of the stores shared with neighbours. `bare`
    nodes begin with interfaces alone, numbered from 1 in the order of the names at their other
    ends; `add_link` and `remove_link` use them. SAEs at `controlled` nodes have keys by an
    application; `policies` are those of the files of nodes, by node and name. `own` are actors of
    other packages, `own/<name>` at each node. What is left goes to
    the `Cluster`.
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
        pipe: Callable[..., Ends] = Pipe,
        bare: bool = False,
        controlled: Iterable[str] = (),
        own: Mapping[str, OwnActor] | None = None,
        policies: Mapping[str, Mapping[str, intent.Policy]] | None = None,
        **cluster: Any,
    ) -> None:
        self._own = own or {}
        if own:
            cluster.setdefault("doors", doors_with(own))
        self._link = {"rate_bit_s": RATE_BIT_S, **(link or {})}
        self._store, self._relay = store or {}, relay or {}
        self._store_kind = store_kind
        self._saes, self._bare, self._controlled = saes, bare, frozenset(controlled)
        self._policies = policies or {}
        self.directory: peers.Directory | None = None
        self._kmss: dict[str, peers.Kms] = {}
        self.cluster = Cluster(nodes, connected=not bare, **cluster)
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

    def want(self, link: intent.Link, verb: str = intent.PUT) -> Message:
        """Want a link of its local node, as an operator would; `Written`, or `Denied`."""
        edit = intent.Edit(verb, intent.LINK, "", link=link)
        write = intent.Write(owner=intent.CLI, edits=(edit,))
        return self.cluster.ask(f"{intent.NAME}@{link.local}", write)

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

    # What operators do

    def add_link(self, node: str, peer: str, wait: float = 5.0) -> Message:
        """Have a quantum link to a peer, over the interface whose pipe leads there."""
        number = 1 + sorted(self._neighbours[node]).index(peer)
        self.want(intent.Link(intent.PHYS, node, peer, interface=number))
        ask = peers.AddQuantumPeer(peer=peer, interface=number)
        return self.cluster.ask(f"peer_manager@{node}", ask, wait)

    def remove_link(self, node: str, peer: str, wait: float = 5.0) -> Message:
        """Stop it; the store of the peer stays."""
        self.want(intent.Link(intent.PHYS, node, peer), intent.REMOVE)
        ask = peers.RemoveQuantumPeer(peer=peer)
        return self.cluster.ask(f"peer_manager@{node}", ask, wait)

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

    def composition(self, node: str) -> Composition:
        """Return what a node is made of, as `protokms node` would make it; no front end."""
        assert self.directory, "made with the network"
        near = sorted(self._neighbours[node])
        return Composition(
            node=node,
            version="test",
            directory=self.directory,
            signing=signing_key(node),
            neighbours=() if self._bare else tuple(self._neighbours[node]),
            places=LinkPlaces(
                Interface(number, "emulated", CORE, "" if self._bare else peer)
                for number, peer in enumerate(near, 1)
            ),
            makes=_Pipes(near if self._bare else (), partial(self._quantum_link, node)),
            link=partial(self._quantum_link, node),
            alive=partial(self._alive, node),
            quarantine=_give_up,
            end=_give_up,
            store=StoreOptions(**self._store),
            relay=SessionOptions(**self._relay),
            wall=lambda: TODAY + self.cluster.now,
            store_kind=self._store_kind,
            controlled=node in self._controlled,
            own=self._own,
            policies=self._policies.get(node, {}),
        )

    def _recipe(self, system: StepSystem) -> None:
        root = self.composition(system.node).root()
        system.spawn(root.name, root.kind, *root.args)

    def _quantum_link(self, node: str, peer: str) -> Child:
        sends = (node, peer) in self.pipes
        pipe = self.pipes[(node, peer) if sends else (peer, node)]
        module = pipe.sender if sends else pipe.receiver
        return Child(f"quantum_link/{peer}", QuantumLink, (peer, module))

    def _alive(self, node: str) -> list[str]:
        presence = self.cluster.presence
        return [peer for peer in presence.peers(node) if presence.up(node, peer)]


class _Pipes:
    """The interfaces of a bare node: each has a pipe to one peer, and leads to no other."""

    def __init__(self, near: Sequence[str], make: Callable[[str], Child]) -> None:
        self._near, self._make = near, make
        self.fixed: Mapping[str, int] = {}

    def link(self, peer: str, interface: int) -> Child:
        """Make the link."""
        if self._near[interface - 1 : interface] != [peer]:
            raise Refused("unknown_peer", f"no pipe of interface {interface} leads to {peer}")
        return self._make(peer)

    def holder(self, peer: str) -> str:
        """Return the supervisor of the peer."""
        return f"peer/{peer}"


def signing_key(node: str) -> Secret:
    """Return the Ed25519 key of a node, the same in every run."""
    return Secret(hashlib.sha256(node.encode()).digest())


def _give_up(name: str, why: str) -> None:
    raise AssertionError(f"{name} was given up: {why}")
