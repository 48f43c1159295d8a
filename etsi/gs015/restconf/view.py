"""What of a resource is shown: found in data of the tree, and cut to what a query asks for."""

from typing import Any

from etsi.gs015.model.schema import Container, Leaf, LeafList, List, Node, Parent, Tree
from etsi.gs015.restconf.paths import Step, Target
from etsi.gs015.restconf.query import NONCONFIG, Fields, Query


class Absent(LookupError):
    """There is no such resource in this data."""


def find(data: Tree, target: Target) -> Any:
    """Return the data of a resource, or raise `Absent`.

    A container is there if what it is in is there, even when nothing is in it.
    """
    here: Any = data
    for step in target.steps:
        here = _step(here, step)
    return here


def _step(here: Tree, step: Step) -> Any:
    node, key = step.node, step.key
    found = here.get(node.name)
    if isinstance(node, Container):
        return found if found is not None else {}
    if found is None:
        raise Absent(node.name)
    if key is None:
        return found
    if isinstance(node, List):
        if key not in found:
            raise Absent(node.name)
        return found[key]
    if key[0] not in found:
        raise Absent(node.name)
    return key[0]


def shown(target: Target, data: Any, query: Query) -> Any:
    """Return what the query asks for of the data of a resource; None if that is nothing."""
    node, whole = target.node, target.is_whole_list
    if isinstance(node, List) and not whole:
        return _of_parent(node, data, query.content, query.depth, query.fields)
    if isinstance(node, LeafList) and not whole:
        return data if _fits(node, query.content) else None
    return _of(node, data, query.content, query.depth, query.fields)


def _of(node: Node, data: Any, content: str, depth: int, fields: Fields | None) -> Any:
    if isinstance(node, Leaf | LeafList):
        return data if _fits(node, content) else None
    if isinstance(node, Container):
        return _of_parent(node, data, content, depth, fields)
    found = {
        key: made
        for key, entry in data.items()
        if (made := _of_parent(node, entry, content, depth, fields)) is not None
    }
    return found or None


def _of_parent(
    node: Parent, data: Tree, content: str, depth: int, fields: Fields | None
) -> Tree | None:
    """Cut a container, or an entry: at the last level it has no children but its keys.

    Without state there is nothing to show of an entry when state alone is asked for.
    """
    keys = node.keys if isinstance(node, List) else ()
    found: Tree = {}
    for child in node.children:
        if child.name not in data:
            continue
        if child.name in keys:
            found[child.name] = data[child.name]
            continue
        if depth <= 1 or (fields is not None and child.name not in fields):
            continue
        rest = fields[child.name] if fields is not None else None
        made = _of(child, data[child.name], content, depth - 1, rest)
        if made is not None:
            found[child.name] = made
    only_keys = len(found) == len(keys)
    return None if content == NONCONFIG and only_keys and node.config else found


def _fits(node: Leaf | LeafList, content: str) -> bool:
    return content != NONCONFIG or not node.config
