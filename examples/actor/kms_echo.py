"""An actor in one file, with wire words of its own: how long is the way to another KMS and back?

Each node that has it answers the others; `/health` of a node tells what it has seen.
"""

from functools import partial
from typing import Annotated

from msgspec import Meta, Struct

from actors.base import Actor, System, handles
from actors.protocol.common import Failed, Health, Healthy
from actors.runtime.own import OwnActor
from transport.envelope import Address
from transport.message import Message, local, wire

ANSWER_S = 5.0


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[actor.options]`: whom to ask, and how often."""

    peers: Annotated[list[str], Meta(max_length=64, description="write names of KMSs")] = []
    every_s: Annotated[float, Meta(ge=0.1, le=3_600, description="write 0.1 to 3,600 s")] = 10.0


@wire("echo.ask/1")
class Ask(Message):
    """Are you there?"""

    number: int


@wire("echo.heard/1")
class Heard(Message):
    """Yes, I have heard this number."""

    number: int


@local
class Round(Message):
    """Time to ask all of them."""


class Echo(Actor):
    """Asks each peer in turn, and answers whoever asks."""

    def __init__(self, system: System, name: str, options: Options) -> None:
        super().__init__(system, name)
        self._options, self._number = options, 0
        self._seen: dict[str, str] = {}

    def started(self) -> None:
        """Begin at once."""
        self.go_on(0.0, Round())

    @handles(Round)
    def round(self, _: Round) -> None:
        """Ask; the actor of the same name at the peer answers."""
        if self.sender != self.address:
            return
        self._number += 1
        for peer in self._options.peers:
            then = partial(self._answered, peer, self._number, self.system.now())
            to = Address(self.address.name, peer)
            self.ask(to, Ask(number=self._number), then, ANSWER_S)
        self.go_on(self._options.every_s, Round())

    def _answered(self, peer: str, number: int, since: float, answer: Message) -> None:
        if isinstance(answer, Heard) and answer.number == number:
            self._seen[peer] = f"{1e3 * (self.system.now() - since):.1f} ms"
        else:  # `refused` if the peer has no such actor, `timeout`, `undeliverable`
            self._seen[peer] = answer.code if isinstance(answer, Failed) else "nonsense"

    @handles(Ask)
    def asked(self, question: Ask) -> Heard:
        """Answer a peer."""
        return Heard(number=question.number)

    @handles(Health)
    def health(self, _: Health) -> Healthy:
        """Tell what was seen; nothing of it makes a node unready."""
        return Healthy(ready=True, reasons=(), facts=tuple(sorted(self._seen.items())), waits=())


def factory(options: Options) -> OwnActor:
    """Return how to make it: peers may say `Ask`, since it handles that, and answer `Heard`."""
    return OwnActor(Echo, (options,), answers=(Heard,))
