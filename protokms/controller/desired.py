"""What a network is to be: a file in the form of a topology, with sessions and applications.

    [[node]]
    name = "kms-1"                   # a name in this file; with a lab, that of a node of it
    url = "https://192.0.2.1:18002"  # where it serves controllers; a lab tells it by itself
    saes = ["sae-1"]                 # applications are written where their SAEs are; a lab tells it
    [[link]]                         # over a pair of QKD modules
    a = "kms-1"
    b = "kms-2"
    a_interface = 1                  # default: as a lab tells it, or else any that is free
    b_interface = 1
    enabled = true
    [[session]]                      # a virtual link: relay keeps bits in store
    from = "kms-1"
    to = "kms-3"
    via = ["kms-2"]                  # all nodes between; default: the node finds a path
    bandwidth = 4096                 # bit/s to be had over it
    enabled = true
    [[application]]
    master = "sae-1"
    slaves = ["sae-3"]
    priority = 1
    max_bandwidth = 4096             # bit/s; and min_bandwidth
    ttl = 3600                       # seconds that a key lives
    expires = 2027-01-01T00:00:00Z   # no new keys from then on

The file of a topology is such a file as well; what only matters to whoever makes a lab of it, as
hosts and ports, is passed over. So is `chain:5` and the like.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as known_field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct, field

from protokms.config.sections import Name
from protokms.config.tables import ConfigError, Problem, Report, meaning, read_struct, read_toml
from protokms.lab import topology

NODES_MAX = 1_024
INTERFACE_MAX = 65_535

Interface = Annotated[int, Meta(ge=1, le=INTERFACE_MAX, description="write 1 to 65535")]
_Number = Annotated[int, Meta(ge=0, lt=1 << 32, description="write a number of 32 bits")]
_Url = Annotated[str, Meta(description="write an https URL like 'https://192.0.2.1:18002'")]
_Day = Annotated[datetime, Meta(tz=True, description="write a time like 2027-01-01T00:00:00Z")]


class Node(topology.NodePlan, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A node, and where it serves controllers."""

    url: _Url = ""


