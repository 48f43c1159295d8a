"""The front end as it runs: an actor, its HTTP server, TLS, sockets on loopback."""

import http.client
import json
import socket
import ssl
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import uvloop

from actors.base import Actor, handles
from actors.protocol import keys, peers
from actors.protocol.common import Died, Drain, Drained, Health, Healthy
from actors.runtime.system import ThreadSystem
from etsi.gs014.frontend import Gs014Frontend
from etsi.gs014.options import Gs014Options
from etsi.http.limits import LIMITS, Limits
from etsi.http.servers.thin_server import ThinServer
from etsi.http.service import HttpDied, Reload, Reloaded
from protokms.node.meter import MemoryMeter
from tests.kit.authority import DAY, NOW, Authority
from tests.kit.site import HOMES, ID_0, answer
from transport.endpoint import Endpoint
from transport.envelope import Address
from transport.https import HttpsConnection, connect
from transport.message import Secret
from transport.stage import Stage

pytestmark = pytest.mark.slow

ENC = "/api/v1/keys/sae-2/enc_keys"
DEC = f"/api/v1/keys/sae-2/dec_keys?key_ID={ID_0}"


class Locating(Actor):
    """A peer manager that knows where all are."""

    @handles(peers.Subscribe)
    def subscribe(self, _: peers.Subscribe) -> None:
        self.tell(self.sender, peers.HomesChanged(serial=1, here="kms-1", pieces=1))

    @handles(peers.GetHomes)
    def get_homes(self, _: peers.GetHomes) -> peers.Homes:
        return HOMES


class FullStore(Actor):
    """A key store that has everything; `outcome` tells what became of a receipt."""

    def __init__(self, system: ThreadSystem, name: str, outcome: list[str]) -> None:
        super().__init__(system, name)
        self._outcome = outcome

    @handles(keys.GetKey)
    def get_key(self, ask: keys.GetKey) -> Any:
        return answer(ask)

    @handles(keys.GetKeyWithIds)
    def get_key_with_ids(self, ask: keys.GetKeyWithIds) -> Any:
        return answer(ask)

    @handles(keys.GetStatus)
    def get_status(self, ask: keys.GetStatus) -> Any:
        return answer(ask)

    @handles(keys.Written)
    def written(self, _: keys.Written) -> None:
        self._outcome.append("written")

    @handles(keys.Broken)
    def broken(self, _: keys.Broken) -> None:
        self._outcome.append("broken")


class Mourner(Actor):
    """A supervisor that only notes who died."""

    def __init__(self, system: ThreadSystem, name: str, dead: list[str]) -> None:
        super().__init__(system, name)
        self._dead = dead

    @handles(Died)
    def died(self, news: Died) -> None:
        self._dead.append(news.name)


class Node:
    """One node with a front end, a peer manager and a key store."""

    def __init__(self, authority: Authority) -> None:
        self.authority, self.folder = authority, authority.folder
        self.outcome: list[str] = []
        self.dead: list[str] = []
        self.meter = MemoryMeter()
        self.stage = Stage("kms-1", self.dead.append, uvloop.new_event_loop)
        self.system = ThreadSystem("kms-1", self.meter, stage=self.stage)
        self.here = Address("etsi014", "kms-1")
        self.port = 0
        self.options, self.limits = self.make_options(), LIMITS
        authority.issue("kme", dns=("localhost",))
        authority.issue("sae-1")

    def make_options(self, **changes: Any) -> Gs014Options:
        values: dict[str, Any] = {
            "bind": Endpoint("127.0.0.1", 0),
            "certificate": self.folder / "kme.crt",
            "key": self.folder / "kme.key",
            "client_ca": self.authority.path,
        }
        return Gs014Options(**(values | changes))

    def spawn(self, parent: Address | None = None) -> None:
        args = self.options, False, partial(ThinServer, limits=self.limits)
        self.system.spawn("etsi014", Gs014Frontend, *args, parent=parent)

    def start(self, limits: Limits = LIMITS, **changes: Any) -> None:
        """Start the actors and learn the port."""
        self.options, self.limits = self.make_options(**changes), limits
        self.system.spawn("mourner", Mourner, self.dead)
        self.system.spawn("peer_manager", Locating)
        self.system.spawn("key_store/kms-2", FullStore, self.outcome)
        mourner = Address("mourner", "kms-1")
        self.spawn(mourner)
        while not (health := self.health()).ready:
            assert not self.dead
        self.port = int(dict(health.facts)["address"].rpartition(":")[2])

    def ask(self, body: Any) -> Any:
        return self.system.ask(self.here, body, 10).result(10)

    def health(self) -> Healthy:
        found = self.ask(Health())
        assert isinstance(found, Healthy)
        return found

    def context(self, name: str | None = "sae-1") -> ssl.SSLContext:
        """Make what a client with that certificate uses."""
        context = ssl.create_default_context(cafile=str(self.folder / "ca.crt"))
        context.check_hostname = False
        if name:
            context.load_cert_chain(self.folder / f"{name}.crt", self.folder / f"{name}.key")
        return context

    def client(self, name: str | None = "sae-1") -> http.client.HTTPSConnection:
        return HttpsConnection("127.0.0.1", self.port, timeout=10, context=self.context(name))

    def get(self, path: str, name: str | None = "sae-1") -> tuple[int, Any]:
        """GET on a connection of its own."""
        client = self.client(name)
        try:
            return fetch(client, path)
        finally:
            client.close()


