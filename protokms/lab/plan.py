"""A topology with addresses: which port everything of a lab gets, and the text of each config."""

import json
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, time
from typing import Any

from etsi.http.options import SaeIdFrom
from protokms.config import fronts
from protokms.config.link_tables import KINDS
from protokms.config.plugins import OPTIONS
from protokms.config.sections import AGENT, QUANTUM_LINK
from protokms.config.tables import Loose
from protokms.enrol import pki
from protokms.lab.topology import NodePlan, ProcessPlan, Topology
from transport.endpoint import Endpoint, TcpEndpoint

_COLUMN = 31  # where comments begin


@dataclass(frozen=True, slots=True)
class LinkEnd:
    """One end of a quantum link, and the number of its interface at this node."""

    number: int
    peer: str
    role: str
    bind: Endpoint
    remote: Endpoint
    options: Mapping[str, Any]
    module: str
    own: Loose | None

    @property
    def is_own(self) -> bool:
        """Tell whether the module is one of another package."""
        return self.module not in KINDS


@dataclass(frozen=True, slots=True)
class PlacedNode:
    """One node with its addresses; `address` is where other KMSs reach it.

    `processes` are those beside core: where each is reached, and what it listens on.
    `sae_id_from` is one for the whole lab: where the certificates of its SAEs hold their ids.
    A `bare` node has interfaces, and no link over them yet. `etsi015` is where its `controller`
    connects, by its id; None: it has none.
    """

    plan: NodePlan
    id: str
    address: TcpEndpoint
    transport: TcpEndpoint
    etsi014: Endpoint
    metrics: Endpoint
    processes: Mapping[str, tuple[TcpEndpoint, TcpEndpoint]]
    links: Sequence[LinkEnd]
    sae_id_from: SaeIdFrom
    bare: bool = False
    etsi015: Endpoint | None = None
    controller: str = ""

    @property
    def name(self) -> str:
        """Return the KMS name."""
        return self.plan.name


def place(
    topology: Topology, ports: Iterator[int], *, bare: bool = False, controller: str = ""
) -> list[PlacedNode]:
    """Give every node its addresses; `ports` yields ports that are free.

    With the id of a `controller` each node has a place where it connects.
    """
    sources = {node.name: _source(node, ports) for node in topology.nodes}
    fixed = {name: [next(source) for _ in range(3)] for name, source in sources.items()}
    ends = {
        (one, other): next(sources[one])
        for link in topology.links
        for one, other in ((link.a, link.b), (link.b, link.a))
    }
    hosts = {node.name: node for node in topology.nodes}
    fit = all(pki.fits_cn(sae) for node in topology.nodes for sae in node.saes)
    placed = []
    for node in topology.nodes:
        transport, etsi, metrics = fixed[node.name]
        links = []
        near = {it.b if it.a == node.name else it.a: it for it in topology.links_of(node.name)}
        for number, (peer, link) in enumerate(sorted(near.items()), 1):
            links.append(
                LinkEnd(
                    number=number,
                    peer=peer,
                    role="sender" if link.a == node.name else "receiver",
                    bind=Endpoint(_of_link(node, peer)[1], ends[node.name, peer]),
                    remote=Endpoint(_of_link(hosts[peer], node.name)[0], ends[peer, node.name]),
                    options=link.options(),
                    module=link.kind,
                    own=link.own,
                )
            )
        processes = {}
        for process in node.processes:
            port = next(sources[node.name])
            address, bind = (TcpEndpoint(host, port) for host in node.place_of(process))
            processes[process.name] = address, bind
        controlled = (
            Endpoint(node.place(AGENT)[1], next(sources[node.name])) if controller else None
        )
        placed.append(
            PlacedNode(
                plan=node,
                id=str(uuid.uuid4()),
                address=TcpEndpoint(node.host, transport),
                transport=TcpEndpoint(node.listens, transport),
                etsi014=Endpoint(node.front[1], etsi),
                metrics=Endpoint(node.metrics, metrics),
                processes=processes,
                links=links,
                sae_id_from="cn" if fit else "san_uri",
                bare=bare,
                etsi015=controlled,
                controller=controller,
            )
        )
    return placed


def _of_link(node: NodePlan, peer: str) -> tuple[str, str]:
    return node.place(f"{QUANTUM_LINK}/{peer}")


def _source(node: NodePlan, ports: Iterator[int]) -> Iterator[int]:
    return ports if node.port is None else iter(range(node.port, 1 << 16))


