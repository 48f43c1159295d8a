"""The base of both key stores: grants for SAEs of this node, and effects after the commit (R8)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from actors.base import Actor, System, handles
from actors.journal import Journal, Shelf
from actors.protocol import keys
from actors.protocol.blocks import SegmentId
from actors.protocol.common import Drain, Drained, Refused
from actors.vault import Clock, Vault
from transport.message import Message, Secret, local

TICK_S = 0.5
_WIPES, _TICKS = 4, 8
"""In `erase_s`: used octets are wiped, and looked at, so often. The log needs half of the time."""
KEYS_MAX = 1024
KEY_OCTETS_MAX = 1 << 16
SLAVES_MAX = 17
"""The slave SAE of a request, and 16 additional ones."""
TURNS_MAX = 64
"""Turns after which what they have made is handed over, even if more messages wait."""
RIDE_S = 0.05
"""How long rows that nobody waits for may wait for a commit that somebody waits for."""
RIDERS_MAX = 256
EFFECTS_MAX = 10_000
"""Effects that may wait for a commit that does not return, as on a full disk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOptions:
    """What can be chosen for a key store; sizes in bits where the name says so."""

    peer: str
    virtual: bool = False
    """Filled as demand asks by relay (`virtual_link/<peer>`), not by a quantum link."""
    max_bits: int = 64 << 20
    mode: str = "confirmed"
    ttl_s: float = 3600.0
    erase_s: float = 10.0
    redelivery_s: float = 30.0
    """0 gives up P3 for a crash during delivery: the key may then be lost."""
    repeat_window_s: float = 0.0
    max_undelivered_bits_pair: int = 8 << 20
    max_undelivered_bits_sae: int = 16 << 20
    request_timeout_s: float = 3.0
    min_key_octets: int = 8
    allow_same_node: bool = True
    allow_loopback_pairs: bool = False


@local
class Tick(Message):
    """Time to repeat, to expire, to wipe."""


@local
class RideEnds(Message):
    """Time to make durable what nobody has waited for."""


