"""Every rule of ETSI GS QKD 014 that a caller can see."""

import base64
from collections.abc import Callable
from typing import Any

import pytest
import structlog

from actors.protocol import keys
from actors.protocol.common import Failed
from etsi.gs014.api import NOT_FOUND, REFUSALS
from etsi.gs014.request import SIZE_8, UNSUPPORTED
from tests.kit.site import GRANT, ID_0, ID_1, Answer, Site, octets, request
from transport.message import Secret

ENC, DEC = "/api/v1/keys/sae-2/enc_keys", "/api/v1/keys/sae-2/dec_keys"
STATUS = "/api/v1/keys/sae-2/status"


def refused(answer: Answer, status: int) -> str:
    """Check the shape of every error; return its message."""
    assert answer.status == status
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"
    assert all(type(row) is dict for row in answer.json["details"])
    message = answer.json["message"]
    assert type(message) is str
    assert message
    return message


# Status


def test_status_tells_what_this_node_offers(site: Site) -> None:
    answer = site.get(STATUS)

    assert answer.status == 200
    assert answer.json == {
        "source_KME_ID": "KME one",
        "target_KME_ID": "KME two",
        "master_SAE_ID": "sae-1",
        "slave_SAE_ID": "sae-2",
        "key_size": 256,
        "stored_key_count": 25,
        "max_key_count": 1000,
        "max_key_per_request": 128,
        "max_key_size": 8192,
        "min_key_size": 64,
        "max_SAE_ID_count": 16,
    }
    assert site.desk.asked == [
        ("key_store/kms-2@kms-1", keys.GetStatus(master="sae-1", slave="sae-2", size=32))
    ]


def test_the_counts_of_a_status_fit_an_int32_and_each_other(site: Site) -> None:
    site.desk.answer = lambda _: keys.Stock(stored=1 << 40, capacity=1 << 39)

    answer = site.get(STATUS)

    assert answer.json["max_key_count"] == (1 << 31) - 1
    assert answer.json["stored_key_count"] <= answer.json["max_key_count"]


# Get key


def test_a_bare_get_gives_one_key_of_the_default_size(site: Site) -> None:
    answer = site.get(ENC)

    assert answer.status == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Content-Type"] == "application/json"
    key = base64.b64encode(octets(32)).decode()
    assert answer.json == {"keys": [{"key_ID": ID_0, "key": key}]}
    assert site.desk.asked == [
        (
            "key_store/kms-2@kms-1",
            keys.GetKey(master="sae-1", slaves=("sae-2",), number=1, size=32),
        )
    ]


@pytest.mark.parametrize(
    "ask",
    [
        lambda site: site.get(f"{ENC}?number=3&size=128"),
        lambda site: site.get(f"{ENC}?size=128&number=3"),
        lambda site: site.get(f"{ENC}/number/3/size/128"),
        lambda site: site.get(f"{ENC}/size/128/number/3"),
        lambda site: site.post(ENC, {"number": 3, "size": 128}),
        lambda site: site.post(f"{ENC}?number=3&size=128", {}),
        lambda site: site.get(f"{ENC}?number=3&key_size=128"),
        lambda site: site.get(f"{ENC}/number/3/key_size/128"),
        lambda site: site.get(f"{ENC}/number/3?size=128"),
        lambda site: site.post(ENC, {"number": 3, "key_size": 128}),
        lambda site: site.post(ENC, {"number": 3, "key_size": 128, "size": 128}),
        lambda site: site.post(f"{ENC}?number=3", {"size": 128}),
        lambda site: site.post(f"{ENC}?key_size=128&number=3", {"size": 128, "number": None}),
        lambda site: site.post(f"{ENC}?number=3", {"number": 3, "size": 128, "abc_else": [1]}),
        lambda site: site.send(request("GET", f"{ENC}?number=3&size=128", {"number": 7})),
        # What JSON (RFC 8259), URI (RFC 3986) and HTTP (RFC 9110, 9112) call the same
        lambda site: site.post(ENC, b'{"number": 3.0, "size": 1.28e2}'),
        lambda site: site.post(ENC, b' {"n\\u0075mber" : 30e-1,\r\n"size":\t128 }\n'),
        lambda site: site.get(f"{ENC}?n%75mber=%33&size=128"),
        lambda site: site.get("/%61pi/v1/keys/sae%2D2/enc%5Fkeys?number=3&size=128"),
        lambda site: site.get("/api/v1/keys/sae%2d2/enc%5fkeys/n%75mber/3/size/%3128"),
        lambda site: site.send(request("GET", f"https://kms{ENC}?number=3&size=128")),
        lambda site: site.send(request("GET", f"HTTPS://KMS{ENC}?number=3&size=128")),
        lambda site: site.send(
            request("POST", f"{ENC}?number=3&size=128", {}, "CONTENT-ENCODING: Identity")
        ),
    ],
)
def test_every_way_to_ask_gives_the_same_keys(site: Site, ask: Callable[[Site], Answer]) -> None:
    answer = ask(site)

    material = octets(48)
    assert answer.status == 200
    assert [base64.b64decode(row["key"], validate=True) for row in answer.json["keys"]] == [
        material[:16],
        material[16:32],
        material[32:],
    ]
    assert [row["key_ID"] for row in answer.json["keys"]] == [
        keys.key_id(GRANT, index) for index in range(3)
    ]


