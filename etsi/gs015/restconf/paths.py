"""Paths of data resources (RFC 8040, 3.5.3), and how an error names a place (error-path)."""

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from etsi.gs015.model.leaves import BadValue, Value
from etsi.gs015.model.schema import Container, Key, LeafList, List, Node, full_name
from etsi.gs015.restconf.problems import Wrong, invalid, not_found
from etsi.http.call import segment
from etsi.http.reply import quoted

_DEPTH_MAX = 16


@dataclass(frozen=True, slots=True)
class Step:
    """One node of a path; `key` tells which entry of a list or of a leaf-list, None: all."""

    node: Node
    key: Key | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """A resource: the steps from the datastore, which itself has none."""

    root: Container
    steps: tuple[Step, ...] = ()

    @property
    def node(self) -> Node:
        """The node at its end."""
        return self.steps[-1].node if self.steps else self.root

    @property
    def is_whole_list(self) -> bool:
        """Whether it is all entries of a list, not one of them."""
        return isinstance(self.node, List | LeafList) and self.steps[-1].key is None

    @property
    def module(self) -> str:
        """The module of the node at its end."""
        return next((step.node.module for step in reversed(self.steps) if step.node.module), "")

    @property
    def place(self) -> str:
        """The error-path."""
        place = ""
        for step in self.steps:
            place = below(place, step.node)
            if isinstance(step.node, List) and step.key is not None:
                place = entry_of(place, step.node, step.key)
        return place or "/"

    @property
    def url(self) -> str:
        """The path after `/restconf/data`."""
        return "".join(f"/{full_name(step.node)}{_keys(step)}" for step in self.steps)

    def to(self, node: Node, key: Key | None = None) -> "Target":
        """Return the resource one step further down."""
        return Target(self.root, (*self.steps, Step(node, key)))


def below(place: str, node: Node) -> str:
    """Return the error-path of a child."""
    return f"{'' if place == '/' else place}/{full_name(node)}"


def entry_of(place: str, node: List, key: Key) -> str:
    """Return the error-path of an entry, from that of its list."""
    pairs = zip(node.keys, _texts(node, key), strict=True)
    return place + "".join(f"[{name}={_literal(text)}]" for name, text in pairs)


def read_path(root: Container, segments: Sequence[str]) -> Target:
    """Find what the segments after `/restconf/data` name, still percent-encoded; or `Wrong`."""
    target = Target(root)
    if len(segments) > _DEPTH_MAX:
        raise not_found("there is nothing at this path")
    module = ""
    for text in segments:
        name, equals, keys = text.partition("=")
        target = _down(target, module, segment(name), keys if equals else None)
        module = target.module
    return target


def _down(target: Target, module: str, name: str, keys: str | None) -> Target:
    parent = target.node
    if not isinstance(parent, Container | List) or target.is_whole_list:
        raise not_found(f"there is nothing below {target.place}", target.place)
    prefix, _, plain = name.rpartition(":")
    node = parent.by_name.get(plain)
    if node is None or prefix not in _prefixes(node, module):
        raise not_found(f"there is no {quoted(name)} here", target.place)
    found = target.to(node)
    if keys is None:
        return found
    if not isinstance(node, List | LeafList):
        raise invalid(f"{node.name} has no keys", found.place)
    return target.to(node, _key(node, keys, found.place))


def _prefixes(node: Node, module: str) -> tuple[str, ...]:
    """Return what may stand before the name: needed where the module is another one."""
    return (node.module,) if node.module else ("", module)


def _key(node: List | LeafList, text: str, place: str) -> Key:
    if isinstance(node, LeafList):
        return (_value(node.type.parse, node.name, segment(text), place),)
    parts = text.split(",")
    if len(parts) != len(node.keys):
        raise invalid(f"{node.name} wants {len(node.keys)} key value(s)", place)
    types = [node.key_type(index) for index in range(len(parts))]
    read = zip(types, node.keys, parts, strict=True)
    return tuple(_value(type_.parse, name, segment(part), place) for type_, name, part in read)


def _value(parse: object, name: str, text: str, place: str) -> Value:
    assert callable(parse)
    try:
        value = parse(text)
    except BadValue as why:
        raise _bad_key(name, text, why, place) from None
    assert isinstance(value, str | int)
    return value


def _bad_key(name: str, text: str, why: BadValue, place: str) -> Wrong:
    return Wrong(400, "invalid-value", f"{name} {quoted(text)}: {why}", place, kind="protocol")


def _keys(step: Step) -> str:
    if step.key is None:
        return ""
    return "=" + ",".join(quote(text, safe="") for text in _texts(step.node, step.key))


def _texts(node: Node, key: Key) -> list[str]:
    """Return key values as they are written."""
    if isinstance(node, List):
        return [str(node.key_type(index).write(value)) for index, value in enumerate(key)]
    assert isinstance(node, LeafList)
    return [str(node.type.write(value)) for value in key]


def _literal(text: str) -> str:
    return f'"{text}"' if "'" in text else f"'{text}'"
