"""Well-formed HTTP with ill meant paths, queries and bodies."""

import http.client
import json
import random
from collections.abc import Iterator
from urllib.parse import quote

import pytest

from tests.doors.https import DEC, ENC, STATUS, Attacker, request
from tests.doors.tally import Tally
from tests.doors.town import THIEF, Town

pytestmark = pytest.mark.slow

DOOR = "HTTP"
SEED = 4_014
MUTANTS = 2_000
UUID = "00000000-0000-4000-8000-000000000000"
LONGEST = 65_536


def bombs() -> Iterator[bytes]:
    """JSON that is costly to read, or none."""
    for text in ("[", '{"a":', '[{"a":', '{"number":[', '"\\u'):
        yield text.encode() * (LONGEST // len(text))
    yield b"[" * 30_000 + b"]" * 30_000
    yield b'{"key_IDs":' + b"[" * 30_000 + b"]" * 30_000 + b"}"
    yield b'{"number":' + b"9" * 60_000 + b"}"
    yield b'{"number":-' + b"9" * 4_400 + b"}"
    yield b'{"number":1e' + b"9" * 60_000 + b"}"
    yield b'{"number":0.' + b"1" * 60_000 + b"}"
    yield b'{"number":"' + b"\\u0031" * 10_000 + b'"}'
    yield b"{" + b",".join(b'"k%d":0' % n for n in range(5_000)) + b',"k1":0}'
    yield b'{"key_IDs":[' + b",".join([b"{}"] * 20_000) + b"]}"
    yield b'{"key_IDs":[' + b",".join([b"0"] * 30_000) + b"]}"
    yield b'{"additional_slave_SAE_IDs":[' + b",".join([b'"a"'] * 15_000) + b"]}"
    yield b'{"extension_mandatory":[' + b",".join([b'{"a":1}'] * 7_000) + b"]}"
    yield b" " * LONGEST
    yield b"{" + b" " * (LONGEST - 1)


def noise() -> Iterator[bytes]:
    """What is no JSON, or no object, in many ways."""
    yield from (
        b"",
        b"{",
        b"}",
        b"null",
        b"true",
        b"0",
        b'""',
        b"[]",
        b"[{}]",
        b"{}{}",
        b"{},",
        b"{}x",
    )
    yield from (
        b"{'number':1}",
        b"{number:1}",
        b'{"number":1,}',
        b'{"number":01}',
        b'{"number":+1}',
    )
    yield from (b'{"number":.5}', b'{"number":1.}', b'{"number":0x1}', b'{"number":1_0}')
    yield from (b'{"number":NaN}', b'{"number":Infinity}', b'{"number":-Infinity}')
    yield from (b'// no\n{"number":1}', b'{/**/"number":1}', b"\xef\xbb\xbf{}", b"\0{}", b"{}\0")
    yield from ('{"number":1}'.encode(coding) for coding in ("utf-16", "utf-16-le", "utf-32"))
    yield from (b'{"number":"\xff"}', b'{"\xc0\xae":1}', b'{"a":"\xed\xa0\x80"}', b'{"a":"\n"}')
    yield from (
        b'{"number":1,"number":2}',
        b'{"number":1,"numbe\\u0072":2}',
        b'{"a":{"b":1,"b":2}}',
    )


def wrong_types(name: str) -> Iterator[bytes]:
    """Values that a member of a request does not take."""
    values: list[object] = [
        None,
        True,
        "1",
        "",
        1.0,
        1e3,
        -1,
        0,
        10**12,
        10**30,
        [],
        {},
        [[]],
        [None],
    ]
    values += [[1], [[1]], [{}], [{"key_ID": None}], [{"key_ID": 1}], [{"key_ID": ""}], [{"a": 1}]]
    values += [
        ["x"] * 200,
        [UUID] * 200,
        [UUID, UUID],
        ["\ud800"],
        ["\0"],
        [UUID + "\n"],
        [" " + UUID],
    ]
    values += [
        [UUID.replace("0", "\u0660")],
        [UUID.replace("-", "\u2212")],
        ["{" + UUID + "}"],
        ["urn:uuid:" + UUID],
    ]
    values += [["x" * 10_000], [UUID.replace("-", "")], [{"key_ID": UUID, "key_ID_extension": 1}]]
    for value in values:
        yield json.dumps({name: value}).encode()


def ask(
    client: http.client.HTTPSConnection, path: str, body: bytes
) -> tuple[int, dict[str, object]]:
    client.request("POST", path, body)
    answer = client.getresponse()
    found = json.loads(answer.read())
    assert isinstance(found, dict)
    return answer.status, found


def test_bodies_that_are_no_request_are_refused_with_a_reason(town: Town, tally: Tally) -> None:
    kinds: dict[str, list[bytes]] = {"bombs": list(bombs()), "no JSON": list(noise())}
    members = ("number", "size", "additional_slave_SAE_IDs", "extension_mandatory", "key_IDs")
    kinds["wrong types"] = [body for name in members for body in wrong_types(name)]

    with town.https(THIEF) as client:
        for kind, bodies in kinds.items():
            for path in (ENC, DEC):
                for body in bodies:
                    status, found = ask(client, path, body)
                    tally.note(DOOR, f"bodies: {kind}", status)
                    foreign = path == ENC and body.startswith(b'{"key_IDs"')  # a member it ignores
                    if kind != "wrong types" and not foreign:
                        assert status == 400, (path, body[:80], found)
                    assert status in {200, 400, 503}, (path, body[:80], found)
                    assert status == 200 or found["message"], body[:80]
        for body in (b" " * (LONGEST + 1), bytes(1 << 20)):
            assert ask(client, ENC, body)[0] == 413
            client.close()
            tally.note(DOOR, "bodies: too large", 413)


def test_mutants_of_good_bodies_are_answered(town: Town, tally: Tally) -> None:
    dice = random.Random(SEED)
    good = [
        b'{"number": 2, "size": 256, "additional_slave_SAE_IDs": ["sae-2b"]}',
        b'{"number": 1, "extension_optional": [{"a": {"b": [1, 2.5e3, null, "c"]}}]}',
        b'{"key_IDs": [{"key_ID": "%b"}, {"key_ID": "%b"}]}' % (UUID.encode(), UUID[::-1].encode()),
    ]

    with town.https(THIEF) as client:
        for _ in range(MUTANTS):
            body = bytearray(dice.choice(good))
            for _ in range(dice.randint(1, 4)):
                at = dice.randrange(len(body))
                body[at : at + dice.choice((0, 1, 1, 5))] = dice.choice(
                    (b"", b'"', b"[", b"{", b"}", b"\\u0000", b"1e9", b"\xff", b"null", b"," * 3)
                )
            status, found = ask(client, dice.choice((ENC, DEC)), bytes(body))
            tally.note(DOOR, "bodies: mutants", status)
            assert status in {200, 400, 503}, (bytes(body), found)
            assert status == 200 or found["message"]


LOOKALIKES = (
    *("SAE-2", "sae-2 ", " sae-2", "sae-2\t", "sae-2\0", "sae-2\n", "sae\u20112", "\u0455ae-2"),
    *(
        "sae-2\u200b",
        "\u202esae-2",
        "\uff53ae-2",
        "sae-\u0662",
        "sae-\u00b2",
        "sae-2\u0301",
        "\ufeffsae-2",
    ),
    *(
        "sae-2.",
        "sae-2/",
        "sae-2/x",
        "../sae-2",
        "./sae-2",
        "sae-2;a=b",
        "sae-2?",
        "sae-2#",
        "sae-*",
    ),
    *(
        "",
        ".",
        "..",
        "%",
        "sae-2%00",
        "a" * 5_000,
        "\U0001f600",
        "kms-2",
        "sae-9",
        "None",
        "key_store",
    ),
)


def paths() -> Iterator[str]:
    """Paths to somewhere else, some of them by way of a good one."""
    for text in ("..", "%2e%2e", "%2e.", "..%2f..", "%252e%252e", "..%5c", "%c0%ae%c0%ae", "..;"):
        yield f"/{text}/{text}/etc/passwd"
        yield f"/api/v1/keys/{text}/keys/sae-2/status"
        yield f"/api/v1/keys/sae-2/{text}/sae-2/status"
        yield f"/api/v1/keys/sae-2/status/{text}"
    yield from (
        f"/{path}"
        for path in ("", "api", "api/v1", "api/v1/keys", "api/v1/keys/", "api/v1/keys/sae-2")
    )
    yield from (
        f"/api/v1/keys/sae-2/{path}" for path in ("", "/status", "status/", "status//", "STATUS")
    )
    yield from (
        "/api/v2/keys/sae-2/status",
        "//api/v1/keys/sae-2/status",
        "/api//v1/keys/sae-2/status",
    )
    yield from ("/api/v1/keys/%/status", "/api/v1/keys/%zz/status", "/api/v1/keys/%u0073/status")
    yield from (
        "/api/v1/keys/%ff/status",
        "/api/v1/keys/%ed%a0%80/status",
        "/api/v1/keys/%c0%af/status",
    )
    yield from (
        "/metrics",
        "/health",
        "/ready",
        "/favicon.ico",
        "/.git/config",
        "/openapi.json/",
        "/openapi",
    )
    yield from (
        f"{ENC}/number",
        f"{ENC}/number/1/number/2",
        f"{ENC}/number/1/size",
        f"{ENC}/size/-8",
    )
    yield from (f"{ENC}/number/1/size/256/x/y", f"{ENC}/number/%31%30%30%30", f"{DEC}/number/1")
    yield from (
        f"{STATUS}/number/1",
        f"{STATUS}%2f",
        f"{STATUS}%00",
        f"{STATUS};x",
        f"{STATUS}.json",
    )
    for name in ("number", "size"):
        for value in (
            "",
            "-1",
            "0",
            "1e3",
            "0x10",
            "1.0",
            "9" * 5_000,
            "٣",
            "%D9%A3",
            "1%00",
            "+1",
            "%201",
        ):
            yield quote(f"{ENC}?{name}={value}", safe="/?=%&")
        yield f"{ENC}?{name}=8&{name}=8"
    yield f"{ENC}?" + "&".join(f"a{n}=1" for n in range(33))
    yield f"{ENC}?additional_slave_SAE_IDs=sae-2b"
    yield f"{ENC}?extension_mandatory=1"
    yield from (
        f"{DEC}?key_ID={text}" for text in ("", "x", "%00", "%ff", UUID + "%0a", UUID[:-1], "*")
    )
    yield from (
        f"{DEC}{text}" for text in ("", "?", "?key_id=" + UUID, f"?key_ID={UUID}&key_ID={UUID}")
    )


def test_paths_lead_nowhere_else(town: Town, tally: Tally) -> None:
    tried = list(paths())

    heard = Attacker(town).volley([request("GET", path) for path in tried])

    for path, each in zip(tried, heard, strict=True):
        tally.note(DOOR, "paths and queries", each.outcome)
        assert each.outcome in {"400", "404"}, path
        assert each.clear, path


def test_an_sae_is_known_by_its_exact_name_alone(town: Town, tally: Tally) -> None:
    tried = [
        f"/api/v1/keys/{quote(name, safe='')}/{what}"
        for name in LOOKALIKES
        for what in ("status", "enc_keys")
    ]

    heard = Attacker(town).volley([request("GET", path) for path in tried])
    same = Attacker(town).volley([request("GET", "/api/v1/keys/%73ae%2d2/status")])

    for path, each in zip(tried, heard, strict=True):
        tally.note(DOOR, "lookalikes of SAE ids", each.outcome)
        assert each.outcome in {"400", "404"}, path
        assert each.clear, path
    assert same[0].outcome == "200"


@pytest.mark.parametrize(
    "method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "LINK", "PURGE"]
)
def test_other_methods_are_not_for_any_path(town: Town, tally: Tally, method: str) -> None:
    tried = [STATUS, ENC, DEC, "/openapi.json", "/", "/api/v1/keys/sae-9/status"]

    heard = Attacker(town).volley([request(method, path) for path in tried])

    for path, each in zip(tried, heard, strict=True):
        tally.note(DOOR, "methods", each.outcome)
        assert each.outcome in {"400", "404", "405"}, path