class Link(topology.LinkPlan, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A link over a pair of QKD modules; each end has an interface of its own."""

    a_interface: Interface | None = None
    b_interface: Interface | None = None
    enabled: bool = True


class Session(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A virtual link between two distant nodes; `bandwidth` in bit/s."""

    start: Name = field(name="from")
    end: Name = field(name="to")
    via: list[Name] = []
    bandwidth: _Number | None = None
    enabled: bool = True

    @property
    def path(self) -> tuple[str, ...]:
        """Return all nodes on the way, if they are given."""
        return (self.start, *self.via, self.end) if self.via else ()


class Application(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """SAEs that want keys together; bandwidths in bit/s, `ttl` in seconds."""

    master: str
    slaves: list[str]
    priority: _Number = 0
    max_bandwidth: _Number | None = None
    min_bandwidth: _Number | None = None
    ttl: _Number | None = None
    expires: _Day | None = None


class Desired(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a network is to be."""

    nodes: list[Node] = field(name="node", default=[])
    links: list[Link] = field(name="link", default=[])
    sessions: list[Session] = field(name="session", default=[])
    applications: list[Application] = field(name="application", default=[])

    def homes(self) -> Mapping[str, str]:
        """Return at which node each SAE is."""
        return {sae: node.name for node in self.nodes for sae in node.saes}


@dataclass(frozen=True, slots=True)
class Known:
    """What a lab tells: its nodes, and which interface of a node leads to which other one."""

    nodes: Sequence[Node] = ()
    wires: Mapping[tuple[str, str], int] = known_field(default_factory=dict)


def read(text: str, known: Known | None = None) -> Desired:
    """Read the file of that path, or `chain:5` and the like; `known` fills in what it leaves out.

    `ConfigError` tells everything that is wrong.
    """
    report = Report(Path(text))
    if topology.is_shape(text):
        made: Desired | None = _of(topology.parse(text))
    else:
        table = read_toml(Path(text), report)
        made = read_struct(Desired, table, "", None, report) if table is not None else None
    if made is not None:
        made = _with_known(made, known or Known())
        _Checks(made, report).all()
    if report.problems or made is None:
        raise ConfigError(report.problems)
    return made


def _of(shape: topology.Topology) -> Desired:
    plain = ("name", "saes")
    return Desired(
        nodes=[Node(**{name: getattr(it, name) for name in plain}) for it in shape.nodes],
        links=[Link(a=it.a, b=it.b) for it in shape.links],
    )


def _with_known(made: Desired, known: Known) -> Desired:
    """Fill in what a lab tells of nodes that the file names; without any, all are meant."""
    links = [
        msgspec.structs.replace(
            link,
            a_interface=link.a_interface or known.wires.get((link.a, link.b)),
            b_interface=link.b_interface or known.wires.get((link.b, link.a)),
        )
        for link in made.links
    ]
    made = msgspec.structs.replace(made, links=links)
    if not made.nodes:
        return msgspec.structs.replace(made, nodes=list(known.nodes))
    by_name = {node.name: node for node in known.nodes}
    nodes = []
    for node in made.nodes:
        told = by_name.get(node.name)
        more: dict[str, Any] = {} if told is None or node.url else {"url": told.url}
        more |= {} if told is None or node.saes else {"saes": told.saes}
        nodes.append(msgspec.structs.replace(node, **more))
    return msgspec.structs.replace(made, nodes=nodes)


class _Checks:
    """The rules between the rows of a desired state."""

    def __init__(self, made: Desired, report: Report) -> None:
        self._made, self._report = made, report
        self._names = {node.name for node in made.nodes}

    def all(self) -> None:
        """Report all that is wrong."""
        made = self._made
        if not 1 <= len(made.nodes) <= NODES_MAX:
            self._report.add("node", f"{len(made.nodes)} nodes", f"write 1 to {NODES_MAX}")
        self._twins("node", [node.name for node in made.nodes], "name")
        self._twins("node", [node.url for node in made.nodes if node.url], "url")
        self._twins("node", [sae for node in made.nodes for sae in node.saes], "saes")
        for at, node in enumerate(made.nodes):
            if not is_url(node.url):
                self._report.add(f"node[{at}].url", f"{node.name} has none", meaning(_Url))
        self._links()
        self._sessions()
        self._applications()

    def _links(self) -> None:
        made = self._made.links
        self._twins("link", [f"{min(it.a, it.b)} - {max(it.a, it.b)}" for it in made], "")
        for at, link in enumerate(made):
            self._known(f"link[{at}]", {"a": link.a, "b": link.b})
            if link.a == link.b:
                self._report.add(f"link[{at}]", "joins a node with itself", "name two nodes")
        ends = [(it.a, it.a_interface) for it in made] + [(it.b, it.b_interface) for it in made]
        bound = [f"interface {number} of {node}" for node, number in ends if number]
        self._twins("link", bound, "")

    def _sessions(self) -> None:
        made = self._made.sessions
        self._twins("session", [f"{it.start} - {it.end}" for it in made], "")
        for at, it in enumerate(made):
            key = f"session[{at}]"
            self._known(key, {"from": it.start, "to": it.end})
            self._known(key, {f"via[{row}]": node for row, node in enumerate(it.via)})
            nodes = (it.start, *it.via, it.end)
            if len(set(nodes)) < len(nodes):
                self._report.add(key, "is over a node twice", "name each node once")

    def _applications(self) -> None:
        homes = self._made.homes()
        made = self._made.applications
        self._twins("application", [", ".join((it.master, *sorted(it.slaves))) for it in made], "")
        for at, it in enumerate(made):
            key = f"application[{at}]"
            saes = (it.master, *it.slaves)
            if not it.slaves or len(set(saes)) < len(saes):
                self._report.add(key, "names no slave, or an SAE twice", "name each SAE once")
            if it.expires and not _is_in_utc(it.expires):
                self._report.add(f"{key}.expires", "has no year in UTC", meaning(_Day))
            for sae in dict.fromkeys(saes):
                if sae not in homes:
                    remedy = "write it under saes of its [[node]], or correct it"
                    self._report.add(key, f"no node has the SAE {sae[:80]}", remedy)

    def _known(self, key: str, ends: Mapping[str, str]) -> None:
        for name, node in ends.items():
            if node not in self._names:
                self._report.add(f"{key}.{name}", f"there is no node {node}", "add it, or correct")

    def _twins(self, key: str, names: Sequence[str], name: str) -> None:
        for one, rows in itertools.groupby(sorted(names)):
            if len(list(rows)) > 1:
                where = f"{key}.{name}" if name else key
                self._report.add(where, f"{one} is there twice", "take one out")


def _is_in_utc(time: datetime) -> bool:
    """Tell whether this is a time in the years 1 to 9999 there, too: it is written in UTC."""
    try:
        time.astimezone(UTC)
    except OverflowError:
        return False
    return True


def is_url(text: str) -> bool:
    """Tell whether this is the URL of a front end: https, a host, nothing behind it."""
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        return False
    rest = parts.path.rstrip("/") or parts.query or parts.fragment or parts.username
    return parts.scheme == "https" and bool(parts.hostname) and not rest


def check_urls(urls: Sequence[str]) -> None:
    """Refuse what is no URL of a front end, with `ConfigError`."""
    wrong = [Problem(url[:80], "", "is no https URL", meaning(_Url)) for url in urls]
    found = [problem for url, problem in zip(urls, wrong, strict=True) if not is_url(url)]
    if found:
        raise ConfigError(found)
