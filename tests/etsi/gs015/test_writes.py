"""What a controller writes: each resource, each verb; good, absent, forbidden, malformed."""

import json
from typing import Any

import pytest

from actors.protocol import intent
from actors.protocol.common import Failed
from etsi.gs015.restconf.problems import MEDIA
from tests.kit.agent import APPS, DATA, INTERFACES, LINKS, NODE, Agent
from tests.kit.wanted import APP_ID, AT, FILE_ID, OWN_ID, PHYS_ID, VIRT_ID, A, B, C

M = "etsi-qkd-sdn-node:"
T = "etsi-qkd-node-types:"
NEW = "c3d7f0aa-8d3c-4f1d-b7d9-0b8a52d7c0ff"
LINK, VIRT = f"{LINKS}/qkd_link={PHYS_ID}", f"{LINKS}/qkd_link={VIRT_ID}"
FRESH, APP = f"{LINKS}/qkd_link={NEW}", f"{APPS}/qkd_app={APP_ID}"
AT_LINKS = f"/{M}qkd_node/qkd_links"
AT_NEW = f"{AT_LINKS}/qkd_link[qkdl_id='{NEW}']"
LIBRARY = f"{DATA}/ietf-yang-library:yang-library"


def phys(**changes: Any) -> dict[str, Any]:
    """A PHYS link as a body; None takes a member out."""
    row = {
        "qkdl_id": NEW,
        "qkdl_type": f"{T}PHYS",
        "qkdl_local": {"qkdn_id": A, "qkdi_id": 1},
        "qkdl_remote": {"qkdn_id": B, "qkdi_id": 2},
    } | changes
    return {f"{M}qkd_link": [{name: it for name, it in row.items() if it is not None}]}


def virt(**changes: Any) -> dict[str, Any]:
    """A VIRT link as a body."""
    return phys(
        **{
            "qkdl_type": f"{T}VIRT",
            "qkdl_local": {"qkdn_id": A},
            "qkdl_remote": {"qkdn_id": C},
            "virt_next_hop": [B],
        }
        | changes
    )


def app(**changes: Any) -> dict[str, Any]:
    """An application as a body."""
    row = {
        "app_id": NEW,
        "server_app_id": "sae-1",
        "client_app_id": ["urn:protokms:sae:sae-3"],
    } | changes
    return {f"{M}qkd_app": [{name: it for name, it in row.items() if it is not None}]}


def leaf(name: str, value: Any) -> dict[str, Any]:
    """One leaf, or one container, as a body."""
    return {f"{M}{name}": value}


GOOD: list[tuple[str, str, Any, int]] = [
    ("POST", LINKS, phys(), 201),
    ("POST", LINKS, virt(), 201),
    ("POST", LINKS, phys(qkdl_id=NEW.upper()), 201),
    ("POST", LINKS, phys(qkdl_local=None), 201),
    ("POST", LINKS, phys(qkdl_enable=False, phys_channel_att="9.250"), 201),
    ("POST", LINKS, virt(virt_bandwidth=256, virt_prev_hop=B), 201),
    ("POST", APPS, app(), 201),
    ("POST", APPS, app(app_qos={"ttl": 60}, expiration_time="2027-01-15T08:00:00+01:00"), 201),
    ("POST", f"{APP}/app_qos", leaf("jitter", 20), 201),
    ("POST", APP, leaf("client_app_id", ["sae-4"]), 201),
    ("PUT", FRESH, phys(), 201),
    ("PUT", FRESH.upper().replace(LINKS.upper(), LINKS).replace("QKD_LINK", "qkd_link"),
     phys(), 201),
    ("PUT", f"{LINKS}/qkd_link={OWN_ID}", virt(qkdl_id=OWN_ID), 201),
    ("PUT", VIRT, virt(qkdl_id=VIRT_ID, virt_next_hop=[C]), 204),
    ("PUT", f"{VIRT}/qkdl_enable", leaf("qkdl_enable", False), 204),
    ("PUT", f"{APP}/app_qos", leaf("app_qos", {"max_bandwidth": 1}), 204),
    ("PUT", f"{APP}/app_qos/jitter", leaf("jitter", 20), 201),
    ("PUT", f"{APP}/client_app_id", leaf("client_app_id", ["sae-3", "sae-4"]), 204),
    ("PUT", f"{APP}/client_app_id=sae-4", leaf("client_app_id", ["sae-4"]), 201),
    ("PUT", f"{NODE}/qkdn_location_id", leaf("qkdn_location_id", "y"), 204),
    ("PATCH", NODE, leaf("qkd_node", {"qkdn_location_id": "y"}), 204),
    ("PATCH", DATA, {"ietf-restconf:data": {f"{M}qkd_node": {"qkdn_location_id": "y"}}}, 204),
    ("PATCH", LINKS, leaf("qkd_links", {"qkd_link": phys()[f"{M}qkd_link"]}), 204),
    ("PATCH", VIRT, virt(qkdl_id=VIRT_ID, qkdl_type=None, virt_next_hop=None,
                         qkdl_local=None, qkdl_remote=None, qkdl_enable=False), 204),
    ("PATCH", f"{APP}/app_qos", leaf("app_qos", {"ttl": 60}), 204),
    ("PATCH", f"{APP}/client_app_id", leaf("client_app_id", ["sae-4"]), 204),
    ("DELETE", LINK, None, 204),
    ("DELETE", APP, None, 204),
    ("DELETE", f"{APP}/app_qos", None, 204),
    ("DELETE", f"{APP}/app_qos/ttl", None, 204),
    ("DELETE", f"{VIRT}/virt_next_hop={B}", None, 204),
    ("DELETE", APPS, None, 204),
]  # fmt: skip

