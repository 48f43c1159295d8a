"""What our own side of a connection makes of octets: one request at a time, whatever they are."""

import asyncio
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etsi.http.servers import thin_connection
from etsi.http.servers.thin_connection import Connection
from tests.kit.site import ID_0, Site, options, read, request

ENC, DEC = "/api/v1/keys/sae-2/enc_keys", f"/api/v1/keys/sae-2/dec_keys?key_ID={ID_0}"
CHUNKED = request("POST", ENC, None, "Transfer-Encoding: chunked")
LAST = request("GET", ENC, None, "Connection: close")
ROW = (
    request("GET", ENC)
    + request("POST", ENC, {"number": 2})
    + CHUNKED
    + b'7;a=b\r\n{"size"\r\n5\r\n:256}\r\n0\r\nA: b\r\n\r\n'
    + b"\r\n"
    + request("GET", "/nothing")
    + CHUNKED
    + b"4\r\n\r\n\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    + LAST
)
ANSWERS = [200, 200, 200, 404, 200, 200]


async def all_of(site: Site, pieces: Sequence[bytes]) -> list[int]:
    """Send pieces, each read by itself; return the statuses until the server closes."""
    reader, writer = await site.connect()
    for piece in pieces:
        writer.write(piece)
        await asyncio.sleep(0)
    found = []
    while True:
        try:
            found.append((await read(reader)).status)
        except (asyncio.IncompleteReadError, ConnectionError):
            break
    writer.close()
    return found


def ask(site: Site, *pieces: bytes) -> list[int]:
    found = site.run(all_of(site, pieces))
    assert isinstance(found, list)
    return found


def only(site: Site) -> Connection:
    (connection,) = site.connections.live
    assert isinstance(connection, Connection)
    return connection


def tasks(site: Site) -> int:
    """How many requests are being answered."""
    assert isinstance(site.connections, thin_connection.Connections)
    return len(site.connections.tasks)


# Several in a row


@given(st.lists(st.integers(0, len(ROW)), max_size=12))
def test_requests_in_a_row_are_the_same_wherever_their_octets_are_split(places: list[int]) -> None:
    site = Site(options())
    at = sorted({0, len(ROW), *places})

    found = ask(site, *(ROW[a:b] for a, b in pairwise(at)))
    site.close()

    assert found == ANSWERS
    assert len(site.desk.asked) == 5


def test_requests_in_a_row_are_the_same_octet_by_octet(site: Site) -> None:
    assert ask(site, *(ROW[at : at + 1] for at in range(len(ROW)))) == ANSWERS


def test_what_stands_behind_a_request_stays_octets_and_nothing_more_is_read(site: Site) -> None:
    async def story() -> None:
        site.desk.hold = asyncio.Event()
        reader, writer = await site.connect()
        writer.write(request("GET", ENC) * 100)
        while not site.desk.asked:
            await asyncio.sleep(0)
        connection = only(site)
        before = len(connection._ahead)
        for _ in range(100):
            writer.write(bytes(1 << 16))
            await asyncio.sleep(0)
        assert before == len(connection._ahead) == 99 * len(request("GET", ENC))
        assert len(site.desk.asked) == 1
        assert tasks(site) == 1
        site.desk.hold.set()
        assert [(await read(reader)).status for _ in range(101)] == [200] * 100 + [400]
        writer.close()

    site.run(story())


def test_nonsense_behind_a_request_is_refused_after_its_answer(site: Site) -> None:
    assert ask(site, request("GET", ENC) + b"nonsense\r\n\r\n" + LAST) == [200, 400]


# What could be read in two ways


