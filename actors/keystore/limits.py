"""The owner's view of undelivered keys at the peer: limits, and a status (R9, R12, P9)."""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeVar

from actors.base import Clock, Context, Later, Part, handles
from actors.keystore.options import StoreOptions
from actors.keystore.serving import Homes, Serving
from actors.ledger.issued import Issued
from actors.ledger.pair_reserves import PairReserves
from actors.ledger.segment import NEVER
from actors.ledger.shares import Shares
from actors.ledger.stream import Stream
from actors.protocol import grants, keys
from actors.protocol.common import Failed, Refused
from actors.rights.gate import Gate
from actors.sync.demand import Demand
from actors.sync.peering import PENDING_MAX, Peering, PendingRequest, serve_all

ASK_EVERY_S = 0.1
BELIEVED_S = 10.0
"""How long a status believes what the slaves' side said; the slaves may have fetched since."""
PAIRS_MAX = 1 << 16
"""Pairs of which is known when the slaves' side was asked and heard; others are asked anew."""

Pair = tuple[str, str]
T = TypeVar("T")


class Heard(NamedTuple):
    """When the peer has said what is not fetched of a pair, and with which of its words."""

    at: float
    word: int


NOTHING = Heard(NEVER, 0)


@dataclass(slots=True)
class Since:
    """What the peer has come to hold of a pair, and that may not be in what it last said of it.

    `asked` are those octets that it held when it was asked for its next word: they will be in it.
    """

    octets: int = 0
    asked: int | None = None
    told: bool = False
    """Whether it has said anything since this is counted."""

    def tell(self) -> None:
        """It has said what it holds."""
        self.told = self.told or self.asked is not None
        self.octets, self.asked = self.octets - (self.asked or 0), None


class Unsure(NamedTuple):
    """A request for keys, and the pairs of which the peer is asked first."""

    pairs: frozenset[Pair]
    request: PendingRequest


