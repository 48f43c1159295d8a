"""One thread with an asyncio loop: actors take their turns on it, sockets are served on it.

Those who share it hand things to one another without a switch between threads.
"""

import asyncio
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

NewLoop = Callable[[], asyncio.AbstractEventLoop]

_ACTS = 64
"""Acts in a row before sockets are looked at again,"""
_ACTS_S = 0.002
"""or those of so many seconds: the last of them may take longer."""

_JOIN_S = 5.0


class Stage:
    """A thread, its loop, and what is to be done on it, in the order in which it was asked for.

    `fatal(why)` is called, on the thread, if something breaks that nobody has caught.
    """

    def __init__(
        self,
        name: str,
        fatal: Callable[[str], None],
        new_loop: NewLoop = asyncio.new_event_loop,
    ) -> None:
        self.loop = new_loop()
        self.loop.set_exception_handler(_unhandled)
        self._fatal = fatal
        self._acts: deque[Callable[[], None]] = deque()
        self._awake = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def here(self) -> bool:
        """Whether the caller is on this thread."""
        return threading.get_ident() == self._thread.ident

    def soon(self, act: Callable[[], None]) -> None:
        """Do this on the thread; any thread may ask, and nobody waits."""
        self._acts.append(act)  # first this, then the flag: `_perform` goes the other way
        if not self._awake:
            self._awake = True
            if self.here:
                self.loop.call_soon(self._perform)
            else:
                self.call(self._perform)

    def every(self, seconds: float, act: Callable[[], None]) -> None:
        """Do this in turn with all else, and so long after each time again; any thread may ask.

        So whoever no longer hears of it knows that the thread takes no turns.
        """

        def again() -> None:
            act()
            self.loop.call_later(seconds, self.soon, again)

        self.soon(again)

    def call(self, act: Callable[..., Any], *args: Any) -> None:
        """Have the loop call this, past the queue; any thread may ask; nothing once stopped."""
        try:
            self.loop.call_soon_threadsafe(act, *args)
        except RuntimeError:  # the loop is closed
            self._acts.clear()

    def stop(self) -> None:
        """End the thread; what was not done by now never will be."""
        self.call(self.loop.stop)
        if not self.here:
            self._thread.join(_JOIN_S)

    def _run(self) -> None:
        try:
            asyncio.set_event_loop(self.loop)
            self.loop.run_forever()
        except BaseException as why:
            self._fatal(f"the stage died: {kind_and_place(why)}")
        finally:
            self.loop.close()

    def _perform(self) -> None:
        self._awake = False
        acts = self._acts
        try:
            number = min(_ACTS, len(acts))
            until = time.perf_counter() + _ACTS_S if number > 1 else 0.0
            for left in range(number - 1, -1, -1):
                acts.popleft()()
                if left and time.perf_counter() >= until:
                    break
        except BaseException as why:
            self._fatal(f"the stage: {kind_and_place(why)}")
        if acts and not self._awake:
            self._awake = True
            self.loop.call_soon(self._perform)


def kind_and_place(why: BaseException | None) -> str:
    """Name an exception and where it was raised; its text may quote a frame."""
    stack = traceback.extract_tb(why.__traceback__) if why else []
    at = f" at {Path(stack[-1].filename).name}:{stack[-1].lineno}" if stack else ""
    return f"{type(why).__name__}{at}"


def _unhandled(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    why = context.get("exception")
    what = str(context.get("message"))[:200]
    structlog.get_logger().error("loop_error", why=kind_and_place(why), what=what)