def test_an_empty_object_is_a_request_for_the_defaults(site: Site) -> None:
    assert site.post(ENC, {}).status == 200
    assert site.desk.asked[0][1] == keys.GetKey(
        master="sae-1", slaves=("sae-2",), number=1, size=32
    )


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("size=129", SIZE_8),
        ("size=1", SIZE_8),
        ("size=56", "size is not from 64 to 8192 bits"),
        ("size=0", "size is not from 64 to 8192 bits"),
        ("size=8200", "size is not from 64 to 8192 bits"),
        ("number=0", "number is not from 1 to 128"),
        ("number=129", "number is not from 1 to 128"),
        ("number=-1", "number is not a decimal number"),
        ("number=", "number is not a decimal number"),
        ("number=%2B1", "number is not a decimal number"),
        ("number=1.0", "number is not a decimal number"),
        ("number=1&number=1", "'number' appears twice in the query"),
        (
            "additional_slave_SAE_IDs=sae-2b",
            "additional_slave_SAE_IDs is for POST, not for a query",
        ),
        ("number=%ff", "the query cannot be read"),
    ],
)
def test_a_bad_query_is_refused_with_its_reason(site: Site, query: str, message: str) -> None:
    answer = site.get(f"{ENC}?{query}")

    assert refused(answer, 400) == message
    assert site.desk.asked == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"size": 129}, SIZE_8),
        ({"size": 16384}, "size is not from 64 to 8192 bits"),
        ({"number": 0}, "number is not from 1 to 128"),
        ({"number": -1}, "number is not from 1 to 128"),
        ({"number": 10**30}, "number is not from 1 to 128"),
        ({"number": "3"}, "number is not an integer"),
        ({"number": 3.5}, "number is not an integer"),
        (b'{"number": 1e400}', "number is not an integer"),
        ({"number": 1e30}, "number is not from 1 to 128"),
        ({"number": True}, "number is not an integer"),
        ({"size": 128, "key_size": 256}, "size and key_size differ: 128 and 256"),
        ({"key_size": 129}, SIZE_8),
        ({"key_size": "256"}, "key_size is not an integer"),
        ({"size": [256]}, "size is not an integer"),
        (
            {"additional_slave_SAE_IDs": "sae-2b"},
            "additional_slave_SAE_IDs is not an array of strings",
        ),
        ({"additional_slave_SAE_IDs": [1]}, "additional_slave_SAE_IDs is not an array of strings"),
        ({"extension_mandatory": {"a": 1}}, "extension_mandatory is not an array of objects"),
        ({"extension_optional": ["a"]}, "extension_optional is not an array of objects"),
        (b"", "a POST needs a JSON object as body; {} will do"),
        (b"  ", "the body is not JSON"),
        (b"{", "the body is not JSON"),
        (b"[]", "the body is not a JSON object"),
        (b"null", "the body is not a JSON object"),
        (b'{"number": NaN}', "the body is not JSON"),
        (b'{"number": 1, "number": 2}', "a name appears twice in one JSON object"),
        (b'{"x": {"y": 1, "y": 1}}', "a name appears twice in one JSON object"),
        (b'{"x": "\xff"}', "the body is not JSON"),
        (b"\xff\xfe{\x00}\x00", "the body is not JSON"),
        (b"[" * 50_000, "the body is not JSON"),
        (b"9" * 10_000, "the body is not JSON"),
    ],
)
def test_a_bad_body_is_refused_with_its_reason(site: Site, body: Any, message: str) -> None:
    answer = site.post(ENC, body)

    assert refused(answer, 400) == message
    assert site.desk.asked == []


