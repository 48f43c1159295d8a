"""What is written so that nodes become as they are to be: every step between small states."""

import itertools
import uuid
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from protokms.controller import diff
from protokms.controller.desired import Application, Desired, Link, Node, Session
from protokms.controller.diff import CHANGES_MAX, Request, Told
from protokms.controller.rows import (
    APPLICATIONS,
    KEYS,
    LINKS,
    Entry,
    Wanted,
    about,
    id_of,
    rows_of,
)

IDS = {name: str(uuid.UUID(int=number)) for number, name in enumerate("abcd", 1)}
FOREIGN = "c3d7f0aa-8d3c-4f1d-b7d9-0b8a52d7c001"
NODES = [Node(name=name, url=f"https://{name}", saes=[f"sae-{name}"]) for name in "abcd"]

AB, BC = Link(a="a", b="b"), Link(a="b", b="c")
PINNED = Link(a="a", b="b", a_interface=2, b_interface=1)
OFF_BC = Link(a="b", b="c", enabled=False)
OFF = Link(a="a", b="b", enabled=False)
ROUTED = Session(start="a", end="c")
VIA_B = Session(start="a", end="c", via=["b"], bandwidth=64)
VIA_DB = Session(start="a", end="c", via=["d", "b"])
BACK = Session(start="c", end="a", via=["b"])
PLAIN = Application(master="sae-a", slaves=["sae-c"])
LIMITED = Application(master="sae-a", slaves=["sae-c"], max_bandwidth=512, ttl=60, priority=2)
GROUP = Application(
    master="sae-a", slaves=["sae-c", "sae-b"], expires=datetime(2027, 1, 1, tzinfo=UTC)
)
STATES = [
    Desired(nodes=NODES, links=list(links), sessions=list(sessions), applications=list(apps))
    for links, sessions, apps in itertools.product(
        ((), (OFF, BC), (PINNED,)),
        ((), (ROUTED,), (VIA_B, BACK), (VIA_DB,)),
        ((PLAIN,), (LIMITED, GROUP)),
    )
]


def empty() -> dict[str, Told]:
    return {name: Told(id_) for name, id_ in IDS.items()}


def wanted(state: Desired) -> Wanted:
    return rows_of(state, IDS)


def written(told: Mapping[str, Told], request: Request) -> dict[str, Told]:
    """Do what a node does with a request: no two entries are about the same."""
    key = KEYS[request.container][1]
    entries = {str(entry[key]): entry for entry in request.entries}
    subjects = [about(request.container, entry) for entry in request.entries]
    assert len(entries) == len(request.entries)
    assert len(set(subjects)) == len(subjects)
    before = told[request.node]
    return {
        **told,
        request.node: replace(before, config={**before.config, request.container: entries}),
    }


def brought(told: Mapping[str, Told], state: Desired) -> dict[str, Told]:
    after = dict(told)
    for request in diff.requests(wanted(state), told):
        after = written(after, request)
    return after


def plain(told: Mapping[str, Told]) -> dict[tuple[str, str], Entry]:
    """All entries, by node and id, without interfaces: one that was bound stays so."""
    ends = ("qkdl_local", "qkdl_remote")
    return {
        (name, id_): {
            **entry,
            **{it: {"qkdn_id": entry[it]["qkdn_id"]} for it in ends if it in entry},
        }
        for name, it in told.items()
        for entries in it.config.values()
        for id_, entry in entries.items()
    }


REACHED = [brought(empty(), state) for state in STATES]


@pytest.mark.parametrize("number", range(len(STATES)))
def test_each_state_is_reached_from_each_other_one_and_stays(number: int) -> None:
    state = STATES[number]
    afresh = plain(brought(empty(), state))

    for before in REACHED:
        there = brought(before, state)

        assert diff.requests(wanted(state), there) == []
        assert plain(there) == afresh


def named(entries: Mapping[str, Mapping[str, Any]]) -> dict[str, Told]:
    return {name: Told(IDS[name], {LINKS: entries.get(name, {})}) for name in IDS}


def link(here: str, there: str, id_: str = FOREIGN, **more: Any) -> dict[str, Entry]:
    entry = {
        "qkdl_id": id_,
        "qkdl_enable": True,
        "qkdl_local": {"qkdn_id": IDS[here], "qkdi_id": 1},
        "qkdl_remote": {"qkdn_id": IDS[there]},
        "qkdl_type": "etsi-qkd-node-types:PHYS",
        **more,
    }
    return {id_: entry}


def test_what_others_have_made_stays_and_counts_where_it_is_as_wanted() -> None:
    others = link("a", "d") | link("a", "b", FOREIGN.replace("1", "2"))
    told = named({"a": others})

    there = brought(told, Desired(nodes=NODES, links=[AB]))

    assert there["a"].config[LINKS] == others
    assert list(there["b"].config[LINKS]) == [id_of(("PHYS", IDS["a"], IDS["b"]))]
    assert brought(there, Desired(nodes=NODES))["a"].config[LINKS] == others
    assert brought(there, Desired(nodes=NODES))["b"].config[LINKS] == {}


