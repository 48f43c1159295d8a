"""The edge between asyncio and actors: questions go out on the loop, answers come from any thread.

An answer that is given on the thread of the loop settles its question there and then; those from
other threads cost the loop one wake-up for all that arrived since the last one. There is one timer
for each length of time-out, armed only while a question is open.
"""

import asyncio
import itertools
import threading
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol

from actors.base import System
from actors.protocol.common import CORE_DOWN, Failed
from actors.protocol.roles import GREETER
from actors.protocol.siblings import Lost
from transport.envelope import Address, Envelope
from transport.message import Message


class Inbox(Protocol):
    """What a system delivers to."""

    def tell(self, envelope: Envelope) -> None:
        """Take one envelope, on any thread; never blocks."""
        ...


class InboxSystem(System, Protocol):
    """A system that also delivers to what is no actor."""

    def register(self, name: str, inbox: Inbox) -> None:
        """Deliver to this inbox what is addressed to the name."""
        ...

    def unregister(self, name: str) -> None:
        """Undo `register`; harmless when there is none."""
        ...


class LoopSystem(InboxSystem, Protocol):
    """A system whose actors take their turns on an asyncio loop that front ends may share."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Return that loop."""
        ...


class Asker(Protocol):
    """What a front end's handlers need of a bridge; tests bring their own."""

    def ask(
        self, to: Address, body: Message, timeout: float, trace: str = ""
    ) -> Awaitable[Message]:
        """Ask an actor; the answer, or `Failed`, comes within `timeout` seconds."""
        ...

    def tell(self, to: Address, body: Message, trace: str = "") -> None:
        """Tell an actor, and expect no answer."""
        ...


class Bridge:
    """Asks actors on behalf of coroutines; all methods but `deliver` belong to the loop thread.

    `late` hears of answers that came when nobody waited any more.
    """

    def __init__(self, system: InboxSystem, name: str, late: Callable[[Envelope], None]) -> None:
        self.address = Address(name, system.node)
        self._system, self._late = system, late
        self._tokens = itertools.count(int.from_bytes(system.random(8), "big") >> 2)
        self._open: dict[int, tuple[Address, asyncio.Future[Message]]] = {}
        self._queues: dict[float, _Deadlines] = {}
        self._arrived: deque[Envelope] = deque()
        self._woken = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = 0

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to take answers, on this loop; to be called on its thread."""
        self._loop, self._woken, self._thread = loop, False, threading.get_ident()
        self._system.register(self.address.name, _BridgeInbox(self.deliver))

    def close(self) -> None:
        """Take no more answers; questions still open have failed."""
        self._system.unregister(self.address.name)
        self._loop = None
        for token in list(self._open):
            self._settle(token, Failed(code="not_ready", why="the front end stops"))

    def ask(
        self, to: Address, body: Message, timeout: float, trace: str = ""
    ) -> asyncio.Future[Message]:
        """Ask an actor; the answer, or `Failed`, comes within `timeout` seconds.

        A `Failed("timeout")` means that the outcome is unknown, not that it is "no".
        """
        loop = self._loop
        if loop is None:
            raise RuntimeError("the bridge is not open")
        future: asyncio.Future[Message] = loop.create_future()
        token = next(self._tokens)
        self._open[token] = to, future
        self._set_deadline(loop, timeout, token)
        self._system.send(Envelope(self.address, to, body, token, False, trace))
        return future

    def tell(self, to: Address, body: Message, trace: str = "") -> None:
        """Tell an actor, and expect no answer."""
        self._system.send(Envelope(self.address, to, body, 0, False, trace))

    def deliver(self, envelope: Envelope) -> None:
        """Take an envelope, on any thread."""
        if threading.get_ident() == self._thread:
            self._take(envelope)
            return
        self._arrived.append(envelope)  # first this, then the flag: `_collect` goes the other way
        loop = self._loop
        if self._woken or loop is None:
            return
        self._woken = True
        try:
            loop.call_soon_threadsafe(self._collect)
        except RuntimeError:  # the loop was closed in between: nobody waits
            self._arrived.clear()

    def _collect(self) -> None:
        self._woken = False
        arrived = self._arrived
        while arrived:
            self._take(arrived.popleft())

    def _take(self, envelope: Envelope) -> None:
        if isinstance(envelope.body, Lost) and envelope.sender.name.partition("/")[0] == GREETER:
            for token in list(self._open):
                self._settle(token, Failed(code=CORE_DOWN, why="core is not heard any more"))
            return
        if not envelope.answer:
            self._system.meter.add("protokms_http_refused", reason="not_an_answer")
            return
        asked, future = self._open.get(envelope.token, (None, None))
        if future is None or asked != envelope.sender:  # only whom we asked may answer
            self._late(envelope)
            return
        del self._open[envelope.token]
        if future.done():
            self._late(envelope)
        else:
            future.set_result(envelope.body)

    def _set_deadline(self, loop: asyncio.AbstractEventLoop, timeout: float, token: int) -> None:
        queue = self._queues.get(timeout)
        if queue is None:
            queue = self._queues[timeout] = _Deadlines()
        due = queue.due
        while due and due[0][1] not in self._open:
            due.popleft()
        due.append((loop.time() + timeout, token))
        if not queue.armed:
            queue.armed = True
            loop.call_at(due[0][0], self._expire, queue)

    def _expire(self, queue: "_Deadlines") -> None:
        queue.armed = False
        loop, due = self._loop, queue.due
        if loop is None:
            return
        now = loop.time()
        while due and (due[0][0] <= now or due[0][1] not in self._open):
            self._settle(due.popleft()[1], Failed(code="timeout", why="no answer"))
        if due:
            queue.armed = True
            loop.call_at(due[0][0], self._expire, queue)

    def _settle(self, token: int, body: Message) -> None:
        _, future = self._open.pop(token, (None, None))
        if future and not future.done():
            future.set_result(body)


class _Deadlines:
    """Questions with one length of time-out, oldest first: (deadline, token)."""

    __slots__ = ("armed", "due")

    def __init__(self) -> None:
        self.due: deque[tuple[float, int]] = deque()
        self.armed = False


class _BridgeInbox:
    """The inbox that a system sees of a bridge."""

    __slots__ = ("tell",)

    def __init__(self, tell: Callable[[Envelope], None]) -> None:
        self.tell = tell