class Keeper(Actor):
    """Holds grants in a vault and hands them out; says nothing before it is durable."""

    def __init__(self, system: System, name: str, options: StoreOptions) -> None:
        super().__init__(system, name)
        self.options = options
        self.store = options.peer
        self.journal = Journal(self.store)
        self.draining = False
        self._effects: list[Callable[[], None]] = []
        self._turns = 0
        self._riding = False
        self.busy = False
        self._wiped = 0.0
        self._tick_s = min(TICK_S, options.erase_s / _TICKS)

    def started(self) -> None:
        """Load what is durable."""
        self.load(Shelf(self.system.load(self.store)))
        self.go_on(self._tick_s, Tick())
        self.submit()

    def load(self, shelf: Shelf) -> None:
        """Build the state from the rows."""
        self.vault = Vault(
            self.journal,
            shelf,
            self.clock,
            alive=self.alive,
            redelivery_s=self.options.redelivery_s,
            repeat_s=self.options.repeat_window_s,
            receipts_from=int.from_bytes(self.system.random(8), "big") >> 2,
        )

    def alive(self, _: SegmentId) -> bool:
        """Whether a segment is still there, so that an announcement could name it."""
        return False

    @property
    def clock(self) -> Clock:
        """Which boot, and the seconds since."""
        return Clock(self.system.boot_id, self.system.now())

    # A turn: rows and effects are collected; effects leave after the commit of the rows

    def on_receive(self, message: "object") -> None:
        """Take one turn; what it has made is handed over when no other message waits."""
        super().on_receive(message)  # type: ignore[arg-type]
        self._turns += 1
        if not self.waiting or self._turns >= TURNS_MAX:
            self._turns = 0
            self.hand_over()

    def hand_over(self) -> None:
        """Do what is done once for all messages that came together."""
        self.submit()

    def stopped(self) -> None:
        """Make durable what is not, behind a commit under way; nobody hears of it any more.

        What is blank in memory must not wait on the disk for the next start.
        """
        self.wipe()
        if len(self.journal):
            self.before_commit()
            self.commit(self.journal.take(), _nothing)

    def effect(self, act: Callable[[], None]) -> None:
        """Do this once everything collected so far is durable."""
        self._effects.append(act)

    def submit(self) -> None:
        """Commit what is collected, unless a commit is under way: then its end does it."""
        while not self.busy and (len(self.journal) or self._effects):
            if not self._effects and len(self.journal) < RIDERS_MAX:
                self._let_ride()
                return
            self.before_commit()
            changes, effects, self._effects = self.journal.take(), self._effects, []
            if changes:
                self.busy = True
                self.commit(changes, partial(self._committed, self.mark(), effects))
            else:
                self._run(effects)  # which may collect more

    def _let_ride(self) -> None:
        """Rows that nobody waits for go with the next commit, or in a while."""
        if not self._riding:
            self._riding = True
            self.remind(RIDE_S, RideEnds())

    @handles(RideEnds)
    def ride_ends(self, _: RideEnds) -> None:
        """Commit what has found no other."""
        if self.sender == self.address:
            self._riding = False
            self.effect(_nothing)

    def before_commit(self) -> None:
        """Add what rides along with every commit."""

    def mark(self) -> int:
        """Return what `committed` is to hear of when the commit now handed over returns."""
        return 0

    def committed(self, mark: int) -> None:
        """Everything up to the mark is durable."""

    def _committed(self, mark: int, effects: list[Callable[[], None]]) -> None:
        self.busy = False
        self.committed(mark)
        self._run(effects)

    def _run(self, effects: list[Callable[[], None]]) -> None:
        for act in effects:
            act()

    # Delivery (R11)

    @handles(keys.GetKeyWithIds)
    def get_key_with_ids(self, ask: keys.GetKeyWithIds) -> Message | object:
        """Hand keys out: *delivering* is durable before they leave."""
        self.not_draining()
        octets, receipt = self.vault.fetch(ask.master, ask.slave, ask.names, self.clock.now)
        body = keys.KeysWithIds(octets=tuple(map(Secret, octets)), receipt=receipt)
        answer = self.later()
        self.effect(lambda: answer(body))
        return answer

    def room(self, master: str, slave: str) -> int:
        """Octets that may still be held undelivered for this pair (R12)."""
        pair = self.options.max_undelivered_bits_pair // 8
        sae = self.options.max_undelivered_bits_sae // 8
        held = self.vault.load(master, slave)
        return max(0, min(pair - held, sae - self.vault.load_of(slave)))

    def check_load(self, master: str, slave: str, octets: int) -> None:
        """Refuse when too much lies undelivered already."""
        if octets > self.room(master, slave):
            raise Refused("too_many_undelivered", "fetch the keys that wait before asking for more")

    @handles(keys.Written)
    def written(self, news: keys.Written) -> None:
        """The response is out."""
        self.vault.written(news.receipt, self.clock)
        self.effect(_nothing)  # the sooner a delivery is durable, the better

    @handles(keys.Broken)
    def broken(self, news: keys.Broken) -> None:
        """The response is not out."""
        self.vault.broken(news.receipt, self.clock)

    @handles(Tick)
    def tick(self, _: Tick) -> None:
        """Expire, wipe, and whatever a store does from time to time."""
        if self.sender != self.address:
            raise Refused("not_allowed", "a tick is the store's own")
        self.go_on(self._tick_s, Tick())
        now = self.clock
        expired = self.vault.tick(now)
        if expired:
            self.system.meter.add("protokms_grants_expired", len(expired), peer=self.store)
        self.on_tick(now)
        if now.now - self._wiped >= self.options.erase_s / _WIPES:
            self._wiped = now.now
            self.wipe()
        self.system.meter.set(
            "protokms_grants_held", float(len(self.vault.holdings)), peer=self.store
        )

    def on_tick(self, now: Clock) -> None:
        """Repeat what is not acknowledged."""

    def wipe(self) -> None:
        """Blank on disk what is blank in memory."""

    @handles(Drain)
    def drain(self, _: Drain) -> Drained:
        """Refuse new requests from now on."""
        self.draining = True
        return Drained()

    @property
    def overdue(self) -> bool:
        """Whether so much waits for a commit that more would only cost memory."""
        return len(self._effects) >= EFFECTS_MAX

    def not_draining(self) -> None:
        """Refuse while the node is being stopped, or its disk takes nothing."""
        if self.draining:
            raise Refused("not_ready", "the node is stopping")
        if self.system.disk_full:
            raise Refused("not_ready", "the disk is full")
        if self.overdue:
            raise Refused("busy", "the disk does not keep up")


def check_request(ask: keys.GetKey | keys.Give) -> None:
    """Refuse what no grant could be."""
    if not (0 < ask.number <= KEYS_MAX and 0 < ask.size <= KEY_OCTETS_MAX):
        raise Refused("malformed", "too many keys, too large, or none")
    if not 0 < len(set(ask.slaves)) == len(ask.slaves) <= SLAVES_MAX:
        raise Refused("malformed", "no slave SAE, too many, or one twice")


def _nothing() -> None:
    """Be an effect for whose sake rows are committed."""
