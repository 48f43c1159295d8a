"""What every HTTP server of a front end does: limits, slow clients, handshakes, drain, reload."""

import asyncio
import contextlib
import http.client
import json
import socket
import ssl
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import structlog
import uvloop
from msgspec import structs

from etsi.http import tls
from etsi.http.call import Call, Caller
from etsi.http.identity import by_certificate
from etsi.http.limits import LIMITS, Limits
from etsi.http.options import HttpOptions
from etsi.http.pipeline import RequestPipeline
from etsi.http.reply import Problem, Reply
from etsi.http.server import Server, Serving
from etsi.http.servers.aiohttp_server import AiohttpServer
from etsi.http.servers.thin_server import ThinServer
from protokms.node.meter import MemoryMeter
from tests.kit.authority import Authority
from tests.kit.site import Answer, request
from transport.endpoint import Endpoint
from transport.https import connect
from transport.stage import Stage

pytestmark = pytest.mark.slow

Make = Callable[[Serving, Limits], Server]
SERVERS = [pytest.param(AiohttpServer, id="aiohttp"), pytest.param(ThinServer, id="thin")]
SOON = 0.1
LONG = bytes(1 << 24)
"""More than the kernel takes from a server whose client does not read."""
PIECES = {"stream": b"first", "flood": LONG}


class Bench:
    """One server with an API of its own: `/`, `/body`, `/long`, streams, `/hold` until told."""

    def __init__(self, make: Make, authority: Authority) -> None:
        self._make, self.authority = make, authority
        self.meter, self.died, self.written = MemoryMeter(), list[str](), list[bool]()
        self.stage = Stage("contract", self.died.append, uvloop.new_event_loop)
        self.loop = self.stage.loop
        self.arrived, self._hold = 0, asyncio.Event()
        for name in ("kme", "sae-1", "sae-2"):
            authority.issue(name, dns=("localhost",))

    def start(self, limits: Limits = LIMITS, **changes: Any) -> None:
        """Start the server and learn its port."""
        folder, bind = self.authority.folder, Endpoint("127.0.0.1", 0)
        files = {"certificate": folder / "kme.crt", "key": folder / "kme.key"}
        values = {"bind": bind, "client_ca": self.authority.path, **files, **changes}
        self.options = HttpOptions(**values)
        log = structlog.get_logger()
        self.pipeline = RequestPipeline(self._api, self.options, log, self.meter, "life")
        self.server = self._make(
            Serving(
                options=self.options,
                pipeline=self.pipeline,
                identify=by_certificate("cn"),
                loop=self.loop,
                log=log,
                meter=self.meter,
                died=self.died.append,
            ),
            limits,
        )
        self.address = self.server.start(tls.server_context(self.options))

    def stop(self) -> None:
        self.release()
        if hasattr(self, "server"):
            self.server.stop()
        self.stage.stop()

    def release(self) -> None:
        """Let requests for `/hold` be answered."""
        self.loop.call_soon_threadsafe(self._hold.set)

    def context(self, sae: str = "sae-1") -> ssl.SSLContext:
        folder = self.authority.folder
        made = ssl.create_default_context(cafile=str(self.authority.path))
        made.check_hostname = False
        made.load_cert_chain(folder / f"{sae}.crt", folder / f"{sae}.key")
        return made

    def connect(self, sae: str = "sae-1") -> ssl.SSLSocket:
        """Open a connection; its handshake is done, and the server knows of it."""
        return connect(self.context(sae), self.address)

    def get(self, path: str, sae: str = "sae-1") -> Answer:
        """GET on a connection of its own."""
        with self.connect(sae) as client:
            return ask(client, request("GET", path))

    def refused(self, reason: str) -> float:
        return self.meter.value("protokms_http_refused", reason=reason)

    async def _api(self, call: Call) -> Reply:
        self.arrived += 1
        name, body = call.path[0], b"{}"
        if name == "hold":
            await self._hold.wait()
        elif name == "body":
            body = json.dumps({"octets": len(await call.body())}).encode()
        elif name == "long":
            body = b'"' + LONG.hex().encode() + b'"'
        elif name in PIECES:
            stream = self._pieces(PIECES[name])
            return Reply(200, b"", settle=self.written.append, stream=stream)
        elif name:
            raise Problem(404, "no_such_path", "there is nothing at this path")
        return Reply(200, body, settle=self.written.append)

    async def _pieces(self, piece: bytes) -> AsyncGenerator[bytes, None]:
        """Bring a piece at once, and the last one when requests for `/hold` are answered."""
        yield piece
        await self._hold.wait()
        yield b"last"


