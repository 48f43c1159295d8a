"""From datagrams to confirmed batches: who holds, who decides, once (R1, R2, R3).

No actor, no clock of its own, no I/O. The receiver of datagrams forms batches and holds them;
the sender of the datagrams decides. Sizes are octets, not bits.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from actors.crypto import batch_tag
from actors.ledger.link_health import GOOD, LinkHealth
from actors.ledger.peering_state import LIMIT, PeeringState
from actors.ledger.segment import LINK, NEVER, Paths, Way, segment_key, way_of
from actors.ledger.stream import Stream
from actors.protocol.blocks import BlocksHeld, BlocksHeldJudged, Run, SegmentId
from actors.storage.journal import Journal, Shelf

BATCH_MIN = 1024
BATCH_FORMED = 1_164
"""Octets of the smallest batch of what a link brings: the pad of a smallest chunk, with both tag
keys, so that a batch makes a chunk."""
BATCH_MAX = 65_536
DATAGRAM_MAX = 64_000
DATAGRAMS_MAX = 65_536
UNDECIDED_MAX = 256
SETTLED_MAX = 4096
PATHS_MAX = 16
"""Paths noted of one batch."""


@dataclass(slots=True)
class HeldBatch:
    """A batch of ours that the other end has not decided."""

    runs: tuple[Run, ...]
    lengths: tuple[int, ...]
    tag: bytes
    octets: bytes = field(repr=False)
    way: Way = LINK
    verdict: str = ""
    """What we say of it (R21); nothing: it is told in a word that cannot say so."""
    last_sent: float = NEVER


class Datagram(NamedTuple):
    """One datagram that is in no batch, since when, and over which paths it goes or came."""

    octets: bytes
    at: float
    via: Paths


@dataclass(slots=True)
class Decision:
    """What we decided about a batch of the peer's; kept until it has settled."""

    confirmed: bool
    last_sent: float = NEVER


