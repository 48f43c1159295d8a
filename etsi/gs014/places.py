"""Where each SAE is at home: what a front end asks of its peer manager, piece by piece."""

from collections.abc import Callable
from dataclasses import dataclass

from actors.base import Context, Later, Part, handles
from actors.protocol import peers
from transport.envelope import Address
from transport.message import Message, local

ASK_S = 5.0
_SUBSCRIBE_S = 30.0
_UNHEARD_S = 0.5
WAITING_MAX = 16
"""Questions that may wait for a directory; the oldest is forgotten for a new one."""


@dataclass(frozen=True)
class Places:
    """Where each SAE is at home: KMS name by SAE id, and KME id by KMS name."""

    here: str
    kms: dict[str, str]
    ids: dict[str, str]


@local
class Renew(Message):
    """Time to subscribe again: a peer manager that was restarted has forgotten us."""


class PlacesReader(Part):
    """Reads the directory in pieces, one at a time; what was known before holds until all are in.

    `found` is called with every directory that was read.
    """

    def __init__(self, context: Context, *, found: Callable[[Places], None]) -> None:
        self._context, self._found = context, found
        self._known = -1
        """Serial of the directory that was found."""
        self._news: peers.HomesChanged | None = None
        """Of the directory that is being read."""
        self._next = 0
        self._asked = False
        self._kms: dict[str, str] = {}
        self._ids: dict[str, str] = {}
        self._waiting: list[tuple[int, Later]] = []
        """Who waits for which serial."""

    def subscribe(self) -> None:
        """Ask to be told of every directory."""
        self._context.tell(self._peer_manager(), peers.Subscribe())
        # The first question is lost when the peer manager is in a process that is not up yet.
        self._context.go_on(_UNHEARD_S if self._known < 0 else _SUBSCRIBE_S, Renew())

    @handles(Renew)
    def on_renew(self, _: Renew) -> None:
        """Subscribe again: also where an answer was lost, the news that follow go on from there."""
        self.subscribe()

    @handles(peers.HomesChanged)
    def on_changed(self, news: peers.HomesChanged) -> None:
        """Begin to read another directory, or go on with the one that is being read."""
        if self._context.sender != self._peer_manager() or news.serial == self._known:
            return
        if news != self._news:
            self._news, self._next, self._kms, self._ids = news, 0, {}, {}
        self._ask()

    @handles(peers.AwaitHomes)
    def on_await(self, ask: peers.AwaitHomes) -> peers.HomesInUse | Later:
        """Answer when that directory, or a newer one, is in use; the asker has a time-out."""
        if ask.serial <= self._known:
            return peers.HomesInUse(serial=self._known)
        answer = self._context.later()
        self._waiting = [*self._waiting[1 - WAITING_MAX :], (ask.serial, answer)]
        return answer

    def _ask(self) -> None:
        if self._asked or self._news is None:
            return
        self._asked = True
        question = peers.GetHomes(serial=self._news.serial, piece=self._next)
        self._context.ask(
            self._peer_manager(), question, lambda it: self._take(question, it), ASK_S
        )

    def _take(self, question: peers.GetHomes, answer: Message) -> None:
        self._asked = False
        news = self._news
        if news is None:
            return
        if question != peers.GetHomes(serial=news.serial, piece=self._next):
            self._ask()  # another directory has come meanwhile
            return
        if not isinstance(answer, peers.Homes):
            return  # it is asked again when we hear the news again
        self._kms.update(answer.saes)
        self._ids.update(answer.ids)
        self._next += 1
        if self._next < news.pieces:
            self._ask()
            return
        self._known, self._news = news.serial, None
        self._found(Places(news.here, self._kms, self._ids))
        self._answer()

    def _answer(self) -> None:
        """Answer those who wait for what is in use now."""
        met = [answer for serial, answer in self._waiting if serial <= self._known]
        self._waiting = [one for one in self._waiting if one[0] > self._known]
        for answer in met:
            answer(peers.HomesInUse(serial=self._known))

    def _peer_manager(self) -> Address:
        return Address("peer_manager", self._context.system.node)
