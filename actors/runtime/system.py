"""The running system: actors by name, on one thread, here or across the network."""

import asyncio
import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import pykka
import structlog

from actors.base import Actor, Change, Meter, Numbered, Range, Row, Slice
from actors.protocol.common import CORE_DOWN, UNDELIVERABLE, Died, Failed
from actors.runtime.crashes import Poison, describe, frames_of, keep_values_out_of_logs
from actors.runtime.futures import EDGE, Edge, as_octets
from actors.runtime.life import JOIN_S, Life
from actors.runtime.ports import CORE, Admit, Durable, Inbox, Post, Put
from actors.runtime.timers import Alarm, Timers
from transport.codec import Sealer, encode
from transport.envelope import Address, Envelope
from transport.message import Message
from transport.stage import Stage

_MAILBOX = 10_000
_MAILBOX_OCTETS = 16 << 20
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def _complain(why: str) -> None:
    structlog.get_logger().critical("system_broken", why=why)


class ThreadSystem:
    """The actors of one process of a node, which take their turns on one thread of its own.

    `placement` names the process for the name of an actor, `post` sends octets elsewhere,
    `admit` is the doorman for what comes in, `sealers` protect what goes to other processes
    of this node. With `through_codec` every message that can travel is encoded and decoded
    even when it stays here. Who gives it a `stage` stops that when the system has been shut down.
    """

    def __init__(
        self,
        node: str,
        meter: Meter,
        *,
        process: str = CORE,
        placement: Callable[[str], str] = lambda _: CORE,
        post: Post = lambda *_: False,
        admit: Admit = lambda *_: None,
        sealers: Mapping[str, Sealer] | None = None,
        durable: Durable | None = None,
        through_codec: bool = False,
        stage: Stage | None = None,
    ) -> None:
        keep_values_out_of_logs()
        self.node, self.meter, self.process = node, meter, process
        self.boot_id = _BOOT_ID.read_text().strip()
        self.durable = durable
        self._placement, self._post, self._admit = placement, post, admit
        self._sealers, self._through_codec = sealers or {}, through_codec
        self._inboxes: dict[str, Put] = {}
        self._lives: dict[str, Life] = {}
        self._leaving: dict[str, Life] = {}
        self._lock = threading.Lock()
        self._closing = False
        self._ends: dict[str, str] = {}
        self._stage, self._own_stage = stage or Stage(f"{node}/actors", _complain), stage is None
        self._timers = Timers(self._stage)
        self._poison = Poison(self.now)
        self._poisoned: set[str] = set()
        self._edge = Edge(self, Address(f"{EDGE}/{process}", node))
        self.register(self._edge.address.name, self._edge)
        self.log = structlog.get_logger().bind(node=node, process=process)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop of the thread on which the actors take their turns."""
        return self._stage.loop

    # What an actor may ask for

    @property
    def disk_full(self) -> bool:
        """Whether commits wait for room on the disk."""
        return self.durable is not None and self.durable.full

    def now(self) -> float:
        """Seconds since boot, suspension included."""
        return time.clock_gettime(time.CLOCK_BOOTTIME)

    def random(self, n: int) -> bytes:
        """Return n octets of the operating system's generator."""
        return secrets.token_bytes(n)

    def send(self, envelope: Envelope) -> None:
        """Deliver: the one place that asks "here, in another process, on another node?"."""
        to = envelope.to
        if to.node == self.node:
            put = self._inboxes.get(to.name)
            if put:
                try:
                    put(envelope)
                except pykka.ActorDeadError:
                    self._undeliverable(envelope, "no_actor")
                return
            process = self._process_of(to.name)
            sealer = self._sealers.get(process)
            itself = envelope.sender == to  # timers of one that is gone, and runs elsewhere now
            if itself or process == self.process or sealer is None:
                self._undeliverable(envelope, "no_actor")
                return
        else:
            process, sealer = CORE, None  # whatever a peer may be told is told to its core
        self._send_away(envelope, process, sealer)

    def after(self, seconds: float, envelope: Envelope) -> Alarm:
        """Deliver later."""
        return self._timers.after(seconds, partial(self.send, envelope))

    def load(self, store: str) -> Sequence[Row]:
        """Read every durable row of a store without a running number."""
        return self._disk().load(store)

    def numbered(self, rows: Range, most: int) -> Sequence[Numbered]:
        """Read so many rows under running numbers at most, the last first."""
        return self._disk().numbered(rows, most)

    def weigh(self, rows: Range) -> Sequence[tuple[bytes, int]]:
        """Count rows by their `ends`, unread."""
        return self._disk().weigh(rows)

    def read(self, owner: Address, rows: Range, most: int, into: Slice, token: int) -> None:
        """Read some rows beside the actors."""
        self._disk().read(owner, rows, most, into, token)

    def commit(self, owner: Address, changes: Sequence[Change], token: int) -> None:
        """Make the changes durable."""
        self._disk().commit(owner, changes, token)

    def spawn(
        self, name: str, kind: type[Actor], *args: Any, parent: Address | None = None
    ) -> Address:
        """Start an actor under a name; `ValueError` if it is taken. Does nothing in a shutdown."""
        address = Address(name, self.node)
        with self._lock:
            if self._closing:
                return address
            self._free(name)
            before = self._leaving.get(name)
        try:
            actor = kind(self, name, *args)
        except (Exception, SystemExit) as why:
            self._note_end(name, why)
            self._bury(address, why, None, parent)
            return address
        life = Life(actor, parent, self._stage, self)
        with self._lock:
            if self._closing:
                return address
            self._free(name)
            self._lives[name] = life
            self._inboxes[name] = self._into(actor)
            life.begin(before)
        return address

    def stop(self, name: str) -> None:
        """Stop an actor once it has handled what is in its mailbox; harmless if there is none."""
        with self._lock:
            life = self._lives.pop(name, None)
            if life:
                del self._inboxes[name]
                self._leaving[name] = life
        if life:
            with contextlib.suppress(pykka.ActorDeadError):  # it is just dying
                life.actor.stop()

    def failed(self, name: str, why: BaseException | None, during: Envelope | None) -> None:
        """Hear that an actor has crashed: forget it, tell its parent."""
        if during and self._poison.suspect(during):
            self._poisoned.add(name)
        self._note_end(name, why)
        with self._lock:
            life = self._lives.get(name)
            if life is None or life.thread is not threading.current_thread():
                life = None  # it had been stopped, and died on its way out
            else:
                del self._lives[name], self._inboxes[name]
                self._leaving[name] = life
        self._bury(Address(name, self.node), why, during, life.parent if life else None)

    def over(self, life: Life, left: list[Any]) -> None:
        """Hear that a life has ended: return its mail."""
        name = life.name
        with self._lock:
            if life.ended.is_set() and self._leaving.get(name) is life:
                del self._leaving[name]
        for envelope in left:
            if isinstance(envelope, Envelope):
                self._undeliverable(envelope, "died")

    # What the process asks for

    def register(self, name: str, inbox: Inbox) -> None:
        """Put something that is no actor under a name; `tell` is called on any thread."""
        with self._lock:
            self._free(name)
            self._inboxes[name] = inbox.tell

    def unregister(self, name: str) -> None:
        """Take it away again; harmless if there is none."""
        with self._lock:
            if name not in self._lives:
                self._inboxes.pop(name, None)

    def receive(self, node: str, process: str, octets: bytes) -> None:
        """Take a frame of the authenticated process of a node."""
        envelope = self._admit(node, process, octets)
        if envelope is None:
            return
        if self._is_full(envelope.to.name, len(octets)):
            self.meter.add("protokms_undeliverable", reason="mailbox_full")
            return
        try:
            self._inboxes[envelope.to.name](envelope)
        except (KeyError, pykka.ActorDeadError):
            self._undeliverable(envelope, "no_actor")

    def ask(self, to: Address, body: Message, timeout: float) -> "Future[Message]":
        """Ask from outside the actors; the answer may be `Failed`, a time-out too."""
        return self._edge.ask(to, body, timeout)

    def names(self) -> list[str]:
        """Return the names of all living actors, the oldest first."""
        return list(self._lives)

    def waiting(self) -> int:
        """Return how many messages lie in the mailboxes of all actors."""
        return sum(life.actor.waiting for life in list(self._lives.values()))

    def crashes(self) -> Mapping[str, str]:
        """Return which actors have crashed, and of what the last time; who crashed last is last."""
        return dict(self._ends)

    def shutdown(self, timeout: float = JOIN_S) -> bool:
        """Stop all actors of this system, the youngest first; false if one does not end in time.

        (`pykka.ActorRegistry.stop_all` would stop those of every other node of the process.)
        """
        with self._lock:
            self._closing = True
        for name in reversed(self.names()):
            self.stop(name)
        until = time.monotonic() + timeout
        leaving = list(self._leaving.values())
        ended = [life.ended.wait(max(0.0, until - time.monotonic())) for life in leaving]
        self._timers.stop()
        self._edge.close()
        if self._own_stage:
            self._stage.stop()
        return all(ended)

    # Within

    def _free(self, name: str) -> None:
        if name in self._inboxes:
            raise ValueError(f"{name}@{self.node} is taken")

    def _is_full(self, name: str, octets: int) -> bool:
        """Tell whether so much waits for an actor that another process must not add such a frame.

        Mailboxes know no limit (R17): nobody in here waits, or loses a message, for a full one.
        """
        life = self._lives.get(name)
        most = min(_MAILBOX, _MAILBOX_OCTETS // max(1, octets))
        return life is not None and life.actor.waiting > most

    def _process_of(self, name: str) -> str:
        talk, _, process = name.partition("/")
        return process if talk == EDGE else self._placement(name)

    def _send_away(self, envelope: Envelope, process: str, sealer: Sealer | None) -> None:
        try:
            octets = encode(envelope, sealer)
        except TypeError:
            self.log.error("does_not_travel", word=envelope.body.word, to=str(envelope.to))
            self._undeliverable(envelope, "does_not_travel")
            return
        node = envelope.to.node
        if not self._post(node if process == CORE else f"{node}/{process}", octets):
            lost = node == self.node and process == CORE
            self._undeliverable(envelope, "queue", CORE_DOWN if lost else UNDELIVERABLE)

    def _into(self, actor: Actor) -> Put:
        """Make what drops an envelope into a mailbox: straight, in the ordinary case."""
        put: Put = actor.mailbox.drop
        if self._through_codec:
            put = partial(as_octets, put)
        if actor.address.name in self._poisoned:
            put = partial(self._unless_poison, put)
        return put

    def _unless_poison(self, put: Put, envelope: Envelope) -> None:
        if self._poison.deadly(envelope):
            self.meter.add("protokms_poison_dropped", actor=envelope.to.name)
            self._undeliverable(envelope, "poison")
        else:
            put(envelope)

    def _note_end(self, name: str, why: BaseException | None) -> None:
        with self._lock:
            self._ends.pop(name, None)  # a new one goes to the end, an old one keeps its place
            self._ends[name] = describe(why)

    def _bury(
        self,
        address: Address,
        why: BaseException | None,
        during: Envelope | None,
        parent: Address | None,
    ) -> None:
        word = during.body.word if during else ""
        frames = frames_of(why)
        self.log.error("actor_crashed", actor=address.name, why=describe(why), at=frames, word=word)
        if parent:
            self.send(Envelope(address, parent, Died(name=address.name, why=describe(why))))

    def _undeliverable(self, envelope: Envelope, reason: str, code: str = UNDELIVERABLE) -> None:
        self.meter.add("protokms_undeliverable", reason=reason)
        if envelope.token and not envelope.answer:
            no = Failed(code=code, why=str(envelope.to))
            self.send(Envelope(envelope.to, envelope.sender, no, envelope.token, answer=True))

    def _disk(self) -> Durable:
        if self.durable is None:
            raise RuntimeError(f"process {self.process} of {self.node} keeps nothing durable")
        return self.durable
