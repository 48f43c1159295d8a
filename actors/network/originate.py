"""What this node says of its own links: signed, numbered for ever, seldom."""

from dataclasses import dataclass
from typing import Protocol

import msgspec

from actors.base import Commit, Context, Part, Row, handles
from actors.crypto.signatures import Signer, state_text
from actors.network.lsdb import JUMP_MAX, SEQ_MAX, differs, step
from actors.network.neighbours import Neighbours
from actors.protocol import alarms
from actors.protocol.routes import LinkLoad, LinkState
from transport.message import Message, Secret, local

SETTLE_S = 0.25
LEAST_S = 0.01
"""Seconds a wait lasts at least: less may round to nothing, and never end on a still clock."""
STORE = "router"


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterOptions:
    """The node's Ed25519 key (32 octets), and how often it tells how its links are."""

    signing: Secret
    flood_s: float = 5.0
    refresh_s: float = 60.0


@local
class Flood(Message):
    """Our own link state may be told now."""


class OriginateEvents(Protocol):
    """What an actor hears of its part `Originate`."""

    def link_state_due(self) -> None:
        """A wait is over, and there may be something to tell."""
        ...

    def link_state_made(self, state: LinkState) -> None:
        """A new state of our own links is durable."""
        ...


class Originate(Part):
    """Makes the link state of this node when the network should hear, and before it is old."""

    def __init__(
        self,
        context: Context,
        *,
        neighbours: Neighbours,
        options: RouterOptions,
        commit: Commit,
        events: OriginateEvents,
    ) -> None:
        self._context, self._neighbours = context, neighbours
        self._commit, self._events = commit, events
        self._options = options
        self._signer = Signer(options.signing)
        self.seq = 0
        self._last: tuple[LinkLoad, ...] | None = None
        self._originated_at = 0.0
        self._committing = self._timer_set = False

    def load(self) -> None:
        """Go on counting where the last life ended."""
        for row in self._context.system.load(STORE):
            self.seq = msgspec.msgpack.decode(row.clear, type=int)
        if self.seq > SEQ_MAX - JUMP_MAX:  # an older version followed a forged state up there
            self.seq = 0
        self._originated_at = self._context.system.now() - self._options.flood_s

    def links(self) -> tuple[LinkLoad, ...]:
        """Say how our links are this moment: those that are of use, in steps."""
        near = self._neighbours
        levels = [near.levels[peer] for peer in near.linked if near.usable(peer)]
        return tuple(LinkLoad(it.peer, step(it.stock), step(it.rate)) for it in levels)

    def if_changed(self) -> None:
        """Tell the network if it should hear: a loss at once, all else a little later, together."""
        if self._committing or not self._changed():
            return
        lost = {it.peer for it in self._last or ()} - {it.peer for it in self.links()}
        rest = self._rest()
        if rest <= 0 and lost:
            self._originate()
        elif not self._timer_set:
            self._timer_set = True
            self._context.remind(max(rest, LEAST_S if lost else SETTLE_S), Flood())

    def if_old(self) -> None:
        """Say the same again, before it ages out elsewhere."""
        now = self._context.system.now()
        if self._neighbours.public and now - self._originated_at >= self._options.refresh_s:
            self._originate()

    def outdo(self, seq: int) -> None:
        """Somebody knows a later state of ours than we do, lost with a disk: go on from there."""
        self._context.log.warning("seq_was_lost", ours=self.seq, theirs=seq)
        raised = alarms.Raised(id="link_state_lost")
        self._context.tell(alarms.told(self._context.system.node), raised)
        self.seq = seq
        self._last = None

    @handles(Flood)
    def on_due(self, _: Flood) -> None:
        """It is time, if there is still something to tell and nothing was told meanwhile."""
        if self._context.sender == self._context.address:
            self._timer_set = False
            if self._changed() and self._rest() <= 0:
                self._originate()
            else:
                self._events.link_state_due()

    def _rest(self) -> float:
        """Seconds until the next flood may come."""
        return self._originated_at + self._options.flood_s - self._context.system.now()

    def _changed(self) -> bool:
        """Whether the network should hear; who has no link yet waits for it, or it would be late.

        (For the next flood may not come before `flood_s` is over.)
        """
        links = self.links()
        fresh = bool(links) if self._last is None else differs(self._last, links)
        return bool(self._neighbours.public) and fresh

    def _originate(self) -> None:
        """Sign how our links are now; the number is durable before anybody hears of it."""
        system = self._context.system
        if self._committing or system.node not in self._neighbours.public:
            return
        self._committing, self._originated_at = True, system.now()
        self.seq += 1
        seq, links, origin = self.seq, self.links(), system.node
        state = LinkState(origin, seq, links, self._signer.sign(state_text(origin, seq, links)))

        def durable() -> None:
            self._committing = False
            self._last = links
            system.meter.add("protokms_floods")
            self._events.link_state_made(state)

        self._commit([Row(STORE, "seq", b"", msgspec.msgpack.encode(seq))], durable)
