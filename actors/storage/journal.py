"""What a turn wants made durable, and how values of a key store are laid down in rows."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from actors.base import PICKED, Change, Drop, Picked, Row
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
    """The rows of one store as they were found at a start, by kind.

    Those of a kind that is picked are read by their ids, with `picked`; without it, out of `rows`.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        store: str = "",
        picked: Callable[[Picked], Iterable[Row]] | None = None,
    ) -> None:
        self._store, self._picked = store, picked
        self._rows: dict[str, list[Row]] = {}
        for row in rows:
            self._rows.setdefault(row.kind, []).append(row)

    def each(self, kind: str) -> Iterator[tuple[bytes, Any, bytes]]:
        """Yield (id, clear value, secret octets) of every row of a kind, by id."""
        for row in sorted(self._rows.get(kind, ()), key=lambda row: row.id):
            clear = msgspec.msgpack.decode(row.clear)
            yield row.id, clear, row.secret.reveal() if row.secret else b""

    def pick(self, kind: str, ids: Iterable[bytes]) -> dict[bytes, bytes]:
        """Read secret octets of rows of a kind that is picked, by id; those that are there."""
        assert kind in PICKED
        wanted = tuple(ids)
        if self._picked:
            found = self._picked(Picked(self._store, kind, wanted)) if wanted else ()
        else:
            found = (row for row in self._rows.get(kind, ()) if row.id in wanted)
        return {row.id: row.secret.reveal() for row in found if row.secret}
