"""A disk in memory: the contract of `actors.store.StoreFile` without the file."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from actors.base import Change, Drop, Row


class Disk(Protocol):
    """What a node of a cluster needs of its store."""

    def load(self, store: str) -> Sequence[Row]:
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

    def load(self, store: str) -> list[Row]:
        """Return every durable row of a store, ordered by kind and id."""
        return [self.rows[key] for key in sorted(self.rows) if key[0] == store]

    def apply(self, changes: Iterable[Change]) -> None:
        """Make the changes durable."""
        for change in changes:
            key = change.store, change.kind, change.id
            if isinstance(change, Drop):
                self.rows.pop(key, None)
            else:
                self.rows[key] = change

    def backup(self) -> dict[tuple[str, str, bytes], Row]:
        """Return a copy of everything durable."""
        return dict(self.rows)

    def restore(self, copy: object) -> None:
        """Go back to such a copy."""
        assert isinstance(copy, dict), "not a copy that backup() made"
        self.rows = dict(copy)

    def close(self) -> None:
        """Nothing to let go of."""
