"""Where the nodes of a cluster keep their rows: in memory, or in real files."""

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from actors.base import Change, Drop, Row
from actors.store import StoreFile
from transport.message import Secret


class Disk(Protocol):
    """What a node of a cluster needs of its store."""

    def load(self, store: str) -> list[Row]:
        """Return every durable row of a store, ordered by kind and id."""
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
        """Return every durable row of a store, ordered by kind and id."""
        return [self.rows[key] for key in sorted(key for key in self.rows if key[0] == store)]

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
        """Return every durable row of a store, ordered by kind and id."""
        return self._file.load(store)

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