@pytest.fixture(params=SERVERS)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    made = Bench(request.param, Authority(tmp_path))
    yield made
    made.stop()


def ask(client: socket.socket, octets: bytes) -> Answer:
    client.sendall(octets)
    return hear(client)


def hear(client: socket.socket) -> Answer:
    """Read one response."""
    response = http.client.HTTPResponse(client)
    response.begin()
    body = response.read()
    return Answer(response.status, dict(response.getheaders()), json.loads(body))


def begun(client: socket.socket, path: str) -> http.client.HTTPResponse:
    """Ask, and read the head of the response."""
    client.sendall(request("GET", path))
    response = http.client.HTTPResponse(client)
    response.begin()
    return response


def code(answer: Answer) -> Any:
    return answer.json["details"][0]["code"]


def closed(client: socket.socket) -> bool:
    """Wait until the server closes the connection."""
    try:
        while client.recv(1 << 16):
            pass
    except (ConnectionError, ssl.SSLEOFError):
        pass
    return True


def until(true: Callable[[], object]) -> None:
    """Wait for another thread; pytest-timeout ends it if that never comes."""
    while not true():
        pass


@contextlib.contextmanager
def idle(bench: Bench, address: str = "127.0.0.1") -> Iterator[socket.socket]:
    """Connect from an address, and never shake hands."""
    with socket.create_connection(bench.address, 10, (address, 0)) as client:
        yield client


async def at_once(bench: Bench, clients: int) -> list[int]:
    """Connect so many clients together; each asks once, and stays until all have their answer."""
    context, (host, port) = bench.context(), bench.address
    everybody = asyncio.Barrier(clients)

    async def one() -> int:
        reader, writer = await asyncio.open_connection(host, port, ssl=context)
        try:
            writer.write(request("GET", "/"))
            head = await reader.readuntil(b"\r\n\r\n")
            await everybody.wait()
            return int(head.split()[1])
        finally:
            writer.transport.abort()

    return await asyncio.gather(*(one() for _ in range(clients)))


# Serving


def test_requests_are_answered_over_connections_that_stay(bench: Bench) -> None:
    bench.start()

    with bench.connect() as client:
        first = ask(client, request("GET", "/"))
        second = ask(client, request("POST", "/body", b"12345"))
        third = ask(client, request("GET", "/nothing"))
        fourth = ask(client, request("GET", "/"))
        connections = bench.server.connections

    assert [each.status for each in (first, second, third, fourth)] == [200, 200, 404, 200]
    assert first.headers["Content-Type"] == "application/json"
    assert first.headers["Cache-Control"] == "no-store"
    assert second.json == {"octets": 5}
    assert connections == 1
    until(lambda: bench.server.connections == 0)


def test_http_1_0_and_its_end_of_connection(bench: Bench) -> None:
    bench.start()

    with bench.connect() as client:
        answer = ask(client, request("GET", "/").replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert closed(client)

    assert answer.status == 200


def test_an_address_that_is_taken_is_an_error_that_names_it(bench: Bench) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"127.0.0.1:{port} is occupied by"):
            bench.start(bind=Endpoint("127.0.0.1", port))

    assert bench.died == []


def test_an_answer_counts_as_written_once_the_client_has_read_it(bench: Bench) -> None:
    bench.start()

    with bench.connect() as client:
        client.sendall(request("GET", "/long"))
        until(lambda: bench.arrived)
        before = list(bench.written)
        answer = hear(client)

    assert (before, answer.status) == ([], 200)
    until(lambda: bench.written == [True])


# Limits


@pytest.mark.parametrize("changes", [{"max_connections": 1}, {"max_connections_per_sae": 1}])
def test_connections_past_the_limit_are_told_and_cut(bench: Bench, changes: dict[str, Any]) -> None:
    bench.start(**changes)

    with bench.connect() as first, bench.connect() as second:
        ask(first, request("GET", "/"))
        refused = ask(second, request("GET", "/"))
        assert closed(second)
        kept = ask(first, request("GET", "/"))

    assert (refused.status, code(refused)) == (503, "too_many_connections")
    assert kept.status == 200
    until(lambda: bench.server.connections == 0)
    assert bench.get("/").status == 200


def test_another_sae_has_connections_of_its_own(bench: Bench) -> None:
    bench.start(max_connections_per_sae=1)

    with bench.connect() as first:
        ask(first, request("GET", "/"))
        other = bench.get("/", "sae-2")

    assert other.status == 200


