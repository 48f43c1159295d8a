"""Where the nodes of a cluster keep their rows: in memory, or in real files."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from actors.base import NUMBER_OCTETS, NUMBERED, Change, Drop, Numbered, Range, Row
from actors.storage.file import StoreFile
from transport.message import Secret


class Disk(Protocol):
    """What a node of a cluster needs of its store."""

    def load(self, store: str) -> list[Row]:
        """Return every durable row of a store without a running number, by kind and id."""
        ...

    def numbered(self, rows: Range, most: int = -1) -> list[Numbered]:
        """Return rows under running numbers, so many at most, the last first."""
        ...

    def weigh(self, rows: Range) -> list[tuple[bytes, int]]:
        """Count rows by their `ends`, unread."""
        ...

    def apply(self, changes: Iterable[Change]) -> None:
        """Make the changes durable, all or none; of two to one row the later holds."""
        ...

    def backup(self) -> object:
        """Return a copy of everything durable."""
        ...

    def restore(self, copy: object) -> None:
        """Go back to such a copy."""
        ...

    def close(self) -> None:
        """Let go of files."""
        ...


class MemoryStore:
    """Rows in a dict; what was applied stays, whatever happens to the node."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, str, bytes], Row] = {}
        self.owed = 0

    def load(self, store: str) -> list[Row]:
        """Return every durable row of a store without a running number, by kind and id."""
        keys = sorted(key for key in self.rows if key[0] == store and key[1] not in NUMBERED)
        return [self.rows[key] for key in keys]

    def numbered(self, rows: Range, most: int = -1) -> list[Numbered]:
        """Return rows under running numbers, so many at most, the last first."""
        low, high = _id(rows.above), _id(rows.upto)
        of = rows.store, rows.kind
        keys = sorted(key for key in self.rows if key[:2] == of and low < key[2] <= high)[::-1]
        found = [self.rows[key] for key in (keys if most < 0 else keys[:most])]
        return [
            Numbered(
                int.from_bytes(row.id, "big"),
                row.ends,
                row.clear,
                row.secret.reveal() if row.secret else b"",
            )
            for row in found
        ]

    def weigh(self, rows: Range) -> list[tuple[bytes, int]]:
        """Count rows by their `ends`, unread."""
        return sorted(Counter(row.ends for row in self.numbered(rows)).items())

    def apply(self, changes: Iterable[Change]) -> None:
        """Make the changes durable, all or none; of two to one row the later holds."""
        for change in changes:
            key = change.store, change.kind, change.id
            if isinstance(change, Drop):
                self.owed += self.rows.pop(key, None) is not None
            else:
                self.rows[key] = change
                self.owed += 1

    def checkpoint(self) -> bool:
        """Erase what was dropped: there is nothing to do."""
        self.owed = 0
        return True

    @property
    def octets(self) -> int:
        """The octets of all values."""
        return sum(len(row.clear) + len(row.secret or b"") for row in self.rows.values())

    def backup(self) -> dict[tuple[str, str, bytes], Row]:
        """Return a copy of everything durable."""
        return dict(self.rows)

    def restore(self, copy: object) -> None:
        """Go back to such a copy."""
        assert isinstance(copy, dict), "not a copy that backup() made"
        self.rows = dict(copy)

    def close(self) -> None:
        """Nothing to let go of."""


class FileDisk:
    """A real store file for a node of a cluster: slower, and all of it is tested too."""

    def __init__(self, path: Path, node: str, key: Secret | None = None) -> None:
        self._path, self._node, self._key = path, node, key or Secret(bytes(32))
        self._file = StoreFile.create(path, node, self._key)

    def load(self, store: str) -> list[Row]:
        """Return every durable row of a store without a running number, by kind and id."""
        return self._file.load(store)

    def numbered(self, rows: Range, most: int = -1) -> list[Numbered]:
        """Return rows under running numbers, so many at most, the last first."""
        return self._file.numbered(rows, most)

    def weigh(self, rows: Range) -> list[tuple[bytes, int]]:
        """Count rows by their `ends`, unread."""
        return self._file.weigh(rows)

    def apply(self, changes: Iterable[Change]) -> None:
        """Make the changes durable, all or none; of two to one row the later holds."""
        self._file.apply(changes)

    def backup(self) -> bytes:
        """Return a copy of the file."""
        assert self._file.checkpoint(), "the log could not be truncated"
        return self._path.read_bytes()

    def restore(self, copy: object) -> None:
        """Put such a copy in the place of the file."""
        assert isinstance(copy, bytes), "not a copy that backup() made"
        self._file.close()
        self._path.write_bytes(copy)
        self._file = StoreFile.open(self._path, self._node, self._key)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def every_row(disk: Disk, store: str) -> list[Row]:
    """Return every durable row of a store, those under running numbers too, by kind and id."""
    rows = disk.load(store)
    for kind in NUMBERED:
        for it in disk.numbered(Range(store, kind))[::-1]:
            secret = Secret(it.octets) if kind == "holding" else None
            rows.append(Row(store, kind, _id(it.number), it.clear, secret, it.ends))
    return rows


def _id(number: int) -> bytes:
    return number.to_bytes(NUMBER_OCTETS, "big")
