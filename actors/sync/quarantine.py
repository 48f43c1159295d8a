"""The quarantine of a link whose bits fail the health tests: told, and ended by hand (R21)."""

from actors.base import Context, Later, Part, handles
from actors.ledger.link_health import LinkHealth
from actors.protocol import links
from actors.protocol.common import Refused
from actors.storage.group_commit import GroupCommit
from actors.sync.peering import Peering

ALARM = "bad_bits"


class Quarantine(Part):
    """Tells an operator of what the ledger has found, and the ledger of what an operator says.

    There is no `health` of a store without a quantum link: relayed bits are tested at the links
    of their origin.
    """

    def __init__(
        self, context: Context, peer: Peering, commits: GroupCommit, health: LinkHealth | None
    ) -> None:
        self._context, self._peer, self._commits = context, peer, commits
        self._health = health
        self._told, self._bad_told = "", 0

    @property
    def waits(self) -> tuple[str, ...]:
        """Why nothing of this link is taken, in words for an operator."""
        if not self._fault:
            return ()
        name, peer = self._context.address.name, self._peer.name
        why = f"{name}: its link is in quarantine, bits have failed a health test ({self._fault})"
        return (f"{why}; look at the module, then: protokms link clear {peer}",)

    @property
    def _fault(self) -> str:
        return self._health.fault if self._health else ""

    def facts(self) -> dict[str, str]:
        """Tell of a quantum link whether it is in quarantine: the test, or nothing."""
        return {"quarantine": self._fault} if self._health else {}

    def look(self) -> None:
        """Tell what has changed since it was last looked; after a start, that it goes on."""
        if self._health is None:
            return
        meter, peer = self._context.system.meter, self._peer.name
        if bad := self._health.bad - self._bad_told:
            self._bad_told = self._health.bad
            meter.add("protokms_batches_bad", bad, peer=peer)
        if self._told == self._fault:
            return
        began, self._told = not self._told, self._fault
        meter.set("protokms_link_quarantined", float(bool(self._fault)), peer=peer)
        if not self._fault:
            self._context.log.warning("quarantine_over", peer=peer)
            self._peer.end_alarm(ALARM)
        elif began:
            self._peer.alarm(ALARM, f"bits of the link have failed a test: {self._fault}")
            self._context.log.error("quarantine", peer=peer, test=self._fault)

    @handles(links.ClearQuarantine)
    def on_clear(self, _: links.ClearQuarantine) -> Later:
        """End it, durably; harmless when there is none."""
        if self._health is None:
            raise Refused("not_allowed", f"no quantum link leads to {self._peer.name}")
        answer, was = self._context.later(), self._fault
        self._health.clear()
        self.look()
        self._commits.effect(lambda: answer(links.QuarantineCleared(test=was)))
        return answer
