"""The wires between the nodes of a cluster, and all that can go wrong with them."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from protokms.testing.agenda import Agenda

Deliver = Callable[[str, bytes], None]
"""Called with the node that sent, as CURVE would have proved it, and the octets."""

Watcher = Callable[[str, str, str, bytes], None]
"""Called with what befalls a frame, its sender, its reader, and the octets.

What: `posted`, then any of `cut`, `loss`, `duplicate`, `delay` (of any kind), `reorder`.
"""


@dataclass(frozen=True, slots=True)
class Wire:
    """One direction between two nodes; the rates are probabilities from 0 to 1.

    `delay` and `jitter` are seconds. A frame that is reordered waits up to `late` seconds more
    than the ones behind it.
    """

    up: bool = True
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    delay: float = 0.0
    jitter: float = 0.0
    late: float = 0.05


class Network:
    """Carries octets between nodes: at once and in order, unless a wire says otherwise."""

    def __init__(self, agenda: Agenda) -> None:
        self._agenda = agenda
        self._nodes: dict[str, Deliver] = {}
        self._wires: dict[tuple[str, str], Wire] = {}
        self.carried = 0
        self.watchers: list[Watcher] = []

    def join(self, node: str, deliver: Deliver) -> None:
        """Connect a node; a second call replaces the first."""
        self._nodes[node] = deliver

    def leave(self, node: str) -> None:
        """Disconnect a node: what is under way to it is lost."""
        self._nodes.pop(node, None)

    def joined(self, node: str) -> bool:
        """Tell whether a node is connected."""
        return node in self._nodes

    def wire(self, sender: str, to: str) -> Wire:
        """Tell how the wire in this direction is."""
        return self._wires.get((sender, to), Wire())

    def change(self, one: str, other: str, *, one_way: bool = False, **traits: float) -> None:
        """Give the wire from `one` to `other`, and the way back, some traits of `Wire`."""
        for ends in [(one, other)] if one_way else [(one, other), (other, one)]:
            self._wires[ends] = replace(self.wire(*ends), **traits)  # type: ignore[arg-type]

    def post(self, sender: str, to: str, octets: bytes) -> None:
        """Put a frame on the wire; what becomes of it the sender cannot know."""
        self._note("posted", sender, to, octets)
        wire, dice = self.wire(sender, to), self._agenda.random
        if not wire.up:
            self._note("cut", sender, to, octets)
            return
        if wire.loss and dice.random() < wire.loss:
            self._note("loss", sender, to, octets)
            return
        copies = 1
        if wire.duplicate and dice.random() < wire.duplicate:
            self._note("duplicate", sender, to, octets)
            copies = 2
        for _ in range(copies):
            wait = wire.delay + (wire.jitter and dice.uniform(0.0, wire.jitter))
            if wire.reorder and dice.random() < wire.reorder:
                self._note("reorder", sender, to, octets)
                wait += dice.uniform(0.0, wire.late)
            elif wait:
                self._note("delay", sender, to, octets)
            self._carry(sender, to, octets, wait)

    def _note(self, what: str, sender: str, to: str, octets: bytes) -> None:
        for watch in self.watchers:
            watch(what, sender, to, octets)

    def _carry(self, sender: str, to: str, octets: bytes, wait: float) -> None:
        def arrive() -> None:
            deliver = self._nodes.get(to)
            if deliver and self.wire(sender, to).up:
                self.carried += 1
                deliver(sender, octets)

        def come() -> None:
            self._agenda.soon(("wire", sender, to), arrive)

        if wait:
            self._agenda.later(wait, come)
        else:
            come()
