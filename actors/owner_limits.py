"""What an owner knows of the keys that lie unfetched at the slaves' side (R9, R12, P9)."""

from collections.abc import Callable

from actors.base import Later, System, handles
from actors.issuer import Issuer
from actors.keeper import StoreOptions
from actors.protocol import grants, keys
from actors.protocol.common import Refused
from actors.sealed_side import SealedSide
from actors.shared_stream import REPEATS_MAX
from actors.stream import NEVER
from actors.waking import Sleeper

ASK_EVERY_S = 0.1
BELIEVED_S = 10.0
"""How long a status believes what the slaves' side said; the slaves may have fetched since."""


class OwnerLimits(SealedSide):
    """Checks the limits of `local` grants, and counts what a status may promise."""

    issuer: Issuer

    def __init__(self, system: System, name: str, options: StoreOptions) -> None:
        super().__init__(system, name, options)
        self._load_asked: dict[str, float] = {}
        self._load_heard: dict[str, float] = {}

    def check_ends(self, master: str, slaves: tuple[str, ...]) -> None:
        """Refuse what is not between an SAE here and SAEs at the peer (P5)."""
        if not self.homes:
            raise Refused("not_ready", "the directory is on its way")
        if any(self.homes.get(slave) != self.store for slave in slaves):
            raise Refused("not_allowed", f"not every SAE is at {self.store}")
        if self.homes.get(master) != self.system.node:
            raise Refused("not_allowed", "the master SAE is not at this KMS")

    def check_touch(self) -> None:
        """Refuse while nothing may be allocated; a distant peer that is only idle is woken up."""
        if self.idle:
            return
        if not self.peer_up:
            raise Refused("peer_down", f"{self.store} does not answer")
        if self.standing.frozen:
            raise Refused("frozen", "the store is frozen; an operator must reset it")
        if not self.standing.resumed:
            raise Refused("not_ready", f"not in step with {self.store} yet")

    def when_in_touch(self, serve: Callable[[], None], answer: Later, until: float) -> None:
        """Serve a request now, or once a distant peer that is idle has woken up."""
        if self.idle:
            self.wait_for_peer(Sleeper(serve, answer, until))
        else:
            serve()

    def claim(self, octets: int) -> None:
        """Refuse what SAEs here may not take now, and see to it that there is more (R13)."""
        self.want(octets)
        if octets > self.shares.for_local(self.stream.stock):
            self.demand.refused(octets)
            self.shares.wish = max(self.shares.wish, min(octets, self.max_octets // 4))
            raise Refused("no_keys", "not enough key material")

    def heard_loads(self, loads: tuple[grants.Load, ...]) -> None:
        """Believe what the peer says of pairs of an SAE here and one of its own (P5)."""
        for load in loads[:REPEATS_MAX]:
            here = self.homes.get(load.master) == self.system.node
            if here and self.homes.get(load.slave) == self.store:
                self.issuer.loads.told(load.master, load.slave, load.octets)
                self._load_heard[load.slave] = self.clock.now

    def check_peer_load(self, master: str, slave: str, octets: int) -> None:
        """A local grant is never refused by the peer for limits: check what it last said (R12)."""
        if octets > self._peer_room(master, slave):
            self.ask_load(slave, self.issuer.loads.masters(slave))
            raise Refused("too_many_undelivered", "fetch the keys that wait before asking for more")

    def ask_load(self, slave: str, masters: list[str]) -> None:
        """The slaves may have fetched since: ask, so that the next question may pass."""
        now = self.clock.now
        known = self.homes.get(slave) == self.store
        known = known and self.in_touch
        if masters and known and now - self._load_asked.get(slave, NEVER) >= ASK_EVERY_S:
            self._load_asked[slave] = now
            head, some = self.standing.head(now=True), tuple(masters[:REPEATS_MAX])
            self.tell(self.peer, grants.LoadQuery(head=head, slave=slave, masters=some))

    def _peer_room(self, master: str, slave: str) -> int:
        loads, options = self.issuer.loads, self.options
        pair = options.max_undelivered_bits_pair // 8 - loads.of_pair(master, slave)
        sae = options.max_undelivered_bits_sae // 8 - loads.of_slave(slave)
        return max(0, min(pair, sae))

    @handles(keys.GetStatus)
    def get_status(self, ask: keys.GetStatus) -> keys.Stock:
        """What could be handed out now; nothing while the store does not serve (P9).

        What lies unfetched at the peer is as it was last told: it is asked for at each status, so
        that the second of two in a row is right.
        """
        stored = 0
        serves = not (self.standing.frozen or self.draining or self.system.disk_full)
        if self.reachable and serves:
            stored = self.shares.for_local(self.stream.stock)
            recent = self.clock.now - self._load_heard.get(ask.slave, NEVER) < BELIEVED_S
            if recent or self.options.mode == "local":
                stored = min(stored, self._peer_room(ask.master, ask.slave))
            masters = self.issuer.loads.masters(ask.slave)
            self.ask_load(ask.slave, list(dict.fromkeys([ask.master, *masters])))
        return keys.Stock(stored=stored // ask.size, capacity=self.max_octets // ask.size)
