"""The slaves' side of a shared store: holds what the peer announces, hands it out (R9, P5)."""

from collections.abc import Iterable
from typing import NamedTuple

from actors.base import Later, System, handles
from actors.keeper import KEY_OCTETS_MAX, KEYS_MAX, SLAVES_MAX, StoreOptions
from actors.mirror import PIECES_MAX
from actors.one_time import KEY_OCTETS
from actors.pads import Pads
from actors.protocol import grants, keys
from actors.protocol.blocks import SegmentId
from actors.protocol.common import Failed, Refused
from actors.protocol.grants import Grant, Piece, Refusal
from actors.protocol.peers import Located
from actors.vault import Clock
from transport.message import Message, Secret, local

QUERIES_MAX = 64
QUERY_S = 1.0
GRANTS_MAX = 256
TTL_MAX_S = 1e9
HELD_MIN = 1 << 16
HELD_BITS = 128
"""Grants held at most: so many, or one for so many bits of what an SAE may leave undelivered."""
TOMBS_MAX = 1 << 16
SEALED = "sealed"
"""The mode of grants whose keys come sealed; never announced in the open."""
REFUSED_MAX = 1 << 13
"""Ids of refused grants that are known; twice as many as an owner has open."""


@local
class QueriesDue(Message):
    """Time to say no to fetches whose owner has not answered."""


class Query(NamedTuple):
    """A fetch of a grant unknown here, while the owner is asked for it."""

    ask: keys.GetKeyWithIds
    answer: Later
    unknown: set[bytes]
    until: float


