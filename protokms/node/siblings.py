"""The other processes of a node that this one talks to: who has been greeted, and who has not.

`Hello` is the first frame after *up*, both ways. Until it is answered nothing else passes, in
neither direction; another release than ours is refused with both versions.
"""

import itertools
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from actors.protocol.common import Failed
from actors.protocol.roles import GREETER
from actors.protocol.siblings import Hello, SayAgain, Welcome
from protokms.config.sections import CORE
from transport.codec import Sealer, encode
from transport.envelope import Address, Envelope
from transport.message import Message, Secret
from transport.outbox import destination

OTHER_RELEASE = "other_release"
AGAIN_S = 1.0
_PROOF_OCTETS = 16


@dataclass(frozen=True, slots=True)
class Own:
    """Who says `Hello`."""

    node: str
    process: str
    version: str
    actors: tuple[str, ...]

    @property
    def address(self) -> Address:
        """Where the greeter of this process is."""
        return Address(f"{GREETER}/{self.process}", self.node)


class Siblings:
    """Greets the processes in `sealers` as `greeter/<process>`, which is no actor.

    All but `greeted` and `troubles` is called on the stage.

    `post` sends octets to a destination, `after` delivers an envelope later, and `changed` hears
    that a process has been greeted both ways, or is lost; `unfit` hears of one that never will be.
    """

    def __init__(
        self,
        own: Own,
        sealers: Mapping[str, Sealer],
        *,
        post: Callable[[str, bytes], bool],
        after: Callable[[float, Envelope], object],
        changed: Callable[[str, bool], None],
        unfit: Callable[[str, str], None],
    ) -> None:
        self._own, self._sealers = own, sealers
        self._post, self._after = post, after
        self._changed, self._unfit = changed, unfit
        self._tokens = itertools.count(secrets.randbits(62))
        self._turns: dict[str, int] = {}
        """Of the processes that are up: which time that is."""
        self._asked: dict[str, int] = {}
        self._welcome: dict[str, None] = {}
        self._heard: dict[str, None] = {}
        self._why: dict[str, str] = {}
        self._log = structlog.get_logger().bind(node=own.node, process=own.process)

    # Any thread

    def greeted(self, process: str) -> bool:
        """Whether both have heard `Hello`, and answered it."""
        return process in self._welcome and process in self._heard

    def troubles(self) -> Sequence[str]:
        """Return why processes are not talked to; an edge says it of core, too, if that is away."""
        found = [f"process {name}: {why}" for name, why in self._why.items()]
        if self._own.process != CORE and not self.greeted(CORE) and not found:
            found.append("process core: it is not up")
        return found

    # On the stage

    def news(self, process: str, up: bool) -> None:
        """Hear that a process is up, or down."""
        was = self.greeted(process)
        self._welcome.pop(process, None)
        self._heard.pop(process, None)
        self._asked.pop(process, None)
        if up:
            self._turns[process] = self._turns.get(process, 0) + 1
            self._say(process)
            return
        self._turns[process] = self._turns.get(process, 0) + 1  # who waits to say it again does not
        if was:
            self._changed(process, False)

    def admits(self, process: str, envelope: Envelope) -> bool:
        """Tell whether this may be heard already."""
        return process in self._heard or envelope.to == self._own.address

    def send(self, process: str, octets: bytes) -> bool:
        """Send a frame of an actor; false, as if it could not be queued, before the greeting."""
        return process in self._welcome and self._post(self._name(process), octets)

    def refused(self, process: str, reason: str) -> None:
        """Hear that a frame of a process was refused at the door."""
        if reason == "seal":
            self._trouble(process, "its seal is not ours: both must name the same key")

    def tell(self, envelope: Envelope) -> None:
        """Take what is addressed to the greeter."""
        process, body = envelope.sender.name.partition("/")[2], envelope.body
        if isinstance(body, SayAgain):
            if envelope.sender == self._own.address and self._turns.get(body.process) == body.turn:
                self._say(body.process)
        elif envelope.answer:
            if envelope.token == self._asked.get(process):
                self._answered(process, body)
        elif isinstance(body, Hello) and process in self._turns:
            self._hear(process, body, envelope)

    def _hear(self, process: str, hello: Hello, envelope: Envelope) -> None:
        mine, theirs = self._own.version, hello.version
        if theirs != mine:
            why = f"{process} has release {theirs[:40]}, {self._own.process} has {mine}"
            self._trouble(process, why)
            self._tell(process, Failed(code=OTHER_RELEASE, why=why), envelope.token, answer=True)
            return
        self._heard[process] = None
        self._tell(process, Welcome(version=mine), envelope.token, answer=True)
        self._look(process)

    def _answered(self, process: str, body: Message) -> None:
        if isinstance(body, Welcome) and body.version == self._own.version:
            self._welcome[process] = None
            self._look(process)
        elif isinstance(body, Failed):
            self._trouble(process, f"it refuses us: {body.why[:160]}")

    def _look(self, process: str) -> None:
        if self.greeted(process):
            self._asked.pop(process, None)
            self._why.pop(process, None)
            self._changed(process, True)

    def _say(self, process: str) -> None:
        """Say `Hello`, and again until the greeting is over: a word may get lost."""
        turn = self._turns[process]
        if self.greeted(process):
            return
        own, token = self._own, next(self._tokens)
        self._asked[process] = token
        seal = Secret(secrets.token_bytes(_PROOF_OCTETS))
        hello = Hello(process=own.process, version=own.version, actors=own.actors, seal=seal)
        self._tell(process, hello, token)
        again = SayAgain(process=process, turn=turn)
        self._after(AGAIN_S, Envelope(own.address, own.address, again))

    def _tell(self, process: str, body: Message, token: int, *, answer: bool = False) -> None:
        to = Address(f"{GREETER}/{process}", self._own.node)
        envelope = Envelope(self._own.address, to, body, token, answer)
        self._post(self._name(process), encode(envelope, self._sealers[process]))

    def _trouble(self, process: str, why: str) -> None:
        """Note why a process is not talked to; one that is greeted is, whatever it says (R19)."""
        if not self.greeted(process) and self._why.get(process) != why:
            self._why[process] = why
            self._log.error("process_refused", other=process, why=why)
            self._unfit(process, why)

    def _name(self, process: str) -> str:
        return destination(self._own.node, process)
