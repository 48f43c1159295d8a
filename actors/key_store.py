"""The key store shared with one peer KMS: grants for SAEs out of the stream of bits (R8-R12)."""

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from actors.base import Later, System, handles
from actors.issuer import Issuer, Waiting
from actors.journal import Shelf
from actors.keeper import KEY_OCTETS_MAX, KEYS_MAX, SLAVES_MAX, StoreOptions, check_request
from actors.protocol import grants, keys
from actors.protocol.blocks import SegmentId
from actors.protocol.common import Failed, Health, Healthy, Refused
from actors.protocol.grants import Grant, Piece, Refusal
from actors.protocol.peers import Located
from actors.shared_stream import REPEAT_S, REPEATS_MAX, SharedStream
from actors.standing import Epoch
from actors.stream import NEVER
from actors.vault import Clock
from transport.message import Message, Secret, local

UNACKED_MAX = 4096
ASKED_MAX = 1024
VOLLEYS_MAX = 8
VOLLEY_GAP_S = 0.005
VOLLEY_GRANTS = 128
QUERIES_MAX = 64
QUERY_S = 1.0
LOAD_FRESH_S = 1.0
PIECES_MAX = 512
TTL_MAX_S = 1e9


@local
class QueriesDue(Message):
    """Time to say no to fetches whose owner has not answered."""


class Asked(NamedTuple):
    """A request that has no bits yet."""

    ask: keys.GetKey
    answer: Later
    until: float


class Query(NamedTuple):
    """A fetch of a grant unknown here, while the owner is asked for it."""

    ask: keys.GetKeyWithIds
    answer: Later
    unknown: set[bytes]
    until: float


