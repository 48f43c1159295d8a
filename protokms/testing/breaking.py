"""What can be done to the nodes and wires of a cluster."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from actors.base import Row
from actors.runtime.ports import Inbox
from protokms.node.meter import MemoryMeter
from protokms.testing.agenda import Agenda
from protokms.testing.clocks import NodeClock
from protokms.testing.disk import Disk, every_row
from protokms.testing.network import Network
from protokms.testing.presence import Presence
from protokms.testing.steps import Life, StepSystem
from transport.envelope import Address
from transport.session import Doors

if TYPE_CHECKING:
    from protokms.testing.cluster import Cluster


class SimulatedCrash(Exception):
    """What an actor dies of that `crash_actor` kills."""


class Breakable:
    """The half of a `Cluster` that breaks things, and mends them."""

    agenda: Agenda
    net: Network
    presence: Presence
    nodes: dict[str, StepSystem]
    recipe: Callable[[StepSystem], None] | None
    obituaries: list[Callable[[str], None]]
    """Called with the name of each node that dies."""
    draws: list[Callable[[str, bytes], None]]
    """Called with a node and the random octets that were drawn there."""
    _doors: Doors | None
    _disks: dict[str, Disk]
    _meters: dict[str, MemoryMeter]
    _clocks: dict[str, NodeClock]
    _commit_s: dict[str, float]
    _slices: dict[str, tuple[float, int]]
    _lives: dict[str, int]
    _boots: dict[str, int]
    _places: dict[Address, Inbox]
    _doom: dict[str, tuple[int, bool]]

    # Wires

    def cut(self, one: str, other: str, *, one_way: bool = False) -> None:
        """Lose every frame from `one` to `other`, and back unless `one_way`."""
        self.net.change(one, other, one_way=one_way, up=False)
        self.presence.look(one, other)

    def mend(self, one: str, other: str, *, one_way: bool = False) -> None:
        """Undo `cut`; frames lost meanwhile stay lost."""
        self.net.change(one, other, one_way=one_way, up=True)
        self.presence.look(one, other)

    def worsen(self, one: str, other: str, *, one_way: bool = False, **traits: float) -> None:
        """Make a wire bad: `loss`, `duplicate`, `reorder` (0..1), `delay`, `jitter` (seconds)."""
        self.net.change(one, other, one_way=one_way, **traits)

    def inject(self, sender: str, to: str, octets: bytes) -> None:
        """Let a frame come in at `to` that `sender` may never have sent."""
        self.agenda.soon(("wire", sender, to), partial(self._arrive, sender, to, octets))

    def _arrive(self, sender: str, to: str, octets: bytes) -> None:
        if self.nodes[to].alive:
            self.nodes[to].arrive(sender, octets)

    # Nodes

    def crash(self, node: str, *, before_commit: bool = True, durable: float | None = None) -> None:
        """Kill a node, as `kill -9` would: mailboxes, timers and frames under way are gone.

        Commits handed over but not yet done are lost with it, or, with `before_commit=False`,
        become durable though nobody hears of it; `durable` is the share of them that does, and
        the last are lost.
        """
        self._doom.pop(node, None)
        self.net.leave(node)
        for hear in self.obituaries:
            hear(node)
        share = float(not before_commit) if durable is None else durable
        self.nodes[node].die(durable=share)
        self.presence.look_around(node)

    def crash_at_commit(self, node: str, n: int = 1, *, before: bool = True) -> None:
        """Let the `n`-th group commit from now kill the node, just before or just after it."""
        self._doom[node] = n, before

    def forget_doom(self, node: str) -> None:
        """Undo `crash_at_commit`."""
        self._doom.pop(node, None)

    def start(self, node: str) -> None:
        """Run the node's recipe on what is durable."""
        self._lives[node] += 1
        boot_id = f"{node}-boot-{self._boots[node]}"
        disk, meter, clock = self._disks[node], self._meters[node], self._clocks[node]
        life = Life(self._lives[node], disk, meter, boot_id, clock, self._doors)
        system = self.nodes[node] = StepSystem(self._cluster(), node, life)
        for address, inbox in self._places.items():
            if address.node == node:
                system.register(address.name, inbox)
        self.net.join(node, system.arrive)
        if self.recipe:
            self.recipe(system)
        self.presence.forget(node)
        self.presence.look_around(node)
        self.agenda.settle()

    def restart(self, node: str, *, reboot: bool = False) -> None:
        """Start a node again, after killing it if it lives; a reboot resets its boot clock."""
        if self.nodes[node].alive:
            self.crash(node)
        if reboot:
            self._boots[node] += 1
            self._clocks[node].boot()
        self.start(node)

    def crash_actor(self, at: str) -> bool:
        """Let an actor die in a turn of its own; false if there is none under `name@node`."""
        address = Address.parse(at)
        return self.nodes[address.node].fail(address.name, SimulatedCrash())

    def pause(self, node: str, seconds: float) -> None:
        """Let nothing happen at a node for a while, as on a host that is too busy."""
        system = self.nodes[node]
        system.pause()
        self.presence.look_around(node)
        self.agenda.later(seconds, partial(self._go_on, node, system))

    def _go_on(self, node: str, system: StepSystem) -> None:
        system.go_on()
        if self.nodes[node] is system:
            self.presence.look_around(node)

    def drift(self, node: str, rate: float) -> None:
        """Let the boot clock of a node run so much faster; 1.0 is right."""
        self._clocks[node].drift(rate)

    def jump(self, node: str, seconds: float) -> None:
        """Let the boot clock of a node jump ahead, as when its host was suspended."""
        self._clocks[node].jump(seconds)

    def age(self, node: str) -> float:
        """Return the seconds that the clock of a node has counted, over all its boots."""
        return self._clocks[node].age()

    # Disks

    def slow_disk(self, node: str, seconds: float) -> None:
        """Let each group commit of this node take so long from now on."""
        self._commit_s[node] = seconds

    def slow_slices(self, node: str, seconds: float, most: int) -> None:
        """Let rows read beside the actors come so late, and so few at a time, from now on."""
        self._slices[node] = seconds, most

    def backup(self, node: str) -> object:
        """Return a copy of all that is durable at a node."""
        return self._disks[node].backup()

    def restore(self, node: str, copy: object) -> None:
        """Kill the node and start it again on such a copy."""
        if self.nodes[node].alive:
            self.crash(node)
        self.replace_disk(node, copy)
        self.start(node)

    def replace_disk(self, node: str, copy: object) -> None:
        """Put such a copy in the place of what a dead node has on its disk."""
        assert not self.nodes[node].alive, "the node lives"
        self._disks[node].restore(copy)

    def rows(self, node: str, store: str) -> list[Row]:
        """Read the durable rows of a store at a node, dead or alive."""
        return every_row(self._disks[node], store)

    def fill_disk(self, node: str) -> None:
        """Let commits of this node wait, as for a full disk; `free_disk` lets them go on."""
        self.nodes[node].fill_disk()

    def free_disk(self, node: str) -> None:
        """Undo `fill_disk`."""
        self.nodes[node].free_disk()
        self.agenda.settle()

    # Within

    def commit_s(self, node: str) -> float:
        """Tell how long a group commit takes at a node."""
        return self._commit_s[node]

    def slices(self, node: str) -> tuple[float, int]:
        """Tell how late rows read beside the actors come at a node, and how many at most."""
        return self._slices[node]

    def boundary(self, system: StepSystem, *, before: bool) -> bool:
        """Kill the node here if `crash_at_commit` said so; true if it is dead now."""
        n, when = self._doom.get(system.node, (0, True))
        if not n or self.nodes[system.node] is not system:
            return not system.alive
        if when is before and n == 1:
            self.crash(system.node)
        elif not before:
            self._doom[system.node] = n - 1, when
        return not system.alive

    def _reachable(self, one: str, other: str) -> bool:
        return all(
            self.net.joined(node) and not self.nodes[node].paused for node in (one, other)
        ) and all(self.net.wire(*ends).up for ends in ((one, other), (other, one)))

    def _cluster(self) -> "Cluster":
        raise NotImplementedError