def test_what_others_have_made_otherwise_is_changed_under_its_id() -> None:
    told = named({"a": link("a", "b", phys_channel_att="9.5", qkdl_enable=False)})

    (change, *_) = diff.requests(wanted(Desired(nodes=NODES, links=[AB])), told)[0].changes

    assert (change.verb, change.id) == (diff.CHANGE, FOREIGN)
    assert change.after
    assert change.after["phys_channel_att"] == "9.5"  # what nobody speaks of stays
    assert change.after["qkdl_local"] == {"qkdn_id": IDS["a"], "qkdi_id": 1}


def test_of_two_about_the_same_the_one_that_is_right_counts() -> None:
    ours = id_of(("PHYS", IDS["a"], IDS["b"]))
    both = link("a", "b", ours, qkdl_enable=False) | link("a", "b")
    told = named({"a": both, "b": link("b", "a")})

    assert diff.requests(wanted(Desired(nodes=NODES, links=[AB])), told) == []


def test_a_default_that_is_not_told_is_no_difference() -> None:
    bare = link("a", "b")
    del bare[FOREIGN]["qkdl_enable"]  # type: ignore[attr-defined]
    told = named({"a": bare, "b": link("b", "a")})

    assert diff.requests(wanted(Desired(nodes=NODES, links=[AB])), told) == []
    assert len(diff.requests(wanted(Desired(nodes=NODES, links=[OFF])), told)) == 2


def test_permissions_come_before_what_begins_and_go_after_it() -> None:
    def order(before: Desired, after: Desired) -> list[tuple[str, str]]:
        made = diff.requests(wanted(after), brought(empty(), before))
        return [(it.node, change.verb) for it in made for change in it.changes]

    nothing, one = Desired(nodes=NODES), Desired(nodes=NODES, sessions=[VIA_B])
    other = Desired(nodes=NODES, sessions=[Session(start="a", end="c", via=["d"])])

    assert order(nothing, one) == [("b", "add"), ("c", "add"), ("a", "add")]
    assert order(one, other) == [("c", "change"), ("d", "add"), ("a", "change"), ("b", "remove")]
    assert order(one, nothing) == [("a", "remove"), ("b", "remove"), ("c", "remove")]


def test_a_link_frees_its_interface_in_the_request_that_binds_it_again() -> None:
    there = brought(empty(), Desired(nodes=NODES, links=[PINNED]))
    moved = Desired(nodes=NODES, links=[Link(a="a", b="c", a_interface=2)])

    first = diff.requests(wanted(moved), there)[0]

    assert [(change.node, change.verb) for change in first.changes] == [
        ("a", "remove"),
        ("a", "add"),
    ]


def test_many_changes_are_several_requests_each_upon_the_last() -> None:
    saes = [f"x-{number}" for number in range(CHANGES_MAX + 50)]
    many = [Application(master="sae-a", slaves=[sae]) for sae in saes]
    nodes = [NODES[0], Node(name="b", url="https://b", saes=saes)]
    state = Desired(nodes=nodes, applications=many)
    ids = {name: IDS[name] for name in "ab"}
    told = {name: Told(id_) for name, id_ in ids.items()}

    made = diff.requests(rows_of(state, ids), told)

    assert [(it.node, len(it.changes), len(it.entries)) for it in made] == [
        ("a", 200, 200),
        ("a", 50, 250),
        ("b", 200, 200),
        ("b", 50, 250),
    ]
    assert {it.container for it in made} == {APPLICATIONS}


@pytest.mark.parametrize(
    "entry",
    [
        {},
        {"qkdl_type": "etsi-qkd-node-types:PHYS"},
        {"qkdl_type": "etsi-qkd-node-types:PHYS", "qkdl_local": 3, "qkdl_remote": None},
        {"qkdl_type": 7, "qkdl_local": {}, "qkdl_remote": {"qkdn_id": "x"}},
    ],
)
def test_an_entry_that_says_nothing_is_left_alone(entry: dict[str, Any]) -> None:
    told = named({"a": {FOREIGN: {"qkdl_id": FOREIGN, **entry}}})
    there = diff.requests(wanted(Desired(nodes=NODES, links=[AB])), told)[0].entries

    assert there[0] == {"qkdl_id": FOREIGN, **entry}
    assert len(there) == 2
    assert about(APPLICATIONS, {"server_app_id": "x", "client_app_id": 3}) == ()


def state_of(told: Mapping[str, Told], **status: str) -> dict[str, Told]:
    """Let each node tell all that it is to have, in this state; links are ACTIVE otherwise."""
    links = {"qkdl_status": f"etsi-qkd-node-types:{status.get('link', 'ACTIVE')}"}
    apps = {"app_status": f"etsi-qkd-node-types:{status.get('app', 'ON')}"}
    more = {LINKS: links, APPLICATIONS: apps}
    return {
        name: replace(
            it,
            now={
                container: {id_: {**entry, **more[container]} for id_, entry in entries.items()}
                for container, entries in it.config.items()
            },
        )
        for name, it in told.items()
    }


