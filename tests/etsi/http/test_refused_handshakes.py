"""A refused handshake says why: alerts as real clients see them, TLS 1.2 and 1.3, both loops."""

import asyncio
import contextlib
import re
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
import uvloop
from structlog.testing import capture_logs

from etsi.http import tls
from etsi.http.call import Call
from etsi.http.identity import by_certificate
from etsi.http.limits import LIMITS
from etsi.http.options import HttpOptions
from etsi.http.pipeline import RequestPipeline
from etsi.http.reply import Reply
from etsi.http.server import Serving
from etsi.http.servers.aiohttp_server import AiohttpServer
from protokms.node.meter import MemoryMeter
from tests.kit.authority import DAY, NOW, Authority
from tests.kit.refused_clients import CLIENTS
from transport.endpoint import Endpoint
from transport.https import connect
from transport.stage import Stage

pytestmark = pytest.mark.slow

V12, V13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
REQUEST = b"GET / HTTP/1.1\r\nHost: kms\r\n\r\n"


async def nothing(_: Call) -> Reply:
    return Reply(200, b"{}")


class Door:
    """A server on a loop of this kind, and clients whom it refuses."""

    def __init__(self, folder: Path, new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
        self.authority = authority = Authority(folder)
        self.folder = folder
        authority.issue("kme", dns=("localhost",))
        authority.issue("good")
        authority.issue("expired", not_after=NOW - DAY)
        authority.issue("early", not_before=NOW + DAY / 2)
        lists = [authority.revoke(authority.issue("revoked"))]
        dates = {"late": {"due": NOW - DAY / 2}, "early": {"since": NOW + DAY / 2}}
        others = {when: Authority(folder, f"{when} CA") for when in ("late", "early", "no")}
        for when, ca in others.items():
            ca.issue(f"{when}-list")
        lists += [others[when].revoke(**each) for when, each in dates.items()]
        bundle, crl = folder / "bundle.pem", folder / "lists.pem"
        bundle.write_bytes(b"".join(ca.pem for ca in (authority, *others.values())))
        crl.write_bytes(b"".join(path.read_bytes() for path in lists))
        (folder / "foreign").mkdir()
        away = Authority(folder / "foreign", "foreign CA")
        away.issue("foreign")
        for kind in ("crt", "key"):
            shutil.copy(folder / f"foreign/foreign.{kind}", folder)
        self.meter = MemoryMeter()
        self.stage = Stage("refused", lambda _: None, new_loop)
        options = HttpOptions(
            bind=Endpoint("127.0.0.1", 0),
            certificate=folder / "kme.crt",
            key=folder / "kme.key",
            client_ca=bundle,
            crl=crl,
        )
        log = structlog.get_logger()
        serving = Serving(
            options=options,
            pipeline=RequestPipeline(nothing, options, log, self.meter, "life"),
            identify=by_certificate("cn"),
            loop=self.stage.loop,
            log=log,
            meter=self.meter,
            died=lambda _: None,
        )
        self.server = AiohttpServer(serving, LIMITS)
        self.address = self.server.start(tls.server_context(options))

    def close(self) -> None:
        self.server.stop()
        self.stage.stop()

    @property
    def place(self) -> str:
        return f"localhost:{self.address[1]}"

    def files(self, who: str) -> list[Path]:
        return [] if who == "nobody" else [self.folder / f"{who}.{kind}" for kind in ("crt", "key")]

    def context(self, who: str, version: ssl.TLSVersion) -> ssl.SSLContext:
        made = ssl.create_default_context(cafile=str(self.authority.path))
        made.minimum_version = made.maximum_version = version
        if who != "nobody":
            crt, key = self.files(who)
            made.load_cert_chain(crt, key)
        return made

    def knock(self, who: str, version: ssl.TLSVersion) -> None:
        """Ask for something, as soon as the client may: TLS 1.3 asks before it is refused."""
        made = self.context(who, version)
        with connect(made, self.address, name="localhost") as client:
            client.sendall(REQUEST)
            client.recv(1)

    def refused(self) -> float:
        return self.meter.value("protokms_http_refused", reason="handshake")


@pytest.fixture(params=LOOPS)
def door(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Door]:
    made = Door(tmp_path, LOOPS[request.param])
    yield made
    made.close()


@pytest.mark.parametrize("version", [V12, V13])
@pytest.mark.parametrize("who", CLIENTS)
def test_a_client_in_python_hears_the_alert(door: Door, who: str, version: ssl.TLSVersion) -> None:
    with pytest.raises(ssl.SSLError, match="alert") as told:
        door.knock(who, version)

    assert CLIENTS[who].alerts[version == V13] in str(told.value).replace("_", " ")


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
@pytest.mark.parametrize("who", CLIENTS)
def test_openssl_hears_the_alert(door: Door, who: str, version: str) -> None:
    files = door.files(who)
    args = ["-cert", str(files[0]), "-key", str(files[1])] if files else []
    command = ["openssl", "s_client", version, "-connect", door.place, "-ign_eof", *args]

    done = subprocess.run(command, input=REQUEST, capture_output=True, timeout=20, check=False)

    said = (done.stdout + done.stderr).decode(errors="replace")
    assert f"alert {CLIENTS[who].alerts[version == '-tls1_3']}" in said, said[-1500:]


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("who", CLIENTS)
def test_curl_hears_the_alert(door: Door, who: str, version: str) -> None:
    files = door.files(who)
    args = ["--cert", str(files[0]), "--key", str(files[1])] if files else []
    command = ["curl", "-sSv", f"--tlsv{version}", "--tls-max", version, *args]
    command += ["--cacert", str(door.authority.path), f"https://{door.place}/"]

    done = subprocess.run(command, capture_output=True, timeout=20, check=False)

    said = done.stderr.decode()
    alert = CLIENTS[who].alerts[version == "1.3"]
    assert re.search(f"alert,? {alert}", said, re.IGNORECASE), said


def test_a_hello_that_is_none_gets_an_alert_too(door: Door) -> None:
    with socket.create_connection(door.address, 10) as plain:
        plain.sendall(b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00")  # a hello of one octet
        assert plain.recv(7)[0] == 21  # the record type of an alert


@pytest.mark.parametrize("version", [V12, V13])
def test_a_client_that_is_silent_after_its_alert_loses_its_seat(
    door: Door, version: ssl.TLSVersion
) -> None:
    came, sent = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = door.context("expired", version).wrap_bio(came, sent, server_hostname="localhost")

    with socket.create_connection(door.address, 10) as raw:
        while not door.refused():
            with contextlib.suppress(ssl.SSLWantReadError):
                client.do_handshake()
            raw.sendall(sent.read())
            raw.settimeout(0.05)
            try:
                came.write(raw.recv(65_536))
            except TimeoutError:
                continue
            except ssl.SSLError:
                break
        began = time.monotonic()
        raw.settimeout(10)
        try:
            while raw.recv(65_536):
                pass
        except ConnectionError:
            pass

    assert time.monotonic() - began < 1.0


def test_a_client_that_talks_on_after_its_alert_costs_nothing(door: Door) -> None:
    with socket.create_connection(door.address, 10) as raw:
        raw.sendall(b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00")
        began = time.monotonic()
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - began < 5.0:
                raw.sendall(bytes(65_536))

    assert time.monotonic() - began < 5.0
    assert door.refused() == 1


def test_the_log_names_device_reason_and_issuer(door: Door) -> None:
    with capture_logs() as lines:
        for who in CLIENTS:
            for version in (V12, V13):
                with pytest.raises(ssl.SSLError):
                    door.knock(who, version)

    found: list[Any] = [
        (line["why"], line.get("name"), line.get("issuer"))
        for line in lines
        if line["event"] == "connection_refused"
    ]
    issuers = {"foreign": "foreign CA"} | {
        f"{when}-list": f"{when} CA" for when in ("late", "early", "no")
    }
    assert found == [
        (told.why, None, None)
        if who == "nobody"
        else (told.why, who, f"CN={issuers.get(who, 'ca')}")
        for who, told in CLIENTS.items()
    ]
    assert door.refused() == 2 * len(CLIENTS)


@pytest.mark.parametrize("version", [V12, V13])
def test_a_good_client_gets_in_and_its_chain_is_known(door: Door, version: ssl.TLSVersion) -> None:
    context = door.context("good", version)
    session = None
    for _ in range(2):  # the second one resumes the session of TLS 1.2
        with connect(context, door.address, name="localhost", session=session) as client:
            client.sendall(REQUEST)
            assert client.recv(12) == b"HTTP/1.1 200"
            session = client.session
