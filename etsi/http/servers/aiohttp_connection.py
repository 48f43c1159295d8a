"""aiohttp's side of a connection: who is at the other end, how slow it may be, what was sent."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from typing import Any

from aiohttp import HttpVersion10, HttpVersion11, web

from etsi.http.call import Caller, too_large
from etsi.http.limits import ConcurrencyLimit, Limits
from etsi.http.options import HttpOptions
from etsi.http.reply import Problem, Reply
from etsi.http.server import Serving
from etsi.http.servers.aiohttp_response import SENT, SENT_LAST, response
from etsi.http.servers.layout import Layout, fields_of
from etsi.http.servers.outlet import LOOK_AT_STREAM_S, SMALL, Outlet

_REFUSED_S = 1.0
"""Seconds that a connection past the limit has to send a request, and be told."""

_VERSIONS = (HttpVersion11, HttpVersion10)


class Connection(web.RequestHandler):
    """aiohttp's connection, and: its caller, read once; a limit for slow heads; JSON errors.

    `admitted` is False when this SAE, or the node, has too many connections: it is told so and
    cut.
    """

    def __init__(self, server: "Connections", **options: Any) -> None:
        super().__init__(server, **options)
        self._server = server
        self.caller = Caller("", trouble="not identified")
        self.admitted = False
        self._busy = False
        self.streams = False
        """It answers with a stream, which has no end to wait for."""
        self._since = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.outlet: Outlet

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Learn who calls; TLS is established by now."""
        super().connection_made(transport)
        server = self._server
        self.outlet = Outlet(transport)
        self.caller = server.identify(transport)
        self.admitted = server.open.acquire(self.caller.sae)
        server.live[self] = None
        self._head_begins()
        if not self.admitted:
            server.loop.call_later(_REFUSED_S, self.force_close)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Count one connection less."""
        super().connection_lost(exc)
        self.outlet.lost()
        if self._server.live.pop(self, self) is None and self.admitted:
            self._server.open.release(self.caller.sae)
        if self._timer:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        """Take octets; from the first of a head on, the rest must come within a time.

        The first head of a connection has no more, from TLS on: a silent client holds none open.
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

    def dismiss(self) -> None:
        """Close the connection, after the request that is open, if any and if that ends."""
        if self._busy and not self.streams:
            self.close()
        else:
            self.force_close()

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
        self._server.refused("bad_http" if parsing else "internal", self.caller)
        problem = (
            Problem(status, "bad_http", "this is not a well-formed HTTP request")
            if parsing
            else Problem(503, "internal", "internal error; ask again later", retry_after=1)
        )
        made = response(self._server.refuse(problem))
        made.force_close()
        return made

    def _head_begins(self) -> None:
        server = self._server
        self._since = server.loop.time()
        if self._timer is None:  # it is not cancelled by a request, it looks again
            self._timer = server.loop.call_later(server.head_s, self._look)

    def _look(self) -> None:
        self._timer = None
        if not self._since:
            return
        server = self._server
        due = self._since + server.head_s
        if server.loop.time() >= due:
            server.refused("slow_head", self.caller)
            self.force_close()
        else:
            self._timer = server.loop.call_at(due, self._look)


