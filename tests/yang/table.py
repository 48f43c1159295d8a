"""Whether the tree of this project is that of the modules, leaf by leaf, as yangson reads them."""

from collections.abc import Iterator
from typing import Any

from etsi.gs015.model import leaves
from etsi.gs015.model.schema import Container, Leaf, LeafList, List, Node
from etsi.gs015.model.tree import NOTIFICATIONS, QKD_NODE

DEVIATIONS = {"qkdl_status: config is True in the module, False here"}
"""Where the tree is meant to differ, beside the three `when`s."""

_KINDS = {Container: "ContainerNode", List: "ListNode", Leaf: "LeafNode", LeafList: "LeafListNode"}
_TYPES = {
    leaves.Uuid: "StringType",
    leaves.Sae: "StringType",
    leaves.DateTime: "StringType",
    leaves.Text: "StringType",
    leaves.Number: "Uint32Type",
    leaves.Boolean: "BooleanType",
    leaves.Decimal: "Decimal64Type",
    leaves.Identity: "IdentityrefType",
}


def differences(model: Any) -> Iterator[str]:
    """Tell each place where the two are not the same."""
    theirs = {child.name: child for child in model.schema.children}
    for node in (QKD_NODE, *NOTIFICATIONS.values()):
        if node.name not in theirs:
            yield f"{node.name} is not in the module"
            continue
        yield from _below(node, theirs[node.name], told=node is not QKD_NODE)
    for name in sorted(theirs.keys() - {QKD_NODE.name, *NOTIFICATIONS}):
        yield f"{name} is not here"


def _below(node: Node, their: Any, *, told: bool) -> Iterator[str]:
    if type(their).__name__ != _KINDS[type(node)]:
        yield f"{node.name} is a {type(their).__name__} in the module"
        return
    if not told and node.config is not bool(their.config):
        yield f"{node.name}: config is {bool(their.config)} in the module, {node.config} here"
    if isinstance(node, Leaf | LeafList):
        yield from _leaf(node, their)
        return
    if isinstance(node, List) and list(node.keys) != [name for name, _ in their.keys]:
        yield f"{node.name} has the keys {their.keys} in the module"
    here, there = node.by_name, {child.name: child for child in _children(their)}
    for name in sorted(here.keys() ^ there.keys()):
        yield f"{node.name}/{name} is in {'the module' if name in there else 'this tree'} alone"
    keys = node.keys if isinstance(node, List) else ()
    for name in here.keys() & there.keys():
        for text in _below(here[name], there[name], told=told):
            if name not in keys or "mandatory" not in text:  # as any key is, there
                yield text


def _children(their: Any) -> Iterator[Any]:
    """Return the children; those of a `uses` with a `when` are in a group without a name."""
    for child in their.children:
        if type(child).__name__ == "GroupNode":
            yield from _children(child)
        else:
            yield child


def _leaf(node: Leaf | LeafList, their: Any) -> Iterator[str]:
    kind = type(their.type).__name__
    if kind != _TYPES[type(node.type)]:
        yield f"{node.name} is a {kind} in the module"
    elif isinstance(node.type, leaves.Identity):
        known = their.type.sctx.schema_data.identity_adjs
        derived = {name for name, module in known if (name, module) in their.type}
        if derived != set(node.type.names):
            yield f"{node.name} may be {sorted(derived)} in the module"
    elif isinstance(node.type, leaves.Decimal) and node.type.digits != their.type.fraction_digits:
        yield f"{node.name} has {their.type.fraction_digits} fraction digits in the module"
    if isinstance(node, Leaf) and node.mandatory is not bool(their.mandatory):
        yield f"{node.name}: mandatory is {their.mandatory} in the module"
    if isinstance(node, Leaf) and node.default != their.default:
        yield f"{node.name} is {their.default!r} by default in the module"
