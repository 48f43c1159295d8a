"""Which application takes what: pairs of SAEs at key stores, and rows that name them; no actor."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from actors.intent.rows import Kept
from actors.intent.scene import Scene
from actors.protocol import intent
from actors.protocol.intent import Application, Consumed
from actors.protocol.usage import INTERVAL_S, KEPT, Pair, Usage


@dataclass(slots=True)
class Taken:
    """What one application takes: bit/s at the store of each peer; and the pairs that it is."""

    means: dict[str, float] = field(default_factory=dict)
    pairs: list[Pair] = field(default_factory=list)

    def take(self, peer: str, pair: Pair) -> None:
        """Add what a pair takes there."""
        self.means[peer] = self.means.get(peer, 0.0) + pair.mean
        self.pairs.append(pair)

    def consumed(self, boot: float) -> tuple[Consumed, ...]:
        """Return the last intervals; `boot` is the time of day when this host was booted."""
        sums = Counter[int]()
        for pair in self.pairs:
            sums.update({it.number: it.bits for it in pair.intervals})
        return tuple(
            Consumed(boot + number * INTERVAL_S, boot + (number + 1) * INTERVAL_S, bits)
            for number, bits in sorted(sums.items())[-KEPT:]
        )


@dataclass(frozen=True, slots=True)
class Unregistered:
    """SAEs that want keys together, and no row names them; `peer`: the store that they ask."""

    id: str
    application: Application
    taken: Taken


def sort_out(
    rows: Iterable[Kept], usage: Mapping[str, Usage], node: str
) -> tuple[dict[str, Taken], list[Unregistered]]:
    """Return what each row takes, by its id, and pairs that no row names; of these so many.

    A pair belongs to the row of these very SAEs, else to the first row of its master with all its
    slaves.
    """
    taken: dict[str, Taken] = {}
    exact: dict[tuple[str, tuple[str, ...]], str] = {}
    wider: dict[tuple[str, str], list[tuple[frozenset[str], str]]] = {}
    for kept in rows:
        if isinstance(app := kept.body, Application):
            taken[kept.id] = Taken()
            exact[app.master, tuple(sorted(app.slaves))] = kept.id
            for slave in app.slaves if len(app.slaves) > 1 else ():
                saes = wider.setdefault((app.master, slave), [])
                saes.append((frozenset(app.slaves), kept.id))
    others: dict[str, Unregistered] = {}
    for peer, told in usage.items():
        for pair in told.pairs:
            some = wider.get((pair.master, pair.slaves[0]), ())
            of = exact.get((pair.master, pair.slaves)) or next(
                (id_ for saes, id_ in some if saes.issuperset(pair.slaves)), None
            )
            if of is not None:
                taken[of].take(peer, pair)
            else:
                _other(others, pair, node, peer).take(peer, pair)
    return taken, sorted(others.values(), key=lambda it: it.id)[: intent.APPLICATIONS_MAX]


def _other(others: dict[str, Unregistered], pair: Pair, node: str, peer: str) -> Taken:
    id_ = intent.application_id(pair.master, pair.slaves)
    if id_ not in others:
        made = Application(pair.master, pair.slaves, local=node, remote=peer)
        others[id_] = Unregistered(id_, made, Taken())
    return others[id_].taken


def consumption(
    rows: Iterable[Kept],
    taken: Mapping[str, Taken],
    others: Iterable[Unregistered],
    scene: Scene,
) -> dict[str, float]:
    """Return the bit/s that applications are expected to take of stores, by their peers.

    Of each the larger of what it took lately, and of what is to be kept for it.
    """
    found: dict[str, float] = {}
    for kept in rows:
        if isinstance(app := kept.body, Application):
            means = taken[kept.id].means if kept.id in taken else {}
            homes = {scene.homes.get(sae, "") for sae in (app.master, *app.slaves)} - {""}
            for peer in homes | means.keys():
                least = app.min_bandwidth or 0 if peer in homes else 0
                found[peer] = found.get(peer, 0.0) + max(least, means.get(peer, 0.0))
    for other in others:
        for peer, mean in other.taken.means.items():
            found[peer] = found.get(peer, 0.0) + mean
    return found