class Batches:
    """Undecided octets of both directions; confirmed ones go into the stream."""

    def __init__(
        self,
        journal: Journal,
        shelf: Shelf,
        state: PeeringState,
        stream: Stream,
        health: LinkHealth | None = None,
    ) -> None:
        self._journal, self._state, self._stream = journal, state, stream
        self._health = health
        """Of a quantum link; relayed octets are tested at the links of their origin."""
        self.held: dict[int, HeldBatch] = {}
        self.decided: dict[int, Decision] = {}
        self._emitted: dict[int, Datagram] = {}
        self._arrived: dict[int, Datagram] = {}
        self._settled: dict[int, None] = {}
        self._taken: dict[int, None] = {}
        self._next = 0
        self.most = BATCH_MAX
        """Octets of the largest batch formed here."""
        self.emitted = self.arrived = self.undecided = 0
        """Octets sent and named by no batch; received and in no batch; in batches of ours."""
        for _, self._next, _ in shelf.each("numbers"):
            pass
        bits = {id_: octets for id_, _, octets in shelf.each("bits")}
        for id_, (runs, lengths, mark, *way), _ in shelf.each("held"):
            octets = bits[bytes((stream.end,)) + id_]
            came, verdict = way_of(*way[:2]) if way else LINK, "".join(way[2:])
            named = tuple(Run(*run) for run in runs), tuple(lengths), mark
            made = HeldBatch(*named, octets, came, verdict)
            self.held[int.from_bytes(id_, "big")] = made
            self.undecided += len(octets)
        for id_, clear, _ in shelf.each("decided"):
            self.decided[int.from_bytes(id_, "big")] = Decision(clear)

    def destroy(self) -> None:
        """The epoch is over: undecided batches die with it."""
        for number in self.held:
            self._journal.drop("held", _key(number))
            self._journal.drop("bits", segment_key(SegmentId(self._stream.end, number)))
        for number in self.decided:
            self._journal.drop("decided", _key(number))
        for store in (self.held, self.decided, self._emitted, self._arrived, self._settled):
            store.clear()
        self._next = 0
        self.emitted = self.arrived = self.undecided = 0
        self._save()

    # Datagrams (R1)

    def emit(
        self, first: int, payloads: Iterable[bytes], now: float, limit: int, via: Paths = ()
    ) -> None:
        """Keep what the link is about to send, up to `limit` octets that no batch names."""
        for seq, octets in enumerate(payloads, first):
            full = self.emitted + len(octets) > limit or len(self._emitted) >= DATAGRAMS_MAX
            if not full and seq not in self._emitted:
                self._emitted[seq] = Datagram(octets, now, via)
                self.emitted += len(octets)

    def awaits_name(self, seqs: Iterable[int]) -> bool:
        """Whether any of these was emitted, and no batch has named it yet."""
        return any(seq in self._emitted for seq in seqs)

    def forget_emitted(self, before: float) -> int:
        """Discard what no batch has named in time; return how many octets."""
        old = []
        for seq, datagram in self._emitted.items():
            if datagram.at >= before:
                break
            old.append(seq)
        return sum(len(self._forget(seq)[0] or b"") for seq in old)

    def arrive(
        self,
        seqs: Iterable[int],
        payloads: Iterable[bytes],
        now: float,
        limit: int,
        via: Paths = (),
    ) -> None:
        """Take datagrams in; past the limit they are dropped, and die at their sender."""
        for seq, octets in zip(seqs, payloads, strict=True):
            fits = 0 < len(octets) <= DATAGRAM_MAX and self.arrived + len(octets) <= limit
            if fits and seq not in self._taken:
                self._taken[seq] = None  # for ever: a tag key must not be octets of an older batch
                self._arrived[seq] = Datagram(octets, now, via)
                self.arrived += len(octets)
        while len(self._taken) > DATAGRAMS_MAX:
            del self._taken[next(iter(self._taken))]

    def withdraw(self) -> int:
        """Discard all that no batch has named; return how many octets."""
        lost = self.emitted
        self._emitted.clear()
        self.emitted = 0
        return lost

    def forget_arrived(self, before: float = math.inf) -> None:
        """Drop what lies in no batch: all at a Resume, else what its sender soon discards.

        One datagram that the sender has discarded would cost the whole batch that names it.
        """
        old = []
        for seq, datagram in self._arrived.items():
            if datagram.at >= before:
                break
            old.append(seq)
        self.arrived -= sum(len(self._arrived.pop(seq).octets) for seq in old)

    # The holder (R2)

    def form_up_to(self, most: int) -> None:
        """Form no larger batches from now on."""
        self.most = most

    def form(self, at_least: int = BATCH_MIN, *, judged: bool = False) -> list[int]:
        """Form batches of what has arrived; each is durable before it is told.

        `judged`: what this end thinks of them can be told beside them.
        """
        formed = []
        while self.arrived >= max(at_least, BATCH_MIN) and len(self.held) < UNDECIDED_MAX:
            formed.append(self._form(judged=judged))
        return formed

    def _form(self, *, judged: bool) -> int:
        seqs: list[int] = []
        total = 0
        for seq in sorted(self._arrived):
            size = len(self._arrived[seq].octets)
            if seqs and total + size > self.most + batch_tag.KEY_OCTETS:
                break
            seqs.append(seq)
            total += size
        taken = [self._arrived.pop(seq) for seq in seqs]
        parts, way = [it.octets for it in taken], _together(it.via for it in taken)
        self.arrived -= total
        octets, runs, lengths = b"".join(parts), _runs(seqs), tuple(len(part) for part in parts)
        number, self._next = self._next, self._next + 1
        end = self._stream.end
        mark, verdict = batch_tag.make(octets, self._place(end, number), runs, lengths), ""
        said = self._judge(octets)
        if judged:
            verdict = said
        elif said != GOOD:  # a word that cannot say so is one that nobody confirms
            mark = batch_tag.spoilt(mark)
        held = HeldBatch(runs, lengths, mark, octets[batch_tag.KEY_OCTETS :], way, verdict)
        self.held[number] = held
        self.undecided += len(held.octets)
        pairs = [(run.first, run.last) for run in runs]
        told = (verdict,) if judged else ()
        self._journal.put("held", _key(number), (pairs, lengths, mark, *way, *told))
        self._journal.put("bits", segment_key(SegmentId(end, number)), None, held.octets)
        self._save()
        self._state.count()
        return number

    def conclude(self, batch: int, *, confirmed: bool) -> None:
        """Hear the decision about a batch of ours; nothing if it is known already."""
        held = self.held.pop(batch, None)
        if held is None:
            return
        self.undecided -= len(held.octets)
        name = SegmentId(self._stream.end, batch)
        self._journal.drop("held", _key(batch))
        if confirmed:
            self._stream.enter(name, held.octets, write_bits=False, way=held.way)
        else:
            self._journal.drop("bits", segment_key(name))
        self._state.count()

    def awaits(self, name: SegmentId) -> bool:
        """Whether this is a batch of ours whose decision we have not heard."""
        return name.holder == self._stream.end and name.batch in self.held

    # The decider (R2, R3)

    def decide(self, word: BlocksHeld | BlocksHeldJudged) -> bool | None:
        """Decide about a batch of the peer's, once; None if it is not to be answered.

        It is confirmed if both ends have the same octets, and both find them good (R21).
        """
        if word.batch in self.decided:
            return self.decided[word.batch].confirmed
        end = 1 - self._stream.end
        known = word.batch in self._settled  # a copy on its way since before
        known |= SegmentId(end, word.batch) in self._stream.segments
        if known or not 0 <= word.batch < LIMIT or len(self.decided) >= 2 * UNDECIDED_MAX:
            return None
        octets, way = self._named(word)
        theirs = word.verdict if isinstance(word, BlocksHeldJudged) else GOOD
        healthy = len(octets) >= BATCH_MIN and (self._judge(octets), theirs) == (GOOD, GOOD)
        good = healthy and batch_tag.agrees(
            octets, self._place(end, word.batch), word.runs, word.lengths, word.tag
        )
        self.decided[word.batch] = Decision(good)
        self._journal.put("decided", _key(word.batch), good)
        if good:
            rest = octets[batch_tag.KEY_OCTETS :]
            self._stream.enter(SegmentId(end, word.batch), rest, write_bits=True, way=way)
        self._state.count()
        return good

    def _judge(self, octets: bytes) -> str:
        return self._health.judge(octets) if self._health and octets else GOOD

    def settle(self, batch: int) -> None:
        """The holder knows our decision: forget it."""
        if self.decided.pop(batch, None) is None:
            return
        self._journal.drop("decided", _key(batch))
        self._settled[batch] = None
        if len(self._settled) > SETTLED_MAX:
            del self._settled[next(iter(self._settled))]

    def _named(self, word: BlocksHeld | BlocksHeldJudged) -> tuple[bytes, Way]:
        """Take out the emitted octets that a batch names; none unless all of them are there."""
        count = len(word.lengths)
        if not all(0 <= run.first <= run.last for run in word.runs):
            return b"", LINK
        if count > DATAGRAMS_MAX or count != sum(run.last - run.first + 1 for run in word.runs):
            return b"", LINK
        parts = [self._forget(seq) for run in word.runs for seq in range(run.first, run.last + 1)]
        found = [octets for octets, _ in parts if octets is not None]
        if len(found) != count or tuple(map(len, found)) != word.lengths:
            return b"", LINK  # a seq named twice is missing once
        return b"".join(found), _together(via for _, via in parts)

    def _forget(self, seq: int) -> tuple[bytes | None, Paths]:
        octets, _, via = self._emitted.pop(seq, (None, 0.0, ()))
        if octets is not None:
            self.emitted -= len(octets)
        return octets, via

    def _place(self, end: int, batch: int) -> tuple[int, int, int, int]:
        return (*self._state.epoch, end, batch)

    def _save(self) -> None:
        self._journal.put("numbers", b"", self._next)


def _key(batch: int) -> bytes:
    return batch.to_bytes(8, "big")


def _runs(seqs: list[int]) -> tuple[Run, ...]:
    runs: list[Run] = []
    for seq in seqs:
        if runs and runs[-1].last == seq - 1:
            runs[-1] = Run(runs[-1].first, seq)
        else:
            runs.append(Run(seq, seq))
    return tuple(runs)


def _together(vias: Iterable[Paths]) -> Way:
    """All paths of a batch, each once, the first first."""
    distinct = dict.fromkeys(vias)  # nearly always one
    paths = tuple(dict.fromkeys(path for via in distinct for path in via))[:PATHS_MAX]
    return Way(paths, min(map(len, distinct), default=0))
