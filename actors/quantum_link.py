"""The quantum link: stands between a QKD module and the key store that its bits are for."""

from collections.abc import Callable
from types import TracebackType

from actors.base import System, handles
from actors.link import AskAgain, Link
from actors.modules.module import Arrived, Bits, Broken, Host, Module, ModuleFailed, ModuleNotReady
from actors.protocol import links
from actors.protocol.common import Health, Healthy
from transport.message import Message, local


@local
class Tick(Message):
    """Time for the module's next rounds; `turn` tells a tick of an earlier opening."""

    turn: int


class QuantumLink(Link):
    """One end of one quantum link.

    At the sender's end the store is told of bits before they leave; at the receiver's end, of
    those that came in. `make_module` makes one end of a module (see docs/modules.md), afresh for
    each life of the actor.
    """

    def __init__(
        self, system: System, name: str, peer: str, make_module: Callable[[], Module]
    ) -> None:
        super().__init__(system, name, peer)
        self._host = Host(system, self.address, peer)
        self._module = make_module()
        self._turn = 0
        self._ticking = False

    def started(self) -> None:
        """Take hold of the module, then ask the store."""
        self._module.start(self._host)
        self.on_ask_again(AskAgain())

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

    def idle(self) -> bool:
        """Closed; or a sender without credit."""
        return super().idle() or (self._module.role == "sender" and not self.credit)

    def begin(self, epoch: bytes) -> bool:
        """Open the module; false if its other end, or its device, is not ready."""
        try:
            self._module.open(epoch)
        except ModuleNotReady as why:
            self.log.warning("quantum_link_not_ready", why=str(why))
            return False
        self._host.gauge("open", 1)
        self.log.info("quantum_link_opened", role=self._module.role)
        return True

    def go(self) -> None:
        """Let the module emit when its next round is due."""
        tick_s = self._module.tick_s
        if self.credit and tick_s is not None and not self._ticking:
            self._ticking = True
            self.remind(tick_s, Tick(turn=self._turn))

    def end(self) -> None:
        """Close the module."""
        self._turn += 1
        self._ticking = False
        if self.epoch is not None:
            self._module.close()
            self._host.gauge("open", 0)
            self.log.info("quantum_link_closed")
        super().end()

    def refuse(self, reason: str) -> None:
        """Count a word from somebody else."""
        self._host.count("refused", reason=reason)

    # What the module says

    @handles(Tick)
    def tick(self, due: Tick) -> None:
        """Let the module emit what is due, then wait; without credit, wait for credit."""
        if due.turn != self._turn or self.sender != self.address:
            return
        for bits in self._module.tick(self.credit):
            self._emit(bits)
        self._ticking = False
        self.go()

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

    @handles(Health)
    def health(self, _: Health) -> Healthy:
        """Ready, and waiting while closed; a lack of credit is the store's news, not a fault."""
        waits = () if self.epoch else ("closed: the key stores have not resumed",)
        facts = (("role", self._module.role), ("credit_octets", str(self.credit)))
        return Healthy(ready=True, reasons=(), facts=facts, waits=waits)

    def _emit(self, bits: Bits) -> None:
        octets = bits.octets
        if self.epoch is None or octets > self.credit:
            self._host.count("dropped", len(bits.seqs), reason="no_credit")
            return
        self.credit -= octets
        # First the store, then the world: a peer must never name bits that are unknown here.
        news = links.Emitted(epoch=self.epoch, first=bits.seqs[0], payloads=bits.payloads)
        self.tell(self.store, news)
        self._module.release(bits)
        self._note("sent", bits, octets)

    def _receive(self, bits: Bits) -> None:
        if self.epoch is None:
            return
        news = links.Received(epoch=self.epoch, seqs=tuple(bits.seqs), payloads=bits.payloads)
        self.tell(self.store, news)
        self._note("received", bits, bits.octets)

    def _note(self, way: str, bits: Bits, octets: int) -> None:
        self._host.count("datagrams", len(bits.seqs), way=way)
        self._host.count("octets", octets, way=way)