REFUSED: list[tuple[str, str, Any, int, str]] = [
    # Absent
    ("PUT", f"{FRESH}/qkdl_enable", leaf("qkdl_enable", True), 404, "invalid-value"),
    ("PUT", f"{FRESH}/qkdl_local", leaf("qkdl_local", {}), 404, "invalid-value"),
    ("POST", FRESH, leaf("qkdl_enable", True), 404, "invalid-value"),
    ("PATCH", FRESH, phys(), 404, "invalid-value"),
    ("PATCH", f"{LINKS}/qkd_link={OWN_ID}", phys(qkdl_id=OWN_ID), 404, "invalid-value"),
    ("PATCH", f"{APP}/app_qos/jitter", leaf("jitter", 1), 404, "invalid-value"),
    ("DELETE", FRESH, None, 404, "invalid-value"),
    ("DELETE", f"{LINKS}/qkd_link={OWN_ID}", None, 404, "invalid-value"),
    ("DELETE", f"{APP}/app_qos/jitter", None, 404, "invalid-value"),
    ("DELETE", f"{VIRT}/virt_next_hop={A}", None, 404, "invalid-value"),
    ("DELETE", f"{NODE}/nothing", None, 404, "invalid-value"),
    ("PUT", f"{NODE}/nothing", leaf("nothing", 1), 404, "invalid-value"),
    # There already
    ("POST", LINKS, phys(qkdl_id=PHYS_ID), 409, "data-exists"),
    ("POST", LINKS, phys(qkdl_id=PHYS_ID.upper()), 409, "data-exists"),
    ("POST", APPS, app(app_id=APP_ID), 409, "data-exists"),
    ("POST", f"{APP}/app_qos", leaf("ttl", 1), 409, "data-exists"),
    ("POST", APP, leaf("client_app_id", ["sae-3"]), 409, "data-exists"),
    ("POST", NODE, leaf("qkd_links", {}), 409, "data-exists"),
    ("POST", DATA, leaf("qkd_node", {"qkdn_id": A}), 409, "data-exists"),
    # Not theirs
    ("PUT", f"{LINKS}/qkd_link={FILE_ID}", phys(qkdl_id=FILE_ID), 403, "access-denied"),
    ("DELETE", f"{LINKS}/qkd_link={FILE_ID}", None, 403, "access-denied"),
    ("DELETE", LINKS, None, 403, "access-denied"),
    ("DELETE", f"{INTERFACES}/qkd_interface=1", None, 403, "access-denied"),
    ("POST", INTERFACES, leaf("qkd_interface", [{"qkdi_id": 2}]), 403, "access-denied"),
    ("PUT", f"{INTERFACES}/qkd_interface=1/qkdi_model", leaf("qkdi_model", "x"), 403,
     "access-denied"),
    ("PUT", f"{NODE}/qkdn_id", leaf("qkdn_id", B), 403, "access-denied"),
    ("PUT", f"{NODE}/qkdn_version", leaf("qkdn_version", "x"), 403, "access-denied"),
    ("PUT", f"{NODE}/qkdn_capabilities", leaf("qkdn_capabilities",
                                              {"key_relay_mode_enable": False}),
     403, "access-denied"),
    ("PUT", NODE, leaf("qkd_node", {"qkdn_id": A}), 403, "access-denied"),
    # Told by the node
    ("PUT", f"{LINK}/qkdl_status", leaf("qkdl_status", f"{T}OFF"), 400, "invalid-value"),
    ("PATCH", LINK, phys(qkdl_id=PHYS_ID, qkdl_status=f"{T}OFF"), 400, "invalid-value"),
    ("POST", LINKS, phys(qkdl_status=f"{T}ACTIVE"), 400, "invalid-value"),
    ("POST", LINKS, phys(qkdl_performance={"skr": 1}), 400, "invalid-value"),
    ("DELETE", f"{LINK}/qkdl_status", None, 400, "invalid-value"),
    ("DELETE", f"{LINK}/qkdl_performance/skr", None, 400, "invalid-value"),
    ("POST", f"{APP}/app_statistics", leaf("statistics", []), 400, "invalid-value"),
    ("PUT", f"{NODE}/qkdn_status", leaf("qkdn_status", f"{T}OUT"), 400, "invalid-value"),
    ("PUT", LIBRARY, {}, 400, "invalid-value"),
    ("POST", LIBRARY, {}, 400, "invalid-value"),
    ("PATCH", f"{LIBRARY}/content-id", {}, 400, "invalid-value"),
    ("DELETE", LIBRARY, None, 400, "invalid-value"),
    # No such verb here
    ("POST", f"{LINK}/qkdl_enable", {}, 405, "operation-not-supported"),
    ("POST", f"{LINKS}/qkd_link", phys(), 405, "operation-not-supported"),
    ("POST", f"{APP}/client_app_id", {}, 405, "operation-not-supported"),
    ("DELETE", DATA, None, 405, "operation-not-supported"),
    ("PUT", "/restconf", {}, 405, "operation-not-supported"),
    ("POST", "/restconf/operations", {}, 405, "operation-not-supported"),
    ("DELETE", "/restconf/streams/NETCONF", None, 405, "operation-not-supported"),
    # Not one entry
    ("PUT", f"{LINKS}/qkd_link", phys(), 400, "invalid-value"),
    ("PATCH", f"{LINKS}/qkd_link", phys(), 400, "invalid-value"),
    ("DELETE", f"{LINKS}/qkd_link", None, 400, "invalid-value"),
    ("POST", LINKS, {f"{M}qkd_link": []}, 400, "malformed-message"),
    ("POST", LINKS, {f"{M}qkd_link": phys()[f"{M}qkd_link"] * 2}, 400, "invalid-value"),
    ("POST", LINKS, {f"{M}qkd_link": [phys()[f"{M}qkd_link"][0],
                                      virt(qkdl_id=OWN_ID)[f"{M}qkd_link"][0]]},
     400, "malformed-message"),
    # Keys
    ("PUT", FRESH, phys(qkdl_id=OWN_ID), 400, "invalid-value"),
    ("PUT", FRESH, phys(qkdl_id=None), 400, "missing-element"),
    ("PUT", f"{LINK}/qkdl_id", leaf("qkdl_id", NEW), 400, "invalid-value"),
    ("DELETE", f"{LINK}/qkdl_id", None, 400, "invalid-value"),
    # Not JSON, or not of this resource
    ("POST", LINKS, b"", 400, "malformed-message"),
    ("POST", LINKS, b"{", 400, "malformed-message"),
    ("POST", LINKS, b"\xff", 400, "malformed-message"),
    ("POST", LINKS, b"[" * 100_000, 400, "malformed-message"),
    ("POST", LINKS, b"NaN", 400, "malformed-message"),
    ("POST", LINKS, b'{"a": 1, "a": 2}', 400, "malformed-message"),
    ("POST", LINKS, json.dumps(phys()).replace('"qkdl_id"', f'"qkdl_id":"{NEW}","qkdl_id"')
     .encode(), 400, "malformed-message"),
    ("POST", LINKS, b'{"x": ' + b"9" * 5_000 + b"}", 400, "malformed-message"),
    ("POST", LINKS, [], 400, "malformed-message"),
    ("POST", LINKS, {}, 400, "malformed-message"),
    ("POST", LINKS, phys() | virt() | {"x": 1}, 400, "malformed-message"),
    ("POST", LINKS, {"qkd_link": []}, 400, "unknown-element"),
    ("POST", LINKS, app(), 400, "unknown-element"),
    ("POST", LINKS, {"qkd_links": phys()}, 400, "unknown-element"),
    ("PUT", FRESH, app(), 400, "unknown-element"),
    ("PUT", f"{LINK}/qkdl_enable", leaf("virt_bandwidth", 1), 400, "malformed-message"),
    ("PATCH", DATA, leaf("qkd_node", {}), 400, "unknown-element"),
    ("PATCH", DATA, {"ietf-restconf:data": {"qkd_node": {}}}, 400, "unknown-element"),
    # Values
    ("POST", LINKS, phys(qkdl_id="x"), 400, "invalid-value"),
    ("POST", LINKS, phys(qkdl_type="VIRT"), 400, "invalid-value"),
    ("POST", LINKS, phys(qkdl_type=f"{T}QBER"), 400, "invalid-value"),
    ("POST", LINKS, phys(qkdl_enable="true"), 400, "invalid-value"),
    ("POST", LINKS, phys(qkdl_local={"qkdi_id": "1"}), 400, "invalid-value"),
    ("POST", LINKS, phys(qkdl_local=[]), 400, "invalid-value"),
    ("POST", LINKS, phys(phys_channel_att=9.25), 400, "invalid-value"),
    ("POST", LINKS, phys(phys_wavelength="1550.12"), 400, "invalid-value"),
    ("POST", LINKS, virt(virt_bandwidth=1 << 32), 400, "invalid-value"),
    ("POST", LINKS, virt(virt_next_hop=B), 400, "invalid-value"),
    ("POST", LINKS, virt(virt_next_hop=[B, B.upper()]), 400, "invalid-value"),
    ("POST", LINKS, {f"{M}qkd_link": {}}, 400, "invalid-value"),
    ("POST", LINKS, {f"{M}qkd_link": [1]}, 400, "invalid-value"),
    ("POST", LINKS, phys(x=1), 400, "unknown-element"),
    ("POST", LINKS, phys(**{f"{M}qkdl_enable": True}), 400, "unknown-element"),
    ("POST", APPS, app(expiration_time="tomorrow"), 400, "invalid-value"),
    ("POST", APPS, app(client_app_id=["sae-3", "urn:protokms:sae:sae-3"]), 400, "invalid-value"),
    # What goes together
    ("POST", LINKS, phys(virt_bandwidth=1), 400, "unknown-element"),
    ("POST", LINKS, virt(phys_channel_att="1.0"), 400, "unknown-element"),
    ("PUT", f"{LINK}/virt_bandwidth", leaf("virt_bandwidth", 1), 400, "unknown-element"),
    ("POST", LINKS, phys(qkdl_type=None), 400, "missing-element"),
    ("POST", LINKS, phys(qkdl_remote=None), 400, "missing-element"),
    ("POST", LINKS, phys(qkdl_remote={}), 400, "missing-element"),
    ("POST", APPS, app(server_app_id=None), 400, "missing-element"),
    ("POST", APPS, app(client_app_id=None), 400, "missing-element"),
    ("DELETE", f"{LINK}/qkdl_remote", None, 400, "missing-element"),
    ("POST", LINKS, phys(qkdl_local={"qkdi_id": 0}), 409, "data-missing"),
    ("DELETE", NODE, None, 403, "access-denied"),
    ("DELETE", f"{NODE}/qkdn_id", None, 400, "missing-element"),
    # Queries
    ("DELETE", f"{LINK}?depth=1", None, 400, "invalid-value"),
    ("POST", f"{LINKS}?insert=first", phys(), 400, "invalid-value"),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "body", "status"), GOOD)
