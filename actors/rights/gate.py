"""Whether SAEs may have the keys that they ask for: by what `intent` has said, and not before."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from actors.base import Context, Later, Part, handles
from actors.protocol import intent, keys, rights
from actors.protocol.common import Failed, Refused
from actors.rights.right import Home, Least, Limit, Most, Right, Ways, joint, right_of
from actors.rights.spending import NOTHING, Charge, Spending
from transport.envelope import Address
from transport.message import Message, local

ASK_S = 2.0
AGAIN_S = 0.1
"""So soon `intent` is asked again if it has not answered, as while it starts anew."""
WAITING_MAX = 256
"""Requests that wait, as many as for a peer."""
PAIRS_MAX = 4096
"""Masters with slaves of which is remembered what they may have; of others it is found anew."""


NEVER = -1e9


class Request(NamedTuple):
    """A request, what to do with it once it may be judged, and until when somebody waits."""

    serve: Callable[[], None]
    answer: Later
    until: float


@local
class AskAgain(Message):
    """Time to ask once more, for those who wait."""


class Gate(Part):
    """Lets requests wait until it is known what SAEs may have, and refuses what they may not.

    What is known holds for `rights.FRESH_S`; so no row that was taken out lives on in a store of
    which a fresh `intent` knows nothing. `known`: to be used for good, where nobody keeps rows.
    `paths` tells over how many disjoint paths every bit in store has come; without it that is of
    no account, as where keys stay at one KMS.
    """

    def __init__(
        self,
        context: Context,
        home: Home,
        known: rights.Rights | None = None,
        paths: Callable[[], int] | None = None,
    ) -> None:
        self._context, self._home, self._paths = context, home, paths
        self._intent = Address(intent.NAME, context.address.node)
        self._rights, self._asks = known, known is None
        self._asked_at, self._known_at = NEVER, NEVER
        self._found: dict[tuple[str, tuple[str, ...]], Right] = {}
        self.changes = 0
        """How often it was told what SAEs may have, or where they are."""
        self._spending = Spending()
        self._waiting: list[Request] = []
        self._asking = False

    # What is known

    def begin(self) -> None:
        """Ask until it is known."""
        if self._rights is None:
            self._ask()

    def when_known(self, request: Request) -> None:
        """Serve this now, or when `intent` has answered; `Refused("busy")`."""
        if self._is_fresh:
            request.serve()
            return
        if len(self._waiting) >= WAITING_MAX:
            raise Refused("busy", "too many requests wait to hear what SAEs may have")
        self._waiting.append(request)
        self._ask()

    @property
    def waits(self) -> bool:
        """Whether requests wait."""
        return bool(self._waiting)

    def tell_when_known(self, found: Callable[[], Message]) -> Later:
        """Answer the question of this turn with what is found then."""
        answer = self._context.later()
        self.when_known(Request(lambda: answer(found()), answer, self._now + ASK_S))
        return answer

    @property
    def _is_fresh(self) -> bool:
        return not self._asks or self._now - self._known_at < rights.FRESH_S

    def _ask(self) -> None:
        if not self._asking:
            self._asking = True
            then = partial(self._answered, self._now)
            self._context.ask(self._intent, rights.AskRights(), then, ASK_S)

    def _answered(self, asked_at: float, reply: Message) -> None:
        self._asking = False
        if isinstance(reply, rights.Rights):
            self._known_at = asked_at
            self._take(reply)
            waited, self._waiting = self._waiting, []
            for request in waited:
                self._serve(request)
        elif self._waiting or self._rights is None:
            self._context.remind(AGAIN_S, AskAgain())

    @handles(AskAgain)
    def ask_again(self, _: AskAgain) -> None:
        """Ask for those who wait still, and end the requests of others."""
        if self._context.sender != self._context.address:
            raise Refused("not_allowed", "a timer is the actor's own")
        late = [it for it in self._waiting if self._is_late(it)]
        self._waiting = [it for it in self._waiting if not self._is_late(it)]
        for request in late:
            self._serve(request)
        self._ask()

    def _is_late(self, request: Request) -> bool:
        return request.until <= self._now

    def _serve(self, request: Request) -> None:
        """Serve what has waited; not for somebody who waits no more, as bits would be burnt."""
        try:
            if self._is_late(request):
                raise Refused("not_ready", "it is not known what SAEs may have")
            request.serve()
        except Refused as no:
            request.answer(Failed(code=no.code, why=str(no)))

    @handles(rights.Rights)
    def on_rights(self, news: rights.Rights) -> None:
        """Rows have changed."""
        if self._context.sender == self._intent:
            self._take(news)

    def _take(self, news: rights.Rights) -> None:
        if news is not self._rights:  # what is told again is the same
            self._rights = news
            self.moved()

    def moved(self) -> None:
        """The directory has changed: SAEs may be elsewhere."""
        self._found.clear()
        self.changes += 1

    # What a pair may have

    def permit(self, master: str, slaves: tuple[str, ...]) -> tuple[Limit, ...]:
        """Refuse pairs that may have nothing at all, as far as is known: `not_permitted`.

        Return the limits of those that may have something.
        """
        if not self._is_fresh:
            self._ask()
        joint = self._joint(master, slaves)
        if joint.no:
            raise self.refused("not_permitted", joint.no)
        return joint.limits

    def check(self, master: str, slaves: tuple[str, ...], octets: int, ahead: int = 0) -> None:
        """Refuse these too if they may not have so many octets now: `over_rate`.

        And if the bits in store are not for them: `too_few_paths`. `ahead` are octets that are to
        be taken before.
        """
        self.check_paths(master, slaves)
        wait, limit = self._wait(master, slaves, octets, ahead)
        if limit and wait:
            raise self.refused("over_rate", f"{limit.rule} gives {limit.rate:,} bit/s")

    def check_paths(self, master: str, slaves: tuple[str, ...]) -> None:
        """Refuse pairs for which bits have to come over more paths: `too_few_paths`."""
        if why := self.lacks_paths(master, slaves):
            raise self.refused("too_few_paths", why)

    def lacks_paths(self, master: str, slaves: tuple[str, ...]) -> str:
        """Return why bits of this store are not for these; empty: they are."""
        ways, there = self.ways(master, slaves), self._paths() if self._paths else None
        if ways is None or there is None or ways.paths <= there:
            return ""
        return (
            f"{ways.rule} wants bits that come over {ways.paths} disjoint paths, not {there}: "
            f"`protokms session add --paths {ways.paths}`; a quantum link is one path"
        )

    def ways(self, master: str, slaves: tuple[str, ...]) -> Ways | None:
        """Return over how many paths bits for these have to come; None: no row says."""
        return self._joint(master, slaves).ways

    def _wait(
        self, master: str, slaves: tuple[str, ...], octets: int, ahead: int = 0
    ) -> tuple[float, Limit | None]:
        limits = self.permit(master, slaves)
        if not limits:
            return 0.0, None
        return self._spending.wait(limits, 8 * octets, self._now, 8 * ahead)

    def refused(self, code: str, why: str) -> Refused:
        """Count that a row does not let a request pass, and say why."""
        self._context.system.meter.add("protokms_rights_refused", code=code)
        return Refused(code, why)

    def take(self, master: str, slaves: tuple[str, ...], octets: int) -> Charge:
        """So many octets of keys are set aside for these."""
        limits = self._joint(master, slaves).limits
        return self._spending.take(limits, 8 * octets, self._now) if limits else NOTHING

    def give_back(self, charge: Charge) -> None:
        """No keys were made of what was taken so."""
        self._spending.give_back(charge, self._now)

    def count(self, master: str, slave: str, size: int) -> int | None:
        """Return how many keys of so many octets a pair may have now; None: there is no limit."""
        limits = self._joint(master, (slave,)).limits
        bits = self._spending.bits(limits, 8 * size, self._now)
        return None if bits is None else bits // (8 * size)

    def ttl_s(self, master: str, slaves: tuple[str, ...], usual: float) -> float:
        """Return for how many seconds new keys of these live."""
        found = self._joint(master, slaves).ttl_s
        return usual if found is None else float(found)

    def stock(self, master: str, slave: str) -> Most | None:
        """Return how much of a pair may lie unfetched; None: no row says."""
        return self._joint(master, (slave,)).stock

    def check_stock(self, master: str, slave: str, octets: int, left: int) -> None:
        """Refuse keys of a pair of which, as far as is known, `left` may still lie there."""
        most = self.stock(master, slave)
        if most and octets > left:
            why = f"{most.rule} lets {8 * most.octets:,} bits of these SAEs lie unfetched"
            raise self.refused("over_stock", why)

    def weight(self, master: str, slaves: tuple[str, ...]) -> int:
        """Return how many turns these have for one of others, while requests wait."""
        return self._joint(master, slaves).weight

    def least(self, here: str, there: str) -> dict[rights.Pair, Least]:
        """Return what is kept for pairs of an SAE at one KMS and one at the other."""
        found: dict[rights.Pair, Least] = {}
        for (master, slave), entitled in self._rights.entitled.items() if self._rights else ():
            at = self._home(master), self._home(slave)
            if entitled.application.min_bandwidth and self._rights and at == (here, there):
                least = right_of(self._rights, master, slave, self._home).least
                found |= {(master, slave): least} if least else {}
        return found

    def _joint(self, master: str, slaves: tuple[str, ...]) -> Right:
        """Return what all these pairs may have of the same keys; a limit of several counts once."""
        key = master, slaves
        found = self._found.get(key)
        if found is None:
            if self._rights is None:
                raise Refused("not_ready", "it is not known yet what SAEs may have")
            if len(self._found) >= PAIRS_MAX:
                self._found.clear()
            each = [right_of(self._rights, master, slave, self._home) for slave in slaves]
            found = self._found[key] = joint(each)
        return found

    @handles(keys.AskTurn)
    def on_ask_turn(self, ask: keys.AskTurn) -> Later:
        """Say in how many seconds these may have keys, as far as rows say."""
        return self.tell_when_known(partial(self._turn, ask))

    def _turn(self, ask: keys.AskTurn) -> keys.Wait:
        wait, _ = self._wait(ask.master, ask.slaves, ask.octets)
        return keys.Wait(seconds=wait)

    @handles(keys.CheckRate)
    def on_check_rate(self, ask: keys.CheckRate) -> Later:
        """Say whether these may have keys now, as far as rows say."""
        return self.tell_when_known(partial(self._within_rate, ask))

    def _within_rate(self, ask: keys.CheckRate) -> keys.WithinRate:
        self.check(ask.master, ask.slaves, ask.octets, ask.ahead)
        return keys.WithinRate()

    @property
    def _now(self) -> float:
        return self._context.system.now()