def test_requests_past_the_limit_are_told_to_come_back(bench: Bench) -> None:
    bench.start(max_in_flight_per_sae=1)

    with bench.connect() as first:
        first.sendall(request("GET", "/hold"))
        until(lambda: bench.arrived)
        refused, other = bench.get("/"), bench.get("/", "sae-2")
        bench.release()
        served = hear(first)

    assert (refused.status, code(refused)) == (503, "busy")
    assert (other.status, served.status) == (200, 200)


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_a_body_past_the_limit_is_refused_and_its_connection_closed(
    bench: Bench, framing: str
) -> None:
    bench.start(max_body_octets=1_024)
    if framing == "length":
        octets = request("POST", "/body", None, "Content-Length: 1025")
    else:
        octets = request("POST", "/body", None, "Transfer-Encoding: chunked")
        octets += b"401\r\n" + bytes(1_025) + b"\r\n0\r\n\r\n"

    with bench.connect() as client:
        answer = ask(client, octets)
        assert closed(client)

    assert (answer.status, code(answer)) == (413, "too_large")


@pytest.mark.parametrize(
    "head",
    [
        request("GET", "/" + "a" * LIMITS.max_head_octets),
        request("GET", "/", None, "A: " + "b" * 2 * LIMITS.max_head_octets),
        request("GET", "/", None, *(f"A{n}: b" for n in range(LIMITS.max_head_fields))),
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.2\r\nHost: kms\r\n\r\n",
        request("POST", "/body", None, "Transfer-Encoding: gzip, chunked"),
        request("POST", "/body", None, "Content-Length: 2", "Transfer-Encoding: chunked"),
        request("POST", "/body", None, "Content-Length: 2", "Content-Length: 3"),
    ],
    ids=["line", "field", "fields", "none", "version", "coding", "two framings", "two lengths"],
)
def test_a_head_past_the_limits_or_in_doubt_is_refused_and_cut(bench: Bench, head: bytes) -> None:
    bench.start()

    with bench.connect() as client:
        answer = ask(client, head)
        assert closed(client)

    assert (answer.status, code(answer)) == (400, "bad_http")
    assert bench.arrived == 0
    assert bench.get("/").status == 200


# Slow clients


@pytest.mark.parametrize("start", [b"", b"GET / HTTP/1.1\r\nHost: "])
def test_a_slow_head_is_cut(bench: Bench, start: bytes) -> None:
    bench.start(Limits(head_timeout_s=SOON))

    with bench.connect() as client:
        client.sendall(start)
        assert closed(client)

    until(lambda: bench.refused("slow_head") == 1)


def test_a_slow_body_is_told_and_cut(bench: Bench) -> None:
    bench.start(Limits(body_timeout_s=SOON))

    with bench.connect() as client:
        answer = ask(client, request("POST", "/body", None, "Content-Length: 2") + b"{")
        assert closed(client)

    assert (answer.status, code(answer)) == (408, "slow")


def test_a_client_that_does_not_read_is_cut_and_its_answer_not_written(bench: Bench) -> None:
    bench.start(Limits(write_timeout_s=SOON))

    with bench.connect() as client:
        client.sendall(request("GET", "/long"))
        until(lambda: bench.written)
        assert closed(client)

    assert bench.written == [False]
    assert bench.refused("not_written") == 1


def test_a_stream_is_written_piece_by_piece_and_ends_its_connection(bench: Bench) -> None:
    bench.start()

    with bench.connect() as client:
        response = begun(client, "/stream")
        first = response.read(5)
        bench.release()
        rest = response.read()
        assert closed(client)

    assert (response.status, first, rest) == (200, b"first", b"last")
    assert bench.written == [True]


def test_a_reader_of_a_stream_that_takes_nothing_is_cut(bench: Bench) -> None:
    bench.start(Limits(stream_timeout_s=SOON))

    with bench.connect() as client:
        client.sendall(request("GET", "/flood"))
        until(lambda: bench.written)
        assert closed(client)

    assert bench.written == [False]


def test_a_connection_without_requests_is_closed(bench: Bench) -> None:
    bench.start(Limits(idle_timeout_s=SOON))

    with bench.connect() as client:
        assert ask(client, request("GET", "/")).status == 200
        assert closed(client)


def test_a_client_that_goes_away_has_its_answer_not_written(bench: Bench) -> None:
    bench.start()

    client = bench.connect()
    client.sendall(request("GET", "/hold"))
    until(lambda: bench.arrived)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    until(lambda: bench.server.connections == 0)
    bench.release()

    until(lambda: bench.written)
    assert bench.written == [False]


