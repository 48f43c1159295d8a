"""What a listener on every wire makes of the frames: which octets lie where, and for what."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from actors.protocol import blocks, grants, relay, sessions
from actors.protocol.keys import KeyName
from protokms.testing.sim.checker.fates import Announced, Fates
from protokms.testing.sim.checker.octets import Octets, Place, Purpose, total, units
from protokms.testing.sim.checker.promise import BrokenPromise
from protokms.testing.sim.checker.relayed import Relayed, xor_all
from transport.message import Message

TAG_KEY = 32
_GOOD = "good"
Drawn = Callable[[str, str, int], bytes]
"""The payload of the datagram with this seq that went from one node to another."""


class Overheard:
    """Follows the words of honest nodes; whether a word arrives it cannot know."""

    def __init__(
        self,
        octets: Octets,
        drawn: Drawn,
        neighbours: Callable[[str, str], bool],
        now: Callable[[], float],
    ) -> None:
        self.relayed = Relayed()
        self.frames = bytearray()
        """Everything that was on a wire, but for what was sealed."""
        self.grants: dict[bytes, grants.Grant] = {}
        """Every grant ever announced or answered, by its id."""
        self._first: dict[bytes, grants.Grant] = {}
        self.given: set[bytes] = set()
        """Grants that a master was answered with."""
        self.held: set[bytes] = set()
        self.voided: set[bytes] = set()
        self.void_held: dict[tuple[str, bytes], float] = {}
        """When the node of slaves said so first; of a multicast another may hold it still."""
        """When a void was acknowledged."""
        self.segments: dict[Place, bytes] = {}
        self.on_new_epoch: Callable[[str, str], None] = lambda _sender, _to: None
        """Called when a node begins a new epoch of the store it shares with another."""
        self._epochs: dict[tuple[str, str], tuple[int, int]] = {}
        self.octets, self._drawn, self._now = octets, drawn, now
        self._fates = Fates()
        self._neighbours = neighbours
        self._batches: dict[Place, tuple[object, ...]] = {}
        self._not_good: set[Place] = set()
        self._leased: set[Place] = set()
        self._closed: set[Place] = set()
        self._decided: dict[Place, bool] = {}
        self._words: dict[type[Message], Callable[[str, str, Any], None]] = {
            blocks.BlocksHeld: self._batch,
            blocks.BlocksHeldJudged: self._judged,
            blocks.BlocksConfirmed: self._decision,
            blocks.BlocksDiscarded: self._decision,
            blocks.LeaseHeld: self._lease_held,
            blocks.SegmentClosed: self._closed_,
            grants.GrantsAnnounced: self._announced,
            grants.GrantSealed: self._sealed,
            grants.GrantsHeld: self._grants_held,
            grants.GrantsRefused: self._grants_refused,
            relay.Carry: self._carry,
            sessions.KeyTransportSession: self._session,
            sessions.KeyTransportSession2: self._session,
            grants.GrantsVoid: self._void,
            grants.GrantsVoidHeld: self._void_held,
        }

    @property
    def words(self) -> set[str]:
        """The names of the words that mean something here."""
        return {word.wire for word in self._words}

    def hear(self, sender: str, to: str, frame: bytes, body: Message) -> None:
        """A frame is on the wire."""
        sealed = getattr(body, "sealed", b"")
        self.frames += frame.replace(sealed, b"") if sealed else frame
        if sealed and next(units(sealed)) in self.octets.drawn:
            raise BrokenPromise("P7", f"{type(body).__name__} holds octets as they were drawn")
        self._epoch(sender, to, body)
        listen = self._words.get(type(body))
        if listen and _pair(sender, to) not in self.octets.betrayed:
            listen(sender, to, body)

    def _epoch(self, sender: str, to: str, body: Message) -> None:
        where = body if isinstance(body, blocks.ResumeAsk | blocks.Resume) else head_of(body)
        if where:
            epoch = where.number, where.random
            before = self._epochs.setdefault((sender, to), epoch)
            if before != epoch:
                self._epochs[sender, to] = epoch
                self.on_new_epoch(sender, to)

    # Batches (R2, R3)

    def _judged(self, sender: str, to: str, word: blocks.BlocksHeldJudged) -> None:
        if word.verdict != _GOOD:
            self._not_good.add(_place(word.head, sender, to, sender, word.batch))
        self._batch(sender, to, word)

    def _batch(
        self, sender: str, to: str, word: blocks.BlocksHeld | blocks.BlocksHeldJudged
    ) -> None:
        place = _place(word.head, sender, to, sender, word.batch)
        same = word.runs, word.lengths, word.tag
        if self._batches.setdefault(place, same) != same:
            raise BrokenPromise("R2", f"{place} is told differently the second time")
        if place in self.segments:
            return
        seqs = [seq for run in word.runs for seq in range(run.first, run.last + 1)]
        payloads = [self._payload(word.head, sender, to, seq) for seq in seqs]
        if tuple(map(len, payloads)) != word.lengths:
            raise BrokenPromise("R1", f"{place} names octets that were not sent")
        octets = b"".join(payloads)
        self.octets.use(octets[:TAG_KEY], ("tag", place))
        self.segments[place] = octets[TAG_KEY:]

    def _payload(self, head: blocks.Head, holder: str, origin: str, seq: int) -> bytes:
        if self._neighbours(origin, holder):
            return self._drawn(origin, holder, seq)
        low, high = sorted((head.mine, head.yours))
        epoch = low.to_bytes(8, "big") + high.to_bytes(8, "big")
        return self.relayed.payload(origin, holder, epoch, seq)

    def _decision(self, sender: str, to: str, word: blocks.BlocksConfirmed) -> None:
        place = _place(word.head, sender, to, to, word.batch)
        good = isinstance(word, blocks.BlocksConfirmed)
        if good and place in self._not_good:
            raise BrokenPromise("R21", f"{place} is confirmed, and its holder finds it bad")
        if self._decided.setdefault(place, good) is not good:
            raise BrokenPromise("R2", f"{place} is decided twice, differently")

    def _session(self, _sender: str, _to: str, word: sessions.SetUp) -> None:
        self.relayed.session(word)

    def restored(self, node: str) -> None:
        """A node has gone back to a copy, and so may what it answers and closes."""
        self.void_held.clear()
        self._fates.restored(node)

    # Segments (R1, R6)

    def _lease_held(self, sender: str, to: str, word: blocks.LeaseHeld) -> None:
        self._leased |= {_segment(word.head, sender, to, name) for name in word.segments}

    def _closed_(self, sender: str, to: str, word: blocks.SegmentClosed) -> None:
        place = _segment(word.head, sender, to, word.segment)
        if place not in self._closed:
            self._fates.closed(place, word.head.mine)
        self._closed.add(place)

    # Grants (R9)

    def _announced(self, sender: str, to: str, word: grants.GrantsAnnounced) -> None:
        for grant in word.grants:
            before = self._first.get(grant.id)
            if before and _lasting(before) != _lasting(grant):
                raise BrokenPromise("R9", f"grant {grant.id.hex()} is announced differently")
            purpose = ("grant", grant.id)
            octets = self._bits(word.head, sender, to, grant.pieces, purpose, new=before is None)
            if before is None:
                self._first[grant.id] = self.grants[grant.id] = grant
                self._values(grant, octets, drawn=self._neighbours(sender, to))
            for piece in grant.pieces:
                place = _segment(word.head, sender, to, blocks.SegmentId(piece.holder, piece.batch))
                told = Announced(sender, word.head.mine, grant.mode == "local")
                self._fates.announced(place, grant.id, told)
            if grant.id in self.voided:
                raise BrokenPromise("R9", f"grant {grant.id.hex()} was voided, then announced")

    def _sealed(self, sender: str, to: str, word: grants.GrantSealed) -> None:
        """A grant under one-time bits: the same seal, or none, under these bits (R4)."""
        grant, purpose = word.grant, ("seal", word.grant.id, word.sealed, word.tag)
        octets = self._bits(word.head, sender, to, grant.pieces, purpose, new=False)
        self.octets.use(octets, purpose)
        known = self.grants.get(grant.id)
        slaves = dict.fromkeys((*(known.slaves if known else ()), *grant.slaves))
        self.grants[grant.id] = replace(grant, slaves=tuple(slaves))
        self._values(grant, xor_all([octets[TAG_KEY:], word.sealed]), drawn=True)

    def _carry(self, sender: str, to: str, word: relay.Carry) -> None:
        """A chunk under one-time bits: one octet string under these bits (R4), fresh bits (P2)."""
        purpose = ("pad", sender, to, word.chunk, word.hop, word.sealed, word.tag)
        octets = self._bits(word.head, sender, to, word.pieces, purpose, new=False)
        self.octets.use(octets, purpose)
        self.relayed.chunk(word.chunk, xor_all([octets[TAG_KEY:], word.sealed]))

    def _bits(
        self,
        head: blocks.Head,
        sender: str,
        to: str,
        pieces: tuple[grants.Piece, ...],
        purpose: Purpose,
        *,
        new: bool,
    ) -> bytes:
        """Take note of what octets of the stream are for, and return them."""
        parts = []
        for piece in pieces:
            name = blocks.SegmentId(piece.holder, piece.batch)
            place = _segment(head, sender, to, name)
            self.octets.lie(place, piece.offset, piece.offset + piece.length, purpose)
            if new and place in self._closed:
                raise BrokenPromise("R1", f"{purpose[:2]} lies in the closed {place}")
            if place not in self._leased:
                raise BrokenPromise("R6", f"{purpose[:2]} lies in {place}, no lease held")
            segment = self.segments.get(place)
            if segment is None:
                raise BrokenPromise("R2", f"{purpose[:2]} lies in no batch: {place}")
            parts.append(segment[piece.offset : piece.offset + piece.length])
        return b"".join(parts)

    def _values(self, grant: grants.Grant, octets: bytes, *, drawn: bool) -> None:
        """Every key of the grant, as it follows from what was drawn."""
        if len(octets) != total(grant):
            raise BrokenPromise("P1", f"grant {grant.id.hex()} has too few octets")
        for index in range(grant.number):
            start = index * grant.size
            key = octets[start : start + grant.size]
            self.octets.key(KeyName(grant.id, index), key, drawn=drawn)

    def _grants_held(self, _sender: str, _to: str, word: grants.GrantsHeld) -> None:
        self.held |= set(word.ids)
        self._fates.answered(word.ids)

    def _grants_refused(self, _sender: str, _to: str, word: grants.GrantsRefused) -> None:
        self._fates.answered(refusal.id for refusal in word.refusals)

    def _void(self, _sender: str, _to: str, word: grants.GrantsVoid) -> None:
        ids = {void.id for void in word.grants}
        if ids & self.given:
            raise BrokenPromise("R9", "a grant was answered and then voided")
        self.voided |= ids
        self._fates.voided(ids)

    def _void_held(self, sender: str, _to: str, word: grants.GrantsVoidHeld) -> None:
        self._fates.void_held(word.ids)
        for id_ in word.ids:
            self.void_held.setdefault((sender, id_), self._now())


def head_of(word: Message) -> blocks.Head | None:
    """The head of a word, if it has one."""
    head = getattr(word, "head", None)
    return head if isinstance(head, blocks.Head) else None


def _lasting(grant: grants.Grant) -> tuple[object, ...]:
    return grant.pieces, grant.size, grant.number, grant.master, grant.slaves


def _pair(one: str, other: str) -> tuple[str, str]:
    return (one, other) if one < other else (other, one)


def _place(head: blocks.Head, sender: str, to: str, holder: str, batch: int) -> Place:
    return Place(_pair(sender, to), head.number, head.random, holder, batch)


def _segment(head: blocks.Head, sender: str, to: str, name: blocks.SegmentId) -> Place:
    return _place(head, sender, to, _pair(sender, to)[name.holder], name.batch)
