"""The dialect of TeraFlowSDN: its recorded requests, and the answers that its driver looks for."""

from typing import Any

import pytest

from actors.protocol import alarms, intent
from tests.kit.agent import DATA, LINKS, NODE, Agent, Answer
from tests.kit.wanted import FILE_ID, PHYS_ID, VIRT_ID, A, B, C

NEW, OTHER = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"
T = "etsi-qkd-node-types:"


def ask(agent: Agent, method: str, path: str, body: Any = None, *head: str) -> Answer:
    """Send a request as its driver does."""
    return agent.do(
        method, path, body, "Accept: */*", *head, who="teraflow", media="application/json"
    )


def post(agent: Agent, **row: Any) -> Answer:
    return ask(agent, "POST", f"{LINKS}/", {"qkd_links": {"qkd_link": [row]}})


def phys(**changes: Any) -> dict[str, Any]:
    return {
        "qkdl_id": NEW,
        "qkdl_type": f"{T}PHYS",
        "qkdl_local": {"qkdn_id": A, "qkdi_id": 2},
        "qkdl_remote": {"qkdn_id": C, "qkdi_id": 1},
    } | changes


def virt(**changes: Any) -> dict[str, Any]:
    return {
        "qkdl_id": NEW,
        "qkdl_type": f"{T}VIRT",
        "qkdl_local": {"qkdn_id": A, "qkdi_id": 0},
        "qkdl_remote": {"qkdn_id": B, "qkdi_id": 0},
        "virt_prev_hop": None,
        "virt_next_hop": [C, B],
        "virt_bandwidth": 0,
    } | changes


def test_it_connects_with_the_one_request_that_has_no_slash(agent: Agent) -> None:
    answer = ask(agent, "GET", NODE)

    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/yang-data+json"


def test_the_node_is_told_bare(agent: Agent) -> None:
    answer = ask(agent, "GET", f"{NODE}/")

    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json["qkdn_id"] == A
    assert answer.json["qkdn_status"] == "OPERATING"
    assert set(answer.json) >= {"qkdn_capabilities", "qkd_interfaces", "qkd_links"}


def test_an_interface_has_a_place_that_is_an_end_point(agent: Agent) -> None:
    rows = agent.wanted.rows
    for number, module in (("2", "emulated"), ("3", "")):  # of another process: not known
        bare = intent.Interface(number=int(number), module=module)
        rows["interface", number] = intent.Entry(
            *("interface", number, "file", 1, 0.0), facts=intent.Facts("enabled"), interface=bare
        )

    told = ask(agent, "GET", f"{NODE}/qkd_interfaces/").json["qkd_interface"]

    assert [row["qkdi_id"] for row in told] == [1, 2, 3]
    assert [row["qkdi_att_point"] for row in told] == [
        {"device": "osw-a", "port": 12, "uuid": "osw-a:12"},
        {"device": "emulated", "port": 2, "uuid": "emulated:2"},
        {"device": "interface", "port": 3, "uuid": "interface:3"},
    ]
    assert told[0]["qkdi_type"] == "DV-QKD"


def test_links_are_a_flat_list_with_what_its_handler_looks_for(agent: Agent) -> None:
    told = ask(agent, "GET", f"{LINKS}/").json["qkd_links"]

    found = {row["uuid"]: row for row in told}
    assert found[PHYS_ID] | {"uuid": PHYS_ID} == found[PHYS_ID]
    extra = {name: found[PHYS_ID][name] for name in found[PHYS_ID] if name[:3] in ("src", "dst")}
    assert extra == {
        "src_qkdn_id": A,
        "src_interface_id": 1,
        "dst_qkdn_id": B,
        "dst_interface_id": 2,
    }
    assert (found[PHYS_ID]["qkdl_type"], found[VIRT_ID]["qkdl_type"]) == ("PHYS", "VIRT")
    assert found[VIRT_ID]["src_interface_id"] == 0
    assert found[VIRT_ID]["qkdl_id"] == VIRT_ID


