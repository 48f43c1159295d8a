"""The listening socket of a server: connections are accepted and shake hands, within limits.

Sockets are accepted here and not by `create_server`, so that handshakes are counted and limited
before they cost anything, and so that a failed one is logged with its reason.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Any

from etsi.http.handshake import ON_REFUSAL, reason
from etsi.http.identity import claims
from etsi.http.limits import Limits
from etsi.http.options import HttpOptions
from etsi.http.server import Serving
from etsi.http.servers.handshakes import Handshakes
from etsi.http.servers.places import claim
from etsi.http.servers.refusals import Refusals
from transport.binding import cannot_bind
from transport.endpoint import Endpoint

TLS_CLOSE_S = 1.0
"""Seconds that a client may take to say goodbye."""

ALERT_S = 0.5
"""Seconds that a client has to go, once it was told why its handshake is refused."""

_BACKLOG = 256
"""Connections that may wait in the kernel, at least; as many as may be open, if that is more."""

_NO_FILES_S = 0.2


class Acceptor:
    """Accepts connections until it is closed; belongs to the thread of the loop.

    While `max_handshakes` are under way nobody else is accepted: who comes then waits in the
    kernel, and is not refused. A handshake that takes long makes room for those who wait.

    `speak` makes the protocol that handles one connection. `failed(why)` is called if accepting
    ends by itself. `context` may be replaced.
    """

    def __init__(
        self,
        serving: Serving,
        limits: Limits,
        context: ssl.SSLContext | None,
        speak: Callable[[], asyncio.BaseProtocol],
        failed: Callable[[BaseException], None],
    ) -> None:
        self.context, self._limits = context, limits
        self._serving, self._speak, self._failed = serving, speak, failed
        options = serving.options
        self._handshakes: Handshakes[asyncio.Task[None]] = Handshakes(
            options.max_handshakes, limits.handshake_patience_s
        )
        self._room = asyncio.Event()
        self._refusals = Refusals(serving.log, serving.meter, serving.loop.time, serving.refused)
        backlog = max(_BACKLOG, options.max_connections)
        self._sockets = listen(options.bind, backlog, serving.number)
        self._socket: socket.socket | None = self._sockets[0]
        self.address: tuple[str, int] = self._socket.getsockname()[:2]
        self._accepting = serving.loop.create_task(self._accept(self._socket))
        self._accepting.add_done_callback(self._ended)

    def resize(self, options: HttpOptions) -> None:
        """Use the limits of these options from now on; handshakes under way go on."""
        self._handshakes.most = options.max_handshakes
        self._room.set()
        if self._socket:
            self._socket.listen(max(_BACKLOG, options.max_connections))

    def stop_listening(self) -> None:
        """Accept no more; handshakes under way go on."""
        self._accepting.cancel()
        if self._socket:
            self._serving.loop.remove_reader(self._socket)
            for each in self._sockets:
                each.close()
            self._socket = None

    async def close(self) -> None:
        """Accept no more, and drop handshakes under way."""
        self.stop_listening()
        tasks = [*self._handshakes, self._accepting]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        why = None if task.cancelled() else task.exception()
        if why:
            self._failed(why)

    async def _accept(self, listening: socket.socket) -> None:
        loop = self._serving.loop
        while True:
            try:
                accepted, peer = listening.accept()
            except BlockingIOError:
                await self._somebody(listening)
                continue
            except ConnectionError:
                continue  # it went away in the queue
            except OSError as why:  # out of files or memory: others are being served, so wait
                self._report("accept", why.strerror or "OSError", "")
                await asyncio.sleep(_NO_FILES_S)
                continue
            accepted.setblocking(False)
            try:
                if self._handshakes.full:
                    await self._make_room()
            except BaseException:
                accepted.close()
                raise
            held = [accepted]
            task = loop.create_task(self._shake_hands(held, peer[0]))
            self._handshakes.begin(task, peer[0], loop.time())
            task.add_done_callback(partial(self._handshake_ended, held))

    async def _somebody(self, listening: socket.socket) -> None:
        """Wait until a connection can be accepted.

        `sock_accept` accepts as well; when it is cancelled then, nobody closes the connection.
        """
        loop = self._serving.loop
        came = asyncio.Event()
        loop.add_reader(listening, came.set)
        try:
            await came.wait()
        finally:
            if listening.fileno() >= 0:
                loop.remove_reader(listening)

    async def _make_room(self) -> None:
        """Wait until a handshake has ended, or until one is so slow that it may be dropped."""
        loop, handshakes = self._serving.loop, self._handshakes
        while handshakes.full:
            slowest = handshakes.slowest(loop.time())
            if slowest:
                self._report("handshake", "slow while others wait", handshakes.end(slowest) or "")
                slowest.cancel()
                return
            self._room.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(handshakes.waits(loop.time())):
                    await self._room.wait()

    def _handshake_ended(self, held: list[socket.socket], task: "asyncio.Task[None]") -> None:
        for left in held:  # it was cancelled before it began
            left.close()
        self._handshakes.end(task)
        self._room.set()

    async def _shake_hands(self, held: list[socket.socket], peer: str) -> None:
        accepted = held.pop()
        timeouts: dict[str, Any] = {}
        if self.context:
            timeouts["ssl_handshake_timeout"] = self._limits.handshake_timeout_s
            timeouts["ssl_shutdown_timeout"] = TLS_CLOSE_S
        loop, task = self._serving.loop, asyncio.current_task()
        ending: list[asyncio.TimerHandle] = []

        def refused(why: ssl.SSLError, shown: bytes) -> None:
            """Leave the alert a moment to arrive: to close at once would take it back."""
            self._report("handshake", reason(why), peer, shown)
            if task:
                ending.append(loop.call_later(ALERT_S, task.cancel))

        ON_REFUSAL.set(refused)
        try:
            await loop.connect_accepted_socket(self._speak, accepted, ssl=self.context, **timeouts)
        except ssl.SSLError as why:
            text = reason(why)
        except TimeoutError:
            text = "too slow"
        except OSError as why:
            text = type(why).__name__
        else:
            return
        finally:
            for timer in ending:
                timer.cancel()
        if not ending:
            self._report("handshake", text, peer)

    def _report(self, what: str, why: str, peer: str, shown: bytes = b"") -> None:
        """Count a refusal, and log it once a minute for each device."""
        name, issuer = claims(shown) if shown else ("", "")
        self._refusals.note(what, why, peer, name, issuer)


def listen(bind: Endpoint, backlog: int, number: int = 0) -> tuple[socket.socket, ...]:
    """Bind and listen, with so many waiting at most; `CannotBind` says why not.

    With a `number` others share the address: behind the listening socket comes our place there.
    """
    family = socket.AF_INET6 if ":" in bind.host else socket.AF_INET
    with contextlib.ExitStack() as undo:
        places = (undo.enter_context(claim(bind, number)),) if number else ()
        made = undo.enter_context(socket.socket(family, socket.SOCK_STREAM))
        try:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if number:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            made.bind((bind.host, bind.port))
            made.listen(backlog)
        except OSError as why:
            raise cannot_bind(str(bind), why) from why
        made.setblocking(False)
        undo.pop_all()
        return (made, *places)