@pytest.mark.parametrize(
    ("query", "body", "message"),
    [
        ("number=2", {"number": 3}, "number is given twice: 2 and 3"),
        ("number=2", {"number": 10**30}, "number is given twice: 2 and a larger one"),
        ("size=128", {"size": 256}, "size is given twice: 128 and 256"),
        ("key_size=128", {"size": 256}, "size and key_size differ: 256 and 128"),
        ("size=128&key_size=256", {}, "size and key_size differ: 128 and 256"),
        ("number=x", {"number": 3}, "number is not a decimal number"),
    ],
)
def test_wishes_that_differ_are_refused(site: Site, query: str, body: Any, message: str) -> None:
    answer = site.post(f"{ENC}?{query}", body)

    assert refused(answer, 400) == message
    assert site.desk.asked == []


def test_a_name_in_path_and_query_is_one_name_twice(site: Site) -> None:
    message = "a name appears twice in path and query"

    assert refused(site.get(f"{ENC}/number/2/number/2"), 400) == message
    assert refused(site.get(f"{ENC}/number/2?number=2"), 400) == message


SLIPS = [
    ("numbr", "number"),
    ("Number", "number"),
    ("NUMBER", "number"),
    ("num_ber", "number"),
    ("umber", "number"),
    ("Siz", "size"),
    ("SIZE", "size"),
    ("keySize", "key_size"),
    ("keysize", "key_size"),
    ("additional_slave_SAE_ID", "additional_slave_SAE_IDs"),
    ("additional_slave_sae_ids", "additional_slave_SAE_IDs"),
    ("additionalSlaveSAEIDs", "additional_slave_SAE_IDs"),
    ("extension_mandatry", "extension_mandatory"),
    ("extensionOptional", "extension_optional"),
]


@pytest.mark.parametrize(("name", "meant"), SLIPS)
def test_a_slip_in_the_name_of_a_member_is_refused_and_named(
    site: Site, name: str, meant: str
) -> None:
    message = f"{name!r} is unknown; {meant} is meant, it seems"

    assert refused(site.post(ENC, {name: 2}), 400) == message
    assert refused(site.get(f"{ENC}?{name}=2"), 400) == message
    assert refused(site.post(f"{ENC}?{name}=2", {"number": 1}), 400) == message
    assert site.desk.asked == []


@pytest.mark.parametrize(
    "name",
    ["", "abc_number", "colour", "numbers", "key_ID", "sizes", "n" * 60, "\u017fize", "\ud800"],
)
def test_a_member_that_is_none_is_ignored(site: Site, name: str) -> None:
    assert site.post(ENC, {name: 2}).status == 200


def test_names_of_dec_keys_are_read_as_leniently_as_ever(site: Site) -> None:
    body = {"key_IDs": [{"key_ID": ID_0, "keyID": 1}], "keyIDs": 1, "numbr": 2, "Size": 3}

    assert site.post(f"{DEC}?numbr=2", body).status == 200
    assert site.get(f"{DEC}?key_ID={ID_0}&Number=2").status == 200


@pytest.mark.parametrize(
    "name",
    [
        *("number", "size", "key_size", "additional_slave_SAE_IDs"),
        *("extension_mandatory", "extension_optional"),
    ],
)
def test_null_is_as_if_an_optional_member_were_not_there(site: Site, name: str) -> None:
    assert site.post(ENC, {name: None}).status == 200
    assert site.desk.asked[0][1] == keys.GetKey(
        master="sae-1", slaves=("sae-2",), number=1, size=32
    )


@pytest.mark.parametrize(
    "body",
    [
        {"key_IDs": [{"key_ID": ID_0, "key_ID_extension": None}]},
        {"key_IDs": [{"key_ID": ID_0}], "key_IDs_extension": None},
    ],
)
def test_null_for_an_extension_of_key_ids_is_no_extension(site: Site, body: Any) -> None:
    assert site.post(DEC, body).status == 200


def test_a_post_without_any_body_is_refused(site: Site) -> None:
    assert refused(site.send(request("POST", ENC)), 400).startswith("a POST needs")
    assert refused(site.send(request("POST", DEC)), 400).startswith("a POST needs")


# Several slaves


def test_additional_slaves_at_the_same_kme_get_the_same_keys(site: Site) -> None:
    body = {"additional_slave_SAE_IDs": ["sae-2b", "a/b"]}

    answer = site.post(ENC, body)

    assert answer.status == 200
    assert site.desk.asked[0][1] == keys.GetKey(
        master="sae-1", slaves=("sae-2", "sae-2b", "a/b"), number=1, size=32
    )


