"""Pairs of SAEs whose KMEs share no quantum link: a session on demand, a bounded wait."""

from collections.abc import Iterator
from typing import Any

import pytest

from actors.protocol import keys, sessions
from actors.protocol.common import Failed
from tests.etsi.site import Answer, Site, answer, options
from transport.message import Message

ENC, STATUS = "/api/v1/keys/sae-3/enc_keys", "/api/v1/keys/sae-3/status"
NO_STORE = Failed(code="undeliverable", why="key_store/kms-3@kms-1")


class Far:
    """Stands for `sessions` and the key store of kms-3, which is there once it was asked for."""

    def __init__(self, *first: Message, ensured: Message | None = None) -> None:
        self.ensured: Message = ensured or sessions.SessionEnsured()
        self.first = list(first)
        self.there = False

    def __call__(self, body: Message) -> Message:
        if isinstance(body, sessions.EnsureSession):
            self.there = isinstance(self.ensured, sessions.SessionEnsured)
            return self.ensured
        if not self.there:
            return NO_STORE
        return self.first.pop(0) if self.first else answer(body)


@pytest.fixture
def hasty() -> Iterator[Site]:
    """A front end that gives up soon."""
    made = Site(options(request_timeout_s=0.1))
    yield made
    made.close()


def asked(site: Site, kind: type[Message]) -> list[str]:
    return [to for to, body in site.desk.asked if isinstance(body, kind)]


def refusal(found: Answer) -> dict[str, Any]:
    return {
        "status": found.status,
        "code": found.json["details"][0]["code"],
        "retry": int(found.headers.get("Retry-After", "0")),
    }


def test_the_first_request_for_a_pair_sets_up_a_session_and_is_met(site: Site) -> None:
    waits = [Failed(code=code, why="") for code in ("not_ready", "peer_down", "no_keys")]
    site.desk.answer = Far(NO_STORE, *waits)

    found = site.get(ENC)

    assert found.status == 200
    assert site.desk.asked[1] == (
        "sessions@kms-1",
        sessions.EnsureSession(peer="kms-3", sae="sae-1"),
    )
    assert asked(site, keys.GetKey) == ["key_store/kms-3@kms-1"] * 6
    assert asked(site, sessions.EnsureSession) == ["sessions@kms-1"]


def test_a_store_that_is_asked_again_is_told_how_long_somebody_waits(site: Site) -> None:
    site.desk.answer = Far(NO_STORE, *[Failed(code="no_keys", why="")] * 3)

    site.get(ENC)

    first, *again = (body.within for _, body in site.desk.asked if isinstance(body, keys.GetKey))
    patience = site.settings.request_timeout_s
    assert first > patience
    assert again == sorted(again, reverse=True)
    assert all(0 < within < patience for within in again)


def test_later_requests_ask_the_store_alone(site: Site) -> None:
    site.desk.answer = Far()
    site.get(ENC)
    site.desk.asked.clear()

    found = site.get(ENC)

    assert found.status == 200
    assert [to for to, _ in site.desk.asked] == ["key_store/kms-3@kms-1"]


def test_a_session_that_brings_no_bits_in_time_ends_in_a_503(hasty: Site) -> None:
    far = Far()
    far.first = [Failed(code="no_keys", why="")] * 1000
    hasty.desk.answer = far

    found = hasty.get(ENC)

    assert refusal(found) == {"status": 503, "code": "setting_up", "retry": 2}
    assert found.json["message"].startswith(
        "a session with the KME of the other SAE is being set up"
    )


@pytest.mark.parametrize(
    ("code", "status", "told"),
    [
        ("no_route", 503, "no_route"),
        ("not_enough_bits", 503, "not_enough_bits"),
        ("not_enough_disjoint_paths", 503, "not_enough_disjoint_paths"),
        ("no_such_peer", 503, "no_such_peer"),
        ("busy", 503, "busy"),
        ("timeout", 503, "timeout"),
        ("not_allowed", 400, "session_not_allowed"),
    ],
)
def test_a_session_that_is_refused_tells_why_in_our_own_words(
    site: Site, code: str, status: int, told: str
) -> None:
    site.desk.answer = Far(ensured=Failed(code=code, why="words of some other node"))

    found = site.get(ENC)

    assert found.status == status
    assert refusal(found)["code"] == told
    assert (status == 503) == (refusal(found)["retry"] > 0)
    assert "words of some other node" not in str(found.json)


