"""Reads a network, writes what differs from a desired state, waits until it is so; watches it."""

import queue
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from protokms.controller import diff, rows
from protokms.controller.desired import Desired, Known, Node
from protokms.controller.diff import Place, Request
from protokms.controller.restconf import (
    PAUSE_S,
    Agent,
    Identity,
    Refused,
    RestconfError,
    Unanswered,
    pause,
    persist,
)
from protokms.controller.rows import LINKS, Wanted
from protokms.lab import lab

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Plan:
    """What is wanted, and what has to be written for it, in order."""

    wanted: Wanted
    requests: Sequence[Request]

    def lines(self) -> list[str]:
        """Say what changes, in the order of the requests."""
        changes = [change for request in self.requests for change in request.changes]
        return [line for it in changes for line in diff.describe(it, self.wanted.names)]


@dataclass(frozen=True, slots=True)
class Step:
    """What does not run, and which links run without keys that come; a sentence each."""

    lags: Sequence[str]
    idle: Sequence[str]


@dataclass(frozen=True, slots=True)
class Happened:
    """A notification of a node; `text`: its stream has ended, and why."""

    node: str
    body: Mapping[str, Any]
    text: str = ""


class Network:
    """The nodes of a network, by name; closes what it opens."""

    def __init__(self, nodes: Sequence[Node], identity: Identity) -> None:
        tls = identity.context()
        self.agents = {node.name: Agent(node.name, node.url, tls) for node in nodes}
        self._fresh: set[Place] = set()
        """Links that were written, and have not been seen to bring keys since."""
        self._open = ExitStack()
        for agent in self.agents.values():
            self._open.enter_context(agent)

    def __enter__(self) -> "Network":
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close all connections."""
        self._open.close()

    def ask(self, what: Callable[[Agent], T], deadline: float) -> dict[str, T]:
        """Ask every node, again until it answers; or `RestconfError`."""
        return {
            name: persist(partial(what, agent), deadline) for name, agent in self.agents.items()
        }

    def plan(self, desired: Desired, deadline: float) -> Plan:
        """Compare what is with what is to be; or `RestconfError`."""
        told = self.ask(Agent.told, deadline)
        ids = {name: it.id for name, it in told.items()}
        if len(set(ids.values())) < len(ids):
            raise Refused("two of the nodes have the same qkdn_id: their URLs lead to one node")
        wanted = rows.rows_of(desired, ids)
        return Plan(wanted, diff.requests(wanted, told))

    def bring(self, desired: Desired, deadline: float, planned: Callable[[Plan], None]) -> Plan:
        """Write what differs; or `RestconfError`. Return the first plan; each is told.

        When a node does not answer, nobody knows what it has done, and there is another plan.
        """
        first: Plan | None = None
        while True:
            plan = self.plan(desired, deadline)
            first = first or plan
            planned(plan)
            try:
                for request in plan.requests:
                    self._fresh |= {
                        (it.node, it.id)
                        for it in request.changes
                        if it.after is not None and it.container == LINKS
                    }
                    self.agents[request.node].put(request)
            except Unanswered as why:
                pause(why, deadline)
            else:
                return first

    def await_step(self, wanted: Wanted, deadline: float) -> Step:
        """Wait until all runs; return what does not in time, and what brings no keys now."""
        while True:
            told = self.ask(partial(Agent.told, now=True), deadline)
            self._fresh -= diff.active(wanted, told)
            lags = diff.lagging(wanted, told, self._fresh)
            if not lags or time.monotonic() >= deadline:
                return Step(lags, diff.idle(wanted, told, self._fresh))
            time.sleep(PAUSE_S)


def watch(network: Network, seconds: float | None = None) -> Iterator[Happened]:
    """Yield what happens at all nodes; a stream that ends is told, and opened again.

    For so many seconds, or for ever.
    """
    heard: queue.Queue[Happened] = queue.Queue(maxsize=1_000)
    for agent in network.agents.values():
        threading.Thread(target=_listen, args=(agent, heard), daemon=True).start()
    end = None if seconds is None else time.monotonic() + seconds
    while end is None or time.monotonic() < end:
        try:
            rest = None if end is None else max(0.0, end - time.monotonic())
            yield heard.get(timeout=rest)
        except queue.Empty:
            return


def _listen(agent: Agent, heard: "queue.Queue[Happened]") -> None:
    while True:
        why, wait = "the stream has ended", PAUSE_S
        try:
            for body in agent.events():
                heard.put(Happened(agent.name, body))
        except Unanswered as no:
            why, wait = str(no), no.retry_s
        except RestconfError as no:
            heard.put(Happened(agent.name, {}, str(no)))
            return
        heard.put(Happened(agent.name, {}, why))
        time.sleep(wait)


def of_lab(folder: Path) -> tuple[Known, Identity]:
    """Return what a lab tells, and its controller; `LabError` if it has none."""
    made = lab.read(folder)
    if made.controller is None:
        text = f"{folder} has no controller; make the lab with `protokms lab init --controller`"
        raise lab.LabError(text)
    saes = {
        node.name: [sae.id for sae in made.saes if sae.node == node.name] for node in made.nodes
    }
    nodes = [
        Node(name=node.name, url=node.etsi015 or "", saes=saes[node.name]) for node in made.nodes
    ]
    files = (made.ca, made.controller.cert, made.controller.key)
    wires = {(node.name, peer): it for node in made.nodes for peer, it in node.interfaces.items()}
    return Known(nodes, wires), Identity(*(folder / file for file in files))
