"""Keys for masters here, out of the bits both ends share: reserved, then allocated (R9)."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from actors.base import Clock, Context, Later, Part, handles
from actors.crypto import one_time_pad
from actors.crypto.one_time_pad import KEY_OCTETS
from actors.keystore.announcements import Announcements
from actors.keystore.limits import Limits
from actors.keystore.options import StorePlan
from actors.keystore.serving import Homes, Serving
from actors.ledger.issued import Issued, Waiting
from actors.ledger.pair_reserves import Aside, Claim, Pair, PairReserves
from actors.ledger.shares import Shares
from actors.ledger.stream import Stream
from actors.protocol import keys
from actors.protocol.common import Failed, Refused
from actors.protocol.grants import SEALED, Grant, Piece
from actors.protocol.keys import check_request
from actors.rights.fair_queue import FairQueue
from actors.rights.gate import Gate, Request
from actors.rights.spending import NOTHING, Charge
from actors.storage.group_commit import GroupCommit
from actors.sync.accounts import Accounts
from actors.sync.demand import Demand
from actors.sync.peering import Peering, PendingRequest
from actors.sync.segments import Segments

UNACKED_MAX = 4096
ASKED_MAX = 1024
ASKED_MAX_PAIR = 256
"""Requests that wait, of all pairs of SAEs, and of one."""
TURN_OCTETS = 4096
"""A pair takes so much when its turn comes; a larger request waits for some turns."""
ANNOUNCED_MAX = 128
"""Grants of one announcement."""


@dataclass(slots=True, eq=False)
class Asked:
    """A request that has no bits yet."""

    ask: keys.GetKey | keys.Prepare
    answer: Later
    until: float
    words: int = 0
    """How often the peer had said by then what is not fetched."""
    charge: Charge = NOTHING
    """What it has taken of its rates."""
    aside: Aside | None = None
    """What was set aside for it of what its pair may take."""

    @property
    def octets(self) -> int:
        """How many octets of the stream it takes."""
        tag_key = KEY_OCTETS if isinstance(self.ask, keys.Prepare) else 0
        return self.ask.number * self.ask.size + tag_key

    @property
    def pair(self) -> Pair:
        """The pair of SAEs whose turn it takes."""
        return self.ask.master, self.ask.slaves[0]


class Allocation(Part):
    """Queues requests for keys, and for pads of keys drawn elsewhere; serves them together."""

    def __init__(
        self,
        context: Context,
        peer: Peering,
        segments: Segments,
        limits: Limits,
        announcements: Announcements,
        *,
        gate: Gate,
        stream: Stream,
        issued: Issued,
        shares: Shares,
        demand: Demand,
        commits: GroupCommit,
        serving: Serving,
        homes: Homes,
        reserves: PairReserves,
        plan: StorePlan,
        accounts: Accounts,
    ) -> None:
        self._context, self._peer, self._segments = context, peer, segments
        self._accounts = accounts
        self._gate, self._limits, self._announcements = gate, limits, announcements
        self._stream, self._issued = stream, issued
        self._shares, self._demand = shares, demand
        self._commits, self._serving = commits, serving
        self._homes, self._reserves = homes, reserves
        self._request_s, self._options = plan.request_timeout_s, plan.options
        self._asked: FairQueue[Asked] = FairQueue(TURN_OCTETS, ASKED_MAX_PAIR)
        self._prepares: dict[bytes, Asked] = {}
        """Grants to be sealed that have no bits yet."""
        self._announcement = 0
        self._claims_of = -1
        """As of which change of what SAEs may have bits are kept for some of them."""

    # Requests

    @handles(keys.GetKey)
    def get_key(self, ask: keys.GetKey) -> Later:
        """Allocate keys; `Refused` spends nothing."""
        self._serving.check()
        self._check_touch()
        check_request(ask)
        most = self._segments.lease_octets
        if ask.number * ask.size > most:
            raise Refused("malformed", f"a request is for at most {most} octets")
        self._check_ends(ask.master, ask.slaves)
        self._accounts.wanted(ask.master, ask.slaves, self._context.clock.now)
        answer = self._context.later()
        seconds = min(ask.within, self._request_s)
        until = self._context.clock.now + seconds
        asked = Asked(ask, answer, until, self._limits.words)
        self._gate.when_known(Request(partial(self._admit, asked), answer, until))
        return answer

    def _admit(self, asked: Asked) -> None:
        """It is known what SAEs may have."""
        self._check_rights(asked.ask)
        self._take(asked)

    def _check_rights(self, ask: keys.GetKey | keys.Prepare) -> None:
        self._gate.check(ask.master, ask.slaves, ask.number * ask.size)

    def _take(self, asked: Asked) -> None:
        if isinstance(asked.ask, keys.Prepare):
            serve = partial(self._go_on, asked, asked.ask.grant)
        else:
            serve = partial(self._reserve, asked)
        self._when_in_touch(serve, asked)

    @handles(keys.Prepare)
    def prepare(self, ask: keys.Prepare) -> Later:
        """Allocate a pad for keys that were drawn elsewhere; `Refused` spends nothing."""
        self._serving.check()
        self._check_touch()
        check_request(ask)
        total, most = ask.number * ask.size, self._segments.lease_octets
        if total > most or len(ask.octets) != total:
            raise Refused("malformed", f"not so many octets, or more than {most}")
        if len(ask.grant) != keys.ID_OCTETS or self._is_known(ask.grant):
            raise Refused("malformed", "no such id, or one in use")
        self._check_ends(ask.master, ask.slaves)
        self._accounts.wanted(ask.master, ask.slaves, self._context.clock.now)
        answer = self._context.later()
        until = self._context.clock.now + self._request_s
        asked = self._prepares[ask.grant] = Asked(ask, answer, until, self._limits.words)
        try:
            begin = partial(self._begin_prepare, asked, ask.grant)
            self._gate.when_known(Request(begin, answer, until))
        except Refused:
            self._prepares.pop(ask.grant, None)
            raise
        return answer

    def _begin_prepare(self, asked: Asked, id_: bytes) -> None:
        """It is known what SAEs may have; it may have been aborted meanwhile."""
        if self._prepares.get(id_) is not asked:
            raise Refused("timeout", "taken back")
        try:
            self._check_rights(asked.ask)
            self._take(asked)
        except Refused:
            self._prepares.pop(id_, None)  # it may be asked for again
            raise

    def _is_known(self, id_: bytes) -> bool:
        issued = self._issued
        tables = (issued.waiting, issued.given, issued.voiding, issued.unacknowledged)
        return id_ in self._prepares or any(id_ in table for table in tables)

    def _go_on(self, asked: Asked, id_: bytes) -> None:
        """In touch; it may have been aborted meanwhile."""
        if self._prepares.get(id_) is not asked:
            raise Refused("timeout", "taken back")
        try:
            self._reserve(asked)
        except Refused:
            self._prepares.pop(id_, None)  # it may be asked for again
            raise

    @handles(keys.Abort)
    def abort(self, news: keys.Abort) -> None:
        """The master is not answered, and never will be."""
        queued = self._prepares.pop(news.grant, None)
        if queued:
            queued.answer(Failed(code="timeout", why="taken back"))
        self._announcements.abort(news.grant)

    def _check_ends(self, master: str, slaves: tuple[str, ...]) -> None:
        """Refuse what is not between an SAE here and SAEs at the peer (P5)."""
        peer = self._peer.name
        if not self._homes:
            raise Refused("not_ready", "the directory is on its way")
        if any(self._homes.get(slave) != peer for slave in slaves):
            raise Refused("not_allowed", f"not every SAE is at {peer}")
        if self._homes.get(master) != self._context.address.node:
            raise Refused("not_allowed", "the master SAE is not at this KMS")

    def _check_touch(self) -> None:
        """Refuse while nothing may be allocated; a distant peer that is only idle is woken up."""
        if self._peer.idle:
            return
        if not self._peer.up:
            raise Refused("peer_down", self._peer.why_down)
        if self._peer.state.frozen:
            raise Refused("frozen", "the store is frozen; an operator must reset it")
        if not self._peer.state.resumed:
            raise Refused("not_ready", f"not in step with {self._peer.name} yet")

    def _when_in_touch(self, serve: Callable[[], None], asked: Asked) -> None:
        """Serve a request now, or once a distant peer that is idle has woken up."""
        if self._peer.idle:
            self._peer.wait_for_peer(PendingRequest(serve, asked.answer, asked.until))
        else:
            serve()

    # Reservation

    def _reserve(self, asked: Asked) -> None:
        """Set bits aside for a request; it is served with all that came together."""
        ask, needed = asked.ask, asked.octets
        self._serving.check()  # it may have waited: for rights, for the peer, for word of it
        self._check_touch()
        self._check_ends(ask.master, ask.slaves)
        self._check_rights(ask)
        sealed, keys_of = isinstance(ask, keys.Prepare), ask.number * ask.size
        ends = ask.master, ask.slaves
        if unsure := self._limits.must_ask(*ends, keys_of, asked.words, sealed=sealed):
            waits = PendingRequest(partial(self._take, asked), asked.answer, asked.until)
            self._limits.wait_for_word(ask.master, unsure, waits)
            return
        self._limits.check_stock(*ends, keys_of)
        if not sealed:
            self._limits.check(*ends, needed)
        self._check_stock(asked.pair, needed)
        full = len(self._asked) >= ASKED_MAX or self._asked.full(asked.pair)
        if full or self._issued.unacked >= UNACKED_MAX:
            raise Refused("busy", "too many requests wait for the other KMS")
        self._shares.reserve(needed, self._stream.stock)
        asked.aside = self._reserves.take(asked.pair, needed, self._context.clock.now)
        asked.charge = self._gate.take(ask.master, ask.slaves, ask.number * ask.size)
        self._asked.put(asked.pair, needed, asked, self._gate.weight(ask.master, ask.slaves))

    def _check_stock(self, pair: Pair, octets: int) -> None:
        """Refuse what this pair may not take now, and see to it that there is more (R13)."""
        now = self._context.clock.now
        self.renew_claims(now)
        self._shares.asked(now)
        self._segments.want(octets)
        self._reserves.note(pair, now)
        there = self._shares.for_local(self._stream.stock)
        if octets > self._reserves.may_take(pair, there, now):
            self._demand.refused(octets)
            if octets > there:
                most = self._options.max_bits // 8 // 4
                self._shares.refill_target = max(self._shares.refill_target, min(octets, most))
                raise Refused("no_keys", "not enough key material")
            raise Refused("no_keys", "what is left is kept for other pairs of SAEs")

    def renew_claims(self, now: float) -> None:
        """Keep bits for whom rows want it, if these have changed."""
        if self._claims_of != self._gate.changes:
            self._claims_of = self._gate.changes
            least = self._gate.least(self._context.address.node, self._peer.name)
            claims = {pair: Claim(it.application, it.rate) for pair, it in least.items()}
            self._reserves.claim(claims, now)

    def _is_wanted(self, asked: Asked) -> bool:
        """Whether a request that has waited for bits is still to get them."""
        ask = asked.ask
        return not isinstance(ask, keys.Prepare) or self._prepares.get(ask.grant) is asked

    def _is_over(self, asked: Asked, now: Clock) -> bool:
        return asked.until <= now.now or not self._is_wanted(asked)

    def _forget(self, asked: Asked) -> None:
        """A request will get no bits."""
        if isinstance(asked.ask, keys.Prepare) and self._is_wanted(asked):
            del self._prepares[asked.ask.grant]

    def _give_up(self, asked: Asked, code: str, why: str) -> None:
        """No bit is given for it; who waits for it is told."""
        self._shares.release(asked.octets)
        self._give_back(asked)
        if self._is_wanted(asked):
            self._forget(asked)
            asked.answer(Failed(code=code, why=why))

    def _give_back(self, asked: Asked) -> None:
        """It counts towards no rate, nor towards what its pair has had."""
        self._gate.give_back(asked.charge)
        if asked.aside:
            self._reserves.give_back(asked.pair, asked.aside, self._context.clock.now)

    def _pass_over(self, asked: Asked) -> None:
        """Nobody waits for it any more, or it has waited too long and is told so."""
        self._give_up(asked, "timeout", "no usable key material in time")

    # Allocation

    def serve(self) -> None:
        """Serve pairs in turns, as far as bits and the announcements in flight allow."""
        if not (self._asked and self._peer.ready):
            return
        local = self._options.mode == "local"
        if self._commits.busy if local else self._announcements.window_full:
            return  # what waits goes out together: after this commit, or when the window opens
        made: list[Grant] = []
        self._announcement += 1
        now = self._context.clock
        while len(made) < ANNOUNCED_MAX and (asked := self._next(now)):
            if self._is_over(asked, now):
                self._pass_over(asked)
            elif not self._may_still(asked):
                continue
            elif isinstance(asked.ask, keys.Prepare):
                self._seal(asked, asked.ask, now)
            else:
                made.append(self._allocate(asked, asked.ask, now))
        self._segments.lease_ahead()
        if made:
            self._announcements.announce(made, now=not local)

    def _next(self, now: Clock) -> Asked | None:
        """Take out the request whose turn it is; while its lease is on its way, one that fits."""
        asked = self._asked.head()
        if asked is None:
            return None
        if asked.octets <= self._stream.usable or self._is_over(asked, now):
            return self._asked.take()
        self._segments.lease_more(asked.octets)
        return self._asked.take_other(lambda octets: octets <= self._stream.usable)

    def _may_still(self, asked: Asked) -> bool:
        """Whether a request may have its bits after all that has changed while it waited for them.

        SAEs may have moved, a row may deny them keys, or these bits; and the limits of `local`
        grants must hold after all that was answered meanwhile (R12).
        """
        ask = asked.ask
        try:
            self._check_ends(ask.master, ask.slaves)
            self._gate.permit(ask.master, ask.slaves)
            self._gate.check_paths(ask.master, ask.slaves)
            self._limits.check_stock(ask.master, ask.slaves, ask.number * ask.size)
            if self._options.mode == "local" and isinstance(ask, keys.GetKey):
                self._limits.check(ask.master, ask.slaves, asked.octets)
        except Refused as no:
            self._give_up(asked, no.code, str(no))
            return False
        return True

    def _allocate(self, asked: Asked, ask: keys.GetKey, now: Clock) -> Grant:
        mode, ttl_s = self._options.mode, self._ttl_s(ask)
        pieces, octets = self._take_reserved(asked.octets, now)
        id_ = self._context.system.random(keys.ID_OCTETS)
        grant = Grant(id_, pieces, ask.size, ask.number, ask.master, ask.slaves, mode, ttl_s)
        via = self._stream.provenance(pieces, now) if ask.provenance else ()
        if mode == "local":
            self._announcements.answer_durable(grant, octets, asked.answer, via)
        else:
            waiting = Waiting(grant, octets, asked.answer, asked.until, self._announcement, now.now)
            waiting.provenance = via
            self._announcements.await_held(waiting)
        return grant

    def _seal(self, asked: Asked, ask: keys.Prepare, now: Clock) -> None:
        """Draw the pad, and seal once."""
        del self._prepares[ask.grant]
        pieces, pad = self._take_reserved(asked.octets, now)
        ttl_s = self._ttl_s(ask)
        grant = Grant(
            ask.grant, pieces, ask.size, ask.number, ask.master, ask.slaves, SEALED, ttl_s
        )
        ends = self._context.address.node, self._peer.name
        place = one_time_pad.grant_place(ends, self._peer.state.head(), grant)
        made = one_time_pad.seal(pad, ask.octets.reveal(), place)
        number = self._announcement
        self._announcements.await_held(
            Waiting(grant, b"", asked.answer, asked.until, number, now.now, sealed=made)
        )

    def _ttl_s(self, ask: keys.GetKey | keys.Prepare) -> float:
        return self._gate.ttl_s(ask.master, ask.slaves, float(self._options.ttl_s))

    def _take_reserved(self, octets: int, now: Clock) -> tuple[tuple[Piece, ...], bytes]:
        """Allocate what was set aside for an SAE here."""
        pieces, found = self._stream.take(octets, now.now)
        self._shares.release(octets)
        self._demand.served(octets)
        return pieces, found

    # What befalls the store

    @property
    def quiet(self) -> bool:
        """Whether nobody waits for bits."""
        return not self._asked and not self._prepares

    def tick(self, now: Clock) -> None:
        """End requests that are late."""
        for late in self._asked.drop(lambda asked: asked.until <= now.now):
            self._pass_over(late)
        for id_ in [id_ for id_, asked in self._prepares.items() if asked.until <= now.now]:
            del self._prepares[id_]  # it has waited for the peer in vain, and is told so

    def new_epoch(self) -> None:
        """Who waits for bits of the old epoch waits in vain."""
        vain = [asked for asked in self._asked if self._is_wanted(asked)]
        for asked in self._asked:
            self._give_back(asked)
        for asked in vain:
            self._forget(asked)
        self._asked.clear()
        self._shares.reserved = 0
        for asked in vain:
            asked.answer(Failed(code="not_ready", why="the store begins a new epoch"))
