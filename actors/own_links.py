"""What this node says of its own links: signed, numbered for ever, seldom."""

from dataclasses import dataclass

import msgspec

from actors.base import Row, System, handles
from actors.protocol.routes import LinkLoad, LinkState
from actors.routes import differs, step
from actors.signing import Signer, state_text
from actors.watching import Watching
from transport.message import Message, Secret, local

SETTLE_S = 0.25
LEAST_S = 0.01
"""Seconds a wait lasts at least: less may round to nothing, and never end on a still clock."""
_STORE = "router"


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterOptions:
    """The node's Ed25519 key (32 octets), and how often it tells how its links are."""

    signing: Secret
    flood_s: float = 5.0
    refresh_s: float = 60.0


@local
class Flood(Message):
    """Our own links may be told now."""


class OwnLinks(Watching):
    """Tells the network how our links are when it should know, and how they were at last."""

    def __init__(self, system: System, name: str, options: RouterOptions) -> None:
        super().__init__(system, name)
        self.options = options
        self.seq = 0
        self.told: tuple[LinkLoad, ...] | None = None
        self.flooded = 0.0
        self._signer = Signer(options.signing)
        self._flooding = self._flood_set = False

    def load(self) -> None:
        """Go on counting where the last life ended."""
        for row in self.system.load(_STORE):
            self.seq = msgspec.msgpack.decode(row.clear, type=int)
        self.flooded = self.system.now() - self.options.flood_s

    def note_change(self) -> None:
        """Something may be otherwise than it was."""

    def accept(self, state: LinkState, peer: str) -> bool:
        """Take a state in and pass it on, if it is news and signed."""
        raise NotImplementedError

    def links(self) -> tuple[LinkLoad, ...]:
        """Say how our links are this moment: those that are of use, in steps."""
        levels = [self.levels[peer] for peer in self.linked if self.usable(peer)]
        return tuple(LinkLoad(it.peer, step(it.stock), step(it.rate)) for it in levels)

    def look(self) -> None:
        """Tell the network if it should hear: a loss at once, all else a little later, together."""
        self.note_change()
        if self._flooding or not self._news():
            return
        lost = {it.peer for it in self.told or ()} - {it.peer for it in self.links()}
        rest = self._rest()
        if rest <= 0 and lost:
            self.tell_links()
        elif not self._flood_set:
            self._flood_set = True
            self.remind(max(rest, LEAST_S if lost else SETTLE_S), Flood())

    def _rest(self) -> float:
        """Seconds until the next flood may come."""
        return self.flooded + self.options.flood_s - self.system.now()

    def _news(self) -> bool:
        """Whether the network should hear; who has no link yet waits for it, or it would be late.

        (For the next flood may not come before `flood_s` is over.)
        """
        links = self.links()
        fresh = bool(links) if self.told is None else differs(self.told, links)
        return bool(self.public) and fresh

    @handles(Flood)
    def flood(self, _: Flood) -> None:
        """It is time, if there is still something to tell and nothing was told meanwhile."""
        if self.sender == self.address:
            self._flood_set = False
            if self._news() and self._rest() <= 0:
                self.tell_links()
            else:
                self.look()

    def tell_links(self) -> None:
        """Sign how our links are now; the number is durable before anybody hears of it."""
        if self._flooding or self.system.node not in self.public:
            return
        self._flooding, self.flooded = True, self.system.now()
        self.seq += 1
        seq, links, origin = self.seq, self.links(), self.system.node
        state = LinkState(origin, seq, links, self._signer.sign(state_text(origin, seq, links)))

        def durable() -> None:
            self._flooding = False
            self.told = links
            self.system.meter.add("protokms_floods")
            self.accept(state, origin)
            self.look()

        self.commit([Row(_STORE, "seq", b"", msgspec.msgpack.encode(seq))], durable)
