"""What of a device's answers is taken: shapes, sizes, base64, key_IDs, a status that lies."""

import base64
import json
from typing import Any

import pytest

from actors.modules.devices.device import DeviceError
from actors.modules.etsi014 import talk
from actors.modules.etsi014.quirks import QUIRKS, Dialect, dialect
from actors.modules.etsi014.talk import DecKeys, EncKeys

ID, OTHER = "1d3bb94d-8f5b-4c7a-9f0e-0f2a5d1c7e11", "2d3bb94d-8f5b-4c7a-9f0e-0f2a5d1c7e12"
KEY = base64.b64encode(bytes(range(32))).decode()
STRICT = Dialect()
STATUS = {
    "source_KME_ID": "kme-1",
    "target_KME_ID": "kme-2",
    "master_SAE_ID": "ours",
    "slave_SAE_ID": "theirs",
    "key_size": 256,
    "stored_key_count": 40,
    "max_key_count": 1000,
    "max_key_per_request": 128,
    "max_key_size": 1024,
    "min_key_size": 64,
    "max_SAE_ID_count": 0,
}


def body(value: Any) -> bytes:
    return json.dumps(value).encode()


def keys(*rows: dict[str, Any]) -> bytes:
    return body({"keys": [{"key_ID": ID, "key": KEY} | row for row in rows]})


def refusal(read: Any, *args: Any) -> str:
    with pytest.raises(DeviceError) as why:
        read(*args)
    assert why.value.kind == "malformed"
    return str(why.value)


def test_a_status_is_read() -> None:
    found = talk.read_status(body(STATUS), "ours", "theirs")

    assert found == talk.Status(
        key_size=256, stored=40, per_request=128, max_size=1024, min_size=64
    )


@pytest.mark.parametrize(
    ("extension", "qber"),
    [
        ({"qber": 0.021}, 0.021),
        ({"acme_QBER": 0}, 0.0),
        ({"qber": "0.021"}, None),
        ({"qber": True}, None),
        ({"qber": 2.1}, None),
        ({"other": 0.1}, None),
        ({}, None),
    ],
)
def test_a_qber_is_what_an_extension_names_so_and_nothing_else(
    extension: dict[str, Any], qber: float | None
) -> None:
    status = talk.read_status(body(STATUS | {"status_extension": extension}), "", "theirs")
    container = talk.read_new(keys({"key_extension": extension}), EncKeys(1, 256), STRICT)

    assert status.qber == container.qber == qber


@pytest.mark.parametrize(
    "lie",
    [
        {"stored_key_count": -1},
        {"stored_key_count": 1001},
        {"stored_key_count": "40"},
        {"stored_key_count": 40.5},
        {"stored_key_count": 1 << 40, "max_key_count": 1 << 41},
        {"key_size": 0},
        {"key_size": 2048},
        {"key_size": 32},
        {"key_size": 255},
        {"max_key_per_request": 0},
        {"master_SAE_ID": "another"},
        {"slave_SAE_ID": "another"},
        {"key_size": None},
    ],
)
def test_a_status_that_contradicts_itself_or_us_is_refused(lie: dict[str, Any]) -> None:
    assert refusal(talk.read_status, body(STATUS | lie), "ours", "theirs")


def test_a_status_that_lacks_something_is_refused() -> None:
    for name in ("key_size", "stored_key_count", "max_key_per_request", "slave_SAE_ID"):
        some = {key: value for key, value in STATUS.items() if key != name}
        assert name in refusal(talk.read_status, body(some), "ours", "theirs")


@pytest.mark.parametrize("octets", [b"", b"nonsense", b"\xff\xfe", b"[" * 100_000, b'"x"', b"[]"])
def test_what_is_no_json_or_no_object_is_refused(octets: bytes) -> None:
    assert refusal(talk.read_status, octets, "", "theirs")
    assert refusal(talk.read_new, octets, EncKeys(1, 256), STRICT)
    assert talk.read_message(octets) == ""


def test_new_keys_are_read_and_may_be_fewer_than_asked_for() -> None:
    found = talk.read_new(keys({}, {"key_ID": OTHER}), EncKeys(3, 256), STRICT)

    assert [key.key_id for key in found.keys] == [ID, OTHER]
    assert found.keys[0].octets.reveal() == bytes(range(32))


@pytest.mark.parametrize(
    "row",
    [
        {"key": KEY[:-1]},  # no padding
        {"key": KEY + "\n"},
        {"key": "*" + KEY[1:]},
        {"key": KEY.replace("+", "-").replace("/", "_")[:-4] + "-_8="},
        {"key": ""},
        {"key": 7},
        {"key": None},
        {"key_ID": "no uuid"},
        {"key_ID": ""},
        {"key_ID": 7},
        {"key": base64.b64encode(bytes(16)).decode()},  # of another size
    ],
)
def test_a_key_that_is_none_is_refused_and_not_shown(row: dict[str, Any]) -> None:
    text = refusal(talk.read_new, keys(row), EncKeys(1, 256), STRICT)

    assert KEY[:12] not in text


def test_more_keys_than_asked_for_are_refused() -> None:
    assert refusal(talk.read_new, keys({}, {"key_ID": OTHER}), EncKeys(1, 256), STRICT)


def test_named_keys_are_those_asked_for_whatever_their_case_and_order() -> None:
    asked = DecKeys((ID.upper(), OTHER))

    found = talk.read_named(keys({"key_ID": OTHER}, {}), asked, STRICT)

    assert {key.key_id for key in found.keys} == {ID, OTHER}
    for wrong in (keys({}), keys({}, {}), keys({}, {"key_ID": OTHER}, {"key_ID": OTHER})):
        assert refusal(talk.read_named, wrong, asked, STRICT)


def test_what_a_device_says_of_an_error_is_cut_and_printable() -> None:
    assert (
        talk.read_message(body({"message": "no\x1b[31m keys\n" + "x" * 500}))[:12] == "no?[31m keys"
    )
    assert len(talk.read_message(body({"message": "x" * 500}))) == 120
    assert talk.read_message(body({"message": 7})) == ""


def test_a_quirk_lets_pass_what_is_refused_without() -> None:
    capital = keys({}).replace(b'"keys"', b'"Keys"')
    odd = keys({"key_ID": "k/1"})
    asked = EncKeys(1, 256)
    assert refusal(talk.read_new, capital, asked, STRICT)
    assert refusal(talk.read_new, odd, asked, STRICT)

    assert talk.read_new(capital, asked, dialect(["capital_keys"])).keys
    assert talk.read_new(odd, asked, dialect(["any_key_id"])).keys


def test_an_unknown_quirk_is_an_error_that_names_those_there_are() -> None:
    assert dialect(QUIRKS) == Dialect(True, True, True, True, True)
    with pytest.raises(ValueError, match="no such quirk: x; there are any_key_id, "):
        dialect(["x"])
