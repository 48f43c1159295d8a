"""An HTTP server on a listening socket: it starts, is renewed, and stops; others read and write."""

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from concurrent import futures
from concurrent.futures import Future
from typing import Protocol

from etsi.http.call import Caller
from etsi.http.limits import ConcurrencyLimit, Limits
from etsi.http.options import HttpOptions
from etsi.http.server import Serving
from etsi.http.servers.accept import TLS_CLOSE_S, Acceptor

_START_S = 10.0


class Speaker(Protocol):
    """All connections of one server, by whatever library; belongs to the thread of the loop.

    `open` counts them.
    """

    open: ConcurrencyLimit

    def __call__(self) -> asyncio.BaseProtocol:
        """Make what handles one connection."""
        ...

    def resize(self, options: HttpOptions) -> None:
        """Use the limits of these options from now on; what is open stays."""
        ...

    def dismiss(self, unwelcome: Callable[[Caller], bool]) -> None:
        """Close the connections of unwelcome callers, after the request that is open, if any."""
        ...

    async def shutdown(self, timeout: float | None = None) -> None:
        """Close all; requests in flight have so many seconds, then they are cancelled."""
        ...


class SocketServer:
    """A `Server`; see there for what each method promises. `speak` makes what its clients meet."""

    def __init__(
        self, serving: Serving, limits: Limits, speak: Callable[[Serving, Limits], Speaker]
    ) -> None:
        self._serving, self._limits, self._loop = serving, limits, serving.loop
        self._speak = speak
        self._bound: Future[tuple[str, int]] = Future()
        self._task: Future[None] | None = None
        self._acceptor: Acceptor | None = None
        self._connections: Speaker | None = None
        self._ended: asyncio.Future[None] | None = None

    # Called by the front end

    def start(self, context: ssl.SSLContext | None) -> tuple[str, int]:
        """Listen, and serve what comes; return host and port."""
        self._task = asyncio.run_coroutine_threadsafe(self._main(context), self._loop)
        self._task.add_done_callback(self._has_ended)
        return self._bound.result(_START_S)

    def stop(self) -> None:
        """Close everything and wait, for a while, until that is done."""
        self._call(self._end)
        if self._task:
            futures.wait([self._task], self._limits.drain_timeout_s)

    def stop_listening(self) -> None:
        """Take no more connections."""
        self._call(self._stop_listening)

    def renew(
        self,
        context: ssl.SSLContext | None,
        unwelcome: Callable[[Caller], bool],
        options: HttpOptions,
    ) -> None:
        """Use this context and these limits; close the connections of unwelcome callers."""
        self._call(lambda: self._renew(context, unwelcome, options))

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return self._connections.open.total if self._connections else 0

    # On the loop

    def _call(self, what: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(what)

    def _has_ended(self, task: "Future[None]") -> None:
        why = task.exception()
        if why and self._bound.done():
            self._serving.died(type(why).__name__)
        elif why:
            self._bound.set_exception(why)

    async def _main(self, context: ssl.SSLContext | None) -> None:
        self._ended = self._loop.create_future()
        connections = self._connections = self._speak(self._serving, self._limits)
        acceptor = Acceptor(self._serving, self._limits, context, connections, self._broke)
        self._acceptor = acceptor
        try:
            self._bound.set_result(acceptor.address)
            await self._ended
        finally:
            await acceptor.close()
            await connections.shutdown(TLS_CLOSE_S)

    def _end(self) -> None:
        if self._ended and not self._ended.done():
            self._ended.set_result(None)

    def _broke(self, why: BaseException) -> None:
        if self._ended and not self._ended.done():
            self._ended.set_exception(why)

    def _stop_listening(self) -> None:
        if self._acceptor:
            self._acceptor.stop_listening()

    def _renew(
        self,
        context: ssl.SSLContext | None,
        unwelcome: Callable[[Caller], bool],
        options: HttpOptions,
    ) -> None:
        if self._acceptor and self._connections:
            self._acceptor.context = context
            self._acceptor.resize(options)
            self._connections.resize(options)
            self._connections.dismiss(unwelcome)
