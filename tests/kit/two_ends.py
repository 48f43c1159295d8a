"""Two ends of a store, an adversary between them, and a history of what could be seen.

Every action draws what it needs from one source of chance: a seed, or hypothesis.
"""

import random
from dataclasses import dataclass
from functools import partial
from typing import Any

from actors.keystore.key_store import KeyStore
from actors.protocol import keys, links
from actors.protocol.common import Failed
from actors.protocol.keys import KeyName
from protokms.testing.cluster import Cluster
from protokms.testing.probe import Probe
from protokms.testing.sim.checker.ledgers import named
from tests.kit.history import UNIT, Answered, BrokenPromise, History
from tests.kit.ledger_check import check_counters, check_rest, give_away
from tests.kit.pair import Pair
from tests.kit.two_relays import TwoRelays
from transport.codec import decode
from transport.envelope import Address, Envelope
from transport.message import Secret

NODES = ("a", "b")
MASTERS = {"a": ("alice", "carol"), "b": ("bob", "bert")}
CALM_S = 30.0
Seqs = tuple[int, ...]


def other(node: str) -> str:
    """Return the other end."""
    return "b" if node == "a" else "a"


@dataclass(slots=True)
class Fetch:
    """A `dec_keys` that waits for its answer, or for the report on its response."""

    ask: keys.GetKeyWithIds
    node: str
    life: int
    due: list[bool]
    receipt: int = 0


class SmallLeases(KeyStore):
    """So small that segments are left to give away."""

    lease_octets = 2000
    want_octets = 6000


