"""One connection of an SAE: who is at the other end, how slow it may be, what was really sent."""

import asyncio
import select
from collections.abc import Callable
from typing import Any

from aiohttp import web

from etsi.identity import Caller
from etsi.limits import Seats
from etsi.options import Options
from etsi.reply import Problem

Identify = Callable[[asyncio.BaseTransport], Caller]
Handler = Callable[[web.BaseRequest], Any]

_UNSEATED_S = 1.0
_LOOK_AGAIN_S = 0.005
_LOOKS = 3
SMALL = 16_384
"""Octets that a socket whose buffer is empty takes at once."""

_GONE = select.POLLERR | select.POLLHUP | select.POLLNVAL

HEADERS = {
    "Content-Type": "application/json",
    "Cache-Control": "no-store",
    "Server": "protokms",
}


class Connection(web.RequestHandler):
    """aiohttp's connection, and: its caller, read once; a limit for slow heads; JSON errors.

    `seated` is False when this SAE, or the node, has too many connections: it is told so and cut.
    """

    def __init__(self, listener: "Listener", **options: Any) -> None:
        super().__init__(listener, **options)
        self._listener = listener
        self.caller = Caller("", trouble="not identified")
        self.seated = False
        self._busy = False
        self._since = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._socket = select.poll()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Learn who calls; TLS is established by now."""
        super().connection_made(transport)
        listener = self._listener
        self._socket.register(transport.get_extra_info("socket").fileno(), select.POLLOUT)
        self.caller = listener.identify(transport)
        self.seated = listener.seats.take(self.caller.sae)
        listener.live[self] = None
        self._head_begins()
        if not self.seated:
            listener.loop.call_later(_UNSEATED_S, self.force_close)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Give the seat back."""
        super().connection_lost(exc)
        if self._listener.live.pop(self, self) is None and self.seated:
            self._listener.seats.leave(self.caller.sae)
        if self._timer:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Take octets; from the first of a head on, the rest must come within a time.

        The first head of a connection has no more, from TLS on: who says nothing keeps no seat.
        """
        if not (self._busy or self._since):
            self._head_begins()
        super().data_received(data)

    def begin(self) -> None:
        """A request is complete but for its body."""
        self._busy, self._since = True, 0.0

    def end(self) -> None:
        """The request was answered."""
        self._busy = False

    def send(self, octets: bytes) -> None:
        """Write, without waiting; `ConnectionError` if the connection is no more."""
        if self.transport is None or self.transport.is_closing():
            raise ConnectionResetError("the connection was closed")
        self.transport.write(octets)

    def taken(self) -> bool:
        """Tell whether the kernel has taken all that was written; for no more than `SMALL` octets.

        `ConnectionError` if the connection broke before. The transports do not tell how much they
        still hold, only the TLS layer does; but they write at once, and when the kernel did not
        take all then the socket is not writable until it has room again.
        """
        transport = self.transport
        if transport is None or transport.is_closing():
            raise ConnectionResetError("the connection was closed")
        if transport.get_write_buffer_size():
            return False
        events = self._socket.poll(0)
        if events and events[0][1] & _GONE:
            raise ConnectionResetError("the connection was reset")
        return bool(events)

    async def flushed(self) -> None:
        """Wait until the kernel has taken all that was written, or raise `ConnectionError`."""
        looks = 0
        while looks < _LOOKS:  # room that has come just now is filled in the next turns
            looks = looks + 1 if self.taken() else 0
            await asyncio.sleep(0 if looks else _LOOK_AGAIN_S)

    def dismiss(self) -> None:
        """Close the connection, after the request that is open, if any."""
        if self._busy:
            self.close()
        else:
            self.force_close()

    def abort(self) -> None:
        """Drop the connection and what was not sent."""
        if self.transport:
            self.transport.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer in JSON what aiohttp itself refuses; its text may repeat the request: not ours."""
        self.begin()
        parsing = status < 500  # noqa: PLR2004
        self._listener.refused("bad_http" if parsing else "internal", self.caller)
        problem = (
            Problem(status, "bad_http", "this is not a well-formed HTTP request")
            if parsing
            else Problem(503, "internal", "internal error; ask again later", retry_after=1)
        )
        reply = problem.reply()
        response = web.Response(status=reply.status, body=reply.body, headers=HEADERS)
        if reply.retry_after:
            response.headers["Retry-After"] = str(reply.retry_after)
        response.force_close()
        return response

    def _head_begins(self) -> None:
        listener = self._listener
        self._since = listener.loop.time()
        if self._timer is None:  # it is not cancelled by a request, it looks again
            self._timer = listener.loop.call_later(listener.head_s, self._look)

    def _look(self) -> None:
        self._timer = None
        if not self._since:
            return
        listener = self._listener
        due = self._since + listener.head_s
        if listener.loop.time() >= due:
            listener.refused("slow_head", self.caller)
            self.force_close()
        else:
            self._timer = listener.loop.call_at(due, self._look)


class Listener(web.Server):
    """Makes the connections of one server; belongs to the loop thread.

    `refused(reason, caller)` hears of what never became a request.
    """

    def __init__(
        self,
        handler: Handler,
        options: Options,
        identify: Identify,
        refused: Callable[[str, Caller], None],
    ) -> None:
        self.loop = asyncio.get_running_loop()
        super().__init__(handler, request_factory=self._request, loop=self.loop)
        self.identify, self.refused = identify, refused
        self.head_s = options.head_timeout_s
        self.seats = Seats(options.max_connections, options.max_connections_per_sae)
        self.live: dict[Connection, None] = {}
        self._most = options.max_body_octets
        self._options: dict[str, Any] = {
            "keepalive_timeout": options.idle_timeout_s,
            "max_line_size": options.max_head_octets,
            "max_field_size": options.max_head_octets,
            "max_headers": options.max_head_fields,
            "lingering_time": 1.0,
            "access_log": None,
            "auto_decompress": False,
        }

    def __call__(self) -> Connection:
        """Make what handles one connection."""
        return Connection(self, loop=self.loop, **self._options)

    def _request(
        self, message: Any, payload: Any, protocol: Any, writer: Any, task: Any
    ) -> web.BaseRequest:
        most = self._most
        return web.BaseRequest(
            message, payload, protocol, writer, task, self.loop, client_max_size=most
        )
