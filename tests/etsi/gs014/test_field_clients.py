"""What clients in the field do, and what they insist on."""

import base64
import re

from actors.protocol import keys
from actors.protocol.common import Failed
from tests.kit.site import ID_0, Site, read, request

BASE = "/api/v1/keys/sae-2"


def test_a_client_may_use_one_url_as_master_and_as_slave(site: Site) -> None:
    made = site.get(f"{BASE}/enc_keys")
    fetched = site.get(f"{BASE}/dec_keys?key_ID={made.json['keys'][0]['key_ID']}")

    assert (made.status, fetched.status) == (200, 200)


def test_a_get_with_json_headers_and_a_json_body_is_a_get(site: Site) -> None:
    head = ("Accept: application/json", "Content-Type: application/json")

    found = site.send(request("GET", f"{BASE}/enc_keys", {"number": 5, "size": 128}, *head))
    fetched = site.send(request("GET", f"{BASE}/dec_keys?key_ID={ID_0}", {"x": 1}, *head))
    status = site.send(request("GET", f"{BASE}/status", {"x": 1}, *head))

    assert [found.status, fetched.status, status.status] == [200, 200, 200]
    assert len(found.json["keys"]) == 1


def test_a_post_without_a_content_type_or_with_that_of_a_form_is_read_as_json(site: Site) -> None:
    form = "Content-Type: application/x-www-form-urlencoded"

    assert site.send(request("POST", f"{BASE}/enc_keys", {"number": 1}, form)).status == 200
    assert site.send(request("POST", f"{BASE}/enc_keys", {"number": 1})).status == 200


def test_a_strict_client_finds_integers_base64_and_uuids_as_it_wants_them(site: Site) -> None:
    status = site.get(f"{BASE}/status").json
    row = site.get(f"{BASE}/enc_keys?size=200").json["keys"][0]

    counts = [value for value in status.values() if type(value) is not str]
    assert all(type(count) is int and 0 <= count < 1 << 31 for count in counts)
    assert status["stored_key_count"] <= status["max_key_count"]
    assert 0 < status["min_key_size"] <= status["key_size"] <= status["max_key_size"]
    assert len(row["key"]) % 4 == 0
    assert len(base64.b64decode(row["key"], validate=True)) == 25
    assert re.fullmatch("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", row["key_ID"])


def test_every_error_carries_a_message_even_a_401(site: Site) -> None:
    site.desk.answer = lambda _: Failed(code="not_named", why="")

    answers = [
        site.get(f"{BASE}/dec_keys?key_ID={ID_0}"),
        site.get(f"{BASE}/status", sae="mallory"),
        site.post(f"{BASE}/status", {}),
        site.get("/", sae="sae-1"),
    ]

    assert [answer.status for answer in answers] == [401, 401, 405, 404]
    assert all(type(answer.json["message"]) is str for answer in answers)


def test_further_slaves_under_the_name_that_a_client_has_for_them_get_the_key(site: Site) -> None:
    named = site.post(f"{BASE}/enc_keys", {"additional_target_sae_ids": ["sae-2b"]})
    none = site.post(f"{BASE}/enc_keys", {"additional_target_sae_ids": []})
    wrong = site.post(f"{BASE}/enc_keys", {"additional_target_sae_ids": "sae-2b"})

    assert [named.status, none.status, wrong.status] == [200, 200, 400]
    asked = [
        keys.GetKey(master="sae-1", slaves=slaves, number=1, size=32)
        for slaves in (("sae-2", "sae-2b"), ("sae-2",))
    ]
    assert [ask for _, ask in site.desk.asked] == asked


def test_one_connection_serves_many_requests(site: Site) -> None:
    async def story() -> list[int]:
        reader, writer = await site.connect()
        found = []
        for _ in range(20):
            writer.write(request("GET", f"{BASE}/enc_keys"))
            found.append((await read(reader)).status)
        writer.close()
        return found

    assert site.run(story()) == [200] * 20
    assert len(site.connections.live) <= 1