# Handshakes


@pytest.mark.parametrize("octets", [b"GET / HTTP/1.1\r\nHost: kms\r\n\r\n", b"\x16\x03\x01\xff"])
def test_a_handshake_that_is_none_is_counted_and_cut(bench: Bench, octets: bytes) -> None:
    bench.start()

    with socket.create_connection(bench.address, 10) as plain:
        plain.sendall(octets)
        plain.shutdown(socket.SHUT_WR)
        assert closed(plain)

    until(lambda: bench.refused("handshake") == 1)
    assert bench.get("/").status == 200


def test_a_handshake_that_takes_long_is_cut(bench: Bench) -> None:
    bench.start(Limits(handshake_timeout_s=SOON))

    with socket.create_connection(bench.address, 10) as plain:
        assert closed(plain)

    until(lambda: bench.refused("handshake") == 1)


PATIENT = Limits(handshake_timeout_s=600.0, handshake_patience_s=600.0)
HASTY = Limits(handshake_timeout_s=600.0, handshake_patience_s=SOON)


@pytest.mark.parametrize("clients", [100, 128])
def test_a_hundred_clients_at_once_all_get_in(bench: Bench, clients: int) -> None:
    bench.start(PATIENT)

    statuses = asyncio.run(at_once(bench, clients))

    assert statuses == [200] * clients
    assert bench.refused("handshake") == 0


def test_who_comes_while_all_handshakes_are_taken_waits(bench: Bench) -> None:
    bench.start(PATIENT, max_handshakes=2)

    with ThreadPoolExecutor(1) as waiting:
        with idle(bench), idle(bench):
            answer = waiting.submit(bench.get, "/")
            with pytest.raises(TimeoutError):
                answer.result(SOON)
        assert answer.result().status == 200

    assert bench.arrived == 1


def test_a_slow_handshake_makes_room_for_who_waits(bench: Bench) -> None:
    bench.start(HASTY, max_handshakes=1)

    with idle(bench) as slow:
        served = bench.get("/")
        assert closed(slow)

    assert served.status == 200
    assert bench.refused("handshake") == 1


def test_the_address_with_most_handshakes_makes_room_first(bench: Bench) -> None:
    bench.start(Limits(handshake_timeout_s=600.0, handshake_patience_s=0.0), max_handshakes=3)

    with idle(bench, "127.0.0.2") as single, idle(bench) as first, idle(bench) as second:
        assert bench.get("/").status == 200  # one: the place of its own handshake is free later
        assert closed(first)
        for other in (single, second):
            other.setblocking(False)
            with pytest.raises(BlockingIOError):
                other.recv(1)
        refused = bench.refused("handshake")  # before the others go, which counts as well

    assert refused == 1


def test_as_many_as_may_be_open_wait_in_the_kernel(bench: Bench) -> None:
    bench.start(PATIENT, max_handshakes=1, max_connections=400)

    with contextlib.ExitStack() as stack:
        taken = stack.enter_context(idle(bench))
        waiting = [stack.enter_context(idle(bench)) for _ in range(400)]
        taken.close()

    assert len(waiting) == 400


# Drain, reload, stop


def test_a_drain_takes_no_connections_and_answers_what_is_open(bench: Bench) -> None:
    bench.start()
    done = list[bool]()

    with bench.connect() as busy, bench.connect() as idle:
        ask(idle, request("GET", "/"))
        busy.sendall(request("GET", "/hold"))
        until(lambda: bench.arrived == 2)
        bench.server.stop_listening()
        bench.loop.call_soon_threadsafe(bench.pipeline.drain, lambda: done.append(True))
        refused = ask(idle, request("GET", "/"))
        before = list(done)
        bench.release()
        served = hear(busy)

    assert (refused.status, code(refused)) == (503, "draining")
    assert (served.status, before) == (200, [])
    until(lambda: done == [True])
    with pytest.raises(ConnectionRefusedError):
        bench.get("/")


def test_renewing_closes_the_unwelcome_and_leaves_the_others(bench: Bench) -> None:
    bench.start()

    def unwelcome(caller: Caller) -> bool:
        return caller.sae == "sae-1"

    with bench.connect() as denied, bench.connect("sae-2") as other:
        for client in (denied, other):
            ask(client, request("GET", "/"))
        bench.server.renew(tls.server_context(bench.options), unwelcome, bench.options)
        assert closed(denied)
        assert ask(other, request("GET", "/")).status == 200


