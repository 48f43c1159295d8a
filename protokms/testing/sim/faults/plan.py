"""What one seed means: a network, its options, who asks for what, and a list of faults."""

import random
import string
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

from actors.protocol.doors import DOORS
from protokms.testing.sim.faults.device import Device, drawn
from protokms.testing.sim.faults.fault import KINDS, Fault, draw

LENGTH_S = 64.0
FAULTS = 56
WARM_S = 2.0
LEAST_OPERATIONS = 500
RING = "a-b a-d b-c c-d"
"""Two disjoint paths lead from each node to the opposite one; sessions there take both."""

NETWORKS = {
    "a-b": 10,
    "a-b b-c": 2,
    "a-b b-c a-c": 1,
    "a-b a-c a-d": 1,
    "a-b b-c c-d d-e": 1,
    RING: 1,
}
"""Shapes, and how often each is drawn."""

FAR = True
"""Whether SAEs of nodes without a common link ask for keys in some networks."""

NETWORKS_FAR = {"a-b b-c": 0.8, "a-b a-c a-d": 1.0, "a-b b-c c-d d-e": 1.0, RING: 1.0}
"""In which share of the networks of a shape they do."""

FAR_PAIRS = 16
"""Of so many pairs without a common link SAEs ask, in a network that has more."""

SMALL_BITS = 1 << 20
"""What a store of a random network holds at most: full links are silent, and cost no time."""

_NAMES = string.ascii_lowercase + string.digits
NODES_MAX = len(_NAMES)
"""Names of nodes have one letter here."""

Sizes = tuple[int, int]
"""The least and the largest number of nodes of a random network."""

FILES = 0.1
"""In which share of the random networks rows lie in real files; of the others in all.

Files cost 1.65 times the processor time; a random network has up to 36 nodes."""

_FAR_TALKS = ("relay.", "sessions.")
_SUBTREE_S = 8.0
"""Seconds between two crashes of actors of one node: a supervisor bears five in thirty."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything a run needs to know; drawn from the seed alone, and written down."""

    seed: int
    nodes: str
    saes: dict[str, str]
    mode: str
    store: dict[str, Any]
    small_leases: bool
    files: bool
    commit_s: float
    delay_s: float
    far: bool = False
    """Whether SAEs of nodes that share no link ask for keys too."""
    sizes: Sizes | None = None
    """Between how many nodes a random network was asked for, if it was."""
    devices: tuple[Device, ...] = ()
    """What each quantum link gives in a later part of the run."""
    faults: list[Fault] = field(default_factory=list)
    length_s: float = LENGTH_S

    @property
    def names(self) -> list[str]:
        """The nodes."""
        return sorted(set(self.saes.values()))

    @property
    def links(self) -> list[tuple[str, str]]:
        """Who shares a quantum link with whom."""
        return [(word[0], word[-1]) for word in self.nodes.split()]

    @property
    def shares(self) -> int:
        """In how many shares the chunks of sessions that are asked for from the start are split."""
        return 2 if self.nodes == RING else 1

    @property
    def distant(self) -> list[tuple[str, str]]:
        """Pairs of nodes that share no quantum link: all, or `FAR_PAIRS` of them."""
        links = {frozenset(ends) for ends in self.links}
        pairs = [ends for ends in combinations(self.names, 2) if frozenset(ends) not in links]
        if len(pairs) <= FAR_PAIRS:
            return pairs
        return random.Random(f"pairs/{self.seed}").sample(pairs, FAR_PAIRS)  # noqa: S311


