"""A system for tests of what is no actor: it delivers nothing, and notes everything."""

from collections.abc import Sequence
from typing import Any

from actors.base import Actor, Change, Meter, Numbered, Range, Row, Slice, Timer
from etsi.http.bridge import Inbox
from protokms.node.meter import MemoryMeter
from transport.envelope import Address, Envelope


class Noting:
    """A system that delivers nothing and notes everything."""

    boot_id, disk_full = "boot", False

    def __init__(self) -> None:
        self.node = "kms-1"
        self.meter: Meter = MemoryMeter()
        self.sent: list[Envelope] = []
        self.inboxes: dict[str, Inbox] = {}

    def now(self) -> float:
        return 0.0

    def random(self, n: int) -> bytes:
        return b"\xff" * n

    def send(self, envelope: Envelope) -> None:
        self.sent.append(envelope)

    def register(self, name: str, inbox: Inbox) -> None:
        self.inboxes[name] = inbox

    def unregister(self, name: str) -> None:
        self.inboxes.pop(name, None)

    def after(self, seconds: float, envelope: Envelope) -> Timer:
        raise NotImplementedError

    def load(self, store: str) -> Sequence[Row]:
        raise NotImplementedError

    def numbered(self, rows: Range, most: int) -> Sequence[Numbered]:
        raise NotImplementedError

    def weigh(self, rows: Range) -> Sequence[tuple[bytes, int]]:
        raise NotImplementedError

    def read(self, owner: Address, rows: Range, most: int, into: Slice, token: int) -> None:
        raise NotImplementedError

    def commit(self, owner: Address, changes: Sequence[Change], token: int) -> None:
        raise NotImplementedError

    def spawn(
        self, name: str, kind: type[Actor], *args: Any, parent: Address | None = None
    ) -> Address:
        raise NotImplementedError

    def stop(self, name: str) -> None:
        raise NotImplementedError

    def failed(self, name: str, why: BaseException | None, during: Envelope | None) -> None:
        raise NotImplementedError