def test_a_good_write_is_one_write_of_its_owner(
    agent: Agent, method: str, path: str, body: Any, status: int
) -> None:
    before = agent.wanted.revision

    answer = agent.do(method, path, body)

    assert (answer.status, answer.body) == (status, b"")
    assert "Content-Type" not in answer.headers
    (write,) = agent.wanted.writes
    assert write.owner == "controller-1"
    assert agent.wanted.revision == before + 1
    assert answer.headers["ETag"] == f'"{before + 1}"'
    if status == 201:
        there = agent.do("GET", answer.headers["Location"])
        assert there.status == 200
        assert there.headers["ETag"] == answer.headers["ETag"]


@pytest.mark.parametrize(("method", "path", "body", "status", "tag"), REFUSED)
def test_a_write_that_may_not_be_changes_nothing(
    agent: Agent, method: str, path: str, body: Any, status: int, tag: str
) -> None:
    before = dict(agent.wanted.rows)

    answer = agent.do(method, path, body)

    assert (answer.status, answer.tag) == (status, tag)
    assert answer.headers["Content-Type"] == MEDIA
    assert answer.error["error-message"]
    assert agent.wanted.rows == before


PLACES = [
    (LINKS, phys(qkdl_local={"qkdi_id": "1"}), f"{AT_NEW}/qkdl_local/qkdi_id"),
    (LINKS, phys(x=1), AT_NEW),
    (LINKS, phys(qkdl_id="x"), f"{AT_LINKS}/qkd_link/qkdl_id"),
    (LINKS, phys(qkdl_id=PHYS_ID), f"{AT_LINKS}/qkd_link[qkdl_id='{PHYS_ID}']"),
    (LINKS, phys(qkdl_type=None), f"{AT_NEW}/qkdl_type"),
    (LINKS, phys(qkdl_remote={}), f"{AT_NEW}/qkdl_remote/qkdn_id"),
    (LINKS, phys(qkdl_local={"qkdi_id": 0}), f"{AT_NEW}/qkdl_local/qkdi_id"),
    (LINKS, phys(virt_bandwidth=1), f"{AT_NEW}/virt_bandwidth"),
    (LINKS, app(), AT_LINKS),
]


