"""How full a store is, and whom it tells: water marks that follow demand, or the level of a link.

A store with a quantum link takes whatever comes, up to its limit, and says how it stands to the
router. A store of a distant peer is kept between two marks, which follow what both ends are asked
for; and as connections to distant peers are opened when something is to be said and closed when
idle, it says nothing without need while the peer is away.
"""

from actors.base import Clock, Context, Part, handles
from actors.ledger.segment import NEVER
from actors.ledger.stream import Stream
from actors.protocol import blocks, links, routes
from actors.protocol.limits import SHARES_MAX
from actors.sync.block_sync import BlockSync
from actors.sync.demand import Demand, Yield
from actors.sync.intake import Intake
from actors.sync.peering import REPEAT_S, Peering
from transport.envelope import Address

LEVEL_EVERY_S = 5.0
DEMAND_EVERY_S = 10.0
DEMAND_OLD_S = 60.0
"""The peer's demand is forgotten when it has not said so for that long."""
MARKS_OLD_S = 120.0
"""As long after the last `Marks` somebody fills this store: then it is worth a connection."""
RATE_MAX = 1 << 40


class FillLevel(Part):
    """Measures demand and supply, says what has changed, and lets the link go on."""

    def __init__(
        self,
        context: Context,
        peer: Peering,
        block_sync: BlockSync,
        *,
        stream: Stream,
        intake: Intake,
        demand: Demand,
        supply: Yield,
    ) -> None:
        self._context, self._peer, self._blocks = context, peer, block_sync
        self._stream, self._intake, self._demand = stream, intake, demand
        self._supply = supply
        self._router = Address("router", context.address.node)
        self._sessions = Address("sessions", context.address.node)
        self._intent = Address("intent", context.address.node)
        self._level_told: tuple[int, int, bool] | None = None
        self._level_at = NEVER
        self._demand_at, self._heard_at = NEVER, NEVER
        self._marks_at, self._used_at = NEVER, NEVER
        self._paths_held, self._paths_said_at = 0, NEVER
        """What the peer has acknowledged since both ends agree: over how many paths; 0: nothing."""

    def started(self) -> None:
        """Ask which bits may be used, and whether any are to come in."""
        self._context.tell(self._intent, links.AskPause(peer=self._peer.name))
        if self._peer.distant:
            self._context.tell(self._sessions, links.AskLeastPaths(peer=self._peer.name))

    @handles(links.LeastPaths)
    def on_least_paths(self, news: links.LeastPaths) -> None:
        """Burn what one node alone knows, if more are asked for from now on (R14)."""
        if news.n != self._stream.paths_needed:
            self._paths_said_at = NEVER
        self._note_burnt(self._stream.need_paths(news.n))
        self._say_paths()

    def _note_burnt(self, octets: int) -> None:
        if octets:
            log, paths, peer = self._context.log, self._stream.paths, self._peer.name
            log.info("bits_of_fewer_paths_burnt", octets=octets, paths=paths, peer=peer)

    def _say_paths(self) -> None:
        """Let the terms of a session hold at the other end too, for what is in store there."""
        n, now = self._stream.paths_needed, self._context.clock.now
        due = now - self._paths_said_at >= REPEAT_S
        speaks = self._peer.in_touch and self._peer.speaks(blocks.PathsNeeded)
        if n != self._paths_held and due and speaks:
            self._paths_said_at = now
            self._peer.say(blocks.PathsNeeded(head=self._peer.state.head(), n=n))

    @handles(blocks.PathsNeeded)
    def on_paths_needed(self, word: blocks.PathsNeeded) -> None:
        """The other end asks for more paths: burn what it would refuse."""
        if not self._peer.distant or not 0 < word.n <= SHARES_MAX:
            return
        self._note_burnt(self._stream.need_paths(word.n, theirs=True))
        head = self._peer.state.head()
        self._peer.say(blocks.PathsNeededHeld(head=head, n=word.n))

    @handles(blocks.PathsNeededHeld)
    def on_paths_needed_held(self, word: blocks.PathsNeededHeld) -> None:
        """It has done so."""
        self._paths_held = word.n

    # Whether bits are to come in at all

    @handles(links.Pause)
    def on_pause(self, _: links.Pause) -> None:
        """Take nothing in, and let the far sender know; what is in store stays of use."""
        self._pause(paused=True)

    @handles(links.Resume)
    def on_resume(self, _: links.Resume) -> None:
        """Take bits in again, unless they are in quarantine (R21)."""
        self._pause(paused=False)

    def _pause(self, *, paused: bool) -> None:
        if self._context.sender == self._intent and self._intake.paused is not paused:
            self._intake.paused = paused
            self._context.log.info("intake_paused" if paused else "intake_resumed")
            self._blocks.room_changed()

    # Between two marks

    @handles(links.Marks)
    def on_marks(self, news: links.Marks) -> None:
        """Somebody fills this store, and says how far."""
        self._marks_at = self._context.clock.now
        self._blocks.path_rate = news.rate or self._blocks.path_rate
        self._intake.marks.fix(news.low_bits // 8, news.high_bits // 8)
        self._follow()

    @handles(links.AskUse)
    def on_ask_use(self, _: links.AskUse) -> links.Used:
        """Say how long nobody has wanted anything."""
        return links.Used(idle_s=self._context.clock.now - self._used_at)

    @handles(blocks.Demand)
    def on_demand(self, word: blocks.Demand) -> None:
        """What the other end is asked for: bits for it are filled in from here as well."""
        there = _sane(word.rate), _sane(word.most)
        self._intake.heard(there)
        self._heard_at = self._context.clock.now
        if any(there):
            self._used_at = self._context.clock.now
        self._follow()

    def _follow(self) -> None:
        recent = self._context.clock.now - self._heard_at < DEMAND_OLD_S
        self._intake.follow(both=recent, path_rate=self._blocks.path_rate)
        if self._peer.in_touch:
            self._blocks.tell_credit()

    # What befalls the store

    def resumed(self) -> None:
        """The peer may have forgotten, or may be another version."""
        self._paths_held, self._paths_said_at = 0, NEVER
        self._say_paths()

    def turns_over(self) -> None:
        """Let the link go on as soon as the lower mark is passed."""
        if self._intake.is_low:
            self._blocks.tell_credit()

    @property
    def quiet(self) -> bool:
        """Whether a store between marks is full, asked for nothing, and its peer knows the terms.

        A store of a neighbour never is: its router wants to know how the link does.
        """
        speaks = self._peer.in_touch and self._peer.speaks(blocks.PathsNeeded)
        unsaid = speaks and self._stream.paths_needed != self._paths_held
        recent = self._context.clock.now - self._heard_at < DEMAND_OLD_S
        asked = any(self._intake.here) or (recent and any(self._intake.there))
        return self._peer.distant and self._intake.is_full and not unsaid and not asked

    def tick(self, now: Clock) -> None:
        """Measure, and say what has changed."""
        self._supply.measure(self._stream.came, now.now, full=self._intake.is_full)
        if self._peer.distant:
            self._measure(now.now)
            self._say_paths()
        else:
            self._tell_level(now.now)

    def _measure(self, now: float) -> None:
        told, at = self._intake.here, self._demand_at
        new = self._demand.tick(now)
        if self._demand.take_named() or any(new):
            self._used_at = now
        moved = any(abs(one - two) > max(one, two) // 4 for one, two in zip(new, told, strict=True))
        if moved or (now - at >= DEMAND_EVERY_S and any(new)):
            self._intake.asked(new)
            self._demand_at = now
            if self._peer.in_touch and self._peer.state.ready:
                head = self._peer.state.head(now=True)
                word = blocks.Demand(head=head, rate=new[0], most=new[1])
                self._peer.tell(word)
        self._follow()
        marks, meter = self._intake.marks, self._context.system.meter
        for kind, octets in (("low", marks.low), ("high", marks.high)):
            meter.set("protokms_bits", octets * 8.0, peer=self._peer.name, kind=kind)
        filled = now - self._marks_at < MARKS_OLD_S
        if not self._peer.up and filled and self._intake.wanted() > 0:
            self._peer.ask_again()

    def _tell_level(self, now: float) -> None:
        rate, stock = self._supply.rate, self._stream.stock
        ready = self._peer.in_touch and self._peer.state.ready
        coarse = stock.bit_length(), int(rate).bit_length(), ready
        if coarse != self._level_told or now - self._level_at >= LEVEL_EVERY_S:
            self._level_told, self._level_at = coarse, now
            level = routes.LinkLevel(peer=self._peer.name, stock=stock, rate=rate, ready=ready)
            self._context.tell(self._router, level)


def _sane(octets: int) -> int:
    return min(max(0, octets), RATE_MAX)