def fetch(client: http.client.HTTPConnection, path: str) -> tuple[int, Any]:
    client.request("GET", path)
    response = client.getresponse()
    return response.status, json.loads(response.read())


def until(true: Callable[[], object]) -> None:
    """Wait for another thread; pytest-timeout ends it if that never comes."""
    while not true():
        pass


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    made = Node(Authority(tmp_path))
    yield made
    assert made.system.shutdown()
    made.stage.stop()


def test_an_sae_gets_keys_over_tls_and_the_store_hears_that_they_were_written(node: Node) -> None:
    node.start()

    made, fetched = node.get(ENC), node.get(DEC)

    assert (made[0], fetched[0]) == (200, 200)
    assert len(made[1]["keys"]) == 1
    until(lambda: node.outcome)
    assert node.outcome == ["written"]


def test_http_1_1_over_tls_1_3_and_1_2_without_tickets(node: Node) -> None:
    node.start()
    found = []
    for version in (ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2):
        context = node.context()
        context.maximum_version = context.minimum_version = version
        with connect(context, ("127.0.0.1", node.port)) as secure:
            secure.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: k\r\nConnection: close\r\n\r\n")
            assert secure.recv(12) == b"HTTP/1.1 200"
            session = secure.session
            cipher = secure.cipher()
            assert cipher
            found.append((secure.version(), bool(session and session.has_ticket), cipher[0]))
            while secure.recv(65536):
                pass

    assert [row[:2] for row in found] == [("TLSv1.3", False), ("TLSv1.2", False)]
    assert found[1][2].startswith("ECDHE-")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_tls_1_1_is_refused(node: Node) -> None:
    node.start()
    context = node.context()
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")

    with pytest.raises(ssl.SSLError):
        connect(context, ("127.0.0.1", node.port))


def failed(client: http.client.HTTPConnection) -> None:
    """Check that this client gets nothing, whatever its TLS library calls that."""
    with pytest.raises((OSError, http.client.HTTPException)):
        fetch(client, ENC)
    client.close()


def test_without_a_certificate_or_with_one_of_another_ca_there_is_no_connection(
    node: Node, tmp_path: Path
) -> None:
    Authority(tmp_path, "stranger").issue("mallory", common="sae-1")
    node.start()

    failed(node.client(None))
    failed(node.client("mallory"))

    until(lambda: node.meter.value("protokms_http_refused", reason="handshake") == 2)


def test_an_expired_certificate_is_refused(node: Node) -> None:
    node.authority.issue("old", common="sae-1", not_after=NOW - DAY)
    node.start()

    failed(node.client("old"))


def test_plain_http_is_refused(node: Node) -> None:
    node.start()

    failed(http.client.HTTPConnection("127.0.0.1", node.port, timeout=10))

    assert node.get(ENC)[0] == 200


