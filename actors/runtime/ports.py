"""What the system of a process is connected to: the network, the disk, inboxes without actors."""

from collections.abc import Callable, Sequence
from typing import Protocol

from actors.base import Change, Numbered, Range, Row, Slice
from transport.envelope import Address, Envelope

CORE = "core"
"""The process of a node that holds every actor not placed elsewhere."""

Put = Callable[[Envelope], None]
"""Drops an envelope into a mailbox."""

Post = Callable[[str, bytes], bool]
"""Sends octets to `node` (its core) or `node/process`; false if they cannot even be queued."""

Admit = Callable[[str, str, bytes], Envelope | None]
"""Builds the envelope that a process (its node, its name) has sent, or refuses and counts it."""


class Inbox(Protocol):
    """Something under a name that is no actor: the bridge of a front end, say."""

    def tell(self, envelope: Envelope, /) -> None:
        """Take a message, on any thread; must not block."""
        ...


class Durable(Protocol):
    """Where rows become durable; `actors.storage.writer.Writer` is one."""

    @property
    def full(self) -> bool:
        """Whether commits wait for room."""
        ...

    def load(self, store: str) -> Sequence[Row]:
        """Read every row of a store without a number, those handed over for commit included."""
        ...

    def numbered(self, rows: Range, most: int) -> Sequence[Numbered]:
        """Read so many rows under running numbers at most, the last first."""
        ...

    def weigh(self, rows: Range) -> Sequence[tuple[bytes, int]]:
        """Count rows by their `ends`, unread."""
        ...

    def read(self, owner: Address, rows: Range, most: int, into: Slice, token: int) -> None:
        """Queue the reading of a slice; the owner hears `Committed`."""
        ...

    def commit(self, owner: Address, changes: Sequence[Change], token: int) -> None:
        """Queue changes; the owner hears `Committed`."""
        ...
