"""What operators look at: `/metrics`, `/health`, `/ready`, in plain HTTP on a port of its own."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, Protocol

import msgspec
import structlog
from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import Metric

from actors.protocol.common import Failed, Health, Healthy
from etsi.http.call import Caller, Exchange
from etsi.http.limits import LIMITS
from etsi.http.reply import Problem, Reply
from etsi.http.servers.thin_connection import Connection, Connections
from protokms import loops
from protokms.config.sections import FRONT
from protokms.node.meter import MemoryMeter, Sample
from protokms.node.metric_help import HELP
from transport.binding import cannot_bind
from transport.endpoint import Endpoint
from transport.message import Message

CONNECTIONS_MAX = 64
CONNECTION_S = 60.0
"""Seconds that a connection may last; whoever looks more often connects again."""

_ASK_S = 2.0
_SWEEP_S = 1.0
_BACKLOG = 16
_LIMITS = replace(LIMITS, idle_timeout_s=30.0)
_STOP_S = 5.0
_NOT_ALIVE = frozenset({"no_such_actor", "undeliverable", "crashed", "timeout"})
_TEXT = "text/plain; version=0.0.4; charset=utf-8"
_OK, _UNAVAILABLE = 200, 503
_METHODS = ("GET", "HEAD")
_ANYBODY = Caller("")


_Page = Callable[[], Awaitable[Reply]]


class Vitals(Protocol):
    """What is asked for a node's health: its actors, and what is wrong beside them."""

    @property
    def node(self) -> str:
        """Return the name of the node."""
        ...

    def names(self) -> Sequence[str]:
        """Return the actors that should be alive."""
        ...

    def ask(self, name: str, body: Message, timeout: float) -> Future[Message]:
        """Ask one of them."""
        ...

    def troubles(self) -> Sequence[str]:
        """Return why the node is not ready, as far as no actor says so."""
        ...

    def sample(self) -> None:
        """Set the gauges that are only worth setting when somebody looks."""
        ...


@dataclass(frozen=True, slots=True)
class Checkup:
    """What came out of asking every actor how it is."""

    node: str
    answers: dict[str, Message]
    troubles: tuple[str, ...]

    @property
    def alive(self) -> bool:
        """Whether every actor answers."""
        return not any(_dead(answer) for answer in self.answers.values())

    @property
    def reasons(self) -> list[str]:
        """Why the node is not ready; empty when it is."""
        found = [*self.troubles, *self._no_link]
        for name, answer in self.answers.items():
            if name not in self._spared:
                found += _reasons(name, answer)
        return found

    @property
    def _spared(self) -> list[str]:
        """The front ends that do not serve while another of the several of this node does."""
        fronts = [name for name in self.answers if name.startswith(f"{FRONT}/")]
        ill = [name for name in fronts if _reasons(name, self.answers[name])]
        return ill if len(ill) < len(fronts) else []

    @property
    def _no_link(self) -> list[str]:
        """Why no quantum link is of use: each is in quarantine, or away, and nothing is in store.

        A link in quarantine alone is no reason (R21): others serve, and so does what is in store.
        """
        facts = [dict(a.facts) for a in self.answers.values() if isinstance(a, Healthy)]
        links = [fact for fact in facts if "quarantine" in fact]
        if not any(fact["quarantine"] for fact in links) or any(map(_serves, links)):
            return []
        return ["bits have failed health tests, and no other link serves"]

    @property
    def bits_received(self) -> bool:
        """Whether any key store has bits to hand out."""
        facts = [dict(a.facts) for a in self.answers.values() if isinstance(a, Healthy)]
        return any(fact.get("stored_bits", "0") not in ("", "0") for fact in facts)

    @property
    def waiting(self) -> list[str]:
        """What other nodes, or one of several front ends, keep this node waiting for.

        It serves whom it can meanwhile.
        """
        spared = [why for name in self._spared for why in _reasons(name, self.answers[name])]
        return spared + [
            why if why.startswith(name) else f"{name}: {why}"
            for name, answer in self.answers.items()
            if isinstance(answer, Healthy)
            for why in answer.waits
        ]

    @property
    def alarms(self) -> list[str]:
        """The ids of the alarms that stand; they are no reason to be not ready."""
        facts = [dict(a.facts) for a in self.answers.values() if isinstance(a, Healthy)]
        found = (fact["alarms"].split() for fact in facts if "alarms" in fact)
        return next(found, [])

    def health(self) -> dict[str, Any]:
        """Return the body of `/health`."""
        rows = {name: _row(answer) for name, answer in self.answers.items()}
        return {"node": self.node, "alive": self.alive, "actors": rows}

    def ready(self) -> dict[str, Any]:
        """Return the body of `/ready`."""
        reasons = self.reasons
        return {
            "node": self.node,
            "ready": not reasons,
            "reasons": reasons,
            "waiting": self.waiting,
            "alarms": self.alarms,
            "bits_received": self.bits_received,
        }


