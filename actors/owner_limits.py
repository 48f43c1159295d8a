"""What an owner knows of the keys that lie unfetched at the slaves' side (R9, R12, P9)."""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

from actors.base import Later, System, handles
from actors.issuer import Issuer
from actors.keeper import StoreOptions
from actors.one_time import KEY_OCTETS
from actors.protocol import grants, keys
from actors.protocol.common import Failed, Refused
from actors.sealed_side import SealedSide
from actors.segment import NEVER
from actors.vault import Clock
from actors.waking import SLEEPERS_MAX, Sleeper, serve_all

ASK_EVERY_S = 0.1
BELIEVED_S = 10.0
"""How long a status believes what the slaves' side said; the slaves may have fetched since."""
PAIRS_MAX = 1 << 16
"""Pairs of which is known when the slaves' side was asked and heard; others are asked anew."""


T = TypeVar("T")


class Asked(NamedTuple):
    """A request that has no bits yet."""

    ask: keys.GetKey | keys.Give
    answer: Later
    until: float
    words: int = 0
    """How often the peer had said by then what is not fetched."""

    @property
    def octets(self) -> int:
        """How many octets of the stream it takes."""
        tag_key = KEY_OCTETS if isinstance(self.ask, keys.Give) else 0
        return self.ask.number * self.ask.size + tag_key


class Heard(NamedTuple):
    """When the peer has said what is not fetched of a pair, and with which of its words."""

    at: float
    word: int


NOTHING = Heard(NEVER, 0)


class Unsure(NamedTuple):
    """A request for keys, and the pairs of which the peer is asked first."""

    pairs: frozenset[tuple[str, str]]
    sleeper: Sleeper


