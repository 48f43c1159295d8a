"""How much a store holds, and whom it tells: marks that follow demand, or the level of a link.

A store with a quantum link takes whatever comes, up to its limit, and says how it stands to the
router. A store of a distant peer is kept between two marks, which follow what both ends are asked
for; and as connections to distant peers are opened when something is to be said and closed when
idle, it says nothing without need while the peer is away.
"""

from actors.base import System, handles
from actors.batches import BATCH_MAX
from actors.demand import Demand, Level, Rate
from actors.keeper import StoreOptions
from actors.protocol import blocks, links, routes
from actors.segment import NEVER
from actors.shared_stream import SharedStream
from actors.vault import Clock
from transport.envelope import Address

LEVEL_EVERY_S = 5.0
DEMAND_EVERY_S = 10.0
DEMAND_OLD_S = 60.0
"""The peer's demand is forgotten when it has not said so for that long."""
ASK_EVERY_S = 5.0
"""A distant peer that does not answer is asked so often where it stands."""
MARKS_OLD_S = 120.0
"""As long after the last `Marks` somebody fills this store: then it is worth a connection."""
BATCHES_LEAST = 8
"""A store between marks holds so many batches or more, so that both ends own some."""
BATCH_LEAST = 4 << 10
RATE_MAX = 1 << 40


class Filling(SharedStream):
    """Keeps the store at its level."""

    def __init__(self, system: System, name: str, options: StoreOptions) -> None:
        super().__init__(system, name, options)
        self.virtual = options.virtual
        self.level = Level(self.max_octets)
        self.demand = Demand()
        self._router = Address("router", system.node)
        self._sessions = Address("sessions", system.node)
        self._incoming, self._counted = Rate(), 0
        self._level_told: tuple[int, int, bool] | None = None
        self._level_at = NEVER
        self._demand_told, self._demand_at = (0, 0), NEVER
        self._their_demand, self._heard_at = (0, 0), NEVER
        self._marks_at = NEVER
        self._used_at = NEVER
        self.asked_at = NEVER

    # Between two marks

    @property
    def held(self) -> int:
        """Octets for whoever is asked for keys, and those that may become such.

        What an end has leased the other cannot get (R5): the lease of one that is asked for
        nothing, or has enough, must not keep the other dry.
        """
        stream, batches, fresh = self.stream, self.batches, self.stream.fresh_octets
        mine, theirs = stream.stock + fresh[False], stream.theirs + fresh[True]
        asked, they_are = any(self._demand_told), any(self._their_demand)
        least = min(mine, theirs) if asked is they_are else mine if asked else theirs
        return least + batches.undecided + batches.arrived

    def to_bring_in(self) -> int:
        """As far as the upper mark, once the lower one was passed."""
        most = super().to_bring_in()
        return min(most, self.level.room(self.held)) if self.virtual else most

    @handles(links.Marks)
    def on_marks(self, news: links.Marks) -> None:
        """Somebody fills this store, and says how far."""
        self._marks_at = self.clock.now
        self.level.fix(news.low_bits // 8, news.high_bits // 8)
        self._follow()

    def started(self) -> None:
        """Ask which bits may be used, too."""
        super().started()
        if self.virtual:
            self.tell(self._sessions, links.AskLeastPaths(peer=self.store))

    @handles(links.LeastPaths)
    def on_least_paths(self, news: links.LeastPaths) -> None:
        """Burn what one node alone knows, if more are asked for from now on (R14)."""
        burnt = self.stream.need_paths(news.n)
        if burnt:
            self.log.info("bits_of_fewer_paths_burnt", octets=burnt, paths=news.n, peer=self.store)

    @handles(links.AskUse)
    def on_ask_use(self, _: links.AskUse) -> links.Used:
        """Say how long nobody has wanted anything."""
        return links.Used(idle_s=self.clock.now - self._used_at)

    @handles(blocks.Demand)
    def on_demand(self, word: blocks.Demand) -> None:
        """What the other end is asked for: bits for it are filled in from here as well."""
        if self.admit(word.head):
            self._their_demand = _sane(word.rate), _sane(word.most)
            self._heard_at = self.clock.now
            if any(self._their_demand):
                self._used_at = self.clock.now
            self._follow()

    def hand_over(self) -> None:
        """Let the link go on as soon as the lower mark is passed."""
        if self.virtual and not self.level.filling and self.held < self.level.low:
            self.tell_credit()
        super().hand_over()

    def _follow(self) -> None:
        rate, most = self._demand_told
        if self.clock.now - self._heard_at < DEMAND_OLD_S:
            rate, most = rate + self._their_demand[0], max(most, self._their_demand[1])
        self.level.follow(rate, most)
        self.batches.most = min(BATCH_MAX, max(BATCH_LEAST, self.level.high // BATCHES_LEAST))
        if self.in_touch:
            self.tell_credit()

    # In touch with a distant peer

    @property
    def in_touch(self) -> bool:
        """Whether words reach the peer, and count there."""
        return self.peer_up and self.standing.resumed

    @property
    def _worth_waking(self) -> bool:
        now = self.clock.now
        return now - self._marks_at < MARKS_OLD_S and self.level.room(self.held) > 0

    def ask_again(self) -> None:
        """A distant peer without a connection is asked less often."""
        if not self.virtual or self.peer_up or self.clock.now - self.asked_at >= ASK_EVERY_S:
            self.asked_at = self.clock.now
            super().ask_again()

    def tell_room(self, now: float) -> None:
        """Not worth a connection."""
        if self.peer_up or not self.virtual:
            super().tell_room(now)

    # From time to time

    def on_tick(self, now: Clock) -> None:
        """Measure, and say what has changed."""
        if self.virtual:
            self._measure(now.now)
        else:
            self._tell_level(now.now)
        super().on_tick(now)

    def _measure(self, now: float) -> None:
        told, at = self._demand_told, self._demand_at
        new = self.demand.tick(now)
        if any(new):
            self._used_at = now
        moved = any(abs(one - two) > max(one, two) // 4 for one, two in zip(new, told, strict=True))
        if moved or (now - at >= DEMAND_EVERY_S and any(new)):
            self._demand_told, self._demand_at = new, now
            if self.in_touch and self.standing.ready:
                head = self.standing.head(now=True)
                self.tell(self.peer, blocks.Demand(head=head, rate=new[0], most=new[1]))
        self._follow()
        for kind, octets in (("low", self.level.low), ("high", self.level.high)):
            self.system.meter.set("protokms_bits", octets * 8.0, peer=self.store, kind=kind)
        if not self.peer_up and self._worth_waking and now - self.asked_at >= ASK_EVERY_S:
            self.ask_again()

    def _tell_level(self, now: float) -> None:
        came, self._counted = self.stream.came - self._counted, self.stream.came
        self._incoming.add(came)
        rate, stock = self._incoming.tick(now), self.stream.stock
        ready = self.in_touch and self.standing.ready
        coarse = stock.bit_length(), int(rate).bit_length(), ready
        if coarse != self._level_told or now - self._level_at >= LEVEL_EVERY_S:
            self._level_told, self._level_at = coarse, now
            level = routes.LinkLevel(peer=self.store, stock=stock, rate=rate, ready=ready)
            self.tell(self._router, level)


def _sane(octets: int) -> int:
    return min(max(0, octets), RATE_MAX)
