"""A pair of QKD devices in memory that give streams of key: both give the same chunk by its index.

It stands behind `etsi004` modules in place of TLS; what it does wrong, a test says.
"""

import random
from collections.abc import Callable
from uuid import UUID

from actors.modules.devices.device import Device, DeviceError
from actors.modules.devices.seen import Seen
from actors.modules.etsi004.desk import Desk
from actors.modules.etsi004.talk import (
    Answer,
    Chunk,
    Chunks,
    Close,
    Closed,
    NamedKeys,
    NewKeys,
    Open,
    Opened,
    Request,
)
from actors.modules.module import Role
from protokms.testing.agenda import Agenda, Call
from tests.kit.twin_devices import Asker
from transport.message import Secret

CHUNK = 32
PER_ANSWER = 64
Wrong = Callable[[Request, Answer], Answer]
"""Makes another answer of a true one, or raises `DeviceError`."""


class TwinStreams:
    """Both devices, and the modules that ask them; `rate` is in chunks a second, of all streams."""

    def __init__(self, roles: tuple[Role, Role] = ("sender", "receiver"), rate: float = 50) -> None:
        self._agenda: Agenda | None = None
        self._early: list[Call] = []
        self.roles, self.rate = roles, rate
        self.dice = random.Random(1)
        self.answer_s = 0.01
        self.asked: list[tuple[int, Request]] = []
        """What was asked of which of the two, in order."""
        self.wrong: list[Wrong] = [_nothing, _nothing]
        self.repeats = False
        """Whether both give one chunk again, as another, with each answer."""
        self.streams: dict[UUID, dict[int, bytes]] = {}
        self.open: tuple[set[UUID], set[UUID]] = set(), set()
        self.gone: set[UUID] = set()
        """Streams that have ended: neither end can open them again."""
        self._taken = 0
        self._seen = [Seen(bytes(32)), Seen(bytes(32))]

    def join(self, agenda: Agenda) -> None:
        """Live in the time of a cluster; what was asked while it was made is answered now."""
        self._agenda = agenda
        for call in self._early:
            agenda.later(self.answer_s, call)

    def later(self, call: Call) -> None:
        """Do this when an answer takes its time."""
        if self._agenda:
            self._agenda.later(self.answer_s, call)
        else:
            self._early.append(call)

    def __call__(self, **_: object) -> "TwinStreams":
        """Be the one link of a network."""
        return self

    def sender(self) -> Device[Request, Answer]:
        """Make the module of the first end."""
        return self._made(0)

    def receiver(self) -> Device[Request, Answer]:
        """Make the module of the other."""
        return self._made(1)

    def _made(self, end: int) -> Device[Request, Answer]:
        role = self.roles[end]
        return Device(role, Desk(role, self._seen[end], self.dice.randbytes), Asker(self, end))

    def forget(self, end: int) -> None:
        """Start one of the two anew, with no stream open."""
        self.open[end].clear()

    def answer(self, end: int, request: Request) -> Answer:
        """Do what is asked of one of the two; `DeviceError` as over TLS."""
        self.asked.append((end, request))
        return self.wrong[end](request, self._answer(end, request))

    def _answer(self, end: int, request: Request) -> Answer:
        if isinstance(request, Open):
            return self._open(end, request.stream)
        if isinstance(request, Close):
            if request.stream in self.open[end]:
                self.gone.add(request.stream)
            self.open[end].discard(request.stream)
            return Closed()
        stream = request.stream
        alone = isinstance(request, NewKeys) and stream not in self.open[1 - end]
        if alone or stream not in self.open[end]:
            raise DeviceError("no_peer", "it answers 3: the peer application is not connected")
        made = self.streams[stream]
        if isinstance(request, NamedKeys):
            found = [Chunk(it, Secret(made[it])) for it in request.indexes if it in made]
            return Chunks(tuple(found[:PER_ANSWER]))
        return Chunks(tuple(self._new(request, made)))

    def _open(self, end: int, stream: UUID | None) -> Opened:
        if stream is None:
            stream = UUID(bytes=self.dice.randbytes(16), version=4)
        elif stream in self.open[end] or stream in self.gone:
            raise DeviceError("in_use", "it answers 5: the stream id is in use")
        self.open[end].add(stream)
        self.streams.setdefault(stream, {})
        return Opened(stream, CHUNK)

    def _new(self, request: NewKeys, made: dict[int, bytes]) -> list[Chunk]:
        now = self._agenda.now if self._agenda else 0.0
        number = min(request.number, PER_ANSWER, int(now * self.rate) - self._taken)
        self._taken += max(0, number)
        found = []
        old = [it for one in self.streams.values() for it in one.values()] if self.repeats else []
        if number > 0 and old:
            made[request.first] = self.dice.choice(old)
        for index in range(request.first, request.first + max(0, number)):
            octets = made.setdefault(index, self.dice.randbytes(CHUNK))
            found.append(Chunk(index, Secret(octets)))
        return found


def _nothing(_: Request, answer: Answer) -> Answer:
    return answer


def always(kind: str, text: str, *requests: type[Request]) -> Wrong:
    """Fail at whatever is asked, or at such requests alone."""

    def made(request: Request, answer: Answer) -> Answer:
        if requests and not isinstance(request, requests):
            return answer
        raise DeviceError(kind, text)

    return made


def only(kind: type[Request], wrong: Callable[[Chunks], Chunks]) -> Wrong:
    """Make another answer of those with chunks to requests of one kind."""

    def made(request: Request, answer: Answer) -> Answer:
        good = isinstance(request, kind) and isinstance(answer, Chunks) and answer.chunks
        return wrong(answer) if good and isinstance(answer, Chunks) else answer

    return made