class OwnerLimits(SealedSide):
    """Checks limits where a refusal of the peer would come too late; counts for a status."""

    issuer: Issuer

    def __init__(self, system: System, name: str, options: StoreOptions) -> None:
        super().__init__(system, name, options)
        self._load_asked: dict[tuple[str, str], float] = {}
        self.words = 0
        """How often the peer has said what is not fetched."""
        self._load_heard: dict[tuple[str, str], Heard] = {}
        """Since both ends came in step: before, the other one may have held anything."""
        self._full: dict[tuple[str, str], int] = {}
        """Pairs for which the peer has refused keys, and how much room it has told of since."""
        self._loads_seq = 0
        """Where the peer's ledger was when it said the last of that."""
        self._unsure: list[Unsure] = []
        """Requests that wait for word of what was not fetched."""

    def check_ends(self, master: str, slaves: tuple[str, ...]) -> None:
        """Refuse what is not between an SAE here and SAEs at the peer (P5)."""
        if not self.homes:
            raise Refused("not_ready", "the directory is on its way")
        if any(self.homes.get(slave) != self.store for slave in slaves):
            raise Refused("not_allowed", f"not every SAE is at {self.store}")
        if self.homes.get(master) != self.system.node:
            raise Refused("not_allowed", "the master SAE is not at this KMS")

    def check_touch(self) -> None:
        """Refuse while nothing may be allocated; a distant peer that is only idle is woken up."""
        if self.idle:
            return
        if not self.peer_up:
            raise Refused("peer_down", f"{self.store} does not answer")
        if self.standing.frozen:
            raise Refused("frozen", "the store is frozen; an operator must reset it")
        if not self.standing.resumed:
            raise Refused("not_ready", f"not in step with {self.store} yet")

    def when_in_touch(self, serve: Callable[[], None], answer: Later, until: float) -> None:
        """Serve a request now, or once a distant peer that is idle has woken up."""
        if self.idle:
            self.wait_for_peer(Sleeper(serve, answer, until))
        else:
            serve()

    def claim(self, octets: int) -> None:
        """Refuse what SAEs here may not take now, and see to it that there is more (R13)."""
        self.want(octets)
        if octets > self.shares.for_local(self.stream.stock):
            self.demand.refused(octets)
            self.shares.wish = max(self.shares.wish, min(octets, self.max_octets // 4))
            raise Refused("no_keys", "not enough key material")

    def heard_loads(self, seq: int, loads: tuple[grants.Load, ...]) -> None:
        """Believe what the peer says of pairs of an SAE here and one of its own (P5).

        Not if it said something later before: since then it may hold more.
        """
        if seq < self._loads_seq:
            return
        self._loads_seq = seq
        told = set()
        self.words += 1
        for load in loads:
            here = self.homes.get(load.master) == self.system.node
            if here and self.homes.get(load.slave) == self.store:
                self.issuer.loads.told(load)
                pair = load.master, load.slave
                _keep(self._load_heard, pair, Heard(self.clock.now, self.words))
                if pair in self._full:
                    self._full[pair] = load.room
                told.add(pair)
        woken = [it for it in self._unsure if not it.pairs.isdisjoint(told)]
        self._unsure = [it for it in self._unsure if it.pairs.isdisjoint(told)]
        serve_all(it.sleeper for it in woken)

    def must_ask(self, asked: Asked) -> list[str]:
        """Of which slaves the peer must say first what is not fetched (R12).

        Those for which there seem to be too many keys: since its last word the slaves may have
        fetched. In `local` mode those of which it has said nothing yet, too; in `confirmed` mode
        it is the peer who refuses, so only those for which it has, as that has burnt bits.
        """
        return [slave for slave in asked.ask.slaves if self._is_unsure(asked, slave)]

    def _is_unsure(self, asked: Asked, slave: str) -> bool:
        pair = asked.ask.master, slave
        heard = self._load_heard.get(pair)
        if heard and heard.word > asked.words:
            return False  # it has said so since this request came
        if self.options.mode == "local":
            return heard is None or asked.octets > self._peer_room(*pair)
        return pair in self._full

    def note_full(self, master: str, slave: str) -> None:
        """The peer has refused keys of this pair, since too many are not fetched."""
        _keep(self._full, (master, slave), 0)
        self.ask_load(master, slave)

    def wait_for_loads(self, master: str, slaves: list[str], sleeper: Sleeper) -> None:
        """Serve this once the peer has said what these slaves have not fetched."""
        if len(self._unsure) >= SLEEPERS_MAX:
            raise Refused("busy", f"too many requests wait for {self.store}")
        self._unsure.append(Unsure(frozenset((master, slave) for slave in slaves), sleeper))
        for slave in slaves:
            self.ask_load(master, slave, waits=True)

    def on_resumed(self) -> None:
        """The peer may have gone back to a time when it held more."""
        self._load_heard.clear()
        self._load_asked.clear()
        self._full.clear()
        self._loads_seq = 0
        super().on_resumed()

    def on_tick(self, now: Clock) -> None:
        """Ask again for those who wait, and give up on word that does not come."""
        sleepers, self._unsure = [it.sleeper for it in self._unsure], []
        for late in (it for it in sleepers if it.until <= now.now):
            late.answer(Failed(code="timeout", why=f"{self.store} did not say what it holds"))
        serve_all(it for it in sleepers if it.until > now.now)
        super().on_tick(now)

    def check_peer_load(self, master: str, slave: str, octets: int) -> None:
        """Check what the peer last said where its refusal would come too late (R12).

        A local grant is never refused for limits; a confirmed one that is has burnt its bits.
        """
        pair = master, slave
        if self.options.mode == "local":
            room = self._peer_room(master, slave)
        else:
            room = self._full.get(pair, octets)
        if octets > room:
            self.ask_load(master, slave)
            raise Refused("too_many_undelivered", "fetch the keys that wait before asking for more")
        self._full.pop(pair, None)

    def ask_load(self, master: str, slave: str, *, waits: bool = False) -> None:
        """The slaves may have fetched since: ask, so that the next question may pass.

        Now and then; or, if somebody waits, unless an answer is on its way.
        """
        now, pair = self.clock.now, (master, slave)
        known = self.homes.get(slave) == self.store and self.in_touch
        asked = self._load_asked.get(pair, NEVER)
        answered = waits and self._load_heard.get(pair, NOTHING).at >= asked
        if known and (answered or now - asked >= ASK_EVERY_S):
            _keep(self._load_asked, pair, now)
            head = self.standing.head(now=True)
            self.tell(self.peer, grants.LoadQuery(head=head, master=master, slave=slave))

    def _peer_room(self, master: str, slave: str) -> int:
        loads, options = self.issuer.loads, self.options
        pair = options.max_undelivered_bits_pair // 8 - loads.of_pair(master, slave)
        sae = options.max_undelivered_bits_sae // 8 - loads.of_slave(slave)
        return max(0, min(pair, sae))

    @handles(keys.GetStatus)
    def get_status(self, ask: keys.GetStatus) -> keys.Stock:
        """What could be handed out now; nothing while the store does not serve (P9).

        What lies unfetched at the peer is as it was last told: it is asked for at each status, so
        that the second of two in a row is right.
        """
        stored = 0
        serves = not (self.standing.frozen or self.draining or self.system.disk_full)
        if self.reachable and serves:
            stored = self.shares.for_local(self.stream.stock)
            heard = self._load_heard.get((ask.master, ask.slave), NOTHING)
            recent = self.clock.now - heard.at < BELIEVED_S
            if recent or self.options.mode == "local":
                stored = min(stored, self._peer_room(ask.master, ask.slave))
            self.ask_load(ask.master, ask.slave)
        return keys.Stock(stored=stored // ask.size, capacity=self.max_octets // ask.size)


def _keep(table: dict[tuple[str, str], T], pair: tuple[str, str], value: T) -> None:
    table[pair] = value
    if len(table) > PAIRS_MAX:
        del table[next(iter(table))]