async def checkup(vitals: Vitals) -> Checkup:
    """Ask every actor how it is, all at once; takes at most two seconds."""
    names = vitals.names()
    asked = [asyncio.wrap_future(vitals.ask(name, Health(), _ASK_S)) for name in names]
    answers = await asyncio.gather(*asked)
    return Checkup(vitals.node, dict(zip(names, answers, strict=True)), tuple(vitals.troubles()))


class Observer:
    """An HTTP server in a thread of its own; it works as long as the process does.

    `bind` is host and port; port 0 takes a free one, which `port` tells after `start()`.
    """

    def __init__(self, bind: tuple[str, int], meter: MemoryMeter, vitals: Vitals) -> None:
        self._bind = bind
        registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=registry)
        registry.register(_Collector(meter))
        self._loop = loops.make("observe")
        self._seats = _Seats(self._loop, _Pages(registry, vitals))
        self._site: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name="observe", daemon=True)
        self.port = bind[1]

    def start(self) -> None:
        """Listen; `CannotBind` if the address cannot be had."""
        self._thread.start()
        try:
            self._run(self._listen())
        except OSError as why:
            self.stop()
            raise cannot_bind(str(Endpoint(*self._bind)), why) from why
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Close every connection and end the thread."""
        if self._loop.is_closed():
            return
        if self._thread.is_alive():
            self._run(self._close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(_STOP_S)
        self._loop.close()

    async def _listen(self) -> None:
        host, port = self._bind
        self._site = await self._loop.create_server(
            self._seats.take, host, port, backlog=_BACKLOG, reuse_address=True
        )
        self._sweeper = self._loop.create_task(self._seats.sweep())
        self.port = self._site.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._sweeper:
            self._sweeper.cancel()
        if self._site:
            self._site.close()
        await self._seats.clear()

    def _run(self, call: Any) -> None:
        asyncio.run_coroutine_threadsafe(call, self._loop).result(_STOP_S)


class _Pages:
    """Answers each request: three pages, and nothing else."""

    def __init__(self, registry: CollectorRegistry, vitals: Vitals) -> None:
        self._registry, self._vitals = registry, vitals
        self._pages: dict[str, _Page] = {
            "/metrics": self._metrics,
            "/health": self._judged(Checkup.health, "alive"),
            "/ready": self._judged(Checkup.ready, "ready"),
        }

    async def handle(self, exchange: Exchange) -> None:
        """Answer one request."""
        try:
            reply = await self._page(exchange)()
        except Problem as no:
            reply = no.reply()
        except Exception as why:  # whatever it is, who looks gets an answer
            structlog.get_logger().error("observe_failed", why=type(why).__name__)
            reply = Reply(_UNAVAILABLE, b"{}")
        with contextlib.suppress(ConnectionError, TimeoutError):  # who asked has gone
            await exchange.send(reply)

    def refuse(self, problem: Problem) -> Reply:
        """Make an answer of what is wrong."""
        return problem.reply()

    def refused(self, reason: str, caller: Caller) -> None:
        """Leave it at that: what is wrong with requests is for their senders."""

    def _page(self, exchange: Exchange) -> _Page:
        exchange.check_form()
        page = self._pages.get(exchange.target.partition("?")[0])
        if page is None:
            raise Problem(404, "not_found", f"there are {', '.join(self._pages)}")
        if exchange.method not in _METHODS:
            raise Problem(405, "method", "use GET", allow=", ".join(_METHODS))
        return page

    async def _metrics(self) -> Reply:
        self._vitals.sample()
        return Reply(_OK, generate_latest(self._registry), media=_TEXT)

    def _judged(self, body: Callable[[Checkup], dict[str, Any]], good: str) -> _Page:
        async def page() -> Reply:
            found = body(await checkup(self._vitals))
            return Reply(_OK if found[good] else _UNAVAILABLE, msgspec.json.encode(found))

        return page


class _Room:
    """Twice the seats: those whose connection is about to be closed are counted until it is."""

    max_connections = max_connections_per_sae = 2 * CONNECTIONS_MAX
    max_body_octets = 0


class _Seats:
    """Makes connections: not too many at a time, and none that stays for ever.

    The oldest makes room. Who looks at metrics has long finished; who says nothing, or very
    slowly, loses a seat that costs the node an open file.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, pages: _Pages) -> None:
        self._connections = Connections(loop, pages, lambda _: _ANYBODY, _Room(), _LIMITS)

    def take(self) -> Connection:
        """Make what handles one connection."""
        seated = list(self._connections.live)
        for each in seated[: len(seated) + 1 - CONNECTIONS_MAX]:
            each.force_close()
        return self._connections()

    async def sweep(self) -> None:
        """Close what has been open for long: after the answer it waits for, then at once."""
        since: dict[Connection, float] = {}
        while True:
            await asyncio.sleep(_SWEEP_S)
            now = time.monotonic()
            since = {each: since.get(each, now) for each in self._connections.live}
            for each, began in since.items():
                if now - began > CONNECTION_S + _STOP_S:
                    each.outlet.abort()
                elif now - began > CONNECTION_S:
                    each.dismiss()

    async def clear(self) -> None:
        """Close all."""
        await self._connections.shutdown(0)