def plan(seed: int, faults: list[Fault] | None = None, sizes: Sizes | None = None) -> Plan:
    """Draw the plan of a seed; `faults` take the place of those drawn.

    With `sizes` the network is a random one, of so many nodes, instead of one of `NETWORKS`.
    """
    dice = random.Random(f"plan/{seed}")  # noqa: S311 -- a seed, not a secret
    nodes = dice.choices(list(NETWORKS), list(NETWORKS.values()))[0]
    if sizes:
        nodes = _random_network(dice, sizes)
    names = sorted(set(nodes) - set("- "))
    store: dict[str, Any] = {
        "mode": dice.choice(["confirmed", "confirmed", "local"]),
        "ttl_s": dice.choice([3600.0, 3600.0, 25.0]),
        "redelivery_s": dice.choice([30.0, 8.0]),
        "max_bits": dice.choice([64 << 20, 64 << 20, 1 << 20]),
        "max_undelivered_bits_per_pair": dice.choice([8 << 20, 8 << 20, 16 << 10]),
        "max_undelivered_bits_per_sae": 16 << 20,
        "max_undelivered_bits_of_earlier_starts": 8 << 10,
    }
    if sizes:
        store["max_bits"] = SMALL_BITS
    made = Plan(
        seed=seed,
        nodes=nodes,
        saes={f"{name}{number}": name for name in names for number in (1, 2)},
        mode=store["mode"],
        store=store,
        far=bool(FAR and NETWORKS_FAR.get(nodes, float(bool(sizes))) > dice.random()),
        small_leases=dice.random() < 0.6,  # noqa: PLR2004 -- odds
        files=dice.random() < FILES or not sizes,
        commit_s=dice.choice([0.0, 0.0, 0.002, 0.01]),
        delay_s=dice.choice([0.0, 0.002, 0.01]),
        sizes=sizes,
    )
    made = replace(made, devices=tuple(_devices(made)))
    made.faults.extend(_draw_faults(made, dice) if faults is None else sorted(faults))
    return made


def _devices(made: Plan) -> Iterator[Device]:
    """Draw on dice of their own, so that a seed has the faults it always had."""
    dice = random.Random(f"devices/{made.seed}")  # noqa: S311 -- a seed, not a secret
    for ends in made.links:
        yield drawn(dice, ends, made.length_s)


def _random_network(dice: random.Random, sizes: Sizes) -> str:
    """Draw a tree, and half as many links beside it as it has nodes."""
    names = _NAMES[: dice.randint(*sizes)]
    links = {(dice.choice(names[:number]), names[number]) for number in range(1, len(names))}
    for _ in range(len(names) // 2):
        one, other = sorted(dice.sample(range(len(names)), 2))
        links.add((names[one], names[other]))
    return " ".join(sorted("-".join(sorted(ends)) for ends in links))


def _draw_faults(made: Plan, dice: random.Random) -> list[Fault]:
    def pick(where: str) -> tuple[str, ...]:
        one, other = dice.choice(made.links)
        if where == "wire" and made.far and dice.random() < 0.3:  # noqa: PLR2004 -- odds
            one, other = dice.choice(made.distant)
        ends = (one, other) if dice.random() < 0.5 else (other, one)  # noqa: PLR2004 -- odds
        if where == "node":
            return ends[:1]
        if where == "actor":
            node, peer = ends
            actors = {f"key_store/{peer}": 8, f"quantum_link/{peer}": 3, f"key_store/{node}": 2}
            actors |= {f"relay/{peer}": 2, "peer_manager": 2, "router": 1, "sessions": 1}
            return node, dice.choices(list(actors), list(actors.values()))[0]
        return (one, other) if where == "link" else ends

    def far_apart(_: str) -> tuple[str, ...]:
        one, other = dice.choice(made.distant)
        return (one, other) if dice.random() < 0.5 else (other, one)  # noqa: PLR2004 -- odds

    def when() -> float:
        return dice.uniform(WARM_S if dice.random() < 0.9 else 0.0, made.length_s)  # noqa: PLR2004

    kinds = [name for name, kind in KINDS.items() if kind.weight]
    weights = [KINDS[name].weight for name in kinds]
    drawn = dice.choices(kinds, weights, k=FAULTS)
    talks = ("blocks.", "grants.", "peers.", "routes.", *(_FAR_TALKS if made.far else ()))
    words = sorted(word for word in DOORS if word.startswith(talks))
    faults = [draw(dice, kind, when(), pick, words) for kind in drawn]
    if dice.random() < 0.4:  # noqa: PLR2004 -- odds
        age = KINDS["restore"].amount[1]
        faults.append(draw(dice, "restore", dice.uniform(age, made.length_s), pick))
    if dice.random() < 0.15:  # noqa: PLR2004 -- odds
        late = dice.uniform(made.length_s * 0.75, made.length_s)
        faults.append(draw(dice, "betray", late, far_apart if made.far else pick))
    return sorted(_bearable(faults))


def _bearable(faults: list[Fault]) -> list[Fault]:
    """Leave out crashes of actors that come too soon after another at the same node."""
    last: dict[str, float] = {}
    kept = []
    for fault in sorted(faults):
        if fault.kind == "actor_crash":
            if fault.at - last.get(fault.where[0], -_SUBTREE_S) < _SUBTREE_S:
                continue
            last[fault.where[0]] = fault.at
        kept.append(fault)
    return kept
