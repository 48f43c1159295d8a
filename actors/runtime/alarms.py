"""The alarms of a node: kept until they end by themselves, or an operator ends them.

A bad link's quarantine is ended by the store of the link, which is asked here: `alarm clear` and
`link clear` are one word to it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from actors.base import Actor, Later, System, handles
from actors.protocol import alarms, links
from actors.protocol.alarms import ALARMS_MAX, APART, APART_MAX, HAND, KINDS, SUBJECT_MAX, TEXT_MAX
from actors.protocol.common import Failed, Health, Healthy, Refused
from transport.envelope import Address
from transport.message import Message, local

CLEAR_S = 5.0
"""Seconds for which a store may take to end a quarantine."""

QUARANTINE = "bad_bits"


@dataclass(slots=True)
class Standing:
    """One alarm: since when, and when last; seconds since boot."""

    since: float
    last: float
    text: str
    by: str = ""
    """The name of whoever raised it."""


@dataclass(slots=True)
class Board:
    """What outlives the actor: the alarms by id and subject, the oldest first."""

    standing: dict[tuple[str, str], Standing] = field(default_factory=dict)
    dropped: int = 0


@local
class Fade(Message):
    """Time to look which alarms were not raised again."""


class Alarms(Actor):
    """Hears of trouble from the actors of a node, and tells operators.

    `board` is handed to the next life of this actor, should it crash.
    """

    def __init__(self, system: System, name: str, board: Board) -> None:
        super().__init__(system, name)
        self._board = board

    def started(self) -> None:
        """Go on where the last life ended."""
        for id_ in KINDS:
            self._gauge(id_)
        self._fade_later()

    @handles(alarms.Raised)
    def raised(self, news: alarms.Raised) -> None:
        """Keep it; of one that is there already the last text counts."""
        kind = KINDS.get(news.id)
        if kind is None:
            self.log.error("alarm_not_known", id=news.id[:SUBJECT_MAX])
            return
        if not self._may(news.id):
            return
        key, now = (news.id, news.subject[:SUBJECT_MAX]), self.system.now()
        text = news.text[:TEXT_MAX] or kind.meaning
        known = self._board.standing.get(key)
        if known:
            if self._may_touch(known):
                known.last, known.text, known.by = now, text, self.sender.name
            return
        by = self.sender.name
        apart = kind_of(by)
        standing = self._board.standing.items()
        of_kind = [key for key, each in standing if apart and kind_of(each.by) == apart]
        if len(of_kind) >= APART_MAX:
            self._drop(of_kind[0])
        elif len(self._board.standing) >= ALARMS_MAX:
            self._drop(next(iter(self._board.standing)))
        self._board.standing[key] = Standing(now, now, text, by)
        self._gauge(news.id)
        self.log.warning("alarm_raised", id=key[0], subject=key[1], text=text)
        if kind.fades_s:
            self._fade_later()

    @handles(alarms.Ended)
    def ended(self, news: alarms.Ended) -> None:
        """Whoever has raised it says that all is well, or that it is gone itself."""
        if not news.id:
            self._end_all_of(self.sender.name)
            return
        key = news.id, news.subject[:SUBJECT_MAX]
        known = self._board.standing.get(key)
        if known and self._may(news.id) and self._may_touch(known):
            self._end(key)

    @handles(alarms.ListAlarms)
    def list_alarms(self, _: alarms.ListAlarms) -> alarms.AlarmList:
        """Tell of all of them."""
        now = self.system.now()
        rows = tuple(
            alarms.Alarm(
                id_,
                subject,
                max(0.0, now - known.since),
                known.text,
                KINDS[id_].remedy.format(subject=subject or "PEER"),
                KINDS[id_].clears,
            )
            for (id_, subject), known in self._board.standing.items()
        )
        return alarms.AlarmList(alarms=rows, dropped=self._board.dropped)

    @handles(alarms.ClearAlarm)
    def clear(self, ask: alarms.ClearAlarm) -> alarms.AlarmsCleared | Later:
        """End what an operator may end; of a quarantine, the store decides."""
        found = [key for key in self._board.standing if self._meant(ask, key)]
        if not found:
            raise Refused("no_such_alarm", f"{ask.id} {ask.subject}".strip())
        if KINDS[ask.id].clears != HAND:
            why = f"{ask.id} ends by itself when the cause is gone"
            raise Refused("not_allowed", why)
        if ask.id == QUARANTINE:
            return self._end_quarantines([subject for _, subject in found])
        for key in found:
            self._end(key)
        return alarms.AlarmsCleared(n=len(found))

    @handles(Fade)
    def fade(self, _: Fade) -> None:
        """End what was not raised again for long."""
        if self.sender != self.address:
            return
        now = self.system.now()
        for key, known in list(self._board.standing.items()):
            fades_s = KINDS[key[0]].fades_s
            if fades_s and now - known.last >= fades_s:
                self._end(key)
        self._fade_later()

    @handles(Health)
    def health(self, _: Health) -> Healthy:
        """Name the ids there are: alarms are for people, and no reason to be not ready."""
        ids = dict.fromkeys(id_ for id_, _ in self._board.standing)
        return Healthy(ready=True, reasons=(), facts=(("alarms", " ".join(ids)),))

    @staticmethod
    def _meant(ask: alarms.ClearAlarm, key: tuple[str, str]) -> bool:
        return key[0] == ask.id and ask.subject in ("", key[1])

    def _end_quarantines(self, peers: list[str]) -> Later:
        """Ask the stores; what they end they report, as they do after `link clear`."""
        answer, waits = self.later(), len(peers)
        refused: list[Failed] = []

        def told(peer: str) -> Callable[[Message], None]:
            def then(reply: Message) -> None:
                nonlocal waits
                waits -= 1
                if isinstance(reply, Failed):
                    refused.append(reply)
                else:
                    self._end((QUARANTINE, peer))
                if not waits:
                    answer(refused[0] if refused else alarms.AlarmsCleared(n=len(peers)))

            return then

        for peer in peers:
            store = Address(f"key_store/{peer}", self.system.node)
            self.ask(store, links.ClearQuarantine(), told(peer), CLEAR_S)
        return answer

    def _end(self, key: tuple[str, str]) -> None:
        if self._board.standing.pop(key, None):
            self._gauge(key[0])
            self.log.info("alarm_over", id=key[0], subject=key[1])

    def _end_all_of(self, name: str) -> None:
        """End what nobody else would: its raiser is gone, and with it what it knew."""
        for key, known in list(self._board.standing.items()):
            kind = KINDS[key[0]]
            if known.by == name and kind.clears != HAND and not kind.fades_s:
                self._end(key)

    def _may_touch(self, known: Standing) -> bool:
        """Tell whether the sender may change this one: who may live apart changes its own (R19)."""
        return not kind_of(self.sender.name) or known.by == self.sender.name

    def _may(self, id_: str) -> bool:
        """Tell whether the sender has to do with this; who may live apart has its own trouble."""
        by = kind_of(self.sender.name)
        if not by or id_ in APART[by]:
            return True
        self.log.warning("alarm_not_theirs", id=id_[:SUBJECT_MAX], sender=self.sender.name)
        return False

    def _drop(self, key: tuple[str, str]) -> None:
        del self._board.standing[key]
        self._board.dropped += 1
        self.system.meter.add("protokms_alarms_dropped")
        self._gauge(key[0])

    def _gauge(self, id_: str) -> None:
        n = sum(1 for key in self._board.standing if key[0] == id_)
        self.system.meter.set("protokms_alarms_standing", n, id=id_)

    def _fade_later(self) -> None:
        """Set the timer for the next that may fade, if there is one."""
        due = [
            known.last + KINDS[id_].fades_s
            for (id_, _), known in self._board.standing.items()
            if KINDS[id_].fades_s
        ]
        if due:
            self.go_on(max(0.0, min(due) - self.system.now()), Fade())


def kind_of(name: str) -> str:
    """Return the kind of an actor if it is one that may live beside core, else nothing."""
    kind, _, which = name.partition("/")
    core = kind == "node" and not which
    return kind if kind in APART and not core else ""
