"""The side of a link towards the key store that it fills: opened for an epoch, given credit."""

from typing import Protocol

from actors.base import Context, Part, handles
from actors.protocol import links
from actors.protocol.common import Drain, Drained
from transport.envelope import Address
from transport.message import Message, local

_ASK_S = 1.0
_ASK_IDLE_S = 10.0


@local
class AskAgain(Message):
    """Time to ask the store whether it wants anything."""


class Link(Protocol):
    """What a kind of link does when its store opens it, gives it credit, or closes it."""

    def idle(self) -> bool:
        """Whether an open link has nothing to do until the store speaks."""
        ...

    def begin(self, epoch: bytes) -> bool:
        """Begin this epoch; false if that cannot be yet, and is tried again."""
        ...

    def go(self) -> None:
        """There may be more credit: use it."""
        ...

    def end(self) -> None:
        """Neither bring nor take anything; harmless without an epoch."""
        ...

    def refuse(self, reason: str) -> None:
        """Count a word that is not taken, and why."""
        ...


class StoreSide(Part):
    """What `key_store/<peer>` of this node says to its link; nothing of it is durable.

    The store opens the link for a datagram epoch, tells it how many octets it may bring (credit),
    and closes it. What the link does then, its kind says in `begin`, `go` and `end`.
    """

    def __init__(self, context: Context, peer: str, link: Link) -> None:
        self.context, self.link = context, link
        self.store = Address(f"key_store/{peer}", context.address.node)
        self.epoch: bytes | None = None
        """Of the store that has opened this link; None while it is closed."""
        self.credit = 0
        self.draining = False
        self._heard = False

    def spend(self, octets: int) -> None:
        """Use up credit."""
        self.credit -= octets

    def ask(self) -> None:
        """Ask every second until heard; later seldom, and only while there is nothing to do.

        An answer may get lost between processes: a link that waits must not wait for ever.
        """
        idle = self.epoch is None or self.link.idle()
        if not self.draining and (idle or not self._heard):
            self.context.tell(self.store, links.AskLink())
        self.context.go_on(_ASK_IDLE_S if self._heard else _ASK_S, AskAgain())

    @handles(links.LinkOpened)
    def on_opened(self, news: links.LinkOpened) -> None:
        """Begin the epoch, or, if it is this one already, take note of the credit."""
        if not self._from_store() or self.draining:
            return
        if news.epoch != self.epoch:
            self._end()
            self._heard = self.link.begin(news.epoch)
            if not self._heard:
                return
            self.epoch = news.epoch
        self._heard = True
        self.credit = max(0, news.credit)
        self.link.go()

    @handles(links.LinkClosed)
    def on_closed(self, _: links.LinkClosed) -> None:
        """End the epoch, and wait for the next."""
        if self._from_store():
            self._heard = True
            self._end()

    @handles(links.Credit)
    def on_credit(self, news: links.Credit) -> None:
        """Bring so much more from now on."""
        if self._from_store() and news.epoch == self.epoch:
            self.credit = max(0, news.octets)
            self.link.go()

    @handles(Drain)
    def on_drain(self, _: Drain) -> Drained:
        """End the epoch, open no other."""
        self.draining = True
        self._end()
        return Drained()

    def _end(self) -> None:
        self.link.end()
        self.epoch, self.credit = None, 0

    def _from_store(self) -> bool:
        if self.context.sender == self.store:
            return True
        self.link.refuse("not_the_store")
        return False
