"""A pair of QKD devices in memory: what one gives, the other gives under the same key_ID, once.

It stands behind `etsi014` modules in place of HTTPS; what it does wrong, a test says.
"""

import random
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from actors.modules.devices.device import Device, DeviceError, DeviceKey
from actors.modules.devices.seen import Seen
from actors.modules.etsi014.desk import Desk
from actors.modules.etsi014.talk import (
    Answer,
    Container,
    EncKeys,
    GetStatus,
    Request,
    Status,
)
from actors.modules.module import Role
from protokms.testing.agenda import Agenda, Call
from transport.message import Secret

KEY_OCTETS = 32
STORED_MAX = 10_000
R = TypeVar("R")
A = TypeVar("A")
R_contra = TypeVar("R_contra", contravariant=True)
A_co = TypeVar("A_co", covariant=True)
Wrong = Callable[[Request, Answer], Answer]
"""Makes another answer of a true one, or raises `DeviceError`."""


class Twins:
    """Both devices, and the modules that ask them; `rate` is in keys a second."""

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
        """Whether both give one key again, under another key_ID, with each answer."""
        self.given: dict[str, bytes] = {}
        """Every key that was ever given, by its key_ID."""
        self._theirs: tuple[dict[str, bytes], dict[str, bytes]] = {}, {}
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

    def __call__(self, **_: object) -> "Twins":
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
        return Device(role, Desk(role, self._seen[end]), Asker(self, end))

    def forget(self, end: int) -> None:
        """Start one of the two anew, with nothing in store."""
        self._theirs[end].clear()

    def answer(self, end: int, request: Request) -> Answer:
        """Do what is asked of one of the two; `DeviceError` as over HTTP."""
        self.asked.append((end, request))
        return self.wrong[end](request, self._answer(end, request))

    def _answer(self, end: int, request: Request) -> Answer:
        now = self._agenda.now if self._agenda else 0.0
        stored = min(STORED_MAX, int(now * self.rate) - self._taken)
        if isinstance(request, GetStatus):
            return Status(8 * KEY_OCTETS, stored, 128, 8 * KEY_OCTETS, 64)
        if isinstance(request, EncKeys):
            return self._new(end, request, stored)
        missing = [name for name in request.key_ids if name not in self._theirs[end]]
        if missing:
            raise DeviceError("refused", "it answers 400")
        return Container(
            tuple(DeviceKey(it, Secret(self._theirs[end].pop(it))) for it in request.key_ids)
        )

    def _new(self, end: int, request: EncKeys, stored: int) -> Container:
        if request.number > stored:
            raise DeviceError("unavailable", "it answers 503")
        made = {
            f"{len(self.given) + n:08x}-0000-4000-8000-{end:012}": self.dice.randbytes(
                request.size // 8
            )
            for n in range(request.number)
        }
        if self.repeats and self.given:
            made[next(iter(made))] = self.dice.choice(list(self.given.values()))
        self._taken += request.number
        self.given |= made
        self._theirs[1 - end].update(made)
        return Container(tuple(DeviceKey(it, Secret(octets)) for it, octets in made.items()))


class Answers(Protocol[R_contra, A_co]):
    """A pair of devices: what it answers at one of its ends, and when."""

    def later(self, call: Call) -> None:
        """Do this when an answer takes its time."""
        ...

    def answer(self, end: int, request: R_contra) -> A_co:
        """Do what is asked of one of the two; `DeviceError` as over a network."""
        ...


class Asker(Generic[R, A]):
    """Asks one of the twins, without a thread."""

    def __init__(self, twins: Answers[R, A], end: int) -> None:
        self._twins, self._end = twins, end
        self._stopped = False

    def start(
        self,
        done: Callable[[R, A | DeviceError], None],
        broken: Callable[[BaseException], None],
    ) -> None:
        """Remember who is told."""
        self._done, self._broken = done, broken

    def ask(self, request: R) -> None:
        """Have it answered a little later."""
        self._twins.later(lambda: self._answer(request))

    def stop(self) -> None:
        """Answer nothing any more."""
        self._stopped = True

    def _answer(self, request: R) -> None:
        if self._stopped:
            return
        try:
            answer: A | DeviceError = self._twins.answer(self._end, request)
        except DeviceError as why:
            answer = why
        self._done(request, answer)


def _nothing(_: Request, answer: Answer) -> Answer:
    return answer


def only(kind: type[Request], wrong: Callable[[Container], Container]) -> Wrong:
    """Make another answer of those with keys to requests of one kind."""

    def made(request: Request, answer: Answer) -> Answer:
        good = isinstance(request, kind) and isinstance(answer, Container)
        return wrong(answer) if good and isinstance(answer, Container) else answer

    return made


def always(kind: str, text: str) -> Wrong:
    """Fail at whatever is asked."""

    def made(_: Request, __: Answer) -> Answer:
        raise DeviceError(kind, text)

    return made
