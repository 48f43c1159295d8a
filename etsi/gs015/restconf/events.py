"""Streams of events (RFC 8040, 6): each reader has a queue of its own, with an end to it."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime
from typing import Any, Final

from etsi.gs015.model import tree
from etsi.gs015.model.leaves import written_time
from etsi.gs015.restconf.bodies import octets_of

EVENTS_MAX: Final = 1_000
OCTETS_MAX: Final = 1 << 20
"""What may wait for one reader."""

COMMENT_S: Final = 15.0
"""After so much silence a comment shows that the stream lives, and that its reader may read it."""

_COMMENT: Final = b":\n\n"


class _Reader:
    """What waits for one reader; `ended` when nothing more will come."""

    __slots__ = ("ended", "octets", "waiting", "woken")

    def __init__(self) -> None:
        self.waiting: deque[bytes] = deque()
        self.octets = 0
        self.woken = asyncio.Event()
        self.ended = False

    def put(self, event: bytes) -> bool:
        """Let an event wait; False when that is too much."""
        self.waiting.append(event)
        self.octets += len(event)
        self.woken.set()
        return len(self.waiting) <= EVENTS_MAX and self.octets <= OCTETS_MAX

    def end(self, last: bytes) -> None:
        """Forget what waits; the last event is all that still comes."""
        self.waiting.clear()
        self.put(last)
        self.ended = True

    def take(self) -> bytes:
        """Return all that waits."""
        taken = b"".join(self.waiting)
        self.waiting.clear()
        self.octets = 0
        self.woken.clear()
        return taken


class Streams:
    """All readers of the one stream there is; belongs to the loop."""

    def __init__(self) -> None:
        self._readers: dict[_Reader, None] = {}
        self._closed = False

    @property
    def readers(self) -> int:
        """How many there are."""
        return len(self._readers)

    def publish(self, event: bytes) -> None:
        """Tell all readers; one that is too slow hears that it was, and no more."""
        for reader in list(self._readers):
            if not reader.put(event):
                del self._readers[reader]
                text = "too many events wait for this reader: some are lost, read the tree again"
                reader.end(remark(text))

    def lost(self) -> None:
        """Tell all readers that something has happened that nobody here knows."""
        for reader in list(self._readers):
            reader.end(remark("some events are lost: read the tree again"))
        self._readers.clear()

    def close(self) -> None:
        """End all streams: the node stops."""
        self._closed = True
        for reader in list(self._readers):
            reader.end(remark("the node is being stopped"))
        self._readers.clear()

    async def read(self, unwelcome: Callable[[], bool]) -> AsyncGenerator[bytes, None]:
        """Bring what happens from now on; ends when the reader is too slow, or unwelcome."""
        if self._closed:
            return
        reader = _Reader()
        self._readers[reader] = None
        try:
            yield _COMMENT
            while not (reader.ended and not reader.waiting):
                try:
                    async with asyncio.timeout(COMMENT_S):
                        await reader.woken.wait()
                except TimeoutError:
                    yield _COMMENT
                if unwelcome():
                    return
                if octets := reader.take():
                    yield octets
        finally:
            self._readers.pop(reader, None)


def event(body: Any) -> bytes:
    """Return a notification as an event of a stream (RFC 8040, 6.4)."""
    return b"data: " + octets_of(body) + b"\n\n"


def notification(name: str, content: Any, at: float) -> Any:
    """Return a notification; `at` in seconds since 1970."""
    time = written_time(datetime.fromtimestamp(round(at, 3), UTC))
    return {"ietf-restconf:notification": {"eventTime": time, f"{tree.MODULE}:{name}": content}}


def remark(text: str) -> bytes:
    """Return an event about the stream itself."""
    severity = tree.SEVERITY.write("MAJOR")
    now = datetime.now(UTC).timestamp()
    return event(notification("event", {"link": {"message": text, "severity": severity}}, now))
