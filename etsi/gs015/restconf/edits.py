"""What a write makes of the configuration: POST, PUT, PATCH and DELETE (RFC 8040, 4.4 to 4.7).

Each takes the configuration as it is and returns another one; nothing is changed in place. What
rows that changes is seen by comparing the two.
"""

from collections.abc import Mapping
from typing import Any

from etsi.gs015.model.schema import Container, LeafList, List, Tree
from etsi.gs015.restconf.bodies import check
from etsi.gs015.restconf.paths import Step, Target
from etsi.gs015.restconf.problems import exists, invalid, not_found
from etsi.gs015.restconf.view import Absent, find


def create(config: Tree, target: Target, data: Any) -> Tree:
    """Make a resource that is not there yet (POST); or `Wrong`."""
    parent = Target(target.root, target.steps[:-1])
    if not is_there(config, parent):
        raise not_found(f"there is no {parent.place}", parent.place)
    if is_there(config, target, told=True):
        raise exists(f"{target.place} is there already", target.place)
    return _checked(target, _put(config, target.steps, data))


def replace(config: Tree, target: Target, data: Any) -> Tree:
    """Make a resource, or put another one in its place (PUT); or `Wrong`."""
    _refuse_whole_list(target)
    if not target.steps:
        return _checked(target, data)
    parent = Target(target.root, target.steps[:-1])
    if not is_there(config, parent):
        raise not_found(f"there is no {parent.place}", parent.place)
    return _checked(target, _put(config, target.steps, data))


def merge(config: Tree, target: Target, data: Any) -> Tree:
    """Change what is written of a resource that is there (PATCH); or `Wrong`."""
    _refuse_whole_list(target)
    if not is_there(config, target):
        raise not_found(f"there is no {target.place}", target.place)
    if not target.steps:
        return _checked(target, _merged(target.root, config, data))
    before = find(config, target)
    return _checked(target, _put(config, target.steps, _merged(target.node, before, data)))


def remove(config: Tree, target: Target) -> Tree:
    """Take a resource away that is there (DELETE); or `Wrong`."""
    _refuse_whole_list(target)
    if not is_there(config, target, told=True):
        raise not_found(f"there is no {target.place}", target.place)
    return _checked(target, _without(config, target.steps))


def is_there(config: Tree, target: Target, *, told: bool = False) -> bool:
    """Tell whether a resource is there; `told`: a container only when something is in it."""
    try:
        found = find(config, target)
    except Absent:
        return False
    return bool(found) or not (told and isinstance(target.node, Container))


def _refuse_whole_list(target: Target) -> None:
    if target.is_whole_list and isinstance(target.node, List):
        raise invalid("name one entry by its key", target.place)


def _checked(target: Target, config: Tree) -> Tree:
    """Check that keys are as the path says, and what no member shows alone; or `Wrong`."""
    steps = target.steps
    for at, step in enumerate(steps):
        if isinstance(step.node, List) and step.key is not None:
            entry = config
            for above in steps[:at]:
                entry = _inside(entry, above)
            found = entry.get(step.node.name, {}).get(step.key)
            if found is not None and _key_differs(step, found):
                raise invalid("the key of an entry cannot be changed", target.place)
    check(target.root, config)
    return config


def _key_differs(step: Step, entry: Tree) -> bool:
    assert isinstance(step.node, List)
    return tuple(entry.get(name) for name in step.node.keys) != step.key


def _inside(data: Tree, step: Step) -> Tree:
    found = data.get(step.node.name, {})
    inside = found.get(step.key, {}) if isinstance(step.node, List) else found
    assert isinstance(inside, dict)
    return inside


def _put(data: Tree, steps: tuple[Step, ...], value: Any) -> Tree:
    """Return data with this value at the end of these steps."""
    step, rest = steps[0], steps[1:]
    node, key = step.node, step.key
    if isinstance(node, List) and key is not None:
        entries = dict(data.get(node.name, {}))
        entries[key] = _put(entries.get(key, {}), rest, value) if rest else value
        return {**data, node.name: entries}
    if isinstance(node, LeafList) and key is not None:
        values = data.get(node.name, ())
        return {**data, node.name: values if value in values else (*values, value)}
    return {**data, node.name: _put(data.get(node.name, {}), rest, value) if rest else value}


def _without(data: Tree, steps: tuple[Step, ...]) -> Tree:
    """Return data without what is at the end of these steps."""
    step, rest = steps[0], steps[1:]
    node, key = step.node, step.key
    left: Any = None
    if isinstance(node, List) and key is not None:
        left = dict(data[node.name])
        entry = left.pop(key)
        if rest:
            left[key] = _without(entry, rest)
    elif isinstance(node, LeafList) and key is not None:
        left = tuple(value for value in data[node.name] if value != key[0])
    elif rest:
        left = _without(data[node.name], rest)
    found = {name: value for name, value in data.items() if name != node.name}
    return {**found, node.name: left} if left else found


def _merged(node: Any, before: Any, data: Any) -> Any:
    if isinstance(node, LeafList) and isinstance(data, tuple):
        return (*before, *(value for value in data if value not in before))
    if isinstance(node, List) and isinstance(data, Mapping) and _is_entries(data):
        both = dict(before)
        for key, entry in data.items():
            both[key] = _merged_children(node, both.get(key, {}), entry)
        return both
    if isinstance(node, Container | List):
        return _merged_children(node, before, data)
    return data


def _is_entries(data: Mapping[Any, Any]) -> bool:
    return all(isinstance(key, tuple) for key in data)


def _merged_children(node: Container | List, before: Tree, data: Tree) -> Tree:
    both = dict(before)
    for name, value in data.items():
        child = node.by_name[name]
        both[name] = _merged(child, both[name], value) if name in both else value
    return both
