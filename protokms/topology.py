"""Which nodes and links a lab has: `chain:3`, `ring:4`, `star:5`, `mesh:4`, or a TOML file.

A file says more than a shape does:

    [[node]]
    name = "kms-1"
    host = "192.0.2.1"            # where others reach it; default 127.0.0.1
    bind = "0.0.0.0"              # what it listens on; default: host
    metrics = "127.0.0.1"         # where /metrics listens; default 127.0.0.1
    port = 17000                  # its ports are this and the next ones; default: free ones
    saes = ["sae-1"]
    [[node.process]]              # optional: actors of this node in processes of their own
    name = "front"
    actors = ["etsi014"]          # and "quantum_link/<neighbour>"
    [[link]]
    a = "kms-1"                   # a sends the datagrams, b receives them
    b = "kms-2"
    allow_insecure_emulation = true    # needed beyond loopback: key bits travel in clear
    rate_bit_s = 100000                # this and the rest: any key of [[link]] in a node's file
"""

import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct, field

from protokms.endpoint import Endpoint
from protokms.sections import MaxBytes, Name, Outages, RateBitS, RoundS, Seed, Share, Switch
from protokms.tables import ConfigError, Report, read_struct, read_toml

MAX_NODES = 64
LINK_OPTIONS = (
    "round_s",
    "rate_bit_s",
    "max_bytes",
    "allow_insecure_emulation",
    "loss",
    "duplication",
    "reordering",
    "corruption",
    "outages",
    "seed",
)
"""Keys of a link that both its ends get as they stand."""

RESERVED = ("ca", "saes", "lab.json", "directory.json", "directory.json.sig")
"""No names of nodes: they stand for other things in the folder of a lab."""

_FAST_LINKS, _LINK_S = 8, 0.00125
"""Past so many links of a shape a round takes so many seconds a link: they share one machine."""

_SHAPE = re.compile(r"(chain|ring|star|mesh):([0-9]{1,4})")
_LEAST = {"chain": 1, "ring": 3, "star": 2, "mesh": 2}

Host = Annotated[
    str,
    Meta(
        pattern=r"^([A-Za-z0-9]([A-Za-z0-9.-]{0,61}[A-Za-z0-9])?|[0-9A-Fa-f:]{2,45})\Z",
        description="write an IP address or a DNS name",
    ),
]
SaeId = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\Z",
        description="write 1 to 64 letters, digits, '_', '.', '-': it names files too",
    ),
]


class ProcessPlan(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Actors of a node that live in a process of their own."""

    name: Name
    actors: list[str]


class NodePlan(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One node: where it is, and which SAEs it serves."""

    name: Name
    host: Host = "127.0.0.1"
    bind: Host | None = None
    metrics: Host = "127.0.0.1"
    port: Annotated[int, Meta(ge=1_024, le=65_000, description="write 1024 to 65000")] | None = None
    saes: list[SaeId] = []
    processes: list[ProcessPlan] = field(name="process", default=[])

    @property
    def listens(self) -> str:
        """Return the address to bind to."""
        return self.bind or self.host


class LinkPlan(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One quantum link: `a` sends the datagrams and `b` receives them."""

    a: Name
    b: Name
    round_s: RoundS | None = None
    rate_bit_s: RateBitS | None = None
    max_bytes: MaxBytes | None = None
    allow_insecure_emulation: Switch = False
    loss: Share = 0.0
    duplication: Share = 0.0
    reordering: Share = 0.0
    corruption: Share = 0.0
    outages: Outages = []
    seed: Seed = 0

    def options(self) -> dict[str, Any]:
        """Return what differs from what a link does by itself."""
        given = {name: getattr(self, name) for name in LINK_OPTIONS}
        return {name: value for name, value in given.items() if value not in (None, False, 0, [])}


class Topology(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The nodes and links of a lab."""

    nodes: list[NodePlan] = field(name="node")
    links: list[LinkPlan] = field(name="link", default=[])

    def links_of(self, name: str) -> list[LinkPlan]:
        """Return the links that end at a node."""
        return [link for link in self.links if name in (link.a, link.b)]


def parse(text: str) -> Topology:
    """Make a topology from `chain:2` and the like or from the path of a TOML file.

    `ConfigError` tells everything that is wrong.
    """
    shape = _SHAPE.fullmatch(text)
    report = Report(Path(text))
    if shape:
        return _shaped(shape[1], int(shape[2]), report)
    if not _is_file(Path(text)):
        report.add(
            "", "is no topology", "write chain:N, ring:N, star:N, mesh:N or the path of a TOML file"
        )
        raise ConfigError(report.problems)
    table = read_toml(Path(text), report)
    made = read_struct(Topology, table, "", None, report) if table is not None else None
    if made:
        _check(made, report)
    if report.problems or made is None:
        raise ConfigError(report.problems)
    return made


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # a name too long for one, for example
        return False


def spread(topology: Topology) -> Topology:
    """Place front end and quantum links of every node in processes of their own."""
    nodes = []
    for node in topology.nodes:
        peers = [link.b if link.a == node.name else link.a for link in topology.links_of(node.name)]
        processes = [ProcessPlan(name="front", actors=["etsi014"])]
        if peers:
            actors = [f"quantum_link/{peer}" for peer in peers]
            processes.append(ProcessPlan(name="links", actors=actors))
        nodes.append(msgspec.structs.replace(node, processes=processes))
    return Topology(nodes=nodes, links=topology.links)


def _shaped(shape: str, count: int, report: Report) -> Topology:
    if not _LEAST[shape] <= count <= MAX_NODES:
        report.add("", f"has {count} nodes", f"a {shape} has {_LEAST[shape]} to {MAX_NODES}")
        raise ConfigError(report.problems)
    names = [f"kms-{i}" for i in range(1, count + 1)]
    nodes = [NodePlan(name=name, saes=[f"sae-{i}"]) for i, name in enumerate(names, 1)]
    pairs = _pairs(shape, names)
    slow = _LINK_S * len(pairs) if len(pairs) > _FAST_LINKS else None
    return Topology(nodes=nodes, links=[LinkPlan(a=a, b=b, round_s=slow) for a, b in pairs])


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
        if link.a == link.b:
            report.add(report.key(link), "joins a node with itself", "name two nodes")
        away = [end for end in (link.a, link.b) if not _is_loopback(topology, end)]
        if away and not link.allow_insecure_emulation:
            report.add(
                report.key(link),
                f"an emulated link carries key bits in clear, and {away[0]} is not on loopback",
                "set allow_insecure_emulation = true, for experiments without real keys",
            )
    for node in topology.nodes:
        if node.name in RESERVED:
            report.add(f"{report.key(node)}.name", f"{node.name} is reserved", "take another name")
        if node.host in ("0.0.0.0", "::"):  # noqa: S104  # to refuse it
            remedy = "write the address that others use; bind may be 0.0.0.0"
            report.add(f"{report.key(node)}.host", "is no address that others can reach", remedy)


def _is_loopback(topology: Topology, name: str) -> bool:
    ends = [(node.host, node.listens) for node in topology.nodes if node.name == name]
    return all(Endpoint(host, 1).is_loopback for pair in ends for host in pair)


def _no_twins(key: str, names: Sequence[str], report: Report) -> None:
    for name in dict.fromkeys(names):
        if names.count(name) > 1:
            report.add(key, f"{name} is there twice", "take one out")
