"""A pair of QKD devices in memory that give streams of key: both give the same chunk by its index.

It stands behind `etsi004` modules in place of TLS; what it does wrong, a test says.
"""

from collections.abc import Callable
from uuid import UUID

from actors.modules.devices.device import DeviceError
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
from tests.kit.twins import Pair
from transport.message import Secret

CHUNK = 32
PER_ANSWER = 64
Wrong = Callable[[Request, Answer], Answer]
"""Makes another answer of a true one, or raises `DeviceError`."""


class TwinStreams(Pair[Request, Answer]):
    """Both devices, and the modules that ask them; `rate` is in chunks a second, of all streams."""

    def __init__(self, roles: tuple[Role, Role] = ("sender", "receiver"), rate: float = 50) -> None:
        super().__init__(roles, rate)
        self.streams: dict[UUID, dict[int, bytes]] = {}
        self.open: tuple[set[UUID], set[UUID]] = set(), set()
        self.gone: set[UUID] = set()
        """Streams that have ended: neither end can open them again."""

    def _desk(self, end: int) -> Desk:
        return Desk(self.roles[end], self.seen[end], self.dice.randbytes)

    def forget(self, end: int) -> None:
        """Start one of the two anew, with no stream open."""
        self.open[end].clear()

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
        number = min(request.number, PER_ANSWER, self.ready())
        self.taken += max(0, number)
        found = []
        old = [it for one in self.streams.values() for it in one.values()] if self.repeats else []
        if number > 0 and old:
            made[request.first] = self.dice.choice(old)
        for index in range(request.first, request.first + max(0, number)):
            octets = made.setdefault(index, self.dice.randbytes(CHUNK))
            found.append(Chunk(index, Secret(octets)))
        return found


def only(kind: type[Request], wrong: Callable[[Chunks], Chunks]) -> Wrong:
    """Make another answer of those with chunks to requests of one kind."""

    def made(request: Request, answer: Answer) -> Answer:
        good = isinstance(request, kind) and isinstance(answer, Chunks) and answer.chunks
        return wrong(answer) if good and isinstance(answer, Chunks) else answer

    return made
