"""The ETSI GS QKD 015 front end as an actor: the HTTPS service, and what happens, as events."""

import time

from actors.base import Actor, handles
from actors.protocol import intent
from etsi.gs015.api import Gs015
from etsi.gs015.notifications import event_of
from etsi.gs015.options import Gs015Options
from etsi.gs015.restconf.problems import reply_to
from etsi.http.bridge import Bridge, LoopSystem
from etsi.http.call import Caller
from etsi.http.options import HttpOptions
from etsi.http.server import MakeServer
from etsi.http.service import HttpService, Memory
from transport.envelope import Address, Envelope
from transport.message import Message, local

SUBSCRIBE_S = 20.0
"""Seconds from one subscription to the next: an intent that was restarted has forgotten us."""

_UNHEARD_S = 0.5
_ASK_S = 5.0


@local
class Renew(Message):
    """Time to subscribe again."""


class Gs015Frontend(Actor):
    """Serves controllers over HTTPS, on what `intent` keeps.

    `make_server` makes the HTTP server. `memory` outlives the actor, so that what was denied before
    a crash is so after it.
    """

    parts = (HttpService,)
    system: LoopSystem

    def __init__(
        self,
        system: LoopSystem,
        name: str,
        options: Gs015Options,
        make_server: MakeServer,
        memory: Memory | None = None,
    ) -> None:
        super().__init__(system, name)
        memory = memory or Memory()
        if isinstance(memory.options, Gs015Options):
            options = memory.options
        self._bridge = Bridge(system, f"{name}/http", self._late)
        self._api = Gs015(
            self._bridge,
            system.node,
            options,
            objection=self._objection,
            bound=lambda: self._http.address,
        )
        self._http = HttpService(
            self,
            self._bridge,
            self._api,
            options,
            make_server,
            memory=memory,
            unready=self._unready,
            renewed=self._renewed,
            refuse=reply_to,
            end_streams=self._api.streams.close,
        )
        self.serve(self._http)
        self._intent = Address(intent.NAME, system.node)
        self._next = 0
        """Number of the next that happens; 0: nobody has told."""
        self._heard = False

    def started(self) -> None:
        """Serve HTTPS, ask for what happens."""
        self._http.start()
        self.subscribe(Renew())

    def stopped(self) -> None:
        """End the HTTP server."""
        self._http.stop()

    def crashed(self) -> None:
        """Free the port before a fresh actor wants it."""
        self._http.stop()

    @handles(Renew)
    def subscribe(self, _: Renew) -> None:
        """Ask to be told of all that happens."""
        self.ask(self._intent, intent.Subscribe(), self._subscribed, _ASK_S)
        self.go_on(SUBSCRIBE_S if self._heard else _UNHEARD_S, Renew())

    @handles(intent.Happened)
    def happened(self, news: intent.Happened) -> None:
        """Tell all readers; where a number is missing, they hear that something is."""
        if self.sender != self._intent:
            return
        self._expect(news.number)
        self._next = news.number + 1
        event = event_of(news, self._api.store.ids)
        if event is not None:
            self.system.loop.call_soon_threadsafe(self._api.streams.publish, event)

    def _subscribed(self, answer: Message) -> None:
        self._heard = isinstance(answer, intent.Subscribed)
        if isinstance(answer, intent.Subscribed):
            self._expect(answer.number)
            self._next = answer.number

    def _expect(self, number: int) -> None:
        if self._next and number != self._next:
            self.system.loop.call_soon_threadsafe(self._api.streams.lost)

    def _objection(self, caller: Caller) -> str:
        return self._http.objection(caller, time.time())

    def _renewed(self, options: HttpOptions) -> None:
        """Answer requests by what a reload has brought."""
        assert isinstance(options, Gs015Options), "made of those that it was given"
        self._api.renew(options)

    def _unready(self) -> tuple[str, ...]:
        return () if self._heard else ("what is wanted of the node is not known yet",)

    def _late(self, _: Envelope) -> None:
        """Count an answer that nobody waits for: what was written shows in the tree."""
        self.system.meter.add("protokms_http_refused", reason="late_answer")