@pytest.mark.parametrize(
    ("saes", "message"),
    [
        (["nobody"], "SAE 'nobody' is not known in this network"),
        (["sae-1"], "additional_slave_SAE_IDs names the master SAE"),
        (["sae-2"], "additional_slave_SAE_IDs names the slave SAE of the path"),
        ([], "additional_slave_SAE_IDs is empty; leave it out if there are none"),
        (["sae-2b", "sae-2b"], "additional_slave_SAE_IDs holds 'sae-2b' twice"),
        (["sae-2b"] * 17, "additional_slave_SAE_IDs holds more than 16 SAE IDs"),
        (["\ud800"], "SAE '\\ud800' is not known in this network"),
    ],
)
def test_additional_slaves_that_cannot_be_are_refused(
    site: Site, saes: list[str], message: str
) -> None:
    answer = site.post(ENC, {"additional_slave_SAE_IDs": saes})

    assert refused(answer, 400).startswith(message)
    assert site.desk.asked == []


@pytest.mark.parametrize("elsewhere", ["sae-3", "sae-1b"])
def test_slaves_at_several_kmes_get_their_keys_through_multicast(
    site: Site, elsewhere: str
) -> None:
    answer = site.post(ENC, {"additional_slave_SAE_IDs": ["sae-2b", elsewhere], "number": 2})

    assert answer.status == 200
    assert [row["key_ID"] for row in answer.json["keys"]] == [ID_0, ID_1]
    slaves = ("sae-2", "sae-2b", elsewhere)
    assert site.desk.asked == [
        (
            "multicast@kms-1",
            keys.GetMulticast(master="sae-1", slaves=slaves, number=2, size=32),
        )
    ]


def test_what_multicast_refuses_is_told_as_a_store_would(site: Site) -> None:
    site.desk.answer = lambda _: Failed(code="too_many_undelivered", why="because")

    answer = site.post(ENC, {"additional_slave_SAE_IDs": ["sae-3"]})

    assert refused(answer, 503) == "too many keys of these SAEs wait to be fetched"


# Extensions


def test_an_unknown_mandatory_extension_is_refused_in_the_words_of_the_standard(
    site: Site,
) -> None:
    answer = site.post(ENC, {"extension_mandatory": [{"abc_route": "direct"}, {"abc_age": 5}]})

    assert refused(answer, 400) == UNSUPPORTED
    assert answer.json["details"][1:] == [
        {"extension_mandatory_unsupported": "abc_route"},
        {"extension_mandatory_unsupported": "abc_age"},
    ]


def test_optional_extensions_and_empty_mandatory_ones_are_ignored(site: Site) -> None:
    body = {"extension_mandatory": [], "extension_optional": [{"abc_max_age": 30000}]}

    assert site.post(ENC, body).status == 200


# Get key with key IDs


@pytest.mark.parametrize(
    "ask",
    [
        lambda site: site.get(f"{DEC}?key_ID={ID_1}"),
        lambda site: site.get(f"{DEC}?key_ID={ID_1.upper()}"),
        lambda site: site.post(DEC, {"key_IDs": [{"key_ID": ID_1}]}),
        lambda site: site.post(DEC, {"key_IDs": [ID_1]}),
        lambda site: site.post(f"{DEC}?key_ID={ID_1}", {}),
        lambda site: site.post(
            DEC, {"key_IDs": [{"key_ID": ID_1, "master_SAE_ID": "x", "key_ID_extension": {}}]}
        ),
        lambda site: site.post(DEC, {"key_IDs": [{"key_ID": ID_1}], "key_IDs_extension": {"a": 1}}),
    ],
)
def test_every_way_to_name_a_key_gives_it(site: Site, ask: Callable[[Site], Answer]) -> None:
    answer = ask(site)

    key = base64.b64encode(octets(32, 1)).decode()
    assert answer.status == 200
    assert answer.json == {"keys": [{"key_ID": ID_1, "key": key}]}
    names = (keys.KeyName(GRANT, 1),)
    assert site.desk.asked == [
        (
            "key_store/kms-2@kms-1",
            keys.GetKeyWithIds(master="sae-2", slave="sae-1", names=names),
        )
    ]