@pytest.mark.parametrize("source", ["cn", "san_uri", "san_dns"])
def test_the_identity_comes_from_the_field_configured(node: Node, source: str) -> None:
    fields: dict[str, Any] = {
        "cn": {},
        "san_uri": {"uris": ("sae-1",)},
        "san_dns": {"dns": ("sae-1",)},
    }
    common = "sae-1" if source == "cn" else "mallory"
    node.authority.issue("client", common=common, **fields[source])
    node.start(sae_id_from=source)

    assert node.get(ENC, "client")[0] == 200


def test_a_fingerprint_is_an_identity_too(node: Node) -> None:
    node.start(sae_id_from="fingerprint")

    status, body = node.get(ENC)

    assert status == 401
    assert "is not known in this network" in body["message"]


def test_a_denied_sae_is_cut_in_the_middle_of_its_connection(node: Node) -> None:
    node.authority.issue("sae-1b")
    node.start()
    client, other = node.client(), node.client("sae-1b")
    first = fetch(client, ENC)
    fetch(other, ENC)

    reloaded = node.ask(Reload(deny=("sae-1",)))

    assert first[0] == 200
    assert isinstance(reloaded, Reloaded)
    assert client.sock.recv(1) == b""
    assert node.get(ENC) == (
        401,
        {"message": "this SAE is denied", "details": [{"code": "not_authenticated"}]},
    )
    assert fetch(other, ENC)[0] == 200
    client.close()
    other.close()


def test_a_revoked_certificate_is_refused_once_the_list_is_read_again(node: Node) -> None:
    bad = node.authority.issue("sae-1")
    node.authority.issue("sae-1b")
    node.start(crl=node.authority.revoke())
    client, other = node.client(), node.client("sae-1b")
    first = fetch(client, ENC)
    fetch(other, ENC)

    node.authority.revoke(bad)
    node.ask(Reload())

    assert first[0] == 200
    assert client.sock.recv(1) == b""
    failed(node.client("sae-1"))
    assert fetch(other, ENC)[0] == 200
    assert node.get(ENC, "sae-1b")[0] == 200
    client.close()
    other.close()


def test_a_revoked_issuing_ca_cuts_the_connections_of_its_clients(node: Node) -> None:
    issuing = Authority(node.folder, "issuing", node.authority)
    issuing.issue("sae-1", above=issuing.pem)
    node.authority.issue("sae-1b")
    crl = node.folder / "lists.pem"
    crl.write_bytes(node.authority.revoke().read_bytes() + issuing.revoke().read_bytes())
    node.start(crl=crl)
    client, other = node.client(), node.client("sae-1b")
    first = fetch(client, ENC)
    fetch(other, ENC)

    revoked = node.authority.revoke(issuing.certificate)
    crl.write_bytes(revoked.read_bytes() + issuing.revoke().read_bytes())
    node.ask(Reload())

    assert first[0] == 200
    assert client.sock.recv(1) == b""
    failed(node.client("sae-1"))
    assert fetch(other, ENC)[0] == 200
    client.close()
    other.close()


def test_with_another_ca_all_have_to_shake_hands_again(node: Node, tmp_path: Path) -> None:
    node.start()
    client = node.client()
    fetch(client, ENC)

    (tmp_path / "new").mkdir()
    new = Authority(tmp_path / "new")
    node.authority.path.write_bytes(new.path.read_bytes())
    node.ask(Reload())

    assert client.sock.recv(1) == b""
    client.close()
    failed(client)  # it connects again
    until(lambda: node.meter.value("protokms_http_refused", reason="handshake") == 1)


def test_files_that_cannot_be_used_are_named_and_the_deny_list_acts(node: Node) -> None:
    node.start()
    node.options.certificate.write_text("noise")

    answered = node.ask(Reload(deny=("sae-1",)))

    assert isinstance(answered, Reloaded)
    assert "kme.crt" in answered.kept[0]
    assert node.get(ENC)[0] == 401
    node.authority.issue("kme", dns=("localhost",))
    applied = "certificate", "deny", "key"
    assert node.ask(Reload(deny=())) == Reloaded(applied=applied)
    assert node.get(ENC)[0] == 200


