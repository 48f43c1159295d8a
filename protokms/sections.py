"""The sections of a node's configuration: which keys there are, of which type and range.

Paths are relative to the configuration file; after reading they are absolute. Times are
seconds, sizes bits or octets as their names say. deploy/node.toml shows every key.
"""

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from actors.keeper import KEY_OCTETS_MAX, KEYS_MAX, SLAVES_MAX
from actors.protocol.relay import SHARES_MAX, WEIGHT_MAX
from protokms.endpoint import Endpoint, TcpEndpoint

CORE = "core"
"""The process where every actor lives that no `[[process]]` table places elsewhere."""

SHORTEST_ROUND_S, LONGEST_ROUND_S = 1e-6, 3_600.0
"""Seconds from one datagram of an emulated link to the next."""

STORE_BITS_MIN = 1 << 21
"""A pad for a chunk of relay is at most a quarter of what a store may hold: smaller ones, anywhere
on a path, would stop every session over it."""

Name = Annotated[
    str,
    Meta(
        pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}\Z",
        description="write a name of 1 to 64 characters: a-z, 0-9, '_', '.', '-'",
    ),
]
Text = Annotated[
    str,
    Meta(
        pattern=r"^[^\x00-\x1f\x7f]{1,256}\Z",
        description="write 1 to 256 characters, none of them a control character",
    ),
]
File = Annotated[Path, Meta(description="write the path of a file, relative to this one")]
Bind = Annotated[Endpoint, Meta(description="write an address like '127.0.0.1:18001'")]
TcpBind = Annotated[TcpEndpoint, Meta(description="write an address like 'tcp://127.0.0.1:17001'")]
Share = Annotated[float, Meta(ge=0, le=1, description="write a share between 0 and 1")]
Switch = Annotated[bool, Meta(description="write true or false")]


def _limit(low: float, high: float, unit: str) -> Meta:
    text = f"write a number of {unit} between {low:,} and {high:,}"
    return Meta(ge=low, le=high, description=text)


Seconds = Annotated[float, _limit(0.1, 3_600, "seconds")]
KeySize = Annotated[int, _limit(8, 8 * KEY_OCTETS_MAX, "bits")]


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
    log: Annotated[
        Literal["json", "console", "auto"], Meta(description="write json, console or auto")
    ] = "auto"


