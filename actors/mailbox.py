"""What lies before an actor, and who is called when there is something."""

from collections import deque
from collections.abc import Callable
from typing import Any

import pykka


class Mailbox:
    """The inbox of one actor, read on one thread, filled by any; never full, never waits.

    `wake` is called once for all that has come since the reader went to `rest`. Until the first
    `rest` mail only collects, which is how an actor starts before its first turn.
    """

    __slots__ = ("_asleep", "_closed", "_mail", "wake")

    def __init__(self) -> None:
        self._mail: deque[Any] = deque()
        self._asleep = self._closed = False
        self.wake: Callable[[], None] = _nobody

    def drop(self, message: Any) -> None:
        """Take one message; `ActorDeadError` once closed."""
        if self._closed:
            raise pykka.ActorDeadError
        self._mail.append(message)
        if self._asleep:
            self._asleep = False
            self.wake()

    def take(self) -> Any:
        """Return the oldest message, or raise `IndexError`; for the reader."""
        return self._mail.popleft()

    def rest(self) -> None:
        """Have `wake` called when there is something to read; for the reader."""
        self._asleep = not self._mail
        if self._mail:  # looked at again: what came in between may have found us awake
            self._asleep = False
            self.wake()

    def close(self) -> list[Any]:
        """Take no more; return what was not read."""
        self._closed = True
        left = []
        while self._mail:
            left.append(self._mail.popleft())
        return left

    def qsize(self) -> int:
        """Return how many messages wait."""
        return len(self._mail)

    # What Pykka knows an inbox by: `actor_ref.tell` and `stop` drop into it as well

    def put(self, envelope: Any) -> None:
        """Take a message in Pykka's own envelope."""
        self.drop(envelope.message)

    def get(self) -> Any:
        """Return the oldest message."""
        return self._mail.popleft()

    def empty(self) -> bool:
        """Tell whether nothing waits."""
        return not self._mail


def _nobody() -> None:
    """Stand for a reader that is not there yet."""
