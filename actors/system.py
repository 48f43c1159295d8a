"""The running system: actors by name, on threads, here or across the network."""

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

from actors.base import Actor, Change, Meter, Row
from actors.deaths import Poison, describe, frames_of, keep_values_out_of_logs
from actors.edge import EDGE, Edge, as_octets
from actors.ports import CORE, Admit, Durable, Inbox, Post, Put
from actors.protocol.common import Died, Failed
from actors.timers import Alarm, Timers
from transport.codec import Sealer, encode
from transport.envelope import Address, Envelope
from transport.message import Message

_JOIN_S = 10.0
_MAILBOX = 10_000
_MAILBOX_OCTETS = 16 << 20
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class _Cell:
    """A living actor: its thread, and who hears of its death."""

    __slots__ = ("actor", "parent", "thread")

    def __init__(self, actor: Actor, parent: Address | None) -> None:
        self.actor, self.parent = actor, parent
        self.thread = threading.current_thread()


class ThreadSystem:
    """The actors of one process of a node, each on a thread of its own.

    `placement` names the process for the name of an actor, `post` sends octets elsewhere,
    `admit` is the doorman for what comes in, `sealers` protect what goes to other processes
    of this node. With `through_sockets` every message that can travel is encoded and decoded
    even when it stays here.
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
        through_sockets: bool = False,
    ) -> None:
        keep_values_out_of_logs()
        self.node, self.meter, self.process = node, meter, process
        self.boot_id = _BOOT_ID.read_text().strip()
        self.durable = durable
        self._placement, self._post, self._admit = placement, post, admit
        self._sealers, self._through_sockets = sealers or {}, through_sockets
        self._inboxes: dict[str, Put] = {}
        self._cells: dict[str, _Cell] = {}
        self._leaving: dict[str, threading.Thread] = {}
        self._lock = threading.Lock()
        self._closing = False
        self._timers = Timers()
        self._poison = Poison(self.now)
        self._poisoned: set[str] = set()
        self._edge = Edge(self, Address(f"{EDGE}/{process}", node))
        self.register(self._edge.address.name, self._edge)
        self.log = structlog.get_logger().bind(node=node, process=process)

    # What an actor may ask for

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
            if process == self.process or sealer is None:
                self._undeliverable(envelope, "no_actor")
                return
        else:
            process, sealer = CORE, None  # whatever a peer may be told is told to its core
        self._send_away(envelope, process, sealer)

    def after(self, seconds: float, envelope: Envelope) -> Alarm:
        """Deliver later."""
        return self._timers.after(seconds, partial(self.send, envelope))

    def load(self, store: str) -> Sequence[Row]:
        """Read every durable row of a store."""
        return self._disk().load(store)

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
        except Exception as why:
            self._bury(address, why, None, parent)
            return address
        cell = _Cell(actor, parent)
        cell.thread = threading.Thread(
            target=self._live, args=(cell, before), name=f"{self.node}/{name}", daemon=True
        )
        with self._lock:
            if self._closing:
                return address
            self._free(name)
            self._cells[name] = cell
            self._inboxes[name] = self._into(actor)
            cell.thread.start()
        return address

    def stop(self, name: str) -> None:
        """Stop an actor once it has handled what is in its mailbox; harmless if there is none."""
        with self._lock:
            cell = self._cells.pop(name, None)
            if cell:
                del self._inboxes[name]
                self._leaving[name] = cell.thread
        if cell:
            with contextlib.suppress(pykka.ActorDeadError):  # it is just dying
                cell.actor.stop()

    def failed(self, name: str, why: BaseException | None, during: Envelope | None) -> None:
        """Hear that an actor has crashed: forget it, tell its parent."""
        if during and self._poison.suspect(during):
            self._poisoned.add(name)
        with self._lock:
            cell = self._cells.get(name)
            if cell is None or cell.thread is not threading.current_thread():
                cell = None  # it had been stopped, and died on its way out
            else:
                del self._cells[name], self._inboxes[name]
                self._leaving[name] = cell.thread
        self._bury(Address(name, self.node), why, during, cell.parent if cell else None)
        if cell:
            self._return_mail(cell.actor)

    # What the process asks for

    def register(self, name: str, inbox: Inbox) -> None:
        """Put something that is no actor under a name; `tell` is called on any thread."""
        with self._lock:
            self._free(name)
            self._inboxes[name] = inbox.tell

    def unregister(self, name: str) -> None:
        """Take it away again; harmless if there is none."""
        with self._lock:
            if name not in self._cells:
                self._inboxes.pop(name, None)

    def receive(self, node: str, process: str, octets: bytes) -> None:
        """Take a frame of the authenticated process of a node."""
        envelope = self._admit(node, process, octets)
        if envelope is None:
            return
        if node != self.node and self._is_full(envelope.to.name, len(octets)):
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
        return list(self._cells)

    def shutdown(self, timeout: float = _JOIN_S) -> bool:
        """Stop all actors of this system, the youngest first; false if one does not end in time.

        (`pykka.ActorRegistry.stop_all` would stop those of every other node of the process.)
        """
        with self._lock:
            self._closing = True
        for name in reversed(self.names()):
            self.stop(name)
        until = time.monotonic() + timeout
        for thread in list(self._leaving.values()):
            if thread is not threading.current_thread():
                thread.join(max(0.0, until - time.monotonic()))
        self._timers.stop()
        self._edge.close()
        return not any(thread.is_alive() for thread in self._leaving.values())

    # Within

    def _free(self, name: str) -> None:
        if name in self._inboxes:
            raise ValueError(f"{name}@{self.node} is taken")

    def _is_full(self, name: str, octets: int) -> bool:
        """Tell whether so much waits for an actor that another node must not add such a frame.

        Mailboxes know no limit (R17): nobody in here waits, or loses a message, for a full one.
        """
        cell = self._cells.get(name)
        most = min(_MAILBOX, _MAILBOX_OCTETS // max(1, octets))
        return cell is not None and cell.actor.waiting > most

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
            self._undeliverable(envelope, "queue")

    def _into(self, actor: Actor) -> Put:
        """Make what drops an envelope into a mailbox: straight, in the ordinary case."""
        put: Put = actor.actor_ref.tell
        if self._through_sockets:
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

    def _live(self, cell: _Cell, before: threading.Thread | None) -> None:
        name = cell.actor.address.name
        if before:
            before.join(_JOIN_S)  # two lives of one actor must not overlap
            if before.is_alive():
                self.failed(name, TimeoutError(), None)
                self._leaving[name] = before
                return
        cell.actor._actor_loop()  # start() would enter it in Pykka's registry
        if self._cells.get(name) is cell:  # something like SystemExit, which skips on_failure
            self.failed(name, None, None)
        with self._lock:
            if self._leaving.get(name) is cell.thread:
                del self._leaving[name]

    def _return_mail(self, actor: Actor) -> None:
        inbox = actor.actor_inbox
        while not inbox.empty():
            envelope = inbox.get().message
            if isinstance(envelope, Envelope):
                self._undeliverable(envelope, "died")

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

    def _undeliverable(self, envelope: Envelope, reason: str) -> None:
        self.meter.add("protokms_undeliverable", reason=reason)
        if envelope.token and not envelope.answer:
            no = Failed(code="undeliverable", why=str(envelope.to))
            self.send(Envelope(envelope.to, envelope.sender, no, envelope.token, answer=True))

    def _disk(self) -> Durable:
        if self.durable is None:
            raise RuntimeError(f"process {self.process} of {self.node} keeps nothing durable")
        return self.durable