def config_text(node: PlacedNode, publics: Mapping[str, str]) -> str:
    """Write the configuration of core, with a comment for whoever opens it.

    `publics` are the public keys of the processes beside it, by name.
    """
    apart = {actor for process in node.plan.processes for actor in process.actors}
    here = [link for link in node.links if f"quantum_link/{link.peer}" not in apart]
    values = _values(node)
    parts = [_HEAD.format(**values)]
    parts += [] if any(map(fronts.is_front, apart)) else [_FRONT.format(**values)]
    parts += [_AGENT.format(**values)] if node.etsi015 and AGENT not in apart else []
    parts += [_CORE.format(**values)]
    parts += [_interface_text(it) if node.bare else link_text(it, core=True) for it in here]
    for process in node.plan.processes:
        address, _ = node.processes[process.name]
        named = {
            "name": process.name,
            "address": str(address),
            "public": publics[process.name],
            "seal": f"{process.name}.seal.key",
            "actors": _actors(node, process),
            "config": f"{process.name}.toml",
        }
        parts.append(_PROCESS.format(**{key: _toml(value) for key, value in named.items()}))
    return _align("\n".join(parts))


def edge_text(node: PlacedNode, process: ProcessPlan, core_public: str) -> str:
    """Write the configuration of one process beside core."""
    _, bind = node.processes[process.name]
    named = {
        "node": node.name,
        "process": process.name,
        "bind": str(bind),
        "curve": f"{process.name}.curve.key",
        "seal": f"{process.name}.seal.key",
        "core": str(node.address),
        "public": core_public,
    }
    values = {key: _toml(value) for key, value in named.items()}
    front = next(filter(fronts.is_front, process.actors), "")
    parts = [_EDGE.format(**values, front=_place_text(node, front))]
    parts += [_FRONT.format(**_values(node))] if front else []
    parts += [_AGENT.format(**_values(node))] if AGENT in process.actors else []
    here = [link for link in node.links if f"quantum_link/{link.peer}" in process.actors]
    parts += [_interface_text(it) if node.bare else link_text(it) for it in here]
    return _align("\n".join(parts))


def fibre_text(link: LinkEnd) -> str:
    """Write what leads to a neighbour, for a node that has no link there yet."""
    if link.is_own:
        return _align(_OWN_FIBRE.format(role=_toml(link.role)) + _own_text(OPTIONS, link.own))
    known = {"role": link.role, "remote": str(link.remote), "secret": f"{link.peer}.key"}
    text = _FIBRE.format(**{name: _toml(value) for name, value in known.items()})
    return _align(text + _options_text(link))


def _actors(node: PlacedNode, process: ProcessPlan) -> list[str]:
    """Return what core's file says that a process has: of a bare node interfaces, no links."""
    numbers = {f"quantum_link/{it.peer}": f"interface/{it.number}" for it in node.links}
    return [numbers.get(it, it) if node.bare else it for it in process.actors]


def _place_text(node: PlacedNode, front: str) -> str:
    """Write which of several front ends this is; nothing, if it is the only one."""
    number = front.partition("/")[2]
    actors = [actor for process in node.plan.processes for actor in process.actors]
    total = sum(map(fronts.is_front, actors))
    return _PLACE.format(number=number, total=total) if number else ""


def _align(text: str) -> str:
    rows = (line.rpartition("  # ") for line in text.splitlines())
    lines = (f"{left.rstrip():<{_COLUMN}} # {note}" if bar else note for left, bar, note in rows)
    return "\n".join(lines) + "\n"


def _values(node: PlacedNode) -> dict[str, str]:
    values = {
        "name": node.name,
        "id": node.id,
        "transport": str(node.transport),
        "etsi014": str(node.etsi014),
        "metrics": str(node.metrics),
        "sae_id_from": node.sae_id_from,
        "etsi015": str(node.etsi015),
        "controller": node.controller,
    }
    return {name: _toml(value) for name, value in values.items()}


def link_text(link: LinkEnd, *, core: bool = False) -> str:
    """Write one `[[link]]`, for core or for another process."""
    known = {"peer": link.peer, "module": link.module, "role": link.role}
    values = {name: _toml(value) for name, value in known.items()}
    values["number"] = f"interface = {link.number}\n" if core else ""
    if link.is_own:
        return _OWN_LINK.format(**values) + _own_text(f"link.{OPTIONS}", link.own)
    text = _LINK.format(
        **values,
        bind=_toml(str(link.bind)),
        remote=_toml(str(link.remote)),
        secret=_toml(f"links/{link.peer}.key"),
    )
    return text + _options_text(link)


def _interface_text(link: LinkEnd) -> str:
    if link.is_own:
        return _OWN_INTERFACE.format(number=link.number, module=_toml(link.module))
    values = {"module": _toml(link.module), "bind": _toml(str(link.bind))}
    text = _INTERFACE.format(number=link.number, **values)
    name = "allow_insecure_emulation"
    return text + (f"{name} = true\n" if link.options.get(name) else "")


