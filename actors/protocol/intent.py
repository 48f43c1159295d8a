"""Intent: which links, sessions, applications and policies are wanted of this node, and by whom.

Said to `intent`, the one actor of a node that keeps it. Its rows are our own, not those of a data
model: a front end of a controller lays them out as its standard wants them. A row is named by
its kind and its id. Nodes are named by the name or the id that the directory gives them, and told
by name; SAEs by the id in the directory. Bandwidths are bit/s, times of day seconds since 1970.
"""

import uuid
from collections.abc import Iterable, Mapping
from typing import Final

from transport.message import Message, local, part

NAME: Final = "intent"
"""The actor that keeps it."""

LINK, APPLICATION, POLICY, SETTINGS, INTERFACE = (
    *("link", "application", "policy", "settings"),
    "interface",
)
KINDS: Final = (SETTINGS, INTERFACE, LINK, APPLICATION, POLICY)
"""Kinds of rows, in the order in which they are told; an interface is told, and never written."""

NODE, FILE, CLI = "node", "file", "cli"
OWNERS: Final = (NODE, FILE, CLI)
"""Who has rows beside controllers, none of which may be called so.

`node`: what the node has made itself, as a session that an SAE asked for; nobody writes it.
`file`: `node.toml`; changed there. `cli`: the management socket.
"""

PHYS, VIRT = "phys", "virt"
"""A link over a pair of QKD modules; one that relay fills, over trusted nodes."""

CLIENT, INTERNAL = "client", "internal"
"""An application that is a pair of SAEs; one of the nodes themselves: relay."""

CREATE, PUT, MERGE, REMOVE = "create", "put", "merge", "remove"
VERBS: Final = (CREATE, PUT, MERGE, REMOVE)
"""`create` and `merge`, `remove`: refused if the row is there, is not there. `put`: either."""

ACTIVE, PASSIVE, PENDING, OFF = "active", "passive", "pending", "off"
LINK_STATES: Final = (ACTIVE, PASSIVE, PENDING, OFF)
"""Bits come; none come, and there is stock; asked for, and not yet; neither."""

ON, DISCONNECTED, OUT_OF_TIME, ZOMBIE = "on", "disconnected", "out_of_time", "zombie"
APPLICATION_STATES: Final = (ON, DISCONNECTED, OUT_OF_TIME, ZOMBIE)

ENABLED, DISABLED, FAILED = "enabled", "disabled", "failed"
INTERFACE_STATES: Final = (ENABLED, DISABLED, FAILED)

CODES: Final = (
    "malformed",
    "no_path",
    "data_exists",
    "data_missing",
    "in_use",
    "access_denied",
    "resource_denied",
    "stale",
    "no_room",
    "store_full",
)
"""Why a write is refused.

`malformed`: no row could be so. `no_path`: no order of these hops is a path of links that are
known, or more than one is. `data_exists`: a row, or one for the same pair, is there.
`data_missing`: a row, node, SAE or interface that it names is not there, or the pre-shared key of
a peer. `in_use`: the interface is bound. `access_denied`: the row has another owner.
`resource_denied`: more than a rate that was measured; numbers in the sentence. `stale`: not the
revision that was expected. `no_room`: more rows than may be. `store_full`: the disk is full.
"""

MAJOR, MINOR = "major", "minor"

EVENTS: Final = (
    "application_new",
    "application_qos_update",
    "application_disconnected",
    "interface_new",
    "interface_down",
    "interface_out",
    "link_down",
    "link_perf_update",
    "link_overloaded",
    "alarm",
    "event",
)
"""What may happen; `alarm` and `event` have a severity and are about a row of any kind."""

ANY_ORDER: Final = ("hops",)
"""`fields` of a `put` by who has no order of hops."""

LINKS_MAX, APPLICATIONS_MAX, POLICIES_MAX = 1_024, 4_096, 1_024
"""Rows of a kind, whoever owns them."""

EDITS_MAX = 256
"""Edits of one write."""

PAGE = 256
"""Entries of one answer to `Read`, at most."""

ID_MAX, TEXT_MAX, NOTES_MAX = 64, 256, 16
"""Characters of an id; of any other text; notes of a row."""

BANDWIDTH_MAX = (1 << 32) - 1

SUBSCRIBED_S = 60.0
"""A subscription ends so long after it was last said; say it again every 20 s."""

SUBSCRIBERS_MAX = 16


@part
class Note:
    """What somebody has written beside a row, and the node only keeps: an attenuation, a role."""

    name: str
    text: str


