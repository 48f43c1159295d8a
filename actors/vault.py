"""The slaves' side of grants: held, delivering, delivered, expired, voided (R9-R12).

No actor, no clock of its own, no I/O. One row a grant with its keys sealed in it and a bitmap of
what each slave has got, one row a delivery under way, and a tombstone (id and final state, no
bits) while a repeat can still come, which is as long as a segment of the grant lives.
"""

import heapq
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from actors.journal import Journal, Shelf
from actors.protocol.blocks import SegmentId
from actors.protocol.common import Refused
from actors.protocol.grants import Grant, Piece
from actors.protocol.keys import ID_OCTETS, KeyName

WRITING_S = 10.0
"""Seconds after which a response that nobody has reported on counts as broken."""


class Clock(NamedTuple):
    """What time is it: which boot, and seconds since then (R12)."""

    boot: str
    now: float


class Place(NamedTuple):
    """One key of a grant, for one slave: the unit of delivery."""

    grant: bytes
    slave: str
    key: int


@dataclass(slots=True)
class Holding:
    """A grant held for its slaves; bit i of `left[slave]`: that slave has not got key i."""

    grant: Grant
    octets: bytearray = field(repr=False)
    deadline: float
    left: dict[str, int]


@dataclass(slots=True)
class Delivery:
    """A key *delivering*: under way in the response `receipt`, or in a window after it."""

    receipt: int
    until: float
    under_way: bool
    had: bool = False
    """Whether an earlier response with this key turned out to be written."""


