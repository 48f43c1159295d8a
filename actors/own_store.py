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
        if not self.options.allow_same_node:
            raise Refused("not_allowed", "keys between SAEs of the same KMS are switched off")
        if ask.master in ask.slaves and not self.options.allow_loopback_pairs:
            raise Refused("not_allowed", "an SAE may not share keys with itself here")
        total = ask.number * ask.size
        for slave in ask.slaves:
            self.check_load(ask.master, slave, total)
        octets = self.system.random(total)
        id_ = self.system.random(keys.ID_OCTETS)
        grant = Grant(
            id_, (), ask.size, ask.number, ask.master, ask.slaves, "own", self.options.ttl_s
        )
        self.vault.hold(grant, octets, self.clock)
        answer = self.later()
        body = keys.Keys(grant=id_, size=ask.size, octets=Secret(octets))
        self.effect(lambda: answer(body))
        self.system.meter.add("protokms_keys_issued", ask.number, peer=self.store, mode="own")
        return answer

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
