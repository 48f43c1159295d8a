"""The slaves' side of grants: held, delivering, delivered, expired, voided (R9-R12).

No actor, no clock of its own, no I/O. One row a grant with its keys sealed in it and a bitmap of
what each slave has got, one row a delivery under way, and a tombstone (id and final state, no
bits) while a repeat can still come, which is as long as a segment of the grant lives.

Grants and tombstones lie under a running number that is never used twice (R18). So a start reads
the newest alone, those whose places the segments' rows may not know as used; the rest comes in
slices while the store serves, and counts from the start on, by the ends of its rows.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from actors.base import NUMBER_OCTETS, Clock, Numbered
from actors.ledger.holdings import Ends, Holding, Holdings, packed
from actors.protocol.blocks import SegmentId
from actors.protocol.common import Refused
from actors.protocol.grants import Grant, Piece
from actors.protocol.keys import KeyName
from actors.storage.journal import Journal, Shelf

EXPIRE_MAX = 4096
"""Grants that expire in one turn."""
AHEAD = 4096
"""Numbers taken in advance: the row that says so is written once for so many grants."""

WRITING_S = 10.0
"""Seconds after which a response that nobody has reported on counts as broken."""


class Place(NamedTuple):
    """One key of a grant, for one slave: the unit of delivery."""

    grant: bytes
    slave: str
    key: int


@dataclass(slots=True)
class Delivery:
    """A key *delivering*: under way in the response `receipt`, or in a window after it."""

    receipt: int
    until: float
    under_way: bool


class Marked(NamedTuple):
    """What a store knows of its numbers, in one row."""

    upto: int = 0
    """The places of grants up to this number are in the used ranges of the segments' rows."""
    closed: int = 0
    """Grants up to this number are of a closed epoch: they lie nowhere."""
    taken: int = 0
    """Numbers up to this one may have been used: none of them is used again."""
    former: int = 0
    """Grants up to this number are of earlier starts of their issuer (R9)."""
    issuer: int = 0
    """The start of the issuer."""

    @classmethod
    def on(cls, shelf: Shelf) -> "Marked":
        """Read the row."""
        return next((cls(*clear) for _, clear, _ in shelf.each("marked")), cls())


class Found(NamedTuple):
    """Rows under numbers at a start: the newest as they are, the others counted."""

    upto: int = 0
    """The highest number of those that are only counted."""
    holdings: Iterable[Numbered] = ()
    tombstones: Iterable[Numbered] = ()
    former: Sequence[tuple[bytes, int]] = ()
    """How many grants of earlier starts of the issuer are left on the disk, by their ends."""
    weights: Sequence[tuple[bytes, int]] = ()
    """How many others are."""
    graves: int = 0
    """How many tombstones are."""


class Loads:
    """Octets that slaves have not fetched, by pair and by slave."""

    def __init__(self) -> None:
        self.pairs: Counter[tuple[str, str]] = Counter()
        self.slaves: Counter[str] = Counter()

    def add(self, master: str, slave: str, octets: int) -> None:
        """So many more, or fewer."""
        self.pairs[master, slave] += octets
        self.slaves[slave] += octets
        if not self.pairs[master, slave]:
            del self.pairs[master, slave]
        if not self.slaves[slave]:
            del self.slaves[slave]

    def take(self, other: "Loads") -> None:
        """Add all of another one, which is empty then."""
        self.pairs.update(other.pairs)
        self.slaves.update(other.slaves)
        other.pairs.clear()
        other.slaves.clear()