@pytest.mark.parametrize(
    ("state", "link", "app", "late"),
    [
        (Desired(nodes=NODES, links=[AB]), "ACTIVE", "ON", []),
        (Desired(nodes=NODES, links=[AB]), "PASSIVE", "ON", []),
        (
            Desired(nodes=NODES, links=[AB]),
            "PENDING",
            "ON",
            ["a: link a - b is PENDING", "b: link b - a is PENDING"],
        ),
        (Desired(nodes=NODES, links=[OFF]), "OFF", "ON", []),
        (Desired(nodes=NODES, links=[OFF]), "PASSIVE", "ON", []),
        (
            Desired(nodes=NODES, links=[OFF]),
            "ACTIVE",
            "ON",
            ["a: link a - b is ACTIVE", "b: link b - a is ACTIVE"],
        ),
        # Between its ends there is nothing to be seen of a session.
        (
            Desired(nodes=NODES, sessions=[VIA_B]),
            "PENDING",
            "ON",
            ["a: session a - c is PENDING", "c: session a - c is PENDING"],
        ),
        (Desired(nodes=NODES, applications=[PLAIN]), "ACTIVE", "OUT-OF-TIME", []),
        (
            Desired(nodes=NODES, applications=[PLAIN]),
            "ACTIVE",
            "ZOMBIE",
            [
                f"{node}: application urn:protokms:sae:sae-a with urn:protokms:sae:sae-c is ZOMBIE"
                for node in "ac"
            ],
        ),
    ],
)
def test_what_does_not_run_yet_is_told(
    state: Desired, link: str, app: str, late: list[str]
) -> None:
    there = state_of(brought(empty(), state), link=link, app=app)

    assert diff.lagging(wanted(state), there) == late


def test_a_link_that_was_written_has_to_bring_keys_and_one_that_was_there_may_be_idle() -> None:
    state = Desired(nodes=NODES, links=[AB, OFF_BC], sessions=[VIA_B], applications=[PLAIN])
    brought_ = brought(empty(), state)
    there, runs = state_of(brought_, link="PASSIVE"), state_of(brought_)
    (id_, *_) = there["a"].now[LINKS]
    fresh = {("a", id_)}

    assert diff.lagging(wanted(state), there) == []
    assert diff.lagging(wanted(state), there, fresh) == ["a: link a - b is PASSIVE"]
    assert diff.lagging(wanted(state), runs, fresh) == [
        "b: link b - c is ACTIVE",
        "c: link c - b is ACTIVE",
    ]
    assert fresh <= diff.active(wanted(state), runs)
    assert not diff.active(wanted(state), there)
    why = "is PASSIVE: no keys come now, some are left"
    assert diff.idle(wanted(state), there, fresh) == [
        f"a: session a - c {why}",
        f"b: link b - a {why}",
        f"c: session a - c {why}",
    ]
    assert diff.idle(wanted(state), runs) == []


def test_what_is_not_there_does_not_run() -> None:
    lags = diff.lagging(wanted(Desired(nodes=NODES, links=[AB])), empty())

    assert lags == ["a: link a - b is not there", "b: link b - a is not there"]


def test_changes_are_told_with_names_and_with_what_was_before() -> None:
    before = brought(empty(), Desired(nodes=NODES, sessions=[VIA_B], applications=[LIMITED]))
    after = wanted(Desired(nodes=NODES, sessions=[VIA_DB], applications=[PLAIN]))
    made = [change for request in diff.requests(after, before) for change in request.changes]

    lines = [line for change in made for line in diff.describe(change, after.names)]

    assert lines[:3] == [
        "~ b: session a - c",
        "    virt_prev_hop = a -> d",
        "    virt_bandwidth = 64 -> nothing",
    ]
    assert "    virt_next_hop = b, c -> d, b, c" in lines
    assert "    app_qos/ttl = 60 -> nothing" in lines
    removed = diff.requests(wanted(Desired(nodes=NODES)), before)
    assert diff.describe(removed[0].changes[0], after.names) == ["- a: session a - c"]


def test_a_node_that_has_something_else_in_the_place_of_a_leaf_is_told_how_it_is_to_be() -> None:
    (row,) = wanted(Desired(nodes=NODES, applications=[PLAIN])).rows["a"]
    odd = {**row.leaves, "app_id": row.id, "app_qos": "none"}

    told = empty() | {"a": Told(IDS["a"], {APPLICATIONS: {row.id: odd}})}
    state = Desired(nodes=NODES, applications=[PLAIN])
    made = [it for it in diff.requests(wanted(state), told) if it.node == "a"]
    assert made == []  # of what a row does not say, anything may be there
    assert not diff.is_so(row, {**odd, "client_app_id": [None, 7]})
