"""Which nodes and links a lab has: `chain:3`, `ring:4`, `star:5`, `mesh:4`, or a TOML file.

A file says more than a shape does:

    [[node]]
    name = "kms-1"
    host = "192.0.2.1"            # where others reach it; default 127.0.0.1
    bind = "0.0.0.0"              # what it listens on, an IP address; default: host
    metrics = "127.0.0.1"         # where /metrics listens; default 127.0.0.1
    port = 17000                  # its ports are this and the next ones; default: free ones
    saes = ["sae-1"]              # any texts of 1 to 512 octets
    [[node.process]]              # optional: actors of this node in processes of their own
    name = "front"
    actors = ["etsi014"]          # and "quantum_link/<neighbour>", "etsi015" for a controller;
                                  # "etsi014/1" and so on of several front ends
    host = "192.0.2.9"            # where core and SAEs reach it; default: host of the node
    bind = "192.0.2.9"            # what it listens on; default: its host
    [[link]]
    a = "kms-1"                   # a sends the datagrams, b receives them
    b = "kms-2"
    allow_insecure_emulation = true    # needed beyond loopback: key bits travel in clear
    rate_bit_s = 100000                # this and the rest: any key of [[link]] in a node's file;
                                       # fibre_km = 25 instead: the pace of so much fibre
    [[link]]
    a = "kms-2"
    b = "kms-3"
    module = "package:factory"         # a module of another package; its options are
    options = { folder = "keys" }      # alike at both ends; paths are relative to a node
"""

import ipaddress
import itertools
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct, field

from etsi.http.options import ID_OCTETS_MAX, id_fault
from protokms.config import modules
from protokms.config.fronts import is_front
from protokms.config.link_tables import EMULATED, PHYSICAL
from protokms.config.plugins import Plugin
from protokms.config.sections import FRONT, QUANTUM_LINK, EmulatedLink, MaxBytes, Name
from protokms.config.tables import (
    ConfigError,
    Loose,
    Problem,
    Report,
    hook_for,
    meaning,
    read_struct,
    read_toml,
)
from transport.endpoint import Endpoint, host_name_fault, is_number

MAX_NODES = 64
RESERVED = (
    *("ca", "saes", "controllers", "lab.json", "directory.json", "directory.json.sig"),
    *("netns.json", "wire.pid", "wire.log", "wire.ready"),
)
"""No names of nodes: they stand for other things in the folder of a lab."""

_CORES_FILE = "node"
_ANY = ("0.0.0.0", "::")  # noqa: S104  # to refuse them

_FAST_LINKS, _LINK_S = 8, 0.00125
"""Past so many links of a shape a round takes so many seconds a link: they share one machine."""

_DOTS = dict.fromkeys((".", ".."), "is a step in a path to clients: they take it out of a URL")

KM_MAX = 1_000
_LENGTH = re.compile(r"([0-9]{1,4}(?:\.[0-9]{1,6})?) ?km")
_SHAPE = re.compile(r"(chain|ring|star|mesh):([0-9]{1,4})")
_LEAST = {"chain": 1, "ring": 3, "star": 2, "mesh": 2}

Host = Annotated[str, Meta(description="write an IP address or a DNS name")]
Saes = Annotated[
    list[str],
    Meta(
        description=f"write a list of SAE ids: texts of 1 to {ID_OCTETS_MAX} octets in UTF-8, "
        "without control characters"
    ),
]


