"""A pair of QKD devices in memory, and the modules that ask them; a test says what is wrong."""

import random
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar

from actors.modules.devices.device import Desk, Device, DeviceError
from actors.modules.devices.seen import Seen
from actors.modules.module import Role
from protokms.testing.agenda import Agenda, Call

R = TypeVar("R")
A = TypeVar("A")


class Pair(ABC, Generic[R, A]):
    """Both devices; `rate` is in keys, or chunks, a second. It is the one link of a network.

    `wrong` makes another answer of a true one at either end, or raises `DeviceError`.
    """

    def __init__(self, roles: tuple[Role, Role] = ("sender", "receiver"), rate: float = 50) -> None:
        self._agenda: Agenda | None = None
        self._early: list[Call] = []
        self.roles, self.rate = roles, rate
        self.dice = random.Random(1)
        self.answer_s = 0.01
        self.asked: list[tuple[int, R]] = []
        """What was asked of which of the two, in order."""
        self.wrong: list[Callable[[R, A], A]] = [well, well]
        self.repeats = False
        """Whether both give again what they gave before, as something else, with each answer."""
        self.taken = 0
        self.seen = [Seen(bytes(32)), Seen(bytes(32))]

    @abstractmethod
    def _desk(self, end: int) -> Desk[R, A]:
        """Make what decides at one end."""

    @abstractmethod
    def _answer(self, end: int, request: R) -> A:
        """Do what is asked of one of the two; `DeviceError` as over a network."""

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

    def ready(self) -> int:
        """Return how much there is that nobody has taken."""
        now = self._agenda.now if self._agenda else 0.0
        return int(now * self.rate) - self.taken

    def __call__(self, **_: object) -> Self:
        """Be the one link of a network."""
        return self

    def sender(self) -> Device[R, A]:
        """Make the module of the first end."""
        return self._made(0)

    def receiver(self) -> Device[R, A]:
        """Make the module of the other."""
        return self._made(1)

    def _made(self, end: int) -> Device[R, A]:
        asker: _Asker[R, A] = _Asker(self, end)
        return Device(self.roles[end], self._desk(end), asker)

    def answer(self, end: int, request: R) -> A:
        """Do what is asked of one of the two, well or wrong; `DeviceError` as over a network."""
        self.asked.append((end, request))
        return self.wrong[end](request, self._answer(end, request))


class _Asker(Generic[R, A]):
    """Asks one of the twins, without a thread."""

    def __init__(self, twins: Pair[R, A], end: int) -> None:
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


def well(_: R, answer: A) -> A:
    """Do nothing wrong."""
    return answer


def always(kind: str, text: str, *requests: type[Any]) -> Callable[[Any, Any], Any]:
    """Fail at whatever is asked, or at such requests alone."""

    def made(request: Any, answer: Any) -> Any:
        if requests and not isinstance(request, requests):
            return answer
        raise DeviceError(kind, text)

    return made