def test_a_node_without_sessions_says_that_nothing_is_shared(site: Site) -> None:
    site.desk.answer = lambda _: NO_STORE

    assert refusal(site.get(ENC)) == {"status": 503, "code": "undeliverable", "retry": 5}


@pytest.mark.parametrize(("code", "retry"), [("no_keys", 1), ("peer_down", 2), ("not_ready", 2)])
def test_a_store_that_gives_nothing_later_is_answered_at_once_and_its_session_looked_after(
    site: Site, code: str, retry: int
) -> None:
    site.desk.answer = lambda _: Failed(code=code, why="")

    first, second = site.get(ENC), site.get(ENC)

    assert refusal(first) == refusal(second) == {"status": 503, "code": code, "retry": retry}
    assert asked(site, sessions.EnsureSession) == ["sessions@kms-1"]


def test_what_one_sae_may_not_is_not_told_another(site: Site) -> None:
    asked_for: list[str] = []

    def desk(body: Message) -> Message:
        if isinstance(body, sessions.EnsureSession):
            asked_for.append(body.sae)
            return sessions.SessionEnsured(code="not_allowed" if len(asked_for) == 1 else "")
        return Failed(code="peer_down", why="")

    site.desk.answer = desk

    assert refusal(site.get(ENC))["code"] == "session_refused"
    assert refusal(site.get(ENC))["code"] == "peer_down"
    assert len(asked_for) == 2


@pytest.mark.parametrize(
    ("code", "told", "retry"),
    [
        ("no_route", "no_route", 5),
        ("not_enough_bits", "not_enough_bits", 5),
        ("not_enough_disjoint_paths", "not_enough_disjoint_paths", 30),
        ("not_allowed", "session_refused", 30),
    ],
)
def test_an_sae_hears_why_the_session_that_it_waits_for_does_not_stand(
    site: Site, code: str, told: str, retry: int
) -> None:
    def desk(body: Message) -> Message:
        if isinstance(body, sessions.EnsureSession):
            return sessions.SessionEnsured(code=code)
        return Failed(code="peer_down", why="")

    site.desk.answer = desk

    assert refusal(site.get(ENC)) == {"status": 503, "code": told, "retry": retry}


def test_a_refusal_that_no_session_would_mend_is_passed_on_at_once(site: Site) -> None:
    far = Far(Failed(code="too_many_undelivered", why=""))
    site.desk.answer = far

    assert refusal(site.get(ENC))["code"] == "too_many_undelivered"
    assert len(site.desk.asked) == 3


def test_a_store_of_this_very_node_has_no_session(site: Site) -> None:
    site.desk.answer = lambda _: NO_STORE

    found = site.get("/api/v1/keys/sae-1b/enc_keys")

    assert refusal(found)["code"] == "undeliverable"
    assert asked(site, sessions.EnsureSession) == []


def test_a_status_before_any_session_says_that_nothing_is_stored_and_sets_up_none(
    site: Site,
) -> None:
    site.desk.answer = Far()

    found = site.get(STATUS)

    assert found.status == 200
    assert (found.json["stored_key_count"], found.json["max_key_count"]) == (0, 0)
    assert found.json["target_KME_ID"] == "KME three"
    assert asked(site, sessions.EnsureSession) == []
    assert site.desk.told == []


@pytest.mark.parametrize("code", ["not_ready", "frozen", "timeout"])
def test_a_status_of_a_store_in_trouble_is_no_status(site: Site, code: str) -> None:
    site.desk.answer = lambda _: Failed(code=code, why="")

    assert refusal(site.get(STATUS))["status"] == 503
