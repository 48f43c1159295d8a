"""What a tree of YANG is made of: containers, lists, leaf-lists and leaves.

Data is kept beside it: a container is a dict, a list a dict from key values to entries, a leaf-list
a tuple, a leaf a `Value`. What is not there is absent.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from etsi.gs015.model.leaves import LeafType

Tree = dict[str, Any]
"""Data of a container or of an entry of a list, by the name of the child."""

Key = tuple[Any, ...]
"""Values of the keys of an entry, in the order of the list."""


@dataclass(frozen=True)
class Leaf:
    """One value. `when` names a sister, and the value that it must have for this leaf to be there.

    `default` is what holds when nothing was written; it is told, never stored.
    """

    name: str
    type: LeafType
    config: bool = True
    mandatory: bool = False
    units: str = ""
    default: object = None
    when: tuple[str, str] | None = None
    module: str = ""


@dataclass(frozen=True)
class LeafList:
    """Several values of one type, each once."""

    name: str
    type: LeafType
    config: bool = True
    when: tuple[str, str] | None = None
    module: str = ""


class _Parent:
    """What has children."""

    children: "tuple[Node, ...]"

    @cached_property
    def by_name(self) -> "dict[str, Node]":
        """The children by name."""
        return {child.name: child for child in self.children}


@dataclass(frozen=True)
class Container(_Parent):
    """A node with children; `module` is told of a node whose parent is of another one."""

    name: str
    children: "tuple[Node, ...]"
    config: bool = True
    when: tuple[str, str] | None = None
    module: str = ""


@dataclass(frozen=True)
class List(_Parent):
    """Entries with children; `keys` are the leaves that tell them apart.

    The keys come first among the children.
    """

    name: str
    keys: tuple[str, ...]
    children: "tuple[Node, ...]"
    config: bool = True
    when: tuple[str, str] | None = None
    module: str = ""

    def key_type(self, index: int) -> LeafType:
        """Return the type of a key."""
        leaf = self.by_name[self.keys[index]]
        assert isinstance(leaf, Leaf)
        return leaf.type

    def key_of(self, entry: Tree) -> Key:
        """Return the key of an entry."""
        return tuple(entry[name] for name in self.keys)


Parent = Container | List
Node = Container | List | Leaf | LeafList


def full_name(node: Node, module: str = "") -> str:
    """Return the name with the module, of the node or of its parent, where it has one."""
    module = node.module or module
    return f"{module}:{node.name}" if module else node.name
