"""The stream of bits that two ends share: segments, their owners, leases (R1, R5, R6).

No actor, no clock of its own, no I/O: the key store is its doorman. Sizes are octets, not bits.
A segment is a confirmed batch less its tag key; its octets lie in a row of their own (`bits`),
are blanked in memory as soon as they are used, and on disk at the next `wipe`.
"""

from collections.abc import Iterable
from typing import Any

from actors.base import Clock
from actors.ledger.peering_state import PeeringState
from actors.ledger.segment import LINK, NEVER, Segment, Way, segment_id, segment_key, way_of
from actors.protocol.blocks import SegmentId
from actors.protocol.grants import Piece
from actors.protocol.keys import Via
from actors.storage.journal import Journal, Shelf

UNKNOWN = -1.0


class Stream:
    """All segments of one end; what changes goes to the journal."""

    def __init__(self, journal: Journal, shelf: Shelf, state: PeeringState, end: int) -> None:
        self._journal, self._state, self.end = journal, state, end
        self.segments: dict[SegmentId, Segment] = {}
        self.giving: dict[SegmentId, float] = {}
        self._fresh: dict[bool, dict[SegmentId, Segment]] = {True: {}, False: {}}
        self._asking: dict[SegmentId, Segment] = {}
        self._ready: dict[SegmentId, Segment] = {}
        self._finished: dict[SegmentId, Segment] = {}
        self._dirty: set[SegmentId] = set()
        self.octets = self.stock = self.usable = self.asked = self.theirs = 0
        """Octets in all segments; of ours and unused; of those, in leases that the peer holds, and
        in leases that it does not hold yet; of the peer's and not known to be used."""
        self.clock: Clock | None = None
        """What time it is, as the doorman has said last: for the age of what comes in."""
        self.came = self.batches = 0
        """Octets of all segments that have come in this life, and how many there were."""
        self._way = LINK
        """How the last of them came: those that came the same way share one."""
        self.paths = 1
        """Over how many paths bits must have come that are used here (R14)."""
        self._needed = [1, 1]
        """The same as this end asks for it, and as the peer does."""
        for _, self._needed, _ in shelf.each("paths"):
            self.paths = max(self._needed)
        self.fresh_octets = {True: 0, False: 0}
        """Octets in segments never leased: of ours, and of the peer's."""
        bits = {id_: octets for id_, _, octets in shelf.each("bits")}
        for id_, clear, _ in shelf.each("segment"):
            self._load(segment_id(id_), clear, bits.get(id_))
        for id_, _, _ in shelf.each("giving"):
            self.giving[segment_id(id_)] = NEVER

    def _load(self, name: SegmentId, clear: list[Any], bits: bytes | None) -> None:
        mine, n, leased, length, used, *origin = clear
        assert isinstance(n, int)
        assert isinstance(length, int)
        assert isinstance(used, list)
        segment = Segment(name, bytearray(bits or length), bool(mine), n, bool(leased))
        if origin:  # rows of an earlier version have none
            paths, boot, now, *least = origin
            segment.way, segment.since = way_of(paths, *least), Clock(boot, now)
        segment.used = [(start, end) for start, end in used] if bits else [(0, length)]
        self._add(segment)
        if segment.owned and segment.leased:
            self.burn(segment)  # R6: after any start the rest of every lease is burnt

    def enter(self, name: SegmentId, octets: bytes, *, write_bits: bool, way: Way = LINK) -> None:
        """A confirmed batch becomes a segment; its first owner follows from its number (R5)."""
        segment = Segment(name, bytearray(octets), name.batch % 2 == self.end)
        if way != self._way:
            self._way = way
        segment.way, segment.since = self._way, self.clock
        self._add(segment)
        self.came += len(octets)
        self.batches += 1
        if write_bits:
            self._journal.put("bits", segment_key(name), None, octets)
        self._save(segment)
        self._burn_weak(segment)

    def destroy(self) -> None:
        """The epoch is over: every bit of it goes, on disk too."""
        for name, segment in self.segments.items():
            segment.blank(0, len(segment.octets))
            self._journal.drop("segment", segment_key(name))
            self._journal.drop("bits", segment_key(name))
        for name in self.giving:
            self._journal.drop("giving", segment_key(name))
        mine, theirs = self._fresh[True], self._fresh[False]
        for table in (self.segments, self.giving, self._asking, self._ready, self._finished):
            table.clear()
        for fresh in (mine, theirs, self._dirty):
            fresh.clear()
        self.octets = self.stock = self.usable = self.asked = self.theirs = 0
        self.fresh_octets = {True: 0, False: 0}

    # Ownership (R5)

    def newest(self) -> Segment | None:
        """Our newest segment never leased: the one to give away first."""
        return next(reversed(self._fresh[True].values()), None)

    def give(self, name: SegmentId, now: float) -> int:
        """Give a whole, never leased segment away; return the number of the transfer."""
        segment = self.segments[name]
        assert segment.owned, "only the owner gives"
        assert not segment.leased, "only fresh segments move"
        self.stock -= segment.free
        self.theirs += segment.free
        self._not_fresh(segment)
        segment.owned, segment.transfer_no = False, segment.transfer_no + 1
        self._is_fresh(segment)
        self.giving[name] = now
        self._journal.put("giving", segment_key(name), None)
        self._save(segment)
        self._state.count()
        return segment.transfer_no

    def accept(self, name: SegmentId, n: int) -> bool:
        """Take a segment that the peer gives; true if that transfer is to be acknowledged."""
        segment = self.segments.get(name)
        if segment is None:
            return False  # a batch not yet decided here; the peer will repeat
        if n == segment.transfer_no + 1 and not segment.owned and not segment.leased:
            self._not_fresh(segment)
            segment.owned, segment.transfer_no = True, n
            self._is_fresh(segment)
            self.stock += segment.free
            self.theirs -= segment.free
            self._drop_giving(name)
            self._save(segment)
            self._state.count()
            self._burn_weak(segment)
        return n <= segment.transfer_no

    def taken(self, name: SegmentId, n: int) -> None:
        """The peer has it."""
        segment = self.segments.get(name)
        if segment and segment.transfer_no == n:
            self._drop_giving(name)

    # Leases and allocation (R6)

    def lease_next(self, now: float) -> Segment | None:
        """Record that our oldest fresh segment is about to be used; None if there is none.

        It is usable once the peer holds that too.
        """
        segment = next(iter(self._fresh[True].values()), None)
        if segment:
            self._not_fresh(segment)
            segment.leased, segment.last_sent = True, now
            self._asking[segment.id] = segment
            self.asked += segment.free
            self._save(segment)
            self._state.count()
        return segment

    def asking(self) -> Iterable[Segment]:
        """Leases that the peer has not acknowledged."""
        return self._asking.values()

    def hold_lease(self, name: SegmentId) -> bool:
        """Hold the peer's lease; false if the segment is not known yet, or not the peer's."""
        segment = self.segments.get(name)
        if segment is None or segment.owned:
            return False
        if not segment.leased:
            self._not_fresh(segment)
            segment.leased = True
            self._save(segment)
            self._state.count()
        return True

    def lease_held(self, name: SegmentId) -> None:
        """The peer holds our lease: its bits may leave."""
        segment = self._asking.pop(name, None)
        if segment:
            self.asked -= segment.free
            self.usable += segment.free
            self._ready[name] = segment

    def take(self, length: int, now: float) -> tuple[tuple[Piece, ...], bytes]:
        """Allocate octets of usable segments; the caller has checked `usable`."""
        assert length <= self.usable, "the caller checks first"
        self.usable -= length
        self.stock -= length
        pieces, parts = [], []
        while length:
            segment = next(iter(self._ready.values()))
            start = segment.next
            end = segment.next = min(start + length, len(segment.octets))
            parts.append(bytes(segment.octets[start:end]))
            segment.blank(start, end)
            segment.touched = now
            segment.grants += 1
            self._dirty.add(segment.id)
            if not segment.free:
                self._finished[segment.id] = self._ready.pop(segment.id)
            pieces.append(Piece(segment.id.holder, segment.id.batch, start, end - start))
            length -= end - start
        return tuple(pieces), b"".join(parts)

    def provenance(self, pieces: Iterable[Piece], clock: Clock) -> tuple[Via, ...]:
        """Tell where octets taken just now came from, and how long ago."""
        found = []
        for piece in pieces:
            segment = self.segments[SegmentId(piece.holder, piece.batch)]
            since = segment.since
            known = since is not None and since.boot == clock.boot
            age = max(0.0, clock.now - since.now) if since and known else UNKNOWN
            found.append(Via(piece.length, segment.way.paths, age))
        return tuple(found)

    def known(self, pieces: Iterable[Piece]) -> None:
        """The owner knows the fate of a grant: it no longer stands in the way of a close."""
        for piece in pieces:
            segment = self.segments.get(SegmentId(piece.holder, piece.batch))
            if segment:
                segment.grants -= 1

    def expect(self, pieces: Iterable[Piece]) -> None:
        """After a start: the peer has not acknowledged a grant here."""
        for piece in pieces:
            segment = self.segments.get(SegmentId(piece.holder, piece.batch))
            if segment:
                segment.grants += 1

    # The end of a segment (R1)

    def burn(self, segment: Segment) -> None:
        """Use up what is left of a segment of ours, for nothing."""
        if self._ready.pop(segment.id, None):
            self.usable -= segment.free
        if self._asking.pop(segment.id, None):
            self.asked -= segment.free
        self._not_fresh(segment)
        if not segment.leased:  # durable with the word that it is closed, or it would come back
            segment.leased = True
            self._save(segment)
        self.stock -= segment.free
        segment.next = len(segment.octets)
        segment.blank(0, segment.next)
        self._finished[segment.id] = segment
        self._dirty.add(segment.id)

    def need_paths(self, n: int, *, theirs: bool = False) -> int:
        """Use only bits that came over so many paths; return how many octets of ours are burnt.

        `theirs`: the peer asks for it. The terms of either end hold at both, across starts.
        """
        if n == self._needed[theirs]:
            return 0
        before, self._needed[theirs] = self.stock, n
        self._journal.put("paths", b"", self._needed)
        self.paths = max(self._needed)
        for segment in list(self.segments.values()):
            self._burn_weak(segment)
        return before - self.stock

    @property
    def paths_needed(self) -> int:
        """Over how many paths bits must have come as this end asks for it."""
        return self._needed[False]

    def is_weak(self, segment: Segment) -> bool:
        """Whether bits came over fewer paths than asked for: fewer nodes would have to collude."""
        return self.paths > 1 and segment.way.least < self.paths

    def _burn_weak(self, segment: Segment) -> None:
        if self.is_weak(segment) and segment.owned and segment.free:
            self.burn(segment)

    def burn_idle(self, before: float) -> None:
        """Burn the rest of segments of ours in use that nobody has touched since."""
        for segment in list(self._ready.values()):
            if segment.next and segment.touched < before:
                self.burn(segment)

    def closable(self) -> list[Segment]:
        """Segments of ours all used, where the fate of every grant is known."""
        return [segment for segment in self._finished.values() if not segment.grants]

    def close(self, name: SegmentId) -> bool:
        """The owner has no more use for a segment: burn what no grant holds, forget it."""
        segment = self.segments.get(name)
        if segment is not None:
            if segment.owned:
                return False
            self._remove(segment)  # leased or not: the lease may have got lost with its owner
            self._state.count()
        return True

    def closed(self, name: SegmentId) -> None:
        """The peer has burnt it too."""
        segment = self._finished.get(name)
        if segment and not segment.grants:
            self._remove(segment)

    def mark(self, pieces: Iterable[Piece]) -> None:
        """Mirror: these octets are gone."""
        for piece in pieces:
            name = SegmentId(piece.holder, piece.batch)
            segment = self.segments.get(name)
            if segment and not segment.owned:
                self.theirs -= segment.mark(piece.offset, piece.offset + piece.length)
                self._dirty.add(name)

    @property
    def owes(self) -> bool:
        """Whether something that is blank in memory is not yet blank on disk."""
        return bool(self._dirty)

    def wipe(self) -> None:
        """Blank on disk what is blank in memory."""
        for name in sorted(self._dirty, key=segment_key):
            segment = self.segments[name]
            if segment.spent:
                self._journal.drop("bits", segment_key(name))
            else:
                self._journal.put("bits", segment_key(name), None, bytes(segment.octets))
            self._save(segment)
        self._dirty.clear()

    def _add(self, segment: Segment) -> None:
        self.segments[segment.id] = segment
        self.octets += len(segment.octets)
        if segment.owned:
            self.stock += segment.free
        else:
            self.theirs += segment.left
        if not segment.leased:
            self._is_fresh(segment)

    def _is_fresh(self, segment: Segment) -> None:
        self._fresh[segment.owned][segment.id] = segment
        self.fresh_octets[segment.owned] += len(segment.octets)

    def _not_fresh(self, segment: Segment) -> None:
        if self._fresh[segment.owned].pop(segment.id, None):
            self.fresh_octets[segment.owned] -= len(segment.octets)

    def _remove(self, segment: Segment) -> None:
        self._not_fresh(segment)
        del self.segments[segment.id]
        self._finished.pop(segment.id, None)
        self.octets -= len(segment.octets)
        self.theirs -= 0 if segment.owned else segment.left
        segment.blank(0, len(segment.octets))
        self._dirty.discard(segment.id)
        self._drop_giving(segment.id)
        self._journal.drop("segment", segment_key(segment.id))
        self._journal.drop("bits", segment_key(segment.id))

    def _drop_giving(self, name: SegmentId) -> None:
        if self.giving.pop(name, None) is not None:
            self._journal.drop("giving", segment_key(name))

    def _save(self, segment: Segment) -> None:
        value = (
            segment.owned,
            segment.transfer_no,
            segment.leased,
            len(segment.octets),
            segment.used,
        )
        paths, least = segment.way
        origin = (paths, *segment.since, least) if segment.since else ()
        self._journal.put("segment", segment_key(segment.id), (*value, *origin))
