"""Keys for two SAEs of the same KMS: drawn from the CSPRNG, with the same life cycle."""

from actors.base import Later, handles
from actors.keeper import Keeper, check_request
from actors.protocol import keys
from actors.protocol.common import Health, Healthy, Refused
from actors.protocol.grants import Grant
from transport.message import Secret


class OwnStore(Keeper):
    """Serves pairs of SAEs at this node; no quantum link has a part in it, and it says so."""

    @handles(keys.GetKey)
    def get_key(self, ask: keys.GetKey) -> Later:
        """Draw keys, hold them durably for the slaves, then answer."""
        self.not_draining()
        check_request(ask)
        self._check_pairs(ask.master, ask.slaves)
        total = ask.number * ask.size
        for slave in ask.slaves:
            self.check_load(ask.master, slave, total)
        octets = self.system.random(total)
        id_ = self.system.random(keys.ID_OCTETS)
        self._hold(ask, id_, octets)
        answer = self.later()
        body = keys.Keys(grant=id_, size=ask.size, octets=Secret(octets))
        self.effect(lambda: answer(body))
        self.system.meter.add("protokms_keys_issued", ask.number, peer=self.store, mode="own")
        return answer

    def _check_pairs(self, master: str, slaves: tuple[str, ...]) -> None:
        if not self.options.allow_same_node:
            raise Refused("not_allowed", "keys between SAEs of the same KMS are switched off")
        if master in slaves and not self.options.allow_loopback_pairs:
            raise Refused("not_allowed", "an SAE may not share keys with itself here")

    def _hold(self, ask: keys.GetKey | keys.Give, id_: bytes, octets: bytes) -> None:
        ends = (ask.size, ask.number, ask.master, ask.slaves, "own", self.options.ttl_s)
        self.vault.hold(Grant(id_, (), *ends), octets, self.clock)

    @handles(keys.Give)
    def give(self, ask: keys.Give) -> Later:
        """Hold keys that are also brought to other KMSs, for slaves at this one."""
        self.not_draining()
        check_request(ask)
        if len(ask.octets) != ask.number * ask.size or len(ask.grant) != keys.ID_OCTETS:
            raise Refused("malformed", "these are no such keys")
        self._check_pairs(ask.master, ask.slaves)
        if self.vault.knows(ask.grant):
            raise Refused("malformed", "a grant is given once")
        for slave in ask.slaves:
            self.check_load(ask.master, slave, len(ask.octets))
        self._hold(ask, ask.grant, ask.octets.reveal())
        answer = self.later()
        self.effect(lambda: answer(keys.Given(grant=ask.grant)))
        return answer

    @handles(keys.Settle)
    def settle(self, _: keys.Settle) -> None:
        """The master is answered: it is held like any other."""

    @handles(keys.TakeBack)
    def take_back(self, ask: keys.TakeBack) -> None:
        """Void a grant whose master was not answered; harmless when it is not held."""
        if ask.grant in self.vault.holdings:
            self.vault.void(ask.grant, ())

    @handles(keys.GetStatus)
    def get_status(self, ask: keys.GetStatus) -> keys.Stock:
        """As many as may lie undelivered."""
        room = self.room(ask.master, ask.slave) // ask.size
        most = self.options.max_undelivered_bits_pair // 8 // ask.size
        return keys.Stock(stored=room if self.options.allow_same_node else 0, capacity=most)

    @handles(Health)
    def health(self, _: Health) -> Healthy:
        """Always well: it needs nobody."""
        return Healthy(ready=not self.draining, reasons=(), facts=(("source", "csprng"),))
