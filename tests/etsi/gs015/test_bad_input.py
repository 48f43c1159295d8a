"""The agent on the actor that keeps the rows: each kind of bad input, and its status and tag.

A node has one quantum link of its configuration, over its one interface; two controllers and the
command line have rows as well. Nothing of what is refused here changes anything.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from actors.protocol import intent
from protokms.testing.kms import KmsNetwork
from tests.etsi.gs015.test_writes import M, app, leaf, phys, virt
from tests.kit.agent import APPS, DATA, INTERFACES, LINKS, NODE, Agent
from tests.kit.configured import OfActor

A, B, C = (f"00000000-0000-4000-8000-{number:012}" for number in (1, 2, 3))
MINE, THEIRS, APP, NEW = (f"c3d7f0aa-8d3c-4f1d-b7d9-0b8a52d7c00{number}" for number in range(4))
NOBODY = "99999999-0000-4000-8000-000000000001"
FILE = intent.link_id(intent.PHYS, A, B)
TO_C = {"qkdl_local": {"qkdn_id": A}, "qkdl_remote": {"qkdn_id": C}}
TO_B = {"qkdl_local": {"qkdn_id": A, "qkdi_id": 1}, "qkdl_remote": {"qkdn_id": B}}
LINK, APPLICATION = f"{LINKS}/qkd_link={MINE}", f"{APPS}/qkd_app={APP}"
AGAIN = virt(qkdl_id=NEW, **TO_C, virt_next_hop=None)
"""A second VIRT link for one pair."""
WRITES = ("POST", "PUT", "PATCH", "DELETE")


@pytest.fixture(scope="module")
def real() -> Iterator[Agent]:
    """Rows of the file, of two controllers, and of nobody: a session for an SAE."""
    kms = KmsNetwork("kms-1--kms-2 kms-2--kms-3 kms-3--kms-4", link={"rate_bit_s": 40e3})
    kms.advance(6.0)
    made = Agent()
    made.wanted = OfActor(kms, "kms-1")  # type: ignore[assignment]
    mine = virt(qkdl_id=MINE, **TO_C, virt_next_hop=[B, C], virt_bandwidth=100)
    assert made.do("POST", LINKS, mine).status == 201
    theirs = virt(qkdl_id=THEIRS, qkdl_local={"qkdn_id": C}, qkdl_remote={"qkdn_id": A},
                  virt_prev_hop=B, virt_next_hop=None)  # fmt: skip
    assert made.do("POST", LINKS, theirs, who="controller-2").status == 201
    assert made.do("POST", APPS, app(app_id=APP)).status == 201
    kms.advance(12.0)
    yield made
    made.close()


def rows(agent: Agent) -> Any:
    """What is configured."""
    return agent.do("GET", f"{DATA}?content=config").json


CASES: list[tuple[str, str, Any, str, int, str]] = [
    # POST of what exists; second VIRT for one pair; interface bound already
    ("POST", LINKS, virt(qkdl_id=MINE, **TO_C), "controller-1", 409, "data-exists"),
    ("POST", LINKS, virt(qkdl_id=MINE.upper(), **TO_C), "controller-1", 409, "data-exists"),
    ("POST", LINKS, phys(qkdl_id=FILE, **TO_B), "controller-1", 409, "data-exists"),
    ("POST", APPS, app(app_id=APP), "controller-1", 409, "data-exists"),
    ("POST", APPS, app(app_id=NEW), "controller-1", 409, "data-exists"),
    ("POST", LINKS, AGAIN, "controller-1", 409, "data-exists"),
    ("POST", LINKS, AGAIN, "controller-2", 409, "data-exists"),
    ("PUT", f"{LINKS}/qkd_link={NEW}", AGAIN, "controller-1", 409,
     "data-exists"),
    ("POST", LINKS, phys(qkdl_id=NEW, qkdl_local={"qkdi_id": 1}, qkdl_remote={"qkdn_id": C}),
     "controller-1", 409, "in-use"),
    ("POST", LINKS, phys(qkdl_id=NEW, qkdl_local=None, qkdl_remote={"qkdn_id": C}),
     "controller-1", 409, "in-use"),
    # qkdn_id, interface or app not known
    ("POST", LINKS, virt(qkdl_id=NEW, qkdl_local={"qkdn_id": A}, qkdl_remote={"qkdn_id": NOBODY}),
     "controller-1", 409, "data-missing"),
    ("POST", LINKS, virt(qkdl_id=NEW, **TO_C, virt_next_hop=[NOBODY, C]), "controller-1", 409,
     "data-missing"),
    ("PUT", f"{LINK}/virt_prev_hop", leaf("virt_prev_hop", NOBODY), "controller-1", 409,
     "data-missing"),
    ("POST", LINKS, phys(qkdl_id=NEW, qkdl_local={"qkdi_id": 9}, qkdl_remote={"qkdn_id": C}),
     "controller-1", 409, "data-missing"),
    ("POST", LINKS, phys(qkdl_id=NEW, qkdl_local={"qkdi_id": 0}, qkdl_remote={"qkdn_id": C}),
     "controller-1", 409, "data-missing"),
    ("POST", APPS, app(app_id=NEW, server_app_id="sae-77"), "controller-1", 409, "data-missing"),
    ("POST", APPS, app(app_id=NEW, client_app_id=["urn:protokms:sae:sae-77"]), "controller-1",
     409, "data-missing"),
    ("PUT", f"{LINK}/qkdl_applications", leaf("qkdl_applications", [NOBODY]), "controller-1",
     409, "data-missing"),
    # A row from node.toml, or of another owner
    ("PUT", f"{LINKS}/qkd_link={FILE}/qkdl_enable", leaf("qkdl_enable", False), "controller-1",
     403, "access-denied"),
    ("DELETE", f"{LINKS}/qkd_link={FILE}", None, "controller-1", 403, "access-denied"),
    ("DELETE", LINK, None, "controller-2", 403, "access-denied"),
    ("PATCH", f"{LINKS}/qkd_link={THEIRS}",
     {f"{M}qkd_link": [{"qkdl_id": THEIRS, "qkdl_enable": False}]}, "controller-1", 403,
     "access-denied"),
    ("DELETE", APPLICATION, None, "controller-2", 403, "access-denied"),
    ("PUT", f"{INTERFACES}/qkd_interface=1/qkdi_model", leaf("qkdi_model", "x"), "controller-1",
     403, "access-denied"),
    # Several next hops none of which is the remote; what is no path
    ("POST", LINKS, virt(qkdl_id=NEW, qkdl_local={"qkdn_id": A},
                         qkdl_remote={"qkdn_id": "00000000-0000-4000-8000-000000000004"},
                         virt_next_hop=[B, C]), "controller-1", 400, "invalid-value"),
    ("PUT", f"{LINK}/virt_next_hop", leaf("virt_next_hop", [A, C]), "controller-1", 400,
     "invalid-value"),
    ("POST", LINKS, virt(qkdl_id=NEW, qkdl_local={"qkdn_id": A}, qkdl_remote={"qkdn_id": A}),
     "controller-1", 400, "invalid-value"),
    ("POST", LINKS, phys(qkdl_id=NEW, qkdl_local={"qkdn_id": B}, qkdl_remote={"qkdn_id": C}),
     "controller-1", 400, "invalid-value"),
    ("POST", APPS, app(app_id=NEW, client_app_id=["sae-1"]), "controller-1", 400,
     "invalid-value"),
    ("PUT", f"{APPLICATION}/app_qos",
     leaf("app_qos", {"min_bandwidth": 2, "max_bandwidth": 1}), "controller-1", 400,
     "invalid-value"),
    ("PUT", f"{APPLICATION}/app_qos/ttl", leaf("ttl", 0), "controller-1", 400, "invalid-value"),
    # Who is nobody here, or may only read
    ("GET", NODE, None, "sae-1", 401, "access-denied"),
    *((verb, LINK, phys(), "reader", 403, "access-denied") for verb in WRITES),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body", "who", "status", "tag"), CASES)
def test_bad_input_is_refused_as_the_table_says(
    real: Agent, method: str, path: str, body: Any, who: str, status: int, tag: str
) -> None:
    before = rows(real)

    answer = real.do(method, path, body, who=who)

    assert (answer.status, answer.tag) == (status, tag), answer.error
    assert answer.error["error-message"]
    assert rows(real) == before, "nothing is half applied"


@pytest.mark.parametrize(
    ("path", "who", "owner"),
    [
        (f"{LINKS}/qkd_link={FILE}", "controller-1", "file"),
        (f"{LINKS}/qkd_link={THEIRS}", "controller-1", "controller-2"),
        (LINK, "controller-2", "controller-1"),
    ],
)
def test_a_row_of_another_is_refused_with_its_owner(
    real: Agent, path: str, who: str, owner: str
) -> None:
    assert owner in real.do("DELETE", path, who=who).error["error-message"]


def test_an_entry_of_several_that_may_not_be_leaves_out_all(real: Agent) -> None:
    before = rows(real)
    good = virt(qkdl_id=NEW, qkdl_local={"qkdn_id": A}, virt_next_hop=None,
                qkdl_remote={"qkdn_id": "00000000-0000-4000-8000-000000000004"})  # fmt: skip
    bad = virt(qkdl_id=NOBODY, qkdl_local={"qkdn_id": A}, qkdl_remote={"qkdn_id": NOBODY})
    both = [good[f"{M}qkd_link"][0], bad[f"{M}qkd_link"][0]]

    answer = real.do("PATCH", LINKS, leaf("qkd_links", {"qkd_link": both}))

    assert (answer.status, answer.tag) == (409, "data-missing")
    assert NOBODY in answer.error["error-path"]
    assert rows(real) == before


@pytest.mark.parametrize(
    ("field", "status"),
    [
        ('If-Match: "0"', 412),
        ("If-Match: *", 204),
        ("If-Unmodified-Since: Fri, 15 Jan 2027 08:00:00 GMT", 412),
        ("If-Unmodified-Since: Fri, 15 Jan 2100 08:00:00 GMT", 204),
        ("If-None-Match: *", 412),
    ],
)
def test_a_condition_that_does_not_hold_is_412(real: Agent, field: str, status: int) -> None:
    same = real.do("GET", f"{LINK}?content=config").json

    answer = real.do("PUT", LINK, same, field)

    assert answer.status == status
    if status == 412:
        assert answer.tag == "operation-failed"


def test_what_is_told_has_ids_in_lower_case_times_with_z_and_saes_as_urns(real: Agent) -> None:
    upper = app(
        app_id=APP.upper(),
        server_app_id="urn:protokms:sae:sae-1",
        expiration_time="2100-01-01T01:00:00+01:00",
        backing_qkdl_id=[MINE.upper()],
        remote_qkdn_id=C.upper(),
    )
    assert real.do("PUT", f"{APPS}/qkd_app={APP.upper()}", upper).status == 204

    (told,) = real.do("GET", APPLICATION).json[f"{M}qkd_app"]

    assert (told["app_id"], told["remote_qkdn_id"]) == (APP, C)
    assert told["backing_qkdl_id"] == [MINE]
    assert told["expiration_time"] == "2100-01-01T00:00:00Z"
    assert told["creation_time"].endswith("Z")
    assert [told["server_app_id"], *told["client_app_id"]] == [
        "urn:protokms:sae:sae-1",
        "urn:protokms:sae:sae-3",
    ]


def test_what_a_link_names_may_be_an_application_that_the_node_has_made(real: Agent) -> None:
    kms = real.wanted.kms  # type: ignore[attr-defined]
    kms.enc("sae-1", "sae-2")
    kms.advance(6.0)
    own = intent.application_id("sae-1", ["sae-2"])
    assert real.do("GET", f"{APPS}/qkd_app={own}").status == 200
    assert real.do("GET", f"{APPS}/qkd_app={own}?content=config").status == 404

    for id_ in (own, APP):
        answer = real.do("PUT", f"{LINK}/qkdl_applications", leaf("qkdl_applications", [id_]))
        assert answer.status in (201, 204)


def test_what_is_not_refused_is_done(real: Agent) -> None:
    """Last, since it changes rows."""
    assert real.do("PUT", f"{LINK}/qkdl_enable", leaf("qkdl_enable", False)).status == 204
    assert real.do("DELETE", LINK).status == 204
    assert real.do("GET", LINK).status == 404
    assert real.do("DELETE", LINK).status == 404


def test_an_interface_without_a_key_for_the_peer_is_refused_and_others_are_chosen() -> None:
    kms = KmsNetwork("kms-1--kms-2 kms-1--kms-3 kms-3--kms-4", bare=True)
    agent = Agent()
    agent.wanted = OfActor(kms, "kms-1")  # type: ignore[assignment]
    to_c = {"qkdl_remote": {"qkdn_id": C}}

    wrong = agent.do("POST", LINKS, phys(qkdl_id=NEW, qkdl_local={"qkdi_id": 1}, **to_c))
    assert (wrong.status, wrong.tag) == (409, "data-missing")
    assert "interface 1" in wrong.error["error-message"]
    assert agent.do("POST", LINKS, phys(qkdl_id=NEW, qkdl_local=None, **to_c)).status == 201
    (made,) = agent.do("GET", f"{LINKS}/qkd_link={NEW}").json[f"{M}qkd_link"]
    assert made["qkdl_local"]["qkdi_id"] == 2
    agent.close()
