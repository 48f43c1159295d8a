"""What all requests have in common: who is let in, limits, slow and broken clients, bad HTTP."""

import asyncio
import io
import json
import time
from typing import Any

import pytest
import structlog

from actors.protocol import keys
from etsi.http.call import Caller
from etsi.http.identity import DenyList
from etsi.http.limits import ConcurrencyLimit, Limits
from etsi.http.request_line import RequestLine
from etsi.http.servers import aiohttp_connection, thin_server
from protokms.node import logs
from tests.kit.site import ID_0, Answer, Site, options, read, request
from transport.message import Message, Secret

ENC, DEC = "/api/v1/keys/sae-2/enc_keys", f"/api/v1/keys/sae-2/dec_keys?key_ID={ID_0}"
WRITTEN = ("key_store/kms-2@kms-1", keys.Written(receipt=77))
BROKEN = ("key_store/kms-2@kms-1", keys.Broken(receipt=77))


@pytest.fixture(
    autouse=True,
    params=[
        pytest.param(aiohttp_connection.Connections, id="aiohttp"),
        pytest.param(thin_server.speak, id="thin"),
    ],
)
def speak(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """What follows holds for the connections of each server."""
    monkeypatch.setattr(Site, "speak", request.param)


def code(answer: Answer) -> str:
    """Return the code of an error."""
    assert type(answer.json["message"]) is str
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Content-Type"] == "application/json"
    found = answer.json["details"][0]["code"]
    assert isinstance(found, str)
    return found


async def ended(reader: asyncio.StreamReader) -> bytes:
    """Read to the end of the connection."""
    try:
        return await reader.read()
    except ConnectionError:
        return b""


# Who is not served


@pytest.mark.parametrize(
    ("caller", "message"),
    [
        (Caller("sae-1", trouble="no client certificate"), "no client certificate"),
        (Caller("sae-1", fingerprint="ab" * 32), "this SAE is denied"),
        (Caller("sae-1b"), "this SAE is denied"),
        (Caller("sae-1", issuer=b"ca", serial=7), "the client certificate is revoked"),
        (
            Caller("sae-1", not_after=5.0),
            "the client certificate, or a CA of it, has expired",
        ),
    ],
)
def test_a_denied_caller_is_told_why_and_cut(site: Site, caller: Caller, message: str) -> None:
    site.caller = caller
    site.pipeline.deny_list = DenyList(frozenset(("sae-1b", "ab" * 32)), frozenset([(b"ca", 7)]))

    answer = site.get("/openapi.json")

    assert answer.status == 401
    assert answer.json["message"] == message
    assert answer.headers["Connection"] == "close"


def test_a_new_deny_list_acts_on_an_open_connection(site: Site) -> None:
    async def story() -> list[int]:
        reader, writer = await site.connect()
        writer.write(request("GET", ENC))
        first = await read(reader)
        site.pipeline.deny_list = DenyList(frozenset(["sae-1"]))
        writer.write(request("GET", ENC))
        second = await read(reader)
        assert await ended(reader) == b""
        writer.close()
        return [first.status, second.status]

    assert site.run(story()) == [200, 401]
    assert len(site.desk.asked) == 1


# Limits


def test_requests_past_the_limit_of_one_sae_are_told_to_come_back() -> None:
    site = Site(options(max_in_flight_per_sae=1))

    async def story() -> Answer:
        site.desk.hold = asyncio.Event()
        reader, writer = await site.connect("sae-1")
        writer.write(request("GET", ENC))
        while not site.desk.asked:
            await asyncio.sleep(0)
        other, pen = await site.connect("sae-1")
        pen.write(request("GET", ENC))
        second = await read(other)
        third, pencil = await site.connect("sae-1b")
        pencil.write(request("GET", ENC))
        while len(site.desk.asked) < 2:
            await asyncio.sleep(0)
        site.desk.hold.set()
        assert (await read(reader)).status == 200
        assert (await read(third)).status == 200
        for one in (writer, pen, pencil):
            one.close()
        return second

    refused = site.run(story())
    site.close()

    assert refused.status == 503
    assert code(refused) == "busy"
    assert refused.headers["Retry-After"] == "1"
    assert site.pipeline.in_flight.total == 0


def test_connections_past_the_limit_of_one_sae_are_told_and_cut() -> None:
    site = Site(options(max_connections_per_sae=1))

    async def story() -> tuple[Answer, Answer]:
        _, first = await site.connect("sae-1")
        reader, second = await site.connect("sae-1")
        second.write(request("GET", ENC))
        refused = await read(reader)
        await ended(reader)
        first.close()
        await first.wait_closed()
        while site.connections.live:
            await asyncio.sleep(0)
        reader, third = await site.connect("sae-1")
        third.write(request("GET", ENC))
        served = await read(reader)
        second.close()
        third.close()
        return refused, served

    refused, served = site.run(story())
    site.close()

    assert refused.status == 503
    assert code(refused) == "too_many_connections"
    assert served.status == 200


def test_open_things_are_limited_in_all_and_per_sae() -> None:
    limit = ConcurrencyLimit(3, 2)

    taken = [limit.acquire(sae) for sae in ("a", "a", "a", "b", "c")]
    limit.release("a")

    assert taken == [True, True, False, True, False]
    assert limit.acquire("c")
    assert not limit.acquire("a")
    assert limit.total == 3


def test_a_body_past_the_limit_is_refused_before_it_is_read(site: Site) -> None:
    head = request("POST", ENC, None, "Content-Length: 65537")

    answer = site.send(head)

    assert answer.status == 413
    assert code(answer) == "too_large"
    assert answer.headers["Connection"] == "close"


def test_a_body_in_chunks_is_limited_too(site: Site) -> None:
    head = request("POST", ENC, None, "Transfer-Encoding: chunked")
    chunk = b"8000\r\n" + b" " * 0x8000 + b"\r\n"

    assert site.send(head + b"2\r\n{}\r\n0\r\n\r\n").status == 200
    assert site.send(head + chunk * 3 + b"0\r\n\r\n").status == 413


def test_a_compressed_body_is_refused(site: Site) -> None:
    assert site.send(request("POST", ENC, b"{}", "Content-Encoding: gzip")).status == 415


def test_a_client_that_waits_for_an_invitation_gets_one(site: Site) -> None:
    async def story() -> tuple[bytes, Answer]:
        reader, writer = await site.connect()
        head = request("POST", ENC, None, "Content-Length: 2", "Expect: 100-continue")
        writer.write(head)
        invited = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"{}")
        answer = await read(reader)
        writer.close()
        return invited, answer

    invited, answer = site.run(story())

    assert invited.startswith(b"HTTP/1.1 100 ")
    assert answer.status == 200


