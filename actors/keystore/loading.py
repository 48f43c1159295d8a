"""Grants on the disk, read while the store serves, the newest first; rows of 0.1 and 0.2 (R18)."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial

import msgspec

from actors.base import (
    NUMBER_MAX,
    NUMBER_OCTETS,
    NUMBERED,
    Change,
    Context,
    Drop,
    Numbered,
    Range,
    Read,
    Row,
    Slice,
    System,
)
from actors.ledger.held import Found, Held, Marked
from actors.protocol.keys import ID_OCTETS
from actors.storage.journal import Shelf
from transport.explained import Explained

SLICE = 512
"""Rows that are taken in at a time, beside all other turns."""
PORTION = 8192
"""Rows that a start reads at a time; who waits for it sees from that how it goes on."""
TOLD = 65_536
"""Grants after which it is logged how many are left."""


class RowsMissing(Explained):
    """Rows that were counted at the start did not come: the file is damaged."""


def find(system: System, store: str, shelf: Shelf, *, nowhere: bool = False) -> Found:
    """Read what must be known before a store serves, and count the rest.

    Where grants lie `nowhere` in a stream, none must be known.
    """
    marked = Marked.on(shelf)
    upto = NUMBER_MAX if nowhere else marked.upto
    holding, tombstone = NUMBERED
    former = min(marked.former, upto)
    return Found(
        upto,
        () if nowhere else _newest(system, Range(store, holding, above=upto)),
        () if nowhere else _newest(system, Range(store, tombstone, above=upto)),
        system.weigh(Range(store, holding, upto=former)),
        system.weigh(Range(store, holding, above=former, upto=upto)),
        sum(n for _, n in system.weigh(Range(store, tombstone, upto=upto))),
    )


def _newest(system: System, rows: Range) -> Iterator[Numbered]:
    """Read rows as they are taken in: of an older version's store these are all (`upgraded`)."""
    portion = system.numbered(rows, PORTION)
    yield from portion
    while len(portion) == PORTION:
        rows = rows._replace(upto=portion[-1].number - 1)
        portion = system.numbered(rows, PORTION)
        yield from portion


class Loading:
    """Asks for slices, one after the other, until every row that was counted is in.

    First all tombstones, then all grants: one that ends puts a tombstone under its own number.
    `loaded` hears the ids of the grants that have come in, also when there are none.
    """

    def __init__(
        self,
        context: Context,
        read: Read,
        held: Held,
        *,
        store: str,
        loaded: Callable[[list[bytes]], None],
    ) -> None:
        self._context, self._read, self._held = context, read, held
        self._store, self._loaded = store, loaded
        self._asked = False

    def begin(self) -> None:
        """Ask for the first slice, if there is anything to load."""
        self.gauge()
        if self._held.loading:
            self._asked = True
            n = self._held.rest
            self._context.log.info("grants_to_load", n=n, peer=self._store)
            self._ask(NUMBERED[1], self._held.below)

    def gauge(self) -> None:
        """Say how many grants are not loaded yet."""
        rest = float(self._held.rest)
        self._context.system.meter.set("protokms_grants_to_load", rest, peer=self._store)

    def _ask(self, kind: str, upto: int) -> None:
        rows = Range(self._store, kind, upto=upto)
        self._read(rows, SLICE, partial(self._take, kind))

    def _take(self, kind: str, found: Slice) -> None:
        """Take a slice in; other messages have their turns before the next one."""
        held = self._held
        before = held.rest // TOLD
        ids = held.arrive(kind, found.rows, self._context.clock.now)
        if held.rest // TOLD < before:
            self._context.log.info("grants_loading", left=held.rest, peer=self._store)
        if found.rows:
            self._ask(kind, found.rows[-1].number - 1)
        elif kind == NUMBERED[1]:
            self._ask(NUMBERED[0], held.below)
        else:
            self._end()
        self.gauge()
        self._loaded(ids)

    def _end(self) -> None:
        """All are in. If not, a page leads past some: it is damaged, and nothing else shows it."""
        held = self._held
        if missing := abs(held.rest) + abs(held.graves):
            raise RowsMissing(f"{missing} rows shared with {self._store} are missing")
        held.all_loaded()
        self._context.log.info("grants_loaded", n=len(held.holdings), peer=self._store)


def upgraded(rows: Iterable[Row]) -> Iterator[Change]:
    """Turn all rows of a file of 0.1 or 0.2 into what this version writes (R18).

    There grants lay under their ids, among all other rows, without an order or a mark. They are
    numbered as they lie there, and the first start reads them all before it serves. What is not of
    grants stays.
    """
    numbers: dict[str, dict[bytes, int]] = {}
    windows: list[Row] = []
    for row in rows:
        if row.kind in ("grant", "tomb"):
            known = numbers.setdefault(row.store, {})
            number = known[row.id] = len(known) + 1
            yield Drop(row.store, row.kind, row.id)
            yield _grant(row, number) if row.kind == "grant" else _tomb(row, number)
        elif row.kind == "delivering":
            windows.append(row)
    for row in windows:
        number = numbers[row.store][row.id[:ID_OCTETS]]
        yield Drop(row.store, row.kind, row.id)
        yield Row(row.store, "window", _id(number) + row.id[ID_OCTETS:], row.clear)
    for store, known in numbers.items():
        mark = msgspec.msgpack.encode(tuple(Marked(taken=len(known))))
        yield Row(store, "marked", b"", mark)


def _grant(row: Row, number: int) -> Row:
    pieces, size, n, master, slaves, mode, *time, left = msgspec.msgpack.decode(row.clear)
    lacks = [size * int.from_bytes(bits, "big").bit_count() for bits in left]
    clear = msgspec.msgpack.encode((row.id, pieces, size, n, *time, left))
    ends = msgspec.msgpack.encode((master, slaves, mode, lacks))
    return Row(row.store, "holding", _id(number), clear, row.secret, ends)


def _tomb(row: Row, number: int) -> Row:
    state, pieces = msgspec.msgpack.decode(row.clear)
    clear = msgspec.msgpack.encode((row.id, state, pieces))
    return Row(row.store, "tombstone", _id(number), clear)


def _id(number: int) -> bytes:
    return number.to_bytes(NUMBER_OCTETS, "big")
