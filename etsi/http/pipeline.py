"""What all requests of a front end have in common: who is let in, limits, answers, the log."""

import time
import traceback
from collections.abc import Awaitable, Callable

from structlog.typing import FilteringBoundLogger

from actors.base import Cell, Meter
from etsi.http.call import Call, Caller, Exchange
from etsi.http.identity import DenyList
from etsi.http.limits import ConcurrencyLimit
from etsi.http.options import HttpOptions
from etsi.http.reply import Problem, Reply, quoted
from etsi.http.request_line import RequestLine, say_with
from etsi.http.turns import Turns

Api = Callable[[Call], Awaitable[Reply]]

Refuse = Callable[[Problem], Reply]
"""Says no in the words of a standard."""

_OK = 200
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))

_Cells = tuple[Cell, Cell, Cell]


class RequestPipeline:
    """Lets requests in to `api`, within limits, and has its replies written out.

    `refuse` answers what is not let in, and what `api` refuses.
    `deny_list` may be replaced from any thread. All else belongs to the thread of the loop.
    """

    def __init__(
        self,
        api: Api,
        options: HttpOptions,
        log: FilteringBoundLogger,
        meter: Meter,
        life: str,
        *,
        refuse: Refuse = Problem.reply,
    ) -> None:
        self.deny_list = DenyList()
        self.in_flight = ConcurrencyLimit(options.max_in_flight, options.max_in_flight_per_sae)
        self._api, self._log, self._meter, self._life = api, log, meter, life
        self.refuse = refuse
        self._say = say_with(log)
        self._turns = Turns()
        self._count = 0
        self._cells: dict[tuple[str, int], _Cells] = {}
        self._drained: Callable[[], None] | None = None

    async def handle(self, exchange: Exchange) -> None:
        """Answer one request; every way out is a JSON body and a log line."""
        began = time.perf_counter()
        if turn := self._turns.take(exchange.caller.sae):
            await turn
        self._count += 1
        call = Call(exchange, f"{self._life}-{self._count:x}")
        try:
            self._admit(exchange)
        except Problem as no:
            await self._send(call, self.refuse(no), began)
            return
        try:
            await self._send(call, await self._ask(call), began)
        finally:
            self.in_flight.release(call.caller.sae)
            if self._drained:
                self._settle()

    def resize(self, options: HttpOptions) -> None:
        """Use the limits of these options from now on; requests in flight stay."""
        self.in_flight.limit(options.max_in_flight, options.max_in_flight_per_sae)

    def drain(self, done: Callable[[], None]) -> None:
        """Let no more requests in; `done()` once none is open."""
        self._drained = done
        self._settle()

    def refused(self, reason: str, caller: Caller) -> None:
        """Count and log what never became a request."""
        self._meter.add("protokms_http_refused", reason=reason)
        self._log.info("request_refused", reason=reason, sae=caller.sae)

    def _admit(self, exchange: Exchange) -> None:
        caller = exchange.caller
        objection = self.deny_list.objection(caller, time.time())
        if objection:
            raise Problem(401, "not_authenticated", objection)
        exchange.check_form()
        if self._drained:
            raise Problem(503, "draining", "this KME is being stopped", retry_after=5)
        if not exchange.admitted:
            text = "too many connections at a time; use fewer, and keep them"
            raise Problem(503, "too_many_connections", text, retry_after=1)
        if not self.in_flight.acquire(caller.sae):
            raise Problem(503, "busy", "too many requests at a time", retry_after=1)

    async def _ask(self, call: Call) -> Reply:
        try:
            return await self._api(call)
        except Problem as no:
            return self.refuse(no)
        except Exception as why:  # whatever it is, the caller gets an answer
            frame = traceback.extract_tb(why.__traceback__)[-1]
            at = f"{frame.filename.rpartition('/')[2]}:{frame.lineno}"
            self._log.error("request_failed", why=type(why).__name__, at=at, trace=call.trace)
            text = "internal error; ask again later"
            return self.refuse(Problem(503, "internal", text, retry_after=1))

    async def _send(self, call: Call, reply: Reply, began: float) -> None:
        written = False
        try:
            await call.exchange.send(reply)
            written = True
        except (ConnectionError, TimeoutError):
            pass
        finally:  # a request that is cancelled has not been answered either
            if reply.settle:
                reply.settle(written)
            self._note(call, reply, written, time.perf_counter() - began)

    def _note(self, call: Call, reply: Reply, written: bool, seconds: float) -> None:
        route, status = call.route, reply.status
        requests, took, keys = self._cells.get((route, status)) or self._cells_of(route, status)
        requests.n += 1
        took.n += seconds
        if not written:
            self._meter.add("protokms_http_refused", reason="not_written")
        if call.keys and status == _OK:
            keys.n += call.keys
        method = call.method if call.method in _METHODS else quoted(call.method)
        ms = int(seconds * 1_000_000 + 0.5) / 1000
        code = reply.code if written else "not_written"
        sae, peer = call.caller.sae, call.peer
        self._say(RequestLine(method, route, status, sae, peer, call.keys, ms, call.trace, code))

    def _cells_of(self, route: str, status: int) -> _Cells:
        """Return the counters of requests, seconds and keys."""
        meter = self._meter
        self._cells[route, status] = made = (
            meter.cell("protokms_http_requests", route=route, status=str(status)),
            meter.cell("protokms_http_seconds", route=route),
            meter.cell("protokms_http_keys", route=route),
        )
        return made

    def _settle(self) -> None:
        if self._drained and not self.in_flight.total:
            done, self._drained = self._drained, _nothing
            done()


def _nothing() -> None:
    """Stand for a `done` that was called: no more requests are let in."""
