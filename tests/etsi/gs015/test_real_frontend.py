"""The front end of controllers as it runs: an actor, its HTTP server, TLS, sockets on loopback."""

import http.client
import json
import ssl
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import uvloop

from actors.base import Actor, handles
from actors.protocol import intent
from actors.protocol.common import Drain, Drained, Health, Healthy
from actors.runtime.system import ThreadSystem
from etsi.gs015.frontend import Gs015Frontend
from etsi.gs015.options import Gs015Options
from etsi.gs015.restconf.problems import MEDIA
from etsi.http.servers.aiohttp_server import AiohttpServer
from etsi.http.service import Reload, Reloaded
from protokms.node.meter import MemoryMeter
from tests.kit.agent import LINKS, NODE, options
from tests.kit.authority import Authority
from tests.kit.wanted import AT, PHYS_ID, Wanted
from transport.envelope import Address
from transport.https import HttpsConnection
from transport.message import Message, local
from transport.stage import Stage

pytestmark = pytest.mark.slow

LINK = f"{LINKS}/qkd_link={PHYS_ID}"
STREAM = "/restconf/streams/NETCONF"


@local
class Say(Message):
    """Tell whoever has subscribed that something has happened, under this number."""

    number: int


class Keeping(Actor):
    """Keeps rows as they were laid out."""

    def __init__(self, system: ThreadSystem, name: str, wanted: Wanted) -> None:
        super().__init__(system, name)
        self._wanted = wanted
        self._readers: list[Address] = []

    @handles(intent.Read)
    def read(self, ask: intent.Read) -> Any:
        return self._wanted.answer(ask)

    @handles(intent.ReadNodes)
    def nodes(self, ask: intent.ReadNodes) -> Any:
        return self._wanted.answer(ask)

    @handles(intent.Write)
    def write(self, ask: intent.Write) -> Any:
        return self._wanted.answer(ask)

    @handles(intent.Subscribe)
    def subscribe(self, ask: intent.Subscribe) -> Any:
        self._readers.append(self.sender)
        return self._wanted.answer(ask)

    @handles(Say)
    def say(self, ask: Say) -> intent.Subscribed:
        for to in self._readers:
            news = intent.Happened(
                number=ask.number, at=AT, event="link_down", kind="link", id=PHYS_ID
            )
            self.tell(to, news)
        return intent.Subscribed(number=ask.number)


class Node:
    """One node with a front end for controllers."""

    def __init__(self, authority: Authority) -> None:
        self.authority, self.folder = authority, authority.folder
        self.wanted, self.meter = Wanted(), MemoryMeter()
        self.dead: list[str] = []
        self.stage = Stage("kms-1", self.dead.append, uvloop.new_event_loop)
        self.system = ThreadSystem("kms-1", self.meter, stage=self.stage)
        self.here, self.port = Address("etsi015", "kms-1"), 0
        authority.issue("kme", dns=("localhost",))
        for name in ("controller-1", "reader", "sae-1"):
            authority.issue(name)

    def make_options(self, **changes: Any) -> Gs015Options:
        files = {"certificate": self.folder / "kme.crt", "key": self.folder / "kme.key"}
        return options(**(files | {"client_ca": self.authority.path} | changes))

    def start(self) -> None:
        self.system.spawn("intent", Keeping, self.wanted)
        self.system.spawn("etsi015", Gs015Frontend, self.make_options(), partial(AiohttpServer))
        while not (health := self.health()).ready:
            assert not self.dead
        self.port = int(dict(health.facts)["address"].rpartition(":")[2])

    def ask(self, body: Any, to: str = "etsi015") -> Any:
        return self.system.ask(Address(to, "kms-1"), body, 10).result(10)

    def health(self) -> Healthy:
        found = self.ask(Health())
        assert isinstance(found, Healthy)
        return found

    def client(self, name: str | None = "controller-1") -> http.client.HTTPSConnection:
        context = ssl.create_default_context(cafile=str(self.folder / "ca.crt"))
        context.check_hostname = False
        if name:
            context.load_cert_chain(self.folder / f"{name}.crt", self.folder / f"{name}.key")
        return HttpsConnection("127.0.0.1", self.port, timeout=10, context=context)

    def do(
        self, method: str, path: str, body: Any = None, name: str | None = "controller-1"
    ) -> tuple[int, Any]:
        """Send a request on a connection of its own."""
        client = self.client(name)
        try:
            octets = None if body is None else json.dumps(body).encode()
            client.request(method, path, octets, {"Content-Type": MEDIA} if octets else {})
            response = client.getresponse()
            content = response.read()
            return response.status, json.loads(content) if content else None
        finally:
            client.close()

    def read(self, name: str = "reader") -> tuple[Any, http.client.HTTPResponse]:
        """Begin to read events."""
        client = self.client(name)
        client.request("GET", STREAM, headers={"Accept": "text/event-stream"})
        response = client.getresponse()
        assert (response.status, line(response)) == (200, ":")
        return client, response