# Slow clients


def test_a_slow_head_is_cut() -> None:
    site = Site(options(), limits=Limits(head_timeout_s=0.02))

    async def story() -> bytes:
        reader, writer = await site.connect()
        writer.write(b"GET /api/v1/keys/sae-2/enc_keys HTTP/1.1\r\nHost: ")
        rest = await ended(reader)
        writer.close()
        return rest

    rest = site.run(story())
    site.close()

    assert rest == b""
    assert site.meter.value("protokms_http_refused", reason="slow_head") == 1


def test_a_head_that_comes_in_pieces_but_in_time_is_served(site: Site) -> None:
    async def story() -> list[int]:
        reader, writer = await site.connect()
        (connection,) = site.connections.live
        found = []
        for _ in range(3):
            for piece in (b"GET ", ENC.encode(), b" HTTP/1.1\r\nHost: k\r\n\r\n"):
                writer.write(piece)
                await asyncio.sleep(0)
            found.append((await read(reader)).status)
        site.connections.head_s, usual = 0.0, site.connections.head_s
        connection._look()  # the timer of an earlier head
        site.connections.head_s = usual
        writer.write(request("GET", ENC))
        found.append((await read(reader)).status)
        writer.close()
        return found

    assert site.run(story()) == [200, 200, 200, 200]


