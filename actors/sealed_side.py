"""The slaves' side of sealed grants: verified, opened once, held like any other (R4, R9, P5)."""

from collections import Counter

from actors import one_time
from actors.base import System, handles
from actors.keeper import StoreOptions
from actors.one_time import Forged
from actors.protocol import grants
from actors.protocol.grants import Refusal
from actors.slaves_side import SEALED, SlavesSide

TRIES_MAX = 3
"""So many frames that do not verify end the pad they name."""
FORGED_MAX = 1024


class SealedSide(SlavesSide):
    """Opens what the owner has drawn for SAEs here."""

    def __init__(self, system: System, name: str, options: StoreOptions) -> None:
        super().__init__(system, name, options)
        self._forged: Counter[bytes] = Counter()

    @handles(grants.GrantSealed)
    def on_sealed(self, word: grants.GrantSealed) -> None:
        """Hold a grant for SAEs here; the same id again is acknowledged again."""
        if not self.admit(word.head):
            return
        code = self._hold_sealed(word)
        if code == "held":
            self.acknowledge([word.grant.id], (), [])
        elif code != "wait":
            self.note_refused(word.grant.id, code)
            self.acknowledge([], (), [Refusal(word.grant.id, code)])

    def _hold_sealed(self, word: grants.GrantSealed) -> str:
        """Hold it; return `held`, `wait`, or the code of the refusal."""
        grant = word.grant
        if self.vault.knows(grant.id):
            return "void" if self.vault.voided(grant.id) else "held"
        total = grant.number * grant.size
        if grant.mode != SEALED or len(word.sealed) != total:
            return "malformed"
        code = self.check_grant(grant)
        if code:
            return code
        place = one_time.grant_place((self.store, self.system.node), word.head, grant)
        try:
            octets = one_time.open_(self.cut(grant.pieces), word.sealed, word.tag, place)
        except Forged:
            return self._is_forged(grant)
        self._forged.pop(grant.id, None)
        self.keep(grant, octets, self.clock)
        return "held"

    def _is_forged(self, grant: grants.Grant) -> str:
        """The true one may come yet; not for ever, or somebody could guess on."""
        self._forged[grant.id] += 1
        self.system.meter.add("protokms_grants_forged", peer=self.store)
        if self._forged[grant.id] < TRIES_MAX:
            if len(self._forged) > FORGED_MAX:
                del self._forged[next(iter(self._forged))]
            return "wait"
        del self._forged[grant.id]
        self.alarm("forged")
        self.stream.mark(grant.pieces)
        self.vault.void(grant.id, grant.pieces)
        self.standing.count()
        return "forged"
