"""How long the controller waits for a node, and what a node may say of it."""

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest

from protokms.controller import run
from protokms.controller.desired import Application, Desired, Node, Session
from protokms.controller.diff import Request
from protokms.controller.restconf import (
    PAUSE_S,
    RETRY_MAX_S,
    Agent,
    Identity,
    Refused,
    Unanswered,
    retry_s,
)
from protokms.controller.run import Network
from protokms.lab import lab, topology


class Busy(Agent):
    """A node that says what it is, and has no time for a write within the next minutes."""

    def node(self, content: str = "config") -> dict[str, Any]:
        return {"qkdn_id": "kme-1"}

    def put(self, request: Request) -> None:
        raise Unanswered("busy", 20.0)


def test_a_node_that_has_no_time_is_not_waited_for_past_the_end(tmp_path: Path) -> None:
    lab.init(tmp_path / "lab", topology.parse("chain:1"), controller=True)
    files = ("ca/ca.crt", "controllers/controller-1.crt", "controllers/controller-1.key")
    identity = Identity(*(tmp_path / "lab" / file for file in files))
    node = Node(name="kms-1", url="https://127.0.0.1:1", saes=["sae-1", "sae-2"])
    state = Desired(nodes=[node], applications=[Application(master="sae-1", slaves=["sae-2"])])
    began = time.monotonic()

    with Network([node], identity) as network:
        network.agents["kms-1"] = Busy("kms-1", node.url, identity.context())
        with pytest.raises(Unanswered, match="busy"):
            network.bring(state, began + 0.1, lambda _: None)

    assert time.monotonic() - began < 10.0


@pytest.mark.parametrize(
    ("after", "seconds"),
    [("3", 3.0), ("9" * 400, RETRY_MAX_S), ("\u00b2", PAUSE_S), ("", PAUSE_S), ("-1", PAUSE_S)],
)
def test_a_node_says_when_to_ask_again_within_reason(after: str, seconds: float) -> None:
    assert retry_s(after) == seconds


class Pathless(Agent):
    """A node that knows no path yet, and then another trouble."""

    tags: ClassVar[list[str]] = []

    def _call(self, *_: Any) -> tuple[Any, Any]:
        error = {"error-tag": "invalid-value", "error-message": "because"}
        if tag := self.tags.pop(0):
            error["error-app-tag"] = tag
        answer = SimpleNamespace(status=400, reason="Bad Request", headers={})
        return answer, {"ietf-restconf:errors": {"error": [error]}}


def test_a_node_that_knows_no_such_path_yet_is_asked_again(tmp_path: Path) -> None:
    lab.init(tmp_path / "lab", topology.parse("chain:1"), controller=True)
    files = ("ca/ca.crt", "controllers/controller-1.crt", "controllers/controller-1.key")
    identity = Identity(*(tmp_path / "lab" / file for file in files))
    agent = Pathless("kms-1", "https://127.0.0.1:1", identity.context())
    agent.tags[:] = ["no-path", ""]
    request = Request("kms-1", "qkd_links", (), ())

    with pytest.raises(Unanswered, match="400 invalid-value: because"):
        agent.put(request)
    with pytest.raises(Refused):
        agent.put(request)


class Slow(Agent):
    """A node whose links are in one state after the other, each time it is asked."""

    states: ClassVar[list[str]] = []
    entries: ClassVar[dict[str, Any]] = {}

    def node(self, content: str = "config") -> dict[str, Any]:
        status = self.states[0].split()[int(self.name[-1]) - 1 :] or [self.states[0]]
        more = {"qkdl_status": status[0]} if content == "all" else {}
        if content == "all" and self.name == "kms-2" and len(self.states) > 1:
            del self.states[0]
        rows = [{**it, **more} for it in self.entries.values()]
        return {"qkdn_id": f"id of {self.name}", "qkd_links": {"qkd_link": rows}}

    def put(self, request: Request) -> None:
        self.entries.update({str(it["qkdl_id"]): it for it in request.entries})


@pytest.mark.parametrize(
    ("before", "states", "late", "passive"),
    [
        (False, ["PASSIVE", "PASSIVE", "ACTIVE", "PASSIVE"], 0, 0),
        (False, ["ACTIVE", "PASSIVE"], 0, 0),
        (False, ["ACTIVE PASSIVE", "PASSIVE ACTIVE"], 0, 1),
        (False, ["PASSIVE"], 2, 0),
        (True, ["PASSIVE"], 0, 2),
        (True, ["PENDING"], 2, 0),
    ],
)
def test_a_link_that_was_written_is_waited_for_until_it_has_brought_keys(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    before: bool,
    states: list[str],
    late: int,
    passive: int,
) -> None:
    monkeypatch.setattr(run, "PAUSE_S", 0.0)
    lab.init(tmp_path / "lab", topology.parse("chain:1"), controller=True)
    files = ("ca/ca.crt", "controllers/controller-1.crt", "controllers/controller-1.key")
    identity = Identity(*(tmp_path / "lab" / file for file in files))
    nodes = [Node(name=name, url="https://127.0.0.1:1") for name in ("kms-1", "kms-2")]
    state = Desired(nodes=nodes, sessions=[Session(start="kms-1", end="kms-2")])
    Slow.states[:] = states
    Slow.entries.clear()

    with Network(nodes, identity) as network:
        network.agents = {
            node.name: Slow(node.name, node.url, identity.context()) for node in nodes
        }
        wanted = network.plan(state, 0.0).wanted
        if before:
            rows = wanted.rows["kms-1"]
            Slow.entries.update({row.id: {"qkdl_id": row.id, **row.leaves} for row in rows})
        network.bring(state, 0.0, lambda _: None)
        deadline = time.monotonic() + (0.05 if late else 60.0)
        step = network.await_step(wanted, deadline)

    assert (len(step.lags), len(step.idle)) == (late, passive)
