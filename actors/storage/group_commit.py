"""Rows and effects of many turns, one commit; effects leave when it returns (R8)."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from actors.base import Change, Context, Part, handles
from actors.storage.journal import Journal
from transport.message import Message, local

TURNS_MAX = 64
"""Turns after which what they have made is handed over, even if more messages wait."""
LAZY_S = 0.05
"""How long rows that nobody waits for may wait for a commit that somebody waits for."""
LAZY_ROWS_MAX = 256
EFFECTS_MAX = 10_000
"""Effects that may wait for a commit that does not return, as on a full disk."""

Commit = Callable[[Sequence[Change], Callable[[], None]], None]


@local
class FlushDue(Message):
    """Time to make durable what nobody has waited for."""


class Events(Protocol):
    """What the actor hears of its commits."""

    def before_commit(self) -> int:
        """Add what goes with every commit; return what `committed` is to hear of it."""
        ...

    def committed(self, mark: int) -> None:
        """Everything up to this mark is durable; effects leave after this."""
        ...


class GroupCommit(Part):
    """Collects rows, in the journal, and effects; while a commit is under way, for the next one."""

    def __init__(
        self, context: Context, journal: Journal, *, commit: Commit, events: Events
    ) -> None:
        self._context, self._journal = context, journal
        self._commit, self._events = commit, events
        self._effects: list[Callable[[], None]] = []
        self._turns = 0
        self._lazy = False
        self.busy = False
        """Whether a commit is under way."""

    def turn_ends(self, pressing: int) -> bool:
        """Count a turn; whether it is the last of those that came together.

        `pressing`: how many messages wait that are not in bulk: nobody waits for the others.
        """
        self._turns += 1
        if pressing and self._turns < TURNS_MAX:
            return False
        self._turns = 0
        return True

    def effect(self, act: Callable[[], None]) -> None:
        """Do this once everything collected so far is durable."""
        self._effects.append(act)

    def hurry(self) -> None:
        """Let what is collected wait for no other commit."""
        self.effect(_nothing)

    @property
    def overdue(self) -> bool:
        """Whether so much waits for a commit that more would only cost memory."""
        return len(self._effects) >= EFFECTS_MAX

    def submit(self) -> None:
        """Commit what is collected, unless a commit is under way: then its end does it."""
        while not self.busy and (len(self._journal) or self._effects):
            if not self._effects and len(self._journal) < LAZY_ROWS_MAX:
                self._wait_lazily()
                return
            mark = self._events.before_commit()
            changes, effects, self._effects = self._journal.take(), self._effects, []
            if changes:
                self.busy = True
                self._commit(changes, partial(self._committed, mark, effects))
            else:
                self._run(effects)  # which may collect more

    def _wait_lazily(self) -> None:
        """Rows that nobody waits for go with the next commit, or in a while."""
        if not self._lazy:
            self._lazy = True
            self._context.remind(LAZY_S, FlushDue())

    @handles(FlushDue)
    def flush(self, _: FlushDue) -> None:
        """Commit what has found no other."""
        if self._context.sender == self._context.address:
            self._lazy = False
            self.hurry()

    def _committed(self, mark: int, effects: list[Callable[[], None]]) -> None:
        self.busy = False
        self._events.committed(mark)
        self._run(effects)

    def _run(self, effects: list[Callable[[], None]]) -> None:
        for act in effects:
            act()

    def stop(self) -> None:
        """Make durable what is not, behind a commit under way; nobody hears of it any more.

        What is blank in memory must not wait on the disk for the next start.
        """
        if len(self._journal):
            self._events.before_commit()
            self._commit(self._journal.take(), _nothing)


def _nothing() -> None:
    """Be an effect for whose sake rows are committed."""