def test_applications_are_wrapped_and_capabilities_bare(agent: Agent) -> None:
    apps = ask(agent, "GET", f"{NODE}/qkd_applications/").json
    can = ask(agent, "GET", f"{NODE}/qkdn_capabilities/").json

    assert apps["qkd_applications"]["qkd_app"][0]["app_type"] == "CLIENT"
    assert can["key_relay_mode_enable"] is True


def test_empty_lists_are_there(agent: Agent) -> None:
    agent.wanted.rows.clear()

    assert ask(agent, "GET", f"{LINKS}/").json == {"qkd_links": []}
    assert ask(agent, "GET", f"{NODE}/qkd_interfaces/").json == {"qkd_interface": []}
    assert ask(agent, "GET", f"{NODE}/qkd_applications/").json == {
        "qkd_applications": {"qkd_app": []}
    }


@pytest.mark.parametrize(
    ("row", "link"),
    [
        (phys(), intent.Link("phys", A, C, 2, 1)),
        (phys(qkdl_type="PHYS"), intent.Link("phys", A, C, 2, 1)),
        (phys(qkdl_status=f"{T}ACTIVE"), intent.Link("phys", A, C, 2, 1)),
        (phys(qkdl_status="OFF"), intent.Link("phys", A, C, 2, 1, enabled=False)),
        (phys(qkdl_local={"qkdn_id": A, "qkdi_id": 0}), intent.Link("phys", A, C, 0, 1)),
        (virt(), intent.Link("virt", A, B, hops=(C, B))),
        (virt(virt_bandwidth=7), intent.Link("virt", A, B, hops=(C, B), bandwidth=7)),
        (virt(virt_prev_hop=C, virt_next_hop=[B]), intent.Link("virt", A, B, prev=C, hops=(B,))),
        (virt(virt_prev_hop=C, virt_next_hop=[]), intent.Link("virt", A, B, prev=C)),
    ],
)
def test_a_link_of_its_is_a_link_here(agent: Agent, row: dict[str, Any], link: intent.Link) -> None:
    del agent.wanted.rows["link", FILE_ID]  # of the same pair, and not its own

    answer = post(agent, **row)

    assert (answer.status, answer.body) == (201, b"")
    (write,) = agent.wanted.writes
    assert write.owner == "teraflow"
    assert write.edits[-1].link == link
    assert write.edits[-1].fields == ()  # its hops are in order


def test_a_new_id_replaces_the_older_link_of_its_pair_alone(agent: Agent) -> None:
    post(agent, **virt())
    post(agent, **virt(qkdl_local={"qkdn_id": B}, qkdl_remote={"qkdn_id": A}, qkdl_id=OTHER))
    third = OTHER[:-1] + "3"

    assert post(agent, **virt(qkdl_id=third)).status == 201

    edits = agent.wanted.writes[-1].edits
    assert [(edit.verb, edit.id) for edit in edits] == [("remove", NEW), ("put", third)]
    assert ("link", OTHER) in agent.wanted.rows  # the other direction is another pair


def test_the_same_again_changes_nothing(agent: Agent) -> None:
    del agent.wanted.rows["link", FILE_ID]

    assert post(agent, **phys()).status == 201
    assert post(agent, **phys()).status == 201

    assert len(agent.wanted.writes) == 1


def test_the_same_id_with_other_hops_is_the_link_as_it_is_to_be(agent: Agent) -> None:
    post(agent, **virt())

    assert post(agent, **virt(virt_next_hop=[B])).status == 201

    link = agent.wanted.rows["link", NEW].link
    assert link
    assert link.hops == ("kms-2",)