@pytest.mark.parametrize(("path", "body", "place"), PLACES)
def test_a_refusal_says_where(agent: Agent, path: str, body: Any, place: str) -> None:
    assert agent.do("POST", path, body).error["error-path"] == place


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", [LINKS, LINK, FRESH, NODE, LIBRARY])
def test_who_may_only_read_writes_nothing(agent: Agent, method: str, path: str) -> None:
    answer = agent.do(method, path, phys(), who="reader")

    assert (answer.status, answer.tag) == (403, "access-denied")
    assert agent.do("GET", LINK, who="reader").status == 200
    assert not agent.wanted.writes


@pytest.mark.parametrize(
    ("media", "status"),
    [
        (MEDIA, 201),
        (f"{MEDIA}; charset=UTF-8", 201),
        ("Application/YANG-data+json", 201),
        ("application/json", 415),
        ("application/yang-data+xml", 415),
        ("application/yang-patch+json", 415),
        (f"{MEDIA}; charset=latin1", 415),
        ("", 415),
    ],
)
def test_a_body_of_another_type_is_415(agent: Agent, media: str, status: int) -> None:
    assert agent.do("POST", LINKS, phys(), media=media).status == status


def test_a_body_that_is_too_large_is_413(agent: Agent) -> None:
    answer = agent.do("POST", LINKS, b" " * ((1 << 20) + 1))

    assert (answer.status, answer.tag) == (413, "too-big")