def test_keys_come_in_the_order_asked_for(site: Site) -> None:
    answer = site.post(DEC, {"key_IDs": [{"key_ID": ID_1}, {"key_ID": ID_0}]})

    assert [row["key_ID"] for row in answer.json["keys"]] == [ID_1, ID_0]
    assert base64.b64decode(answer.json["keys"][0]["key"]) == octets(32, 1)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "key_ID is missing"),
        ({"key_IDs": []}, "key_IDs is not an array of at least one key_ID"),
        ({"key_IDs": {"key_ID": ID_0}}, "key_IDs is not an array of at least one key_ID"),
        ({"Key_IDs": [ID_0]}, "key_IDs is not an array of at least one key_ID"),
        ({"key_IDs": [1]}, "an entry of key_IDs holds no key_ID string"),
        ({"key_IDs": [{"key_id": ID_0}]}, "an entry of key_IDs holds no key_ID string"),
        ({"key_IDs": [{"key_ID": "x"}]}, "key_ID is not a UUID"),
        ({"key_IDs": [{"key_ID": f"{{{ID_0}}}"}]}, "key_ID is not a UUID"),
        ({"key_IDs": [ID_0.replace("-", "")]}, "key_ID is not a UUID"),
        ({"key_IDs": [ID_0, ID_0.upper()]}, "the same key_ID appears twice"),
        ({"key_IDs": [ID_0] * 129}, "more than 128 key_IDs in one request"),
    ],
)
def test_bad_key_ids_are_refused_with_their_reason(site: Site, body: Any, message: str) -> None:
    answer = site.post(DEC, body)

    assert refused(answer, 400) == message
    assert site.desk.asked == []


def test_a_written_response_is_told_to_the_key_store(site: Site) -> None:
    site.get(f"{DEC}?key_ID={ID_0}")

    assert site.desk.told == [("key_store/kms-2@kms-1", keys.Written(receipt=77))]


# Refusals of the key store


@pytest.mark.parametrize("code", [*REFUSALS, "never heard of"])
@pytest.mark.parametrize("path", [ENC, f"{DEC}?key_ID={ID_0}"])
def test_each_refusal_of_the_key_store_has_a_status_and_a_text(
    site: Site, code: str, path: str
) -> None:
    site.desk.answer = lambda _: Failed(code=code, why="because")

    answer = site.get(path)

    status, text, retry_after = REFUSALS.get(code, REFUSALS["crashed"])
    assert refused(answer, status) == (text or "because")
    assert answer.headers.get("Retry-After", "0") == str(retry_after)
    assert (status == 503) == (retry_after > 0)
    assert answer.json["details"][0] == {"code": code}
    assert not any(isinstance(body, keys.Written | keys.Broken) for _, body in site.desk.told)


def test_a_missing_key_is_told_in_the_words_of_the_standard(site: Site) -> None:
    site.desk.answer = lambda _: Failed(code="no_such_key", why="")

    answer = site.get(f"{DEC}?key_ID={ID_0}")

    assert refused(answer, 400) == "one or more keys specified are not found on KME" == NOT_FOUND


def test_a_key_store_that_answers_nonsense_is_our_own_fault(site: Site) -> None:
    few = keys.KeysWithIds(octets=(), receipt=5)
    site.desk.answer = lambda _: few

    answer = site.get(f"{DEC}?key_ID={ID_0}")

    assert refused(answer, 503) == "internal error; ask again later"
    assert site.desk.told == [("key_store/kms-2@kms-1", keys.Broken(receipt=5))]


def test_fewer_octets_than_asked_for_never_leave(site: Site) -> None:
    site.desk.answer = lambda _: keys.Keys(grant=GRANT, size=32, octets=Secret(octets(31)))

    assert refused(site.get(ENC), 503) == "internal error; ask again later"


# Who may ask, and for whom


@pytest.mark.parametrize("path", [ENC, f"{DEC}?key_ID={ID_0}", STATUS])
def test_only_saes_at_home_here_are_served(site: Site, path: str) -> None:
    stranger = site.get(path, sae="mallory")
    elsewhere = site.get(path.replace("sae-2", "sae-1"), sae="sae-2")

    assert refused(stranger, 401) == "SAE 'mallory' is not known in this network"
    assert refused(elsewhere, 401) == "SAE 'sae-2' is served by the KME KME two, not by this one"
    assert site.desk.asked == []