def test_a_slow_body_is_told_and_cut() -> None:
    site = Site(options(), limits=Limits(body_timeout_s=0.02))

    async def story() -> Answer:
        reader, writer = await site.connect()
        writer.write(request("POST", ENC, None, "Content-Length: 2") + b"{")
        answer = await read(reader)
        writer.close()
        return answer

    answer = site.run(story())
    site.close()

    assert answer.status == 408
    assert code(answer) == "slow"


@pytest.mark.parametrize("limits", [Limits(idle_timeout_s=0.02), Limits(head_timeout_s=0.02)])
def test_a_connection_that_says_nothing_is_closed(limits: Limits) -> None:
    site = Site(options(), limits=limits)

    async def story() -> bytes:
        reader, writer = await site.connect()
        rest = await ended(reader)
        writer.close()
        return rest

    assert site.run(story()) == b""
    site.close()


# Written or broken


def test_keys_whose_connection_broke_meanwhile_may_be_asked_for_again(site: Site) -> None:
    async def story() -> None:
        site.desk.hold = asyncio.Event()
        _, writer = await site.connect()
        writer.write(request("GET", DEC))
        while not site.desk.asked:
            await asyncio.sleep(0)
        writer.close()
        while site.connections.live:
            await asyncio.sleep(0)
        site.desk.hold.set()
        while not site.desk.told:
            await asyncio.sleep(0)

    site.run(story())

    assert site.desk.told == [BROKEN]


def test_keys_that_a_client_does_not_read_may_be_asked_for_again() -> None:
    site = Site(options(), limits=Limits(write_timeout_s=0.05))
    many = tuple(Secret(bytes(20_000)) for _ in range(100))

    def much(_: Message) -> Message:
        return keys.KeysWithIds(octets=many, receipt=77)

    async def story() -> None:
        site.desk.answer = much
        _, writer = await site.connect()
        ids = [keys.key_id(bytes(12), index) for index in range(100)]
        writer.write(request("POST", DEC.partition("?")[0], {"key_IDs": ids}))
        while not site.desk.told:
            await asyncio.sleep(0)
        writer.close()

    site.run(story())
    site.close()

    assert site.desk.told == [BROKEN]
    assert site.meter.value("protokms_http_refused", reason="not_written") == 1


def test_a_long_answer_counts_as_written_once_the_client_has_read_enough(site: Site) -> None:
    many = tuple(Secret(bytes(20_000)) for _ in range(100))
    site.desk.answer = lambda _: keys.KeysWithIds(octets=many, receipt=77)
    before: list[Any] = []

    async def story() -> Answer:
        reader, writer = await site.connect()
        ids = [keys.key_id(bytes(12), index) for index in range(100)]
        writer.write(request("POST", DEC.partition("?")[0], {"key_IDs": ids}))
        await reader.readuntil(b"{")
        for _ in range(50):
            await asyncio.sleep(0)
        before.extend(site.desk.told)
        rest = b""
        while not rest.endswith(b"]}"):
            rest += await reader.read(1 << 16)
        while not site.desk.told:
            await asyncio.sleep(0)
        writer.write(request("GET", ENC))
        site.desk.answer = lambda _: keys.Stock(stored=1, capacity=1)
        answer = await read(reader)
        writer.close()
        return answer

    site.run(story())

    assert before == []
    assert site.desk.told == [WRITTEN]


def test_a_server_that_stops_gives_unwritten_keys_back(site: Site) -> None:
    async def story() -> None:
        site.desk.hold = asyncio.Event()
        _, writer = await site.connect()
        writer.write(request("GET", DEC))
        while not site.desk.asked:
            await asyncio.sleep(0)
        stopping = asyncio.create_task(site.connections.shutdown(0.5))
        await asyncio.sleep(0)
        site.desk.hold.set()
        await stopping
        writer.close()

    site.run(story())

    assert site.desk.told in ([WRITTEN], [BROKEN])