DENIALS = [
    ("malformed", 400, "invalid-value"),
    ("no_path", 400, "invalid-value"),
    ("data_exists", 409, "data-exists"),
    ("data_missing", 409, "data-missing"),
    ("in_use", 409, "in-use"),
    ("access_denied", 403, "access-denied"),
    ("resource_denied", 409, "resource-denied"),
    ("no_room", 409, "resource-denied"),
    ("store_full", 503, "resource-denied"),
]


@pytest.mark.parametrize(("code", "status", "tag"), DENIALS)
def test_what_the_node_denies_is_told_with_its_reason(
    agent: Agent, code: str, status: int, tag: str
) -> None:
    agent.wanted.denial = intent.Denied(code=code, why="because", edit=0, owner="somebody")

    answer = agent.do("POST", LINKS, phys())

    assert (answer.status, answer.tag) == (status, tag)
    assert answer.error["error-message"] == "because; its owner is somebody"
    assert answer.error["error-path"] == AT_NEW
    assert answer.error.get("error-app-tag") == ("no-path" if code == "no_path" else None)
    assert ("Retry-After" in answer.headers) is (status == 503)


def test_every_refusal_of_the_node_has_a_status(agent: Agent) -> None:
    assert {code for code, _, _ in DENIALS} | {"stale"} == set(intent.CODES)


