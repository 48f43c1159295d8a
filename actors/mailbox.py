"""What lies before an actor, and who is called when there is something."""

from collections import deque
from collections.abc import Callable
from typing import Any

import pykka

from transport.envelope import Envelope

AHEAD_MAX = 16
"""Messages that are read before one in bulk, at most, while both wait."""


class Mailbox:
    """The inbox of one actor, read on one thread, filled by any; never full, never waits.

    Messages in bulk wait for the others, within a bound; else all are read in the order in which
    they came. An actor that is stopped leaves what is there in bulk by then. `wake` is called once
    for all that has come since the reader went to `rest`. Until the first `rest` mail only
    collects, which is how an actor starts before its first turn.
    """

    __slots__ = ("_ahead", "_asleep", "_bulk", "_closed", "_mail", "wake")

    def __init__(self) -> None:
        self._mail: deque[Any] = deque()
        self._bulk: deque[Any] = deque()
        self._ahead = 0
        """Messages read since the last one in bulk."""
        self._asleep = self._closed = False
        self.wake: Callable[[], None] = _nobody

    def drop(self, message: Any) -> None:
        """Take one message; `ActorDeadError` once closed."""
        if self._closed:
            raise pykka.ActorDeadError
        if type(message) is Envelope and message.body.bulk:
            self._bulk.append(message)
        else:
            self._mail.append(message)
        if self._asleep:
            self._asleep = False
            self.wake()

    def take(self) -> Any:
        """Return the message whose turn it is, or raise `IndexError`; for the reader."""
        if self._bulk and (not self._mail or self._ahead >= AHEAD_MAX):
            self._ahead = 0
            return self._bulk.popleft()
        self._ahead += 1
        return self._mail.popleft()

    def rest(self) -> None:
        """Have `wake` called when there is something to read; for the reader."""
        self._asleep = not (self._mail or self._bulk)
        # Looked at again: what came in between may have found us awake.
        if self._mail or self._bulk:
            self._asleep = False
            self.wake()

    def close(self) -> list[Any]:
        """Take no more; return what was not read."""
        self._closed = True
        left = []
        while self.qsize():
            left.append(self.take())
        return left

    def qsize(self) -> int:
        """Return how many messages wait."""
        return len(self._mail) + len(self._bulk)

    @property
    def pressing(self) -> int:
        """How many messages wait that are not in bulk."""
        return len(self._mail)

    # What Pykka knows an inbox by: `actor_ref.tell` and `stop` drop into it as well

    def put(self, envelope: Any) -> None:
        """Take a message in Pykka's own envelope."""
        self.drop(envelope.message)

    def get(self) -> Any:
        """Return the oldest message."""
        return self.take()

    def empty(self) -> bool:
        """Tell whether nothing waits."""
        return not self.qsize()


def _nobody() -> None:
    """Stand for a reader that is not there yet."""