class ProcessPlan(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Actors of a node that live in a process of their own, which may be on another host."""

    name: Name
    actors: list[str]
    host: Host | None = None
    bind: Host | None = None


class NodePlan(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One node: where it is, and which SAEs it serves."""

    name: Name
    host: Host = "127.0.0.1"
    bind: Host | None = None
    metrics: Host = "127.0.0.1"
    port: Annotated[int, Meta(ge=1_024, le=65_000, description="write 1024 to 65000")] | None = None
    saes: Saes = []
    processes: list[ProcessPlan] = field(name="process", default=[])

    @property
    def listens(self) -> str:
        """Return the address to bind to."""
        return self.bind or self.host

    def place(self, *actors: str) -> tuple[str, str]:
        """Return where one of these actors is reached, and what its process listens on."""
        found = (it for it in self.processes if not set(actors).isdisjoint(it.actors))
        return self.place_of(next(found, None))

    def place_of(self, process: ProcessPlan | None) -> tuple[str, str]:
        """Return where a process of this node is reached, and what it listens on; None: core."""
        if process is None or process.host is None:
            return self.host, (process and process.bind) or self.listens
        return process.host, process.bind or process.host

    @property
    def front(self) -> tuple[str, str]:
        """Return where SAEs reach this node, and what its front end listens on."""
        return self.place(
            FRONT, *(it for one in self.processes for it in one.actors if is_front(it))
        )


class LinkPlan(EmulatedLink, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One quantum link: `a` sends the datagrams and `b` receives them.

    A `module` is said for one of another package; what it is told is `own`, the same at both ends.
    """

    a: Name
    b: Name
    max_bytes: MaxBytes | None = None
    module: Plugin | None = None
    own: Loose | None = field(name="options", default=None)

    @property
    def kind(self) -> str:
        """Return the kind of module at both ends."""
        return self.module or (EMULATED if self.fibre_km is None else PHYSICAL)

    def options(self) -> dict[str, Any]:
        """Return what differs from what a link does by itself."""
        said = [*modules.given(self, EmulatedLink), *(["max_bytes"] if self.max_bytes else [])]
        return {name: getattr(self, name) for name in said}


class Topology(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The nodes and links of a lab."""

    nodes: list[NodePlan] = field(name="node")
    links: list[LinkPlan] = field(name="link", default=[])

    def links_of(self, name: str) -> list[LinkPlan]:
        """Return the links that end at a node."""
        return [link for link in self.links if name in (link.a, link.b)]


def parse(text: str, fibre_km: float | None = None) -> Topology:
    """Make a topology from `chain:2` and the like or from the path of a TOML file.

    With `fibre_km` each link of a shape has the pace of so much fibre. `ConfigError` tells
    everything that is wrong.
    """
    shape = _SHAPE.fullmatch(text)
    report = Report(Path(text))
    if shape:
        return _shaped(shape[1], int(shape[2]), fibre_km, report)
    if fibre_km is not None:
        report.add("", "says of each link how it is", "write fibre_km there, and not --fibre")
        raise ConfigError(report.problems)
    if not _is_file(Path(text)):
        report.add(
            "", "is no topology", "write chain:N, ring:N, star:N, mesh:N or the path of a TOML file"
        )
        raise ConfigError(report.problems)
    table = read_toml(Path(text), report)
    hook = hook_for(Path(text).absolute().parent)
    made = read_struct(Topology, table, "", hook, report) if table is not None else None
    if made:
        _check(made, report)
    if report.problems or made is None:
        raise ConfigError(report.problems)
    return made


def is_shape(text: str) -> bool:
    """Tell `chain:2` and the like from the path of a file."""
    return _SHAPE.fullmatch(text) is not None


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name too long for one, for example
        return False


def spread(topology: Topology, fronts: int = 1) -> Topology:
    """Place front end, or several, and quantum links of every node in processes of their own."""
    nodes = []
    for node in topology.nodes:
        peers = [link.b if link.a == node.name else link.a for link in topology.links_of(node.name)]
        processes = [ProcessPlan(name="front", actors=["etsi014"])]
        if fronts > 1:
            numbers = range(1, fronts + 1)
            processes = [ProcessPlan(name=f"front-{n}", actors=[f"etsi014/{n}"]) for n in numbers]
        if peers:
            actors = [f"quantum_link/{peer}" for peer in peers]
            processes.append(ProcessPlan(name="links", actors=actors))
        nodes.append(msgspec.structs.replace(node, processes=processes))
    return Topology(nodes=nodes, links=topology.links)


def on_hosts(topology: Topology, network: str) -> Topology:
    """Give every node a host of its own in a network like `198.18.0.0/24`, or `ConfigError`.

    Key bits travel in clear on the links between them.
    """
    try:
        net = ipaddress.ip_network(network)
    except ValueError as why:
        remedy = "write one like 198.18.0.0/24 or fd00:18::/64"
        raise ConfigError([Problem("--hosts", "", f"is no network: {why}", remedy)]) from None
    if net.num_addresses < len(topology.nodes) + 3:
        reason = f"{net} has no room for {len(topology.nodes)} nodes and this machine"
        raise ConfigError([Problem("--hosts", "", reason, "write a larger one")])
    homes = [str(net[number]) for number in range(1, len(topology.nodes) + 1)]
    nodes = [
        msgspec.structs.replace(node, host=home, metrics=home)
        for node, home in zip(topology.nodes, homes, strict=True)
    ]
    links = [
        msgspec.structs.replace(link, allow_insecure_emulation=True) for link in topology.links
    ]
    return Topology(nodes=nodes, links=links)


def kilometres(text: str) -> float | None:
    """Read a length like `25km`; empty: none is said. `ConfigError` if it is none."""
    if not text:
        return None
    found = _LENGTH.fullmatch(text)
    if not found or not 0 <= float(found[1]) <= KM_MAX:
        remedy = f"write 0km to {KM_MAX}km, like 25km"
        raise ConfigError([Problem("--fibre", "", f"{text[:80]!r} is no length", remedy)])
    return float(found[1])


def _shaped(shape: str, count: int, fibre_km: float | None, report: Report) -> Topology:
    if not _LEAST[shape] <= count <= MAX_NODES:
        report.add("", f"has {count} nodes", f"a {shape} has {_LEAST[shape]} to {MAX_NODES}")
        raise ConfigError(report.problems)
    names = [f"kms-{i}" for i in range(1, count + 1)]
    nodes = [NodePlan(name=name, saes=[f"sae-{i}"]) for i, name in enumerate(names, 1)]
    pairs = _pairs(shape, names)
    slow = _LINK_S * len(pairs) if len(pairs) > _FAST_LINKS and fibre_km is None else None
    links = [LinkPlan(a=a, b=b, round_s=slow, fibre_km=fibre_km) for a, b in pairs]
    return Topology(nodes=nodes, links=links)


def _pairs(shape: str, names: Sequence[str]) -> list[tuple[str, str]]:
    chain = list(itertools.pairwise(names))
    if shape == "ring":
        return [*chain, (names[-1], names[0])]
    if shape == "star":
        return [(names[0], name) for name in names[1:]]
    if shape == "mesh":
        return [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    return chain


def _check(topology: Topology, report: Report) -> None:
    if not 1 <= len(topology.nodes) <= MAX_NODES:
        report.add("node", f"{len(topology.nodes)} nodes", f"write 1 to {MAX_NODES}")
    names = [node.name for node in topology.nodes]
    _no_twins("node", names, report)
    _no_twins("node.saes", [sae for node in topology.nodes for sae in node.saes], report)
    _no_twins("link", [f"{min(x.a, x.b)} - {max(x.a, x.b)}" for x in topology.links], report)
    for link in topology.links:
        for end in ("a", "b"):
            if getattr(link, end) not in names:
                key = f"{report.key(link)}.{end}"
                report.add(key, f"there is no node {getattr(link, end)}", "add it, or correct it")
        modules.check_plan(link, link.kind, link.own, report)
        if link.a == link.b:
            report.add(report.key(link), "joins a node with itself", "name two nodes")
        away = [end for end in (link.a, link.b) if not _is_loopback(topology, end)]
        if away and link.module is None and not link.allow_insecure_emulation:
            report.add(
                report.key(link),
                f"an emulated link carries key bits in clear, and {away[0]} is not on loopback",
                "set allow_insecure_emulation = true, for experiments without real keys",
            )
        _check_ways(topology, link, report)
    for node in topology.nodes:
        _check_texts(node, report)
        if node.name in RESERVED:
            report.add(f"{report.key(node)}.name", f"{node.name} is reserved", "take another name")
        for process in node.processes:
            if process.name == _CORES_FILE:
                remedy = "take another name"
                report.add(f"{report.key(process)}.name", "is that of core's own file", remedy)
        fronts = [it for it in node.processes if any(map(is_front, it.actors))]
        for process in fronts[1:]:
            if node.place_of(process) != node.place_of(fronts[0]):
                reason = f"is not that of {fronts[0].name}: front ends share one address"
                report.add(f"{report.key(process)}.host", reason, "give both the same")


def _check_ways(topology: Topology, link: LinkPlan, report: Report) -> None:
    """Check that what an end of an emulated link listens on can reach the other end."""
    nodes = {node.name: node for node in topology.nodes}
    if link.module is not None or not {link.a, link.b} <= nodes.keys():
        return
    for name, peer in ((link.a, link.b), (link.b, link.a)):
        bind = Endpoint(nodes[name].place(f"{QUANTUM_LINK}/{peer}")[1], 1)
        there = Endpoint(nodes[peer].place(f"{QUANTUM_LINK}/{name}")[0], 1)
        if not bind.fits(there):
            report.add(
                report.key(link),
                f"{name} listens on {bind.host}, which reaches no {there.host} of {peer}",
                "give both ends addresses of one version of IP",
            )
        here = Endpoint(nodes[name].place(f"{QUANTUM_LINK}/{peer}")[0], 1)
        if here.is_loopback and is_number(there.host) and not there.is_loopback:
            at = f"{name} is on loopback ({here.host})"
            report.add(
                report.key(link),
                f"{at}, where {peer} at {there.host} cannot reach it",
                "give both ends addresses that the other can reach, or both one on loopback",
            )


def _check_texts(node: NodePlan, report: Report) -> None:
    key = report.key(node)
    mine = {"host": node.host, "bind": node.bind, "metrics": node.metrics}
    _check_hosts(key, mine, node.listens, report)
    for process in node.processes:
        theirs = {"host": process.host, "bind": process.bind}
        if any(theirs.values()):
            _check_hosts(report.key(process), theirs, node.place_of(process)[1], report)
    for index, sae in enumerate(node.saes):
        if fault := id_fault(sae) or _DOTS.get(sae, ""):
            report.add(f"{key}.saes[{index}]", fault, meaning(Saes))


def _check_hosts(key: str, hosts: Mapping[str, str | None], listens: str, report: Report) -> None:
    for name, host in hosts.items():
        if host is not None and (fault := _host_fault(host)):
            report.add(f"{key}.{name}", fault, meaning(Host))
    if hosts["host"] in _ANY:
        remedy = "write the address that others use; bind may be 0.0.0.0"
        report.add(f"{key}.host", "is no address that others can reach", remedy)
    if not _host_fault(listens) and not is_number(listens):
        reason = f"is {'a name' if hosts['bind'] else 'missing'}: nobody can listen at {listens}"
        remedy = "write an IP address of that host: 127.0.0.1 for localhost, or 0.0.0.0 for all"
        report.add(f"{key}.bind", reason, remedy)


def _host_fault(host: str) -> str:
    """Tell what is wrong with a host, or nothing."""
    if ":" not in host and not set(host) <= set("0123456789."):
        return host_name_fault(host)
    if not is_number(host):
        return "is no IP address" if host else "is empty"
    return "has a zone, which means nothing to other hosts" if "%" in host else ""


def _is_loopback(topology: Topology, name: str) -> bool:
    nodes = [node for node in topology.nodes if node.name == name]
    ends = [node.place_of(one) for node in nodes for one in (None, *node.processes)]
    return all(Endpoint(host, 1).is_loopback for pair in ends for host in pair)


def _no_twins(key: str, names: Sequence[str], report: Report) -> None:
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            report.add(key, f"{name} is there twice", "take one out")
