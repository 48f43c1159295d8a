"""Where the two ends of a store stand with each other: starts, epoch, ledger seq (R7).

No actor, no clock, no I/O. Both ends run this; `docs/protocol.md` has the pictures.
"""

from enum import Enum

from actors.protocol.blocks import Head, Resume, ResumeAsk
from actors.storage.journal import Journal, Shelf

Epoch = tuple[int, int]
FIRST_EPOCH: Epoch = (1, 0)
LIMIT = 1 << 62


class ResumeOutcome(Enum):
    """What a Resume means."""

    IGNORED = "no answer to the open question"
    BEHIND = "the peer is in a lower epoch and will join ours"
    RESUMED = "both ends stand at the same place"
    ROLLED_BACK = "one end has forgotten what the other has seen"
    JOIN = "the peer is in a higher epoch"


class PeeringState:
    """The position of this end, durable in one row, and what is known of the peer's."""

    def __init__(self, journal: Journal, shelf: Shelf, start: int) -> None:
        self._journal = journal
        self.start, self.peer, self.nonce, self.resumed = start, 0, 0, False
        self.epoch, self.seq, self.seen = FIRST_EPOCH, 0, 0
        self.frozen = False
        self.stale = False
        """Whether `seen` has moved since the row was written: it rides in the next commit."""
        for _, clear, _ in shelf.each("standing"):
            number, random, self.seq, self.seen, self.frozen = clear
            self.epoch = (number, random)
        self.committed = self.seq
        """The seq of the last commit that returned: words that wait for no commit carry it."""

    def save(self) -> None:
        """Write the row; every commit that follows a counted change has it."""
        value = [*self.epoch, self.seq, self.seen, self.frozen]
        self._journal.put("standing", b"", value)
        self.stale = False

    def count(self) -> None:
        """Count a row of which the peer may hear."""
        self.seq += 1
        self.save()

    @property
    def ready(self) -> bool:
        """May this end allocate?"""
        return self.resumed and not self.frozen

    def head(self, *, now: bool = False) -> Head:
        """Make the head of a word; `now` = it waits for no commit."""
        seq = self.committed if now else self.seq
        return Head(self.start, self.peer, *self.epoch, seq)

    # Resume

    def ask(self, nonce: int) -> ResumeAsk:
        """Open a question, or repeat the open one; until its answer no other word counts."""
        self.resumed = False
        self.nonce = self.nonce or nonce
        return ResumeAsk(
            start=self.start, number=self.epoch[0], random=self.epoch[1], nonce=self.nonce
        )

    def must_ask(self, word: ResumeAsk) -> bool:
        """Tell whether the peer's question shows that we do not know where it stands."""
        higher = (word.number, word.random) > self.epoch
        return (word.start != self.peer or higher) and not self.nonce

    def reply(self, word: ResumeAsk) -> Resume:
        """Answer the peer's question; goes out after the commit of what it speaks of."""
        return Resume(
            start=self.start,
            number=self.epoch[0],
            random=self.epoch[1],
            nonce=word.nonce,
            seq=self.seq,
            seen=self.seen,
        )

    def judge(self, word: Resume) -> ResumeOutcome:
        """Judge the answer to the open question; `RESUMED` opens the store."""
        if not self.nonce or word.nonce != self.nonce or not _sane(word):
            return ResumeOutcome.IGNORED
        self.nonce = 0
        theirs = (word.number, word.random)
        if theirs > self.epoch:
            return ResumeOutcome.JOIN
        if theirs < self.epoch:
            return ResumeOutcome.BEHIND
        if word.seq < self.seen or self.seq < word.seen:
            return ResumeOutcome.ROLLED_BACK
        self.resumed, self.peer = True, word.start
        self._see(word.seq)
        return ResumeOutcome.RESUMED

    def admits(self, head: Head) -> bool:
        """Tell whether a word counts; if not, `doubtful` says whether to ask."""
        if not self.resumed or not self._same(head) or (head.number, head.random) != self.epoch:
            return False
        self._see(head.seq)
        return True

    def doubtful(self, head: Head) -> bool:
        """Tell whether a refused word shows an unknown start or a higher epoch."""
        higher = (head.number, head.random) > self.epoch
        return not self.nonce and (not self._same(head) or higher)

    def enter(self, epoch: Epoch) -> None:
        """Begin an epoch; the caller destroys what the old one held."""
        self.epoch, self.seq, self.seen, self.frozen = epoch, 0, 0, False
        self.committed, self.resumed, self.nonce = 0, False, 0
        self.save()

    def freeze(self) -> None:
        """Allocate nothing and hold nothing any more, durably, until an operator resets."""
        self.frozen = True
        self.save()

    @property
    def datagram_epoch(self) -> bytes:
        """The starts of both ends in an order both agree on: 16 octets."""
        low, high = sorted((self.start, self.peer))
        return low.to_bytes(8, "big") + high.to_bytes(8, "big")

    def _same(self, head: Head) -> bool:
        return (head.mine, head.yours) == (self.peer, self.start)

    def _see(self, seq: int) -> None:
        if seq > self.seen and seq < LIMIT:
            self.seen = seq
            self.stale = True


def _sane(word: Resume) -> bool:
    numbers = (word.start, word.number, word.random, word.seq, word.seen)
    return word.start > 0 and all(0 <= n < LIMIT for n in numbers)
