"""The sections of a node's configuration: which keys there are, of which type and range.

Paths are relative to the configuration file; after reading they are absolute. Times are
seconds, sizes bits or octets as their names say. deploy/node.toml shows every key.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from actors.keystore.options import StoreOptions
from actors.protocol.limits import SHARES_MAX, Switch, limit
from actors.sessions.options import SessionOptions
from etsi.gs014.options import Gs014Options
from etsi.gs015.options import Applications, Gs015Options
from etsi.http.options import Bind, File, Text
from protokms.config.link_tables import (
    DEVICE,
    EMULATED,
    STREAM,
    Device,
    Glass,
    KeyStream,
    Share,
)
from protokms.config.plugins import Plugin
from protokms.config.tables import Loose, Problem
from transport.endpoint import TcpEndpoint

CORE = "core"
"""The process where every actor lives that no `[[process]]` table places elsewhere."""

FRONT, AGENT, QUANTUM_LINK = "etsi014", "etsi015", "quantum_link"
"""What may live elsewhere: the front ends for SAEs and for controllers, and quantum links."""

FRONTS = (FRONT, AGENT)

INTERFACE = "interface"
"""`interface/<id>` among the actors of a process: it has this interface, for links of run time."""

INTERFACE_MAX = 65_535

SHORTEST_ROUND_S, LONGEST_ROUND_S = 1e-6, 3_600.0
"""Seconds from one datagram of an emulated link to the next."""

Name = Annotated[
    str,
    Meta(
        pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}\Z",
        description="write a name of 1 to 64 characters: a-z, 0-9, '_', '.', '-'",
    ),
]
Log = Annotated[Literal["json", "console", "auto"], Meta(description="write json, console or auto")]
LogLevel = Annotated[
    Literal["info", "warning", "error"], Meta(description="write info, warning or error")
]
StartWait = Annotated[float, limit(0, 3_600, "seconds")]
Public = Annotated[
    str,
    Meta(
        pattern=r"^[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}\Z",
        description="write the public half of its CURVE key, 40 characters (Z85)",
    ),
]
Heartbeat = Annotated[float, limit(0.05, 60, "seconds")]
TcpBind = Annotated[TcpEndpoint, Meta(description="write an address like 'tcp://127.0.0.1:17001'")]


class NodeKey(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the node key comes from (32 octets, base64); exactly one of the three."""

    file: File | None = None
    env: Text | None = None
    credential: Text | None = None


