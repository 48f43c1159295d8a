"""The HTTPS service of a front end: certificates, listening, drain, reload, health.

A part of any front end: the actor gives it what answers requests, and has its own words beside.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Protocol

from msgspec import structs

from actors.base import Context, Later, Part, handles
from actors.protocol import alarms
from actors.protocol.common import Drain, Drained, Health, Healthy
from etsi.http import credentials, dates, rehearsal, tls
from etsi.http.bridge import Bridge, LoopSystem
from etsi.http.call import Caller
from etsi.http.credentials import Credentials, Unusable
from etsi.http.identity import DenyList, Naming, Plain, by_naming
from etsi.http.limits import LIMITS
from etsi.http.naming import Table
from etsi.http.options import DENY, HttpOptions, changed, differing
from etsi.http.pipeline import Api, Refuse, RequestPipeline
from etsi.http.reply import Problem
from etsi.http.server import MakeServer, Server, Serving
from transport.envelope import Envelope
from transport.explained import Explained
from transport.message import Message, local

_LAST = datetime(9999, 1, 1, tzinfo=UTC).timestamp()

LOOK_S = 60.0
"""Seconds from one look at the dates of certificates and lists to the next."""


@local
class Reload(Message):
    """Read certificate, key, client CA and CRLs again; `deny`, if given, is the new deny list.

    `options` are new values of other keys, as `etsi.http.options.packed` writes them. The files
    of the parts in `keep` were found bad, and stay as they are; of a deny list that was, `deny` is
    what is good of it, beside the one in use.
    """

    deny: tuple[str, ...] | None = None
    options: str = ""
    keep: tuple[str, ...] = ()


@local
class Reloaded(Message):
    """What is good is in use; connections of those now denied are closed.

    `kept` says of each part that was bad what is wrong with it; its last value stays in use.
    `applied` are the keys whose value, or whose file, is another one now.
    """

    kept: tuple[str, ...] = ()
    applied: tuple[str, ...] = ()


@local
class Look(Message):
    """Time to look at dates."""


@local
class HttpDied(Message):
    """The HTTP server has ended by itself; the actor is told, and crashes."""

    why: str


@local
class HttpDrained(Message):
    """No request is open any more, or the time for that is over."""


class FrontEnd(Context, Protocol):
    """The actor that this is a part of: its node lets it share the loop of the actors."""

    @property
    def system(self) -> LoopSystem:
        """The node, its loop included."""
        ...


class Memory:
    """What a front end hands to the next one, should it crash: what it serves by since a reload."""

    def __init__(self) -> None:
        self.options: HttpOptions | None = None
        self.credentials: Credentials | None = None
        self.naming: Naming | None = None


class HttpService(Part):
    """Runs the HTTP server of a front end, and answers for it.

    `api` answers requests; what it asks actors goes through `bridge`. `unready` says why requests
    cannot be answered although HTTP is served; nothing, when they can. `renewed` hears of the
    options that a reload has brought. `refuse` says no in the words of a standard;
    `end_streams` is called on the loop at a drain and at the end: those would never end themselves.
    `number` is which of several front ends of one address this is, 0 for the only one.
    """

    def __init__(
        self,
        context: FrontEnd,
        bridge: Bridge,
        api: Api,
        options: HttpOptions,
        make_server: MakeServer,
        *,
        memory: Memory,
        unready: Callable[[], Sequence[str]],
        renewed: Callable[[HttpOptions], None] = lambda _: None,
        refuse: Refuse = Problem.reply,
        end_streams: Callable[[], None] = lambda: None,
        number: int = 0,
    ) -> None:
        self._context, self._bridge, self._memory = context, bridge, memory
        self._options = options = memory.options or options
        self._unready, self._renewed, self._end_streams = unready, renewed, end_streams
        system = context.system
        life = system.random(4).hex()
        self._pipeline = RequestPipeline(
            api, options, context.log, system.meter, life, refuse=refuse
        )
        self._server: Server = make_server(
            Serving(
                options=options,
                pipeline=self._pipeline,
                identify=by_naming(lambda: self._naming),
                loop=system.loop,
                log=context.log,
                meter=system.meter,
                died=self._died,
                refused=self._refused,
                number=number,
            )
        )
        self._credentials: Credentials | None = None
        self._naming: Naming = Plain(options.sae_id_from)
        self._told: dict[dates.Span, int] = {}
        self._raised: frozenset[tuple[str, str]] = frozenset()
        self._bound = ("", 0)
        self._draining: list[Later] = []
        self._drained = False

    # Called by the actor

    def start(self) -> None:
        """Read certificates, listen; to be called when the actor starts."""
        loop = self._context.system.loop
        made, _ = _files(self._options, self._memory.credentials)
        self._naming = self._memory.naming or _table(self._options, made)
        self._use(made)
        loop.call_soon_threadsafe(self._bridge.open, loop)
        self._bound = self._server.start(tls.context_of(made))
        self._context.log.info("listening", address=self.address)
        self.look(Look())

    def stop(self) -> None:
        """End the HTTP server, and free its port; harmless twice, and after a failed start."""
        self._on_loop(self._end_streams)
        self._server.stop()
        self._on_loop(self._bridge.close)

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"{self._bound[0]}:{self._bound[1]}"

    def objection(self, caller: Caller, now: float) -> str:
        """Say why a caller is not served, or nothing; `now` in seconds since 1970."""
        return self._pipeline.deny_list.objection(caller, now)

    # Its conversations

    @handles(Health)
    def health(self, _: Health) -> Healthy:
        """Say whether requests can be answered, and if not, why."""
        reasons = list(self._unready())
        if self._draining or self._drained:
            reasons.append("draining")
        made = self._credentials
        reasons += dates.closed(made, time.time()) if made else []
        not_after = min(dates.ends(made)["certificate"], _LAST) if made else 0.0
        facts = (
            ("address", self.address),
            ("certificate_not_after", datetime.fromtimestamp(not_after, UTC).isoformat()),
            ("connections", str(self._server.connections)),
            ("requests", str(self._pipeline.in_flight.total)),
        )
        return Healthy(ready=not reasons, reasons=tuple(reasons), facts=facts)

    @handles(Reload)
    def reload(self, ask: Reload) -> Reloaded:
        """Use what is good of the new files; what is bad stays as it was, and the answer says it.

        Deny list and revocation lists act whatever else is wrong.
        """
        before, wanted = self._credentials, changed(self._options, ask.options)
        if ask.deny is not None:
            kept_list = self._options.deny if DENY in ask.keep else ()
            deny = tuple(dict.fromkeys((*kept_list, *ask.deny)))
            wanted = structs.replace(wanted, deny=deny)
        made, kept = _files(wanted, before, ask.keep)
        naming = self._naming
        try:
            naming = _table(wanted, made)
        except Unusable as why:
            kept, wanted = (*kept, str(why)), _with_people(wanted, self._options)
        context = tls.context_of(made)
        # Connections that an old CA vouched for, or that an old table named, shake hands again.
        same = before is not None and before.authorities == made.authorities
        same = same and _people(wanted) == _people(self._options)
        applied = _applied(self._options, wanted, before, made)
        self._options, self._naming = wanted, naming
        deny_list = self._use(made)

        def unwelcome(caller: Caller) -> bool:
            return not same or bool(deny_list.objection(caller, 0.0))

        self._server.renew(context, unwelcome, wanted)
        resize = partial(self._pipeline.resize, wanted)
        self._context.system.loop.call_soon_threadsafe(resize)
        self._renewed(wanted)
        self.look(Look())
        return Reloaded(kept=kept, applied=applied)

    @handles(Look)
    def look(self, _: Look) -> None:
        """Say what has expired, or will soon, once for each step; keep the metrics of it."""
        made = self._credentials
        if made is None:
            return
        now, log, meter = time.time(), self._context.log, self._context.system.meter
        told, self._told = self._told, {}
        standing: dict[tuple[str, str], str] = {}
        for span in dates.spans(made):
            level = self._told[span] = span.level(now)
            if level:
                text = span.trouble(now) or f"it expires in {_days(span, now)} days"
                id_ = "out_of_date" if span.trouble(now) else "expires_soon"
                standing[id_, f"{span.file} {span.name}"[: alarms.SUBJECT_MAX]] = text
            if level <= told.get(span, 0):
                continue
            if why := span.trouble(now):
                log.error("out_of_date", file=span.file, why=why, alarm=True)
            else:
                days = _days(span, now)
                log.warning("expires_soon", file=span.file, name=span.name, days=days)
        for file, end in dates.ends(made).items():
            meter.set("protokms_http_expires", end, file=file)
        closed = dates.closed(made, now)
        meter.set("protokms_http_closed", bool(closed))
        if closed:
            standing["nobody_let_in", ""] = "; ".join(closed)
        self._tell_alarms(standing)
        self._context.go_on(LOOK_S, Look())

    @handles(Drain)
    def drain(self, _: Drain) -> Later | Drained:
        """Take no more requests; answer when none is open any more."""
        if self._drained:
            return Drained()
        if not self._draining:
            self._context.remind(LIMITS.drain_timeout_s, HttpDrained())
            self._server.stop_listening()
            drained = self._to_itself(HttpDrained())
            system = self._context.system
            done = partial(system.send, drained)
            system.loop.call_soon_threadsafe(self._pipeline.drain, done)
            system.loop.call_soon_threadsafe(self._end_streams)
        self._draining.append(self._context.later())
        return self._draining[-1]

    @handles(HttpDrained)
    def http_drained(self, _: HttpDrained) -> None:
        """Answer those who asked for a drain."""
        self._drained = True
        while self._draining:
            self._draining.pop()(Drained())

    @handles(HttpDied)
    def http_died(self, news: HttpDied) -> None:
        """Crash: the supervisor starts a fresh actor with a fresh server."""
        raise Explained(f"the HTTP server died of {news.why}; the supervisor starts another")

    def _use(self, made: Credentials) -> DenyList:
        deny_list = tls.deny_list(made, self._options.deny)
        memory = self._memory
        memory.options, memory.credentials, memory.naming = self._options, made, self._naming
        self._credentials, self._pipeline.deny_list = made, deny_list
        return deny_list

    def _tell_alarms(self, standing: dict[tuple[str, str], str]) -> None:
        """Say what stands, at each look: who keeps alarms may have been away, as its process."""
        to, context = alarms.told(self._context.system.node), self._context
        for id_, subject in sorted(self._raised - standing.keys()):
            context.tell(to, alarms.Ended(id=id_, subject=subject))
        for (id_, subject), text in standing.items():
            context.tell(to, alarms.Raised(id=id_, subject=subject, text=text))
        self._raised = frozenset(standing)

    def _refused(self, text: str) -> None:
        """Tell of a device that was refused, from the loop."""
        system, raised = self._context.system, alarms.Raised(id="saes_refused", text=text)
        system.send(Envelope(self._context.address, alarms.told(system.node), raised))

    def _on_loop(self, what: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._context.system.loop.call_soon_threadsafe(what)

    def _to_itself(self, body: Message) -> Envelope:
        return Envelope(self._context.address, self._context.address, body)

    def _died(self, why: str) -> None:
        """Tell the actor, from the loop."""
        self._context.system.send(self._to_itself(HttpDied(why=why)))


def _files(
    options: HttpOptions, before: Credentials | None, keep: Sequence[str] = ()
) -> tuple[Credentials, tuple[str, ...]]:
    """Read all files; a certificate that clients would refuse is no better than one that is bad."""
    made, kept = credentials.read(options, before, keep)
    if before is None or before.pair == made.pair:
        return made, kept
    try:
        refused = rehearsal.of_our_own(made, credentials.signers(options, made))
    except (OSError, ValueError) as why:
        refused = [str(why)]
    if not refused:
        return made, kept
    files = f"certificate {options.certificate}, key {options.key}"
    remedy = "give one for TLS servers, of a CA that clients know"
    text = f"{files}: {'; '.join(refused)}; {remedy}"
    return replace(made, pair=before.pair), (*kept, text)


def _table(options: HttpOptions, made: Credentials) -> Naming:
    try:
        return Table(options, made.authorities)
    except ValueError as why:
        raise Unusable(str(why), "sae") from why


def _applied(
    old: HttpOptions, new: HttpOptions, before: Credentials | None, made: Credentials
) -> tuple[str, ...]:
    """Return the keys whose value is another one, or whose file holds something else.

    The name of a file that could not be used does not count: what was read before is in use.
    """
    names = set(differing(old, new))
    if before is None:
        return tuple(sorted(names))
    if before.pair is made.pair:
        names -= {"certificate", "key"}
    if before.authorities is made.authorities:
        names.discard("client_ca")
    if before.lists is made.lists and new.crl is not None:
        names.discard("crl")
    was, now = _read(before), _read(made)
    return tuple(sorted(names | {name for name, found in now.items() if found != was[name]}))


def _read(made: Credentials) -> dict[str, object]:
    """Return what was read, by the key that names its file."""
    pair = made.pair
    found: dict[str, object] = {"certificate": pair.certificate, "key": pair.key}
    return found | {"client_ca": made.authorities, "crl": made.lists}


def _days(span: dates.Span, now: float) -> float:
    return round((span.until - now) / 86_400, 1)


def _people(options: HttpOptions) -> tuple[object, ...]:
    """Return what decides which SAE a certificate stands for."""
    return options.sae_id_from, options.saes, options.authorities


def _with_people(options: HttpOptions, of: HttpOptions) -> HttpOptions:
    """Let the same certificates stand for the same SAEs as under other options."""
    sae_id_from, saes, authorities = of.sae_id_from, of.saes, of.authorities
    return structs.replace(options, sae_id_from=sae_id_from, saes=saes, authorities=authorities)
