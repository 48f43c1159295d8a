"""What any actor may be asked, and may answer."""

from transport.message import Message, local, wire

UNDELIVERABLE, CORE_DOWN = "undeliverable", "core_down"
"""Codes of `Failed` for a question that reaches nobody; the second: our own core is away."""


class Refused(Exception):
    """The actor understood and says no: an answer, not a crash."""

    def __init__(self, code: str, why: str = "") -> None:
        super().__init__(why or code)
        self.code = code


@wire("common.failed/1")
class Failed(Message):
    """A question came to nothing; `code` is for programs, `why` for people."""

    code: str
    why: str


@local
class Ping(Message):
    """Are you there, and past your start?"""


@local
class Pong(Message):
    """Yes."""


@local
class TimedOut(Message):
    """A question went unanswered; an actor says this to itself."""

    token: int


@local
class Committed(Message):
    """The rows handed over under this token, and all before them, are durable."""

    token: int


@local
class Died(Message):
    """An actor has crashed; its supervisor hears of it."""

    name: str
    why: str


@local
class Drain(Message):
    """Finish what is open, take nothing new; the answer says that it is done."""


@local
class Drained(Message):
    """Nothing is open any more."""


@local
class Health(Message):
    """How are you?"""


@local
class Healthy(Message):
    """Ready to serve or not, and every reason why not; `facts` are name and value.

    `waits`: what other nodes keep this actor waiting for. That is no reason to be not ready: all
    that can be done here is done.
    """

    ready: bool
    reasons: tuple[str, ...]
    facts: tuple[tuple[str, str], ...] = ()
    waits: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Fail where it is made, not where it is read: actors of other packages say it as well."""
        pairs = {(type(it), len(it)) for it in self.facts} <= {(tuple, 2)}
        texts = [*self.reasons, *self.waits, *(text for it in self.facts for text in it)]
        kinds: list[type] = [type(self.ready), *map(type, texts)]
        if not pairs or kinds != [bool, *[str] * len(texts)]:
            raise TypeError("Healthy is true or false, reasons, pairs of name and value, waits")
