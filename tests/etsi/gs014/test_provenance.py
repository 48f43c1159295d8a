"""The extension `protokms_provenance`: paths, hops, age; never key bits."""

import base64
from typing import Any

import pytest

from actors.protocol import keys
from etsi.gs014.request import UNMET
from tests.kit.site import GRANT, Site, octets
from transport.message import Message, Secret

ENC = "/api/v1/keys/sae-2/enc_keys"
FAR = (("kms-2", "kms-9", "kms-1"),)
ASKED = {"extension_optional": [{"abc_x": 1}, {"protokms_provenance": True}]}
DEMANDED = {"extension_mandatory": [{"protokms_provenance": True}]}


def store(*vias: keys.Via) -> Any:
    def answer(ask: Message) -> Message:
        assert isinstance(ask, keys.GetKey | keys.GetMulticast)
        made = octets(ask.number * ask.size)
        told = vias if isinstance(ask, keys.GetKey) and ask.provenance else ()
        return keys.Keys(grant=GRANT, size=ask.size, octets=Secret(made), provenance=told)

    return answer


def told(site: Site, body: Any, path: str = ENC) -> list[Any]:
    answer = site.post(path, body)
    assert answer.status == 200
    return [row.get("key_extension") for row in answer.json["keys"]]


@pytest.mark.parametrize("body", [ASKED, DEMANDED])
def test_a_key_that_came_over_a_quantum_link_says_so(site: Site, body: Any) -> None:
    site.desk.answer = store(keys.Via(32, (), 1.23456))

    assert told(site, body) == [
        {
            "protokms_provenance": {
                "hops": 1,
                "paths": [["kms-1", "kms-2"]],
                "trusted_nodes": [],
                "age_s": 1.235,
            }
        }
    ]


def test_each_key_tells_of_its_own_octets(site: Site) -> None:
    two = (("kms-1", "kms-7", "kms-8", "kms-2"), ("kms-1", "kms-9", "kms-2"))
    site.desk.answer = store(keys.Via(48, FAR, 5.0), keys.Via(16, (), 9.0), keys.Via(32, two, -1.0))

    rows = [row["protokms_provenance"] for row in told(site, ASKED | {"number": 3})]

    assert [row["hops"] for row in rows] == [2, 2, 3]
    assert [row["age_s"] for row in rows] == [5.0, 9.0, None]
    assert rows[0]["paths"] == [["kms-1", "kms-9", "kms-2"]]
    assert rows[1]["paths"] == [["kms-1", "kms-9", "kms-2"], ["kms-1", "kms-2"]]
    assert rows[2]["trusted_nodes"] == ["kms-7", "kms-8", "kms-9"]


def test_keys_between_saes_of_this_kme_have_no_hop(site: Site) -> None:
    site.desk.answer = store()

    rows = told(site, DEMANDED, ENC.replace("sae-2", "sae-1b"))

    assert rows[0]["protokms_provenance"] == {
        "hops": 0,
        "paths": [["kms-1"]],
        "trusted_nodes": [],
        "age_s": 0.0,
    }


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"extension_optional": [{"protokms_provenance": False}]},
        {"extension_optional": [{"protokms_provenance": "yes"}]},
        {"extension_mandatory": [{"protokms_provenance": False}]},
    ],
)
def test_who_does_not_ask_is_not_told(site: Site, body: Any) -> None:
    site.desk.answer = store(keys.Via(32, (), 1.0))

    assert told(site, body) == [None]


def test_what_is_not_known_is_left_out_and_not_made_up(site: Site) -> None:
    site.desk.answer = store(keys.Via(31, (), 1.0))

    assert told(site, ASKED) == [None]


@pytest.mark.parametrize("value", [1, "true", None, {}, []])
def test_a_mandatory_extension_that_makes_no_sense_cannot_be_met(site: Site, value: Any) -> None:
    answer = site.post(ENC, {"extension_mandatory": [{"protokms_provenance": value}]})

    assert (answer.status, answer.json["message"]) == (400, UNMET)
    assert site.desk.asked == []


def test_who_insists_gets_nothing_without_it(site: Site) -> None:
    site.desk.answer = store()

    unknown = site.post(ENC, DEMANDED)
    several = site.post(ENC, DEMANDED | {"additional_slave_SAE_IDs": ["sae-3"]})

    assert [(a.status, a.json["message"]) for a in (unknown, several)] == [(400, UNMET)] * 2
    assert not any(isinstance(body, keys.GetMulticast) for _, body in site.desk.asked)


def test_who_asks_for_saes_at_several_kmes_is_not_told_and_the_description_says_so(
    site: Site,
) -> None:
    site.desk.answer = store(keys.Via(32, (), 1.0))

    rows = told(site, ASKED | {"additional_slave_SAE_IDs": ["sae-3"]})
    schemas = site.get("/openapi.json").json["components"]["schemas"]

    assert rows == [None]
    assert "SAEs at several KMEs" in schemas["Provenance"]["description"]


def test_no_key_bits_are_in_an_extension(site: Site) -> None:
    site.desk.answer = store(keys.Via(32, FAR, 5.0))

    answer = site.post(ENC, ASKED)

    key = base64.b64decode(answer.json["keys"][0]["key"])
    text = str(answer.json["keys"][0]["key_extension"])
    assert key == octets(32)
    assert key.hex()[:8] not in text
    assert base64.b64encode(key).decode()[:8] not in text