class Limits(Part):
    """Checks limits where a refusal of the peer would come too late; counts for a status."""

    def __init__(
        self,
        context: Context,
        peer: Peering,
        gate: Gate,
        *,
        stream: Stream,
        issued: Issued,
        shares: Shares,
        demand: Demand,
        homes: Homes,
        reserves: PairReserves,
        serving: Serving,
        options: StoreOptions,
    ) -> None:
        self._context, self._peer, self._stream = context, peer, stream
        self._gate = gate
        self._issued, self._undelivered, self._shares = issued, issued.undelivered, shares
        self._homes, self._serving, self._options = homes, serving, options
        self._reserves, self._demand = reserves, demand
        self.words = 0
        """How often the peer has said what is not fetched."""
        self._asked: dict[Pair, float] = {}
        self._heard: dict[Pair, Heard] = {}
        """Since both ends came in step: before, the other one may have held anything."""
        self._since: dict[Pair, Since] = {}
        """Pairs of which policies let so much lie unfetched."""
        self._full: dict[Pair, int] = {}
        """Pairs for which the peer has refused keys, and how much room it has told of since."""
        self._unsure: list[Unsure] = []
        """Requests that wait for word of what was not fetched."""

    def hear(self, seq: int, loads: tuple[grants.Load, ...]) -> None:
        """Believe what the peer says of pairs of an SAE here and one of its own (P5).

        Not if it said something later of that pair before: since then it may hold more.
        """
        told = set()
        self.words += 1
        for load in loads:
            here = self._homes.get(load.master) == self._context.address.node
            there = self._homes.get(load.slave) == self._peer.name
            if here and there and self._undelivered.told(load, seq):
                pair = load.master, load.slave
                _keep(self._heard, pair, Heard(self._context.clock.now, self.words))
                if pair in self._full:
                    self._full[pair] = load.room
                if since := self._since.get(pair):
                    since.tell()
                told.add(pair)
        woken = [it for it in self._unsure if not it.pairs.isdisjoint(told)]
        self._unsure = [it for it in self._unsure if it.pairs.isdisjoint(told)]
        serve_all(it.request for it in woken)

    def must_ask(
        self,
        master: str,
        slaves: tuple[str, ...],
        octets: int,
        since: int,
        *,
        sealed: bool = False,
    ) -> list[str]:
        """Of which slaves the peer must say first what is not fetched (R12).

        Those for which there seem to be too many keys: since its last word the slaves may have
        fetched. In `local` mode those of which it has said nothing yet, too; in `confirmed` mode
        it is the peer who refuses, so only those for which it has, as that has burnt bits.
        Of a pair with a policy of its own that is as in `local` mode; of `sealed` keys only that
        counts. `since`: how often the peer had said so when the request came.
        """
        ask = self._is_unsure if not sealed else self._is_unsure_of_stock
        return [slave for slave in slaves if ask((master, slave), octets, since)]

    def _is_unsure_of_stock(self, pair: Pair, octets: int, since: int) -> bool:
        heard, known = self._heard.get(pair), self._since.get(pair)
        if not self._gate.stock(*pair):
            return False
        if heard is None or known is None or not known.told:
            return True
        return octets > self._left(*pair) and heard.word <= since

    def _left(self, master: str, slave: str) -> int:
        """Octets that may still lie unfetched, by the policy of a pair; without one, no end."""
        most = self._gate.stock(master, slave)
        if most is None:
            return 8 * self._options.max_bits
        there = self._undelivered.of_pair(master, slave) + self._issued.under_way(master, slave)
        since = self._since.get((master, slave))
        return max(0, most.octets - there - (since.octets if since else 0))

    def note_held(self, grant: grants.Grant) -> None:
        """The peer holds one more, and does not say how many that makes."""
        for slave in grant.slaves:
            if since := self._since.get((grant.master, slave)):
                since.octets += grant.number * grant.size

    def _is_unsure(self, pair: Pair, octets: int, since: int) -> bool:
        if self._is_unsure_of_stock(pair, octets, since):
            return True
        heard = self._heard.get(pair)
        if heard and heard.word > since:
            return False  # it has said so since this request came
        if self._options.mode == "local":
            return heard is None or octets > self._peer_room(*pair)
        return pair in self._full

    def note_full(self, master: str, slave: str) -> None:
        """The peer has refused keys of this pair, since too many are not fetched."""
        _keep(self._full, (master, slave), 0)
        self._ask(master, slave)

    def wait_for_word(self, master: str, slaves: list[str], request: PendingRequest) -> None:
        """Serve this once the peer has said what these slaves have not fetched."""
        if len(self._unsure) >= PENDING_MAX:
            raise Refused("busy", f"too many requests wait for {self._peer.name}")
        self._unsure.append(Unsure(frozenset((master, slave) for slave in slaves), request))
        for slave in slaves:
            self._ask(master, slave, waits=True)

    def check_stock(self, master: str, slaves: tuple[str, ...], octets: int) -> None:
        """Refuse more than policies let lie unfetched of a pair: `over_stock`."""
        for slave in slaves:
            if self._gate.stock(master, slave) and octets > (left := self._left(master, slave)):
                self._ask(master, slave)
                self._gate.check_stock(master, slave, octets, left)

    def check(self, master: str, slaves: tuple[str, ...], octets: int) -> None:
        """Check what the peer last said where its refusal would come too late (R12).

        A local grant is never refused for limits; a confirmed one that is has burnt its bits.
        """
        for slave in slaves:
            pair = master, slave
            if self._options.mode == "local":
                room = self._peer_room(master, slave)
            else:
                room = self._full.get(pair, octets)
            if octets > room:
                self._ask(master, slave)
                why = "fetch the keys that wait before asking for more"
                raise Refused("too_many_undelivered", why)
            self._full.pop(pair, None)

    def _ask(self, master: str, slave: str, *, waits: bool = False) -> None:
        """The slaves may have fetched since: ask, so that the next question may pass.

        Now and then; or, if somebody waits, unless an answer is on its way.
        """
        now, pair = self._context.clock.now, (master, slave)
        known = self._homes.get(slave) == self._peer.name and self._peer.in_touch
        asked = self._asked.get(pair, NEVER)
        answered = waits and self._heard.get(pair, NOTHING).at >= asked
        if known and (answered or now - asked >= ASK_EVERY_S):
            _keep(self._asked, pair, now)
            if self._gate.stock(master, slave):
                _keep(self._since, pair, self._since.get(pair) or Since())
                mine = self._since[pair]
                mine.asked = mine.octets if mine.asked is None else mine.asked
            head = self._peer.state.head(now=True)
            word = grants.LoadQuery(head=head, master=master, slave=slave)
            self._peer.tell(word)

    def _peer_room(self, master: str, slave: str) -> int:
        loads, options = self._undelivered, self._options
        pair = options.max_undelivered_bits_per_pair // 8 - loads.of_pair(master, slave)
        sae = options.max_undelivered_bits_per_sae // 8 - loads.of_slave(slave)
        return max(0, min(pair, sae))

    @handles(keys.GetStatus)
    def get_status(self, ask: keys.GetStatus) -> Later:
        """What could be handed out now; nothing while the store does not serve (P9).

        What lies unfetched at the peer is as it was last told: it is asked for at each status, so
        that the second of two in a row is right.
        """
        keys.check_status(ask)
        return self._gate.tell_when_known(partial(self._stock, ask))

    def _stock(self, ask: keys.GetStatus) -> keys.Stock:
        self._gate.permit(ask.master, (ask.slave,))
        self._demand.named()
        stored = 0
        serves = not (self._peer.state.frozen or self._serving.stopped)
        serves = serves and not self._gate.lacks_paths(ask.master, (ask.slave,))
        if self._peer.reachable and serves:
            there = self._shares.for_local(self._stream.stock)
            now = self._context.clock.now
            stored = self._reserves.may_take((ask.master, ask.slave), there, now)
            heard = self._heard.get((ask.master, ask.slave), NOTHING)
            recent = self._context.clock.now - heard.at < BELIEVED_S
            if recent or self._options.mode == "local":
                stored = min(stored, self._peer_room(ask.master, ask.slave))
            stored = min(stored, self._left(ask.master, ask.slave))
            self._ask(ask.master, ask.slave)
        count = stored // ask.size
        may = self._gate.count(ask.master, ask.slave, ask.size)
        capacity = self._options.max_bits // 8 // ask.size
        return keys.Stock(stored=count if may is None else min(count, may), capacity=capacity)

    # What befalls the store

    def resumed(self) -> None:
        """The peer may have gone back to a time when it held more."""
        self._heard.clear()
        self._asked.clear()
        self._since.clear()
        self._full.clear()
        self._undelivered.began_anew()

    @property
    def quiet(self) -> bool:
        """Whether nobody waits to hear what the peer holds."""
        return not self._unsure

    def tick(self, now: Clock) -> None:
        """Ask again for those who wait, and give up on word that does not come."""
        requests, self._unsure = [it.request for it in self._unsure], []
        for late in (it for it in requests if it.until <= now.now):
            why = f"{self._peer.name} did not say what it holds"
            late.answer(Failed(code="timeout", why=why))
        serve_all(it for it in requests if it.until > now.now)


def _keep(table: dict[Pair, T], pair: Pair, value: T) -> None:
    table[pair] = value
    if len(table) > PAIRS_MAX:
        del table[next(iter(table))]
