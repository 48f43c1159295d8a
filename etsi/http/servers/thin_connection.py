"""Our own side of a connection: llhttp parses, one request at a time is answered.

What stands behind a request that is being answered stays octets, and nothing more is read then.
So a client that sends many at once has one in memory, and what a parser makes of octets never
mixes two requests.
"""

import asyncio
from collections.abc import Callable
from typing import cast

import httptools

from etsi.http.call import Caller, Desk, Identify
from etsi.http.limits import ConcurrencyLimit, Limits, Room
from etsi.http.reply import Problem
from etsi.http.servers.framing import Cuts
from etsi.http.servers.layout import Layout
from etsi.http.servers.outlet import Outlet
from etsi.http.servers.thin_exchange import ThinExchange

_REFUSED_S = 1.0
"""Seconds that a connection past the limit has to send a request, and be told."""

_LINGER_S = 1.0
"""Seconds for the rest of a body that nobody wanted: closing at once would lose the answer."""

_FRAMES, _FRAMES_OCTETS = 16, 65_536
"""A body in chunks may be so many times as long as it may be without, and so much more."""


_LOOKALIKES = frozenset((b"content_length", b"transfer_encoding"))
"""Fields that some servers take for those that say where a request ends."""


class Connection(asyncio.Protocol):
    """One connection: its caller, read once; its requests, one after the other; how slow it may be.

    `admitted` is False when this SAE, or the node, has too many connections: it is told so and
    cut. `last` says that no request follows, `streams` that it answers with what has no end.
    """

    def __init__(self, server: "Connections") -> None:
        self.server = server
        self.caller = Caller("", trouble="not identified")
        self.admitted = self.last = self.streams = False
        self.outlet: Outlet
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)
        self._cuts = Cuts(server.limits.max_head_octets)
        self._exchange: ThinExchange | None = None
        """The request whose head is complete, until it is answered and its body has come."""
        self._task: asyncio.Task[None] | None = None
        self._ahead = b""
        self._paused = False
        self._since, self._idle_since = 0.0, 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._lingering: asyncio.TimerHandle | None = None
        self._begun = self._over = False
        self._fresh()

    # Called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Learn who calls; TLS is established by now."""
        server = self.server
        self._transport = cast(asyncio.Transport, transport)
        self.outlet = Outlet(transport)
        self.caller = server.identify(transport)
        self.admitted = server.open.acquire(self.caller.sae)
        server.live[self] = None
        self._idle_since = server.loop.time()
        self._head_begins()
        if not self.admitted:
            server.loop.call_later(_REFUSED_S, self.force_close)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Count one connection less; a request in flight goes on, and cannot be answered."""
        server = self.server
        self.outlet.lost()
        self.last, self._ahead, self._transport, self._parser = True, b"", None, None
        if server.live.pop(self, self) is None and self.admitted:
            server.open.release(self.caller.sae)
        for timer in (self._timer, self._lingering):
            if timer:
                timer.cancel()
        if self._exchange and not self._exchange.complete:
            self._exchange.spoil()

    def data_received(self, data: bytes) -> None:
        """Take octets; from the first of a head on, the rest must come within a time.

        The first head of a connection has no more, from TLS on: a silent client holds none open.
        """
        if self._ahead or (self._exchange and self._exchange.complete):
            if not self.last:
                self._ahead += data
                self._pause()
            return
        self._read(data)

    # Called by the parser

    def on_url(self, url: bytes) -> None:
        """Take a piece of the target."""
        self._target += url
        self._over = self._over or len(self._target) > self.server.limits.max_head_octets

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field of the head; one that follows a body in chunks is counted, and dropped."""
        limits = self.server.limits
        self._count += 1
        if self._count > limits.max_head_fields or len(name) + len(value) > limits.max_head_octets:
            self._over = True
        elif not self._exchange:
            name, fields = name.lower(), self._fields
            if name in fields:
                self._over = self._over or name == b"host"
                value = fields[name] + b", " + value
            fields[name] = value

    def on_headers_complete(self) -> None:
        """Make the request; it begins once the parser is content with all of its head."""
        parser = self._parser
        if parser is None or self._over:
            return
        fields, method = self._fields, parser.get_method().decode()
        target, known = _origin_form(self._target, method)
        made = ThinExchange(self, method, target, parser.get_http_version(), fields)
        made.keep = parser.should_keep_alive() and method != "CONNECT"
        upgrade = parser.should_upgrade() and _has_body(fields)  # which the parser does not read
        made.doubt = (
            not known
            or upgrade
            or (made.version == "1.1" and b"host" not in fields)
            or not _LOOKALIKES.isdisjoint(fields)
        )
        self._exchange = made
        self._cuts.body_of(int(fields.get(b"content-length", b"0")))

    def on_body(self, body: bytes) -> None:
        """Take a piece of a body."""
        if self._exchange:
            self._exchange.take(body)

    def on_message_complete(self) -> None:
        """Take note that the request is complete."""
        if self._exchange:
            self._exchange.end()

    # Called by the server

    def dismiss(self) -> None:
        """Close the connection, after the request that is open, if any and if that ends."""
        if self._task and not self.streams:
            self.last = True
        else:
            self.force_close()

    def force_close(self) -> None:
        """Close the connection; what was written is sent, for a while."""
        self.last, self._ahead = True, b""
        if self._transport:
            self._transport.close()

    # Reading

    def _read(self, data: bytes) -> None:
        """Give the parser what belongs to one request; what stands behind it waits."""
        at, whole = 0, len(data)
        while at < whole and (self._task or not self.last):
            if not (self._exchange or self._begun):  # empty lines before a request are nothing
                at = whole - len(data[at:].lstrip(b"\r\n")) if data[at] in b"\r\n" else at
                if at == whole:
                    break
            self._begun = True
            end = self._cuts.next(data, at)
            before = self._exchange
            fine = self._feed(data if end - at == whole else data[at:end])
            if not before:
                fine = fine and not self._over
                fine = fine and (bool(self._exchange) or not self._cuts.too_long(data, at, end))
            if not fine:
                self._spoilt(before)
                return
            at, exchange = end, self._exchange
            if exchange and not before:
                self._begin(exchange)
            if exchange and exchange.complete:
                self._ahead = data[at:]
                self._completed()
                return
        if not (self._exchange or self._since or self.last):
            self._head_begins()

    def _feed(self, piece: bytes) -> bool:
        """Let the parser read a piece; tell whether it is content."""
        parser = self._parser
        if parser is None:
            return True
        try:
            parser.feed_data(piece)
        except httptools.HttpParserUpgrade:  # nobody here speaks anything else
            self._parser = httptools.HttpRequestParser(self)
        except httptools.HttpParserError:
            return False
        exchange = self._exchange
        if exchange and not exchange.complete and exchange.chunked:
            self._raw += len(piece)
            self._over = self._over or self._raw > self.server.max_raw_octets
        return not (exchange and self._over)

    def _spoilt(self, exchange: ThinExchange | None) -> None:
        """End the connection at octets that are no HTTP; a request whose body they are is told."""
        self.last, self._ahead, self._parser = True, b"", None
        if exchange:
            exchange.spoil()
            self._completed()
            return
        server = self.server
        self._exchange = None
        server.refused("bad_http", self.caller)
        self._refuse(Problem(400, "bad_http", "this is not a well-formed HTTP request"))

    def _refuse(self, problem: Problem) -> None:
        """Answer what has become no request, and close."""
        server = self.server
        if not self.outlet.closing:
            reply = server.refuse(problem)
            self.outlet.send(server.layout.any(reply, "GET", keep=False, http11=True))
        self.force_close()

    # Answering

    def _begin(self, exchange: ThinExchange) -> None:
        self._since = 0.0
        self._task = self.server.loop.create_task(self._answer(exchange))
        self.server.tasks.add(self._task)

    async def _answer(self, exchange: ThinExchange) -> None:
        try:
            await self.server.answer(exchange)
        except Exception:  # a fault of ours outside of the API: the caller gets an answer
            self.server.refused("internal", self.caller)
            text = "internal error; ask again later"
            self._refuse(Problem(503, "internal", text, retry_after=1))
        finally:
            if self._task:
                self.server.tasks.discard(self._task)
            self._task = None
            self._answered(exchange)

    def _answered(self, exchange: ThinExchange) -> None:
        server = self.server
        self.last = self.last or not exchange.keep
        if not self._transport:
            return
        if not (exchange.complete or exchange.broken):
            self._lingering = server.loop.call_later(_LINGER_S, self.force_close)
        elif self.last:
            self.force_close()
        else:
            self._next()

    def _completed(self) -> None:
        """The body has come, or never will; its request may have been answered before."""
        if self._ahead:
            self._pause()
        if self._task:
            return
        if self._lingering:
            self._lingering.cancel()
            self._lingering = None
        if self.last:
            self.force_close()
        else:
            self._next()

    def _next(self) -> None:
        """Be ready for the next request, which may have come."""
        server = self.server
        self._fresh()
        self._exchange = None
        self._idle_since = server.loop.time()
        if self._timer is None:
            self._look_at(self._due())
        if self._ahead:
            server.loop.call_soon(self._read_ahead)

    def _read_ahead(self) -> None:
        data, self._ahead = self._ahead, b""
        self._read(data)
        if self._paused and not self._ahead and self._transport:
            self._paused = False
            self._transport.resume_reading()

    def _fresh(self) -> None:
        self._target, self._count, self._raw = b"", 0, 0
        self._begun = self._over = False
        self._fields: dict[bytes, bytes] = {}

    def _pause(self) -> None:
        if not self._paused and self._transport:
            self._paused = True
            self._transport.pause_reading()

    # Time

    def _head_begins(self) -> None:
        self._since = self.server.loop.time()
        due = self._due()
        if self._timer is None or self._timer.when() > due:
            self._look_at(due)

    def _due(self) -> float:
        """Return when the connection is closed if nothing more comes, while no request is open."""
        server, head = self.server, float("inf")
        if self._since:
            head = self._since + server.head_s
        return head if self._begun else min(head, self._idle_since + server.limits.idle_timeout_s)

    def _look_at(self, when: float) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = self.server.loop.call_at(when, self._look)

    def _look(self) -> None:
        """See whether time is up; the timer is not set anew for each request, it looks again."""
        self._timer = None
        if self._task or self._exchange:
            return  # the end of the request sets it
        due, now = self._due(), self.server.loop.time()
        if now < due:
            self._look_at(due)
            return
        if self._since and now >= self._since + self.server.head_s:
            self.server.refused("slow_head", self.caller)
        self.force_close()