@pytest.mark.parametrize(
    "octets",
    [
        LAST.replace(b"\r\n", b"\n"),
        LAST.replace(b"HTTP/1.1\r\n", b"HTTP/1.1\n"),
        request("GET", ENC, None, "A: b\r\n c"),
        request("GET", ENC, None, "A : b"),
        request("GET", ENC, None, "Host: other"),
        LAST.replace(b"Host: kms\r\n", b""),
        request("POST", ENC, {}, "Content-Length: 2"),
        request("POST", ENC, {}, "Transfer-Encoding: chunked"),
        request("POST", ENC, None, "Content-Length: 2, 2") + b"{}",
        request("POST", ENC, None, "Content-Length: +2") + b"{}",
        request("POST", ENC, None, "Content-Length: " + "0" * 5_000 + "2") + b"{}",
        request("POST", ENC, None, "Content_Length: 2") + b"{}",
        request("POST", ENC, None, *["Transfer-Encoding: chunked"] * 2) + b"0\r\n\r\n",
        request("POST", ENC, None, "Transfer-Encoding: identity") + b"{}",
        request("POST", ENC, None, "Transfer-Encoding: chunked, identity") + b"{}",
        CHUNKED.replace(b"/1.1", b"/1.0") + b"2\r\n{}\r\n0\r\n\r\n",
        CHUNKED + b"2\n{}\n0\n\n",
        CHUNKED + b"0x2\r\n{}\r\n0\r\n\r\n",
        CHUNKED + b"1\r\n{}\r\n0\r\n\r\n",
        CHUNKED + b"2\r\n{}\r\n0\r\nContent-Length: 50\r\n\r\n",
        CHUNKED + b"2\r\n{}\r\n0\r\n" + b"A: b\r\n" * 64 + b"\r\n",
        CHUNKED + b"2;" + b"a" * 2_000_000 + b"\r\n{}\r\n0\r\n\r\n",
        request("POST", ENC, {}, "Connection: Upgrade", "Upgrade: h2c"),
        LAST.replace(ENC.encode(), b"kms:443"),
        LAST.replace(ENC.encode(), b"*"),
        LAST.replace(ENC.encode(), b"ftp://kms" + ENC.encode()),
        LAST.replace(b"GET", b"get"),
    ],
)
def test_a_request_in_doubt_is_refused_and_nothing_behind_it_is_read(
    site: Site, octets: bytes
) -> None:
    assert ask(site, octets + LAST) == [400]
    assert site.desk.asked == []


def test_a_head_is_refused_once_it_is_too_long_and_not_at_its_end(site: Site) -> None:
    for start in (b"GET /", b"GET / HTTP/1.1\r\nA: "):
        assert ask(site, start, *[b"a" * 1_000] * 9) == [400]


# Forms of one request


@pytest.mark.parametrize("place", ["https://kms", "http://kms:80", "HTTPS://other"])
def test_the_absolute_form_is_as_good(site: Site, place: str) -> None:
    assert site.get(place + ENC).status == 200
    assert site.get(place).status == 404
    assert site.get(f"{place}?number=1").status == 404


def test_a_client_of_http_1_0_needs_no_host(site: Site) -> None:
    assert site.send(f"GET {ENC} HTTP/1.0\r\n\r\n".encode()).status == 200


def test_an_answer_to_head_has_the_length_and_no_body(site: Site) -> None:
    async def story() -> None:
        reader, writer = await site.connect()
        writer.write(request("HEAD", ENC) + LAST)
        refused = await read(reader, head=True)
        assert (refused.status, refused.headers["Allow"]) == (405, "GET, POST")
        assert int(refused.headers["Content-Length"]) > 0
        assert (await read(reader)).status == 200
        writer.close()

    site.run(story())


def test_a_connection_goes_on_after_an_upgrade_that_was_not_taken_up(site: Site) -> None:
    head = request("GET", ENC, None, "Connection: Upgrade", "Upgrade: h2c")

    assert ask(site, head + head + LAST) == [200, 200, 200]


# Bodies that nobody wanted


def test_a_connection_stays_if_the_body_comes_soon_after_the_answer(site: Site) -> None:
    async def story() -> list[int]:
        reader, writer = await site.connect()
        writer.write(request("POST", "/nothing", None, "Content-Length: 2"))
        found = [(await read(reader)).status]
        writer.write(b"{}" + LAST)
        found.append((await read(reader)).status)
        writer.close()
        return found

    assert site.run(story()) == [404, 200]


def test_a_connection_ends_if_the_body_never_comes(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thin_connection, "_LINGER_S", 0.02)

    assert ask(site, request("POST", "/nothing", None, "Content-Length: 2") + b"{") == [404]


def test_a_body_that_breaks_off_spends_nothing(site: Site) -> None:
    async def story() -> None:
        _, writer = await site.connect()
        writer.write(request("POST", ENC, None, "Content-Length: 20") + b"{")
        while not tasks(site):
            await asyncio.sleep(0)
        writer.close()
        while site.connections.live or tasks(site):
            await asyncio.sleep(0)

    site.run(story())

    assert site.desk.asked == []
    assert site.pipeline.in_flight.total == 0


def test_a_connection_dismissed_while_a_body_comes_gets_its_answer_first(site: Site) -> None:
    async def story() -> list[int]:
        reader, writer = await site.connect()
        writer.write(request("POST", ENC, None, "Content-Length: 2") + b"{")
        while not tasks(site):
            await asyncio.sleep(0)
        only(site).dismiss()
        writer.write(b"}" + LAST)
        found = [(await read(reader)).status]
        assert await reader.read() == b""
        writer.close()
        return found

    assert site.run(story()) == [200]
