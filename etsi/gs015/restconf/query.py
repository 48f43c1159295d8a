"""Query parameters of a retrieval (RFC 8040, 4.8): `content`, `depth` and `fields`."""

import re
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl

from etsi.gs015.model.schema import Container, List, Node, full_name
from etsi.gs015.restconf.problems import Wrong
from etsi.http.reply import quoted

ALL, CONFIG, NONCONFIG = "all", "config", "nonconfig"
_CONTENTS: Final = (ALL, CONFIG, NONCONFIG)
_DEPTH_MAX: Final = 65_535
_DEPTH: Final = re.compile("[0-9]{1,5}", re.ASCII)
_FIELDS_MAX: Final = 2_048
_ENDS: Final = "/;()"

Fields = dict[str, "Fields | None"]
"""Names of children to tell, and what of each; None: all of it."""


@dataclass(frozen=True, slots=True)
class Query:
    """What of a resource is asked for: which kind of nodes, how many levels, which children."""

    content: str = ALL
    depth: int = _DEPTH_MAX
    fields: Fields | None = field(default=None)


def no_query(text: str) -> None:
    """Refuse a query where there may be none; or `Wrong`."""
    if text:
        raise _bad("this request has no query parameters")


def read_query(text: str, node: Node, module: str) -> Query:
    """Read the query of a retrieval of this node; or `Wrong`."""
    found = pairs(text)
    unknown = found.keys() - {"content", "depth", "fields"}
    if unknown:
        raise _bad(f"{quoted(min(unknown))} is not known; there are content, depth and fields")
    content = found.get("content", ALL)
    if content not in _CONTENTS:
        raise _bad("content is not all, config or nonconfig")
    fields = _fields(found["fields"], node, module) if "fields" in found else None
    return Query(content, _depth(found.get("depth", "unbounded")), fields)


def pairs(text: str) -> dict[str, str]:
    """Read a query string in which no name comes twice; or `Wrong`."""
    if not text:
        return {}
    try:
        read = parse_qsl(
            text, keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=16
        )
    except ValueError:
        raise _bad("the query cannot be read") from None
    found = dict(read)
    if len(found) != len(read):
        raise _bad("a parameter comes twice")
    return found


def _depth(text: str) -> int:
    if text == "unbounded":
        return _DEPTH_MAX
    if not (_DEPTH.fullmatch(text) and 1 <= int(text) <= _DEPTH_MAX):
        raise _bad(f"depth is not unbounded or a number from 1 to {_DEPTH_MAX}")
    return int(text)


def _fields(text: str, node: Node, module: str) -> Fields:
    if len(text) > _FIELDS_MAX:
        raise _bad(f"fields has more than {_FIELDS_MAX} characters")
    reader = _Reader(text)
    found = reader.several(node, module)
    if reader.at < len(text):
        raise _bad("fields cannot be read")
    return found


class _Reader:
    """Reads `a;b/c(d;e)` from left to right."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def several(self, node: Node, module: str) -> Fields:
        """Read expressions with `;` between them."""
        found: Fields = {}
        while True:
            name, rest = self._one(node, module)
            found[name] = _merged(found[name], rest) if name in found else rest
            if not self._next(";"):
                return found

    def _one(self, node: Node, module: str) -> tuple[str, Fields | None]:
        child = self._child(node, module)
        module = child.module or module
        if self._next("/"):
            name, rest = self._one(child, module)
            return child.name, {name: rest}
        if self._next("("):
            inner = self.several(child, module)
            if not self._next(")"):
                raise _bad("fields lacks a ')'")
            return child.name, inner
        return child.name, None

    def _child(self, node: Node, module: str) -> Node:
        begin = self.at
        while self.at < len(self.text) and self.text[self.at] not in _ENDS:
            self.at += 1
        name = self.text[begin : self.at]
        children = node.children if isinstance(node, Container | List) else ()
        for child in children:
            if name in (full_name(child), full_name(child, module)):
                return child
        raise _bad(f"fields names {quoted(name)}, which {node.name} does not have")

    def _next(self, sign: str) -> bool:
        here = self.text[self.at : self.at + 1] == sign
        self.at += here
        return here


def _merged(one: Fields | None, other: Fields | None) -> Fields | None:
    if one is None or other is None:
        return None
    both = dict(one)
    for name, rest in other.items():
        both[name] = _merged(both[name], rest) if name in both else rest
    return both


def _bad(text: str) -> Wrong:
    return Wrong(400, "invalid-value", text, kind="protocol")
