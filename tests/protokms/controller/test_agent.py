"""What the controller writes, and what the agent makes of it: the two meet without a network."""

from collections.abc import Iterator
from typing import Any

import pytest

from protokms.controller import diff
from protokms.controller.desired import Application, Desired, Link, Node, Session
from protokms.controller.diff import Request, Told
from protokms.controller.restconf import NODE, entries_of
from protokms.controller.rows import APPLICATIONS, KEYS, LINKS, Wanted, rows_of
from tests.kit.agent import Agent, Answer
from tests.kit.wanted import APP_ID, FILE_ID, OWN_ID, PHYS_ID, VIRT_ID, A, B, C

IDS = {"kms-1": A, "kms-2": B, "kms-3": C}
NODES = [Node(name=name, url=f"https://{name}", saes=[f"sae-{name[-1]}"]) for name in IDS]
NOTHING = Desired(nodes=NODES)
SESSION = Desired(nodes=NODES, sessions=[Session(start="kms-1", end="kms-2", via=["kms-3"])])
ALL = Desired(
    nodes=NODES,
    links=[Link(a="kms-1", b="kms-2", enabled=False), Link(a="kms-1", b="kms-3")],
    sessions=[
        Session(start="kms-1", end="kms-3", via=["kms-2"], bandwidth=512),
        Session(start="kms-1", end="kms-2"),
        Session(start="kms-2", end="kms-3", via=["kms-1"]),
    ],
    applications=[
        Application(master="sae-1", slaves=["sae-3"], ttl=60),
        Application(master="sae-2", slaves=["sae-3", "sae-1"], max_bandwidth=9),
    ],
)


@pytest.fixture
def agent() -> Iterator[Agent]:
    made = Agent()
    yield made
    made.close()


def told(agent: Agent) -> tuple[Told, str]:
    answer = agent.do("GET", f"{NODE}?content=config")
    found = answer.json["etsi-qkd-sdn-node:qkd_node"]
    return Told(found["qkdn_id"], entries_of(found)), answer.headers["ETag"]


def planned(agent: Agent, state: Desired) -> tuple[list[Request], str]:
    """Plan for the one node there is: of the others nobody asks."""
    here, etag = told(agent)
    wanted = rows_of(state, IDS)
    only = Wanted({"kms-1": wanted.rows["kms-1"]}, wanted.names)
    return diff.requests(only, {"kms-1": here}), etag


def put(agent: Agent, request: Request, etag: str, **more: Any) -> Answer:
    body = {f"etsi-qkd-sdn-node:{request.container}": {KEYS[request.container][0]: request.entries}}
    return agent.do("PUT", f"{NODE}/{request.container}", body, f"If-Match: {etag}", **more)


def apply(agent: Agent, state: Desired) -> int:
    """Write what differs; return how many requests that took."""
    made, etag = planned(agent, state)
    for request in made:
        answer = put(agent, request, etag)
        assert answer.status in (201, 204), answer.body
        etag = answer.headers["ETag"]
    return len(made)


def test_a_state_is_written_once_and_is_there_then(agent: Agent) -> None:
    first = apply(agent, ALL)
    writes = len(agent.wanted.writes)

    assert first == writes > 0
    assert apply(agent, ALL) == 0
    assert len(agent.wanted.writes) == writes


def test_what_was_made_is_taken_away_and_nothing_else(agent: Agent) -> None:
    apply(agent, ALL)

    assert apply(agent, NOTHING) > 0

    entries = told(agent)[0].config
    assert set(entries[LINKS]) == {PHYS_ID, VIRT_ID, FILE_ID}
    assert set(entries[APPLICATIONS]) == {APP_ID}
    assert ("link", OWN_ID) in agent.wanted.rows
    assert apply(agent, NOTHING) == 0


def test_an_entry_of_the_node_itself_or_of_its_file_hinders_nobody(agent: Agent) -> None:
    before = [agent.wanted.rows["link", id_] for id_ in (OWN_ID, FILE_ID, PHYS_ID)]

    apply(agent, SESSION)

    assert [agent.wanted.rows["link", id_] for id_ in (OWN_ID, FILE_ID, PHYS_ID)] == before


def test_of_two_controllers_the_second_gets_412_and_nothing_of_it_is_done(agent: Agent) -> None:
    (one, *_), etag = planned(agent, ALL)
    (other, *_), same = planned(agent, SESSION)
    assert same == etag

    first = put(agent, one, etag)
    after = dict(agent.wanted.rows)
    second = put(agent, other, etag, who="controller-2")

    assert first.status == 204
    assert (second.status, second.tag) == (412, "operation-failed")
    assert agent.wanted.rows == after


def test_one_that_writes_between_reading_and_writing_makes_it_412_too(agent: Agent) -> None:
    (mine, *_), etag = planned(agent, ALL)
    (theirs, *_), _ = planned(agent, SESSION)
    before = dict(agent.wanted.rows)
    other = Agent()
    put(other, theirs, etag, who="controller-2")
    agent.wanted.before_write.append(other.wanted.writes[-1])
    other.close()

    answer = put(agent, mine, etag)

    assert (answer.status, answer.tag) == (412, "operation-failed")
    ours = [it for it in agent.wanted.rows.values() if it.owner == "controller-1"]
    assert ours == [it for it in before.values() if it.owner == "controller-1"]
    assert any(it.owner == "controller-2" for it in agent.wanted.rows.values())


def test_an_entry_of_the_file_that_is_to_be_otherwise_is_refused_with_its_owner(
    agent: Agent,
) -> None:
    state = Desired(nodes=NODES, links=[Link(a="kms-1", b="kms-3", enabled=False)])
    before = dict(agent.wanted.rows)
    (made, *_), etag = planned(agent, state)

    answer = put(agent, made, etag)

    assert (answer.status, answer.tag) == (403, "access-denied")
    assert "its owner is file" in answer.error["error-message"]
    assert agent.wanted.rows == before
