"""Relays in a row with everything around them played: the bench of the tests of one hop."""

import itertools
import random
from collections import deque
from collections.abc import Sequence
from typing import TypeVar

from actors.protocol import pads, peers, relay
from actors.protocol.blocks import Head
from actors.protocol.common import Failed
from actors.protocol.doors import DOORS
from actors.protocol.grants import Piece
from actors.protocol.relay import ChunkId, LaneClosed, LaneOpened, SessionId
from actors.relay.relay import Relay
from protokms.testing.cluster import Cluster
from protokms.testing.probe import Probe
from transport.codec import decode
from transport.envelope import Address, Envelope
from transport.message import Message, Secret

M = TypeVar("M", bound=Message)
EPOCH = bytes(range(16))
SESSION = SessionId("a", 7)
OTHER = SessionId("a", 8)


def chunk(seq: int = 1, share: int = 0, session: SessionId = SESSION) -> ChunkId:
    return ChunkId(session, share, EPOCH, seq)


class Bank:
    """The pads of one hop: what either end allocates, the other may open once."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.unopened: dict[tuple[Piece, ...], bytes] = {}
        self.given: list[bytes] = []
        self.batch = 0

    def allocate(self, ask: pads.TakePad) -> pads.Pad:
        self.batch += 1
        pieces = (Piece(0, self.batch, 0, 32), Piece(1, self.batch, 0, ask.octets - 32))
        octets = self.dice.randbytes(ask.octets)
        self.unopened[pieces] = octets
        self.given.append(octets)
        head = Head(11, 12, 1, 13, self.batch)
        return pads.Pad(id=ask.id, head=head, pieces=pieces, octets=Secret(octets))


class Teller:
    """Stands for a key store that only knows pads; `dry` makes who asks wait."""

    def __init__(self, cluster: Cluster, at: str, bank: Bank) -> None:
        self.address, self.cluster, self.bank = Address.parse(at), cluster, bank
        self.dry = False
        self.ready = True
        self.room, self.rate = 1 << 20, 0.0
        self.waiting: deque[Envelope] = deque()
        self.heard: list[Message] = []
        cluster.place(at, self)

    def tell(self, envelope: Envelope) -> None:
        body = envelope.body
        self.heard.append(body)
        if isinstance(body, pads.TakePad | pads.OpenPad) and not self.ready:
            self._answer(envelope, Failed(code="not_ready", why=""))
        elif isinstance(body, pads.TakePad):
            self.waiting.append(envelope)
            if not self.dry:
                self.pour()
        elif isinstance(body, pads.AskPadRoom):
            self.tell_room(self.room)
        elif isinstance(body, pads.OpenPad):
            octets = self.bank.unopened.pop(body.pieces, None)
            opened = pads.PadOpened(octets=Secret(octets)) if octets else None
            self._answer(envelope, opened or Failed(code="opened", why=""))

    def tell_room(self, octets: int, rate: float = 0.0) -> None:
        """Say to the relay what is there for it."""
        self.room, self.rate = octets, rate or self.rate
        relay = Address(self.address.name.replace("key_store", "relay"), self.address.node)
        news = pads.PadRoom(octets=octets, rate=self.rate)
        self.cluster.nodes[self.address.node].send(Envelope(self.address, relay, news))

    def pour(self, n: int = 1000) -> None:
        """Give the next `n` who wait their pads."""
        while self.waiting and n:
            n -= 1
            envelope = self.waiting.popleft()
            assert isinstance(envelope.body, pads.TakePad)
            self._answer(envelope, self.bank.allocate(envelope.body))

    def of(self, kind: type[M]) -> list[M]:
        return [body for body in self.heard if isinstance(body, kind)]

    def _answer(self, envelope: Envelope, body: Message) -> None:
        system = self.cluster.nodes[self.address.node]
        system.send(Envelope(self.address, envelope.sender, body, envelope.token, answer=True))


class Hops:
    """Relays between neighbours of a row `a b c ...`; probes for sessions and for both ends."""

    def __init__(self, nodes: str = "abc", *, seed: int = 0, tolerant: bool = False) -> None:
        self.row = nodes
        links = " ".join(f"{one}-{two}" for one, two in itertools.pairwise(nodes))
        self.cluster = Cluster(links, seed=seed, tolerant=tolerant, hear_peers=("relay/{peer}",))
        self.sessions = {node: self.cluster.probe(f"sessions@{node}") for node in nodes}
        self.managers = {node: self.cluster.probe(f"peer_manager@{node}") for node in nodes}
        self.stores: dict[str, Teller] = {}
        for number, (one, two) in enumerate(itertools.pairwise(nodes)):
            bank = Bank(seed + number)
            for at in (f"key_store/{two}@{one}", f"key_store/{one}@{two}"):
                self.stores[at] = Teller(self.cluster, at, bank)
            self.spawn(one, two)
            self.spawn(two, one)
        self.near = self.cluster.probe(f"virtual_link/{nodes[-1]}@{nodes[0]}")
        self.far = self.cluster.probe(f"virtual_link/{nodes[0]}@{nodes[-1]}")
        self.far.on(relay.Pass, relay.Passed())
        self.wire: list[tuple[str, Message]] = []
        self._carry = self.cluster.net.post
        self.lost: set[type[Message]] = set()
        self.cluster.net.post = self._post  # type: ignore[method-assign]
        self.cluster.advance(4.0)

    def _post(self, sender: str, to: str, octets: bytes) -> None:
        word = decode(octets, sender).body
        self.wire.append((sender, word))
        if type(word) not in self.lost:
            self._carry(sender, to, octets)

    def play(self, to: str, word: Message, sender: str) -> None:
        """Play the peer: let it say this, whatever the wire loses."""
        lost, self.lost = self.lost, set()
        self.cluster.tell(to, word, sender=sender)
        self.lost = lost

    def spawn(self, node: str, neighbour: str) -> None:
        self.cluster.spawn(f"relay/{neighbour}@{node}", Relay, neighbour)
        self.speaks(node, neighbour)

    def speaks(self, node: str, neighbour: str, *words: str) -> None:
        """Let the relay at a node know which words its neighbour knows: all, or these."""
        news = peers.PeerSpeaks(peer=neighbour, words=words or tuple(DOORS))
        self.managers[node].say(f"relay/{neighbour}@{node}", news)

    def relay(self, node: str, neighbour: str) -> Relay:
        found = self.cluster.actor(f"relay/{neighbour}@{node}")
        assert isinstance(found, Relay)
        return found

    def terms(
        self,
        node: str,
        session: SessionId = SESSION,
        share: int = 0,
        shares: int = 1,
        weight: int = 1,
    ) -> LaneOpened:
        hop, last = self.row.index(node), len(self.row) - 1
        before, after = self.row[hop - 1], self.row[min(hop + 1, last)]
        return LaneOpened(
            session=session,
            share=share,
            shares=shares,
            source=f"relay/{before}" if hop else f"virtual_link/{self.row[-1]}",
            target=f"relay/{after}" if hop < last else f"virtual_link/{self.row[0]}",
            hop=hop,
            path=tuple(self.row),
            weight=weight,
        )

    def open(self, session: SessionId = SESSION, nodes: Sequence[str] = (), **more: int) -> None:
        for node in nodes or self.row:
            self.tell_both(node, self.terms(node, session, **more))

    def close(self, node: str, session: SessionId = SESSION, share: int = 0) -> None:
        terms = self.terms(node, session, share)
        news = LaneClosed(session=session, share=share)
        for name in (terms.source, terms.target):
            self.sessions[node].say(f"{name}@{node}", news)
        self.cluster.settle()

    def tell_both(self, node: str, terms: LaneOpened) -> None:
        for name in (terms.source, terms.target):
            self.sessions[node].say(f"{name}@{node}", terms)
        self.cluster.settle()

    def send(self, *seqs: int, size: int = 2000, session: SessionId = SESSION) -> dict[int, bytes]:
        """Have the origin's end pass chunks on, and return what is in them."""
        made = {}
        for seq in seqs:
            payload = bytes([seq % 251]) * size
            made[seq] = payload
            ask = relay.Pass(chunk=chunk(seq, session=session), payload=Secret(payload))
            self.near.question(f"relay/{self.row[1]}@{self.row[0]}", ask)
        self.cluster.settle()
        return made

    def arrived(self, probe: Probe | None = None) -> dict[int, bytes]:
        """What has come to the far end."""
        words = (probe or self.far).of(relay.Pass)
        made = {word.chunk.seq: word.payload.reveal() for word in words}
        assert len(made) == len(words), "a chunk came twice"
        return made

    def answers(self) -> list[str]:
        """What the origin's end was told of its chunks: `passed`, or the code of the refusal."""
        found = []
        for envelope in self.near.envelopes:
            if envelope.answer:
                body = envelope.body
                found.append(body.code if isinstance(body, Failed) else "passed")
        return found

    def said(self, kind: type[M], sender: str = "") -> list[M]:
        return [w for who, w in self.wire if isinstance(w, kind) and sender in ("", who)]

    def broken(self, node: str) -> list[str]:
        return [word.code for word in self.sessions[node].of(relay.LaneBroken)]

    def dropped(self, node: str, **labels: str) -> float:
        return self.cluster.count(node, "protokms_relay_dropped", **labels)
