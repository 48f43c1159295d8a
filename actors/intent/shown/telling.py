"""Who is told what happens: front ends that have subscribed, each word under the next number."""

from actors.base import Context, Part, handles
from actors.protocol import intent
from actors.protocol.common import Refused
from actors.protocol.intent import Entry, Happened
from transport.envelope import Address


class Telling(Part):
    """Tells those who have subscribed, as long as they say so again."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._until: dict[Address, float] = {}
        self._number = 0

    @property
    def heard(self) -> bool:
        """Whether anybody is told."""
        now = self._context.system.now()
        return any(until > now for until in self._until.values())

    @handles(intent.Subscribe)
    def on_subscribe(self, _: intent.Subscribe) -> intent.Subscribed:
        """Tell the sender, for a while."""
        now, sender = self._context.system.now(), self._context.sender
        self._until = {to: until for to, until in self._until.items() if until > now}
        if sender not in self._until and len(self._until) >= intent.SUBSCRIBERS_MAX:
            raise Refused("not_allowed", f"{intent.SUBSCRIBERS_MAX} have subscribed already")
        self._until[sender] = now + intent.SUBSCRIBED_S
        return intent.Subscribed(number=self._number + 1)

    def happened(
        self,
        at: float,
        event: str,
        key: tuple[str, str],
        *,
        text: str = "",
        severity: str = "",
        entry: Entry | None = None,
    ) -> None:
        """Tell all of them; `at` is a time of day."""
        self._number += 1
        kind, id_ = key
        word = Happened(
            number=self._number,
            at=at,
            event=event,
            kind=kind,
            id=id_,
            text=text[: intent.TEXT_MAX],
            severity=severity,
            entry=entry,
        )
        now = self._context.system.now()
        for to, until in self._until.items():
            if until > now:
                self._context.tell(to, word)
