"""Where the lines of a log are written: in their order, those of requests several at a time."""

import asyncio
import atexit
import threading
from collections.abc import Sequence
from typing import TextIO

TOGETHER = 16
"""Most lines of requests that wait for one another."""

PIPE_WHOLE = 4096
"""Octets that a pipe takes whole: no line of another process comes into the midst of them."""


class Lines:
    """Writes a line as soon as it is there, and those of requests once a turn of the loop.

    To write a line at once costs more than to make it. Lines that wait are written before any
    other line, at the latest when they are `TOGETHER`, and when the process ends.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._lock = stream, threading.Lock()
        self._waiting: list[bytes] = []
        self._asked = False
        atexit.register(self.flush)

    def msg(self, line: str) -> None:
        """Write a line, after those that wait."""
        with self._lock:
            self._drain()
            self._put(line + "\n")

    log = debug = info = warn = warning = msg
    fatal = failure = err = error = critical = exception = msg

    def soon(self, line: bytes) -> None:
        """Write a line at the end of this turn of the loop; at once on a thread without one."""
        self._waiting.append(line)  # first this, then the flag: `_drain` goes the other way
        if not self._asked:
            self._ask()
        elif len(self._waiting) >= TOGETHER:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        with self._lock:
            self._drain()

    def _ask(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.flush()
        else:
            self._asked = True
            loop.call_soon(self.flush)

    def _drain(self) -> None:
        self._asked = False  # a loop that was asked may have been stopped: the next line asks anew
        while lines := self._waiting[:TOGETHER]:
            del self._waiting[: len(lines)]
            self._put_all(lines)

    def _put_all(self, lines: Sequence[bytes]) -> None:
        octets = b"\n".join((*lines, b""))
        if len(octets) > PIPE_WHOLE and len(lines) > 1:
            half = len(lines) // 2
            self._put_all(lines[:half])
            self._put_all(lines[half:])
        else:
            self._put(octets.decode())

    def _put(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
