"""Whole KMS nodes in one thread: peer managers, key stores, quantum links over pipes in memory.

    kms = KmsNetwork("kms-1--kms-2")          # sae-1 at kms-1, sae-2 at kms-2, as in a lab
    kms.advance(5.0)                          # links deliver bits
    made = kms.enc("sae-1", "sae-2")          # Keys, or Failed
    same = kms.dec("sae-2", "sae-1", made.grant)

Everything a `Cluster` can do to nodes and wires can be done to `kms.cluster`.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from actors.keeper import StoreOptions
from actors.key_store import KeyStore
from actors.modules.memory import Pipe
from actors.own_store import OwnStore
from actors.peer_manager import PeerManager, PeerPlan
from actors.protocol import keys, peers
from actors.protocol.common import Failed, Refused
from actors.protocol.doors import DOORS
from actors.protocol.trees import Child
from actors.quantum_link import QuantumLink
from actors.supervisor import Supervisor
from protokms.testing.cluster import Cluster
from protokms.testing.steps import StepSystem
from transport.message import Message

RATE_BIT_S = 400e3


class KmsNetwork:
    """Nodes as `protokms node` would run them, but for HTTP, sockets and threads.

    `nodes` is as for `Cluster`; node number i serves `sae-i` unless `saes` (SAE to node) says
    otherwise. `link` are options of `actors.modules.memory.Pipe`, `store` those of
    `actors.keeper.StoreOptions`; what is left goes to the `Cluster`.
    """

    def __init__(
        self,
        nodes: str | Iterable[str],
        *,
        saes: dict[str, str] | None = None,
        link: dict[str, Any] | None = None,
        store: dict[str, Any] | None = None,
        **cluster: Any,
    ) -> None:
        self._link = {"rate_bit_s": RATE_BIT_S, **(link or {})}
        self._store = store or {}
        self._saes = saes
        self.directory: peers.Directory | None = None
        self._kmss: dict[str, peers.Kms] = {}
        self._pipes: dict[tuple[str, str], Pipe] = {}
        self.cluster = Cluster(nodes, **cluster)
        self._name_all()
        self._pipes = {ends: Pipe(**self._link) for ends in self.cluster.links}
        self.cluster.recipe = self._recipe
        for name, system in self.cluster.nodes.items():
            self._recipe(system)
            assert name == system.node
        self.cluster.settle()

    # What SAEs do

    def enc(
        self, master: str, *slaves: str, number: int = 1, size: int = 32, wait: float = 5.0
    ) -> keys.Keys | Failed:
        """Ask for keys as `enc_keys` would; `size` in octets."""
        ask = keys.GetKey(master=master, slaves=slaves, number=number, size=size)
        return self._ask(master, slaves[0], ask, wait)  # type: ignore[return-value]

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
            self._kmss[name] = peers.Kms(name, id_, address, curve, "", tuple(at[name]))
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
        )
        children: Sequence[Child] = (
            Child(f"key_store/{node}", OwnStore, (self._options(node),)),
            *(self._subtree(node)(peer) for peer in self._neighbours[node]),
            Child("peer_manager", PeerManager, (plan,)),
        )
        system.spawn("supervisor", Supervisor, children, self._give_up)

    def _subtree(self, node: str) -> Any:
        def make(peer: str) -> Child:
            sends = (node, peer) in self._pipes
            pipe = self._pipes[(node, peer) if sends else (peer, node)]
            module = pipe.sender if sends else pipe.receiver
            children = (
                Child(f"key_store/{peer}", KeyStore, (self._options(peer),)),
                Child(f"quantum_link/{peer}", QuantumLink, (peer, module)),
            )
            return Child(f"peer/{peer}", Supervisor, (children, self._give_up))

        return make

    def _options(self, peer: str) -> StoreOptions:
        return StoreOptions(peer=peer, **self._store)

    def _give_up(self, name: str, why: str) -> None:
        raise AssertionError(f"{name} was given up: {why}")


def _no_more_links(peer: str, _options: str) -> Child:
    raise Refused("not_allowed", f"no link to {peer} is added at run time here")