def test_a_row_becomes_what_was_written(agent: Agent) -> None:
    agent.do("POST", LINKS, virt(virt_prev_hop=B, virt_bandwidth=7, qkdl_applications=[APP_ID]))
    qos = {"max_bandwidth": 1, "min_bandwidth": 2, "jitter": 3, "ttl": 4}
    body = app(
        client_app_id=["sae-3", "a/b"],
        app_priority=9,
        expiration_time="2027-01-15T09:00:00+01:00",
        app_qos=qos | {"clients_shared_path_enable": True},
        backing_qkdl_id=[NEW],
        local_qkdn_id=A,
        remote_qkdn_id=C,
    )
    agent.do("POST", APPS, body)

    link, application = (write.edits[0] for write in agent.wanted.writes)
    assert link == intent.Edit(
        *("put", "link", NEW),
        link=intent.Link("virt", A, C, prev=B, hops=(B,), bandwidth=7, applications=(APP_ID,)),
        fields=intent.ANY_ORDER,
        if_revision=0,
    )
    assert application == intent.Edit(
        *("put", "application", NEW),
        application=intent.Application(
            *("sae-1", ("sae-3", "a/b"), "client", 9, AT, 1, 2, 3, 4),
            shared_path=True,
            links=(NEW,),
            local=A,
            remote=C,
        ),
        if_revision=0,
    )


def test_what_was_read_can_be_written_back_and_changes_nothing(agent: Agent) -> None:
    for path in (DATA, NODE, LINKS, LINK, APP, f"{NODE}/qkdn_capabilities"):
        told = agent.do("GET", f"{path}?content=config").json
        assert agent.do("PUT", path, told).status == 204
        assert agent.do("PATCH", path, told).status == 204

    assert not agent.wanted.writes


@pytest.mark.parametrize(
    ("path", "name", "value"),
    [
        (f"{APP}/client_app_id", "client_app_id", "sae-3"),
        (f"{VIRT}/virt_next_hop", "virt_next_hop", B),
    ],
)
@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_a_value_of_a_leaf_list_that_is_there_is_written_and_changes_nothing(
    agent: Agent, method: str, path: str, name: str, value: str
) -> None:
    assert agent.do(method, f"{path}={value}", leaf(name, [value])).status == 204
    assert not agent.wanted.writes


def test_the_last_moment_that_can_be_written_can_be_read(agent: Agent) -> None:
    last = leaf("expiration_time", "9999-12-31T23:59:59.999999Z")

    assert agent.do("PUT", f"{APP}/expiration_time", last).status == 204
    told = agent.do("GET", f"{APP}/expiration_time")

    assert told.json == leaf("expiration_time", "9999-12-31T23:59:59Z")


def test_a_write_of_several_rows_is_one(agent: Agent) -> None:
    told = agent.do("GET", f"{LINKS}?content=config").json
    rows = told[f"{M}qkd_links"]["qkd_link"]
    rows[:] = [row for row in rows if row["qkdl_id"] != PHYS_ID]
    rows.append(phys()[f"{M}qkd_link"][0])

    assert agent.do("PUT", LINKS, told).status == 204

    (write,) = agent.wanted.writes
    assert [(edit.verb, edit.id) for edit in write.edits] == [("remove", PHYS_ID), ("put", NEW)]


def test_more_rows_than_a_write_may_change_are_refused(agent: Agent) -> None:
    base = phys()[f"{M}qkd_link"][0]
    rows = [base | {"qkdl_id": f"{number:08x}{NEW[8:]}"} for number in range(257)]

    answer = agent.do("PATCH", LINKS, leaf("qkd_links", {"qkd_link": rows}))

    assert (answer.status, answer.tag) == (413, "too-big")
    assert not agent.wanted.writes