def test_a_connection_reset_before_the_answer_gives_the_keys_back(node: Node) -> None:
    node.start()
    client = node.client()
    fetch(client, ENC)
    store = Address("key_store/kms-2", "kms-1")
    hold = HeldStore.hold(node)

    client.request("GET", DEC)
    until(lambda: hold.asked)
    client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    until(lambda: node.ask(Health()).facts[2] == ("connections", "0"))
    hold.release(store)

    until(lambda: node.outcome)
    assert node.outcome == ["broken"]


class HeldStore:
    """An inbox in the place of a key store, which answers when told to."""

    def __init__(self, node: Node) -> None:
        self._node, self.asked = node, list[Any]()

    @classmethod
    def hold(cls, node: Node) -> "HeldStore":
        made = cls(node)
        node.system.stop("key_store/kms-2")
        node.system.register("key_store/kms-2", made)
        return made

    def tell(self, envelope: Any, /) -> None:
        if envelope.token:
            self.asked.append(envelope)
        else:
            self._node.outcome.append(type(envelope.body).__name__.lower())

    def release(self, store: Address, body: Any = None) -> None:
        for asked in self.asked:
            made = body or answer(asked.body)
            sent = asked._replace(sender=store, to=asked.sender, body=made, answer=True)
            self._node.system.send(sent)


@pytest.mark.parametrize("reads", [True, False])
def test_written_means_that_the_kernel_has_taken_all_of_a_long_answer(
    node: Node, reads: bool
) -> None:
    node.start(Limits(write_timeout_s=5.0 if reads else 0.5))
    hold, client = HeldStore.hold(node), node.client()
    secrets = (Secret(bytes(1 << 23)),)

    client.request("GET", DEC)
    until(lambda: hold.asked)
    hold.release(Address("key_store/kms-2", "kms-1"), keys.KeysWithIds(octets=secrets, receipt=1))
    if reads:
        assert len(client.getresponse().read()) > 1 << 23
    until(lambda: node.outcome)

    assert node.outcome == ["written" if reads else "broken"]
    client.close()


def test_an_answer_after_the_time_out_gives_the_keys_back(node: Node) -> None:
    node.start(request_timeout_s=0.05)
    hold = HeldStore.hold(node)

    status, body = node.get(DEC)
    hold.release(Address("key_store/kms-2", "kms-1"))

    assert status == 503
    assert body["details"] == [{"code": "timeout"}]
    until(lambda: node.outcome)
    assert node.outcome == ["broken"]


def test_a_client_that_never_shakes_hands_is_cut(node: Node) -> None:
    node.start(Limits(handshake_timeout_s=0.1))

    with socket.create_connection(("127.0.0.1", node.port), 10) as plain:
        assert plain.recv(1) == b""
    assert node.get(ENC)[0] == 200


def test_a_drain_closes_the_door_and_is_answered(node: Node) -> None:
    node.start()
    client = node.client()
    fetch(client, ENC)

    drained = node.ask(Drain())

    assert isinstance(drained, Drained)
    assert fetch(client, ENC)[0] == 503
    with pytest.raises(OSError, match="refused"):
        node.get(ENC)
    assert node.health().reasons == ("draining",)
    client.close()


def test_the_actor_dies_with_its_thread_and_a_fresh_one_gets_the_port(node: Node) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    node.start(bind=Endpoint("127.0.0.1", port))

    node.ask(HttpDied(why="RuntimeError"))
    until(lambda: node.dead)
    node.spawn()
    until(lambda: node.health().ready)

    assert node.dead == ["etsi014"]
    assert node.get(ENC)[0] == 200


def test_an_address_that_is_taken_is_a_death_with_its_reason(node: Node) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        node.system.spawn("mourner", Mourner, node.dead)
        node.options = node.make_options(bind=Endpoint("127.0.0.1", port))
        node.spawn(Address("mourner", "kms-1"))
        until(lambda: node.dead)

    assert node.dead == ["etsi014"]


def test_health_says_why_nobody_is_served(node: Node) -> None:
    node.authority.issue("kme", dns=("localhost",), not_after=NOW - DAY)
    node.spawn()

    health = node.health()

    assert not health.ready
    assert set(health.reasons) == {
        "the directory is not known yet",
        f"the server certificate: CN=kme has expired on {NOW - DAY:%F %T} UTC",
    }
