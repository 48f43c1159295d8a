"""Rows of intent as they lie on the disk, and the one book of them in memory."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import msgspec

from actors.base import Change, Drop, Row
from actors.protocol import intent
from actors.protocol.intent import Application, Link, Policy, Settings

STORE = "intent"
REVISION, _INTERFACES = "revision", "interfaces"

Body = Link | Application | Policy | Settings
Key = tuple[str, str]
"""Kind and id of a row."""

BODIES: dict[str, type[Body]] = {
    intent.LINK: Link,
    intent.APPLICATION: Application,
    intent.POLICY: Policy,
    intent.SETTINGS: Settings,
}
"""What may be written, by kind."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One row: what is wanted, by whom, since which revision, and when that was written."""

    kind: str
    id: str
    owner: str
    revision: int
    changed: float
    body: Body
    since: float = 0.0
    """When it was first written; 0: then."""

    @property
    def key(self) -> Key:
        """How it is found."""
        return self.kind, self.id

    def row(self) -> Row:
        """Lay it out for the disk."""
        values: tuple[object, ...] = self.owner, self.revision, self.changed, self.body
        if self.since:
            values = *values, self.since
        return Row(STORE, self.kind, self.id.encode(), msgspec.msgpack.encode(values))

    @staticmethod
    def read(row: Row) -> "Kept":
        """Read what `row` has laid out; one of an earlier version has no `since`."""
        values = msgspec.msgpack.decode(row.clear, type=list[msgspec.Raw])
        types = (str, int, float, BODIES[row.kind], float)
        made: list[Any] = [
            msgspec.msgpack.decode(value, type=type_)
            for value, type_ in zip(values, types, strict=False)
        ]
        return Kept(row.kind, row.id.decode(), *made)


@dataclass(frozen=True, slots=True)
class Revision:
    """How often intent has changed, and when it last did.

    `seeds` is a digest of what the configuration wants; `seeded` the revision since when.
    `adopted`: sessions that were added before there was intent have rows of their own.
    """

    number: int = 0
    changed: float = 0.0
    seeds: bytes = b""
    seeded: int = 0
    adopted: bool = False

    def row(self) -> Row:
        """Lay it out for the disk."""
        return Row(STORE, "revision", b"", msgspec.msgpack.encode(self))

    @staticmethod
    def read(row: Row) -> "Revision":
        """Read what `row` has laid out."""
        return msgspec.msgpack.decode(row.clear, type=Revision)


