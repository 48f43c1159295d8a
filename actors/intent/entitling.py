"""What SAEs may have, told to those who give keys out: they keep to it, and refuse by it."""

import math
from collections.abc import Callable, Iterable
from types import MappingProxyType
from typing import Protocol

from actors.base import Context, Part, handles
from actors.intent.rows import Book, Kept
from actors.protocol import intent
from actors.protocol.common import Refused
from actors.protocol.intent import Application, Policy
from actors.protocol.rights import FRESH_S, OPEN, AskRights, Entitled, Pair, Rights, Rule
from transport.envelope import Address
from transport.message import Message, local

ASKERS_MAX = 1 << 16


@local
class TimeIsUp(Message):
    """The time of an application may be over."""


class Keeper(Context, Protocol):
    """The actor, and what it knows."""

    book: Book


class Entitling(Part):
    """Says what durable rows come to, and says it anew at each change; the clock makes some, too.

    `controlled`: nobody has keys without an application.
    """

    def __init__(self, keeper: Keeper, *, controlled: bool, wall: Callable[[], float]) -> None:
        self._keeper, self._controlled, self._wall = keeper, controlled, wall
        self.rights = OPEN
        """What durable rows came to at the last look."""
        self._revision, self._since, self._end = -1, 0.0, 0.0
        """Of which rows these are made, and between which times of day they hold."""
        self._until: dict[Address, float] = {}
        """Who has asked, and until when it hears of changes: the first to end comes first."""

    @handles(AskRights)
    def on_ask(self, _: AskRights) -> Rights:
        """Tell the rows of now, and for a while those of later."""
        now, sender = self._keeper.system.now(), self._keeper.sender
        self._until.pop(sender, None)
        self._forget(now)
        if len(self._until) >= ASKERS_MAX:
            raise Refused("busy", f"{ASKERS_MAX} have asked already")
        self._until[sender] = now + 2 * FRESH_S
        self.look()
        return self.rights

    @handles(TimeIsUp)
    def time_is_up(self, _: TimeIsUp) -> None:
        """See whether it is."""
        if self._keeper.sender == self._keeper.address:
            self.look()

    def look(self) -> None:
        """Tell what has changed since the last look; see to it that there is a next one in time."""
        at = self._wall()
        if self._keeper.book.revision.number != self._revision or not self._since <= at < self._end:
            self._work_out(at)
        if self._end < math.inf:
            self._keeper.go_on(self._end - at, TimeIsUp())

    def _work_out(self, at: float) -> None:
        """See what rows come to now: once for each revision, as all stores ask again and again."""
        rows = list(self._keeper.book)
        ends = [it.body.expires for it in rows if isinstance(it.body, Application)]
        self._revision, self._since = self._keeper.book.revision.number, at
        self._end = min((end for end in ends if end is not None and end > at), default=math.inf)
        made = rights_of(rows, at, controlled=self._controlled)
        if made != self.rights:
            self.rights = made
            self._tell()

    def _forget(self, now: float) -> None:
        """Forget who has asked no more for long, as a store that was removed."""
        while self._until and next(iter(self._until.values())) <= now:
            del self._until[next(iter(self._until))]

    def _tell(self) -> None:
        self._forget(self._keeper.system.now())
        for to in self._until:
            self._keeper.tell(to, self.rights)


def rights_of(rows: Iterable[Kept], at: float, *, controlled: bool) -> Rights:
    """Return what rows come to at a time of day, in seconds since 1970.

    Of several applications that name a pair the one with the fewest slaves counts, and one whose
    time is over only if there is no other.
    """
    entitled: dict[Pair, Entitled] = {}
    rules = []
    for kept in rows:
        if isinstance(kept.body, Policy):
            rules.append(Rule(kept.id, kept.body))
        elif isinstance(kept.body, Application) and kept.body.kind == intent.CLIENT:
            app = kept.body
            made = Entitled(kept.id, app, app.expires is not None and app.expires <= at)
            for slave in app.slaves:
                pair = app.master, slave
                entitled[pair] = min(made, entitled.get(pair, made), key=_order)
    rules.sort(key=lambda rule: (rule.policy.order, rule.name))
    return Rights(controlled=controlled, entitled=MappingProxyType(entitled), rules=tuple(rules))


def _order(entitled: Entitled) -> tuple[bool, int, str]:
    return entitled.over, len(entitled.application.slaves), entitled.id
