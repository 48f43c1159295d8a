"""HTTP that is none: request lines, fields and framing that a parser could read in two ways."""

import random

import pytest

from tests.doors.https import ENC, STATUS, Attacker, request
from tests.doors.tally import Tally
from tests.doors.town import Town

pytestmark = pytest.mark.slow

DOOR = "HTTP"
GET = f"GET {STATUS} ".encode()
HOST = b"\r\nHost: kms\r\n\r\n"
CHUNKED = b"2\r\n{}\r\n0\r\n\r\n"
SMUGGLED = request("GET", ENC, "Connection: close")
"""Stands behind a request whose end is in doubt: it must not be answered then."""
SEED = 20_260
MUTANTS = 1_500
PARTS = (b"\r\n", b"\n", b"\r", b"\0", b" ", b":", b"Content-Length: 7\r\n", b"0\r\n\r\n", b"\xff")


def lines() -> dict[str, bytes]:
    """Request lines, of which none is one."""
    return {
        "version 0.9": GET + b"HTTP/0.9" + HOST,
        "no version": GET + b"\r\n\r\n",
        "version 1.2": GET + b"HTTP/1.2" + HOST,
        "version 2.0": GET + b"HTTP/2.0" + HOST,
        "version 9.9": GET + b"HTTP/9.9" + HOST,
        "version 1.1.1": GET + b"HTTP/1.1.1" + HOST,
        "version in small letters": GET + b"http/1.1" + HOST,
        "tabs": GET.replace(b" ", b"\t") + b"HTTP/1.1" + HOST,
        "no path": b"GET HTTP/1.1" + HOST,
        "NUL in path": b"GET /\0 HTTP/1.1" + HOST,
        "CR in path": b"GET /\r/ HTTP/1.1" + HOST,
        "raw UTF-8 in path": "GET /größe HTTP/1.1".encode() + HOST,
        "control in path": b"GET /\x01 HTTP/1.1" + HOST,
        "raw octet in query": GET.strip() + b"?\xff HTTP/1.1" + HOST,
        "back slashes": rb"GET \api\v1 HTTP/1.1" + HOST,
        "method in small letters": b"get /openapi.json HTTP/1.1" + HOST,
        "unknown method": b"BREW /openapi.json HTTP/1.1" + HOST,
        "long method": b"A" * 100_000 + b" / HTTP/1.1" + HOST,
        "long path": b"GET /" + b"a" * 9_000 + b" HTTP/1.1" + HOST,
        "authority as path": b"GET evil:443 HTTP/1.1" + HOST,
        "a star as path": b"GET * HTTP/1.1" + HOST,
        "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "SSH": b"SSH-2.0-OpenSSH\r\n",
        "TLS in TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc" + bytes(500),
        "NULs": bytes(100),
    }


def fields() -> dict[str, bytes]:
    """Header fields that are none, too many, or too large."""
    wrong = {
        "no colon": "abc",
        "space before the colon": "Abc : d",
        "folded": "Abc: d\r\n e",
        "space before the first": " Abc: d",
        "NUL in value": "Abc: a\0b",
        "CR in value": "Abc: a\rb",
        "LF in value": "Abc: a\nContent-Length: 2",
        "bracket in name": "A(b: c",
        "no name": ": c",
        "octet above ASCII in name": "\xff\xfe: c",
        "second Host": "Host: other",
        "large": "A: " + "b" * 9_000,
        "very large": "A: " + "b" * 1_000_000,
    }
    made = {name: request("GET", STATUS, text) for name, text in wrong.items()}
    for n in (65, 1_000):
        made[f"{n} fields"] = request("GET", STATUS, *(f"A{i}: b" for i in range(n)))
    made["no Host"] = GET + b"HTTP/1.1\r\n\r\n"
    made["bare LF"] = request().replace(b"\r\n", b"\n")
    made["one bare LF"] = GET + b"HTTP/1.1\nHost: kms\r\n\r\n"
    return made