def test_renewing_waits_for_the_answer_of_a_request_in_flight(bench: Bench) -> None:
    bench.start()

    with bench.connect() as busy, bench.connect() as idle:
        ask(idle, request("GET", "/"))
        busy.sendall(request("GET", "/hold"))
        until(lambda: bench.arrived == 2)
        bench.server.renew(tls.server_context(bench.options), lambda _: True, bench.options)
        assert closed(idle)
        bench.release()
        answer = hear(busy)
        assert closed(busy)

    assert answer.status == 200


def test_renewing_does_not_wait_for_the_end_of_a_stream(bench: Bench) -> None:
    bench.start()

    with bench.connect() as denied, bench.connect("sae-2") as other:
        streams = [begun(client, "/stream") for client in (denied, other)]
        assert [stream.read(5) for stream in streams] == [b"first"] * 2
        context = tls.server_context(bench.options)
        bench.server.renew(context, lambda caller: caller.sae == "sae-1", bench.options)
        assert closed(denied)
        bench.release()
        assert streams[1].read() == b"last"

    until(lambda: len(bench.written) == 2)
    assert sorted(bench.written) == [False, True]


def test_renewing_uses_the_new_context_for_new_connections(bench: Bench, tmp_path: Path) -> None:
    bench.start()
    (tmp_path / "new").mkdir()
    new = Authority(tmp_path / "new")
    for name in ("kme", "sae-1"):
        new.issue(name, dns=("localhost",))
    folder = new.folder
    crt, key = folder / "kme.crt", folder / "kme.key"
    options = HttpOptions(bind=bench.options.bind, certificate=crt, key=key, client_ca=new.path)

    bench.server.renew(tls.server_context(options), lambda _: True, options)

    with pytest.raises(ssl.SSLCertVerificationError):
        bench.get("/")
    bench.authority = new
    assert bench.get("/").status == 200


def resize(bench: Bench, **changes: Any) -> None:
    """Reload limits alone; on return they are in use."""
    options = structs.replace(bench.options, **changes)
    bench.server.renew(tls.server_context(options), lambda _: False, options)
    bench.loop.call_soon_threadsafe(bench.pipeline.resize, options)
    done: Future[None] = Future()
    bench.loop.call_soon_threadsafe(done.set_result, None)
    done.result(10.0)


@pytest.mark.parametrize("limit", ["max_connections", "max_connections_per_sae"])
def test_renewing_uses_a_new_limit_of_connections_and_closes_none(bench: Bench, limit: str) -> None:
    bench.start()
    with bench.connect() as first, bench.connect() as second:
        for client in (first, second):
            assert ask(client, request("GET", "/")).status == 200

        resize(bench, **{limit: 1})

        assert code(bench.get("/")) == "too_many_connections"
        assert ask(first, request("GET", "/")).status == 200
        assert ask(second, request("GET", "/")).status == 200
    resize(bench, **{limit: 5})
    assert bench.get("/").status == 200


def test_renewing_uses_a_new_limit_of_requests_in_flight(bench: Bench) -> None:
    bench.start()
    with bench.connect() as busy:
        busy.sendall(request("GET", "/hold"))
        until(lambda: bench.arrived == 1)

        resize(bench, max_in_flight_per_sae=1)

        assert code(bench.get("/")) == "busy"
        resize(bench, max_in_flight_per_sae=2)
        assert bench.get("/").status == 200
        bench.release()
        assert hear(busy).status == 200


def test_renewing_uses_a_new_limit_of_octets_of_a_body(bench: Bench) -> None:
    bench.start()
    body = request("POST", "/body", b" " * 2_000)
    with bench.connect() as client:
        assert ask(client, body).status == 200

        resize(bench, max_body_octets=1_024)

        assert ask(client, body).status == 413


def test_renewing_uses_a_new_limit_of_handshakes(bench: Bench) -> None:
    bench.start(PATIENT, max_handshakes=1)
    with idle(bench):  # has the only place
        resize(bench, max_handshakes=2)

        assert bench.get("/").status == 200


def test_a_stop_closes_everything_and_frees_the_port(bench: Bench) -> None:
    bench.start()

    with bench.connect() as idle, bench.connect() as busy:
        ask(idle, request("GET", "/"))
        busy.sendall(request("GET", "/hold"))
        until(lambda: bench.arrived == 2)
        bench.server.stop()
        bench.server.stop()
        assert closed(idle)
        assert closed(busy)

    with socket.create_server(bench.address):
        pass
    assert bench.written in ([True], [True, False])
    assert bench.died == []