def test_a_connection_dismissed_in_a_request_gets_its_answer_first(site: Site) -> None:
    async def story() -> tuple[int, bytes]:
        site.desk.hold = asyncio.Event()
        reader, writer = await site.connect()
        writer.write(request("GET", ENC))
        while not site.desk.asked:
            await asyncio.sleep(0)
        (connection,) = site.connections.live
        connection.dismiss()
        site.desk.hold.set()
        answer = await read(reader)
        rest = await ended(reader)
        writer.close()
        return answer.status, rest

    assert site.run(story()) == (200, b"")


# Draining


def test_a_drain_waits_for_what_is_open_and_lets_nothing_in(site: Site) -> None:
    done: list[bool] = []

    async def story() -> tuple[Answer, Answer]:
        site.desk.hold = asyncio.Event()
        reader, writer = await site.connect()
        writer.write(request("GET", ENC))
        while not site.desk.asked:
            await asyncio.sleep(0)
        site.pipeline.drain(lambda: done.append(True))
        assert done == []
        other, pen = await site.connect()
        pen.write(request("GET", ENC))
        refused = await read(other)
        site.desk.hold.set()
        served = await read(reader)
        writer.close()
        pen.close()
        return served, refused

    served, refused = site.run(story())

    assert served.status == 200
    assert refused.status == 503
    assert code(refused) == "draining"
    assert done == [True]


def test_a_drain_with_nothing_open_is_done_at_once(site: Site) -> None:
    done: list[bool] = []

    site.pipeline.drain(lambda: done.append(True))

    assert done == [True]
    assert site.get(ENC).status == 503


# HTTP that is none


@pytest.mark.parametrize(
    "octets",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: k\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: k\r\nX: " + b"a" * 9000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: k\r\n" + b"X: y\r\n" * 100 + b"\r\n",
        b"POST / HTTP/1.1\r\nHost: k\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        b"POST / HTTP/1.1\r\nHost: k\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: k\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        b"GET / HTTP/1.1\r\nHost : k\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: k\r\n X: folded\r\nY\x00: z\r\n\r\n",
    ],
)
def test_what_is_no_http_gets_a_json_error_and_is_cut(site: Site, octets: bytes) -> None:
    async def story() -> Answer:
        reader, writer = await site.connect()
        writer.write(octets)
        answer = await read(reader)
        assert await ended(reader) == b""
        writer.close()
        return answer

    answer = site.run(story())

    assert answer.status == 400
    assert code(answer) == "bad_http"
    assert site.get(ENC).status == 200


def test_a_broken_chunk_is_a_400_and_spends_nothing(site: Site) -> None:
    head = request("POST", ENC, None, "Transfer-Encoding: chunked")

    answer = site.send(head + b"zz\r\n{}\r\n0\r\n\r\n")

    assert answer.status == 400
    assert site.desk.asked == []


def test_what_is_smuggled_behind_a_request_is_a_request_of_the_same_caller(site: Site) -> None:
    async def story() -> list[int]:
        reader, writer = await site.connect("sae-1")
        writer.write(request("GET", ENC) + request("POST", ENC, {}) + request("HEAD", ENC))
        found = [(await read(reader)).status for _ in range(2)]
        found.append((await read(reader, head=True)).status)
        writer.close()
        return found

    assert site.run(story()) == [200, 200, 405]
    assert {question.master for _, question in site.desk.asked} == {"sae-1"}  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "head",
    [
        ("Connection: Upgrade", "Upgrade: websocket"),
        ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk"),
    ],
)
def test_an_upgrade_is_not_taken_up(site: Site, head: tuple[str, ...]) -> None:
    assert site.send(request("GET", ENC, None, *head)).status == 200


def test_connect_is_refused(site: Site) -> None:
    assert site.send(b"CONNECT kms-1:443 HTTP/1.1\r\nHost: kms-1\r\n\r\n").status in (404, 405)