def framing() -> dict[str, bytes]:
    """Requests whose end is where the reader wants it to be."""
    lengths = ("+2", "-2", "0x2", "2 2", "2, 2", "2_0", "2\x0b", "9" * 30, "", "two", "2;", "²")
    made = {f"length {text!a}": post(f"Content-Length: {text}") for text in lengths}
    codings: tuple[str, ...] = (
        "identity",
        "chunked, identity",
        "xchunked",
        "\x0bchunked",
        "gzip",
        "chunked, gzip",
    )
    codings += (
        "identity, chunked",
        "gzip, chunked",
        "chunked, chunked",
        "chunked;q=1",
        '"chunked"',
    )
    for text in codings:
        made[f"coding {text!a}"] = post(f"Transfer-Encoding: {text}", body=CHUNKED)
    coded = "Transfer-Encoding: chunked"
    made |= {
        "length and coding": post("Content-Length: 2", coded, body=b"0\r\n\r\n"),
        "coding and length": post(coded, "Content-Length: 6", body=b"0\r\n\r\nG"),
        "equal lengths": post("Content-Length: 2", "Content-Length: 2"),
        "two lengths": post("Content-Length: 2", "Content-Length: 0"),
        "two codings": post(coded, coded, body=CHUNKED),
        "two other codings": post(coded, "Transfer-Encoding: identity", body=CHUNKED),
        "coding with a space": post("Transfer-Encoding : chunked", body=CHUNKED),
        "folded coding": post("Transfer-Encoding:\r\n chunked", body=CHUNKED),
        "coding of HTTP/1.0": post(coded, body=CHUNKED).replace(b"/1.1", b"/1.0"),
        "length behind a CR": post("X: a\rContent-Length: 2"),
        "length behind an LF": post("X: a\nContent-Length: 2"),
        "length and NUL": post("Content-Length\0: 2"),
        "length with underscore": post("Content_Length: 2"),
    }
    chunks = {
        "in hex": b"0x2\r\n{}\r\n0\r\n\r\n",
        "negative": b"-2\r\n{}\r\n0\r\n\r\n",
        "past 64 bits": b"ffffffffffffffff1\r\n{}\r\n0\r\n\r\n",
        "with bare LFs": b"2\n{}\n0\n\n",
        "too short": b"1\r\n{}\r\n0\r\n\r\n",
        "with an LF in its extension": b"2;\n{}\r\n0\r\n\r\n",
        "with a space": b"2 \r\n{}\r\n0\r\n\r\n",
        "with a length behind it": b"2\r\n{}\r\n0\r\nContent-Length: 50\r\n\r\n",
        "with 5,000 fields behind it": b"2\r\n{}\r\n0\r\n" + b"A: b\r\n" * 5_000 + b"\r\n",
        "without a size": b"\r\n{}\r\n0\r\n\r\n",
    }
    return made | {f"chunk {name}": post(coded, body=body) for name, body in chunks.items()}


def post(*more: str, body: bytes = b"{}") -> bytes:
    return request("POST", ENC, *more, body=body)


@pytest.mark.parametrize("kind", [lines, fields])
def test_a_head_that_is_none_is_refused_and_its_connection_closed(
    town: Town, tally: Tally, kind: object
) -> None:
    inputs = lines() if kind is lines else fields()

    heard = Attacker(town).volley(
        [octets + tail for octets in inputs.values() for tail in (b"", SMUGGLED)], to_the_end=True
    )

    for name, each in zip([name for name in inputs for _ in range(2)], heard, strict=True):
        tally.note(DOOR, "request lines" if kind is lines else "header fields", each.outcome)
        assert (each.statuses, each.closed, each.clear) == ((400,), True, True), name


def test_a_request_whose_end_is_in_doubt_is_refused_and_nothing_behind_it_is_read(
    town: Town, tally: Tally
) -> None:
    inputs = framing()

    heard = Attacker(town).volley(
        [octets + SMUGGLED for octets in inputs.values()], to_the_end=True
    )

    for name, each in zip(inputs, heard, strict=True):
        tally.note(DOOR, "framing", each.outcome)
        assert (each.statuses, each.closed, each.clear) == ((400,), True, True), name


def test_requests_in_a_row_are_answered_in_order_and_the_row_ends_at_nonsense(
    town: Town, tally: Tally
) -> None:
    row = b"".join([request("GET", STATUS)] * 500)
    ends = {"close": SMUGGLED, "nonsense": b"nonsense\r\n\r\n" + SMUGGLED}

    heard = Attacker(town).volley([row + octets for octets in ends.values()], to_the_end=True)

    tally.note(DOOR, "pipelined", "answered in order", sum(len(each.statuses) for each in heard))
    assert heard[0].statuses == (*[200] * 500, 200)
    assert heard[1].statuses[-1] == 400  # what came in one packet with nonsense is not answered
    assert set(heard[1].statuses[:-1]) == {200}
    assert all(each.closed for each in heard)


def test_mutants_of_good_requests_are_answered_or_cut(town: Town, tally: Tally) -> None:
    dice = random.Random(SEED)
    body = b'{"number": 1, "size": 256}'
    good = [
        request("GET", STATUS, "Accept: */*"),
        request("GET", f"{ENC}?number=1&size=256"),
        request("POST", ENC, f"Content-Length: {len(body)}", body=body),
        request(
            "POST", ENC, "Transfer-Encoding: chunked", body=b"1a\r\n" + body + b"\r\n0\r\n\r\n"
        ),
    ]

    heard = Attacker(town).volley([mutant(dice.choice(good), dice) for _ in range(MUTANTS)])

    for each in heard:
        tally.note(DOOR, "mutants of requests", each.outcome)
        assert each.statuses or each.closed
        assert each.clear, each
    assert {each.outcome for each in heard} <= {
        "cut", "200", "400", "401", "404", "405", "408", "413", "415", "503",
    }  # fmt: skip


def mutant(octets: bytes, dice: random.Random) -> bytes:
    """Change, take out, double or put in something, once to three times."""
    for _ in range(dice.randint(1, 3)):
        at = dice.randrange(len(octets))
        end = min(len(octets), at + dice.choice((1, 1, 2, 8, 40)))
        what = dice.choice(
            (b"", octets[at:end] * 2, bytes([dice.randrange(256)]), dice.choice(PARTS))
        )
        octets = octets[:at] + what + octets[end:]
    return octets


def test_requests_that_stop_anywhere_are_cut_in_time(town: Town, tally: Tally) -> None:
    whole = post("Content-Length: 2")

    heard = Attacker(town).volley([whole[:n] for n in range(len(whole))])

    for each in heard:
        tally.note(DOOR, "requests that stop", each.outcome)
        assert each.outcome in {"cut", "408"}