@part
class Link:
    """A link that is wanted; `local` is this node unless the link only leads over it.

    PHYS binds `interface` here to `remote`; 0: any that is free. `peer_interface` is the number at
    the other end. VIRT: `prev` and `hops` are the nodes before and after this one on the path;
    without `prev` the path begins here, and `hops` may be all nodes up to the remote, or the first
    of them, or none: the router finds a path. `bandwidth` is to be had over it.

    What a session has beside: `paths` from here to the remote (not together with `hops`), `n` how
    many disjoint ones, `low_bits` and `high_bits` the water marks, `weight`; 0: as demand asks.
    """

    kind: str
    local: str
    remote: str
    interface: int = 0
    peer_interface: int = 0
    prev: str = ""
    hops: tuple[str, ...] = ()
    bandwidth: int | None = None
    enabled: bool = True
    applications: tuple[str, ...] = ()
    notes: tuple[Note, ...] = ()
    paths: tuple[tuple[str, ...], ...] = ()
    n: int = 0
    low_bits: int = 0
    high_bits: int = 0
    weight: int = 1


@part
class Application:
    """SAEs that want keys together: `master` asks, `slaves` fetch; and what they may have.

    More than `max_bandwidth` is refused with a time to wait; `min_bandwidth` is kept for it.
    `ttl_s` is the life of its keys, no new ones are given after `expires`. `local` and `remote`
    are where master and slaves are at home, empty if the directory is to tell. `links` feed it.
    """

    master: str
    slaves: tuple[str, ...]
    kind: str = CLIENT
    priority: int = 0
    expires: float | None = None
    max_bandwidth: int | None = None
    min_bandwidth: int | None = None
    jitter_ms: int | None = None
    ttl_s: int | None = None
    shared_path: bool = False
    shared_keys: bool = False
    links: tuple[str, ...] = ()
    local: str = ""
    remote: str = ""
    notes: tuple[Note, ...] = ()


PER_SAE: Final = "rate:sae"
"""Beside the masters of a policy: its rate is of each of them, not of each pair."""


@part
class Policy:
    """A rule: may these SAEs have keys with those, and how many. Its id is its name.

    `masters` and `slaves` are ids of SAEs, `node:NAME` for all of a node, or `*`. The rule with
    the lowest `order` that names a pair decides. `max_bandwidth` is of each pair, or with `PER_SAE`
    among `masters` of each master for all its pairs under the rule; `stock_bits` is what may lie
    undelivered for a pair. Pairs of a larger `priority` have more turns while requests wait for
    bits. With `paths` of two or more a pair has keys only from a store all bits of which have to
    come over so many disjoint paths.
    """

    order: int
    masters: tuple[str, ...]
    slaves: tuple[str, ...]
    allow: bool = True
    max_bandwidth: int | None = None
    stock_bits: int | None = None
    ttl_s: int | None = None
    priority: int = 0
    paths: int = 0


@part
class Settings:
    """What is said of the node as a whole; its one row has the id `node`."""

    location: str = ""
    link_stats: bool = True
    application_stats: bool = True
    notes: tuple[Note, ...] = ()


SETTINGS_ID: Final = "node"


@part
class Interface:
    """A QKD module of this node, as the configuration has it; its id is its number, as text.

    `module` is its kind, if core knows it: the file of another process says that of its own.
    `model` is what the configuration calls the device, `peer` to whom it is bound, if it is.
    """

    number: int
    module: str
    model: str = ""
    peer: str = ""
    notes: tuple[Note, ...] = ()


@part
class Edit:
    """One change of one row; the row itself in the field of its kind.

    `fields` of a `merge` are those that change, by name. An id is written in any case and kept in
    lower case; without one the row of the same pair is meant, or a new one under the id that the
    node gives it: so a `remove` names a pair. `cli` may switch a link of `file` (`enabled`). With
    `if_revision` the row must have this revision, 0: must not be there.

    `fields` of a `put` are those of a link that are told in any order: `hops`, or nothing. The row
    has them in that of the path.
    """

    verb: str
    kind: str
    id: str
    link: Link | None = None
    application: Application | None = None
    policy: Policy | None = None
    settings: Settings | None = None
    fields: tuple[str, ...] = ()
    if_revision: int | None = None


@part
class Consumed:
    """Bits that an application was given from `start` to `end`, at most 30 s."""

    start: float
    end: float
    bits: int