class DirectoryFiles(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[directory]`: who is who; `<file>.sig` signs it, `ca` is the public key to check it."""

    file: File
    ca: File


class Transport(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[transport]`: how this node talks to other KMSs and its own processes to each other."""

    bind: TcpBind
    curve: File
    process_key: File
    heartbeat_s: Annotated[float, _limit(0.05, 60, "seconds")] = 1.0
    idle_s: Annotated[float, _limit(1, 86_400, "seconds")] = 300.0


class Etsi014(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[etsi014]`: the HTTPS interface for SAEs, and its limits.

    `client_ca` signs the certificates of SAEs, and `server_ca` (by default the same) ours.
    """

    bind: Bind
    certificate: File
    key: File
    client_ca: File
    server_ca: File | None = None
    crl: File | None = None
    sae_id_from: Annotated[
        Literal["cn", "san_uri", "san_dns", "fingerprint"],
        Meta(description="write cn, san_uri, san_dns or fingerprint"),
    ] = "cn"
    deny: Annotated[
        list[Text], Meta(max_length=100_000, description="write a list of SAE ids or fingerprints")
    ] = []
    key_size_bits: KeySize = 256
    min_key_size_bits: KeySize = 64
    max_key_size_bits: KeySize = 8_192
    max_keys_per_request: Annotated[int, _limit(1, KEYS_MAX, "keys")] = 128
    max_sae_id_count: Annotated[int, _limit(0, SLAVES_MAX - 1, "SAE ids")] = 16
    max_body_octets: Annotated[int, _limit(1_024, 1 << 24, "octets")] = 65_536
    max_head_octets: Annotated[int, _limit(1_024, 1 << 16, "octets")] = 8_190
    max_head_fields: Annotated[int, _limit(8, 1_000, "fields")] = 64
    max_in_flight: Annotated[int, _limit(1, 65_536, "requests")] = 512
    max_in_flight_per_sae: Annotated[int, _limit(1, 65_536, "requests")] = 128
    max_connections: Annotated[int, _limit(1, 65_536, "connections")] = 512
    max_connections_per_sae: Annotated[int, _limit(1, 65_536, "connections")] = 128
    max_handshakes: Annotated[int, _limit(1, 65_536, "handshakes")] = 64
    request_timeout_s: Seconds = 5.0
    handshake_timeout_s: Seconds = 10.0
    head_timeout_s: Seconds = 10.0
    body_timeout_s: Seconds = 10.0
    write_timeout_s: Seconds = 10.0
    idle_timeout_s: Seconds = 75.0
    drain_timeout_s: Seconds = 10.0


class Metrics(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[metrics]`: plain HTTP for /metrics, /health and /ready."""

    bind: Bind


class Manage(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[manage]`: the UNIX socket of `protokms session`, `route`, `peer` and `link`."""

    socket: File


class Store(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[store]`: the key stores, one for each peer KMS."""

    max_bits: Annotated[int, _limit(STORE_BITS_MIN, 1 << 40, "bits")] = 67_108_864
    mode: Annotated[Literal["confirmed", "local"], Meta(description="write confirmed or local")] = (
        "confirmed"
    )
    ttl_s: Annotated[float, _limit(1, 31_536_000, "seconds")] = 3_600.0
    erase_s: Annotated[float, _limit(1, 3_600, "seconds")] = 10.0
    redelivery_s: Annotated[float, _limit(0, 86_400, "seconds")] = 30.0
    repeat_window_s: Annotated[float, _limit(0, 86_400, "seconds")] = 0.0
    max_undelivered_bits_per_pair: Annotated[int, _limit(8, 1 << 40, "bits")] = 33_554_432
    max_undelivered_bits_per_sae: Annotated[int, _limit(8, 1 << 40, "bits")] = 67_108_864
    allow_same_node: Switch = True
    allow_loopback_pairs: Switch = False


class Relay(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[relay]`: keys with KMSs beyond the neighbours, over trusted nodes."""

    on_demand: Switch = True
    accept: Switch = True
    paths: Annotated[int, _limit(1, SHARES_MAX, "paths")] = 1
    weight: Annotated[int, _limit(1, WEIGHT_MAX, "no unit")] = 1
    max_sessions: Annotated[int, _limit(0, 65_536, "sessions")] = 256
    max_sessions_per_sae: Annotated[int, _limit(0, 65_536, "sessions")] = 32
    max_distant_peers: Annotated[int, _limit(0, 65_536, "peers")] = 256
    max_crossing: Annotated[int, _limit(0, 1_000_000, "shares of sessions")] = 4_096
    refresh_s: Annotated[float, _limit(1, 600, "seconds")] = 5.0
    expiry_s: Annotated[float, _limit(3, 1_800, "seconds")] = 15.0
    idle_session_s: Annotated[float, _limit(60, 31_536_000, "seconds")] = 3_600.0


Outages = Annotated[
    list[tuple[Annotated[float, Meta(ge=0, le=1e9)], Annotated[float, Meta(gt=0, le=1e9)]]],
    Meta(max_length=1_000, description="write a list of [start, length] in seconds"),
]

RoundS = Annotated[float, _limit(SHORTEST_ROUND_S, LONGEST_ROUND_S, "seconds")]
RateBitS = Annotated[float, _limit(1, 1e10, "bit/s")]
MaxBytes = Annotated[int, _limit(1, 64_000, "octets")]
Seed = Annotated[int, _limit(0, 1 << 62, "any kind")]


class Link(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[link]]`: a quantum link to a neighbour; `loss` and what follows are trouble on purpose."""

    peer: Name
    module: Annotated[Literal["emulated"], Meta(description="write emulated")] = "emulated"
    role: Annotated[Literal["sender", "receiver"], Meta(description="write sender or receiver")]
    bind: Bind
    remote: Bind
    secret: File
    round_s: RoundS | None = None
    rate_bit_s: RateBitS | None = None
    max_bytes: MaxBytes = 999
    allow_insecure_emulation: Switch = False
    loss: Share = 0.0
    duplication: Share = 0.0
    reordering: Share = 0.0
    corruption: Share = 0.0
    outages: Outages = []
    seed: Seed = 0


class Process(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[process]]`: actors of this node that live in a process of their own."""

    name: Name
    bind: TcpBind
    curve: File
    actors: Annotated[
        list[Annotated[str, Meta(pattern=r"^(etsi014|quantum_link/[a-z0-9][a-z0-9_.-]{0,63})\Z")]],
        Meta(min_length=1, description="write a list of 'etsi014' and 'quantum_link/<peer>'"),
    ]


class Tables(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything that a configuration file may hold."""

    node: Annotated[Node, Meta(description="write a table [node]")]
    directory: Annotated[DirectoryFiles, Meta(description="write a table [directory]")]
    transport: Annotated[Transport, Meta(description="write a table [transport]")]
    metrics: Annotated[Metrics, Meta(description="write a table [metrics]")]
    etsi014: Etsi014 | None = None
    manage: Manage | None = None
    store: Store = Store()
    relay: Relay = Relay()
    links: list[Link] = field(name="link", default=[])
    processes: list[Process] = field(name="process", default=[])


class NodeConfig(Tables, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A configuration in which everything that can be checked without running is right."""

    path: Path

    def links_to(self, peer: str) -> Link | None:
        """Return the quantum link to a peer, if there is one."""
        return next((link for link in self.links if link.peer == peer), None)

    def process_of(self, actor: str) -> str:
        """Return the name of the process where an actor of this node lives."""
        return next((one.name for one in self.processes if actor in one.actors), CORE)
