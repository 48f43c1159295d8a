"""Hops of a path that are told in any order: which order is that of the path. No actor, no clock.

ETSI GS QKD 015 has them in a leaf-list without an order of its own. So the order in which they are
told is tried first; if that is no path of links that are known, another one of the same nodes is
meant if it is the only one that is.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from actors.intent.rows import Kept
from actors.intent.scene import No, Scene
from actors.protocol import intent
from actors.protocol.intent import Edit, Link
from actors.protocol.routes import KnownLinks
from actors.protocol.sessions import NODES_MAX

STEPS_MAX = 20_000
"""Steps of the search for orders, of one write: in a mesh there may be more than anybody tries."""


@dataclass(slots=True)
class Topology:
    """Which nodes share a quantum link, as far as is known, for one write.

    `steps` is how far orders may still be searched for.
    """

    peers: Mapping[str, frozenset[str]] = field(default_factory=lambda: MappingProxyType({}))
    linked: frozenset[str] = frozenset()
    """Nodes of which some link is known; of others it is not known whose neighbours they are."""
    steps: int = STEPS_MAX

    def are_neighbours(self, one: str, other: str) -> bool:
        """Whether they share a link."""
        return other in self.peers.get(one, ())

    def with_links(self, node: str, peers: Iterable[str]) -> "Topology":
        """Return the same with links that are wanted of this node, whether they run or not."""
        more = frozenset(peers)
        if not more:
            return self
        found = {**self.peers, node: self.peers.get(node, frozenset()) | more}
        for peer in more:
            found[peer] = found.get(peer, frozenset()) | {node}
        return replace(self, peers=found, linked=self.linked | more | {node})


def topology(told: KnownLinks) -> Topology:
    """Return what the router has told."""
    peers: dict[str, set[str]] = {}
    for one, other in told.links:
        peers.setdefault(one, set()).add(other)
        peers.setdefault(other, set()).add(one)
    frozen = {node: frozenset(found) for node, found in peers.items()}
    return Topology(frozen, frozenset(told.linked))


def is_unordered(edit: Edit) -> bool:
    """Whether the hops of a link are told in any order."""
    return edit.verb == intent.PUT and edit.link is not None and edit.fields == intent.ANY_ORDER


def nodes_of(edits: Iterable[Edit], scene: Scene) -> tuple[str, ...]:
    """Return the nodes whose links are to be known before these are judged; none: none."""
    links = [it.link for it in edits if is_unordered(it)]
    found = {scene.named(hop) for link in links if link for hop in link.hops[:NODES_MAX]}
    return tuple(sorted((found & scene.ids.keys()) | {scene.node})) if found else ()


def peers_here(rows: Iterable[Kept], edits: Iterable[Edit], scene: Scene) -> set[str]:
    """Return the peers of links that this node has, or will have by these edits, running or not."""
    links = {(kept.kind, kept.id): kept.body for kept in rows if isinstance(kept.body, Link)}
    for edit in edits:
        links.pop((edit.kind, edit.id.lower()), None)
    found = [*links.values()]
    found += [edit.link for edit in edits if edit.link and edit.verb != intent.REMOVE]
    return {scene.named(it.remote) for it in found if it.kind == intent.PHYS and it.enabled}


def in_order(
    link: Link, before: Link | None, scene: Scene, known: Topology, edit: int
) -> tuple[str, ...]:
    """Return the hops of a link in the order of the path, or raise `No`.

    Hops that are as they were are not judged anew, nor a single one that only says where a path
    begins, or goes on. A node of which no link is known may be anywhere: then the order holds in
    which they were told, and the link waits until there is such a path.
    """
    hops, here = tuple(map(scene.named, link.hops)), scene.node
    remote, prev = scene.named(link.remote), scene.named(link.prev)
    if link.kind != intent.VIRT or remote not in hops or len(hops) >= NODES_MAX:
        return link.hops
    nodes = {here, prev, *hops}
    if len(nodes) < len(hops) + len({here, prev}) or not set(hops) <= scene.ids.keys():
        return link.hops  # a node is there twice, or is not known: that is refused elsewhere
    had = before.hops if before and _ends(before, scene) == _ends(link, scene) else ()
    if hops == had or (prev and len(hops) == 1):
        return hops
    path = here, *hops
    if hops[-1] == remote and (_is_path(path, known) or not {*path} <= known.linked):
        return hops
    orders = list(itertools.islice(_orders(here, frozenset(hops), remote, known), 2))
    if len(orders) == 1 and known.steps > 0:
        return orders[0]
    if had and set(had) == set(hops):
        return had
    raise No("no_path", _why(path, remote, known, orders), edit)


def _ends(link: Link, scene: Scene) -> tuple[str, str, str]:
    return scene.named(link.local), scene.named(link.remote), scene.named(link.prev)


def _is_path(path: Sequence[str], known: Topology) -> bool:
    return all(known.are_neighbours(*pair) for pair in itertools.pairwise(path))


def _orders(
    here: str, hops: frozenset[str], remote: str, known: Topology
) -> Iterator[tuple[str, ...]]:
    """Yield the orders of all hops that are paths from here to the remote, as steps last."""
    ways = [(iter(sorted(known.peers.get(here, frozenset()) & hops)), here)]
    path: list[str] = []
    while ways and known.steps > 0:
        known.steps -= 1
        node = next(ways[-1][0], None)
        if node is None:
            ways.pop()
            if path:
                path.pop()
        elif node not in path and (node != remote or len(path) == len(hops) - 1):
            if node == remote:
                yield (*path, node)
            else:
                path.append(node)
                ways.append((iter(sorted(known.peers.get(node, frozenset()) & hops)), node))


def _why(
    path: Sequence[str], remote: str, known: Topology, orders: Sequence[tuple[str, ...]]
) -> str:
    if known.steps <= 0:
        return "these hops have too many orders to try; tell them in that of the path"
    pairs = itertools.pairwise(path)
    gap = next((pair for pair in pairs if not known.are_neighbours(*pair)), None)
    why = f"{gap[0]} and {gap[1]} share no link that is known" if gap else f"it ends at {path[-1]}"
    if orders:
        both = "; ".join(", ".join(it) for it in orders)
        return f"the order of these hops is no path ({why}), and more than one other is: {both}"
    return f"no order of these hops is a path to {remote}: {why}"
