"""The HTTP server of a front end: its listening socket, TLS handshakes, its end."""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from concurrent import futures
from concurrent.futures import Future
from typing import Any

from structlog.typing import FilteringBoundLogger

from actors.base import Meter
from etsi import identity
from etsi.bridge import Bridge
from etsi.connection import Identify, Listener
from etsi.door import Door
from etsi.options import Options, SaeIdFrom, address

_BACKLOG = 256
_START_S = 10.0
_TLS_CLOSE_S = 1.0
_NO_FILES_S = 0.2
_QUIET_S = 60.0


class HttpServer:
    """One listening socket, served on `loop`, which others use as well.

    Sockets are accepted here and not by `create_server`, so that handshakes are counted and
    limited before they cost anything, and so that a failed one is logged with its reason.
    `died(why)` is called on the loop when the server ends by itself.
    """

    def __init__(
        self,
        options: Options,
        door: Door,
        bridge: Bridge,
        context: ssl.SSLContext | None,
        *,
        loop: asyncio.AbstractEventLoop,
        log: FilteringBoundLogger,
        meter: Meter,
        died: Callable[[str], None],
        identify: Identify | None = None,
    ) -> None:
        self._options, self._door, self._bridge, self._context = options, door, bridge, context
        self._log, self._meter, self._died = log, meter, died
        self._identify = identify or by_certificate(options.sae_id_from)
        self._bound: Future[tuple[str, int]] = Future()
        self._loop = loop
        self._task: Future[None] | None = None
        self._listener: Listener | None = None
        self._socket: socket.socket | None = None
        self._ended: asyncio.Future[None] | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._handshakes: dict[asyncio.Task[None], str] = {}
        self._reported: dict[str, float] = {}

    # Called by the owner, on any thread but that of the loop

    def start(self) -> tuple[str, int]:
        """Listen; return host and port. `OSError` if that address cannot be had."""
        self._task = asyncio.run_coroutine_threadsafe(self._main(), self._loop)
        self._task.add_done_callback(self._has_ended)
        return self._bound.result(_START_S)

    def stop(self) -> None:
        """Close everything and wait, for a while, until that is done; harmless twice."""
        self._call(self._end)
        if self._task:
            futures.wait([self._task], self._options.drain_timeout_s)

    def drain(self, done: Callable[[], None]) -> None:
        """Listen no more, let no request in; `done()`, on the loop thread, once none is open."""
        self._call(self._stop_listening)
        self._call(lambda: self._door.drain(done))

    def renew(self, context: ssl.SSLContext, gate: identity.Gate, *, everybody: bool) -> None:
        """Use these from now on; close connections that the gate turns away, or `everybody`'s."""
        self._context, self._door.gate = context, gate
        self._call(lambda: self._close_idle(everybody=everybody))

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return self._listener.seats.total if self._listener else 0

    # On the loop

    def _call(self, what: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(what)

    def _has_ended(self, task: "Future[None]") -> None:
        why = task.exception()
        if why and self._bound.done():
            self._died(type(why).__name__)
        elif why:
            self._bound.set_exception(why)

    async def _main(self) -> None:
        loop = self._loop
        self._ended = loop.create_future()
        self._listener = Listener(
            self._door.handle, self._options, self._identify, self._door.refused
        )
        self._socket = listen(self._options.bind)
        self._bridge.open(loop)
        try:
            self._accepting = loop.create_task(self._accept(self._socket))
            self._accepting.add_done_callback(self._accept_ended)
            self._bound.set_result(self._socket.getsockname()[:2])
            await self._ended
        finally:
            await self._close()

    async def _close(self) -> None:
        self._stop_listening()
        tasks = [*self._handshakes, *([self._accepting] if self._accepting else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert self._listener
        self._listener.pre_shutdown()
        await self._listener.shutdown(_TLS_CLOSE_S)
        self._bridge.close()

    def _end(self) -> None:
        if self._ended and not self._ended.done():
            self._ended.set_result(None)

    def _accept_ended(self, task: "asyncio.Task[None]") -> None:
        why = None if task.cancelled() else task.exception()
        if why and self._ended and not self._ended.done():
            self._ended.set_exception(why)

    def _stop_listening(self) -> None:
        if self._accepting:
            self._accepting.cancel()
        if self._socket:
            self._socket.close()
            self._socket = None

    def _close_idle(self, *, everybody: bool) -> None:
        for connection in list(self._listener.live) if self._listener else []:
            denied = self._door.gate.objection(connection.caller, 0.0)
            if everybody or denied:
                connection.dismiss()

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                accepted, peer = await loop.sock_accept(listening)
            except ConnectionError:
                continue  # it went away in the queue
            except OSError as why:  # out of files or memory: others are being served, so wait
                self._report("accept", why.strerror or "OSError", "")
                await asyncio.sleep(_NO_FILES_S)
                continue
            if len(self._handshakes) >= self._options.max_handshakes:
                self._drop_oldest_handshake()
            task = loop.create_task(self._shake_hands(accepted, peer[0]))
            self._handshakes[task] = peer[0]
            task.add_done_callback(self._handshake_ended)

    def _drop_oldest_handshake(self) -> None:
        """Make room: who is honest has long finished, who holds a seat for nothing loses it."""
        oldest = next(iter(self._handshakes))
        self._report("handshake", "too many at a time", self._handshakes.pop(oldest))
        oldest.cancel()

    def _handshake_ended(self, task: "asyncio.Task[None]") -> None:
        self._handshakes.pop(task, None)

    async def _shake_hands(self, accepted: socket.socket, peer: str) -> None:
        loop, listener, context = self._loop, self._listener, self._context
        assert listener
        limits: dict[str, Any] = {}
        if context:
            limits["ssl_handshake_timeout"] = self._options.handshake_timeout_s
            limits["ssl_shutdown_timeout"] = _TLS_CLOSE_S
        try:
            await loop.connect_accepted_socket(listener, accepted, ssl=context, **limits)
        except ssl.SSLCertVerificationError as why:
            self._report("handshake", why.verify_message, peer)
        except ssl.SSLError as why:
            self._report("handshake", why.reason or "SSLError", peer)
        except TimeoutError:
            self._report("handshake", "too slow", peer)
        except OSError as why:
            self._report("handshake", type(why).__name__, peer)

    def _report(self, what: str, why: str, peer: str) -> None:
        """Count a refusal, and log each reason once a minute."""
        self._meter.add("protokms_http_refused", reason=what)
        now = self._loop.time()
        if now - self._reported.get(why, -_QUIET_S) >= _QUIET_S:
            self._reported[why] = now
            self._log.warning("connection_refused", during=what, why=why, address=peer)


def by_certificate(sae_id_from: SaeIdFrom) -> Identify:
    """Make the function that reads who is at the other end of a TLS transport."""

    def identify(transport: asyncio.BaseTransport) -> identity.Caller:
        tls = transport.get_extra_info("ssl_object")
        return identity.read(tls.getpeercert(binary_form=True) if tls else None, sae_id_from)

    return identify


def listen(bind: str) -> socket.socket:
    """Bind and listen; `OSError` names the address."""
    host, port = address(bind)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(_BACKLOG)
        made.setblocking(False)
    except OSError as why:
        made.close()
        raise OSError(why.errno, f"cannot listen on {bind}: {why.strerror}") from why
    return made