def line(response: http.client.HTTPResponse) -> str:
    """Return the next line that is not empty; nothing at the end."""
    while (found := response.readline()) == b"\n":
        pass
    return found.decode().strip()


def until(true: Callable[[], object]) -> None:
    """Wait for another thread; pytest-timeout ends it if that never comes."""
    while not true():
        pass


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(Authority(tmp_path))
    made.start()
    yield made
    assert made.system.shutdown()
    made.stage.stop()


def test_a_controller_reads_and_writes_over_tls(node: Node) -> None:
    told = node.do("GET", LINK)
    written = node.do("PUT", f"{LINK}/qkdl_enable", {"etsi-qkd-sdn-node:qkdl_enable": False})
    after = node.do("GET", f"{LINK}/qkdl_enable")

    assert told[0] == 200
    assert written == (204, None)
    assert after == (200, {"etsi-qkd-sdn-node:qkdl_enable": False})


def test_who_is_no_controller_gets_nothing(node: Node, tmp_path: Path) -> None:
    Authority(tmp_path, "stranger").issue("mallory", common="controller-1")

    status, body = node.do("GET", NODE, name="sae-1")
    assert status == 401
    assert body["ietf-restconf:errors"]["error"][0]["error-tag"] == "access-denied"
    for name in (None, "mallory"):
        with pytest.raises((OSError, http.client.HTTPException)):
            node.do("GET", NODE, name=name)
    assert node.do("DELETE", LINK, name="reader")[0] == 403
    assert node.do("GET", LINK)[0] == 200


def test_what_happens_is_heard_and_what_is_missed_is_told(node: Node) -> None:
    client, events = node.read()

    node.ask(Say(number=1), "intent")
    heard = json.loads(line(events).removeprefix("data: "))
    node.ask(Say(number=3), "intent")
    last = line(events)

    link = {"qkdl_id": PHYS_ID}
    notification = heard["ietf-restconf:notification"]
    assert notification["etsi-qkd-sdn-node:sdqkdn_link_down"] == {"qkd_link": link}
    assert "some events are lost" in last
    assert line(events) == ""
    events.close()
    client.close()


def test_a_drain_ends_streams_and_waits_for_nobody_else(node: Node) -> None:
    client, events = node.read()

    assert isinstance(node.ask(Drain()), Drained)

    assert "being stopped" in line(events)
    assert line(events) == ""
    events.close()
    client.close()
    assert not node.health().ready


def test_the_end_of_the_node_ends_streams_too(node: Node) -> None:
    client, events = node.read()

    assert node.system.shutdown()

    assert "being stopped" in line(events)
    assert line(events) == ""
    events.close()
    client.close()


def test_a_reader_that_goes_away_is_forgotten(node: Node) -> None:
    client, events = node.read()
    assert dict(node.health().facts)["requests"] == "1"

    events.close()
    client.close()

    number = 1
    while dict(node.health().facts)["requests"] != "0":
        node.ask(Say(number=number), "intent")
        number += 1


def test_a_controller_that_is_denied_reads_no_more(node: Node) -> None:
    client, events = node.read()

    assert isinstance(node.ask(Reload(deny=("reader",))), Reloaded)
    node.ask(Say(number=1), "intent")

    assert line(events) == ""
    events.close()
    client.close()
    until(lambda: dict(node.health().facts)["requests"] == "0")