class _Collector:
    """Hands the series of a meter to prometheus-client; counters get `_total`."""

    def __init__(self, meter: MemoryMeter) -> None:
        self._meter = meter

    def collect(self) -> Iterable[Metric]:
        counters, gauges = self._meter.samples()
        yield from _families(counters, "counter", "_total")
        yield from _families(gauges, "gauge", "")


def _families(samples: Sequence[Sample], kind: str, suffix: str) -> Iterable[Metric]:
    families: dict[str, Metric] = {}
    for name, labels, value in samples:
        metric = families.setdefault(name, Metric(name, HELP.get(name, name), kind))
        metric.add_sample(name + suffix, dict(labels), value)
    return families.values()


def _serves(link: dict[str, str]) -> bool:
    """Whether a store with a quantum link has, or gets, what can be handed out now."""
    takes = not link["quarantine"] or link.get("own_bits", "0") != "0"
    return takes and link.get("resumed") == "true"


def _reasons(name: str, answer: Message) -> list[str]:
    """Return why an actor is not ready; nothing, when it is."""
    if isinstance(answer, Healthy) and not answer.ready:
        reasons = answer.reasons or ("not ready",)
        return [why if why.startswith(name) else f"{name}: {why}" for why in reasons]
    if isinstance(answer, Failed) and _dead(answer):
        return [f"{name}: {answer.code}"]
    return []


def _dead(answer: Message) -> bool:
    return isinstance(answer, Failed) and answer.code in _NOT_ALIVE


def _row(answer: Message) -> dict[str, Any]:
    if isinstance(answer, Healthy):
        row = {"alive": True, "ready": answer.ready, "reasons": list(answer.reasons)}
        return row | {"waits": list(answer.waits), "facts": dict(answer.facts)}
    if isinstance(answer, Failed) and _dead(answer):
        return {"alive": False, "ready": False, "reasons": [answer.code]}
    return {"alive": True, "ready": True, "reasons": []}
