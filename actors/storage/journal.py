"""What a turn wants made durable, and how values of a key store are laid down in rows."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from actors.base import Change, Drop, Row
from transport.message import Secret


class Journal:
    """Collects the changes of the turns of one store until they are handed over for commit."""

    def __init__(self, store: str) -> None:
        self.store = store
        self._changes: dict[tuple[str, bytes], Change] = {}

    def put(
        self, kind: str, id_: bytes, clear: Any, secret: bytes | None = None, ends: bytes = b""
    ) -> None:
        """Write a row; `clear` is readable in the file, `secret` is sealed."""
        sealed = None if secret is None else Secret(secret)
        packed = msgspec.msgpack.encode(clear)
        self._changes[kind, id_] = Row(self.store, kind, id_, packed, sealed, ends)

    def drop(self, kind: str, id_: bytes) -> None:
        """Erase a row."""
        self._changes[kind, id_] = Drop(self.store, kind, id_)

    def take(self) -> list[Change]:
        """Hand over what has been collected; of several changes to one row the last counts."""
        taken = list(self._changes.values())
        self._changes.clear()
        return taken

    def __len__(self) -> int:
        return len(self._changes)


class Shelf:
    """The rows of one store as they were found at a start, by kind."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows: dict[str, list[Row]] = {}
        for row in rows:
            self._rows.setdefault(row.kind, []).append(row)

    def each(self, kind: str) -> Iterator[tuple[bytes, Any, bytes]]:
        """Yield (id, clear value, secret octets) of every row of a kind, by id."""
        for row in sorted(self._rows.get(kind, ()), key=lambda row: row.id):
            clear = msgspec.msgpack.decode(row.clear)
            yield row.id, clear, row.secret.reveal() if row.secret else b""
