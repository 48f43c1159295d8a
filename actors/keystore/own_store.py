"""Keys for two SAEs of the same KMS: drawn from the CSPRNG, with the same life cycle."""

from collections.abc import Callable
from functools import partial

from actors.base import Actor, Later, System, handles
from actors.keystore.delivery import Delivery, Tick, load_held
from actors.keystore.loading import Loading
from actors.keystore.options import StorePlan
from actors.keystore.serving import Serving
from actors.protocol import keys, usage
from actors.protocol.common import Health, Healthy, Refused
from actors.protocol.grants import Grant
from actors.protocol.keys import check_request, check_status
from actors.rights.gate import Gate, Request
from actors.storage.group_commit import GroupCommit
from actors.storage.journal import Journal, Shelf
from actors.sync.accounts import Accounts
from actors.sync.peering import draw
from transport.envelope import Envelope
from transport.message import Secret

LATE_MAX = 4096
"""Grants to be taken back that are not loaded yet."""


class OwnStore(Actor):
    """Serves pairs of SAEs at this node; no quantum link has a part in it, and it says so."""

    parts = (GroupCommit, Serving, Delivery, Gate)

    def __init__(self, system: System, name: str, plan: StorePlan) -> None:
        super().__init__(system, name)
        self.plan, self.options = plan, plan.options
        self.journal = Journal(plan.peer)
        self.accounts = Accounts()
        self.commits = GroupCommit(self, self.journal, commit=self.commit, events=self)
        self.serving = Serving(self, lambda: self.commits.overdue)
        self.gate = Gate(self, lambda _: system.node, plan.known)

    # What befalls the store

    def started(self) -> None:
        """Load what is held."""
        shelf = Shelf(self.system.load(self.plan.peer))
        self.held = load_held(
            self, self.journal, shelf, self.options, lambda _: False, nowhere=True
        )
        self.delivery = Delivery(
            self,
            None,
            held=self.held,
            commits=self.commits,
            serving=self.serving,
            plan=self.plan,
        )
        self.held.issued_by(draw(self.system))
        self._late: set[bytes] = set()
        self._giving: dict[bytes, Later] = {}
        """Grants of keys drawn elsewhere that wait to hear what SAEs may have."""
        self.serve(self.commits, self.serving, self.delivery, self.gate)
        self.go_on(self.options.tick_s, Tick())
        self.commits.submit()
        self.gate.begin()
        loading = Loading(
            self, self.read_rows, self.held, store=self.plan.peer, loaded=self._loaded
        )
        loading.begin()

    def _loaded(self, ids: list[bytes]) -> None:
        """Void what was to be taken back before it was known here."""
        for id_ in [id_ for id_ in ids if id_ in self._late]:
            self.held.void(id_, ())
        if not self.held.loading:
            self._late.clear()
        self.delivery.loaded(ids)

    @handles(Tick)
    def tick(self, _: Tick) -> None:
        """End what is over."""
        if self.sender != self.address:
            raise Refused("not_allowed", "a tick is the store's own")
        self.go_on(self.options.tick_s, Tick())
        self.delivery.expire(self.clock)
        self.delivery.gauge()

    def on_receive(self, message: Envelope) -> None:
        """Take one turn; what came together is handed over together."""
        super().on_receive(message)
        if self.commits.turn_ends(self.pressing):
            self.commits.submit()

    def before_commit(self) -> int:
        """Nobody but this store hears of its rows."""
        return 0

    def committed(self, _: int) -> None:
        """Effects may leave."""

    def stopped(self) -> None:
        """Make durable what is not."""
        self.commits.stop()

    # Keys

    @handles(keys.GetKey)
    def get_key(self, ask: keys.GetKey) -> Later:
        """Draw keys, hold them durably for the slaves, then answer."""
        self.serving.check()
        check_request(ask)
        self._check_pairs(ask.master, ask.slaves)
        answer = self.later()
        self._when_known(partial(self._draw, ask, answer), answer, ask.within)
        return answer

    def _when_known(self, serve: Callable[[], None], answer: Later, within: float) -> None:
        """Serve a request once it is known what SAEs may have."""
        until = self.clock.now + min(within, self.plan.request_timeout_s)
        self.gate.when_known(Request(serve, answer, until))

    def _draw(self, ask: keys.GetKey, answer: Later) -> None:
        self.serving.check()  # the node may be stopping since it has waited
        total = ask.number * ask.size
        self.accounts.wanted(ask.master, ask.slaves, self.system.now())
        self.gate.check(ask.master, ask.slaves, total)
        self._check_room(ask.master, ask.slaves, total)
        octets = self.system.random(total)
        id_ = self.system.random(keys.ID_OCTETS)
        self._hold(ask, id_, octets)
        body = keys.Keys(grant=id_, size=ask.size, octets=Secret(octets))
        self.commits.effect(lambda: answer(body))
        self.system.meter.add("protokms_keys_issued", ask.number, peer=self.plan.peer, mode="own")

    def _check_room(self, master: str, slaves: tuple[str, ...], octets: int) -> None:
        for slave in slaves:
            self.gate.check_stock(master, slave, octets, self._left(master, slave))
        self.held.check_room(master, slaves, octets)

    def _left(self, master: str, slave: str) -> int:
        """Octets of a pair that may still lie unfetched."""
        most, room = self.gate.stock(master, slave), self.held.room(master, slave)
        return min(room, max(0, most.octets - self.held.load(master, slave))) if most else room

    def _check_pairs(self, master: str, slaves: tuple[str, ...]) -> None:
        if not self.options.allow_same_node:
            raise Refused("not_allowed", "keys between SAEs of the same KMS are switched off")
        if master in slaves and not self.options.allow_loopback_pairs:
            raise Refused("not_allowed", "an SAE may not share keys with itself here")

    def _hold(self, ask: keys.GetKey | keys.Prepare, id_: bytes, octets: bytes) -> None:
        self.gate.take(ask.master, ask.slaves, len(octets))
        ttl_s = self.gate.ttl_s(ask.master, ask.slaves, self.options.ttl_s)
        ends = (ask.size, ask.number, ask.master, ask.slaves, "own", ttl_s)
        self.held.hold(Grant(id_, (), *ends), octets, self.clock)
        self.accounts.given(ask.master, ask.slaves, len(octets), self.system.now())

    @handles(keys.Prepare)
    def give(self, ask: keys.Prepare) -> Later:
        """Hold keys that are also brought to other KMSs, for slaves at this one."""
        self.serving.check()
        check_request(ask)
        if len(ask.octets) != ask.number * ask.size or len(ask.grant) != keys.ID_OCTETS:
            raise Refused("malformed", "these are no such keys")
        self._check_pairs(ask.master, ask.slaves)
        if self.held.knows(ask.grant):
            raise Refused("malformed", "a grant is given once")
        if ask.grant in self._giving:
            raise Refused("malformed", "a grant is given once")
        answer = self.later()
        within = self.plan.request_timeout_s
        if not self.gate.waits or len(self._giving) >= LATE_MAX:
            self._giving.clear()  # who is left there has waited in vain
        self._giving[ask.grant] = answer
        self._when_known(partial(self._give, ask, answer), answer, within)
        return answer

    def _give(self, ask: keys.Prepare, answer: Later) -> None:
        if self._giving.pop(ask.grant, None) is not answer:
            raise Refused("timeout", "taken back")
        self.serving.check()
        self.gate.check(ask.master, ask.slaves, len(ask.octets))
        self._check_room(ask.master, ask.slaves, len(ask.octets))
        self._hold(ask, ask.grant, ask.octets.reveal())
        self.commits.effect(lambda: answer(keys.Prepared(grant=ask.grant)))

    @handles(keys.Settle)
    def settle(self, _: keys.Settle) -> None:
        """The master is answered: it is held like any other."""

    @handles(keys.Abort)
    def take_back(self, ask: keys.Abort) -> None:
        """Void a grant whose master was not answered; harmless when it is not held."""
        if self._giving.pop(ask.grant, None):
            return
        if ask.grant in self.held.holdings:
            self.held.void(ask.grant, ())
        elif self.held.loading and len(self._late) < LATE_MAX:
            self._late.add(ask.grant)

    @handles(keys.GetStatus)
    def get_status(self, ask: keys.GetStatus) -> Later:
        """As many as may lie undelivered."""
        check_status(ask)
        return self.gate.tell_when_known(partial(self._stock, ask))

    def _stock(self, ask: keys.GetStatus) -> keys.Stock:
        self.gate.permit(ask.master, (ask.slave,))
        room = self._left(ask.master, ask.slave) // ask.size
        most = self.options.max_undelivered_bits_per_pair // 8 // ask.size
        may = self.gate.count(ask.master, ask.slave, ask.size)
        stored = room if may is None else min(room, may)
        return keys.Stock(stored=stored if self.options.allow_same_node else 0, capacity=most)

    @handles(usage.AskUsage)
    def on_ask_usage(self, _: usage.AskUsage) -> usage.Usage:
        """Tell who takes keys: nothing comes in, they are drawn."""
        pairs = self.accounts.pairs(self.system.now())
        return usage.Usage(
            skr=0.0, eskr=0.0, measured=0.0, comes=False, stock_bits=0, why="", pairs=pairs
        )

    @handles(Health)
    def health(self, _: Health) -> Healthy:
        """Always well: it needs nobody."""
        return Healthy(ready=not self.serving.draining, reasons=(), facts=(("source", "csprng"),))
