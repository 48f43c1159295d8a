"""The ETSI GS QKD 014 front end as an actor: the HTTPS service, and where each SAE is at home."""

from actors.base import Actor
from actors.protocol import keys
from etsi.gs014.api import Gs014
from etsi.gs014.options import Gs014Options
from etsi.gs014.places import Places, PlacesReader
from etsi.http.bridge import Bridge, LoopSystem
from etsi.http.options import HttpOptions
from etsi.http.server import MakeServer
from etsi.http.service import HttpService, Memory
from transport.envelope import Envelope


class Gs014Frontend(Actor):
    """Serves SAEs over HTTPS; knows where each SAE is.

    As `etsi014/2` it is the second of several with one address, each in a process of its own.

    `allow_loopback_pairs`: an SAE may ask for keys with itself. `make_server` makes the HTTP
    server. `memory` outlives the actor, so that what was denied before a crash is so after it.
    """

    parts = (HttpService, PlacesReader)
    system: LoopSystem

    def __init__(  # noqa: PLR0917 -- a supervisor hands over what its recipe says, in order
        self,
        system: LoopSystem,
        name: str,
        options: Gs014Options,
        allow_loopback_pairs: bool,
        make_server: MakeServer,
        memory: Memory | None = None,
    ) -> None:
        super().__init__(system, name)
        memory = memory or Memory()
        if isinstance(memory.options, Gs014Options):
            options = memory.options
        self._bridge = Bridge(system, f"{name}/http", self._late)
        self._api = Gs014(self._bridge, system.node, options, allow_loopback_pairs)
        self._http = HttpService(
            self,
            self._bridge,
            self._api,
            options,
            make_server,
            memory=memory,
            unready=self._unready,
            renewed=self._renewed,
            number=int(name.partition("/")[2] or 0),
        )
        self._places = PlacesReader(self, found=self._found)
        self.serve(self._http, self._places)

    def started(self) -> None:
        """Serve HTTPS, ask where SAEs are."""
        self._http.start()
        self._places.subscribe()

    def stopped(self) -> None:
        """End the HTTP server."""
        self._http.stop()

    def crashed(self) -> None:
        """Free the port before a fresh actor wants it."""
        self._http.stop()

    def _found(self, places: Places) -> None:
        """Hand the directory over to the handlers."""
        self._api.places = places

    def _renewed(self, options: HttpOptions) -> None:
        """Answer requests by what a reload has brought."""
        assert isinstance(options, Gs014Options), "made of those that it was given"
        self._api.renew(options)

    def _unready(self) -> tuple[str, ...]:
        return () if self._api.places else ("the directory is not known yet",)

    def _late(self, envelope: Envelope) -> None:
        """Give keys back whose request was answered with a time-out; on the loop."""
        self.system.meter.add("protokms_http_refused", reason="late_answer")
        body = envelope.body
        if isinstance(body, keys.KeysWithIds) and envelope.sender.node == self.system.node:
            self._bridge.tell(envelope.sender, keys.Broken(receipt=body.receipt), envelope.trace)
