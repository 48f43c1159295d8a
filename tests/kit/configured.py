"""Whether what runs at a node is what its tree says: links, sessions, stores that pause."""

from typing import Any

from actors.protocol import intent, sessions
from actors.protocol.common import Failed
from protokms.testing.cluster import NoAnswer
from protokms.testing.kms import KmsNetwork
from tests.kit.agent import LINKS, Agent
from transport.message import Message


class OfActor:
    """Answers an agent as the actor `intent` of a whole node does, or as one that has died."""

    def __init__(self, kms: KmsNetwork, node: str) -> None:
        self.kms, self._at = kms, f"{intent.NAME}@{node}"

    def answer(self, body: Message) -> Message:
        """Ask it."""
        try:
            return self.kms.cluster.ask(self._at, body)
        except NoAnswer:
            return Failed(code="timeout", why="no answer")


def links_of(agent: Agent, query: str = "") -> dict[str, Any]:
    """Return the links of the tree, by their ids."""
    told = agent.do("GET", f"{LINKS}{query}").json["etsi-qkd-sdn-node:qkd_links"]
    return {row["qkdl_id"]: row for row in told.get("qkd_link", [])}


def differences(agent: Agent, kms: KmsNetwork, node: str) -> list[str]:
    """Compare the tree of a node with its actors; nothing if all is as it is configured."""
    assert kms.directory
    names = {kms_.id: kms_.name for kms_ in kms.directory.kmss}
    rows = links_of(agent, "?content=config").values()
    ends = [(row, names[row["qkdl_remote"]["qkdn_id"]]) for row in rows]
    of = {"PHYS": [], "VIRT": []}  # type: dict[str, list[tuple[Any, str]]]
    for row, peer in ends:
        of[row["qkdl_type"].partition(":")[2]].append((row, peer))
    return [
        *_links({peer for _, peer in of["PHYS"]}, kms, node),
        *_sessions(of["VIRT"], names, kms, node),
        *(it for row, peer in ends for it in _pause(row, peer, kms, node)),
    ]


def _links(wanted: set[str], kms: KmsNetwork, node: str) -> list[str]:
    actors = kms.cluster.nodes[node].actors
    running = {name.partition("/")[2] for name in actors if name.startswith("quantum_link/")}
    missing = [f"no quantum link to {peer}" for peer in sorted(wanted - running)]
    return [*missing, *(f"a quantum link to {peer}" for peer in sorted(running - wanted))]


def _sessions(
    wanted: list[tuple[Any, str]], names: dict[str, str], kms: KmsNetwork, node: str
) -> list[str]:
    told = kms.cluster.ask(f"sessions@{node}", sessions.ListSessions())
    assert isinstance(told, sessions.Sessions)
    there = {it.destination: it for it in told.sessions if not it.sae}
    found = [f"a session with {peer}" for peer in there.keys() - {peer for _, peer in wanted}]
    for row, peer in wanted:
        hops = tuple(names[id_] for id_ in row.get("virt_next_hop", ()))
        if peer not in there:
            found.append(f"no session with {peer}")
        elif hops and there[peer].paths != ((node, *hops),):
            found.append(f"a session with {peer} over {there[peer].paths}, not {hops}")
        elif bool(hops) is not there[peer].fixed:
            found.append(f"the path to {peer} is given, or is not")
    return found


def _pause(row: Any, peer: str, kms: KmsNetwork, node: str) -> list[str]:
    try:
        store: Any = kms.cluster.actor(f"key_store/{peer}@{node}")
    except KeyError:
        return [f"no store for {peer}"]
    pauses, enabled = store.intake.paused, row["qkdl_enable"]
    return [f"{peer}: enabled {enabled}, paused {pauses}"] if pauses is enabled else []