class SlavesSide(Pads):
    """Holds grants of the peer for SAEs here, idempotently, and asks about ids unknown here."""

    def __init__(self, system: System, name: str, options: StoreOptions) -> None:
        super().__init__(system, name, options)
        self.homes: dict[str, str] = {}
        """Which SAE is at which KMS."""
        self._queries: list[Query] = []
        self._refused: dict[bytes, str] = {}
        self._held_max = max(HELD_MIN, options.max_undelivered_bits_sae // HELD_BITS)

    @handles(Located)
    def on_located(self, news: Located) -> None:
        """Which SAE is at which KMS (P5): peers speak only for SAEs bound to them."""
        self.homes = dict(news.saes)

    # Announcements

    @handles(grants.GrantsAnnounced)
    def on_announced(self, word: grants.GrantsAnnounced) -> None:
        """Hold grants for SAEs here; the same id again is acknowledged again."""
        if not self.admit(word.head):
            return
        held: list[bytes] = []
        refusals: list[Refusal] = []
        pairs: dict[tuple[str, str], None] = {}
        now = self.clock
        for grant in word.grants[:GRANTS_MAX]:
            code = self._hold(grant, now)
            if code == "held":
                held.append(grant.id)
                pairs.update({(grant.master, slave): None for slave in grant.slaves})
            elif code != "wait":
                refusals.append(Refusal(grant.id, code))
                self.note_refused(grant.id, code)
        loads = tuple(self._load(*pair) for pair in pairs) if self._local(word) else ()
        self.acknowledge(held, loads, refusals)

    def acknowledge(
        self, held: list[bytes], loads: tuple[grants.Load, ...], refusals: list[Refusal]
    ) -> None:
        """Say what is held, once that is durable, and what never will be."""
        head = self.standing.head()
        if held:
            self.say(grants.GrantsHeld(head=head, ids=tuple(held), loads=loads))
            self.effect(lambda: self._now_held(held))
        if refusals:
            codes = ", ".join(dict.fromkeys(refusal.code for refusal in refusals))
            self.log.warning("grants_refused", n=len(refusals), codes=codes, peer=self.store)
            self.say(grants.GrantsRefused(head=head, refusals=tuple(refusals)))

    @handles(grants.LoadQuery)
    def on_load_query(self, word: grants.LoadQuery) -> None:
        """The owner checks limits before it spends bits: say what was not fetched here."""
        ends = self.homes.get(word.master), self.homes.get(word.slave)
        if self.admit(word.head) and ends == (self.store, self.system.node):
            loads = (self._load(word.master, word.slave),)
            self.say(grants.GrantsHeld(head=self.standing.head(), ids=(), loads=loads))

    def _load(self, master: str, slave: str) -> grants.Load:
        vault, room = self.vault, self.room(master, slave)
        room = 0 if len(vault.holdings) >= self._held_max else room
        return grants.Load(master, slave, vault.load(master, slave), vault.load_of(slave), room)

    @staticmethod
    def _local(word: grants.GrantsAnnounced) -> bool:
        return any(grant.mode == "local" for grant in word.grants)

    def _hold(self, grant: Grant, now: Clock) -> str:
        """Hold one grant; return `held`, `wait`, or the code of the refusal."""
        if self.vault.knows(grant.id):
            return "void" if self.vault.voided(grant.id) else "held"
        code = "malformed" if grant.mode == SEALED else self.check_grant(grant)
        if code:
            return code
        self.keep(grant, self.cut(grant.pieces), now)
        return "held"

    def check_grant(self, grant: Grant) -> str:
        """Return why a grant is not held, or not yet; "" if it may be."""
        code = self._refused.get(grant.id) or self._check(grant)
        return code or self.check_pieces(grant.pieces) or self._check_room(grant)

    def keep(self, grant: Grant, octets: bytes, now: Clock) -> None:
        """Hold the keys of a grant; where they lay, or their pad, is used up."""
        self.stream.mark(grant.pieces)
        self.vault.hold(grant, octets, now)
        self.standing.count()

    def note_refused(self, id_: bytes, code: str) -> None:
        """Its master is told "no": a copy that comes when there is room is refused as well."""
        if len(id_) == keys.ID_OCTETS:
            self._refused[id_] = code
        if len(self._refused) > REFUSED_MAX:
            del self._refused[next(iter(self._refused))]

    def _check(self, grant: Grant) -> str:
        if not _well_formed(grant):
            return "malformed"
        if self.standing.frozen:
            return "wait" if grant.mode == "local" else "frozen"
        if not self.homes:
            return "wait"  # the directory is on its way; the owner will repeat
        theirs = self.homes.get(grant.master) == self.store
        ours = all(self.homes.get(slave) == self.system.node for slave in grant.slaves)
        return "" if theirs and ours else "not_allowed"

    def _check_room(self, grant: Grant) -> str:
        """Limits are no reason to refuse a `local` grant, which was answered; it may wait."""
        octets = grant.number * grant.size
        full = len(self.vault.holdings) >= self._held_max
        if grant.mode == "local":
            return "wait" if full else ""
        full = full or any(octets > self.room(grant.master, slave) for slave in grant.slaves)
        return "too_many_undelivered" if full else ""

    @handles(grants.GrantsVoid)
    def on_void(self, word: grants.GrantsVoid) -> None:
        """The owner takes grants back that it never answered."""
        if not self.admit(word.head):
            return
        good = [void for void in word.grants if len(void.id) == keys.ID_OCTETS]
        if len(self.vault.tombs) >= TOMBS_MAX:
            good = [void for void in good if self.vault.knows(void.id)]  # others come again
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
        self.not_draining()
        unknown = dict.fromkeys(n.grant for n in ask.names if not self.vault.knows(n.grant))
        in_step = self.peer_up and self.standing.ready
        waking = self.idle and self.options.mode == "local"
        if unknown and not (in_step or waking) and self.options.mode == "local":
            raise Refused("peer_down", f"{self.store} may know of this key, and is away")
        if not unknown or not (in_step or waking):
            return super().get_key_with_ids(ask)
        if len(self._queries) >= QUERIES_MAX:
            raise Refused("busy", f"too many fetches wait for word from {self.store}")
        answer = self.later()
        self._queries.append(Query(ask, answer, set(unknown), self.clock.now + QUERY_S))
        self.remind(QUERY_S, QueriesDue())
        if in_step:
            self._ask_owner(unknown)
        else:
            self.wake()
        return answer

    def _ask_owner(self, unknown: Iterable[bytes]) -> None:
        head = self.standing.head(now=True)
        for id_ in unknown:
            self.tell(self.peer, grants.GrantQuery(head=head, id=id_))

    def on_resumed(self) -> None:
        """A distant owner is awake: ask for what fetches wait for."""
        super().on_resumed()
        self._ask_owner(dict.fromkeys(id_ for it in self._queries for id_ in sorted(it.unknown)))

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
        if query.unknown and self.options.mode == "local" and not self.in_touch:
            why = f"{self.store} may know of this key, and is away"
            query.answer(Failed(code="peer_down", why=why))
            return
        try:
            octets, receipt = self.vault.fetch(ask.master, ask.slave, ask.names, self.clock.now)
        except Refused as no:
            query.answer(Failed(code=no.code, why=str(no)))
            return
        body = keys.KeysWithIds(octets=tuple(map(Secret, octets)), receipt=receipt)
        self.effect(lambda: query.answer(body))

    @handles(QueriesDue)
    def on_queries_due(self, _: QueriesDue) -> None:
        """The owner has not answered in time."""
        self._retry_due(self.clock.now + 0.01)  # timers run on another clock

    def _retry_due(self, now: float) -> None:
        self._retry([query for query in self._queries if query.until <= now])

    def on_tick(self, now: Clock) -> None:
        """Give up on owners that do not answer."""
        self._retry_due(now.now)
        super().on_tick(now)


def _well_formed(grant: Grant) -> bool:
    """Whether the numbers of an announced grant make sense."""
    total = sum(piece.length for piece in grant.pieces)
    return (
        len(grant.id) == keys.ID_OCTETS
        and len(grant.pieces) <= PIECES_MAX
        and all(p.length > 0 and p.offset >= 0 and p.batch >= 0 for p in grant.pieces)
        and 0 < grant.number <= KEYS_MAX
        and 0 < grant.size <= KEY_OCTETS_MAX
        and total == grant.number * grant.size + (KEY_OCTETS if grant.mode == SEALED else 0)
        and 0 < len(set(grant.slaves)) == len(grant.slaves) <= SLAVES_MAX
        and grant.mode in ("confirmed", "local", SEALED)
        and 0.0 <= grant.remaining <= TTL_MAX_S
    )
