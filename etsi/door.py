"""What all requests of a front end have in common: the gate, the limits, the answer, the log."""

import asyncio
import time
import traceback
from collections.abc import Awaitable, Callable

from aiohttp import web
from structlog.typing import FilteringBoundLogger

from actors.base import Meter
from etsi.call import Call
from etsi.connection import SMALL, Connection
from etsi.identity import Caller, Gate
from etsi.limits import Seats
from etsi.options import Options
from etsi.reply import Problem, Reply, quoted
from etsi.response import SENT, SENT_LAST, Plain, response

Api = Callable[[Call], Awaitable[Reply]]

_OK = 200


class Door:
    """Lets requests in to `api`, within limits, and writes out what it replies.

    `gate` may be replaced from any thread. All else belongs to the loop thread.
    """

    def __init__(
        self, api: Api, options: Options, log: FilteringBoundLogger, meter: Meter, life: str
    ) -> None:
        self.gate = Gate()
        self.seats = Seats(options.max_in_flight, options.max_in_flight_per_sae)
        self._api, self._log, self._meter, self._life = api, log, meter, life
        self._body_s, self._write_s = options.body_timeout_s, options.write_timeout_s
        self._count, self._plain = 0, Plain()
        self._drained: Callable[[], None] | None = None

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; every way out is a JSON body and a log line."""
        began = time.perf_counter()
        connection = request.protocol
        assert isinstance(connection, Connection)
        connection.begin()
        self._count += 1
        caller = connection.caller
        call = Call(request, caller, f"{self._life}-{self._count:x}", self._body_s)
        try:
            self._admit(call, connection)
        except Problem as no:
            try:
                return await self._send(call, connection, no.reply(), began)
            finally:
                connection.end()
        try:
            reply = await self._ask(call)
            return await self._send(call, connection, reply, began)
        finally:
            connection.end()
            self.seats.leave(caller.sae)
            if self._drained:
                self._settle()

    def drain(self, done: Callable[[], None]) -> None:
        """Let no more requests in; `done()` once none is open."""
        self._drained = done
        self._settle()

    def refused(self, reason: str, caller: Caller) -> None:
        """Count and log what never became a request."""
        self._meter.add("protokms_http_refused", reason=reason)
        self._log.info("request_refused", reason=reason, sae=caller.sae)

    def _admit(self, call: Call, connection: Connection) -> None:
        caller = connection.caller
        objection = self.gate.objection(caller, time.time())
        if objection:
            raise Problem(401, "not_authenticated", objection)
        call.check_form()
        if self._drained:
            raise Problem(503, "draining", "this KME is being stopped", retry_after=5)
        if not connection.seated:
            text = "too many connections at a time; use fewer, and keep them"
            raise Problem(503, "too_many_connections", text, retry_after=1)
        if not self.seats.take(caller.sae):
            raise Problem(503, "busy", "too many requests at a time", retry_after=1)

    async def _ask(self, call: Call) -> Reply:
        try:
            return await self._api(call)
        except Problem as no:
            return no.reply()
        except Exception as why:  # whatever it is, the caller gets an answer
            frame = traceback.extract_tb(why.__traceback__)[-1]
            at = f"{frame.filename.rpartition('/')[2]}:{frame.lineno}"
            self._log.error("request_failed", why=type(why).__name__, at=at, trace=call.trace)
            text = "internal error; ask again later"
            return Problem(503, "internal", text, retry_after=1).reply()

    async def _send(
        self, call: Call, connection: Connection, reply: Reply, began: float
    ) -> web.StreamResponse:
        request, written = call.request, False
        made = SENT if request.keep_alive else SENT_LAST
        try:
            if reply.status == _OK:
                connection.send(self._plain.octets(reply, request))
            else:  # an error text is short: it cannot wait, for nothing older is in the buffers
                made = response(reply)
                await made.prepare(request)
                await made.write_eof()
            if len(reply.body) > SMALL or not connection.taken():
                async with asyncio.timeout(self._write_s):
                    await connection.flushed()
            written = True
        except (ConnectionError, TimeoutError):
            connection.abort()
        finally:  # a cancelled handler has not written either
            if reply.settle:
                reply.settle(written)
            self._note(call, reply, written, time.perf_counter() - began)
        return made

    def _note(self, call: Call, reply: Reply, written: bool, seconds: float) -> None:
        status, route = str(reply.status), call.route
        meter = self._meter
        meter.add("protokms_http_requests", route=route, status=status)
        meter.add("protokms_http_seconds", seconds, route=route)
        if not written:
            meter.add("protokms_http_refused", reason="not_written")
        if call.keys and reply.status == _OK:
            meter.add("protokms_http_keys", call.keys, route=route)
        self._log.info(
            "request",
            method=call.method if call.method in ("GET", "POST") else quoted(call.method),
            route=route,
            status=reply.status,
            sae=call.caller.sae,
            peer=call.peer,
            keys=call.keys,
            ms=round(seconds * 1000, 3),
            trace=call.trace,
            code=reply.code if written else "not_written",
        )

    def _settle(self) -> None:
        if self._drained and not self.seats.total:
            done, self._drained = self._drained, _nothing
            done()


def _nothing() -> None:
    """Stand for a `done` that was called: the door stays shut."""
