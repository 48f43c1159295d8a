"""The quantum link: stands between a QKD module and the key store that its bits are for."""

from collections.abc import Callable

from actors.base import Actor, System, handles
from actors.links.store_side import AskAgain, StoreSide
from actors.modules.module import (
    Arrived,
    Bits,
    Broken,
    FetchesKeys,
    Host,
    Measured,
    Module,
    ModuleFailed,
    ModuleNotReady,
)
from actors.protocol import alarms, links
from actors.protocol.common import Health, Healthy
from transport.message import Message, local

_NOT_READY, _QUIET = "link_not_ready", "link_quiet"


@local
class Tick(Message):
    """Time for the module's next rounds; `turn` tells a tick of an earlier opening."""

    turn: int


class QuantumLink(Actor):
    """One end of one quantum link.

    At the sender's end the store is told of bits before they leave; at the receiver's end, of
    those that came in. `make_module` makes one end of a module (see docs/modules.md), afresh for
    each life of the actor.
    """

    parts = (StoreSide,)

    def __init__(
        self, system: System, name: str, peer: str, make_module: Callable[[], Module]
    ) -> None:
        super().__init__(system, name)
        self._host, self._peer = Host(system, self.address, peer), peer
        self._module = make_module()
        self._turn = 0
        self._ticking = False
        self._qber: float | None = None
        self._quiet = ""
        self.store_side = StoreSide(self, peer, link=self)
        self.serve(self.store_side)

    # What befalls a quantum link

    def started(self) -> None:
        """Take hold of the module, then ask the store."""
        self._module.start(self._host)
        self.store_side.ask()

    @handles(AskAgain)
    def on_ask_again(self, _: AskAgain) -> None:
        """Ask the store again."""
        self.store_side.ask()

    def stopped(self) -> None:
        """Let go of the module."""
        self._module.stop()
        for id_ in (_NOT_READY, _QUIET):
            self._alarm(alarms.Ended(id=id_, subject=self._peer))

    def crashed(self) -> None:
        """Let go of the module, or the fresh actor finds its port in use."""
        self._module.stop()

    # What the store says

    def idle(self) -> bool:
        """A sender without credit; a receiver needs none."""
        return self._module.role != "receiver" and not self.store_side.credit

    def begin(self, epoch: bytes) -> bool:
        """Open the module; false if its other end, or its device, is not ready."""
        try:
            self._module.open(epoch)
        except ModuleNotReady as why:
            self.log.warning("quantum_link_not_ready", why=str(why))
            self._alarm(alarms.Raised(id=_NOT_READY, subject=self._peer, text=str(why)))
            return False
        self._alarm(alarms.Ended(id=_NOT_READY, subject=self._peer))
        self._tell_quiet()
        self._host.gauge("open", 1)
        self.log.info("quantum_link_opened", role=self._module.role)
        return True

    def go(self) -> None:
        """Let the module emit when its next round is due."""
        tick_s = self._module.tick_s
        if self.store_side.credit and tick_s is not None and not self._ticking:
            self._ticking = True
            self.remind(tick_s, Tick(turn=self._turn))

    def _alarm(self, news: Message) -> None:
        self.tell(alarms.told(self.system.node), news)

    def end(self) -> None:
        """Close the module."""
        self._turn += 1
        self._ticking = False
        if self.store_side.epoch is not None:
            self._module.close()
            self._host.gauge("open", 0)
            self.log.info("quantum_link_closed")

    @handles(links.FetchKeys)
    def fetch(self, news: links.FetchKeys) -> None:
        """Fetch what the other end's device gave; of another epoch it is of no use."""
        if self.sender != self.store_side.store:
            self.refuse("not_the_store")
        elif not isinstance(self._module, FetchesKeys) or self._module.role == "sender":
            self.refuse("no_device")  # the two ends are configured differently
        elif news.epoch == self.store_side.epoch:
            self._module.fetch(news.seqs, news.key_ids)

    def refuse(self, reason: str) -> None:
        """Count a word from somebody else."""
        self._host.count("refused", reason=reason)

    # What the module says

    @handles(Tick)
    def tick(self, due: Tick) -> None:
        """Let the module emit what is due, then wait; without credit, wait for credit."""
        if due.turn != self._turn or self.sender != self.address:
            return
        for bits in self._module.tick(self.store_side.credit):
            self._emit(_good(bits, gaps=False))
        self._ticking = False
        self.go()

    @handles(Arrived)
    def arrived(self, news: Arrived) -> None:
        """Pass on what came in, as far as it is good."""
        if news.life != self._host.life or self.sender != self.address:
            return
        for bits in self._module.take(news.datagrams):
            if bits.key_ids or self._module.role == "sender":
                self._emit(_good(bits, gaps=False))
            else:
                self._receive(_good(bits, gaps=True))

    @handles(Broken)
    def broken(self, news: Broken) -> None:
        """Crash: a fresh link and module are the cure."""
        if news.life == self._host.life and self.sender == self.address:
            raise ModuleFailed(news.why)

    @handles(Measured)
    def measured(self, news: Measured) -> None:
        """Keep what the module saw of its line; tell operators when it gives no key any more."""
        if news.life != self._host.life or self.sender != self.address:
            return
        self._qber = news.qber
        if news.qber is not None:
            self._host.gauge("qber", news.qber)
        if news.quiet and not self._quiet:
            self.log.warning("quantum_link_quiet", why=news.quiet)
        elif self._quiet and not news.quiet:
            self.log.info("quantum_link_gives_key", qber=news.qber)
        self._quiet, before = news.quiet, self._quiet
        if before or self._quiet:
            self._tell_quiet()

    def _tell_quiet(self) -> None:
        """Tell operators, also those who heard of a former life of this link, or of nothing yet."""
        if self._quiet:
            self._alarm(alarms.Raised(id=_QUIET, subject=self._peer, text=self._quiet))
        else:
            self._alarm(alarms.Ended(id=_QUIET, subject=self._peer))

    # What the node says

    @handles(Health)
    def health(self, _: Health) -> Healthy:
        """Ready, and waiting while closed; a lack of credit is the store's news, not a fault."""
        waits = [] if self.store_side.epoch else ["closed: the key stores have not resumed"]
        waits += [f"quiet: {self._quiet}"] if self._quiet else []
        facts = [("role", self._module.role), ("credit_octets", str(self.store_side.credit))]
        facts += [] if self._qber is None else [("qber", f"{self._qber:.4f}")]
        return Healthy(ready=True, reasons=(), facts=tuple(facts), waits=tuple(waits))

    def _emit(self, bits: Bits) -> None:
        side, octets = self.store_side, bits.octets
        if side.epoch is None or octets > side.credit:
            self._host.count("dropped", len(bits.seqs), reason="no_credit")
            return
        side.spend(octets)
        # First the store, then the world: a peer must never name bits that are unknown here.
        self.tell(side.store, _emitted(side.epoch, bits))
        self._module.release(bits)
        self._note("sent", bits, octets)

    def _receive(self, bits: Bits) -> None:
        side = self.store_side
        if side.epoch is None:
            return
        news = links.Received(epoch=side.epoch, seqs=tuple(bits.seqs), payloads=bits.payloads)
        self.tell(side.store, news)
        self._note("received", bits, bits.octets)

    def _note(self, way: str, bits: Bits, octets: int) -> None:
        self._host.count("datagrams", len(bits.seqs), way=way)
        self._host.count("octets", octets, way=way)


def _good(bits: Bits, *, gaps: bool) -> Bits:
    """Return it, or raise `ModuleFailed`: what makes no sense must not reach the key store."""
    if why := bits.fault(gaps=gaps):
        raise ModuleFailed(f"the module gives bits that make no sense: {why}")
    return bits


def _emitted(epoch: bytes, bits: Bits) -> links.Emitted | links.EmittedKeys:
    first, payloads = bits.seqs[0], bits.payloads
    if bits.key_ids:
        return links.EmittedKeys(epoch=epoch, first=first, payloads=payloads, key_ids=bits.key_ids)
    return links.Emitted(epoch=epoch, first=first, payloads=payloads)