@pytest.mark.parametrize(
    ("version", "asks", "says"),
    [
        ("1.1", "keep-alive", None),
        ("1.1", "close", "close"),
        ("1.0", "keep-alive", "keep-alive"),
        ("1.0", "close", "close"),
    ],
)
@pytest.mark.parametrize("path", [ENC, "/nothing"])
def test_a_connection_stays_or_ends_as_the_client_asks(
    site: Site, version: str, asks: str, says: str | None, path: str
) -> None:
    octets = f"GET {path} HTTP/{version}\r\nHost: k\r\nConnection: {asks}\r\n\r\n".encode()

    async def story() -> tuple[Answer, Answer | None]:
        reader, writer = await site.connect()
        writer.write(octets)
        first, second = await read(reader), None
        if asks == "close":
            assert await ended(reader) == b""
        else:
            writer.write(octets)
            second = await read(reader)
        writer.close()
        return first, second

    first, second = site.run(story())

    assert first.status == (200 if path == ENC else 404)
    assert first.headers.get("Connection") in (says, None)
    assert asks == "close" or second.status == first.status


def test_every_answer_has_a_date_and_hides_which_software_runs(site: Site) -> None:
    for path in (ENC, "/nothing"):
        headers = site.get(path).headers

        assert headers["Date"].endswith(" GMT")
        assert headers["Server"] == "protokms"


def test_a_crash_in_a_handler_is_told_as_our_own_fault(site: Site) -> None:
    def fall(_: Message) -> Message:
        raise ZeroDivisionError("secret")

    site.desk.answer = fall

    answer = site.get(ENC)

    assert answer.status == 503
    assert code(answer) == "internal"
    assert "secret" not in str(answer)
    assert site.pipeline.in_flight.total == 0


def test_a_crash_outside_of_the_handler_is_told_in_the_same_way(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fall(*_: Any) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(site.pipeline, "_admit", fall)

    answer = site.get(ENC)

    assert answer.status == 503
    assert code(answer) == "internal"
    assert int(answer.headers["Retry-After"]) > 0
    assert "secret" not in str(answer)


def test_the_expiry_of_a_certificate_is_looked_at_in_every_request(site: Site) -> None:
    site.caller = Caller("sae-1", not_after=time.time() + 60)

    assert site.get(ENC).status == 200


@pytest.mark.parametrize("version", ["0.9", "2.0"])
def test_another_version_of_http_is_refused_and_cut(site: Site, version: str) -> None:
    answer = site.send(request("GET", ENC).replace(b"/1.1", f"/{version}".encode()))

    assert (answer.status, code(answer)) == (400, "bad_http")
    assert site.desk.asked == []


@pytest.mark.parametrize("coding", ["gzip, chunked", "identity, chunked"])
def test_a_transfer_coding_that_nobody_decodes_is_refused_and_cut(site: Site, coding: str) -> None:
    head = request("POST", ENC, None, f"Transfer-Encoding: {coding}")

    answer = site.send(head + b"2\r\n{}\r\n0\r\n\r\n")

    assert (answer.status, code(answer)) == (400, "bad_http")
    assert answer.headers["Connection"] == "close"
    assert site.desk.asked == []


# What a logger of a node's process is told


def test_each_request_is_one_line_of_the_log_of_a_process() -> None:
    before, out = structlog.get_config(), io.StringIO()
    try:
        logs.configure("json", out)
        site = Site(options())
        site.get(ENC)
        site.send(request("PUT", "/pot"))
        site.close()
    finally:
        structlog.configure(**before)

    good, bad = map(json.loads, out.getvalue().splitlines())
    assert list(good) == [*RequestLine.__struct_fields__, "event", "level", "timestamp"]
    assert (good["method"], good["route"], good["sae"], good["peer"]) == (
        "GET",
        "enc_keys",
        "sae-1",
        "sae-2",
    )
    assert (good["status"], good["keys"], good["code"]) == (200, 1, "")
    assert 0 < good["ms"] == round(good["ms"], 3)
    assert (bad["method"], bad["status"]) == ("PUT", 404)
