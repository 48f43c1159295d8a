"""One node of a cluster: what `actors.runtime.system` does with threads, step by step."""

import random
import sys
from collections.abc import Callable, Hashable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from actors.base import Actor, Change, Meter, Numbered, Range, Row, Slice
from actors.protocol.common import Committed, Died, Failed
from actors.protocol.doors import ANSWERS, DOORS
from actors.runtime.crashes import Poison, describe
from actors.runtime.own import refusal
from actors.runtime.ports import Inbox
from actors.runtime.timers import Alarm
from protokms.node.meter import MemoryMeter
from protokms.testing.clocks import NodeClock
from protokms.testing.disk import Disk
from transport.codec import encode
from transport.envelope import Address, Envelope
from transport.session import Doorman, Doors, Refusals

if TYPE_CHECKING:
    from protokms.testing.cluster import Cluster


class Crash(NamedTuple):
    """An actor that died: where, of what, and in which message."""

    address: Address
    why: BaseException | None
    during: Envelope | None


class Life(NamedTuple):
    """What a start of a node begins with."""

    number: int
    disk: Disk
    meter: MemoryMeter
    boot_id: str
    clock: NodeClock
    doors: Doors | None


class StepSystem:
    """The actors of one life of one node, without threads; ended by `Cluster.crash`.

    Actors are made but never started: the cluster takes one message at a time out of their
    mailboxes. What they commit waits for a step of its own, the group commit.
    """

    def __init__(self, cluster: "Cluster", node: str, life: Life) -> None:
        self.cluster, self.node, self.boot_id = cluster, node, life.boot_id
        self.meter: Meter = life.meter
        self.alive = True
        self.actors: dict[str, Actor | Inbox] = {}
        self._no_room = False
        self.paused = False
        self._waiting_for_disk: set[Hashable] = set()
        self._held: list[tuple[Hashable, Callable[[], None]]] = []
        self._life, self._disk, self._clock = life.number, life.disk, life.clock
        self._dice = random.Random(f"{cluster.seed}/{node}/{life.number}")  # noqa: S311 -- simulated
        self._poison, self._poisoned = Poison(self.now), set[str]()
        doors = life.doors or Doors(DOORS, ANSWERS)
        self._doorman = Doorman(
            node,
            doors,
            {},
            Refusals(self.meter, self.now),
            declined=lambda question, reason: self.send(refusal(question, reason)),
        )
        self._dead: set[Actor] = set()
        self._starting: set[str] = set()
        self._parents: dict[str, Address | None] = {}
        self._pending: list[tuple[Address, Sequence[Change], int]] = []

    # What an actor may ask for

    def now(self) -> float:
        """Seconds since this node was booted, on its own clock."""
        return self._clock.now()

    def random(self, n: int) -> bytes:
        """Return n octets that depend on the seed, the node and its life alone."""
        drawn = self._dice.randbytes(n)
        for see in self.cluster.draws:
            see(self.node, drawn)
        return drawn

    def send(self, envelope: Envelope) -> None:
        """Deliver to a mailbox here, or as octets to another node."""
        if not self.alive:
            return
        name, node = envelope.to
        if node == self.node:
            bulk = envelope.body.bulk and name not in self._starting
            lane = self._lane(name, bulk=bulk)
            self._soon(lane, partial(self._take, self.actors.get(name), envelope))
        else:
            self._post(envelope)

    def after(self, seconds: float, envelope: Envelope) -> Alarm:
        """Deliver later, on the node's clock."""
        return self.cluster.agenda.later(seconds / self._clock.rate, partial(self.send, envelope))

    def load(self, store: str) -> Sequence[Row]:
        """Read every durable row of a store without a number; commits handed over are in it."""
        self.flush()
        return self._disk.load(store) if self.alive else ()

    def numbered(self, rows: Range, most: int) -> Sequence[Numbered]:
        """Read so many rows under running numbers at most, the last first."""
        return self._disk.numbered(rows, most) if self.alive else ()

    def weigh(self, rows: Range) -> Sequence[tuple[bytes, int]]:
        """Count rows by their `ends`, unread."""
        return self._disk.weigh(rows) if self.alive else ()

    def read(self, owner: Address, rows: Range, most: int, into: Slice, token: int) -> None:
        """Read some rows in a step of its own, as late and as few as the cluster says."""
        wait, few = self.cluster.slices(self.node)
        lane = ("disk", self.node, self._life)
        step = partial(self._read, owner, rows, min(most, few), into, token)
        if wait:
            self.cluster.agenda.later(wait, partial(self._soon, lane, step))
        else:
            self._soon(lane, step)

    def _read(self, owner: Address, rows: Range, most: int, into: Slice, token: int) -> None:
        if self.disk_full:  # as the writer, which writes first what was handed over before
            step = partial(self._read, owner, rows, most, into, token)
            self._held.append((("disk", self.node, self._life), step))
            return
        self.flush()
        if self.alive:
            into.rows = self._disk.numbered(rows, most)
            self.send(Envelope(owner, owner, Committed(token=token)))

    def commit(self, owner: Address, changes: Sequence[Change], token: int) -> None:
        """Queue changes for the next group commit."""
        if not self.alive:
            return
        if not self._pending:
            self._commit_soon()
        self._pending.append((owner, tuple(changes), token))

    def spawn(
        self, name: str, kind: type[Actor], *args: Any, parent: Address | None = None
    ) -> Address:
        """Make an actor under a name; its `started()` runs in a step of its own."""
        address = Address(name, self.node)
        if name in self.actors:
            raise ValueError(f"{address} is there already")
        self._parents[name] = parent
        try:
            actor = kind(self, name, *args)
        except (Exception, SystemExit) as why:
            self.failed(name, why, None)
            return address
        self.actors[name] = actor
        self._starting.add(name)
        self._soon(self._lane(name), partial(self._start, actor))
        return address

    def stop(self, name: str) -> None:
        """Stop an actor after its present turn; what is left in its mailbox is undeliverable."""
        actor = self.actors.pop(name, None)
        if isinstance(actor, Actor):
            self._soon(self._lane(name), partial(self._stop, actor))

    def failed(self, name: str, why: BaseException | None, during: Envelope | None) -> None:
        """Hear that an actor has crashed: forget it, tell its parent."""
        address = Address(name, self.node)
        self.actors.pop(name, None)
        self.cluster.crashed(Crash(address, why, during))
        if during and self._poison.suspect(during):
            self._poisoned.add(name)
        if parent := self._parents.get(name):
            self.send(Envelope(address, parent, Died(name=name, why=describe(why))))

    # What the cluster asks for

    def register(self, name: str, inbox: Inbox) -> None:
        """Put something that is no actor under a name."""
        self.actors[name] = inbox

    def unregister(self, name: str) -> None:
        """Take it away again."""
        self.actors.pop(name, None)

    def arrive(self, peer: str, octets: bytes) -> None:
        """Take a frame that the authenticated node `peer` sent."""
        envelope = self._doorman.admit(peer, "core", octets)
        if envelope:
            self.send(envelope)

    @property
    def disk_full(self) -> bool:
        """Whether commits wait for room on the disk."""
        return self._no_room and bool(self._pending)

    def flush(self) -> None:
        """Do the group commit now."""
        if not (self.alive and self._pending) or self._no_room:
            return
        if self.cluster.boundary(self, before=True):
            return
        group, self._pending = self._pending, []
        self._disk.apply(change for _, changes, _ in group for change in changes)
        if self.cluster.boundary(self, before=False):
            return
        for owner, _, token in group:
            self.send(Envelope(owner, owner, Committed(token=token)))

    def die(self, *, durable: float = 0.0) -> None:
        """End this life at once; this share of what was handed over becomes durable first.

        The last turns are lost: nobody has heard of a commit yet.
        """
        if self.alive and not self.disk_full:
            kept = self._pending[: round(durable * len(self._pending))]
            self._disk.apply(change for _, changes, _ in kept for change in changes)
        self.alive = False
        self.actors.clear()
        self._pending.clear()

    def pause(self) -> None:
        """Let nothing happen here until `go_on`."""
        self.paused = True

    def go_on(self) -> None:
        """Do what has waited."""
        self.paused = False
        self._release()

    def fill_disk(self) -> None:
        """Let commits wait; it is noticed when there is one."""
        self._no_room = True

    def free_disk(self) -> None:
        """Let commits go on."""
        self._no_room = False
        self.flush()
        self._waiting_for_disk.clear()
        self._release()

    def _release(self) -> None:
        held, self._held = self._held, []
        for lane, call in held:
            self._soon(lane, call)

    def fail(self, name: str, why: Exception) -> bool:
        """Let an actor die of `why` in a turn of its own; false if there is none."""
        actor = self.actors.get(name)
        if not isinstance(actor, Actor) or not self.alive:
            return False

        def die() -> None:
            if self.alive and actor not in self._dead:
                self._turn(actor, partial(_raise, why))

        self._soon(self._lane(name), die)
        return True

    # Steps

    def _soon(self, lane: Hashable, call: Callable[[], None]) -> None:
        self.cluster.agenda.soon(lane, partial(self._step, lane, call))

    def _step(self, lane: Hashable, call: Callable[[], None]) -> None:
        if self.paused or lane in self._waiting_for_disk:
            self._held.append((lane, call))
        else:
            call()

    def _commit_soon(self) -> None:
        lane, wait = ("disk", self.node, self._life), self.cluster.commit_s(self.node)
        if wait:
            self.cluster.agenda.later(wait, partial(self._soon, lane, self.flush))
        else:
            self._soon(lane, self.flush)

    def _lane(self, name: str, *, bulk: bool = False) -> tuple[str, str, int, bool]:
        """Name where mail of an actor waits; that in bulk waits elsewhere, as in a `Mailbox`."""
        return name, self.node, self._life, bulk

    def _take(self, reader: Actor | Inbox | None, envelope: Envelope) -> None:
        if not self.alive:
            return
        name = envelope.to.name
        if isinstance(reader, Actor):
            if reader in self._dead:
                self._undeliverable(envelope, "died")
            elif name in self._poisoned and self._poison.deadly(envelope):
                self.meter.add("protokms_poison_dropped", actor=name)
                self._undeliverable(envelope, "poison")
            else:
                self._turn(reader, partial(reader.on_receive, envelope))
        elif reader:
            reader.tell(envelope)
        else:
            self._undeliverable(envelope, "no_actor")

    def _turn(self, actor: Actor, turn: Callable[[], None]) -> None:
        try:
            turn()
        except Exception:
            self._dead.add(actor)
            actor.on_failure(*sys.exc_info())
        self.cluster.complain()

    def _start(self, actor: Actor) -> None:
        if self.disk_full:  # a thread would block in `load` until it is free
            lane = self._lane(actor.address.name)
            self._waiting_for_disk.add(lane)
            self._held.append((lane, partial(self._start, actor)))
        elif self.alive:
            self._starting.discard(actor.address.name)
            try:
                actor.on_start()
            except Exception:
                self._dead.add(actor)  # on_start() has reported it
            self.cluster.complain()

    def _stop(self, actor: Actor) -> None:
        if self.alive:
            self._turn(actor, actor.on_stop)
            self._dead.add(actor)  # what is left in bulk is not read

    def _post(self, envelope: Envelope) -> None:
        try:
            octets = encode(envelope)
        except TypeError as why:  # the sender's mistake: tests should hear of it
            self.cluster.crashed(Crash(envelope.sender, why, envelope))
            self._undeliverable(envelope, "does_not_travel")
            return
        if not self.cluster.post(self.node, envelope.to.node, octets):
            self._undeliverable(envelope, "queue")

    def _undeliverable(self, envelope: Envelope, reason: str) -> None:
        self.meter.add("protokms_undeliverable", reason=reason)
        if envelope.token and not envelope.answer:
            no = Failed(code="undeliverable", why=str(envelope.to))
            self.send(Envelope(envelope.to, envelope.sender, no, envelope.token, answer=True))


def _raise(why: Exception) -> None:
    raise why
