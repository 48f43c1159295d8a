"""What one actor does, in order, as seen from around it: for tests of the order of events.

A recorder stands between an actor and its node, its rows, and the plain objects it keeps books
with. It knows nothing of what the actor is made of: parts may be cut, moved and renamed, and the
record stays. Names in a record: of words to peers the wire name, of local words the class name.
"""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial, wraps
from typing import Any

import pytest

from actors.base import Actor, Cell, Change, Drop, Meter, Numbered, Range, Row, Slice, Timer
from actors.ledger.segment import segment_id
from actors.protocol.blocks import Head, SegmentId
from actors.protocol.grants import Grant, Piece
from actors.protocol.peers import Kms
from actors.storage.journal import Journal
from protokms.testing.steps import StepSystem
from transport.envelope import Address, Envelope
from transport.message import Message, Secret

LARGE = 1 << 32
"""Numbers from here on are drawn at random: a record gives them short names."""
SEGMENT_KINDS = ("segment", "bits", "giving")
NAMED_KINDS = ("terms", "peer")
_DRAWN = frozenset({"nonce", "start", "random", "tag", "sealed", "yours", "mine", "why"})


class Record:
    """Lines, and short names for what is drawn at random, in the order of their appearance."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.on = False
        """Whether lines are kept: from the event on, not while the scene is set."""
        self.turn = False
        """Whether the actor is at work; others use the same classes."""
        self._names: dict[object, str] = {}

    def note(self, line: str) -> None:
        """Keep a line of a turn of the actor."""
        if self.on and self.turn:
            self.lines.append(f"  {line}")

    def text(self, head: str) -> str:
        """Return what a file of the record holds."""
        return "\n".join([f"# {head}", *self.lines, ""])

    def during(self, what: str, act: Callable[[], None]) -> None:
        """Let the actor have a turn."""
        if self.on:
            self.lines += ["", what]
        self.turn = True
        try:
            act()
        finally:
            self.turn = False

    def named(self, value: object) -> str:
        """Return the short name of something random."""
        return self._names.setdefault(value, f"#{len(self._names) + 1}")

    # How values look

    def word(self, body: Message) -> str:
        """Name a word, and what it is about."""
        name = body.wire or type(body).__name__
        return " ".join([name, *self._fields(body)])

    def _fields(self, value: Any) -> list[str]:
        made = []
        for field in dataclasses.fields(value):
            one = getattr(value, field.name)
            if field.name not in _DRAWN and one not in ("", ()):
                made.append(self._field(field.name, one))
        return [text for text in made if text]

    def _field(self, name: str, value: Any) -> str:
        if isinstance(value, Head):
            return f"seq={value.seq}"
        if name == "token" or (isinstance(value, float) and name != "wait"):
            return ""  # times of day
        return f"{name}={self.value(value)}"

    def value(self, value: Any) -> str:
        """Show one value, short, without octets of keys."""
        if isinstance(value, Secret):
            return f"{len(value)} octets"
        if isinstance(value, bytes) or (isinstance(value, int) and value >= LARGE):
            return self.named(value)
        if isinstance(value, SegmentId):
            return f"{value.holder}/{value.batch}"
        if isinstance(value, Piece):
            return f"{value.holder}/{value.batch}+{value.offset}:{value.length}"
        if isinstance(value, Grant):
            return self.named(value.id)
        if isinstance(value, Kms):
            return value.name
        if isinstance(value, tuple | list):
            return "[" + " ".join(map(self.value, value)) + "]"
        if callable(value):
            return str(value.__name__)
        if dataclasses.is_dataclass(value):
            return "(" + " ".join(self._fields(value)) + ")"
        return str(value)

    def row(self, kind: str, id_: bytes) -> str:
        """Name a row."""
        if kind in SEGMENT_KINDS:
            id_text = self.value(segment_id(id_))
        elif len(id_) == len(bytes(12)):
            id_text = self.named(id_)
        elif kind == "window":
            id_text = f"{int.from_bytes(id_[:-1], 'big')}/{id_[-1]}"
        elif kind in NAMED_KINDS:
            id_text = id_.decode()
        else:
            id_text = str(int.from_bytes(id_, "big")) if id_ else ""
        return f"{kind} {id_text}".rstrip()


class RecordedMeter:
    """The meter of an actor; what is counted is noted, not how high a gauge stands."""

    def __init__(self, record: Record, system: StepSystem) -> None:
        self._record, self._meter = record, system.meter

    def add(self, name: str, n: float = 1, **labels: str) -> None:
        self._record.note(f"count {n:g} {_labelled(name, labels)}")
        self._meter.add(name, n, **labels)

    def cell(self, name: str, **labels: str) -> Cell:
        return self._meter.cell(name, **labels)

    def set(self, name: str, value: float, **labels: str) -> None:
        self._record.note(f"gauge {_labelled(name, labels)}")
        self._meter.set(name, value, **labels)


class RecordedLog:
    """The log of an actor; levels are methods."""

    def __init__(self, record: Record) -> None:
        self._record = record

    def bind(self, **_: object) -> "RecordedLog":
        return self

    def __getattr__(self, level: str) -> Callable[..., None]:
        def log(event: str, **facts: object) -> None:
            self._record.note(f"log {level} {event} {' '.join(facts)}".rstrip())

        return log


class RecordedSystem:
    """The node of an actor, as it sees it."""

    def __init__(self, record: Record, system: StepSystem) -> None:
        self._record, self._system = record, system
        self.node, self.boot_id = system.node, system.boot_id
        self.meter: Meter = RecordedMeter(record, system)

    @property
    def disk_full(self) -> bool:
        return self._system.disk_full

    def now(self) -> float:
        return self._system.now()

    def random(self, n: int) -> bytes:
        return self._system.random(n)

    def send(self, envelope: Envelope) -> None:
        to = envelope.to
        verb = "answer" if envelope.answer else "ask" if envelope.token else "tell"
        where = to.name if to.node == self.node else str(to)
        where = where if where != envelope.sender.name else "itself"
        if envelope.answer:
            where += f", {self._record.value(envelope.token)}"
        self._record.note(f"{verb} {where}: {self._record.word(envelope.body)}")
        self._system.send(envelope)

    def after(self, seconds: float, envelope: Envelope) -> Timer:
        self._record.note(f"timer {seconds:.3g} s: {self._record.word(envelope.body)}")
        return self._system.after(seconds, envelope)

    def load(self, store: str) -> Sequence[Row]:
        self._record.note(f"load {store}")
        return self._system.load(store)

    def numbered(self, rows: Range, most: int) -> Sequence[Numbered]:
        return self._system.numbered(rows, most)

    def weigh(self, rows: Range) -> Sequence[tuple[bytes, int]]:
        return self._system.weigh(rows)

    def read(self, owner: Address, rows: Range, most: int, into: Slice, token: int) -> None:
        self._record.note(f"read {rows.store}: {rows.kind}")
        self._system.read(owner, rows, most, into, token)

    def commit(self, owner: Address, changes: Sequence[Change], token: int) -> None:
        rows = [self._change(change) for change in changes]
        self._record.note(f"commit: {', '.join(rows) or 'nothing'}")
        self._system.commit(owner, changes, token)

    def _change(self, change: Change) -> str:
        sign = "-" if isinstance(change, Drop) else "+"
        return f"{sign}{self._record.row(change.kind, change.id)}"

    def spawn(
        self, name: str, kind: type[Actor], *args: Any, parent: Address | None = None
    ) -> Address:
        self._record.note(f"spawn {name}")
        return self._system.spawn(name, kind, *args, parent=parent)

    def stop(self, name: str) -> None:
        self._record.note(f"stop {name}")
        self._system.stop(name)

    def failed(self, name: str, why: BaseException | None, during: Envelope | None) -> None:
        self._record.note(f"failed {name}: {why!r}")
        self._system.failed(name, why, during)


def recorded(record: Record, kind: type[Actor], at: str = "a") -> Any:
    """Make something to spawn in the place of an actor class: the same, recorded at one node."""

    def make(system: StepSystem, name: str, *args: Any) -> Actor:
        if system.node != at:
            return kind(system, name, *args)
        record.turn = True
        actor: Actor = kind(RecordedSystem(record, system), name, *args)
        record.turn = False
        actor.log = RecordedLog(record)
        receive = actor.on_receive

        def on_receive(message: Envelope) -> None:
            sender = message.sender
            of = "itself" if sender == actor.address else str(sender)
            if message.token and not message.answer:
                of += f", {record.value(message.token)}"
            turn = f"< {record.word(message.body)} of {of}"
            record.during(turn, partial(receive, message))

        actor.on_receive = on_receive  # type: ignore[method-assign]
        for what in ("on_start", "on_stop"):
            hook = getattr(actor, what)
            setattr(actor, what, partial(record.during, f"< {what[3:]}", hook))
        return actor

    return make


Kept = tuple[str, type, str]
"""A method of a plain object: how it is called in records, whose it is, its name."""


def watch(record: Record, patch: pytest.MonkeyPatch, store: str, kept: Sequence[Kept]) -> None:
    """Note rows put and dropped by the journal of a store, and calls of these methods."""
    put, drop = Journal.put, Journal.drop

    def noted_put(self: Journal, kind: str, id_: bytes, *more: Any, **named: Any) -> None:
        if self.store == store:
            record.note(f"put {record.row(kind, id_)}")
        put(self, kind, id_, *more, **named)

    def noted_drop(self: Journal, kind: str, id_: bytes) -> None:
        if self.store == store:
            record.note(f"drop {record.row(kind, id_)}")
        drop(self, kind, id_)

    patch.setattr(Journal, "put", noted_put)
    patch.setattr(Journal, "drop", noted_drop)
    for label, owner, name in kept:
        patch.setattr(owner, name, _noted(record, label, getattr(owner, name)))


def _noted(record: Record, label: str, method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def call(self: Any, *args: Any, **more: Any) -> Any:
        shown = [record.value(arg) for arg in args if _is_place(arg)]
        record.note(" ".join([f"({label})", *shown]))
        return method(self, *args, **more)

    return call


def _is_place(value: Any) -> bool:
    several = isinstance(value, tuple | list) and all(isinstance(it, Piece) for it in value)
    return isinstance(value, SegmentId) or several


def _labelled(name: str, labels: dict[str, str]) -> str:
    shown = ",".join(f"{key}={value}" for key, value in labels.items())
    return f"{name} {shown}".rstrip()
