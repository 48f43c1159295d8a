"""The ETSI GS QKD 014 front end as an actor: it owns an HTTP server and answers for it."""

import ssl
import time
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from actors.base import Actor, Later, handles
from actors.protocol import keys, peers
from actors.protocol.common import Drain, Drained, Health, Healthy, Refused
from etsi import tls
from etsi.bridge import Bridge, Host
from etsi.door import Door
from etsi.gs014 import Gs014, Places
from etsi.options import Options
from etsi.server import HttpServer
from transport.envelope import Address, Envelope
from transport.message import Message, local

_SUBSCRIBE_S = 30.0
_UNHEARD_S = 0.5


@local
class Reload(Message):
    """Read certificate, key, client CA and CRL again; `deny`, if given, is the new deny list."""

    deny: tuple[str, ...] | None = None


@local
class Reloaded(Message):
    """They are in use; connections of those now denied are closed."""


@local
class HttpDied(Message):
    """The HTTP server has ended by itself; the actor tells itself and crashes."""

    why: str


@local
class HttpDrained(Message):
    """No request is open any more, or the time for that is over."""


@local
class Renew(Message):
    """Time to subscribe again: a peer manager that was restarted has forgotten us."""


class EtsiFrontend(Actor):
    """Starts, stops, drains and reloads the HTTPS interface for SAEs; knows where each SAE is."""

    system: Host

    def __init__(self, system: Host, name: str, options: Options) -> None:
        super().__init__(system, name)
        self._options, self._deny = options, options.deny
        self._bridge = Bridge(system, f"{name}/http", self._late)
        self._api = Gs014(self._bridge, system.node, options)
        life = system.random(4).hex()
        self._door = Door(self._api, options, self.log, system.meter, life)
        self._http: HttpServer | None = None
        self._ca = b""
        self._expiry = 0.0
        self._bound = ("", 0)
        self._draining: list[Later] = []
        self._drained = False

    def started(self) -> None:
        """Read certificates, listen, ask where SAEs are."""
        context = self._read()
        self._http = HttpServer(
            self._options,
            self._door,
            self._bridge,
            context,
            loop=self.system.loop,
            log=self.log,
            meter=self.system.meter,
            died=self._died,
        )
        self._bound = self._http.start()
        self.log.info("listening", address=f"{self._bound[0]}:{self._bound[1]}")
        self._subscribe()

    def stopped(self) -> None:
        """End the HTTP server."""
        if self._http:
            self._http.stop()

    def on_failure(
        self,
        exception_type: type[BaseException] | None,
        exception_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Free the port before a fresh actor wants it."""
        self.stopped()
        super().on_failure(exception_type, exception_value, traceback)

    @handles(peers.Located)
    def located(self, news: peers.Located) -> None:
        """Hand the directory over to the handlers."""
        if self.sender == self._peer_manager():
            self._api.places = Places.of(news)

    @handles(Renew)
    def renew(self, _: Renew) -> None:
        """Subscribe again."""
        self._subscribe()

    @handles(Health)
    def health(self, _: Health) -> Healthy:
        """Say whether SAEs can be served, and if not, why."""
        reasons = []
        if self._api.places is None:
            reasons.append("the directory is not known yet")
        if self._draining or self._drained:
            reasons.append("draining")
        if time.time() > self._expiry:
            reasons.append("the server certificate has expired")
        expiry = datetime.fromtimestamp(self._expiry, UTC).isoformat()
        facts = (
            ("address", f"{self._bound[0]}:{self._bound[1]}"),
            ("certificate_not_after", expiry),
            ("connections", str(self._http.connections if self._http else 0)),
            ("requests", str(self._door.seats.total)),
        )
        return Healthy(ready=not reasons, reasons=tuple(reasons), facts=facts)

    @handles(Reload)
    def reload(self, ask: Reload) -> Reloaded:
        """Use new files; if one cannot be used, all stays as it was and the answer says why."""
        before = self._ca, self._deny
        if ask.deny is not None:
            self._deny = ask.deny
        try:
            context = self._read()
        except tls.Unusable as why:
            self._ca, self._deny = before
            raise Refused("malformed", str(why)) from why
        assert self._http
        # Connections that an old CA vouched for must shake hands again under the new one.
        self._http.renew(context, self._door.gate, everybody=self._ca != before[0])
        self.log.info("reloaded")
        return Reloaded()

    @handles(Drain)
    def drain(self, _: Drain) -> Later | Drained:
        """Take no more requests; answer when none is open any more."""
        if self._drained or not self._http:
            return Drained()
        if not self._draining:
            self.remind(self._options.drain_timeout_s, HttpDrained())
            drained = Envelope(self.address, self.address, HttpDrained())
            self._http.drain(lambda: self.system.send(drained))
        self._draining.append(self.later())
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
        raise RuntimeError(f"the HTTP server died of {news.why}")

    def _read(self) -> ssl.SSLContext:
        context = tls.server_context(self._options)
        gate, expiry = tls.gate(self._options, self._deny), tls.expiry(self._options)
        self._ca = Path(self._options.client_ca).read_bytes()
        self._door.gate, self._expiry = gate, expiry
        return context

    def _subscribe(self) -> None:
        self.tell(self._peer_manager(), peers.Subscribe())
        # The first question is lost when the peer manager is in a process that is not up yet.
        self.go_on(_SUBSCRIBE_S if self._api.places else _UNHEARD_S, Renew())

    def _peer_manager(self) -> Address:
        return Address("peer_manager", self.system.node)

    def _died(self, why: str) -> None:
        """Tell the actor, from the loop."""
        self.system.send(Envelope(self.address, self.address, HttpDied(why=why)))

    def _late(self, envelope: Envelope) -> None:
        """Give keys back whose request was answered with a time-out; on the loop."""
        self.system.meter.add("protokms_http_refused", reason="late_answer")
        body = envelope.body
        if isinstance(body, keys.KeysWithIds) and envelope.sender.node == self.system.node:
            self._bridge.tell(envelope.sender, keys.Broken(receipt=body.receipt), envelope.trace)