@dataclass(slots=True)
class Book:
    """All rows: those that were written, and those of the configuration, which hide the former.

    A written row of the owner `file` is how an operator has switched a link of the configuration:
    it is nothing without that one.
    """

    revision: Revision = field(default_factory=Revision)
    seeds: dict[Key, Kept] = field(default_factory=dict)
    written: dict[Key, Kept] = field(default_factory=dict)
    interfaces: frozenset[int] = frozenset()
    """Numbers that the configuration had at the last start."""

    @classmethod
    def load(cls, rows: Iterable[Row]) -> Self:
        """Read what is durable."""
        made = cls()
        for row in rows:
            if row.kind == REVISION:
                made.revision = Revision.read(row)
            elif row.kind == _INTERFACES:
                made.interfaces = msgspec.msgpack.decode(row.clear, type=frozenset[int])
            else:
                kept = Kept.read(row)
                made.written[kept.key] = kept
        return made

    def get(self, kind: str, id_: str) -> Kept | None:
        """Return one row."""
        key = kind, id_
        seed, kept = self.seeds.get(key), self.written.get(key)
        if seed:
            return self._switched(seed)
        return kept if kept and self._stands(key, kept) else None

    def __iter__(self) -> Iterator[Kept]:
        """Return all rows: those of the configuration first."""
        yield from map(self._switched, self.seeds.values())
        yield from (kept for key, kept in self.written.items() if self._stands(key, kept))

    def _stands(self, key: Key, kept: Kept) -> bool:
        return key not in self.seeds and kept.owner != intent.FILE

    def _switched(self, seed: Kept) -> Kept:
        """Return a row of the configuration as an operator has switched it, on or off."""
        over = self.written.get(seed.key)
        if not (over and over.owner in (intent.CLI, intent.FILE)):
            return seed
        if not (isinstance(over.body, Link) and isinstance(seed.body, Link)):
            return seed
        body = replace(seed.body, enabled=over.body.enabled)
        revision, changed = max(over.revision, seed.revision), max(over.changed, seed.changed)
        return replace(seed, body=body, revision=revision, changed=changed)

    def of(self, kind: str) -> list[Kept]:
        """Return the rows of a kind, by id."""
        return sorted((kept for kept in self if kept.kind == kind), key=lambda kept: kept.id)

    def seed(self, bodies: Mapping[Key, Body], now: float) -> list[Change]:
        """Take what the configuration wants; return what to write if that has changed.

        A switch of a link that the configuration has no more is forgotten.
        """
        fresh = self.reseeded(bodies, now)
        self.have(bodies, fresh or self.revision)
        switches = {key for key, kept in self.written.items() if kept.owner == intent.FILE}
        dropped = [self.written.pop(key) for key in sorted(switches - bodies.keys())]
        drops = [Drop(STORE, kept.kind, kept.id.encode()) for kept in dropped]
        return [self.revision.row(), *drops] if fresh else []

    def reseeded(self, bodies: Mapping[Key, Body], now: float) -> Revision | None:
        """Return the revision at which the configuration has these; None: they are as before."""
        laid_out = msgspec.msgpack.encode([(*key, bodies[key]) for key in sorted(bodies)])
        digest = hashlib.sha256(laid_out).digest()
        if digest == self.revision.seeds:
            return None
        number = self.revision.number + 1
        return Revision(number, now, digest, number, self.revision.adopted)

    def have(self, bodies: Mapping[Key, Body], revision: Revision) -> None:
        """Have these of the configuration; what it had before keeps its revision."""
        before, self.revision = self.seeds, revision
        since, changed = revision.seeded, revision.changed
        made = {
            (kind, id_): Kept(kind, id_, intent.FILE, since, changed, body)
            for (kind, id_), body in bodies.items()
        }
        same = {
            key for key, kept in made.items() if key in before and before[key].body == kept.body
        }
        self.seeds = {key: before[key] if key in same else kept for key, kept in made.items()}

    def count(self, interfaces: Iterable[int]) -> list[Change]:
        """Note which interfaces there are; return what to write if these are others."""
        before, self.interfaces = self.interfaces, frozenset(interfaces)
        numbers = msgspec.msgpack.encode(sorted(self.interfaces))
        return [Row(STORE, "interfaces", b"", numbers)] if self.interfaces != before else []

    def draft(self, made: Sequence[Kept | Key], now: float, *, adopted: bool = False) -> "Draft":
        """Return what a write makes of the book, under the next revision; the book is as it was."""
        number = self.revision.number + 1
        rows = [self._written(it, number, now) if isinstance(it, Kept) else it for it in made]
        done = adopted or self.revision.adopted
        revision = replace(self.revision, number=number, changed=now, adopted=done)
        return Draft(revision, tuple(rows))

    def _written(self, kept: Kept, number: int, now: float) -> Kept:
        before = self.written.get(kept.key)
        since = before.since or before.changed if before else now
        return replace(kept, revision=number, changed=now, since=since if since != now else 0.0)

    def take(self, draft: "Draft") -> None:
        """Have a draft that is durable."""
        self.revision = draft.revision
        for each in draft.made:
            if isinstance(each, Kept):
                self.written[each.key] = each
            else:
                self.written.pop(each, None)


@dataclass(frozen=True, slots=True)
class Draft:
    """The next revision of a book: rows that are put in, and keys of rows that are taken out."""

    revision: Revision
    made: tuple[Kept | Key, ...]

    def changes(self) -> list[Change]:
        """Return what is to be made durable, in one commit."""
        rows: list[Change] = [self.revision.row()]
        for each in self.made:
            if isinstance(each, Kept):
                rows.append(each.row())
            else:
                rows.append(Drop(STORE, each[0], each[1].encode()))
        return rows