class Held:
    """The grants a KMS holds for its SAEs, all of one store.

    `pair_octets` may be held undelivered for a pair of SAEs, `sae_octets` for a slave (R12). Of
    earlier starts of the issuer so many more may be held, `former_octets` for each (R9).
    """

    def __init__(
        self,
        journal: Journal,
        shelf: Shelf,
        clock: Clock,
        *,
        alive: Callable[[SegmentId], bool],
        redelivery_s: float,
        repeat_s: float,
        receipts_from: int,
        pair_octets: int,
        sae_octets: int,
        former_octets: int = 0,
        found: Found | None = None,
    ) -> None:
        found = found or Found()
        self._journal, self._alive = journal, alive
        self._redelivery, self._repeat = redelivery_s, repeat_s
        self._pair_octets, self._sae_octets = pair_octets, sae_octets
        self._former_octets = former_octets
        self.holdings = Holdings()
        self.tombs: dict[bytes, tuple[str, tuple[Piece, ...]]] = {}
        self._tombs_of: dict[SegmentId, list[bytes]] = {}
        self._tomb_numbers: dict[bytes, int] = {}
        self._due: dict[int, list[bytes]] = {}
        """Ids of grants by the second in which they expire."""
        self._dues, self._tick_from = 0, int(clock.now)
        self._open: dict[Place, Delivery] = {}
        self._receipts: dict[int, tuple[str, tuple[KeyName, ...]]] = {}
        self._receipt = receipts_from
        self._loads, self._local, self._former = Loads(), Loads(), Loads()
        self._began = clock
        """Rows that come in later are judged by the time of the start (R12)."""
        self._windows: dict[int, list[tuple[str, list[int]]]] = {}
        self._marked = Marked.on(shelf)
        self._order = self._marked.taken
        """The highest number in use."""
        self._upto = min(found.upto, self._order)  # no row of this life counts as one to load
        self._cache: dict[tuple[bytes, int, int], Ends] = {}
        for key, (slave, indexes), _ in shelf.each("window"):
            number = int.from_bytes(key[:NUMBER_OCTETS], "big")
            self._windows.setdefault(number, []).append((slave, indexes))
        self.rest = self._weigh(found)
        """Grants on the disk that are not loaded yet."""
        self.graves = found.graves
        """Tombstones on the disk that are not loaded yet."""
        self.loading = False
        self._arrive(found.holdings, clock.now, counted=False)
        self.arrive("tombstone", found.tombstones, clock.now)
        self.loading = bool(self.rest or self.graves)

    def _weigh(self, found: Found) -> int:
        """Count what is not loaded for every pair."""
        number = 0
        for at, weights in ((0, found.former), (self._marked.former + 1, found.weights)):
            for ends, n in weights:
                number += n
                with suppress(msgspec.DecodeError):  # not proved: its slice ends the process
                    self._load_of(at, ends, n)
        return number

    # Loading: in slices, the last first

    @property
    def below(self) -> int:
        """The highest number that may not be loaded."""
        return self._upto

    @property
    def count(self) -> int:
        """How many grants are held, loaded or not."""
        return len(self.holdings) + self.rest

    def arrive(self, kind: str, rows: Iterable[Numbered], now: float) -> list[bytes]:
        """Take in rows that were counted; return the ids of the grants that are held by them."""
        if kind == "holding":
            return self._arrive(rows, now, counted=True)
        for row in rows:
            id_, state, pieces = _TOMB.decode(row.clear)
            self._order = max(self._order, row.number)
            self.graves -= self.loading
            made = tuple(Piece(*piece) for piece in pieces)
            if row.number > self._marked.closed and self._repeatable(made):
                self._tomb_numbers[id_] = row.number
                self._bury(id_, state, made)
            else:
                self._journal.drop("tombstone", _row(row.number))
        return []

    def _arrive(self, rows: Iterable[Numbered], now: float, *, counted: bool) -> list[bytes]:
        closed = self._marked.closed
        ids = []
        for number, named, clear, octets in rows:
            id_, pieces, size, n, was, deadline, remaining, left = _GRANT.decode(clear)
            self.rest -= counted
            if counted or id_ in self.holdings or id_ in self.tombs:
                if id_ in self.holdings or id_ in self.tombs:
                    self._twice(number, named, counted=counted)
                    continue
            else:
                self._order = max(self._order, number)
                self._load_of(number, named)
            deadline = self._deadline(was, deadline, remaining)
            flat = b"" if number <= closed else packed(pieces)
            ends = self._ends_of(named, size, n)
            self.holdings.put(id_, number, deadline, ends, flat, b"".join(left), octets)
            self._is_due(id_, deadline)
            ids.append(id_)
            for slave, indexes in self._windows.pop(number, ()):  # each start begins it anew (R11)
                again_until = now + max(self._redelivery, self._repeat)
                window = Delivery(0, again_until, under_way=False)
                self._open.update({Place(id_, slave, index): window for index in indexes})
        return ids

    def _deadline(self, boot: str, deadline: float, remaining: float) -> float:
        """Return when a grant expires on the clock of this boot (R12)."""
        return deadline if boot == self._began.boot else self._began.now + remaining

    def _twice(self, number: int, named: bytes, *, counted: bool) -> None:
        """A peer has announced one id twice, at different places: the earlier row goes."""
        self._journal.drop("holding", _row(number))
        if counted:
            self._load_of(number, named, -1)

    def _load_of(self, number: int, named: bytes, n: int = 1) -> None:
        master, slaves, mode, lacks = _ENDS.decode(named)
        for slave, octets in zip(slaves, lacks, strict=True):
            self._loads_at(number, mode).add(master, slave, n * octets)

    def _ends_of(self, named: bytes, size: int, number: int) -> Ends:
        """Return what many grants have in common, made once."""
        key = named, size, number
        ends = self._cache.get(key)
        if ends is None:
            master, slaves, mode, _ = _ENDS.decode(named)
            ends = Ends(size, number, master, tuple(slaves), mode, (number + 7) // 8)
            if len(self._cache) < _CACHED:
                self._cache[key] = ends
        return ends

    def all_loaded(self) -> None:
        """No row is left."""
        self.loading = False
        self._windows.clear()
        self._cache.clear()

    # Numbers

    def mark(self) -> None:
        """The used ranges of all segments go into this commit: they cover all grants so far."""
        if self._marked.upto != self._order:
            self._mark(self._marked._replace(upto=self._order))

    def issued_by(self, start: int) -> None:
        """The issuer is in this start: what it has not answered before, it never will (R9)."""
        if self._marked.issuer != start:
            self._former.take(self._loads)
            self._mark(self._marked._replace(former=self._order, issuer=start))

    @property
    def former(self) -> int:
        """Octets of earlier starts of the issuer that are not fetched."""
        return self._former.slaves.total()

    def _mark(self, marked: Marked) -> None:
        self._marked = marked
        self._journal.put("marked", b"", tuple(marked))

    def _next(self) -> int:
        """Return a number that was never used, and never will be again (R18)."""
        self._order += 1
        if self._order > self._marked.taken:
            self._mark(self._marked._replace(taken=self._order + AHEAD))
        return self._order

    def _loads_at(self, number: int, mode: str) -> Loads:
        """Return with which others a grant is counted; each `local` one was answered."""
        if mode == "local":
            return self._local
        return self._former if number <= self._marked.former else self._loads

    # Holding (R9)

    def hold(self, grant: Grant, octets: bytes, clock: Clock) -> None:
        """Hold a grant for its slaves; durable with the next commit."""
        number, width = self._next(), (grant.number + 7) // 8
        ends = Ends(grant.size, grant.number, grant.master, grant.slaves, grant.mode, width)
        every = [((1 << grant.number) - 1).to_bytes(width, "big")] * len(grant.slaves)
        deadline = clock.now + grant.remaining
        places = [(p.holder, p.batch, p.offset, p.length) for p in grant.pieces]
        self.holdings.put(grant.id, number, deadline, ends, packed(places), b"".join(every), octets)
        self._is_due(grant.id, deadline)
        lacks = [grant.size * grant.number] * len(grant.slaves)
        for slave in grant.slaves:
            self._loads_at(number, grant.mode).add(grant.master, slave, lacks[0])
        time = clock.boot, deadline, grant.remaining
        clear = (grant.id, places, grant.size, grant.number, *time, every)
        named = msgspec.msgpack.encode((grant.master, grant.slaves, grant.mode, lacks))
        self._journal.put("holding", _row(number), clear, octets, named)

    def knows(self, id_: bytes) -> bool:
        """Whether this id is held or has been."""
        return id_ in self.holdings or id_ in self.tombs

    def voided(self, id_: bytes) -> bool:
        """Whether this id was taken back."""
        return self.tombs.get(id_, ("", ()))[0] == "void"

    def void(self, id_: bytes, pieces: tuple[Piece, ...]) -> bool:
        """The owner takes a grant back; beats a later announcement, even of an id never heard.

        Return whether that is news.
        """
        if id_ in self.holdings:
            self._finish(id_, "void")
            return True
        if id_ in self.tombs:
            return False
        if self._repeatable(pieces):
            self._put_tomb(id_, "void", pieces, self._next())
        return id_ in self.tombs

    def segment_closed(self, name: SegmentId) -> None:
        """The owner knows the fate of every grant in a segment: tombstones there may go."""
        for id_ in self._tombs_of.pop(name, ()):
            if id_ in self.tombs and not self._repeatable(self.tombs[id_][1]):
                del self.tombs[id_]
                self._journal.drop("tombstone", _row(self._tomb_numbers.pop(id_)))

    def epoch_closed(self) -> None:
        """Every segment is gone: grants held stay, but lie nowhere; tombstones go.

        One row says so of all grants, however many there are.
        """
        for number in self._tomb_numbers.values():
            self._journal.drop("tombstone", _row(number))
        self._tomb_numbers.clear()
        self.tombs.clear()
        self._tombs_of.clear()
        self._mark(self._marked._replace(upto=self._order, closed=self._order))

    def load(self, master: str, slave: str) -> int:
        """Octets that this pair has not fetched, and that count."""
        former = self._former.pairs[master, slave] - self._former_octets
        now = self._loads.pairs[master, slave] + self._local.pairs[master, slave]
        return now + max(0, former)

    def load_of(self, slave: str) -> int:
        """Octets that this SAE has not fetched, from whichever master, and that count."""
        former = self._former.slaves[slave] - self._former_octets
        return self._loads.slaves[slave] + self._local.slaves[slave] + max(0, former)

    def room(self, master: str, slave: str) -> int:
        """Octets that may still be held undelivered for this pair (R12)."""
        pair = self._pair_octets - self.load(master, slave)
        return max(0, min(pair, self._sae_octets - self.load_of(slave)))

    def check_room(self, master: str, slaves: Iterable[str], octets: int) -> None:
        """Refuse when too much lies undelivered already."""
        if any(octets > self.room(master, slave) for slave in slaves):
            raise Refused("too_many_undelivered", "fetch the keys that wait before asking for more")

    # Delivery (R11)

    def fetch(
        self, master: str, slave: str, names: Sequence[KeyName], now: float
    ) -> tuple[tuple[bytes, ...], int]:
        """Begin to deliver keys, all or none; return them and the receipt of the response.

        `Refused`: `duplicate`; `not_named` if a key is not for this slave; `no_such_key`; or
        `in_delivery`, while it is open whether another response with one of them is written.
        """
        if len(set(names)) < len(names):
            raise Refused("duplicate", "a key_ID is named twice")
        found = [self._find(master, name) for name in names]
        if any(holding and slave not in holding.ends.slaves for holding in found):
            raise Refused("not_named", "a key is not for this SAE")
        keys, under_way = [], False
        for name, holding in zip(names, found, strict=True):
            if holding is None or not self._fetchable(holding, slave, name, now):
                raise Refused("no_such_key", "not held for this SAE")
            under_way = under_way or self._under_way(slave, name)
            keys.append(holding.key(name.index))
        if under_way:
            raise Refused("in_delivery", "another response with a key of these is not over")
        self._receipt += 1
        for name in names:
            place = Place(name.grant, slave, name.index)
            self._open[place] = Delivery(self._receipt, now + WRITING_S, under_way=True)
        self._receipts[self._receipt] = slave, tuple(names)
        self._save_open(slave, dict.fromkeys(name.grant for name in names))
        return tuple(keys), self._receipt

    def written(self, receipt: int, clock: Clock) -> None:
        """The response is out: its keys are delivered, even if it had counted as broken.

        Another response with one of them may be under way: nothing that becomes of it, and no
        crash, takes back what the slave has.
        """
        slave, names = self._receipts.pop(receipt, ("", ()))
        places = (Place(name.grant, slave, name.index) for name in names)
        mine = [place for place in places if place in self._open]
        self._end(mine, Delivery(receipt, clock.now + self._repeat, under_way=False), clock)

    def broken(self, receipt: int, clock: Clock) -> None:
        """The response is not out: the same slave may ask again for a while."""
        slave, names = self._receipts.get(receipt, ("", ()))
        places = (Place(name.grant, slave, name.index) for name in names)
        mine = [p for p in places if p in self._open and self._open[p].receipt == receipt]
        self._end(mine, Delivery(receipt, clock.now + self._redelivery, under_way=False), clock)

    def tick(self, clock: Clock) -> list[bytes]:
        """Expire what is due, end windows; return the ids of grants that expired."""
        expired = self._expire(clock.now)
        due = [(place, d) for place, d in self._open.items() if d.until <= clock.now]
        for receipt in dict.fromkeys(d.receipt for _, d in due if d.under_way):
            self.broken(receipt, clock)
        self._deliver([place for place, d in due if not d.under_way], clock)
        if len(self._receipts) > 2 * len(self._open) + 1000:  # most are of responses long over
            live = {delivery.receipt for delivery in self._open.values()}
            self._receipts = {n: it for n, it in self._receipts.items() if n in live}
        return expired

    def _expire(self, now: float) -> list[bytes]:
        """Expire what is due; more than `EXPIRE_MAX` at once wait for the next tick."""
        expired: list[bytes] = []
        while self._tick_from <= now and len(expired) < EXPIRE_MAX:
            ids = self._due.get(self._tick_from, [])
            while ids and len(expired) < EXPIRE_MAX:
                id_ = ids.pop()
                self._dues -= 1
                holding = self.holdings.get(id_)
                if holding and holding.deadline <= now:  # not another one of this id
                    self._finish(id_, "expired")
                    expired.append(id_)
            if ids:
                break
            self._due.pop(self._tick_from, None)
            self._tick_from += 1
        return expired

    def _find(self, master: str, name: KeyName) -> Holding | None:
        holding = self.holdings.get(name.grant)
        good = holding and holding.ends.master == master and name.index < holding.ends.number
        return holding if good else None

    def _fetchable(self, holding: Holding, slave: str, name: KeyName, now: float) -> bool:
        if now >= holding.deadline or not holding.lacks(slave, name.index):
            return False
        delivery = self._open.get(Place(name.grant, slave, name.index))
        return delivery is None or delivery.under_way or now < delivery.until

    def _under_way(self, slave: str, name: KeyName) -> bool:
        """Whether a response with this key is not reported on: nobody knows if it is delivered."""
        delivery = self._open.get(Place(name.grant, slave, name.index))
        return delivery is not None and delivery.under_way

    def _end(self, places: list[Place], window: Delivery, clock: Clock) -> None:
        if window.until > clock.now:
            self._open.update(dict.fromkeys(places, window))
        else:
            self._deliver(places, clock)

    def _deliver(self, places: list[Place], clock: Clock) -> None:
        """These are delivered: forget the bits that nobody else is to have."""
        touched = {place.grant: self.holdings[place.grant] for place in places}
        for place in places:
            del self._open[place]
            holding = touched[place.grant]
            holding.got(place.slave, place.key)
            ends = holding.ends
            self._loads_at(holding.number, ends.mode).add(ends.master, place.slave, -ends.size)
        for id_, holding in touched.items():
            if not holding.is_delivered:
                self._save(holding, clock)
                for slave in dict.fromkeys(p.slave for p in places if p.grant == id_):
                    self._save_open(slave, (id_,))
            else:
                self._finish(id_, "delivered")

    # Rows

    def _is_due(self, id_: bytes, deadline: float) -> None:
        second = max(int(deadline) + 1, self._tick_from)
        ids = self._due.get(second)
        if ids is None:
            self._due[second] = [id_]
        else:
            ids.append(id_)
        self._dues += 1
        if self._dues > 2 * len(self.holdings) + 1000:  # most are of grants long gone
            self._due, self._dues = {}, 0
            for holding in self.holdings.values():
                self._is_due(holding.id, holding.deadline)

    def _finish(self, id_: bytes, state: str) -> None:
        holding = self.holdings.pop(id_)
        number, ends = holding.number, holding.ends
        holding.blank()
        self._journal.drop("holding", _row(number))
        if not holding.is_delivered:
            for slave, left in holding.left.items():
                lacks = ends.size * left.bit_count()
                self._loads_at(number, ends.mode).add(ends.master, slave, -lacks)
        for at, slave in enumerate(ends.slaves):
            for index in range(ends.number if self._open else 0):
                self._open.pop(Place(id_, slave, index), None)
            self._journal.drop("window", _row(number) + bytes((at,)))
        if number > self._marked.closed and self._repeatable(holding.pieces):
            self._put_tomb(id_, state, holding.pieces, number)

    def _put_tomb(self, id_: bytes, state: str, pieces: tuple[Piece, ...], number: int) -> None:
        self._bury(id_, state, pieces)
        self._tomb_numbers[id_] = number
        plain = [(p.holder, p.batch, p.offset, p.length) for p in pieces]
        self._journal.put("tombstone", _row(number), (id_, state, plain))

    def _bury(self, id_: bytes, state: str, pieces: tuple[Piece, ...]) -> None:
        self.tombs[id_] = state, pieces
        names = dict.fromkeys(SegmentId(piece.holder, piece.batch) for piece in pieces)
        for name in filter(self._alive, names):
            self._tombs_of.setdefault(name, []).append(id_)

    def _repeatable(self, pieces: Iterable[Piece]) -> bool:
        return any(self._alive(SegmentId(piece.holder, piece.batch)) for piece in pieces)

    def _save(self, holding: Holding, clock: Clock) -> None:
        ends, remaining = holding.ends, max(0.0, holding.deadline - clock.now)
        time = clock.boot, holding.deadline, remaining
        places = [] if holding.number <= self._marked.closed else holding.places
        clear = (holding.id, places, ends.size, ends.number, *time, holding.bitmaps)
        lacks = [ends.size * left.bit_count() for left in holding.left.values()]
        named = msgspec.msgpack.encode((ends.master, ends.slaves, ends.mode, lacks))
        self._journal.put("holding", _row(holding.number), clear, bytes(holding.octets), named)

    def _save_open(self, slave: str, grants: Iterable[bytes]) -> None:
        for id_ in grants:
            holding = self.holdings[id_]
            indexes = [i for i in range(holding.ends.number) if Place(id_, slave, i) in self._open]
            key = _row(holding.number) + bytes((holding.ends.slaves.index(slave),))
            if indexes:
                self._journal.put("window", key, (slave, indexes))
            else:
                self._journal.drop("window", key)


def _row(number: int) -> bytes:
    return number.to_bytes(NUMBER_OCTETS, "big")


_CACHED = 4096
_Pieces = list[tuple[int, int, int, int]]
_ENDS: "msgspec.msgpack.Decoder[Any]" = msgspec.msgpack.Decoder(
    tuple[str, tuple[str, ...], str, list[int]]
)
_GRANT: "msgspec.msgpack.Decoder[Any]" = msgspec.msgpack.Decoder(
    tuple[bytes, _Pieces, int, int, str, float, float, list[bytes]]
)
_TOMB: "msgspec.msgpack.Decoder[Any]" = msgspec.msgpack.Decoder(tuple[bytes, str, _Pieces])