class Node(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[node]`: who this is. `name` is the KMS name, `id` the KME ID of ETSI GS QKD 014."""

    name: Name
    id: Text
    data: File
    node_key: Annotated[NodeKey, Meta(description='write { file = "node.key" }')]
    signing_key: File
    log: Log = "auto"
    log_level: LogLevel = "info"
    log_requests: Switch = True
    start_wait_s: StartWait = 30.0


class DirectoryFiles(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[directory]`: who is who; `<file>.sig` signs it, `ca` is the public key to check it."""

    file: File
    ca: File


class Transport(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[transport]`: how this node talks to other KMSs, and its core to its other processes.

    `process_key` was the one secret of all processes in 0.2; nothing reads it any more.
    """

    bind: TcpBind
    curve: File
    process_key: File | None = None
    heartbeat_s: Heartbeat = 1.0
    sibling_heartbeat_s: Heartbeat = 0.2
    idle_s: Annotated[float, limit(1, 86_400, "seconds")] = 300.0


class Metrics(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[metrics]`: plain HTTP for /metrics, /health and /ready."""

    bind: Bind


Groups = Annotated[
    tuple[Annotated[str, Meta(min_length=1, max_length=64)], ...],
    Meta(max_length=16, description="write a list of groups of this host"),
]


class Manage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[manage]`: the UNIX socket of `protokms session`, `route`, `peer`, `link` and `alarm`."""

    socket: File
    read: Groups = ()
    operate: Groups = ()
    security: Groups = ()


Outages = Annotated[
    list[tuple[Annotated[float, Meta(ge=0, le=1e9)], Annotated[float, Meta(gt=0, le=1e9)]]],
    Meta(max_length=1_000, description="write a list of [start, length] in seconds"),
]

RoundS = Annotated[float, limit(SHORTEST_ROUND_S, LONGEST_ROUND_S, "seconds")]
RateBitS = Annotated[float, limit(1, 1e10, "bit/s")]
BlockOctets = Annotated[int, limit(1, 1 << 24, "octets")]
BlockS = Annotated[float, limit(1, LONGEST_ROUND_S, "seconds")]
MaxBytes = Annotated[int, limit(1, 64_000, "octets")]
Seed = Annotated[int, limit(0, 1 << 62, "any kind")]


class EmulatedLink(Glass, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What both ends of an emulated link are told; from `loss` on it is trouble on purpose.

    What is said of a fibre is for one with `module = "physical"`.
    """

    round_s: RoundS | None = None
    rate_bit_s: RateBitS | None = None
    block_octets: BlockOctets | None = None
    block_s: BlockS | None = None
    allow_insecure_emulation: Switch = False
    loss: Share = 0.0
    duplication: Share = 0.0
    reordering: Share = 0.0
    corruption: Share = 0.0
    outages: Outages = field(default=[])
    seed: Seed = 0


LinkRole = Annotated[
    Literal["sender", "receiver", "both"], Meta(description="write sender, receiver or both")
]
InterfaceId = Annotated[int, limit(1, INTERFACE_MAX, "an interface")]


class Fibre(EmulatedLink, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What leads to one neighbour: the far address, and the pre-shared key.

    The file `<peer>.toml` in the folder `secrets` of an interface holds one of it.
    """

    role: Annotated[Literal["sender", "receiver"], Meta(description="write sender or receiver")]
    remote: Bind
    secret: File
    max_bytes: MaxBytes = 999


class OwnFibre(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The same for an interface with a module of another package."""

    role: LinkRole
    options: Loose | None = None


class Link(EmulatedLink, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[link]]`: a quantum link to a neighbour, over an interface that is bound to it for good.

    An emulated one, and one over a fibre, has `bind`, `remote` and `secret`; one whose bits come
    from a device has a table `etsi014` or `etsi004` instead, one with a module of another package
    `options`.
    """

    peer: Name
    interface: InterfaceId | None = None
    module: Plugin = EMULATED
    role: LinkRole
    bind: Bind | None = None
    remote: Bind | None = None
    secret: File | None = None
    max_bytes: MaxBytes = 999
    etsi014: Device | None = None
    etsi004: KeyStream | None = None
    options: Loose | None = None

    @property
    def devices(self) -> Iterator[tuple[str, Device | KeyStream]]:
        """The tables of devices that are given, and their names: one, in a good link to one."""
        for name, table in ((DEVICE, self.etsi014), (STREAM, self.etsi004)):
            if table:
                yield name, table


class Interface(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[interface]]`: a QKD module that waits for a peer; `secrets` is a folder of `Fibre` files.

    `allow_insecure_emulation` is about `bind`; each fibre says it of its own `remote`. One with a
    module of another package has no `bind`.
    """

    id: InterfaceId
    module: Plugin = EMULATED
    bind: Bind | None = None
    secrets: File
    allow_insecure_emulation: Switch = False


class OwnActorTable(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[actor]]`: an actor of another package, `own/<name>`, in core.

    `kind` is the name of an entry point of the group `protokms.actors`, or `package:factory`.
    """

    name: Name
    kind: Plugin
    options: Loose | None = None


Order = Annotated[int, limit(0, (1 << 32) - 1, "an order")]
Bandwidth = Annotated[int, limit(0, (1 << 32) - 1, "bit/s")]
PolicyTtl = Annotated[int, limit(1, 31_536_000, "seconds")]
StockBits = Annotated[int, limit(0, 1 << 40, "bits")]
PathsNeeded = Annotated[int, limit(0, SHARES_MAX, "disjoint paths")]
Priority = Annotated[int, limit(0, (1 << 32) - 1, "a priority")]
RateOf = Annotated[Literal["pair", "sae"], Meta(description="write pair or sae")]
Parties = Annotated[
    list[Text],
    Meta(min_length=1, max_length=256, description="write a list of SAEs, 'node:NAME' and '*'"),
]


class PolicyRow(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[policy]]`: a rule that says which masters have keys with which slaves, and how many.

    The rule with the lowest `order` that names a pair decides; without one rules have 10, 20, ...
    as they stand in the file. `max_bandwidth` is bit/s of each pair, or of each master SAE for all
    its pairs under the rule, as `rate_of` says; `stock_bits` is what may lie unfetched of a pair;
    `paths` is over how many disjoint paths its bits have to come.
    """

    name: Name
    masters: Parties
    slaves: Parties
    order: Order | None = None
    allow: Switch = True
    max_bandwidth: Bandwidth | None = None
    rate_of: RateOf = "pair"
    stock_bits: StockBits | None = None
    ttl_s: PolicyTtl | None = None
    priority: Priority = 0
    paths: PathsNeeded = 0


class Process(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[process]]`: an edge, a process of this node beside core; what core has to know of it.

    `address` is where it is reached, `public` its CURVE key, `seal` the file with the key that
    seals key bits between core and this one process. `config` is its own file, where it is on the
    same host. `applications` is that of `[etsi015]`, for the process that has it.
    """

    name: Name
    address: TcpBind
    public: Public
    seal: File
    actors: Annotated[
        list[Text],
        Meta(
            min_length=1,
            description="write a list of 'etsi014' (or 'etsi014/1', 'etsi014/2' of several), "
            "'etsi015', 'quantum_link/<peer>' and 'interface/<id>'",
        ),
    ]
    config: File | None = None
    applications: Applications | None = None


FRONTS_MAX = 16
"""Front ends of a node: on one address, each in a process of its own."""

FrontNumber = Annotated[int, limit(1, FRONTS_MAX, "front ends")]


class FrontPlace(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`front` of `[process]`: which of the several front ends of the node this is."""

    number: FrontNumber
    of: FrontNumber


class EdgeProcess(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[process]` of the file of an edge: whose process it is, and the secrets of its own."""

    node: Name
    name: Name
    bind: TcpBind
    curve: File
    seal: File
    log: Log = "auto"
    log_level: LogLevel = "info"
    log_requests: Switch = True
    start_wait_s: StartWait = 30.0
    sibling_heartbeat_s: Heartbeat = 0.2
    front: FrontPlace | None = None


class EdgeCore(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[core]` of the file of an edge: the one process that it talks to."""

    address: TcpBind
    public: Public


class EdgeTables(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that the file of an edge may hold: what it runs, and its way to core."""

    process: Annotated[EdgeProcess, Meta(description="write a table [process]")]
    core: Annotated[EdgeCore, Meta(description="write a table [core]")]
    metrics: Metrics | None = None
    etsi014: Gs014Options | None = None
    etsi015: Gs015Options | None = None
    links: list[Link] = field(name="link", default=[])
    interfaces: list[Interface] = field(name="interface", default=[])


class EdgeConfig(EdgeTables, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The configuration of an edge, in which everything that can be checked is right."""

    path: Path
    warnings: tuple[Problem, ...] = ()

    @property
    def actors(self) -> list[str]:
        """The actors that it runs, and the interfaces that it has, as core's file names them."""
        links = [f"{QUANTUM_LINK}/{link.peer}" for link in self.links]
        waiting = [f"{INTERFACE}/{one.id}" for one in self.interfaces]
        fronts = [self.front] if self.front else []
        agents = [AGENT] if self.etsi015 else []
        return [*fronts, *agents, *links, *waiting]

    @property
    def front(self) -> str:
        """The front end for SAEs that it runs, if it does: `etsi014`, or `etsi014/2` of several."""
        place = self.process.front
        name = f"{FRONT}/{place.number}" if place else FRONT
        return name if self.etsi014 else ""

    @property
    def fronts(self) -> int:
        """How many front ends share the limits of `[etsi014]`."""
        return self.process.front.of if self.process.front else 1


class Tables(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that a configuration file may hold."""

    node: Annotated[Node, Meta(description="write a table [node]")]
    directory: Annotated[DirectoryFiles, Meta(description="write a table [directory]")]
    transport: Annotated[Transport, Meta(description="write a table [transport]")]
    metrics: Annotated[Metrics, Meta(description="write a table [metrics]")]
    etsi014: Gs014Options | None = None
    etsi015: Gs015Options | None = None
    manage: Manage | None = None
    store: StoreOptions = StoreOptions()
    relay: SessionOptions = SessionOptions()
    links: list[Link] = field(name="link", default=[])
    interfaces: list[Interface] = field(name="interface", default=[])
    policies: list[PolicyRow] = field(name="policy", default=[])
    processes: list[Process] = field(name="process", default=[])
    actors: list[OwnActorTable] = field(name="actor", default=[])


class NodeConfig(Tables, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A configuration in which everything that can be checked without running is right.

    `warnings` are about keys that are read and have no effect.
    """

    path: Path
    warnings: tuple[Problem, ...] = ()

    @property
    def controlled(self) -> bool:
        """Whether SAEs have keys by an application of a controller, and not without."""
        said = [self.etsi015.applications] if self.etsi015 else []
        said += [one.applications for one in self.processes]
        return "controlled" in said

    def process_of(self, actor: str) -> str:
        """Return the name of the process where an actor of this node lives."""
        return next((one.name for one in self.processes if actor in one.actors), CORE)

    @property
    def apart(self) -> list[str]:
        """The actors of this node that live beside core from the start."""
        actors = [actor for one in self.processes for actor in one.actors]
        return [actor for actor in actors if actor.partition("/")[0] != INTERFACE]

    @property
    def neighbours(self) -> list[str]:
        """The peers to which this node has a quantum link, whichever process runs it."""
        links = [actor.partition("/") for actor in self.apart]
        placed = [peer for kind, _, peer in links if kind == QUANTUM_LINK]
        return [*(link.peer for link in self.links), *placed]

    @property
    def front(self) -> str:
        """The front end that core runs, if it does."""
        return FRONT if self.etsi014 else ""

    @property
    def fronts(self) -> int:
        """How many front ends share the limits of `[etsi014]`."""
        return 1

    @property
    def audience(self) -> list[str]:
        """All front ends of this node, in whichever processes."""
        apart = [actor for actor in self.apart if actor.partition("/")[0] == FRONT]
        return [*([self.front] if self.front else []), *apart]


def with_brainpool(config: NodeConfig | EdgeConfig) -> list[str]:
    """Return the tables of front ends that let clients with keys on Brainpool curves in."""
    fronts = {FRONT: config.etsi014, AGENT: config.etsi015}
    return [table for table, etsi in fronts.items() if etsi and etsi.brainpool]


def identity(config: NodeConfig | EdgeConfig) -> tuple[str, str]:
    """Return the names of a process and of its node."""
    if isinstance(config, EdgeConfig):
        return config.process.name, config.process.node
    return CORE, config.node.name