@part
class Facts:
    """How a row is now: `status` is one of the states of its kind, `why` a sentence, if any.

    Of a link: `skr` is what is confirmed, `eskr` what of it is not needed for pads and tags,
    `consumption` what is expected of applications (bit/s), `stock_bits` both ends hold, `qber`
    what the module measures, if it says so (percent). Of an application: `created` is when it was
    first written, or seen; `consumed` are the intervals that are over, the latest last.
    """

    status: str
    why: str = ""
    created: float = 0.0
    skr: int = 0
    eskr: int = 0
    consumption: int = 0
    stock_bits: int = 0
    qber: float | None = None
    snr: float | None = None
    consumed: tuple[Consumed, ...] = ()


@part
class Entry:
    """A row, who owns it, its revision, when it was last written, and how it is.

    What the node has made itself has revision 0, and has never been written.
    """

    kind: str
    id: str
    owner: str
    revision: int
    changed: float
    facts: Facts
    link: Link | None = None
    application: Application | None = None
    policy: Policy | None = None
    settings: Settings | None = None
    interface: Interface | None = None


@part
class Named:
    """A node of the directory: its name and its id."""

    name: str
    id: str


@local
class Read(Message):
    """Which rows are there? Of these kinds, in the order of `KINDS`; those with these ids, or all.

    `after` is `next` of the answer before: so on until it is empty.
    """

    kinds: tuple[str, ...] = KINDS
    ids: tuple[str, ...] = ()
    after: str = ""


@local
class Rows(Message):
    """At most `PAGE` of them, by kind and id; `next` is empty when these are the last.

    `revision` is that of all rows, and grows with each write; `changed` when it did. Pages with
    two revisions are not of one moment: read again. `node` is this one.
    """

    revision: int
    changed: float
    node: Named
    version: str
    entries: tuple[Entry, ...]
    next: str = ""


@local
class ReadNodes(Message):
    """Which nodes are there? So that ids can be told for names."""

    after: str = ""


@local
class Nodes(Message):
    """At most 1,024 of them, by name; `next` as in `Rows`."""

    nodes: tuple[Named, ...]
    next: str = ""


@local
class Write(Message):
    """Make all these edits, or none; `owner` writes.

    With `if_revision` nothing may have been written since that revision. Edits are judged in
    order, each on what those before it have left. The answer is `Written` once all is durable,
    or `Denied`. `Failed` says nothing of what became of it, but for `not_ready`: nothing.
    """

    owner: str
    edits: tuple[Edit, ...]
    if_revision: int | None = None


@local
class Seed(Message):
    """The configuration has other policies now: these, by name, and no others.

    Said by who has read it, in the same process. The answer is `Seeded` once they count, and with
    the next start they are read again.
    """

    policies: Mapping[str, Policy]


@local
class Seeded(Message):
    """They count; `changed`: they are not those of before."""

    changed: bool


@local
class Written(Message):
    """It is durable. `created` tells of each edit whether its row is new.

    What cannot run yet is `pending`, with its reason as an event.
    """

    revision: int
    changed: float
    created: tuple[bool, ...]


@local
class Denied(Message):
    """Nothing of it was done; `code` is one of `CODES`, `why` a sentence.

    `edit` is the first that may not be, -1: the write as a whole. `owner` is that of the row.
    """

    code: str
    why: str
    edit: int = -1
    owner: str = ""


@local
class Subscribe(Message):
    """Tell me what happens, for `SUBSCRIBED_S` from now; answered with `Subscribed`."""


@local
class Subscribed(Message):
    """So it is; the next that happens has this number."""

    number: int


@local
class Happened(Message):
    """Something has; `event` is one of `EVENTS`. One whose `number` is not the next was missed.

    `entry` is the row as it is now, if there is one. `text` is the reason, or what an alarm says;
    `severity` `major` or `minor`, or empty.
    """

    number: int
    at: float
    event: str
    kind: str
    id: str
    text: str = ""
    severity: str = ""
    entry: Entry | None = None


NAMESPACE: Final = uuid.uuid5(uuid.NAMESPACE_URL, "urn:protokms:intent")
"""Ids that a node gives itself are UUIDs of version 5 in this namespace."""


def link_id(kind: str, local: str, remote: str) -> str:
    """Return the id of a link that no controller has named, from the ids of its nodes.

    PHYS is the same at both ends; VIRT is one for each direction.
    """
    ends = [local.lower(), remote.lower()]
    if kind == PHYS:
        ends.sort()
    return str(uuid.uuid5(NAMESPACE, "\n".join((kind, *ends))))


def application_id(master: str, slaves: Iterable[str]) -> str:
    """Return the id of an application that no controller has named: the same at both ends."""
    return str(uuid.uuid5(NAMESPACE, "\n".join(("application", master, *sorted(slaves)))))