class Connections:
    """All connections of one server, and what makes them; belongs to the thread of the loop."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        desk: Desk,
        identify: Identify,
        room: Room,
        limits: Limits,
    ) -> None:
        self.loop, self.limits, self.layout = loop, limits, Layout()
        self.identify, self.refuse = identify, desk.refuse
        self.refused, self.answer = desk.refused, desk.handle
        self.open = ConcurrencyLimit(room.max_connections, room.max_connections_per_sae)
        self.head_s = limits.head_timeout_s
        self.live: dict[Connection, None] = {}
        self.tasks: set[asyncio.Task[None]] = set()
        self.max_body_octets = room.max_body_octets

    @property
    def max_raw_octets(self) -> int:
        """How long a body in chunks may be, with all that frames it."""
        return _FRAMES * self.max_body_octets + _FRAMES_OCTETS

    def __call__(self) -> Connection:
        """Make what handles one connection."""
        return Connection(self)

    def resize(self, room: Room) -> None:
        """Use these limits from now on; what is open stays."""
        self.open.limit(room.max_connections, room.max_connections_per_sae)
        self.max_body_octets = room.max_body_octets

    def dismiss(self, unwelcome: Callable[[Caller], bool]) -> None:
        """Close the connections of unwelcome callers, after the request that is open, if any."""
        for connection in list(self.live):
            if unwelcome(connection.caller):
                connection.dismiss()

    async def shutdown(self, timeout: float | None = None) -> None:
        """Close all; requests in flight have so many seconds, then they are cancelled."""
        for connection in list(self.live):
            connection.dismiss()
        if tasks := set(self.tasks):
            _, late = await asyncio.wait(tasks, timeout=timeout)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        for connection in list(self.live):
            connection.force_close()
        await asyncio.sleep(0)  # the loop may end now: those without TLS are closed by then


def _origin_form(target: bytes, method: str) -> tuple[bytes, bool]:
    """Return path and query of a target, and whether it is of a form that a server is sent."""
    if target.startswith(b"/"):
        return target, True
    scheme, found, rest = target.partition(b"://")
    if found and scheme.lower() in (b"http", b"https"):  # absolute form, as sent to proxies
        cut = min((at for at in map(rest.find, (b"/", b"?")) if at >= 0), default=len(rest))
        path = rest[cut:]
        return (path if path.startswith(b"/") else b"/" + path), cut > 0
    return b"/", method == "CONNECT" or (target == b"*" and method == "OPTIONS")


def _has_body(fields: dict[bytes, bytes]) -> bool:
    return b"transfer-encoding" in fields or int(fields.get(b"content-length", b"0")) > 0
