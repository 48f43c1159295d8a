"""A desired state as entries of `qkd_link` and `qkd_app`, node by node. No input, no output.

Ids are made of what an entry is about, so that the same state has the same ids each time, and
entries that were made from a file before are known by theirs: they are ours.
"""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from etsi.gs015.model.leaves import written_time
from etsi.http.identity import sae_urn
from protokms.controller.desired import Application, Desired, Link, Session

Entry = Mapping[str, Any]
"""An entry of a list, as JSON has it."""

LINKS, APPLICATIONS = "qkd_links", "qkd_applications"
KEYS: Final = {LINKS: ("qkd_link", "qkdl_id"), APPLICATIONS: ("qkd_app", "app_id")}
"""The list in each container, and its key."""

NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_URL, "urn:protokms:controller")
"""Ids of entries are UUIDs of version 5 in this namespace."""

ID, PHYS, VIRT = "qkdn_id", "PHYS", "VIRT"
_TYPES = "etsi-qkd-node-types:"
_VIRT_LEAVES = frozenset(("virt_prev_hop", "virt_next_hop", "virt_bandwidth"))
_QOS = frozenset(("max_bandwidth", "min_bandwidth", "ttl"))

About = tuple[str, ...]
"""What an entry is about; no node has two for the same."""


@dataclass(frozen=True, slots=True)
class Row:
    """An entry that a node is to have: leaves as they are to be, and leaves that are not to be.

    `begins`: it makes something begin here, which others have to permit first. `ends`: how it is
    can be seen here, since this is an end of it.
    """

    container: str
    about: About
    leaves: Entry
    without: frozenset[str] = frozenset()
    begins: bool = False
    ends: bool = True

    @property
    def id(self) -> str:
        """Return the id that it has when we make it."""
        return id_of(self.about)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The rows of a desired state, by node; `names` are those of nodes, by id."""

    rows: Mapping[str, Sequence[Row]]
    names: Mapping[str, str] = field(default_factory=dict)


def id_of(about: About) -> str:
    """Return the id of an entry that we make about this; that of a link is one at both ends."""
    kind, *parties = about
    told = sorted(parties) if kind == PHYS else parties
    return str(uuid.uuid5(NAMESPACE, "\n".join((kind, *told))))


def about(container: str, entry: Entry) -> About:
    """Return what an entry is about, as a node tells it; empty if it does not say."""
    if container == APPLICATIONS:
        master, slaves = entry.get("server_app_id"), entry.get("client_app_id")
        if not master or not isinstance(slaves, list) or not slaves:
            return ()
        return ("app", str(master), *sorted(map(str, slaves)))
    kind = str(entry.get("qkdl_type", "")).removeprefix(_TYPES)
    ends = [entry.get(f"qkdl_{end}") for end in ("local", "remote")]
    ids = [end.get(ID) for end in ends if isinstance(end, Mapping)]
    return (kind, *map(str, ids)) if kind and len(ids) == len(ends) and all(ids) else ()


def rows_of(desired: Desired, ids: Mapping[str, str]) -> Wanted:
    """Return what each node is to have; `ids` are those of nodes, by name."""
    rows: dict[str, list[Row]] = {node.name: [] for node in desired.nodes}
    for link in desired.links:
        for node, row in _of_link(link, ids):
            rows[node].append(row)
    for session in desired.sessions:
        for node, row in _of_session(session, ids):
            rows[node].append(row)
    homes = desired.homes()
    for application in desired.applications:
        for node, row in _of_application(application, ids, homes):
            rows[node].append(row)
    return Wanted(rows, {id_: name for name, id_ in ids.items()})


def _of_link(link: Link, ids: Mapping[str, str]) -> Iterator[tuple[str, Row]]:
    ends = ((link.a, link.a_interface), (link.b, link.b_interface))
    for (here, near), (there, far) in (ends, ends[::-1]):
        leaves = {
            "qkdl_enable": link.enabled,
            "qkdl_local": _end(ids[here], near),
            "qkdl_remote": _end(ids[there], far),
            "qkdl_type": _TYPES + PHYS,
        }
        yield here, Row(LINKS, (PHYS, ids[here], ids[there]), leaves)


def _of_session(session: Session, ids: Mapping[str, str]) -> Iterator[tuple[str, Row]]:
    """Yield the entry where it begins, and those that permit it at the nodes on its path."""
    nodes = session.path or (session.start, session.end)
    ends = ids[session.start], ids[session.end]
    for at, here in enumerate(nodes):
        first, last = at == 0, at == len(nodes) - 1
        after = [ids[node] for node in nodes[at + 1 :]] if session.via else []
        hops = after if first else after[:1]
        leaves: dict[str, Any] = {
            "qkdl_enable": session.enabled,
            "qkdl_local": _end(ends[0]),
            "qkdl_remote": _end(ends[1]),
            "qkdl_type": _TYPES + VIRT,
        }
        leaves |= {"virt_next_hop": hops} if hops else {}
        leaves |= {"virt_prev_hop": ids[nodes[at - 1]]} if session.via and not first else {}
        if session.bandwidth is not None:
            leaves["virt_bandwidth"] = session.bandwidth
        without = _VIRT_LEAVES - leaves.keys()
        about_ = (VIRT, *ends)
        yield here, Row(LINKS, about_, leaves, without, begins=first, ends=first or last)


def _of_application(
    it: Application, ids: Mapping[str, str], homes: Mapping[str, str]
) -> Iterator[tuple[str, Row]]:
    master, slaves = sae_urn(it.master), sorted(map(sae_urn, it.slaves))
    there = list(dict.fromkeys(homes[sae] for sae in it.slaves))
    given = {"max_bandwidth": it.max_bandwidth, "min_bandwidth": it.min_bandwidth, "ttl": it.ttl}
    qos = {name: value for name, value in given.items() if value is not None}
    leaves: dict[str, Any] = {
        "app_type": f"{_TYPES}CLIENT",
        "server_app_id": master,
        "client_app_id": slaves,
        "app_priority": it.priority,
        "local_qkdn_id": ids[homes[it.master]],
    }
    leaves |= {"app_qos": qos} if qos else {}
    leaves |= {"remote_qkdn_id": ids[there[0]]} if len(there) == 1 else {}
    leaves |= {"expiration_time": written_time(it.expires)} if it.expires else {}
    without = frozenset({"expiration_time", "remote_qkdn_id"} - leaves.keys())
    without |= {f"app_qos/{name}" for name in _QOS - qos.keys()}
    for node in dict.fromkeys((homes[it.master], *there)):
        yield node, Row(APPLICATIONS, ("app", master, *slaves), leaves, without)


def _end(id_: str, interface: int | None = None) -> dict[str, Any]:
    return {ID: id_} | ({"qkdi_id": interface} if interface else {})