@pytest.mark.parametrize("method", ["enc_keys", f"dec_keys?key_ID={ID_0}", "status"])
@pytest.mark.parametrize("name", ["nobody", "SAE-2", "", "..", "sae-2%00", "%zz", "\\"])
def test_an_unknown_sae_is_a_clear_400(site: Site, method: str, name: str) -> None:
    answer = site.get(f"/api/v1/keys/{name}/{method}")

    assert refused(answer, 400).endswith("is not known in this network")
    assert site.desk.asked == []


@pytest.mark.parametrize(
    ("escaped", "name"),
    [("a%2Fb", "a/b"), ("a%2fb", "a/b"), ("%73ae-2", "sae-2"), ("gr%C3%B6%C3%9Fe", "größe")],
)
def test_one_segment_of_the_path_is_decoded_once(site: Site, escaped: str, name: str) -> None:
    answer = site.get(f"/api/v1/keys/{escaped}/status")

    assert answer.status == 200
    assert answer.json["slave_SAE_ID"] == name


def test_a_segment_that_is_not_utf_8_is_refused(site: Site) -> None:
    assert refused(site.get("/api/v1/keys/%ff/status"), 400) == "the path is not UTF-8"


def test_an_sae_does_not_talk_to_itself_unless_allowed(site: Site, loopback: Site) -> None:
    path = ENC.replace("sae-2", "sae-1")

    assert refused(site.get(path), 400) == "master and slave are the same SAE"
    assert loopback.get(path).status == 200
    assert loopback.desk.asked[0][0] == "key_store/kms-1@kms-1"


def test_saes_at_this_kme_are_served_from_its_own_store(site: Site) -> None:
    answer = site.get(STATUS.replace("sae-2", "sae-1b"))

    assert answer.json["target_KME_ID"] == answer.json["source_KME_ID"] == "KME one"
    assert site.desk.asked[0][0] == "key_store/kms-1@kms-1"


def test_before_the_directory_is_known_nobody_is_served(site: Site) -> None:
    site.api.places = None

    answer = site.get(ENC)

    assert refused(answer, 503) == "this KME is not ready; ask again later"
    assert answer.headers["Retry-After"] == "2"


# Paths and methods


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/api/v1/keys/sae-2",
        "/api/v1/keys/sae-2/",
        "/api/v1/keys/sae-2/enc_keys/",
        "/api/v1/keys/sae-2/enc_keys/number",
        "/api/v1/keys/sae-2/enc_keys/colour/1",
        "/api/v1/keys/sae-2/status/number/1",
        "/api/v1/keys/a/b/status",
        "/api/v2/keys/sae-2/status",
        "/API/v1/keys/sae-2/status",
        "//api/v1/keys/sae-2/status",
    ],
)
def test_an_unknown_path_is_a_404(site: Site, path: str) -> None:
    assert refused(site.get(path), 404) == "there is nothing at this path"


@pytest.mark.parametrize(
    "method", ["HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND"]
)
@pytest.mark.parametrize("path", [ENC, f"{DEC}?key_ID={ID_0}", STATUS, "/openapi.json"])
def test_other_methods_are_refused_and_consume_nothing(site: Site, method: str, path: str) -> None:
    answer = site.send(request(method, path))

    assert answer.status == 405
    assert answer.headers["Allow"] == ("GET, POST" if "_keys" in path else "GET")
    assert method == "HEAD" or refused(answer, 405)
    assert site.desk.asked == []


@pytest.mark.parametrize("path", [STATUS, "/openapi.json", f"{ENC}/number/1/size/256"])
def test_what_is_only_read_is_not_posted_to(site: Site, path: str) -> None:
    answer = site.post(path, {})

    assert refused(answer, 405)
    assert answer.headers["Allow"] == "GET"


# The log


def test_one_line_tells_of_a_request_and_no_key_bits(site: Site) -> None:
    with structlog.testing.capture_logs() as lines:
        site.post(ENC, {"number": 2})
        site.get(f"{DEC}?key_ID={ID_0}")

    assert [
        (line["event"], line["method"], line["route"], line["status"], line["keys"])
        for line in lines
    ] == [("request", "POST", "enc_keys", 200, 2), ("request", "GET", "dec_keys", 200, 1)]
    assert {(line["sae"], line["peer"]) for line in lines} == {("sae-1", "sae-2")}
    assert lines[0]["trace"] != lines[1]["trace"]
    assert base64.b64encode(octets(32)).decode() not in str(lines)
    assert ID_0 not in str(lines)
    assert site.meter.value("protokms_http_requests", route="enc_keys", status="200") == 1
    assert site.meter.value("protokms_http_keys", route="enc_keys") == 2
