"""The key store shared with one peer KMS, made of parts; what befalls it, in order (R1-R13)."""

from actors.base import Actor, Clock, System, handles
from actors.keystore.allocation import Allocation
from actors.keystore.announcements import Announcements
from actors.keystore.delivery import Delivery, Tick, load_held
from actors.keystore.held_grants import HeldGrants
from actors.keystore.limits import Limits
from actors.keystore.loading import Loading
from actors.keystore.options import StorePlan
from actors.keystore.pads import OwnPads, PeerPads, RelayGate
from actors.keystore.serving import Homes, Serving
from actors.ledger.batches import Batches
from actors.ledger.issued import Issued
from actors.ledger.link_health import LinkHealth
from actors.ledger.pair_reserves import PairReserves
from actors.ledger.peering_state import Epoch, PeeringState
from actors.ledger.pieces import Pieces
from actors.ledger.shares import Shares
from actors.ledger.stream import Stream
from actors.protocol import blocks, usage
from actors.protocol.blocks import Head
from actors.protocol.common import Health, Healthy, Refused
from actors.protocol.peers import Subscribe
from actors.rights.gate import Gate
from actors.storage.group_commit import GroupCommit
from actors.storage.journal import Journal, Shelf
from actors.sync.accounts import Accounts
from actors.sync.block_sync import BlockSync
from actors.sync.demand import Demand, Yield
from actors.sync.device_keys import DeviceKeys
from actors.sync.fill_level import FillLevel
from actors.sync.flow import Flow
from actors.sync.intake import Intake
from actors.sync.peering import Peering, draw
from actors.sync.quarantine import Quarantine
from actors.sync.segments import Segments
from actors.sync.shortage import Shortage
from transport.envelope import Address, Envelope
from transport.message import Message

LEASE_AHEAD = 128 << 10
"""Octets leased ahead at most; no request is for more."""
WANT_BELOW = 256 << 10
"""With less stock than that the peer is asked for some of its own."""
QUIET_TICKS = 8
"""A store at rest looks so much less often whether something is due: every 4 s, not 0.5 s."""
RESERVED_PART = 4
"""Reserves of SAE pairs come to one such part of what the store may hold, at most."""
FLOOR_PART = 8
"""SAEs here have a floor of one such part of what the store may hold at most."""


