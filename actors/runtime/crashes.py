"""What an actor died of, without its data; and messages that kill whoever reads them."""

import hashlib
import logging
import os
import threading
import traceback
from collections import OrderedDict
from collections.abc import Callable

from transport.envelope import Envelope
from transport.explained import Explained

_FRAMES = 8
_TEXT = 1_000
_DIGESTS = 256
_MEMORY_S = 600.0
_DEADLY = 2


def describe(why: BaseException | None) -> str:
    """Name the exception and where it was raised; its text, which may hold key bits, if it is ours.

    (`Explained` says what was made to be shown.)
    """
    if why is None:
        return "unknown"
    if isinstance(why, Explained):
        return str(why)[:_TEXT]
    places = _places(why)
    return f"{type(why).__name__} at {places[-1]}" if places else type(why).__name__


def frames_of(why: BaseException | None, depth: int = 4) -> list[str]:
    """List types and innermost places of a death, its cause first: no values, no source lines."""
    if why is None or depth == 0:
        return []
    cause = why.__cause__ or (None if why.__suppress_context__ else why.__context__)
    return [*frames_of(cause, depth - 1), type(why).__name__, *_places(why)]


def _places(why: BaseException) -> list[str]:
    stack = traceback.extract_tb(why.__traceback__)[-_FRAMES:]
    return [f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in stack]


class Poison:
    """Counts the deaths that each message has caused; the second copy is the last one read.

    Only digests are kept, at most 256, each for ten minutes. What an actor says to itself (timers,
    commits) is never poison: to drop it would leave the actor alive and deaf.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now, self._key = now, os.urandom(16)
        self._deaths: OrderedDict[bytes, tuple[int, float]] = OrderedDict()
        self._lock = threading.Lock()

    def suspect(self, during: Envelope) -> bool:
        """Note that an actor died of this message; true if it is poison from now on."""
        if during.sender == during.to:
            return False
        digest = self._digest(during)
        with self._lock:
            count, since = self._deaths.pop(digest, (0, 0.0))
            if self._now() - since > _MEMORY_S:
                count = 0
            self._deaths[digest] = count + 1, self._now()
            if len(self._deaths) > _DIGESTS:
                self._deaths.popitem(last=False)
        return count + 1 >= _DEADLY

    def deadly(self, envelope: Envelope) -> bool:
        """Tell whether this message has killed twice already."""
        if not self._deaths or envelope.sender == envelope.to:
            return False
        with self._lock:
            count, since = self._deaths.get(self._digest(envelope), (0, 0.0))
        return count >= _DEADLY and self._now() - since <= _MEMORY_S

    def _digest(self, envelope: Envelope) -> bytes:
        # A repr shows no key bits: `Secret` hides them. The digest is keyed as well.
        text = f"{envelope.to.name}|{envelope.answer}|{envelope.body!r}"
        return hashlib.blake2b(text.encode(), key=self._key, digest_size=16).digest()


class _NoValues(logging.Filter):
    """Takes the exception out of a log record and leaves what it was and where."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and record.exc_info[1]:
            record.msg = f"{record.msg} {describe(record.exc_info[1])}"
        record.exc_info = record.exc_text = None
        return True


def keep_values_out_of_logs() -> None:
    """Let Pykka log a death without the text of the exception; calling it again is harmless."""
    logger = logging.getLogger("pykka")
    if not any(isinstance(each, _NoValues) for each in logger.filters):
        logger.addFilter(_NoValues())
