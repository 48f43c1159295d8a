"""JSON of RFC 7951, both ways: a body becomes checked data of the tree, and data becomes a body."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from etsi.gs015.model.leaves import BadValue
from etsi.gs015.model.schema import (
    Container,
    Key,
    Leaf,
    LeafList,
    List,
    Node,
    Parent,
    Tree,
    full_name,
)
from etsi.gs015.restconf.paths import Target, below, entry_of
from etsi.gs015.restconf.problems import invalid, malformed, missing_element, unknown_element
from etsi.http.reply import quoted

ENTRIES_MAX = 4_096
"""Entries of one list or leaf-list in a body, at most."""


def parse(octets: bytes) -> Any:
    """Read JSON in which no object has a name twice; or `Wrong`."""
    if not octets:
        raise malformed("this needs a JSON object as body")
    try:
        return json.loads(octets.decode(), object_pairs_hook=_object, parse_constant=_constant)
    except (ValueError, RecursionError):
        raise malformed("the body is not JSON in UTF-8, or has a name twice") from None


def only_member(given: Any) -> tuple[str, Any]:
    """Return name and value of the one member of a body (RFC 8040, 4.4 and 4.5); or `Wrong`."""
    if not isinstance(given, dict) or len(given) != 1:
        raise malformed("the body is not a JSON object with one member, the resource")
    ((name, value),) = given.items()
    return name, value


def read_child(parent: Target, given: Any) -> tuple[Target, Any]:
    """Read a body that holds one child of a resource; return the child and its data; or `Wrong`."""
    name, value = only_member(given)
    node = _child(parent, name)
    place = below(parent.place, node)
    _refuse_state(node, place)
    if isinstance(node, List):
        found = _entries(node, value, place)
        if len(found) != 1:
            raise malformed(f"the array {node.name} does not hold one entry")
        ((key, entry),) = found.items()
        return parent.to(node, key), entry
    if isinstance(node, LeafList):
        values = _values(node, value, place)
        if len(values) != 1:
            raise malformed(f"the array {node.name} does not hold one value")
        return parent.to(node, values), values[0]
    return parent.to(node), _read(node, value, place)


def read_itself(target: Target, given: Any) -> Any:
    """Read a body that holds the resource itself; return its data; or `Wrong`."""
    if not target.steps:
        name, value = only_member(given)
        if name != full_name(target.root):
            raise unknown_element(f"write {full_name(target.root)}, not {quoted(name)}", "/")
        return _children(target.root, value, "")
    *before, last = target.steps
    parent = Target(target.root, tuple(before))
    if isinstance(last.node, LeafList) and last.key is None:
        name, value = only_member(given)
        if _child(parent, name) is last.node:
            return _values(last.node, value, target.place)
    found, data = read_child(parent, given)
    if found.node is not last.node:
        raise malformed(f"the body holds {found.node.name}, and the path leads to {last.node.name}")
    if found.steps[-1].key != last.key:
        raise invalid("the key in the body is not that of the path", target.place)
    return data


def _child(parent: Target, name: str) -> Node:
    node = parent.node
    assert isinstance(node, Container | List)
    for child in node.children:
        if name == full_name(child, parent.module):
            return child
    raise unknown_element(f"there is no {quoted(name)} here", parent.place)


def _read(node: Node, given: Any, place: str) -> Any:
    _refuse_state(node, place)
    if isinstance(node, Leaf):
        return _value(node, given, place)
    if isinstance(node, LeafList):
        return _values(node, given, place)
    if isinstance(node, List):
        return _entries(node, given, place)
    return _children(node, given, place)


def _refuse_state(node: Node, place: str) -> None:
    if not node.config:
        raise invalid(f"{node.name} is told by the node, and cannot be written", place)


def _children(node: Parent, given: Any, place: str) -> Tree:
    if not isinstance(given, dict):
        raise invalid(f"{node.name} is not a JSON object", place or "/")
    names = {full_name(child): child for child in node.children}
    for name in given:
        if name not in names:
            raise unknown_element(f"there is no {quoted(name)} here", place or "/")
    found: Tree = {}
    for name, child in names.items():  # in the order of the tree
        if name in given:
            found[child.name] = _read(child, given[name], below(place, child))
    return found


def _entries(node: List, given: Any, place: str) -> dict[Key, Tree]:
    if not isinstance(given, list) or len(given) > ENTRIES_MAX:
        raise invalid(f"{node.name} is not a JSON array of at most {ENTRIES_MAX} entries", place)
    found: dict[Key, Tree] = {}
    for row in given:
        key = _key(node, row, place)
        at = entry_of(place, node, key)
        if key in found:
            raise invalid(f"{node.name} has two entries with this key", at)
        found[key] = _children(node, row, at)
    return found


def _key(node: List, row: Any, place: str) -> Key:
    if not isinstance(row, dict):
        raise invalid(f"an entry of {node.name} is not a JSON object", place)
    missing = [name for name in node.keys if name not in row]
    if missing:
        raise missing_element(f"an entry of {node.name} has no {missing[0]}", place)
    leaves = [node.by_name[name] for name in node.keys]
    return tuple(
        _value(leaf, row[leaf.name], below(place, leaf))
        for leaf in leaves
        if isinstance(leaf, Leaf)
    )


def _value(node: Leaf | LeafList, given: Any, place: str) -> Any:
    try:
        return node.type.read(given)
    except BadValue as why:
        raise invalid(f"{node.name}: {why}", place) from None


def _values(node: LeafList, given: Any, place: str) -> tuple[Any, ...]:
    if not isinstance(given, list) or len(given) > ENTRIES_MAX:
        raise invalid(f"{node.name} is not a JSON array of at most {ENTRIES_MAX} values", place)
    values = tuple(_value(node, each, place) for each in given)
    if len(set(values)) != len(values):
        raise invalid(f"{node.name} has one value twice", place)
    return values


def check(node: Parent, data: Mapping[str, Any], place: str = "") -> None:
    """Check what no member shows alone: what is mandatory, and what goes with a type; or `Wrong`.

    Containers that are not there are not looked into.
    """
    for child in node.children:
        at = below(place, child)
        if child.name not in data:
            if isinstance(child, Leaf) and child.mandatory:
                raise missing_element(f"{child.name} is missing", at)
            continue
        if child.when and data.get(child.when[0]) != child.when[1]:
            text = f"{child.name} is for entries whose {child.when[0]} is {child.when[1]}"
            raise unknown_element(text, at)
        if isinstance(child, Container):
            check(child, data[child.name], at)
        elif isinstance(child, List):
            for key, entry in data[child.name].items():
                check(child, entry, entry_of(at, child, key))


def written(target: Target, data: Any) -> dict[str, Any]:
    """Return the body that shows a resource: one member, a list or an entry of it as an array."""
    node = target.node
    if isinstance(node, List) and not target.is_whole_list:
        key = target.steps[-1].key
        data = {key: data}
    elif isinstance(node, LeafList) and not target.is_whole_list:
        data = (data,)
    return {full_name(node, target.module): write(node, data)}


def write(node: Node, data: Any) -> Any:
    """Return data of a node for JSON."""
    if isinstance(node, Leaf):
        return node.type.write(data)
    if isinstance(node, LeafList):
        return [node.type.write(each) for each in data]
    if isinstance(node, List):
        return [dict(_members(node, entry)) for entry in data.values()]
    return dict(_members(node, data))


def _members(node: Parent, data: Tree) -> Iterator[tuple[str, Any]]:
    for child in node.children:
        if child.name in data:
            yield full_name(child), write(child, data[child.name])


def octets_of(body: Any) -> bytes:
    """Write JSON."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name appears twice")
    return found


def _constant(text: str) -> Any:
    raise ValueError(text)
