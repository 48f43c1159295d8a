"""Where a process meets its actors: questions from outside, messages as octets."""

import contextlib
import itertools
import secrets
from concurrent.futures import Future, InvalidStateError
from typing import Protocol

from actors.base import Timer
from actors.protocol.common import Failed
from actors.runtime.ports import Put
from transport.codec import decode, encode
from transport.envelope import Address, Envelope
from transport.message import Message

EDGE = "edge"
"""`edge/<process>` asks for callers that are no actors."""


class Sender(Protocol):
    """What the edge needs of a system."""

    def send(self, envelope: Envelope) -> None:
        """Deliver."""
        ...

    def after(self, seconds: float, envelope: Envelope) -> Timer:
        """Deliver later."""
        ...


class Edge:
    """Asks for callers that are no actors: one inbox, a future for each open question."""

    def __init__(self, system: Sender, address: Address) -> None:
        self.address, self._system = address, system
        self._tokens = itertools.count(secrets.randbits(62))
        self._open: dict[int, tuple[Address, Future[Message], Timer]] = {}

    def ask(self, to: Address, body: Message, timeout: float) -> "Future[Message]":
        """Send; the future gets the answer, at the latest a `Failed` after `timeout` seconds."""
        token: int = next(self._tokens)
        late = Failed(code="timeout", why="no answer")
        alarm = self._system.after(timeout, Envelope(to, self.address, late, token, answer=True))
        future: Future[Message] = Future()
        self._open[token] = to, future, alarm
        self._system.send(Envelope(self.address, to, body, token))
        return future

    def tell(self, envelope: Envelope) -> None:
        """Take an answer; only the one asked can give it, and only once."""
        to, future, alarm = self._open.get(envelope.token, (None, None, None))
        if future and alarm and envelope.answer and envelope.sender == to:
            alarm.cancel()
            if self._open.pop(envelope.token, None):
                _settle(future, envelope.body)

    def close(self) -> None:
        """Answer every open question with `Failed`."""
        while self._open:
            _, (_, future, _) = self._open.popitem()
            _settle(future, Failed(code="stopped", why="the process stops"))


class _Plain:
    """A sealer that seals nothing, for octets that never leave the process."""

    def seal(self, octets: bytes) -> bytes:
        return octets

    def open(self, octets: bytes) -> bytes:
        return octets


_PLAIN = _Plain()


def as_octets(put: Put, envelope: Envelope) -> None:
    """Encode and decode a message that stays here, if it could travel; then put it."""
    try:
        octets = encode(envelope, _PLAIN)
    except TypeError:
        put(envelope)
    else:
        put(decode(octets, envelope.sender.node, _PLAIN))  # a peer's word stays a peer's


def _settle(future: "Future[Message]", answer: Message) -> None:
    with contextlib.suppress(InvalidStateError):  # the caller has cancelled it
        future.set_result(answer)
