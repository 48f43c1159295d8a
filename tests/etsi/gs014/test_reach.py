"""Pairs of SAEs whose KMEs share no quantum link: a session on demand, a bounded wait."""

from collections.abc import Iterator
from typing import Any

import pytest

from actors.protocol import keys, sessions
from actors.protocol.common import Failed
from etsi.gs014.api import RETRY_MAX_S
from tests.kit.site import Answer, Site, answer, options
from transport.message import Message

ENC, STATUS = "/api/v1/keys/sae-3/enc_keys", "/api/v1/keys/sae-3/status"
NO_STORE = Failed(code="undeliverable", why="key_store/kms-3@kms-1")


class Far:
    """Stands for `sessions` and the key store of kms-3, which is there once it was asked for."""

    def __init__(
        self, *first: Message, ensured: Message | None = None, turn: Message | None = None
    ) -> None:
        self.ensured: Message = ensured or sessions.SessionEnsured()
        self.turn: Message = turn or keys.Wait(seconds=0.0)
        self.first = list(first)
        self.there = False

    def __call__(self, body: Message) -> Message:
        if isinstance(body, sessions.EnsureSession):
            self.there = isinstance(self.ensured, sessions.SessionEnsured)
            return self.ensured
        if isinstance(body, keys.AskTurn):
            return self.turn
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
    assert site.desk.asked[1:3] == [
        ("multicast@kms-1", keys.AskTurn(master="sae-1", slaves=("sae-3",), octets=0)),
        ("sessions@kms-1", sessions.EnsureSession(peer="kms-3", sae="sae-1")),
    ]
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


@pytest.mark.parametrize("path", [ENC, STATUS])
def test_no_session_is_made_for_a_pair_that_may_have_no_keys(site: Site, path: str) -> None:
    why = "no application lets this SAE have keys with SAE sae-3"
    site.desk.answer = Far(turn=Failed(code="not_permitted", why=why))

    found = site.get(path)

    assert refusal(found) == {"status": 401, "code": "not_permitted", "retry": 0}
    assert found.json["message"] == why
    assert asked(site, sessions.EnsureSession) == []


@pytest.mark.parametrize(("seconds", "retry"), [(0.0, 1), (6.2, 7), (1e6, RETRY_MAX_S)])
def test_past_a_rate_an_sae_hears_the_rule_and_when_there_is_more(
    site: Site, seconds: float, retry: int
) -> None:
    def desk(body: Message) -> Message:
        if isinstance(body, keys.AskTurn):
            return keys.Wait(seconds=seconds)
        return Failed(code="over_rate", why="policy gold gives 1,024 bit/s")

    site.desk.answer = desk

    found = site.get(f"{ENC}?number=3&size=256")

    assert refusal(found) == {"status": 503, "code": "over_rate", "retry": retry}
    assert found.json["message"] == "policy gold gives 1,024 bit/s"
    assert site.desk.asked[-1] == (
        "key_store/kms-3@kms-1",
        keys.AskTurn(master="sae-1", slaves=("sae-3",), octets=96),
    )


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
        ("too_many_sessions", 503, "too_many_sessions"),
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


@pytest.mark.parametrize(("seconds", "retry"), [(0.0, 1), (0.2, 1), (30.9, 31), (1e9, RETRY_MAX_S)])
@pytest.mark.parametrize("kms", ["kms-2", "kms-3"])
def test_who_finds_no_bits_hears_when_there_will_be_some(
    site: Site, kms: str, seconds: float, retry: int
) -> None:
    def desk(body: Message) -> Message:
        if isinstance(body, keys.AskWait):
            return keys.Wait(seconds=seconds)
        return Failed(code="no_keys", why="")

    site.desk.answer = desk
    path = ENC if kms == "kms-3" else ENC.replace("sae-3", "sae-2")

    found = site.get(f"{path}?number=3&size=512")

    assert refusal(found)["code"] == "no_keys"
    assert retry - 1 <= refusal(found)["retry"] <= retry  # some of it may have passed
    assert (f"key_store/{kms}@kms-1", keys.AskWait(octets=3 * 64)) in site.desk.asked


def test_while_a_session_is_set_up_who_waits_hears_for_how_long(hasty: Site) -> None:
    ensured: list[Message] = []

    def desk(body: Message) -> Message:
        if isinstance(body, sessions.EnsureSession):
            ensured.append(body)
            return sessions.SessionEnsured()
        if isinstance(body, keys.AskWait):
            return keys.Wait(seconds=40.0)
        return Failed(code="no_keys", why="") if ensured else NO_STORE

    hasty.desk.answer = desk

    assert refusal(hasty.get(ENC)) == {"status": 503, "code": "setting_up", "retry": 40}


def test_the_stores_are_not_asked_again_for_each_of_many_refusals(site: Site) -> None:
    site.desk.answer = lambda _: Failed(code="no_keys", why="")

    for _ in range(20):
        assert refusal(site.get(ENC))["retry"] == 1

    assert len(asked(site, keys.AskWait)) < 20