class TwoEnds:
    """The system of the ledger's random runs."""

    def __init__(self, seed: int, dice: random.Random | None = None) -> None:
        self.dice = dice or random.Random(seed)
        self.mode = self.dice.choice(["confirmed", "confirmed", "local"])
        ttl = self.dice.choice([3600.0, 3600.0, 40.0])
        self.history = History(ttl)
        kind = self.dice.choice([KeyStore, SmallLeases, SmallLeases])
        self.pair = Pair(seed, shuffle=True, tolerant=True, kind=kind, mode=self.mode, ttl_s=ttl)
        self.cluster: Cluster = self.pair.cluster
        self.lives = dict.fromkeys(NODES, 0)
        self.seq = 0
        self.late: list[tuple[str, bytes, int, bytes]] = []
        self.asked: dict[tuple[str, int], tuple[keys.GetKey, str]] = {}
        self.fetches: dict[tuple[str, int], Fetch] = {}
        self.reports: list[Fetch] = []
        self.copy: tuple[str, Any] | None = None
        self.epoch = 1
        self.crashes = 0
        self.fronts: dict[str, Probe] = {n: self.cluster.probe(f"front@{n}") for n in NODES}
        for node, front in self.fronts.items():
            front.tell = partial(self._hear, node)  # type: ignore[method-assign]
        self.relays = TwoRelays(self.pair, self.dice, self.history)
        self._spy()

    def _spy(self) -> None:
        post = self.cluster.net.post

        def overhear(sender: str, to: str, octets: bytes) -> None:
            word = decode(octets, sender).body
            self.history.overheard(sender, octets, word)
            self.relays.overheard(word)
            post(sender, to, octets)

        self.cluster.net.post = overhear  # type: ignore[method-assign]

    def up(self, node: str) -> bool:
        """Whether the store of this node is there."""
        system = self.cluster.nodes[node]
        return system.alive and Address.parse(self.pair.at(node)).name in system.actors

    def store(self, node: str) -> KeyStore:
        """Return the store of a node that is up."""
        found = self.pair.store(node)
        assert isinstance(found, KeyStore)
        return found

    # The quantum link

    def feed(self) -> None:
        """A module draws datagrams at one end; at the other some come, some late, some never."""
        sender = self.dice.choice(NODES)
        receiver = other(sender)
        if not (self.up(sender) and self.store(sender).state.resumed):
            return
        epoch = self.store(sender).state.datagram_epoch
        count = self.dice.randint(1, 5)
        sizes = [UNIT * self.dice.randint(5, 200) for _ in range(count)]
        payloads = [self.dice.randbytes(size) for size in sizes]
        first, self.seq = self.seq, self.seq + count
        for payload in payloads:
            self.history.feed(payload)
        secrets = tuple(map(Secret, payloads))
        emitted = links.Emitted(epoch=epoch, first=first, payloads=secrets)
        self.cluster.tell(self.pair.at(sender), emitted)
        come: list[tuple[int, bytes]] = []
        for seq, payload in enumerate(payloads, first):
            fate = self.dice.random()
            if fate < 0.08:
                continue  # lost
            if fate < 0.16:
                self.late.append((receiver, epoch, seq, payload))
            elif fate < 0.18:
                spoilt = bytes([payload[0] ^ 1]) + payload[1:]
                come.append((seq, spoilt))
            else:
                come.append((seq, payload))
                if fate > 0.92:
                    self.late.append((receiver, epoch, seq, payload))
        self._receive(receiver, epoch, come)

    def straggler(self) -> None:
        """A datagram comes late: out of order, for the second time, or of an old epoch."""
        if self.late:
            receiver, epoch, seq, payload = self.late.pop(self.dice.randrange(len(self.late)))
            if self.dice.random() < 0.1:
                epoch = self.dice.randbytes(16)
            self._receive(receiver, epoch, [(seq, payload)])

    def _receive(self, receiver: str, epoch: bytes, come: list[tuple[int, bytes]]) -> None:
        if come and self.up(receiver):
            for seq, payload in come:
                self.history.arrived.setdefault((receiver, seq), payload)
            seqs, payloads = zip(*come, strict=True)
            got = links.Received(epoch=epoch, seqs=seqs, payloads=tuple(map(Secret, payloads)))
            self.cluster.tell(self.pair.at(receiver), got)

    # SAEs

    def enc(self) -> None:
        """A master asks for keys."""
        node = self.dice.choice(NODES)
        if not self.up(node):
            return
        there = MASTERS[other(node)]
        slaves = there if self.dice.random() < 0.2 else (self.dice.choice(there),)
        number, size = self.dice.choice([1, 1, 1, 3, 8]), UNIT * self.dice.randint(1, 8)
        master = self.dice.choice(MASTERS[node])
        ask = keys.GetKey(master=master, slaves=slaves, number=number, size=size)
        token = self.fronts[node].question(self.pair.at(node), ask)
        self.asked[node, token] = ask, node

    # Relays, and keys drawn elsewhere

    def take_pad(self) -> None:
        """A relay wants a pad."""
        node = self.dice.choice(NODES)
        if self.up(node):
            self.relays.take_pad(node)

    def open_pad(self) -> None:
        """A relay opens one."""
        if all(map(self.up, NODES)):
            self.relays.open_pad()

    def done_pad(self) -> None:
        """Relays are done with some."""
        if all(map(self.up, NODES)):
            self.relays.done_pad()

    def relay_crash(self) -> None:
        """A relay starts anew."""
        node = self.dice.choice(NODES)
        if self.up(node):
            self.relays.relay_crash(node)

    def seal(self) -> None:
        """Keys are to be given that were drawn elsewhere."""
        node = self.dice.choice(NODES)
        if self.up(node):
            self.relays.seal(node)

    def end_give(self) -> None:
        """Some that were given are settled or taken back."""
        if all(map(self.up, NODES)):
            self.relays.end_give()

    # SAEs of the slaves' side

    def dec(self) -> None:
        """A slave asks for some keys of a grant, or of several; now and then it is a thief."""
        if not self.history.announced:
            return
        known = list(self.history.given) or list(self.history.announced)
        ids = known if self.dice.random() < 0.9 else list(self.history.announced)
        grant = self.history.announced[self.dice.choice(ids[-20:])]
        node = "b" if grant.master in MASTERS["a"] else "a"
        if not self.up(node):
            return
        most = self.dice.randint(1, grant.number)
        picked = self.dice.sample(range(grant.number), most)
        names = tuple(KeyName(grant.id, index) for index in picked)
        slave, master = self.dice.choice(grant.slaves), grant.master
        if self.dice.random() < 0.1:
            slave = self.dice.choice(MASTERS[node])
        if self.dice.random() < 0.05:
            master = self.dice.choice(MASTERS[other(node)])
        self._fetch(node, keys.GetKeyWithIds(master=master, slave=slave, names=names))

    def _fetch(self, node: str, ask: keys.GetKeyWithIds) -> None:
        now, history = self.cluster.now, self.history
        grant = history.announced[ask.names[0].grant]
        right = ask.slave in grant.slaves and ask.master == grant.master
        strict = right and self.mode == "confirmed"
        due = [strict and history.fetchable(name, ask.slave, now) for name in ask.names]
        if right:
            history.tried.update((name, ask.slave) for name in ask.names)
        token = self.fronts[node].question(self.pair.at(node), ask)
        self.fetches[node, token] = Fetch(ask, node, self.lives[node], due)

    def give(self) -> None:
        """An end gives its newest fresh segment away, as if it had been asked."""
        node = self.dice.choice(NODES)
        store = self.store(node) if self.up(node) else None
        segment = store.stream.newest() if store and store.state.ready else None
        if store and segment:
            give_away(store, segment.id)

    def report(self) -> None:
        """A response was written, or broke; or nobody ever says."""
        if not self.reports:
            return
        fetch = self.reports.pop(self.dice.randrange(len(self.reports)))
        fate = self.dice.random()
        if not self.up(fetch.node) or fate > 0.85:
            return
        kind = keys.Written if fate < 0.6 else keys.Broken
        self.cluster.tell(self.pair.at(fetch.node), kind(receipt=fetch.receipt))
        alive = self.up(fetch.node) and fetch.life == self.lives[fetch.node]
        if kind is keys.Written and alive:
            self.written(fetch)

    def written(self, fetch: Fetch) -> None:
        """Note that a response counts as written, unless another fetch has taken its place."""
        for name in fetch.ask.names:
            place = name, fetch.ask.slave
            rivals = [f for f in (*self.reports, *self.fetches.values()) if f.ask.slave == place[1]]
            if not any(name in rival.ask.names for rival in rivals):
                self.history.written.add(place)

    def _hear(self, node: str, envelope: Envelope) -> None:
        token, body = envelope.token, envelope.body
        if asked := self.asked.pop((node, token), None):
            if isinstance(body, keys.Keys):
                told = Answered(asked[0], node, other(node), self.mode, self.cluster.now)
                self.history.answered(body, told)
        elif fetch := self.fetches.pop((node, token), None):
            if isinstance(body, keys.KeysWithIds):
                self.history.delivered(fetch.ask, body)
                fetch.receipt = body.receipt
                self.reports.append(fetch)
            elif isinstance(body, Failed) and fetch.life == self.lives[node]:
                self.history.refused(fetch.ask, fetch.due, body.code)

    # The adversary

    def wait(self) -> None:
        """Let time pass."""
        self.cluster.advance(self.dice.choice([0.01, 0.05, 0.05, 0.3, 1.0, 4.0]))

    def sleep(self) -> None:
        """Let much time pass."""
        self.cluster.advance(self.dice.choice([12.0, 35.0, 120.0]))

    def worsen(self) -> None:
        """Change how bad the wire is."""
        bad = self.dice.choice([0.0, 0.0, 0.1, 0.3])
        self.cluster.worsen(
            *NODES, loss=bad, duplicate=bad, reorder=bad * 2, delay=0.005, jitter=bad, late=bad * 3
        )

    def cut(self) -> None:
        """Cut the wire, maybe in one direction only."""
        ends = self.dice.sample(NODES, 2)
        self.cluster.cut(*ends, one_way=self.dice.random() < 0.5)

    def mend(self) -> None:
        """Mend it."""
        self.cluster.mend(*NODES)

    def crash(self) -> None:
        """Kill a node before or after the commit under way."""
        node = self.dice.choice(NODES)
        if self.cluster.nodes[node].alive:
            self.lives[node] += 1
            self.cluster.crash(node, before_commit=self.dice.random() < 0.5)

    def doom(self) -> None:
        """Kill a node at a commit to come."""
        node, n = self.dice.choice(NODES), self.dice.randint(1, 3)
        self.lives[node] += 1
        self.cluster.crash_at_commit(node, n, before=self.dice.random() < 0.5)

    def start(self) -> None:
        """Start what is dead."""
        for node in NODES:
            if not self.up(node):
                self.lives[node] += 1
                self.cluster.restart(node, reboot=self.dice.random() < 0.3)

    def actor_crash(self) -> None:
        """The store of a node dies of a word of its own node; a fresh one takes its place."""
        node = self.dice.choice(NODES)
        if self.up(node):
            self.lives[node] += 1
            self.check()
            wrong: Any = [self.dice.random()]  # the same word again would be dropped as poison
            self.cluster.tell(self.pair.at(node), keys.Written(receipt=wrong))
            self.crashes = len(self.cluster.crashes)
            if self.cluster.nodes[node].alive and not self.up(node):
                self.pair.revive(node)

    def backup(self) -> None:
        """Copy what is durable at a node, once."""
        if self.copy is None:
            node = self.dice.choice(NODES)
            self.copy = node, self.cluster.backup(node)

    def restore(self) -> None:
        """Put the copy back, once."""
        if self.copy is None or self.history.restored >= 0:
            return
        node, copy = self.copy
        self.lives[node] += 1
        peer_copy: Any = self.cluster.backup(other(node))
        held, peer_held = (
            {named(row) for row in rows.values() if row.kind == "holding"}
            for rows in (copy, peer_copy)
        )
        self.history.restore(node, held, peer_held, self.cluster.now)
        self.cluster.restore(node, copy)

    # Checks

    def check(self) -> None:
        """See what has come, and whether every store counts right."""
        for node in NODES:
            if self.up(node):
                number = self.store(node).state.epoch[0]
                if number > self.epoch:
                    self.epoch = number
                    self.history.epoch_changed()
        if len(self.cluster.crashes) > self.crashes:
            raise BrokenPromise(f"an actor crashed: {self.cluster.crashes[-1]}")
        for node in NODES:
            if self.up(node):
                check_counters(self.store(node))

    def calm(self) -> None:
        """Let the faults stop, and all come to rest; then look at everything."""
        self.cluster._doom.clear()
        self.cluster.worsen(*NODES, loss=0, duplicate=0, reorder=0, delay=0, jitter=0)
        self.mend()
        self.start()
        self.check()
        self.relays.calm()
        self.cluster.advance(CALM_S)
        self.check()
        if self.history.restored < 0:
            alarms = [self.cluster.count(node, "protokms_alarms") for node in NODES]
            if any(alarms):
                raise BrokenPromise(f"P9: false alarms {alarms}")
        ends = [self.store(node) for node in NODES]
        check_rest(ends[0], ends[1])
        self._fetch_all()
        self.history.silent()

    def _fetch_all(self) -> None:
        for id_, told in list(self.history.given.items()):
            for slave in told.ask.slaves:
                names = [KeyName(id_, index) for index in range(told.ask.number)]
                now = self.cluster.now
                due = [name for name in names if self.history.fetchable(name, slave, now)]
                if not due:
                    continue
                master = told.ask.master
                ask = keys.GetKeyWithIds(master=master, slave=slave, names=tuple(due))
                answer = self.cluster.ask(self.pair.at(told.slave_node), ask, 2.0)
                if not isinstance(answer, keys.KeysWithIds):
                    raise BrokenPromise(f"P3: {told} {slave}: {answer}")
                self.history.delivered(ask, answer)

    def lives_on(self) -> None:
        """After all that, fresh bits still become keys, in both directions."""
        for sender in NODES * 2:
            payload = self.dice.randbytes(4000)
            self.history.feed(payload)
            seq, self.seq = self.seq, self.seq + 1
            epoch = self.store(sender).state.datagram_epoch
            bits = (Secret(payload),)
            emitted = links.Emitted(epoch=epoch, first=seq, payloads=bits)
            self.cluster.tell(self.pair.at(sender), emitted)
            self._receive(other(sender), epoch, [(seq, payload)])
            self.cluster.advance(1.0)
        for node in NODES:
            ask = keys.GetKey(
                master=MASTERS[node][0], slaves=MASTERS[other(node)][:1], number=1, size=32
            )
            got = self.cluster.ask(self.pair.at(node), ask, 5.0)
            if not isinstance(got, keys.Keys):
                raise BrokenPromise(f"LIVE: no key at {node} after all: {got}")
            self.history.answered(got, Answered(ask, node, other(node), self.mode, 0.0))


WEIGHTS = {
    "feed": 16,
    "straggler": 5,
    "enc": 16,
    "dec": 12,
    "report": 8,
    "give": 3,
    "take_pad": 10,
    "open_pad": 10,
    "done_pad": 4,
    "relay_crash": 1,
    "seal": 5,
    "end_give": 5,
    "wait": 22,
    "sleep": 1,
    "worsen": 3,
    "cut": 1,
    "mend": 3,
    "crash": 1,
    "doom": 2,
    "start": 6,
    "actor_crash": 1,
    "backup": 1,
    "restore": 1,
}
"""How often each action is drawn."""


def run(seed: int, steps: int = 120) -> TwoEnds:
    """One seeded run, calm at the end; raises `BrokenPromise`."""
    ends = TwoEnds(seed)
    if seed % 4:
        for _ in range(6):
            ends.feed()
            ends.cluster.advance(0.2)
    kinds, weights = list(WEIGHTS), list(WEIGHTS.values())
    for _ in range(steps):
        getattr(ends, ends.dice.choices(kinds, weights)[0])()
        ends.check()
    ends.calm()
    ends.lives_on()
    return ends
