"""What SAEs and a listener on the wire have seen, and whether a promise was broken by it.

Knows nothing of the code under test: octets are told apart by value, in units of 8, which the
quantum link of the bench draws at random, so that no unit is ever the same twice by chance.
"""

from dataclasses import dataclass, field

from actors.protocol import blocks, grants, keys
from actors.protocol.keys import KeyName
from tests.kit.pair import SAES
from transport.message import Message

HOMES = dict(SAES)
UNIT = 8
TAG_KEY = 32
SLACK_S = 10.0
Use = tuple[object, ...]


class BrokenPromise(AssertionError):
    """A promise of the design was broken."""


@dataclass(slots=True)
class Answered:
    """A grant that a master has got."""

    ask: keys.GetKey
    issuer: str
    slave_node: str
    mode: str
    at: float
    excused: bool = False


@dataclass(slots=True)
class History:
    """Everything visible; `answered`, `delivered` and `overheard` raise `BrokenPromise`."""

    ttl_s: float
    fed: set[bytes] = field(default_factory=set)
    uses: dict[bytes, Use] = field(default_factory=dict)
    values: dict[KeyName, bytes] = field(default_factory=dict)
    given: dict[bytes, Answered] = field(default_factory=dict)
    announced: dict[bytes, grants.Grant] = field(default_factory=dict)
    voided: set[bytes] = field(default_factory=set)
    void_held: set[bytes] = field(default_factory=set)
    tried: set[tuple[KeyName, str]] = field(default_factory=set)
    written: set[tuple[KeyName, str]] = field(default_factory=set)
    arrived: dict[tuple[str, int], bytes] = field(default_factory=dict)
    frames: bytearray = field(default_factory=bytearray)
    restored: float = -1.0

    def feed(self, payload: bytes) -> None:
        """Note octets that the quantum link has drawn."""
        self.fed.update(payload[i : i + UNIT] for i in range(0, len(payload), UNIT))

    def use(self, octets: bytes, purpose: Use) -> None:
        """P2: octets serve one purpose, for ever."""
        for i in range(0, len(octets), UNIT):
            unit = octets[i : i + UNIT]
            before = self.uses.setdefault(unit, purpose)
            if before != purpose:
                raise BrokenPromise(f"P2: octets of {before} are octets of {purpose}")

    def key(self, name: KeyName, octets: bytes) -> None:
        """P1: a key_ID has one value, wherever it shows, made of bits of the stream."""
        if self.values.setdefault(name, octets) != octets:
            raise BrokenPromise(f"P1: two values of {name}")
        if any(octets[i : i + UNIT] not in self.fed for i in range(0, len(octets), UNIT)):
            raise BrokenPromise(f"P1: {name} holds octets that the link never drew")
        self.use(octets, ("key", name))

    def answered(self, got: keys.Keys, told: Answered) -> None:
        """A master has got keys: from here on P3 binds."""
        if got.grant in self.given:
            raise BrokenPromise("P1: a grant id was given twice")
        if got.grant in self.voided:
            raise BrokenPromise("R9: a grant was voided and then answered")
        ask = told.ask
        made = grants.Grant(got.grant, (), ask.size, ask.number, ask.master, ask.slaves, "", 0.0)
        self.announced.setdefault(got.grant, made)  # a local one may not have got out yet
        octets = got.octets.reveal()
        if len(octets) != told.ask.number * told.ask.size:
            raise BrokenPromise("P1: not as many octets as were asked for")
        for index in range(told.ask.number):
            start = index * got.size
            self.key(KeyName(got.grant, index), octets[start : start + got.size])
        self.given[got.grant] = told

    def fetchable(self, name: KeyName, slave: str, now: float) -> bool:
        """Whether P3 says that this key must be handed out now."""
        told = self.given.get(name.grant)
        return (
            told is not None
            and not told.excused
            and (name, slave) not in self.tried
            and now < told.at + self.ttl_s - SLACK_S
        )

    def delivered(self, ask: keys.GetKeyWithIds, got: keys.KeysWithIds) -> None:
        """A slave has got keys: P5, and nothing twice."""
        for name, secret in zip(ask.names, got.octets, strict=True):
            grant = self.announced.get(name.grant)
            if grant is None or ask.slave not in grant.slaves or ask.master != grant.master:
                raise BrokenPromise(f"P5: {name} given to {ask.slave} for {ask.master}")
            if name.grant in self.void_held:
                raise BrokenPromise("R9: a grant was given out after its void was acknowledged")
            if (name, ask.slave) in self.written:
                raise BrokenPromise(f"R11: {name} given to {ask.slave} after a written response")
            self.key(name, secret.reveal())

    def refused(self, ask: keys.GetKeyWithIds, due: list[bool], code: str) -> None:
        """A slave got nothing: P3 is broken if every key was due."""
        if due and all(due):
            raise BrokenPromise(f"P3: {ask.slave} was refused keys that were due: {code}")

    def overheard(self, sender: str, octets: bytes, body: Message) -> None:
        """A frame is on the wire, whether or not it arrives."""
        self.frames += octets
        if isinstance(body, blocks.BlocksHeld):
            seqs = [s for run in body.runs for s in range(run.first, run.last + 1)]
            front = b"".join(self.arrived[sender, seq] for seq in seqs[: TAG_KEY // UNIT])
            place = (body.head.number, body.head.random, sender, body.batch)
            self.use(front[:TAG_KEY], ("tag", *place, tuple(seqs)))
        elif isinstance(body, grants.GrantsAnnounced):
            self.announced.update({grant.id: grant for grant in body.grants})
        elif isinstance(body, grants.GrantsVoid):
            ids = {void.id for void in body.grants}
            if ids & self.given.keys():
                raise BrokenPromise("R9: a grant was answered and then voided")
            self.voided |= ids
        elif isinstance(body, grants.GrantsVoidHeld):
            self.void_held |= set(body.ids)

    def silent(self) -> None:
        """P6: no key was ever on the wire."""
        wire = bytes(self.frames)
        for name, octets in self.values.items():
            if octets[:UNIT] in wire:
                raise BrokenPromise(f"P6: octets of {name} were on the wire")

    def restore(self, node: str, held: set[bytes], peer_held: set[bytes], now: float) -> None:
        """Excuse what P3 excuses when a node is put back to a backup with these grants in it."""
        self.restored = now
        for id_, told in self.given.items():
            here = told.slave_node == node
            durable = id_ in (held if here else peer_held)
            if (here or told.mode == "local") and not durable:
                told.excused = True
        self.void_held.clear()
        self.written = {(name, sae) for name, sae in self.written if HOMES[sae] != node}

    def epoch_changed(self) -> None:
        """Local grants that the slaves' side had not heard of go with the epoch."""
        for told in self.given.values():
            if told.mode == "local":
                told.excused = True
