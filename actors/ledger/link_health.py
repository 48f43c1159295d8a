"""What the tests of a link's bits say of its batches, and whether it is in quarantine (R21).

No actor, no clock, no I/O. Each end judges its own copy of a batch, before it is confirmed.
"""

from actors.ledger import health_tests
from actors.storage.journal import Journal, Shelf

GOOD, BAD, QUARANTINED = "good", "bad", "quarantined"
"""What an end says of a batch: it passes the tests; it does not; it does, of a link that did not.

A batch is confirmed only if both ends say that it is good.
"""


class LinkHealth:
    """One end's judgement; a quarantine lies in a row, since a restart must not end it."""

    def __init__(self, journal: Journal, shelf: Shelf, good_batches: int) -> None:
        self._journal, self._enough = journal, good_batches
        self.fault = ""
        """The test that was failed when the quarantine began; empty: there is none."""
        self.bad = 0
        """Batches that have failed a test in this life."""
        self._good = 0
        for _, self.fault, _ in shelf.each("quarantine"):
            pass

    def judge(self, octets: bytes) -> str:
        """Say what this end thinks of its copy of a batch; a bad one begins a quarantine.

        So many good ones in a row as an operator has chosen end it, the last of them included in
        what is discarded; 0: none do.
        """
        fault = health_tests.fault(octets)
        if fault:
            self.bad += 1
            self._good = 0
            self._begin(fault)
            return BAD
        if not self.fault:
            return GOOD
        self._good += 1
        if self._good == self._enough:
            self.clear()
        return QUARANTINED

    def _begin(self, fault: str) -> None:
        if not self.fault:
            self.fault = fault
            self._journal.put("quarantine", b"", fault)

    def clear(self) -> None:
        """End the quarantine, if there is one: what comes from now on counts again."""
        if self.fault:
            self._journal.drop("quarantine", b"")
        self.fault, self._good = "", 0
