"""What is said on the management socket of a node: a JSON object a line, asked and answered.

`{"do": "session.list"}` is answered with `{"ok": {...}}` or
`{"failed": {"code": "...", "why": "..."}}`. Sizes are in bits.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Meta, Struct

from actors.protocol.alarms import SUBJECT_MAX
from actors.protocol.limits import SHARES_MAX, WEIGHT_MAX

LINE_LIMIT = 1 << 20
"""Octets of a line, at most."""

ADDRESS_LIMIT = 107
"""Octets of the name of a UNIX socket, at most: the kernel has 108, one of them a zero."""

NAME_LIMIT = 64
"""Octets of the last part of that name, at most; the folder may be as deep as you like."""

NODE_NAME_LIMIT = 64
"""Characters of the name of a node, at most."""

PATH_NODES_LIMIT, PATHS_LIMIT = 64, 16
"""Nodes on a path, and paths of a session, at most."""

_Name = Annotated[str, Meta(min_length=1, max_length=NODE_NAME_LIMIT)]
_Count = Annotated[int, Meta(ge=0, le=1 << 40)]
_Paths = Annotated[
    tuple[Annotated[tuple[_Name, ...], Meta(min_length=2, max_length=PATH_NODES_LIMIT)], ...],
    Meta(max_length=PATHS_LIMIT),
]


class _Word(Struct, frozen=True, kw_only=True, tag_field="do", forbid_unknown_fields=True):
    """One question."""


class AddSession(_Word, frozen=True, kw_only=True, tag="session.add"):
    """Keep bits in store with a distant KMS; see `actors.protocol.sessions.AddSession`."""

    destination: _Name
    paths: _Paths = ()
    n: Annotated[int, Meta(ge=0, le=SHARES_MAX)] = 0
    low_bits: _Count = 0
    high_bits: _Count = 0
    weight: Annotated[int, Meta(ge=1, le=WEIGHT_MAX)] = 1


class RemoveSession(_Word, frozen=True, kw_only=True, tag="session.remove"):
    """Fill no more; what is in store stays."""

    destination: _Name


class ListSessions(_Word, frozen=True, kw_only=True, tag="session.list"):
    """Which sessions begin here?"""


class ShowRoute(_Word, frozen=True, kw_only=True, tag="route.show"):
    """How would this node go from one node to another?"""

    start: _Name
    end: _Name


class ListPeers(_Word, frozen=True, kw_only=True, tag="peer.list"):
    """Which peers are there?"""


class ListLinks(_Word, frozen=True, kw_only=True, tag="link.list"):
    """What does each store hold, and what fills it?"""


class AddLink(_Word, frozen=True, kw_only=True, tag="link.add"):
    """Bind an interface to a neighbour; 0: any that is free."""

    peer: _Name
    interface: Annotated[int, Meta(ge=0, lt=1 << 32)] = 0


class RemoveLink(_Word, frozen=True, kw_only=True, tag="link.remove"):
    """Run the quantum link to a neighbour no more; what is in store stays."""

    peer: _Name


class SwitchLink(_Word, frozen=True, kw_only=True, tag="link.switch"):
    """Let the store of a peer take bits in, or not, whatever fills it; a quarantine goes on."""

    peer: _Name
    enabled: bool


class ClearLink(_Word, frozen=True, kw_only=True, tag="link.clear"):
    """End the quarantine of the quantum link to a peer; see `links.ClearQuarantine`."""

    peer: _Name


_Parties = Annotated[
    tuple[Annotated[str, Meta(min_length=1, max_length=256)], ...],
    Meta(min_length=1, max_length=256),
]
_U32 = Annotated[int, Meta(ge=0, lt=1 << 32)]


class AddPolicy(_Word, frozen=True, kw_only=True, tag="policy.add"):
    """Have a rule, or have another one under its name; see `actors.protocol.intent.Policy`."""

    name: _Name
    order: _U32
    masters: _Parties
    slaves: _Parties
    allow: bool = True
    max_bandwidth: _U32 | None = None
    rate_of: Literal["pair", "sae"] = "pair"
    stock_bits: Annotated[int, Meta(ge=0, le=1 << 40)] | None = None
    ttl_s: Annotated[int, Meta(ge=1, le=31_536_000)] | None = None
    priority: _U32 = 0
    paths: Annotated[int, Meta(ge=0, le=SHARES_MAX)] = 0


class RemovePolicy(_Word, frozen=True, kw_only=True, tag="policy.remove"):
    """Have a rule no more."""

    name: _Name


class ListPolicies(_Word, frozen=True, kw_only=True, tag="policy.list"):
    """Which rules are there, in the order in which they are asked?"""


class ListAlarms(_Word, frozen=True, kw_only=True, tag="alarm.list"):
    """What is wrong, since when, and what is to be done?"""


class ClearAlarm(_Word, frozen=True, kw_only=True, tag="alarm.clear"):
    """End an alarm that does not end by itself; without a subject all of this id."""

    id: _Name
    subject: Annotated[str, Meta(max_length=SUBJECT_MAX)] = ""


class ReloadNode(_Word, frozen=True, kw_only=True, tag="node.reload"):
    """Read the configuration again, in all processes of the node."""


class NodeStatus(_Word, frozen=True, kw_only=True, tag="node.status"):
    """Tell of each process of the node where it runs, and how its actors are."""


class Reloaded(Struct, frozen=True, kw_only=True):
    """What came of it.

    `applied` are keys, and what has changed in the files they name; `refused` says what is wrong,
    and keeps its last value; `needs_restart` are keys that a reload does not take. What another
    process than core has told begins with its name, as `front: `. The processes in `not_reached`
    may have the old values. A directory that is applied is in use in all front ends as well, or
    `refused` says which has not read it in time.
    """

    applied: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    needs_restart: tuple[str, ...] = ()
    not_reached: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether all that a reload can take is in use."""
        return not self.refused and not self.not_reached


Word = (
    AddSession
    | RemoveSession
    | ListSessions
    | ShowRoute
    | ListPeers
    | ListLinks
    | AddLink
    | RemoveLink
    | SwitchLink
    | ClearLink
    | AddPolicy
    | RemovePolicy
    | ListPolicies
    | ListAlarms
    | ClearAlarm
    | ReloadNode
    | NodeStatus
)


@contextmanager
def short_name(path: Path) -> Iterator[str]:
    """Yield a name of a socket that the kernel has room for, however deep its folder lies."""
    if len(os.fsencode(path)) <= ADDRESS_LIMIT:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