def _own_text(key: str, own: Loose | None) -> str:
    rows = own.table if own else {}
    return "".join([f"[{key}]\n", *(f"{_key(it)} = {_toml(rows[it])}\n" for it in rows)])


def _options_text(link: LinkEnd) -> str:
    paced = {"round_s", "rate_bit_s", "block_s", "fibre_km"} & set(link.options)
    given = {} if paced else {"round_s": 0.01}
    given |= {} if "max_bytes" in link.options else {"max_bytes": 999}
    rows = {**given, **link.options}
    return "".join(f"{name} = {_toml(value)}\n" for name, value in rows.items())


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(it)} = {_toml(value[it])}" for it in value) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, float):
        return repr(value)
    # Of texts, whole numbers and switches it is TOML too; no mark of a comment is left in a text.
    text = json.dumps(value, ensure_ascii=False)
    return text.replace("\x7f", "\\u007f").replace(" #", " \\u0023")


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)


_HEAD = """\
# One node of a lab. Paths are relative to this file.
# `protokms node THIS_FILE --check` tells everything that is wrong with it.

[node]
name = {name}                  # the KMS name, as in the directory
id = {id}                      # the KME ID of ETSI GS QKD 014, as in the directory
data = "store.db"              # SQLite file with sealed key bits; made once, mode 0600
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
heartbeat_s = 1.0              # a peer that misses three is down
"""

_FRONT = """\
[etsi014]
bind = {etsi014}               # SAEs connect here (HTTPS with client certificates)
certificate = "tls.crt"
key = "tls.key"
client_ca = "../ca/ca.crt"     # signs the certificates of SAEs (and ours; else: server_ca)
sae_id_from = {sae_id_from}    # cn, san_uri, san_dns, fingerprint or table
deny = []                      # SAE ids and SHA-256 fingerprints that are turned away
"""

_AGENT = """\
[etsi015]
bind = {etsi015}               # controllers connect here (RESTCONF, HTTPS, client certificates)
certificate = "tls.crt"
key = "tls.key"
client_ca = "../ca/ca.crt"

[[etsi015.controller]]
id = {controller}              # as in its certificate
write = true
"""

_CORE = """\
[metrics]
bind = {metrics}               # plain HTTP: /metrics, /health, /ready

[manage]
socket = "manage.sock"         # of `protokms session`, `route`, `peer`, `link`, `alarm`, and
                               # `node reload|status`; mode 0600

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
{number}module = {module}
role = {role}                  # who sends the datagrams; the other end is the receiver
bind = {bind}                  # UDP
remote = {remote}
secret = {secret}              # pre-shared: authenticates datagrams, does not hide them
"""

_OWN_LINK = """\
[[link]]                       # a quantum link with a module of another package
peer = {peer}
{number}module = {module}
role = {role}                  # with a pair of devices: which end names the bits
"""

_OWN_INTERFACE = """\
[[interface]]                  # a QKD module of another package that waits for a peer
id = {number}
module = {module}
secrets = "links/"             # a file <peer>.toml for each peer that it may lead to
"""

_OWN_FIBRE = """\
# What leads to one neighbour; read when a link to it is started.
role = {role}                  # with a pair of devices: which end names the bits
"""

_INTERFACE = """\
[[interface]]                  # EMULATED QKD module that waits for a peer
id = {number}
module = {module}
bind = {bind}                  # UDP
secrets = "links/"             # a file <peer>.toml for each peer that it may lead to
"""

_FIBRE = """\
# What leads to one neighbour; read when a link to it is started. EMULATED: bits travel in clear.
role = {role}                  # who sends the datagrams; the other end is the receiver
remote = {remote}              # where the far end listens (UDP)
secret = {secret}              # pre-shared: authenticates datagrams, does not hide them
"""

_PROCESS = """\
[[process]]                    # these actors live in a process beside this one, which is core
name = {name}
address = {address}            # where core reaches it
public = {public}              # its CURVE key
seal = {seal}                  # seals key bits between core and this process
actors = {actors}
config = {config}              # its own file, as long as it runs on this host
"""

_PLACE = """\
front = {{ number = {number}, of = {total} }}  # all of them on the one address of etsi014
"""

_EDGE = """\
# One process of a node, beside its core: it talks to core, and to no other KMS.
# `protokms node THIS_FILE` runs it; with --check it tells everything that is wrong with it.

[process]
node = {node}
name = {process}
bind = {bind}                  # core connects here (ZeroMQ, CURVE)
curve = {curve}                # of this process alone; its public half is in the file of core
seal = {seal}                  # seals key bits between core and this process; core has it too
{front}
[core]
address = {core}
public = {public}              # core's CURVE key
"""
