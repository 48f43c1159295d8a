"""What a link is towards the key store that it fills: opened for an epoch, and given credit."""

from actors.base import Actor, System, handles
from actors.protocol import links
from actors.protocol.common import Drain, Drained
from transport.envelope import Address
from transport.message import Message, local

_ASK_S = 1.0
_ASK_IDLE_S = 10.0


@local
class AskAgain(Message):
    """Time to ask the store whether it wants anything."""


class Link(Actor):
    """One end of what brings octets into `key_store/<peer>` of this node; nothing of it is durable.

    The store opens it for a datagram epoch, tells it how many octets it may bring (credit), and
    closes it. A kind of link says in `begin`, `go` and `end` what it does then.
    """

    def __init__(self, system: System, name: str, peer: str) -> None:
        super().__init__(system, name)
        self.store = Address(f"key_store/{peer}", system.node)
        self.epoch: bytes | None = None
        """Of the store that has opened this link; None while it is closed."""
        self.credit = 0
        self.draining = False
        self._heard = False

    def idle(self) -> bool:
        """Whether there is nothing to do until the store speaks."""
        return self.epoch is None

    def begin(self, epoch: bytes) -> bool:
        """Begin this epoch; false if that cannot be yet, and is tried again."""
        raise NotImplementedError

    def go(self) -> None:
        """There may be more credit: use it."""

    def end(self) -> None:
        """Neither bring nor take anything; harmless without an epoch."""
        self.epoch, self.credit = None, 0

    def refuse(self, reason: str) -> None:
        """Count a word that is not taken, and why."""
        raise NotImplementedError

    @handles(AskAgain)
    def on_ask_again(self, _: AskAgain) -> None:
        """Ask every second until heard; later seldom, and only while there is nothing to do.

        An answer may get lost between processes: a link that waits must not wait for ever.
        """
        if not self.draining and (self.idle() or not self._heard):
            self.tell(self.store, links.AskLink())
        self.go_on(_ASK_IDLE_S if self._heard else _ASK_S, AskAgain())

    @handles(links.LinkOpened)
    def on_opened(self, news: links.LinkOpened) -> None:
        """Begin the epoch, or, if it is this one already, take note of the credit."""
        if not self._from_store() or self.draining:
            return
        if news.epoch != self.epoch:
            self.end()
            self._heard = self.begin(news.epoch)
            if not self._heard:
                return
            self.epoch = news.epoch
        self._heard = True
        self.credit = max(0, news.credit)
        self.go()

    @handles(links.LinkClosed)
    def on_closed(self, _: links.LinkClosed) -> None:
        """End the epoch, and wait for the next."""
        if self._from_store():
            self._heard = True
            self.end()

    @handles(links.Credit)
    def on_credit(self, news: links.Credit) -> None:
        """Bring so much more from now on."""
        if self._from_store() and news.epoch == self.epoch:
            self.credit = max(0, news.octets)
            self.go()

    @handles(Drain)
    def on_drain(self, _: Drain) -> Drained:
        """End the epoch, open no other."""
        self.draining = True
        self.end()
        return Drained()

    def _from_store(self) -> bool:
        if self.sender == self.store:
            return True
        self.refuse("not_the_store")
        return False