class KeyStore(SharedStream):
    """One end of the stream: allocates for masters here, holds for slaves here."""

    def __init__(self, system: System, name: str, options: StoreOptions) -> None:
        super().__init__(system, name, options)
        self._asked: deque[Asked] = deque()
        self._queries: list[Query] = []
        self._loads: dict[tuple[str, str], tuple[int, float]] = {}
        self._homes: dict[str, str] = {}
        self._volley, self._volley_at = 0, NEVER

    def load(self, shelf: Shelf) -> None:
        """Rebuild what was allocated and not acknowledged."""
        super().load(shelf)
        self.issuer = Issuer(self.journal, shelf, self.stream, self.clock)

    @handles(Located)
    def on_located(self, news: Located) -> None:
        """Which SAE is at which KMS (P5): peers speak only for SAEs bound to them."""
        self._homes = dict(news.saes)

    # The owner's side: requests (R9)

    @handles(keys.GetKey)
    def get_key(self, ask: keys.GetKey) -> Later:
        """Allocate keys; `Refused` spends nothing."""
        self.not_draining()
        self._check_standing()
        needed = ask.number * ask.size
        check_request(ask)
        if needed > self.lease_octets:
            raise Refused("malformed", f"a request is for at most {self.lease_octets} octets")
        if any(self._homes.get(slave) != self.store for slave in ask.slaves):
            raise Refused("not_allowed", f"not every SAE is at {self.store}")
        if self._homes.get(ask.master) != self.system.node:
            raise Refused("not_allowed", "the master SAE is not at this KMS")
        if self.options.mode == "local":
            for slave in ask.slaves:
                self._check_peer_load(ask.master, slave, needed)
        self.want(needed)
        if needed > self.stream.stock:
            raise Refused("no_keys", "not enough key material")
        if len(self._asked) >= ASKED_MAX or self.issuer.unacked >= UNACKED_MAX:
            raise Refused("busy", "too many requests wait for the other KMS")
        answer = self.later()
        self._asked.append(Asked(ask, answer, self.clock.now + self.options.request_timeout_s))
        self.on_stock()
        return answer

    def _check_standing(self) -> None:
        if not self.peer_up:
            raise Refused("peer_down", f"{self.store} does not answer")
        if self.standing.frozen:
            raise Refused("frozen", "the store is frozen; an operator must reset it")
        if not self.standing.resumed:
            raise Refused("not_ready", f"not in step with {self.store} yet")

    def on_stock(self) -> None:
        """Serve who waits, as far as bits and the volleys in flight allow."""
        if not (self._asked and self.standing.ready and self.peer_up):
            return
        local = self.options.mode == "local"
        if self.busy if local else self._volley_is_out():
            return  # what waits goes out together: after this commit, or when the volley is back
        made: list[Grant] = []
        self._volley += 1
        now = self.clock
        while self._asked and len(made) < VOLLEY_GRANTS:
            ask = self._asked[0].ask
            if ask.number * ask.size > self.stream.usable:
                break
            made.append(self._allocate(self._asked.popleft(), now))
        self.lease_ahead()
        if made and not local:
            self._volley_at = now.now
            self._announce(made, now=True)
        elif made:
            head = self.standing.head()
            self.say(grants.GrantsAnnounced(head=head, grants=tuple(made)))

    def _volley_is_out(self) -> bool:
        """Whether an announcement is on its way that may be back soon."""
        recent = self.clock.now - self._volley_at < VOLLEY_GAP_S
        return bool(self.issuer.volleys) and (recent or len(self.issuer.volleys) >= VOLLEYS_MAX)

    def committed(self, mark: int) -> None:
        """Local grants that waited for this commit go into the next."""
        super().committed(mark)
        self.on_stock()

    def _allocate(self, asked: Asked, now: Clock) -> Grant:
        ask, options = asked.ask, self.options
        pieces, octets = self.stream.take(ask.number * ask.size, now.now)
        id_ = self.system.random(keys.ID_OCTETS)
        ends = (ask.size, ask.number, ask.master, ask.slaves, options.mode, options.ttl_s)
        grant = Grant(id_, pieces, *ends)
        if options.mode == "local":
            self.issuer.keep_local(grant, now)
            self.issuer.unheard[id_].told = now.now
            self.standing.count()
            self.effect(lambda: self._answer(asked.answer, grant, octets))
            for slave in ask.slaves:
                self._add_load(ask.master, slave, len(octets))
        else:
            waiting = Waiting(grant, octets, asked.answer, asked.until, self._volley, now.now)
            self.issuer.await_held(waiting)
        return grant

    def _announce(self, made: Sequence[Grant], *, now: bool) -> None:
        head = self.standing.head(now=now)
        self.tell(self.peer, grants.GrantsAnnounced(head=head, grants=tuple(made)))

    def _answer(self, answer: Later, grant: Grant, octets: bytes) -> None:
        answer(keys.Keys(grant=grant.id, size=grant.size, octets=Secret(octets)))
        meter = self.system.meter
        meter.add("protokms_keys_issued", grant.number, peer=self.store, mode=grant.mode)

    @handles(grants.GrantsHeld)
    def on_held(self, word: grants.GrantsHeld) -> None:
        """The peer holds these durably: their masters are answered."""
        if not self.admit(word.head):
            return
        for id_ in word.ids:
            late = self.issuer.waiting.get(id_)
            if late and late.until <= self.clock.now:
                self._give_up(id_, late)
                continue
            waiting = self.issuer.acknowledged(id_)
            if waiting:
                self._answer(waiting.answer, waiting.grant, waiting.octets)
        for load in word.loads[:REPEATS_MAX]:
            here = self._homes.get(load.master) == self.system.node
            if here and self._homes.get(load.slave) == self.store:
                self._loads[load.master, load.slave] = load.octets, self.clock.now
        self.on_stock()

    @handles(grants.GrantsRefused)
    def on_refused(self, word: grants.GrantsRefused) -> None:
        """These are void; their bits are burnt with the segment."""
        if not self.admit(word.head):
            return
        for refusal in word.refusals:
            unheard = refusal.id in self.issuer.unheard
            waiting = self.issuer.acknowledged(refusal.id)
            if waiting and not waiting.failed:
                waiting.answer(Failed(code=refusal.code[:40], why=f"refused by {self.store}"))
            elif unheard:
                self.alarm("local_grant_refused")
            self.system.meter.add("protokms_grants_refused", peer=self.store)
        self.on_stock()

    def _give_up(self, id_: bytes, waiting: Waiting) -> None:
        """Take a grant back that nobody was answered with: the void is durable first.

        Before Resume it is only promised to the master: no counted row is written then (R7).
        """
        if not waiting.failed:
            waiting.failed = True
            failed = Failed(code="timeout", why=f"{self.store} did not hold the keys in time")
            self.effect(lambda: waiting.answer(failed))
        if not self.standing.resumed:
            return
        self.issuer.void(id_).told = self.clock.now
        self.standing.count()
        void = grants.Voided(id_, waiting.grant.pieces)
        self.say(grants.GrantsVoid(head=self.standing.head(), grants=(void,)))

    @handles(grants.GrantsVoidHeld)
    def on_void_held(self, word: grants.GrantsVoidHeld) -> None:
        """The peer will never give these out."""
        if self.admit(word.head):
            for id_ in word.ids:
                self.issuer.void_held(id_)

    @handles(grants.GrantQuery)
    def on_query(self, word: grants.GrantQuery) -> None:
        """An SAE over there has a key_ID its KMS does not know: announce it now, or say no."""
        if not self.admit(word.head):
            return
        unheard = self.issuer.unheard.get(word.id)
        if unheard:
            remaining = max(0.0, unheard.deadline - self.clock.now)
            again = (replace(unheard.grant, remaining=remaining),)
            self.say(grants.GrantsAnnounced(head=self.standing.head(), grants=again))
        elif word.id not in self.issuer.waiting:
            self.say(grants.GrantUnknown(head=self.standing.head(), id=word.id))

    def _check_peer_load(self, master: str, slave: str, octets: int) -> None:
        """A local grant is never refused by the peer for limits: check what it last said."""
        load, at = self._loads.get((master, slave), (0, NEVER))
        recent = self.clock.now - at < LOAD_FRESH_S
        if recent and load + octets > self.options.max_undelivered_bits_pair // 8:
            raise Refused("too_many_undelivered", "fetch the keys that wait before asking for more")

    def _add_load(self, master: str, slave: str, octets: int) -> None:
        load, at = self._loads.get((master, slave), (0, self.clock.now))
        self._loads[master, slave] = load + octets, at

    # The slaves' side: announcements (R9, P5)

    @handles(grants.GrantsAnnounced)
    def on_announced(self, word: grants.GrantsAnnounced) -> None:
        """Hold grants for SAEs here; the same id again is acknowledged again."""
        if not self.admit(word.head):
            return
        held: list[bytes] = []
        refusals: list[Refusal] = []
        pairs: dict[tuple[str, str], None] = {}
        now = self.clock
        for grant in word.grants[: 2 * VOLLEY_GRANTS]:
            code = self._hold(grant, now)
            if code == "held":
                held.append(grant.id)
                pairs.update({(grant.master, slave): None for slave in grant.slaves})
            elif code != "wait":
                refusals.append(Refusal(grant.id, code))
                self.log.warning("grant_refused", code=code, peer=self.store)
        head = self.standing.head()
        if held:
            loads = tuple(self.vault.load(*pair) for pair in pairs) if self._local(word) else ()
            self.say(grants.GrantsHeld(head=head, ids=tuple(held), loads=loads))
            self.effect(lambda: self._now_held(held))
        if refusals:
            self.say(grants.GrantsRefused(head=head, refusals=tuple(refusals)))

    @staticmethod
    def _local(word: grants.GrantsAnnounced) -> bool:
        return any(grant.mode == "local" for grant in word.grants)

    def _hold(self, grant: Grant, now: Clock) -> str:
        """Hold one grant; return `held`, `wait`, or the code of the refusal."""
        if self.vault.knows(grant.id):
            return "void" if self.vault.voided(grant.id) else "held"
        code = self._check(grant) or self._check_pieces(grant.pieces)
        if code:
            return code
        octets = b"".join(self._cut(piece) for piece in grant.pieces)
        if grant.mode == "confirmed" and any(
            len(octets) > self.room(grant.master, slave) for slave in grant.slaves
        ):
            return "too_many_undelivered"
        self.stream.mark(grant.pieces)
        self.vault.hold(grant, octets, now)
        self.standing.count()
        return "held"

    def _check(self, grant: Grant) -> str:
        if not _well_formed(grant):
            return "malformed"
        if self.standing.frozen:
            return "frozen" if grant.mode == "confirmed" else "wait"
        if not self._homes:
            return "wait"  # the directory is on its way; the owner will repeat
        theirs = self._homes.get(grant.master) == self.store
        ours = all(self._homes.get(slave) == self.system.node for slave in grant.slaves)
        return "" if theirs and ours else "not_allowed"

    def _check_pieces(self, pieces: tuple[Piece, ...]) -> str:
        """Mirror: these octets are the peer's to allocate, and were never used (R7)."""
        for number, piece in enumerate(pieces):
            name = SegmentId(piece.holder, piece.batch)
            segment = self.stream.segments.get(name)
            if segment is None:
                mine = piece.holder == self.stream.end
                return "wait" if mine and piece.batch in self.batches.held else "no_such_segment"
            start, end = piece.offset, piece.offset + piece.length
            if end > len(segment.octets) or any(_meet(piece, it) for it in pieces[:number]):
                return "malformed"
            if segment.mine or not segment.leased or segment.overlaps(start, end):
                self.alarm("overlap")
                self.standing.freeze()
                return "overlap"
        return ""

    def _cut(self, piece: Piece) -> bytes:
        segment = self.stream.segments[SegmentId(piece.holder, piece.batch)]
        return bytes(segment.octets[piece.offset : piece.offset + piece.length])

    @handles(grants.GrantsVoid)
    def on_void(self, word: grants.GrantsVoid) -> None:
        """The owner takes grants back that it never answered."""
        if not self.admit(word.head):
            return
        good = [void for void in word.grants if len(void.id) == keys.ID_OCTETS]
        for void in good:
            pieces = tuple(piece for piece in void.pieces if self._within(piece))
            if not self.vault.knows(void.id) and any(map(self._used, pieces)):
                continue  # another grant lies there: this id will never be held
            if self.vault.void(void.id, pieces):
                self.stream.mark(pieces)
                self.standing.count()
        ids = tuple(void.id for void in good)
        self.say(grants.GrantsVoidHeld(head=self.standing.head(), ids=ids))

    def _within(self, piece: Piece) -> bool:
        segment = self.stream.segments.get(SegmentId(piece.holder, piece.batch))
        if segment is None or piece.offset < 0 or piece.length <= 0:
            return False
        return piece.offset + piece.length <= len(segment.octets)

    def _used(self, piece: Piece) -> bool:
        segment = self.stream.segments[SegmentId(piece.holder, piece.batch)]
        return segment.mine or segment.overlaps(piece.offset, piece.offset + piece.length)

    # Delivery: ask the owner before saying no (R9, `local` mode)

    @handles(keys.GetKeyWithIds)
    def get_key_with_ids(self, ask: keys.GetKeyWithIds) -> Message | object:
        """Hand keys out; a grant unknown here may be on its way from the owner."""
        unknown = dict.fromkeys(n.grant for n in ask.names if not self.vault.knows(n.grant))
        can_ask = self.peer_up and self.standing.ready and len(self._queries) < QUERIES_MAX
        if not unknown or not can_ask or self.draining:
            return super().get_key_with_ids(ask)
        answer = self.later()
        self._queries.append(Query(ask, answer, set(unknown), self.clock.now + QUERY_S))
        self.remind(QUERY_S, QueriesDue())
        head = self.standing.head(now=True)
        for id_ in unknown:
            self.tell(self.peer, grants.GrantQuery(head=head, id=id_))
        return answer

    @handles(grants.GrantUnknown)
    def on_unknown(self, word: grants.GrantUnknown) -> None:
        """The owner has never answered such a grant."""
        if self.admit(word.head):
            self._retry([query for query in self._queries if word.id in query.unknown])

    def _now_held(self, ids: list[bytes]) -> None:
        for query in self._queries:
            query.unknown.difference_update(ids)
        self._retry([query for query in self._queries if not query.unknown])

    def _retry(self, due: list[Query]) -> None:
        """Serve these fetches now, one way or the other."""
        self._queries = [query for query in self._queries if query not in due]
        for query in due:
            self._fetch(query)

    def _fetch(self, query: Query) -> None:
        ask = query.ask
        try:
            octets, receipt = self.vault.fetch(ask.master, ask.slave, ask.names, self.clock.now)
        except Refused as no:
            query.answer(Failed(code=no.code, why=str(no)))
            return
        body = keys.KeysWithIds(octets=tuple(map(Secret, octets)), receipt=receipt)
        self.effect(lambda: query.answer(body))

    # From time to time

    def repeat(self, now: Clock, *, everything: bool = False) -> None:
        """Say again what the peer has not acknowledged."""
        super().repeat(now, everything=everything)
        before = now.now if everything else now.now - REPEAT_S
        due = self.issuer.due(now, before, REPEATS_MAX)
        if due:
            self.say(grants.GrantsAnnounced(head=self.standing.head(), grants=tuple(due)))
        voids = self.issuer.due_voids(now.now, before, REPEATS_MAX)
        if voids:
            self.say(grants.GrantsVoid(head=self.standing.head(), grants=tuple(voids)))

    def on_tick(self, now: Clock) -> None:
        """Give up what has waited too long."""
        while self._asked and self._asked[0].until <= now.now:
            failed = Failed(code="timeout", why="no usable key material in time")
            self._asked.popleft().answer(failed)
        for id_, waiting in list(self.issuer.waiting.items()):
            if waiting.until <= now.now:
                self._give_up(id_, waiting)
        self._retry_due(now.now)
        super().on_tick(now)
        self.on_stock()

    @handles(QueriesDue)
    def on_queries_due(self, _: QueriesDue) -> None:
        """The owner has not answered in time."""
        self._retry_due(self.clock.now + 0.01)  # timers run on another clock

    def _retry_due(self, now: float) -> None:
        self._retry([query for query in self._queries if query.until <= now])

    def new_epoch(self, epoch: Epoch) -> None:
        """Who waits for keys of the old epoch waits in vain."""
        vain = [waiting.answer for waiting in self.issuer.epoch_closed() if not waiting.failed]
        vain += [asked.answer for asked in self._asked]
        self._asked.clear()
        for answer in vain:
            answer(Failed(code="not_ready", why="the store begins a new epoch"))
        super().new_epoch(epoch)

    @handles(keys.GetStatus)
    def get_status(self, ask: keys.GetStatus) -> keys.Stock:
        """What could be handed out now; nothing while the store does not serve (P9)."""
        serving = self.standing.ready and self.peer_up and not self.draining
        stored = self.stream.stock // ask.size if serving else 0
        return keys.Stock(stored=stored, capacity=self.max_octets // ask.size)

    @handles(Health)
    def health(self, _: Health) -> Healthy:
        """In step with the peer, and not frozen?"""
        reasons = []
        if self.standing.frozen:
            reasons.append(f"{self.address.name} is frozen")
        if not self.standing.resumed:
            reasons.append(f"{self.address.name} is not in step with its peer")
        facts = {
            "resumed": str(self.standing.resumed).lower(),
            "peer_up": str(self.peer_up).lower(),
            "epoch": str(self.standing.epoch[0]),
            "stored_bits": str(self.stream.octets * 8),
            "own_bits": str(self.stream.stock * 8),
            "grants_held": str(len(self.vault.holdings)),
        }
        return Healthy(ready=not reasons, reasons=tuple(reasons), facts=tuple(facts.items()))


def _meet(one: Piece, other: Piece) -> bool:
    """Whether two pieces share octets."""
    same = (one.holder, one.batch) == (other.holder, other.batch)
    apart = one.offset + one.length <= other.offset or other.offset + other.length <= one.offset
    return same and not apart


def _well_formed(grant: Grant) -> bool:
    """Whether the numbers of an announced grant make sense."""
    total = sum(piece.length for piece in grant.pieces)
    return (
        len(grant.id) == keys.ID_OCTETS
        and len(grant.pieces) <= PIECES_MAX
        and all(p.length > 0 and p.offset >= 0 and p.batch >= 0 for p in grant.pieces)
        and 0 < grant.number <= KEYS_MAX
        and 0 < grant.size <= KEY_OCTETS_MAX
        and total == grant.number * grant.size
        and 0 < len(set(grant.slaves)) == len(grant.slaves) <= SLAVES_MAX
        and grant.mode in ("confirmed", "local")
        and 0.0 <= grant.remaining <= TTL_MAX_S
    )
