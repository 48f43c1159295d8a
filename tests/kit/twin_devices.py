"""A pair of QKD devices in memory: what one gives, the other gives under the same key_ID, once.

It stands behind `etsi014` modules in place of HTTPS; what it does wrong, a test says.
"""

from collections.abc import Callable

from actors.modules.devices.device import DeviceError, DeviceKey
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
from tests.kit.twins import Pair
from transport.message import Secret

KEY_OCTETS = 32
STORED_MAX = 10_000
Wrong = Callable[[Request, Answer], Answer]
"""Makes another answer of a true one, or raises `DeviceError`."""


class Twins(Pair[Request, Answer]):
    """Both devices, and the modules that ask them; `rate` is in keys a second."""

    def __init__(self, roles: tuple[Role, Role] = ("sender", "receiver"), rate: float = 50) -> None:
        super().__init__(roles, rate)
        self.given: dict[str, bytes] = {}
        """Every key that was ever given, by its key_ID."""
        self._theirs: tuple[dict[str, bytes], dict[str, bytes]] = {}, {}

    def _desk(self, end: int) -> Desk:
        return Desk(self.roles[end], self.seen[end])

    def forget(self, end: int) -> None:
        """Start one of the two anew, with nothing in store."""
        self._theirs[end].clear()

    def _answer(self, end: int, request: Request) -> Answer:
        stored = min(STORED_MAX, self.ready())
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
        self.taken += request.number
        self.given |= made
        self._theirs[1 - end].update(made)
        return Container(tuple(DeviceKey(it, Secret(octets)) for it, octets in made.items()))


def only(kind: type[Request], wrong: Callable[[Container], Container]) -> Wrong:
    """Make another answer of those with keys to requests of one kind."""

    def made(request: Request, answer: Answer) -> Answer:
        good = isinstance(request, kind) and isinstance(answer, Container)
        return wrong(answer) if good and isinstance(answer, Container) else answer

    return made
