"""The quantum link: stands between a QKD module and the key store that its bits are for."""

from collections.abc import Callable
from types import TracebackType

from actors.base import Actor, System, handles
from actors.modules.module import Arrived, Bits, Broken, Host, Module, ModuleFailed, ModuleNotReady
from actors.protocol import links
from actors.protocol.common import Drain, Drained, Health, Healthy
from transport.envelope import Address
from transport.message import Message, local

_ASK_S = 1.0
_ASK_IDLE_S = 10.0


@local
class Tick(Message):
    """Time for the module's next rounds; `turn` tells a tick of an earlier opening."""

    turn: int


@local
class AskAgain(Message):
    """Time to ask the store whether it wants anything."""


class QuantumLink(Actor):
    """One end of one quantum link; it holds nothing durable.

    The store of the same peer, `key_store/<peer>` of this node, opens it for a datagram epoch
    and closes it. At the sender's end the store is told of bits before they leave; at the
    receiver's end, of those that came in. `make_module` makes one end of a module (see
    docs/modules.md), afresh for each life of the actor.
    """

    def __init__(
        self, system: System, name: str, peer: str, make_module: Callable[[], Module]
    ) -> None:
        super().__init__(system, name)
        self._store = Address(f"key_store/{peer}", system.node)
        self._host = Host(system, self.address, peer)
        self._module = make_module()
        self._epoch: bytes | None = None
        self._credit = 0
        self._turn = 0
        self._ticking = self._heard = self._draining = False

    def started(self) -> None:
        """Take hold of the module, then ask the store."""
        self._module.start(self._host)
        self.ask_again(AskAgain())

    def stopped(self) -> None:
        """Let go of the module."""
        self._module.stop()

    def on_failure(
        self,
        exception_type: type[BaseException] | None,
        exception_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let go of the module, or the fresh actor finds its port in use."""
        try:
            self._module.stop()
        finally:
            super().on_failure(exception_type, exception_value, traceback)

    # What the store says

    @handles(AskAgain)
    def ask_again(self, _: AskAgain) -> None:
        """Ask every second until heard; later seldom, and only while there is nothing to do.

        An answer may get lost between processes: a link that waits must not wait for ever.
        """
        idle = self._epoch is None or (self._module.role == "sender" and not self._credit)
        if not self._draining and (idle or not self._heard):
            self.tell(self._store, links.AskLink())
        self.go_on(_ASK_IDLE_S if self._heard else _ASK_S, AskAgain())

    @handles(links.LinkOpened)
    def opened(self, news: links.LinkOpened) -> None:
        """Begin the epoch, or, if it is this one already, take note of the credit."""
        if not self._from_store() or self._draining:
            return
        if news.epoch != self._epoch:
            self._close()
            try:
                self._module.open(news.epoch)
            except ModuleNotReady as why:
                self._heard = False
                self.log.warning("quantum_link_not_ready", why=str(why))
                return
            self._epoch = news.epoch
            self._host.gauge("open", 1)
            self.log.info("quantum_link_opened", role=self._module.role)
        self._heard = True
        self._resume(news.credit)

    @handles(links.LinkClosed)
    def closed(self, _: links.LinkClosed) -> None:
        """Neither emit nor take."""
        if self._from_store():
            self._heard = True
            self._close()

    @handles(links.Credit)
    def credit(self, news: links.Credit) -> None:
        """Emit so much more from now on."""
        if self._from_store() and news.epoch == self._epoch:
            self._resume(news.octets)

    # What the module says

    @handles(Tick)
    def tick(self, due: Tick) -> None:
        """Let the module emit what is due, then wait; without credit, wait for credit."""
        if due.turn != self._turn or self.sender != self.address:
            return
        for bits in self._module.tick(self._credit):
            self._emit(bits)
        self._ticking = False
        self._resume(self._credit)

    @handles(Arrived)
    def arrived(self, news: Arrived) -> None:
        """Pass on what came in, as far as it is good."""
        if news.life != self._host.life or self.sender != self.address:
            return
        for bits in self._module.take(news.datagrams):
            if self._module.role == "sender":
                self._emit(bits)
            else:
                self._receive(bits)

    @handles(Broken)
    def broken(self, news: Broken) -> None:
        """Crash: a fresh link and module are the cure."""
        if news.life == self._host.life and self.sender == self.address:
            raise ModuleFailed(news.why)

    # What the node says

    @handles(Drain)
    def drain(self, _: Drain) -> Drained:
        """End the epoch, open no other."""
        self._draining = True
        self._close()
        return Drained()

    @handles(Health)
    def health(self, _: Health) -> Healthy:
        """Ready, and waiting while closed; a lack of credit is the store's news, not a fault."""
        waits = () if self._epoch else ("closed: the key stores have not resumed",)
        facts = (("role", self._module.role), ("credit_octets", str(self._credit)))
        return Healthy(ready=True, reasons=(), facts=facts, waits=waits)

    def _from_store(self) -> bool:
        if self.sender == self._store:
            return True
        self._host.count("refused", reason="not_the_store")
        return False

    def _close(self) -> None:
        self._turn += 1
        self._ticking = False
        if self._epoch is not None:
            self._epoch, self._credit = None, 0
            self._module.close()
            self._host.gauge("open", 0)
            self.log.info("quantum_link_closed")

    def _resume(self, credit: int) -> None:
        self._credit = max(0, credit)
        tick_s = self._module.tick_s
        if self._credit and tick_s is not None and not self._ticking:
            self._ticking = True
            self.remind(tick_s, Tick(turn=self._turn))

    def _emit(self, bits: Bits) -> None:
        octets = bits.octets
        if self._epoch is None or octets > self._credit:
            self._host.count("dropped", len(bits.seqs), reason="no_credit")
            return
        self._credit -= octets
        # First the store, then the world: a peer must never name bits that are unknown here.
        news = links.Emitted(epoch=self._epoch, first=bits.seqs[0], payloads=bits.payloads)
        self.tell(self._store, news)
        self._module.release(bits)
        self._note("sent", bits, octets)

    def _receive(self, bits: Bits) -> None:
        if self._epoch is None:
            return
        news = links.Received(epoch=self._epoch, seqs=tuple(bits.seqs), payloads=bits.payloads)
        self.tell(self._store, news)
        self._note("received", bits, bits.octets)

    def _note(self, way: str, bits: Bits, octets: int) -> None:
        self._host.count("datagrams", len(bits.seqs), way=way)
        self._host.count("octets", octets, way=way)
