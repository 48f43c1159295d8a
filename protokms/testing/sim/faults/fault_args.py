"""Faults from the command line: what does not fit the network they are for is refused."""

from collections.abc import Iterable, Sequence

from actors.protocol.doors import ANSWERS, DOORS
from protokms.testing.sim.faults.fault import KINDS, PATIENCE_S, Fault, Uniform
from protokms.testing.sim.faults.plan import Plan

LATE_S = 10.0
"""So many seconds after the storm the last fault must be over, or nothing comes to rest."""

_DEATHS, _DEATHS_S = 5, 30.0
"""A supervisor bears so many deaths of actors in so many seconds."""

_SHARE, _SECONDS, _MANY, _NOTHING = (0.0, 1.0), (0.0, 5.0), (1.0, 100.0), (0.0, 0.0)

AMOUNTS: dict[str, Uniform] = {
    **dict.fromkeys(("loss", "duplicate", "reorder"), _SHARE),
    **dict.fromkeys(("datagram_loss", "datagram_twice", "datagram_late"), _SHARE),
    **dict.fromkeys(("datagram_spoilt", "datagram_wrong"), _SHARE),
    **dict.fromkeys(("delay", "slow_disk"), _SECONDS),
    **dict.fromkeys(("replay", "garbage", "lie", "betray", "datagram_replay"), _MANY),
    **dict.fromkeys(("crash_before_commit", "crash_after_commit", "commit_error"), _MANY),
    "crash": (0.0, 2.0),
    "drift": (0.5, 2.0),
    "jump": (0.0, 60.0),
    "restore": (0.1, 60.0),
}
"""The least and the largest amount of a kind; of the others it is 0."""


def check(plan: Plan, faults: Sequence[Fault]) -> None:
    """Raise `ValueError`, which says what to change, if one of them cannot be in this run."""
    for fault in faults:
        if why := _place(plan, fault) or _numbers(plan, fault) or _talk(plan, fault):
            raise ValueError(f"'{fault}': {why}")
    if sum(fault.kind == "restore" for fault in faults) > 1:
        raise ValueError("one restore is all that a run can have")
    for node in plan.names:
        _bearable(
            node, [it.at for it in faults if it.kind == "actor_crash" and it.where[0] == node]
        )


def actors(plan: Plan, node: str) -> set[str]:
    """Return the actors that may run at a node, but for supervisors."""
    near = {end for link in plan.links if node in link for end in link} - {node}
    far = set(plan.names) - near - {node} if plan.far else set()
    names = {"peer_manager", "router", "sessions", "intent", "multicast", "alarms"}
    names |= {f"key_store/{peer}" for peer in near | far | {node}}
    names |= {f"{kind}/{peer}" for kind in ("quantum_link", "relay") for peer in near}
    return names | {f"virtual_link/{peer}" for peer in far}


def _place(plan: Plan, fault: Fault) -> str:
    sort, where = KINDS[fault.kind].where, fault.where
    forms = {"node": "NODE", "wire": "NODE>NODE", "link": "NODE>NODE", "actor": "NODE>ACTOR"}
    if len(where) != (1 if sort == "node" else 2):
        return f"the place of {fault.kind} is {forms[sort]}, not {'>'.join(where)}"
    for node in where[:1] if sort in ("node", "actor") else where:
        if node not in plan.names:
            return f"there is no node {node} in this network, {plan.nodes}"
    if sort == "actor" and where[1] not in actors(plan, where[0]):
        return f"there is no actor {where[1]}; {_list(actors(plan, where[0]))} are at {where[0]}"
    if sort == "link" and where not in plan.links:
        links = _list(">".join(link) for link in plan.links)
        return f"no link sends from {where[0]} to {where[1]}; the links are {links}"
    if sort == "wire" and where[0] == where[1]:
        return "a wire has two ends, and these are one node"
    return ""


def _numbers(plan: Plan, fault: Fault) -> str:
    least, most = AMOUNTS.get(fault.kind, _NOTHING)
    if not 0.0 <= fault.at <= plan.length_s:
        return f"it must begin between 0 and {plan.length_s:g} s"
    if not least <= fault.amount <= most:
        wanted = f"from {least:g} to {most:g}" if most else "0"
        return f"the amount of {fault.kind} must be {wanted}, and is {fault.amount:g}"
    if not KINDS[fault.kind].seconds[1] and fault.seconds:
        return f"{fault.kind} takes no time: its seconds must be 0, and are {fault.seconds:g}"
    if not 0.0 <= fault.seconds <= plan.length_s + LATE_S - fault.at:
        return f"it must last no less than 0 s, and end before {plan.length_s + LATE_S:g} s"
    if fault.kind == "restore" and fault.at < fault.amount:
        return f"the copy, {fault.amount:g} s older, would be taken before time 0"
    return ""


def _talk(plan: Plan, fault: Fault) -> str:
    if fault.kind == "betray" and plan.far and tuple(sorted(fault.where)) not in plan.distant:
        return "who relays for others is trusted: where SAEs ask over a distance, betray is there"
    if fault.word and fault.word not in DOORS and fault.word not in ANSWERS:
        return f"no word {fault.word} is ever on a wire"
    return ""


def _bearable(node: str, deaths: list[float]) -> None:
    deaths = sorted(deaths)
    for first, last in zip(deaths, deaths[_DEATHS:], strict=False):
        if last - first <= _DEATHS_S + PATIENCE_S:
            raise ValueError(
                f"more than {_DEATHS} crashes of actors at {node} in {_DEATHS_S + PATIENCE_S:g} s"
                " are more than a supervisor bears"
            )


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