# Others write, too


def theirs(link: str = VIRT_ID) -> intent.Write:
    """What somebody else writes."""
    row = intent.Link("virt", A, C, bandwidth=99)
    return intent.Write(owner="controller-1", edits=(intent.Edit("put", "link", link, link=row),))


CONDITIONS = [
    ("PUT", VIRT, 'If-Match: "4"', 204),
    ("PUT", VIRT, 'If-Match: "5"', 412),
    ("PUT", VIRT, "If-Unmodified-Since: Fri, 15 Jan 2027 08:00:04 GMT", 204),
    ("PUT", VIRT, "If-Unmodified-Since: Fri, 15 Jan 2027 08:00:03 GMT", 412),
    ("PUT", VIRT, "If-None-Match: *", 412),
    ("PUT", FRESH, "If-None-Match: *", 201),
    ("PUT", FRESH, "If-Match: *", 412),
    ("PUT", VIRT, "If-Match: 4", 400),
    ("POST", LINKS, 'If-Match: "5"', 201),
    ("POST", LINKS, 'If-Match: "4"', 412),
    ("DELETE", VIRT, 'If-Match: "4"', 204),
    ("DELETE", VIRT, 'If-Match: "3"', 412),
]


@pytest.mark.parametrize(("method", "path", "field", "status"), CONDITIONS)
def test_a_write_may_depend_on_what_is_there(
    agent: Agent, method: str, path: str, field: str, status: int
) -> None:
    id_ = path[-36:] if path != LINKS else NEW
    answer = agent.do(method, path, virt(qkdl_id=id_), field)

    assert answer.status == status
    assert bool(agent.wanted.writes) is (status < 400)
    if status == 412:
        assert answer.tag == "operation-failed"


@pytest.mark.parametrize(
    "field", ['If-Match: "4"', "If-Unmodified-Since: Fri, 15 Jan 2027 08:00:04 GMT"]
)
def test_a_write_that_loses_a_race_is_412_if_it_said_so(agent: Agent, field: str) -> None:
    agent.wanted.before_write = [theirs()]

    answer = agent.do("PUT", VIRT, virt(qkdl_id=VIRT_ID), field)

    assert (answer.status, answer.tag) == (412, "operation-failed")
    link = agent.wanted.rows["link", VIRT_ID].link
    assert link
    assert link.bandwidth == 99


def test_a_write_of_a_container_that_loses_a_race_is_412_if_it_said_so(agent: Agent) -> None:
    agent.wanted.before_write = [theirs()]

    answer = agent.do("POST", LINKS, phys(), 'If-Match: "5"')

    assert answer.status == 412
    assert ("link", NEW) not in agent.wanted.rows


def test_without_a_condition_a_write_goes_on_what_the_other_has_left(agent: Agent) -> None:
    agent.wanted.before_write = [theirs()]

    answer = agent.do("PATCH", f"{VIRT}/qkdl_enable", leaf("qkdl_enable", False))

    assert answer.status == 204
    link = agent.wanted.rows["link", VIRT_ID].link
    assert link
    assert (link.bandwidth, link.enabled) == (99, False)


def test_who_always_loses_the_race_hears_so(agent: Agent) -> None:
    agent.wanted.before_write = [theirs() for _ in range(10)]

    answer = agent.do("PUT", f"{VIRT}/qkdl_enable", leaf("qkdl_enable", False))

    assert (answer.status, answer.tag) == (503, "resource-denied")


def test_an_entry_that_somebody_else_makes_meanwhile_is_there_already(agent: Agent) -> None:
    agent.wanted.before_write = [theirs(NEW)]

    answer = agent.do("POST", LINKS, phys())

    assert (answer.status, answer.tag) == (409, "data-exists")


def test_a_write_without_an_answer_may_have_been_made(agent: Agent) -> None:
    agent.wanted.failure = Failed(code="timeout", why="no answer")

    answer = agent.do("DELETE", LINK)

    assert answer.status == 503
    assert "may have been" in answer.error["error-message"]
