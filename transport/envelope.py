"""The envelope: from whom, to whom, and about which request."""

import re
from functools import lru_cache
from typing import NamedTuple, Self

from transport.message import Message

_NAME = re.compile(r"[a-z0-9_-]{1,64}(/[a-zA-Z0-9_.-]{1,64}){0,2}")
_NODE = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


class Address(NamedTuple):
    """Where an actor is reached, on this node or on another: `name[/arg]@node`.

    A part of an actor with an address of its own comes behind: `etsi014/http`, `etsi014/2/http`.
    """

    name: str
    node: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `name[/arg[/part]]@node`; `ValueError` if it is none."""
        name, _, node = text.partition("@")
        if not (_NAME.fullmatch(name) and _NODE.fullmatch(node)):
            raise ValueError(f"not an address: {text!r:.80}")
        return cls(name, node)

    def __str__(self) -> str:
        return f"{self.name}@{self.node}"


@lru_cache(maxsize=1024)
def is_name(text: str) -> bool:
    """Tell whether this may be the name of an actor."""
    return bool(_NAME.fullmatch(text))


@lru_cache(maxsize=1024)
def is_node(text: str) -> bool:
    """Tell whether this may be the name of a node."""
    return bool(_NODE.fullmatch(text))


class Envelope(NamedTuple):
    """One message on its way. `token` ties an answer to its question; `trace` tells one story."""

    sender: Address
    to: Address
    body: Message
    token: int = 0
    answer: bool = False
    trace: str = ""