def test_keys_for_saes_at_several_kmss_come_when_the_last_has_bits(site: Site) -> None:
    waits = {"key_store/kms-2@kms-1": 9.0, "key_store/kms-3@kms-1": 17.0}

    def desk(body: Message) -> Message:
        if isinstance(body, keys.AskWait):
            return keys.Wait(seconds=waits[site.desk.asked[-1][0]])
        return Failed(code="no_keys", why="")

    site.desk.answer = desk

    found = site.post(ENC, {"additional_slave_SAE_IDs": ["sae-2"]})

    assert refusal(found)["code"] == "no_keys"
    assert refusal(found)["retry"] in (16, 17)


@pytest.mark.parametrize(
    ("code", "told"),
    [("not_allowed", "session_refused"), ("too_many_sessions", "too_many_sessions")],
)
def test_what_one_sae_may_not_is_not_told_another(site: Site, code: str, told: str) -> None:
    asked_for: list[str] = []

    def desk(body: Message) -> Message:
        if isinstance(body, sessions.EnsureSession):
            asked_for.append(body.sae)
            return sessions.SessionEnsured(code=code if len(asked_for) == 1 else "")
        return Failed(code="peer_down", why="")

    site.desk.answer = desk

    assert refusal(site.get(ENC))["code"] == told
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
    assert len(asked(site, keys.GetKey)) == 2
    assert len(asked(site, sessions.EnsureSession)) == 1


def test_a_store_of_this_very_node_has_no_session(site: Site) -> None:
    site.desk.answer = lambda _: NO_STORE

    found = site.get("/api/v1/keys/sae-1b/enc_keys")

    assert refusal(found)["code"] == "undeliverable"
    assert asked(site, sessions.EnsureSession) == []


def test_a_status_before_any_session_begins_one(site: Site) -> None:
    site.desk.answer = Far()

    found = site.get(STATUS)

    assert found.status == 200
    assert (found.json["stored_key_count"], found.json["max_key_count"]) == (25, 1000)
    assert found.json["target_KME_ID"] == "KME three"
    ensure = sessions.EnsureSession(peer="kms-3", sae="sae-1")
    assert site.desk.asked[2] == ("sessions@kms-1", ensure)
    assert len(site.desk.asked) == 4


def test_a_status_of_a_store_that_is_just_made_says_that_nothing_is_stored(site: Site) -> None:
    site.desk.answer = Far(Failed(code="not_ready", why=""))

    found = site.get(STATUS)

    assert found.status == 200
    assert (found.json["stored_key_count"], found.json["max_key_count"]) == (0, 0)


@pytest.mark.parametrize("code", ["not_allowed", "too_many_sessions", "no_such_peer", "timeout"])
def test_a_status_whose_session_is_not_allowed_says_that_nothing_is_stored(
    site: Site, code: str
) -> None:
    site.desk.answer = Far(ensured=Failed(code=code, why=""))

    for _ in range(2):
        found = site.get(STATUS)
        assert found.status == 200
        assert (found.json["stored_key_count"], found.json["max_key_count"]) == (0, 0)
    assert len(asked(site, sessions.EnsureSession)) == 2


def test_an_empty_store_has_its_session_looked_after_now_and_then(site: Site) -> None:
    def desk(body: Message) -> Message:
        if isinstance(body, sessions.EnsureSession):
            return sessions.SessionEnsured()
        return keys.Stock(stored=0, capacity=1000)

    site.desk.answer = desk

    for _ in range(3):
        found = site.get(STATUS)
        assert (found.json["stored_key_count"], found.json["max_key_count"]) == (0, 1000)
    assert asked(site, sessions.EnsureSession) == ["sessions@kms-1"]


def test_a_store_with_keys_needs_no_session_for_its_status(site: Site) -> None:
    site.get(STATUS)

    assert asked(site, sessions.EnsureSession) == []


def test_a_status_of_this_very_node_begins_no_session(site: Site) -> None:
    site.desk.answer = lambda _: keys.Stock(stored=0, capacity=0)

    assert site.get("/api/v1/keys/sae-1b/status").status == 200
    assert asked(site, sessions.EnsureSession) == []


@pytest.mark.parametrize("code", ["not_ready", "frozen", "timeout"])
def test_a_status_of_a_store_in_trouble_is_no_status(site: Site, code: str) -> None:
    site.desk.answer = lambda _: Failed(code=code, why="")

    assert refusal(site.get(STATUS))["status"] == 503


@pytest.mark.parametrize(
    ("ensured", "code", "words", "retry"),
    [
        (
            Failed(code="too_many_sessions", why="max_sessions_per_sae"),
            "too_many_sessions",
            "(max_sessions_per_sae of kms-1)",
            60,
        ),
        (
            sessions.SessionEnsured(code="link_full", node="kms-2", limit="max_lanes"),
            "link_full",
            "(max_lanes of kms-2)",
            15,
        ),
    ],
)
def test_a_limit_that_is_reached_is_named_and_whose_it_is(
    site: Site, ensured: Message, code: str, words: str, retry: int
) -> None:
    def desk(body: Message) -> Message:
        if isinstance(body, sessions.EnsureSession):
            return ensured
        return NO_STORE if isinstance(ensured, Failed) else Failed(code="peer_down", why="")

    site.desk.answer = desk

    found = site.get(ENC)

    assert refusal(found) == {"status": 503, "code": code, "retry": retry}
    assert found.json["message"].endswith(words)
