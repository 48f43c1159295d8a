"""What is said on the management socket of a node: a JSON object a line, asked and answered.

`{"do": "session.list"}` is answered with `{"ok": {...}}` or
`{"failed": {"code": "...", "why": "..."}}`. Sizes are in bits.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct

from actors.protocol.relay import SHARES_MAX, WEIGHT_MAX

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


Word = AddSession | RemoveSession | ListSessions | ShowRoute | ListPeers | ListLinks


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