class AiohttpExchange:
    """One request as aiohttp has read it: an `Exchange`, see there."""

    __slots__ = ("_connection", "_request", "_server", "admitted", "caller", "made", "method",
                 "target")  # fmt: skip

    def __init__(
        self, request: web.BaseRequest, connection: Connection, server: "Connections"
    ) -> None:
        self._request, self._connection, self._server = request, connection, server
        self.caller, self.admitted = connection.caller, connection.admitted
        self.method = request.method
        target = request.raw_path
        if not target.startswith("/"):  # absolute form, as sent to proxies
            target = request.rel_url.raw_path_qs
        self.target = target
        self.made = SENT if request.keep_alive else SENT_LAST

    def check_form(self) -> None:
        """Refuse versions that are not ours, and transfer codings that nobody here decodes."""
        request = self._request
        coding = request.headers.get("Transfer-Encoding", "chunked")
        if request.version not in _VERSIONS or coding.lower() != "chunked":
            raise Problem(400, "bad_http", "write HTTP/1.1, with no coding but chunked")

    def header(self, name: str) -> str:
        """Return a field of the head, several of one name with commas between; empty: none."""
        return ", ".join(self._request.headers.getall(name, ()))

    async def body(self) -> bytes:
        """Read the body; `Problem` 400, 408, 413 or 415 if that cannot be done."""
        request = self._request
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise Problem(415, "encoding", "a compressed body is not accepted")
        limit = request.client_max_size
        if (request.content_length or 0) > limit:
            raise too_large(limit)
        try:
            if request.content.is_eof():  # in the usual case it came with the head
                octets = request.content.read_nowait()
                if len(octets) > limit:
                    raise too_large(limit)
                return octets
            async with asyncio.timeout(self._server.limits.body_timeout_s):
                await self._invite()
                return await request.read()
        except web.HTTPRequestEntityTooLarge:
            raise too_large(limit) from None
        except TimeoutError:
            raise Problem(408, "slow", "the body did not come in time") from None
        except (web.RequestPayloadError, ConnectionError):
            raise Problem(400, "broken_body", "the body is incomplete or malformed") from None

    async def send(self, reply: Reply) -> None:
        """Write the response; return once the kernel has taken all of it."""
        request, outlet = self._request, self._connection.outlet
        keep, http11 = request.keep_alive, request.version == HttpVersion11
        try:
            if octets := self._server.layout.usual(reply, self.method, keep=keep, http11=http11):
                outlet.send(octets)
            elif reply.stream:
                await self._stream(reply, reply.stream)
                return
            else:  # an error text is short: it cannot wait, for nothing older is in the buffers
                self.made = response(reply)
                await self.made.prepare(request)
                await self.made.write_eof()
            if len(reply.body) > SMALL or not outlet.taken():
                async with asyncio.timeout(self._server.limits.write_timeout_s):
                    await outlet.flushed()
        except (ConnectionError, TimeoutError):
            outlet.abort()
            raise

    async def _stream(self, reply: Reply, pieces: AsyncGenerator[bytes, None]) -> None:
        self.made = made = web.StreamResponse(status=reply.status, headers=fields_of(reply))
        made.force_close()
        self._connection.streams = True
        patience = self._server.limits.stream_timeout_s
        async with asyncio.timeout(patience):
            await made.prepare(self._request)
        async with contextlib.aclosing(pieces):
            async for piece in pieces:
                # aiohttp waits no longer than the TLS layer, which takes whatever it is given.
                async with asyncio.timeout(patience):
                    await made.write(piece)
                    await self._connection.outlet.flushed(LOOK_AT_STREAM_S)
        async with asyncio.timeout(patience):
            await made.write_eof()

    async def _invite(self) -> None:
        if self._request.headers.get("Expect", "").lower() == "100-continue":
            writer = self._request.writer
            await writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            writer.output_size = 0


class Connections(web.Server):
    """All connections of one server, and what makes them; belongs to the thread of the loop."""

    def __init__(self, serving: Serving, limits: Limits) -> None:
        self.loop = asyncio.get_running_loop()
        super().__init__(self._handle, request_factory=self._request, loop=self.loop)
        options = serving.options
        self.identify, self.limits, self.layout = serving.identify, limits, Layout()
        self.refused, self._answer = serving.pipeline.refused, serving.pipeline.handle
        self.refuse = serving.pipeline.refuse
        self.head_s = limits.head_timeout_s
        self.open = ConcurrencyLimit(options.max_connections, options.max_connections_per_sae)
        self.live: dict[Connection, None] = {}
        self._max_body_octets = options.max_body_octets
        self._options: dict[str, Any] = {
            "keepalive_timeout": limits.idle_timeout_s,
            "max_line_size": limits.max_head_octets,
            "max_field_size": limits.max_head_octets,
            "max_headers": limits.max_head_fields,
            "lingering_time": 1.0,
            "access_log": None,
            "auto_decompress": False,
        }

    def __call__(self) -> Connection:
        """Make what handles one connection."""
        return Connection(self, loop=self.loop, **self._options)

    def resize(self, options: HttpOptions) -> None:
        """Use the limits of these options from now on; what is open stays."""
        self.open.limit(options.max_connections, options.max_connections_per_sae)
        self._max_body_octets = options.max_body_octets

    def dismiss(self, unwelcome: Callable[[Caller], bool]) -> None:
        """Close the connections of unwelcome callers, after the request that is open, if any."""
        for connection in list(self.live):
            if unwelcome(connection.caller):
                connection.dismiss()

    async def shutdown(self, timeout: float | None = None) -> None:
        """Close all; requests in flight have so many seconds, then they are cancelled."""
        self.pre_shutdown()
        await super().shutdown(timeout)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        assert isinstance(connection, Connection)
        connection.begin()
        exchange = AiohttpExchange(request, connection, self)
        try:
            await self._answer(exchange)
        finally:
            connection.end()
        return exchange.made

    def _request(
        self, message: Any, payload: Any, protocol: Any, writer: Any, task: Any
    ) -> web.BaseRequest:
        most = self._max_body_octets
        return web.BaseRequest(
            message, payload, protocol, writer, task, self.loop, client_max_size=most
        )
