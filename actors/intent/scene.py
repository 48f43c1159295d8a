"""What a row may name: nodes, SAEs and interfaces, as this node knows them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from actors.protocol.intent import Interface
from actors.protocol.peers import Kms


class No(Exception):
    """A write may not be; `code` is one of `intent.CODES`."""

    def __init__(self, code: str, why: str, edit: int = -1, owner: str = "") -> None:
        super().__init__(why)
        self.code, self.edit, self.owner = code, edit, owner


def anywhere(number: int, peer: str) -> str:
    """Tell of no hindrance: what leads where is not known."""
    del number, peer
    return ""


@dataclass(frozen=True, slots=True)
class Scene:
    """The directory, from where this node stands, and its interfaces.

    `interfaces` is empty if the configuration numbers none: then nothing is asked of them.
    """

    node: str
    ids: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Id of each node, by its name."""
    homes: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Name of the node of each SAE."""
    interfaces: Mapping[int, Interface] = field(default_factory=lambda: MappingProxyType({}))
    leads: Callable[[int, str], str] = anywhere
    """Why an interface does not lead to a peer, if that is known."""
    applications: frozenset[str] = frozenset()
    """Ids of applications that the node has made itself."""
    names: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Name of each node, by its name and by its id in lower case."""
    rates: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """Bit/s that quantum links bring, by peer: where that was measured, and some come."""

    def of(self, kmss: tuple[Kms, ...]) -> "Scene":
        """Return the same under another directory."""
        names = {kms.id.lower(): kms.name for kms in kmss} | {kms.name: kms.name for kms in kmss}
        return replace(
            self,
            ids={kms.name: kms.id for kms in kmss},
            homes={sae: kms.name for kms in kmss for sae in kms.saes},
            names=names,
        )

    def named(self, node: str) -> str:
        """Return the name of a node that is named by name or id; what is not known, as it is."""
        return self.names.get(node) or self.names.get(node.lower(), node)

    def name_of(self, node: str, edit: int) -> str:
        """Return the same, or raise `No` if it is not known."""
        found = self.named(node)
        if found not in self.ids:
            raise No("data_missing", f"{node[:64]!r} is no node of the directory", edit)
        return found