class KeyStore(Actor):
    """One end of a stream shared with one peer KMS: an actor over its parts.

    The ledger says what is so, the parts speak. Each part is given those it asks; none asks one
    made after it. What befalls the whole store stands below, in the order in which it is done.
    """

    parts = (
        GroupCommit,
        Serving,
        Peering,
        Segments,
        Quarantine,
        DeviceKeys,
        BlockSync,
        FillLevel,
        Delivery,
        Gate,
        HeldGrants,
        Limits,
        Announcements,
        Allocation,
        Shortage,
        OwnPads,
        PeerPads,
    )
    lease_octets = LEASE_AHEAD
    want_octets = WANT_BELOW

    def __init__(self, system: System, name: str, plan: StorePlan) -> None:
        super().__init__(system, name)
        self.plan, self.options = plan, plan.options
        self.journal = Journal(plan.peer)
        self.homes = Homes()
        self.shares = Shares(plan.options.max_bits // 8 // FLOOR_PART)
        self.reserves = PairReserves(plan.options.max_bits // 8 // RESERVED_PART)
        self.demand = Demand()
        self.supply = Yield()
        self.accounts, self.flow = Accounts(), Flow()
        self._wiped = 0.0
        self._loaded = False
        self._quiet = False
        """Whether the next tick is far."""
        self.commits = GroupCommit(self, self.journal, commit=self.commit, events=self)
        self.serving = Serving(self, lambda: self.commits.overdue)

    # What befalls the store: its start

    def started(self) -> None:
        """Load, then ask the peer where it stands, and which bits may be used."""
        self.load(Shelf(self.system.load(self.plan.peer)))
        self.go_on(self.options.tick_s, Tick())
        self.commits.submit()
        self.tell(Address("peer_manager", self.system.node), Subscribe())
        self.peer.ask()
        self.commits.submit()
        self.fill.started()
        self.gate.begin()
        self.quarantine.look()
        if self.state.frozen:
            self.peer.show_alarm("overlap")
        self.loading.begin()

    def load(self, shelf: Shelf) -> None:
        """Rebuild the ledger, each book on those before it; then make the parts."""
        end = 0 if self.system.node < self.plan.peer else 1
        self.state = PeeringState(self.journal, shelf, draw(self.system))
        self.stream = Stream(self.journal, shelf, self.state, end)
        enough, distant = self.options.quarantine_good_batches, self.plan.virtual
        self.link_health = None if distant else LinkHealth(self.journal, shelf, enough)
        self.batches = Batches(self.journal, shelf, self.state, self.stream, self.link_health)
        most = self.options.max_bits // 8
        self.intake = Intake(self.stream, self.batches, most, distant=distant)
        segments = self.stream.segments
        self.held = load_held(
            self, self.journal, shelf, self.options, lambda name: name in segments
        )
        for holding in self.held.holdings.values():
            self.stream.mark(holding.pieces)
        for _, pieces in self.held.tombs.values():
            self.stream.mark(pieces)
        self.issued = Issued(self.journal, shelf, self.stream, self.clock)
        self._make_sync()
        self._make_grants()
        self._make_pads()
        self.serve(self.commits, self.serving, self.peer, self.segments, self.quarantine)
        self.serve(
            self.device_keys,
            self.block_sync,
            self.fill,
            self.delivery,
            self.gate,
            self.held_grants,
            self.limits,
        )
        self.serve(self.announcements, self.allocation, self.shortage)
        self.serve(self.own_pads, self.peer_pads)
        self._loaded = True

    def _make_sync(self) -> None:
        self.peer = Peering(
            self,
            self.state,
            self.commits,
            name=self.plan.peer,
            distant=self.plan.virtual,
            events=self,
        )
        self.segments = Segments(
            self,
            self.peer,
            stream=self.stream,
            supply=self.supply,
            lease_octets=self.lease_octets,
            want_octets=self.want_octets,
            most=self.intake.most,
        )
        self.quarantine = Quarantine(self, self.peer, self.commits, self.link_health)
        self.device_keys = DeviceKeys(self, self.peer, self.batches)
        self.block_sync = BlockSync(
            self,
            self.peer,
            self.segments,
            self.quarantine,
            self.device_keys,
            stream=self.stream,
            batches=self.batches,
            intake=self.intake,
            supply=self.supply,
        )
        self.fill = FillLevel(
            self,
            self.peer,
            self.block_sync,
            stream=self.stream,
            intake=self.intake,
            demand=self.demand,
            supply=self.supply,
        )

    def _make_grants(self) -> None:
        self.pieces = Pieces(self.stream, self.batches)
        self.delivery = Delivery(
            self,
            self.peer,
            held=self.held,
            commits=self.commits,
            serving=self.serving,
            plan=self.plan,
        )
        self.loading = Loading(
            self, self.read_rows, self.held, store=self.plan.peer, loaded=self.delivery.loaded
        )
        self.gate = Gate(self, self.homes.get, self.plan.known, lambda: self.stream.paths)
        self.held_grants = HeldGrants(
            self,
            self.peer,
            self.delivery,
            self.gate,
            pieces=self.pieces,
            held=self.held,
            commits=self.commits,
            homes=self.homes,
            options=self.options,
            accounts=self.accounts,
        )
        self.limits = Limits(
            self,
            self.peer,
            self.gate,
            stream=self.stream,
            issued=self.issued,
            shares=self.shares,
            demand=self.demand,
            homes=self.homes,
            reserves=self.reserves,
            serving=self.serving,
            options=self.options,
        )
        self.announcements = Announcements(
            self,
            self.peer,
            self.limits,
            issued=self.issued,
            commits=self.commits,
            accounts=self.accounts,
        )
        self.allocation = Allocation(
            self,
            self.peer,
            self.segments,
            self.limits,
            self.announcements,
            gate=self.gate,
            stream=self.stream,
            issued=self.issued,
            shares=self.shares,
            demand=self.demand,
            commits=self.commits,
            serving=self.serving,
            homes=self.homes,
            reserves=self.reserves,
            plan=self.plan,
            accounts=self.accounts,
        )

        self.shortage = Shortage(
            self,
            self.peer,
            self.block_sync,
            stream=self.stream,
            batches=self.batches,
            shares=self.shares,
            supply=self.supply,
        )

    def _make_pads(self) -> None:
        gate = self.relay_gate = RelayGate(self, self.plan.peer)
        self.own_pads = OwnPads(
            self,
            self.peer,
            self.segments,
            stream=self.stream,
            shares=self.shares,
            supply=self.supply,
            serving=self.serving,
            gate=gate,
            most=self.intake.most,
        )
        self.peer_pads = PeerPads(
            self, self.peer, stream=self.stream, pieces=self.pieces, gate=gate
        )

    # The peer

    def admits(self, word: Message) -> bool:
        """Whether a word of the peer's counts (R7): asked before its handler, of all with a head.

        `ResumeAsk` and `Resume` have none: they say where both ends stand.
        """
        head: Head | None = getattr(word, "head", None)
        return head is None or self.peer.admit(head)

    def resumed(self) -> None:
        """Both ends agree: what may have been missed is said again, who waited is served."""
        self.held.issued_by(self.state.peer)
        self.limits.resumed()
        self.peer_pads.resumed()
        self.peer.note_up()
        self.block_sync.resumed()
        self.fill.resumed()
        self.segments.lease_ahead()
        self._repeat(self.clock, everything=True)
        self.peer.serve_pending()
        self.delivery.resumed()

    def out_of_step(self) -> None:
        """The two ends may not agree any more, or the peer is away."""
        self.own_pads.out_of_step()
        self.block_sync.out_of_step()

    def new_epoch(self, epoch: Epoch) -> None:
        """What lies in the old epoch is destroyed, then both ends begin anew."""
        self.announcements.new_epoch()
        self.allocation.new_epoch()
        self.own_pads.new_epoch()
        self.peer_pads.new_epoch()
        self.stream.destroy()
        self.batches.destroy()
        self.log.warning("new_epoch", number=epoch[0])
        self.held.epoch_closed()
        if self.state.frozen:
            self.peer.end_alarm("overlap")
        self.state.enter(epoch)
        self.out_of_step()
        self.peer.ask()

    @handles(blocks.SegmentClosed)
    def on_segment_closed(self, word: blocks.SegmentClosed) -> None:
        """The owner is done with a segment: burn what no grant of ours holds."""
        if self.batches.awaits(word.segment):
            return
        if self.stream.close(word.segment):
            self.held.segment_closed(word.segment)
            head = self.state.head()
            self.peer.say(blocks.SegmentClosedHeld(head=head, segment=word.segment))
            self.peer_pads.segment_closed(word.segment)

    def _repeat(self, now: Clock, *, everything: bool = False) -> None:
        """Say again what the peer has not acknowledged for a while, or all of it."""
        self.block_sync.repeat(now, everything=everything)
        self.device_keys.repeat(now, everything=everything)
        self.segments.repeat(now, everything=everything)
        self.announcements.repeat(now, everything=everything)

    # Time

    @handles(Tick)
    def tick(self, _: Tick) -> None:
        """End what is late, say again what is due, wipe."""
        if self.sender != self.address:
            raise Refused("not_allowed", "a tick is the store's own")
        self._quiet = self._is_quiet()
        self.go_on(self.options.tick_s * (QUIET_TICKS if self._quiet else 1), Tick())
        now = self.clock
        self.delivery.expire(now)
        self.allocation.tick(now)
        self.announcements.tick(now)
        self.limits.tick(now)
        self.delivery.tick(now)
        self.own_pads.tick(now)
        self.peer.tick(now)
        self.fill.tick(now)
        if self.state.resumed:
            self._tick_in_step(now)
        else:
            self.peer.ask_again()
        if now.now - self._wiped >= self.options.wipe_s:
            self._wiped = now.now
            self._wipe()
        self.delivery.gauge()

    def _is_quiet(self) -> bool:
        """Whether nothing is late, due, or to be wiped until somebody speaks to the store."""
        return (
            self.fill.quiet
            and self.peer.quiet
            and self.block_sync.quiet
            and self.segments.quiet
            and self.delivery.quiet
            and self.limits.quiet
            and self.announcements.quiet
            and self.allocation.quiet
            and self.own_pads.quiet
        )

    def _tick_in_step(self, now: Clock) -> None:
        self.block_sync.forget_old(now)
        self.segments.tick(now)
        self.block_sync.repeat_credit(now)
        self._repeat(now)
        self._gauge()

    def _gauge(self) -> None:
        facts = {
            "stored": self.stream.octets,
            "own": self.stream.stock,
            "usable": self.stream.usable,
            "undecided": self.batches.undecided + self.batches.emitted,
        }
        for kind, octets in facts.items():
            self.system.meter.set("protokms_bits", octets * 8.0, peer=self.plan.peer, kind=kind)

    # Turns and commits (R8)

    def on_receive(self, message: Envelope) -> None:
        """Take one turn; what came together is served and handed over together."""
        super().on_receive(message)
        if self._quiet and not self._is_quiet():
            self._quiet = False
            self.go_on(self.options.tick_s, Tick())
        if self._loaded and self.commits.turn_ends(self.pressing):
            self._turns_over()

    def _turns_over(self) -> None:
        """Serve SAEs here, for whom bits are reserved, then the relay; hand over."""
        self.allocation.serve()
        self.own_pads.serve()
        self.own_pads.tell_room()
        self.fill.turns_over()
        self._note_flow()
        self.commits.submit()

    def _note_flow(self) -> None:
        stream, now = self.stream, self.system.now()
        burnt = self.relay_gate.octets + self.accounts.tags
        self.flow.note(now, batches=stream.batches, octets=stream.came, burnt=burnt)

    def before_commit(self) -> int:
        """What was seen of the peer is stored with what it caused (R7)."""
        if len(self.journal) and self.state.stale:
            self.state.save()
        return self.state.seq

    def committed(self, mark: int) -> None:
        """Words that wait for no commit may now carry this seq; then effects leave."""
        self.state.committed = min(mark, self.state.seq)  # an epoch may have begun since

    def _wipe(self) -> None:
        """Blank on disk what is blank in memory; every place of a grant is known there then."""
        self.stream.wipe()
        self.held.mark()

    def stopped(self) -> None:
        """Wipe, and make durable what is not."""
        self._wipe()
        self.commits.stop()

    @handles(usage.AskUsage)
    def on_ask_usage(self, _: usage.AskUsage) -> usage.Usage:
        """Tell what comes in, and who takes it."""
        self._note_flow()
        now, health = self.system.now(), self.health(Health())
        skr, eskr = self.flow.rates(now)
        return usage.Usage(
            skr=skr * 8,
            eskr=eskr * 8,
            measured=self.supply.rate * 8 if self.supply.over_s >= usage.MEASURED_S else 0.0,
            comes=self.flow.comes(now),
            stock_bits=self.stream.octets * 8,
            why="; ".join((*health.reasons, *health.waits)),
            pairs=self.accounts.pairs(now),
        )

    @handles(Health)
    def health(self, _: Health) -> Healthy:
        """Not frozen? In step with the peer, or waiting for it?"""
        name = self.address.name
        reasons = (f"{name} is frozen",) if self.state.frozen else ()
        apart = not self.state.resumed and not self.peer.distant
        away = (f"{name} is not in step with its peer",) if apart else ()
        if self.peer.left:
            away = (self.peer.why_down,)
        waits = away + (self.quarantine.waits or self.block_sync.waits)
        facts = {
            "resumed": str(self.state.resumed).lower(),
            "peer_up": str(self.peer.up).lower(),
            "epoch": str(self.state.epoch[0]),
            "stored_bits": str(self.stream.octets * 8),
            "own_bits": str(self.stream.stock * 8),
            "confirmed_bits": str(self.stream.came * 8),
            "grants_held": str(self.held.count),
            "grants_to_load": str(self.held.rest),
            **self.quarantine.facts(),
        }
        told = tuple(facts.items())
        return Healthy(ready=not reasons, reasons=reasons, facts=told, waits=waits)