class Vault:
    """The grants a KMS holds for its SAEs, all of one store."""

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
    ) -> None:
        self._journal, self._alive = journal, alive
        self._redelivery, self._repeat = redelivery_s, repeat_s
        self.holdings: dict[bytes, Holding] = {}
        self.tombs: dict[bytes, tuple[str, tuple[Piece, ...]]] = {}
        self._tombs_of: dict[SegmentId, list[bytes]] = {}
        self._deadlines: list[tuple[float, bytes]] = []
        self._open: dict[Place, Delivery] = {}
        self._receipts: dict[int, tuple[str, tuple[KeyName, ...]]] = {}
        self._receipt = receipts_from
        self._pairs: Counter[tuple[str, str]] = Counter()
        self._slaves: Counter[str] = Counter()
        for id_, clear, octets in shelf.each("grant"):
            self._load(id_, clear, octets, clock)
        for id_, (state, pieces), _ in shelf.each("tomb"):
            self._bury(id_, state, tuple(Piece(*piece) for piece in pieces))
        for id_, (slave, indexes), _ in shelf.each("delivering"):
            for index in indexes:  # the window begins anew with each start (R11)
                assert id_[:ID_OCTETS] in self.holdings, "both rows go in one commit"
                window = Delivery(0, clock.now + max(redelivery_s, repeat_s), under_way=False)
                self._open[Place(id_[:ID_OCTETS], slave, index)] = window

    def _load(self, id_: bytes, clear: list, octets: bytes, clock: Clock) -> None:  # type: ignore[type-arg]
        pieces, size, number, master, slaves, mode, boot, deadline, remaining, left = clear
        if boot != clock.boot:
            deadline = clock.now + remaining
        made = tuple(Piece(*piece) for piece in pieces)
        grant = Grant(id_, made, size, number, master, tuple(slaves), mode, remaining)
        maps = (int.from_bytes(bits, "big") for bits in left)
        still = dict(zip(slaves, maps, strict=True))
        self._keep(Holding(grant, bytearray(octets), deadline, still))

    # Holding (R9)

    def hold(self, grant: Grant, octets: bytes, clock: Clock) -> None:
        """Hold a grant for its slaves; durable with the next commit."""
        every = (1 << grant.number) - 1
        left = dict.fromkeys(grant.slaves, every)
        holding = Holding(grant, bytearray(octets), clock.now + grant.remaining, left)
        self._keep(holding)
        self._save(holding, clock)

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
        self._put_tomb(id_, "void", pieces)
        return id_ in self.tombs

    def segment_closed(self, name: SegmentId) -> None:
        """The owner knows the fate of every grant in a segment: tombstones there may go."""
        for id_ in self._tombs_of.pop(name, ()):
            if id_ in self.tombs and not self._repeatable(self.tombs[id_][1]):
                del self.tombs[id_]
                self._journal.drop("tomb", id_)

    def epoch_closed(self, clock: Clock) -> None:
        """Every segment is gone: grants held stay, but lie nowhere; tombstones go."""
        for id_ in self.tombs:
            self._journal.drop("tomb", id_)
        self.tombs.clear()
        self._tombs_of.clear()
        for holding in self.holdings.values():
            holding.grant = replace(holding.grant, pieces=())
            self._save(holding, clock)

    def load(self, master: str, slave: str) -> int:
        """Octets that this pair has not fetched."""
        return self._pairs[master, slave]

    def load_of(self, slave: str) -> int:
        """Octets that this SAE has not fetched, from whichever master."""
        return self._slaves[slave]

    # Delivery (R11)

    def fetch(
        self, master: str, slave: str, names: Sequence[KeyName], now: float
    ) -> tuple[tuple[bytes, ...], int]:
        """Begin to deliver keys, all or none; return them and the receipt of the response.

        `Refused`: `duplicate`; `not_named` if a key is not for this slave; `no_such_key`.
        """
        if len(set(names)) < len(names):
            raise Refused("duplicate", "a key_ID is named twice")
        found = [self._find(master, name) for name in names]
        if any(holding and slave not in holding.left for holding in found):
            raise Refused("not_named", "a key is not for this SAE")
        keys = []
        for name, holding in zip(names, found, strict=True):
            if holding is None or not self._fetchable(holding, slave, name, now):
                raise Refused("no_such_key", "not held for this SAE")
            start = name.index * holding.grant.size
            keys.append(bytes(holding.octets[start : start + holding.grant.size]))
        self._receipt += 1
        for name in names:
            place = Place(name.grant, slave, name.index)
            self._open[place] = Delivery(self._receipt, now + WRITING_S, under_way=True)
        self._receipts[self._receipt] = slave, tuple(names)
        self._save_open(slave, dict.fromkeys(name.grant for name in names))
        return tuple(keys), self._receipt

    def written(self, receipt: int, clock: Clock) -> None:
        """The response is out: its keys are delivered, even if it had counted as broken."""
        slave, names = self._receipts.pop(receipt, ("", ()))
        places = (Place(name.grant, slave, name.index) for name in names)
        mine = []
        for place in places:
            delivery = self._open.get(place)
            if delivery and delivery.under_way and delivery.receipt != receipt:
                delivery.had = True
            elif delivery:
                mine.append(place)
        self._end(mine, Delivery(receipt, clock.now + self._repeat, under_way=False), clock)

    def broken(self, receipt: int, clock: Clock) -> None:
        """The response is not out: the same slave may ask again for a while."""
        slave, names = self._receipts.get(receipt, ("", ()))
        places = (Place(name.grant, slave, name.index) for name in names)
        mine = [p for p in places if p in self._open and self._open[p].receipt == receipt]
        self._deliver([place for place in mine if self._open[place].had], clock)
        mine = [place for place in mine if place in self._open]
        self._end(mine, Delivery(receipt, clock.now + self._redelivery, under_way=False), clock)

    def tick(self, clock: Clock) -> list[bytes]:
        """Expire what is due, end windows; return the ids of grants that expired."""
        expired = []
        while self._deadlines and self._deadlines[0][0] <= clock.now:
            _, id_ = heapq.heappop(self._deadlines)
            if id_ in self.holdings:
                self._finish(id_, "expired")
                expired.append(id_)
        due = [(place, d) for place, d in self._open.items() if d.until <= clock.now]
        for receipt in dict.fromkeys(d.receipt for _, d in due if d.under_way):
            self.broken(receipt, clock)
        self._deliver([place for place, d in due if not d.under_way], clock)
        if len(self._receipts) > 2 * len(self._open) + 1000:  # most are of responses long over
            live = {delivery.receipt for delivery in self._open.values()}
            self._receipts = {n: it for n, it in self._receipts.items() if n in live}
        return expired

    def _find(self, master: str, name: KeyName) -> Holding | None:
        holding = self.holdings.get(name.grant)
        good = holding and holding.grant.master == master and name.index < holding.grant.number
        return holding if good else None

    def _fetchable(self, holding: Holding, slave: str, name: KeyName, now: float) -> bool:
        if now >= holding.deadline or not holding.left[slave] >> name.index & 1:
            return False
        delivery = self._open.get(Place(name.grant, slave, name.index))
        return delivery is None or (not delivery.under_way and now < delivery.until)

    def _end(self, places: list[Place], window: Delivery, clock: Clock) -> None:
        if window.until > clock.now:
            self._open.update(dict.fromkeys(places, window))
        else:
            self._deliver(places, clock)

    def _deliver(self, places: list[Place], clock: Clock) -> None:
        """These are delivered: forget the bits that nobody else is to have."""
        for place in places:
            del self._open[place]
            holding = self.holdings[place.grant]
            holding.left[place.slave] &= ~(1 << place.key)
            self._count(holding.grant.master, place.slave, -holding.grant.size)
            if not any(left >> place.key & 1 for left in holding.left.values()):
                start = place.key * holding.grant.size
                holding.octets[start : start + holding.grant.size] = bytes(holding.grant.size)
        for id_ in dict.fromkeys(place.grant for place in places):
            if any(self.holdings[id_].left.values()):
                self._save(self.holdings[id_], clock)
                for slave in dict.fromkeys(p.slave for p in places if p.grant == id_):
                    self._save_open(slave, (id_,))
            else:
                self._finish(id_, "delivered")

    # Rows

    def _keep(self, holding: Holding) -> None:
        grant = holding.grant
        self.holdings[grant.id] = holding
        heapq.heappush(self._deadlines, (holding.deadline, grant.id))
        if len(self._deadlines) > 2 * len(self.holdings) + 1000:  # most are of grants long gone
            self._deadlines = [(it.deadline, id_) for id_, it in self.holdings.items()]
            heapq.heapify(self._deadlines)
        for slave, left in holding.left.items():
            self._count(grant.master, slave, grant.size * left.bit_count())

    def _finish(self, id_: bytes, state: str) -> None:
        holding = self.holdings.pop(id_)
        grant = holding.grant
        holding.octets[:] = bytes(len(holding.octets))
        self._journal.drop("grant", id_)
        for number, (slave, left) in enumerate(holding.left.items()):
            self._count(grant.master, slave, -grant.size * left.bit_count())
            for index in range(grant.number if self._open else 0):
                self._open.pop(Place(id_, slave, index), None)
            self._journal.drop("delivering", id_ + bytes((number,)))
        self._put_tomb(id_, state, grant.pieces)

    def _put_tomb(self, id_: bytes, state: str, pieces: tuple[Piece, ...]) -> None:
        if self._repeatable(pieces):
            self._bury(id_, state, pieces)
            plain = [(p.holder, p.batch, p.offset, p.length) for p in pieces]
            self._journal.put("tomb", id_, (state, plain))

    def _bury(self, id_: bytes, state: str, pieces: tuple[Piece, ...]) -> None:
        self.tombs[id_] = state, pieces
        names = dict.fromkeys(SegmentId(piece.holder, piece.batch) for piece in pieces)
        for name in filter(self._alive, names):
            self._tombs_of.setdefault(name, []).append(id_)

    def _repeatable(self, pieces: Iterable[Piece]) -> bool:
        return any(self._alive(SegmentId(piece.holder, piece.batch)) for piece in pieces)

    def _save(self, holding: Holding, clock: Clock) -> None:
        g = holding.grant
        pieces = [(p.holder, p.batch, p.offset, p.length) for p in g.pieces]
        remaining = max(0.0, holding.deadline - clock.now)
        time = (clock.boot, holding.deadline, remaining)
        width = (g.number + 7) // 8
        left = [bits.to_bytes(width, "big") for bits in holding.left.values()]
        clear = (pieces, g.size, g.number, g.master, g.slaves, g.mode, *time, left)
        self._journal.put("grant", g.id, clear, bytes(holding.octets))

    def _save_open(self, slave: str, grants: Iterable[bytes]) -> None:
        for id_ in grants:
            grant = self.holdings[id_].grant
            number = grant.slaves.index(slave)
            indexes = [i for i in range(grant.number) if Place(id_, slave, i) in self._open]
            key = id_ + bytes((number,))
            if indexes:
                self._journal.put("delivering", key, (slave, indexes))
            else:
                self._journal.drop("delivering", key)

    def _count(self, master: str, slave: str, octets: int) -> None:
        self._pairs[master, slave] += octets
        self._slaves[slave] += octets
        if not self._pairs[master, slave]:
            del self._pairs[master, slave]
        if not self._slaves[slave]:
            del self._slaves[slave]
