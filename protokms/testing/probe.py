"""Standing in for an actor: what is said to it, and what it shall say."""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from transport.envelope import Address, Envelope
from transport.message import Message

if TYPE_CHECKING:
    from protokms.testing.cluster import Cluster

M = TypeVar("M", bound=Message)
Reply = Message | Callable[[Message], Message | None]


class Probe:
    """Stands under an actor's name: keeps every message, and answers as it was told to.

    It survives a crash of its node, unlike an actor.
    """

    def __init__(self, cluster: "Cluster", address: Address) -> None:
        self.address = address
        self.envelopes: list[Envelope] = []
        self._cluster = cluster
        self._replies: dict[type[Message], Reply] = {}
        self._token = 0

    @property
    def received(self) -> list[Message]:
        """Every message so far, oldest first."""
        return [envelope.body for envelope in self.envelopes]

    def of(self, kind: type[M]) -> list[M]:
        """Return the messages of one type, oldest first."""
        return [envelope.body for envelope in self.envelopes if isinstance(envelope.body, kind)]

    def clear(self) -> None:
        """Forget what came so far."""
        self.envelopes.clear()

    def on(self, kind: type[M], reply: Message | Callable[[M], Message | None]) -> None:
        """Answer this kind of message so: to a question as its answer, to a tell as a tell."""
        self._replies[kind] = reply  # type: ignore[assignment]

    def say(self, to: str | Address, body: Message) -> None:
        """Tell somebody something."""
        self._send(self._address(to), body, 0)

    def question(self, to: str | Address, body: Message) -> int:
        """Ask somebody; the answer will be among `envelopes`, with the token returned here."""
        self._token += 1
        self._send(self._address(to), body, self._token)
        return self._token

    def tell(self, envelope: Envelope) -> None:
        """Take a message: what the cluster calls."""
        self.envelopes.append(envelope)
        reply = None if envelope.answer else self._replies.get(type(envelope.body))
        body = reply if isinstance(reply, Message) or reply is None else reply(envelope.body)
        if body is not None:
            self._send(envelope.sender, body, envelope.token, answer=bool(envelope.token))

    def _address(self, to: str | Address) -> Address:
        return to if isinstance(to, Address) else Address.parse(to)

    def _send(self, to: Address, body: Message, token: int, *, answer: bool = False) -> None:
        system = self._cluster.nodes[self.address.node]
        system.send(Envelope(self.address, to, body, token, answer))
