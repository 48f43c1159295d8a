"""A topology with addresses: which port everything of a lab gets, and the text of each config."""

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from protokms.endpoint import Endpoint, TcpEndpoint
from protokms.topology import NodePlan, Topology

_COLUMN = 31  # where comments begin


@dataclass(frozen=True, slots=True)
class LinkEnd:
    """One end of a quantum link."""

    peer: str
    role: str
    bind: Endpoint
    remote: Endpoint
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PlacedNode:
    """One node with its addresses; `address` is where other KMSs reach it."""

    plan: NodePlan
    id: str
    address: TcpEndpoint
    transport: TcpEndpoint
    etsi014: Endpoint
    metrics: Endpoint
    processes: Mapping[str, TcpEndpoint]
    links: Sequence[LinkEnd]

    @property
    def name(self) -> str:
        """Return the KMS name."""
        return self.plan.name


def place(topology: Topology, ports: Iterator[int]) -> list[PlacedNode]:
    """Give every node its addresses; `ports` yields ports that are free."""
    sources = {node.name: _source(node, ports) for node in topology.nodes}
    fixed = {name: [next(source) for _ in range(3)] for name, source in sources.items()}
    ends = {
        (one, other): next(sources[one])
        for link in topology.links
        for one, other in ((link.a, link.b), (link.b, link.a))
    }
    hosts = {node.name: node for node in topology.nodes}
    placed = []
    for node in topology.nodes:
        transport, etsi, metrics = fixed[node.name]
        links = []
        for link in topology.links_of(node.name):
            peer = link.b if link.a == node.name else link.a
            links.append(
                LinkEnd(
                    peer=peer,
                    role="sender" if link.a == node.name else "receiver",
                    bind=Endpoint(node.listens, ends[node.name, peer]),
                    remote=Endpoint(hosts[peer].host, ends[peer, node.name]),
                    options=link.options(),
                )
            )
        processes = {
            process.name: TcpEndpoint(node.listens, next(sources[node.name]))
            for process in node.processes
        }
        placed.append(
            PlacedNode(
                plan=node,
                id=str(uuid.uuid4()),
                address=TcpEndpoint(node.host, transport),
                transport=TcpEndpoint(node.listens, transport),
                etsi014=Endpoint(node.listens, etsi),
                metrics=Endpoint(node.metrics, metrics),
                processes=processes,
                links=links,
            )
        )
    return placed


def _source(node: NodePlan, ports: Iterator[int]) -> Iterator[int]:
    return ports if node.port is None else iter(range(node.port, 1 << 16))


def config_text(node: PlacedNode) -> str:
    """Write the configuration of a node, with a comment for whoever opens it."""
    parts = [_HEAD.format(**{name: _toml(value) for name, value in _values(node).items()})]
    parts += [_link_text(link) for link in node.links]
    for process in node.plan.processes:
        parts.append(
            _PROCESS.format(
                name=_toml(process.name),
                bind=_toml(str(node.processes[process.name])),
                curve=_toml(f"{process.name}.curve.key"),
                actors=_toml(list(process.actors)),
            )
        )
    return _align("\n".join(parts))


def _align(text: str) -> str:
    rows = (line.rpartition("  # ") for line in text.splitlines())
    lines = (f"{left.rstrip():<{_COLUMN}} # {note}" if bar else note for left, bar, note in rows)
    return "\n".join(lines) + "\n"


def _values(node: PlacedNode) -> dict[str, Any]:
    return {
        "name": node.name,
        "id": node.id,
        "transport": str(node.transport),
        "etsi014": str(node.etsi014),
        "metrics": str(node.metrics),
    }


def _link_text(link: LinkEnd) -> str:
    text = _LINK.format(
        peer=_toml(link.peer),
        role=_toml(link.role),
        bind=_toml(str(link.bind)),
        remote=_toml(str(link.remote)),
        secret=_toml(f"links/{link.peer}.key"),
    )
    given = {} if {"round_s", "rate_bit_s"} & set(link.options) else {"round_s": 0.01}
    given |= {} if "max_bytes" in link.options else {"max_bytes": 999}
    rows = {**given, **link.options}
    return text + "".join(f"{name} = {_toml(value)}\n" for name, value in rows.items())


def _toml(value: Any) -> str:
    return json.dumps(value)  # for texts, numbers, switches and lists of these it is TOML too


_HEAD = """\
# One node of a lab. Paths are relative to this file.
# `protokms node THIS_FILE --check` tells everything that is wrong with it.

[node]
name = {name}                  # the KMS name, as in the directory
id = {id}                      # the KME ID of ETSI GS QKD 014, as in the directory
data = "store.db"              # SQLite file with sealed key bits; made when missing, mode 0600
# node_key seals them; it may also be {{ env = "NAME" }} or {{ credential = "NAME" }} (systemd)
node_key = {{ file = "node.key" }}
signing_key = "signing.key"    # Ed25519; its public half is in the directory
log = "auto"                   # json, console, or auto: json unless on a terminal

[directory]
file = "../directory.json"     # who is who; ../directory.json.sig signs it
ca = "../ca/signing.pub"       # the public key that the signature is checked with

[transport]
bind = {transport}             # other KMSs connect here (ZeroMQ, CURVE)
curve = "curve.key"            # its public half is in the directory
process_key = "process.key"    # seals key bits between processes of this node
heartbeat_s = 1.0              # a peer that misses three is down

[etsi014]
bind = {etsi014}               # SAEs connect here (HTTPS with client certificates)
certificate = "tls.crt"
key = "tls.key"
client_ca = "../ca/ca.crt"     # signs the certificates of SAEs (and ours; else: server_ca)
sae_id_from = "cn"             # cn, san_uri, san_dns or fingerprint
deny = []                      # SAE ids and SHA-256 fingerprints that are turned away

[metrics]
bind = {metrics}               # plain HTTP: /metrics, /health, /ready

[manage]
socket = "manage.sock"         # of `protokms session`, `route`, `peer`, `link`; mode 0600

[store]
max_bits = 67108864            # most key bits kept with one peer
mode = "confirmed"             # confirmed: answer once the peer holds the key; or local: before
                               # that; all nodes the same, or a key may be "not found" for a while
ttl_s = 3600                   # seconds until a key that nobody fetched expires
erase_s = 10                   # seconds until delivered key bits are gone from the disk
redelivery_s = 30              # an answer that broke off may be fetched again so long; 0 gives
                               # up that an answered key is always fetchable
"""

_LINK = """\
[[link]]                       # EMULATED quantum link: key bits travel in clear
peer = {peer}
module = "emulated"
role = {role}                  # who sends the datagrams; the other end is the receiver
bind = {bind}                  # UDP
remote = {remote}
secret = {secret}              # pre-shared: authenticates datagrams, does not hide them
"""

_PROCESS = """\
[[process]]                    # these actors live in a process of their own
name = {name}
bind = {bind}
curve = {curve}
actors = {actors}
"""
