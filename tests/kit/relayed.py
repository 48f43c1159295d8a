"""Networks with relays, real key stores and pipes; the test itself sets sessions up."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

from actors.base import Actor, Change, System, handles
from actors.keystore.key_store import KeyStore
from actors.keystore.options import StoreOptions, StorePlan
from actors.links.quantum_link import QuantumLink
from actors.links.virtual_link import VirtualLink
from actors.modules.memory import Pipe
from actors.protocol import keys, links, relay
from actors.protocol.common import Failed
from actors.protocol.doors import DOORS
from actors.protocol.peers import Located, PeerSpeaks, PeerUp, Subscribe
from actors.protocol.relay import LaneClosed, LaneOpened, SessionId
from actors.protocol.trees import Child
from actors.relay.relay import Relay
from actors.runtime.supervisor import Patience, Supervisor
from protokms.testing.cluster import Cluster
from protokms.testing.disk import MemoryStore
from protokms.testing.steps import StepSystem
from transport.codec import decode
from transport.message import Message

Path = tuple[str, ...]
M = TypeVar("M", bound=Message)
RATE_BIT_S = 400e3
HIGH_BITS = 16 << 20
"""The upper mark of distant stores: more than comes in while a test runs."""
_PATIENT = Patience(limit=10_000)


class Planned(NamedTuple):
    """A session as a test has set it up."""

    id: SessionId
    paths: tuple[Path, ...]
    weight: int


class Sessions(Actor):
    """Stands for `sessions`: tells whoever asks of the lanes that the test has planned."""

    def __init__(self, system: System, name: str, network: "Relayed") -> None:
        super().__init__(system, name)
        self.network = network

    @handles(relay.AskLanes)
    def on_ask(self, _: relay.AskLanes) -> None:
        for plan in self.network.plans:
            for terms in lanes_at(self.system.node, plan):
                if self.sender.name in (terms.source, terms.target):
                    self.tell(self.sender, terms)

    @handles(relay.LaneBroken)
    def on_broken(self, news: relay.LaneBroken) -> None:
        self.network.broken.append((self.system.node, news))


class Peers(Actor):
    """Stands for `peer_manager`: says who is where and, to who has just started, who is up."""

    def __init__(self, system: System, name: str, network: "Relayed") -> None:
        super().__init__(system, name)
        self.network = network

    @handles(Subscribe)
    def on_subscribe(self, _: Subscribe) -> None:
        kind, _sep, peer = self.sender.name.partition("/")
        if kind == "key_store":
            self.tell(self.sender, self.network.located)
        if self.network.cluster.presence.up(self.system.node, peer):
            self.tell(self.sender, PeerUp(peer=peer))
        if kind == "relay":
            self.tell(self.sender, PeerSpeaks(peer=peer, words=tuple(DOORS)))


class Recorder(MemoryStore):
    """A disk that remembers every row that was ever on it."""

    def __init__(self) -> None:
        super().__init__()
        self.ever: list[bytes] = []

    def apply(self, changes: Iterable[Change]) -> None:
        changes = list(changes)
        for change in changes:
            self.ever.append(change.id)
            for value in (getattr(change, "clear", b""), getattr(change, "secret", None)):
                self.ever.append(value if isinstance(value, bytes) else b"")
                if value and not isinstance(value, bytes):
                    self.ever.append(value.reveal())
        super().apply(changes)


class Relayed:
    """A network of `links` ("a-b b-c"), where each pair in `ends` keeps a distant store.

    SAE `sae-x` is at node `x`.
    """

    def __init__(
        self,
        links: str,
        ends: Sequence[tuple[str, str]],
        *,
        rates: dict[str, float] | None = None,
        store: dict[str, Any] | None = None,
        **cluster: Any,
    ) -> None:
        self.ends, self.store_options = ends, store or {}
        self.plans: list[Planned] = []
        self.broken: list[tuple[str, relay.LaneBroken]] = []
        self.disks: dict[str, Recorder] = {}
        self.wire: list[tuple[str, str, bytes]] = []
        self._numbers = iter(range(1, 1000))
        self.cluster = Cluster(
            links, disk=self._disk, hear_peers=("key_store/{peer}", "relay/{peer}"), **cluster
        )
        rates = rates or {}
        self.pipes = {
            pair: Pipe(rate_bit_s=rates.get("-".join(pair), RATE_BIT_S))
            for pair in self.cluster.links
        }
        names = list(self.cluster.nodes)
        homes = {f"sae-{name}": name for name in names}
        self.located = Located(serial=1, here="", homes=homes)
        self.lost: set[type[Message]] = set()
        """Kinds of words that the wire loses."""
        self._carry = self.cluster.net.post
        self.cluster.net.post = self._post  # type: ignore[method-assign]
        self.cluster.recipe = self._recipe
        for system in self.cluster.nodes.values():
            self._recipe(system)
        self.cluster.settle()
        self.cluster.advance(2.0)

    # Sessions

    def session(self, *paths: str, weight: int = 1) -> Planned:
        """Set a session up over these paths ("abc": from a by b to c)."""
        plan = Planned(
            SessionId(paths[0][0], next(self._numbers)), tuple(map(tuple, paths)), weight
        )
        self.plans.append(plan)
        for node in dict.fromkeys(node for path in plan.paths for node in path):
            for terms in lanes_at(node, plan):
                self._tell_ends(node, terms, terms)
        store = f"key_store/{paths[0][-1]}@{paths[0][0]}"
        self.cluster.tell(store, links.Marks(low_bits=HIGH_BITS // 2, high_bits=HIGH_BITS))
        return plan

    def close(self, plan: Planned) -> None:
        """Close it everywhere, at the origin first."""
        self.plans.remove(plan)
        for node in dict.fromkeys(node for path in plan.paths for node in path):
            for terms in lanes_at(node, plan):
                closed = LaneClosed(session=terms.session, share=terms.share)
                self._tell_ends(node, terms, closed)

    def _tell_ends(self, node: str, terms: LaneOpened, news: Message) -> None:
        if self.cluster.nodes[node].alive:
            for name in (terms.source, terms.target):
                self.cluster.tell(f"{name}@{node}", news, sender=f"sessions@{node}")

    # Keys

    def enc(
        self, here: str, there: str, number: int = 1, size: int = 32, wait: float = 5.0
    ) -> keys.Keys | Failed:
        ask = keys.GetKey(master=f"sae-{here}", slaves=(f"sae-{there}",), number=number, size=size)
        answer = self.cluster.ask(f"key_store/{there}@{here}", ask, wait)
        assert isinstance(answer, keys.Keys | Failed)
        return answer

    def dec(self, here: str, there: str, made: keys.Keys, number: int = 1) -> bytes | str:
        """Fetch at `here` what `there` was given: the octets, or the code of the refusal."""
        names = tuple(keys.KeyName(made.grant, index) for index in range(number))
        ask = keys.GetKeyWithIds(master=f"sae-{there}", slave=f"sae-{here}", names=names)
        answer = self.cluster.ask(f"key_store/{there}@{here}", ask, 5.0)
        if not isinstance(answer, keys.KeysWithIds):
            assert isinstance(answer, Failed)
            return answer.code
        written = keys.Written(receipt=answer.receipt)
        self.cluster.tell(f"key_store/{there}@{here}", written)
        return b"".join(octets.reveal() for octets in answer.octets)

    def agree(self, one: str, other: str, number: int = 4) -> bytes:
        """Get keys for one end and fetch them at the other; they must be the same."""
        made = self.enc(one, other, number)
        for _ in range(3):
            if isinstance(made, Failed):  # all bits are the other end's: it gives some away
                self.cluster.advance(1.0)
                made = self.enc(one, other, number)
        assert isinstance(made, keys.Keys), made
        assert self.dec(other, one, made, number) == made.octets.reveal()
        return made.octets.reveal()

    def stock(self, here: str, there: str) -> int:
        """Octets in the store of one node with another."""
        return self.store(here, there).stream.octets

    def store(self, here: str, there: str) -> KeyStore:
        found = self.cluster.actor(f"key_store/{there}@{here}")
        assert isinstance(found, KeyStore)
        return found

    def relay(self, here: str, there: str) -> Relay:
        found = self.cluster.actor(f"relay/{there}@{here}")
        assert isinstance(found, Relay)
        return found

    def alarms(self) -> float:
        return sum(self.cluster.count(node, "protokms_alarms") for node in self.cluster.nodes)

    # What was seen

    def _post(self, sender: str, to: str, octets: bytes) -> None:
        self.wire.append((sender, to, octets))
        if not self.lost or type(decode(octets, sender).body) not in self.lost:
            self._carry(sender, to, octets)

    def said(self, kind: type[M], sender: str = "", to: str = "") -> list[M]:
        """Every word of a kind that went over the wire."""
        found = []
        for one, other, octets in self.wire:
            if sender in ("", one) and to in ("", other):
                body = decode(octets, one).body
                if isinstance(body, kind):
                    found.append(body)
        return found

    # What a node is made of

    def _disk(self, node: str) -> Recorder:
        return self.disks.setdefault(node, Recorder())

    def _recipe(self, system: StepSystem) -> None:
        node = system.node
        children = [Child("sessions", Sessions, (self,)), Child("peer_manager", Peers, (self,))]
        for one, other in self.cluster.links:
            if node in (one, other):
                children += self._neighbour(node, (one, other))
        for one, other in self.ends:
            if node in (one, other):
                children += self._distant(other if node == one else one)
        system.spawn("supervisor", Supervisor, children, _give_up, _PATIENT)

    def _neighbour(self, node: str, pair: tuple[str, str]) -> list[Child]:
        sends = node == pair[0]
        peer = pair[1] if sends else pair[0]
        module = self.pipes[pair].sender if sends else self.pipes[pair].receiver
        return [
            Child(f"key_store/{peer}", KeyStore, (self._plan(peer),)),
            Child(f"quantum_link/{peer}", QuantumLink, (peer, module)),
            Child(f"relay/{peer}", Relay, (peer,)),
        ]

    def _distant(self, peer: str) -> list[Child]:
        return [
            Child(f"key_store/{peer}", KeyStore, (replace(self._plan(peer), virtual=True),)),
            Child(f"virtual_link/{peer}", VirtualLink, (peer,)),
        ]

    def _plan(self, peer: str) -> StorePlan:
        return StorePlan(peer=peer, options=StoreOptions(**self.store_options))


def lanes_at(node: str, plan: Planned) -> list[LaneOpened]:
    """What a node on the paths of a session is told."""
    made = []
    for share, path in enumerate(plan.paths):
        if node not in path:
            continue
        hop, last = path.index(node), len(path) - 1
        made.append(
            LaneOpened(
                session=plan.id,
                share=share,
                shares=len(plan.paths),
                source=f"relay/{path[hop - 1]}" if hop else f"virtual_link/{path[-1]}",
                target=f"relay/{path[hop + 1]}" if hop < last else f"virtual_link/{path[0]}",
                hop=hop,
                path=path,
                weight=plan.weight,
            )
        )
    return made


def _give_up(name: str, why: str) -> None:
    raise AssertionError(f"{name} was given up: {why}")