REFUSED: list[tuple[Any, int, str]] = [
    ({"qkd_links": {"qkd_link": []}}, 400, "malformed-message"),
    ({"qkd_links": [virt()]}, 400, "malformed-message"),
    ({"qkd_link": [virt()]}, 400, "malformed-message"),
    ([], 400, "malformed-message"),
    (b"x", 400, "malformed-message"),
    ({"qkd_links": {"qkd_link": [1]}}, 400, "malformed-message"),
    ({"qkd_links": {"qkd_link": [virt(x=1)]}}, 400, "unknown-element"),
    ({"qkd_links": {"qkd_link": [virt(qkdl_type="Direct")]}}, 400, "invalid-value"),
    ({"qkd_links": {"qkd_link": [virt(qkdl_type=1)]}}, 400, "invalid-value"),
    ({"qkd_links": {"qkd_link": [virt(qkdl_id="x")]}}, 400, "invalid-value"),
    ({"qkd_links": {"qkd_link": [virt(qkdl_status="PENDING")]}}, 400, "invalid-value"),
    ({"qkd_links": {"qkd_link": [virt(qkdl_status=1)]}}, 400, "invalid-value"),
    ({"qkd_links": {"qkd_link": [virt(qkdl_local={"qkdi_id": "0"})]}}, 400, "invalid-value"),
    ({"qkd_links": {"qkd_link": [virt(virt_next_hop=B)]}}, 400, "invalid-value"),
    ({"qkd_links": {"qkd_link": [virt(qkdl_remote=None)]}}, 400, "missing-element"),
    ({"qkd_links": {"qkd_link": [phys()]}}, 403, "access-denied"),
    ({"qkd_links": {"qkd_link": [phys(qkdl_id=VIRT_ID)]}}, 403, "access-denied"),
]


@pytest.mark.parametrize(("body", "status", "tag"), REFUSED)
def test_a_refusal_is_an_event_and_an_alarm_as_well(
    agent: Agent, monkeypatch: pytest.MonkeyPatch, body: Any, status: int, tag: str
) -> None:
    before = dict(agent.wanted.rows)
    published: list[bytes] = []
    monkeypatch.setattr(agent.api.streams, "publish", published.append)

    answer = ask(agent, "POST", f"{LINKS}/", body)

    assert (answer.status, answer.tag) == (status, tag)
    assert agent.wanted.rows == before
    (event,), (alarm,) = published, agent.told
    assert isinstance(alarm, alarms.Raised)
    assert (alarm.id, alarm.subject) == ("write_refused", "teraflow")
    assert alarm.id in alarms.APART["etsi015"]
    assert answer.error["error-message"] in alarm.text
    assert b"a write of teraflow was refused" in event


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", f"{DATA}/", 404),
        ("GET", f"{NODE}//", 404),
        ("GET", f"{NODE}/nothing/", 404),
        ("GET", f"{NODE}/qkdn_id/", 404),
        ("GET", f"{LINKS}/qkd_link={PHYS_ID}/", 404),
        ("GET", f"{LINKS}/?depth=1", 400),
        ("POST", f"{NODE}/", 405),
        ("DELETE", f"{LINKS}/", 405),
        ("PUT", f"{NODE}/qkd_applications/", 405),
        ("HEAD", f"{LINKS}/", 200),
    ],
)
def test_other_paths_and_verbs_are_refused_as_ever(
    agent: Agent, method: str, path: str, status: int
) -> None:
    answer = ask(agent, method, path)

    assert answer.status == status
    assert status < 300 or status >= 400, "it follows redirects, and a POST becomes a GET"


def test_without_a_slash_it_is_as_strict_as_with_others(agent: Agent) -> None:
    answer = ask(agent, "POST", LINKS, {"qkd_links": {"qkd_link": [virt()]}})

    assert (answer.status, agent.told) == (415, [])


def test_who_has_no_dialect_finds_nothing_at_these_paths(agent: Agent) -> None:
    assert agent.do("GET", f"{LINKS}/").status == 404
    assert agent.do("POST", f"{LINKS}/", {}, media="application/json").status == 404
