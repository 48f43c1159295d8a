"""What two processes of one node say to each other before anything else."""

from transport.message import Message, Secret, local


@local
class Hello(Message):
    """The first word after *up*, both ways: who this is, of which release, and what it runs.

    `seal` is octets of no meaning: whoever opens them has the same seal for this pair.
    """

    process: str
    version: str
    actors: tuple[str, ...]
    seal: Secret


@local
class Welcome(Message):
    """The answer, if all that fits: from now on the two talk."""

    version: str


@local
class SayAgain(Message):
    """Time to say `Hello` again to a process that has not answered; said to oneself."""

    process: str
    turn: int


@local
class Lost(Message):
    """Core is not heard any more: who asked it has no answer. Said by `greeter/<process>`."""


@local
class ProcessUp(Message):
    """A process of this node has been greeted: what runs there at run time is to be said anew."""

    process: str


@local
class AskProcess(Message):
    """Core asks a process how it is."""


@local
class ProcessStatus(Message):
    """Where it runs, of which release, and what its actors have been through.

    `mailbox` is how many messages wait for them all; `last_error` the last death, empty if none.
    """

    process: str
    host: str
    version: str
    actors: tuple[str, ...]
    deaths: int
    mailbox: int
    last_error: str
