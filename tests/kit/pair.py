"""Two key stores that share a stream, fed by hand: the bench of most tests of the rules."""

import itertools
import random
from typing import Any, TypeVar

from actors.base import Row
from actors.keystore.key_store import KeyStore
from actors.keystore.options import REQUEST_S, StoreOptions, StorePlan
from actors.protocol import keys, links
from actors.protocol.common import Failed
from actors.protocol.peers import Located
from protokms.testing.cluster import Cluster
from protokms.testing.steps import StepSystem
from transport.codec import decode
from transport.envelope import Address, Envelope
from transport.message import Message, Secret

SAES = (("alice", "a"), ("bob", "b"), ("bert", "b"), ("carol", "a"))
W = TypeVar("W", bound=Message)
LOCATED = Located(serial=1, here="", homes=dict(SAES))


class Pair:
    """Nodes `a` and `b`, stores `key_store/b@a` and `key_store/a@b`, SAEs on both sides."""

    def __init__(
        self,
        seed: int = 0,
        *,
        shuffle: bool = False,
        tolerant: bool = False,
        kind: type[KeyStore] = KeyStore,
        virtual: bool = False,
        request_timeout_s: float = REQUEST_S,
        **options: Any,
    ) -> None:
        self.kind = kind
        self.virtual, self.request_timeout_s = virtual, request_timeout_s
        self.options = options
        self.dice = random.Random(seed)
        self.seq = 0
        self.cluster = Cluster(
            "a-b",
            self.recipe,
            seed=seed,
            shuffle=shuffle,
            tolerant=tolerant,
            hear_peers=("key_store/{peer}",),
        )
        self.wire: list[tuple[str, Message]] = []
        self.lost: set[type[Message]] = set()
        """Kinds of words that the wire loses."""
        self._carry = self.cluster.net.post
        self.cluster.net.post = self._post  # type: ignore[method-assign]
        self.cluster.advance(2.0)

    def _post(self, sender: str, to: str, octets: bytes) -> None:
        word = decode(octets, sender).body
        self.wire.append((sender, word))
        if type(word) not in self.lost:
            self._carry(sender, to, octets)

    def said(self, kind: type[W], sender: str = "") -> list[W]:
        """Every word of a kind that was on the wire, by whichever end."""
        return [w for who, w in self.wire if isinstance(w, kind) and sender in ("", who)]

    def secrets(self, node: str) -> list[bytes]:
        """Every secret value in the rows of a node."""
        rows = self.cluster.backup(node)
        assert isinstance(rows, dict)
        return [row.secret.reveal() for row in rows.values() if row.secret]

    def rows(self, node: str, kind: str) -> list[Row]:
        """The durable rows of one kind."""
        rows = self.cluster.backup(node)
        assert isinstance(rows, dict)
        return [row for row in rows.values() if row.kind == kind]

    def alarms(self) -> float:
        """How many alarms both ends have raised."""
        return sum(self.cluster.count(node, "protokms_alarms") for node in ("a", "b"))

    def recipe(self, system: StepSystem) -> None:
        to = system.spawn(self.at(system.node).partition("@")[0], self.kind, self.made(system.node))
        system.send(Envelope(Address("peer_manager", system.node), to, LOCATED))

    def made(self, node: str) -> StorePlan:
        return StorePlan(
            peer="b" if node == "a" else "a",
            options=StoreOptions(**self.options),
            virtual=self.virtual,
            request_timeout_s=self.request_timeout_s,
        )

    def revive(self, node: str) -> None:
        """What the supervisor does when a store has crashed."""
        self.cluster.spawn(self.at(node), self.kind, self.made(node))
        self.cluster.tell(self.at(node), LOCATED)

    def store(self, node: str) -> KeyStore:
        found = self.cluster.actor(self.at(node))
        assert isinstance(found, KeyStore)
        return found

    @staticmethod
    def at(node: str) -> str:
        return f"key_store/{'b' if node == 'a' else 'a'}@{node}"

    def say(self, to: str, word: Message) -> None:
        """Let the peer of the store at node `to` say this."""
        sender = "b" if to == "a" else "a"
        self.cluster.tell(self.at(to), word, sender=self.at(sender))

    def feed(
        self,
        octets: int = 4000,
        *,
        sender: str = "a",
        lose: bool = False,
        via: tuple[tuple[str, ...], ...] = (),
    ) -> bytes:
        """Let a module draw some octets at one end and deliver them at the other."""
        receiver = "b" if sender == "a" else "a"
        epoch = self.store(sender).state.datagram_epoch
        payload = self.dice.randbytes(octets)
        first, self.seq = self.seq, self.seq + 1
        bits = (Secret(payload),)
        emitted = links.Emitted(epoch=epoch, first=first, payloads=bits, via=via)
        self.cluster.tell(self.at(sender), emitted)
        if not lose:
            got = links.Received(epoch=epoch, seqs=(first,), payloads=bits, via=via)
            self.cluster.tell(self.at(receiver), got)
        return payload

    def arrive(self, at: str, epoch: bytes, seq: int, payload: bytes) -> None:
        """A datagram comes in at one end, whether or not it was ever sent."""
        got = links.Received(epoch=epoch, seqs=(seq,), payloads=(Secret(payload),))
        self.cluster.tell(self.at(at), got)

    def fill(
        self,
        batches: int = 4,
        octets: int = 4000,
        *,
        sender: str = "a",
        via: tuple[tuple[str, ...], ...] = (),
    ) -> None:
        """Let batches come, one after the other, to rest."""
        for _ in range(batches):
            self.feed(octets, sender=sender, via=via)
            self.cluster.advance(0.2)
        self.know_loads()

    def lease(self, node: str, octets: int = 16 << 10) -> None:
        """Have leases, as an end has that was asked: else one without demand has none (R6)."""
        self.store(node).segments.lease_more(octets)
        self.cluster.tell(self.at(node), LOCATED)  # the turn in which they are committed

    def know_loads(self) -> None:
        """Have owners of `local` grants told what nobody has fetched, which they ask for once."""
        for (master, home), (slave, there) in itertools.product(SAES, SAES):
            if home != there and self.options.get("mode") == "local":
                ask = keys.GetStatus(master=master, slave=slave, size=32)
                self.cluster.ask(self.at(home), ask)

    def enc(
        self,
        number: int = 1,
        size: int = 32,
        *,
        at: str = "a",
        slaves: tuple[str, ...] = (),
        wait: float = 5.0,
    ) -> keys.Keys | Failed:
        master = "alice" if at == "a" else "bob"
        slaves = slaves or (("bob",) if at == "a" else ("alice",))
        ask = keys.GetKey(master=master, slaves=slaves, number=number, size=size)
        answer = self.cluster.ask(self.at(at), ask, wait)
        assert isinstance(answer, keys.Keys | Failed)
        return answer

    def key(self, number: int = 1, size: int = 32, **where: Any) -> keys.Keys:
        """Like `enc`, where a refusal is a failure."""
        answer = self.enc(number, size, **where)
        assert isinstance(answer, keys.Keys), answer
        return answer

    def dec(
        self,
        grant: bytes,
        *indexes: int,
        at: str = "b",
        slave: str = "",
        master: str = "",
        wait: float = 5.0,
    ) -> keys.KeysWithIds | Failed:
        names = tuple(keys.KeyName(grant, index) for index in indexes or (0,))
        slave = slave or ("bob" if at == "b" else "alice")
        master = master or ("alice" if at == "b" else "bob")
        ask = keys.GetKeyWithIds(master=master, slave=slave, names=names)
        answer = self.cluster.ask(self.at(at), ask, wait)
        assert isinstance(answer, keys.KeysWithIds | Failed)
        return answer

    def fetch(self, grant: bytes, *indexes: int, **where: Any) -> tuple[bytes, int]:
        """Like `dec`, where a refusal is a failure: the octets, and the receipt."""
        answer = self.dec(grant, *indexes, **where)
        assert isinstance(answer, keys.KeysWithIds), answer
        return b"".join(octets.reveal() for octets in answer.octets), answer.receipt

    def deliver(
        self, grant: bytes, *indexes: int, at: str = "b", slave: str = ""
    ) -> keys.KeysWithIds | Failed:
        answer = self.dec(grant, *indexes, at=at, slave=slave)
        if isinstance(answer, keys.KeysWithIds):
            self.cluster.tell(self.at(at), keys.Written(receipt=answer.receipt))
        return answer
