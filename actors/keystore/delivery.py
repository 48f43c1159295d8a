"""Delivery of keys to SAEs here; the owner is asked before an SAE hears "no" (R9, R11)."""

from collections.abc import Callable, Collection, Iterable
from typing import NamedTuple

from actors.base import Clock, Context, Later, Part, handles
from actors.keystore.loading import find
from actors.keystore.options import StoreOptions, StorePlan
from actors.keystore.serving import Serving
from actors.ledger.held import Held
from actors.protocol import grants, keys
from actors.protocol.blocks import SegmentId
from actors.protocol.common import Failed, Refused
from actors.storage.group_commit import GroupCommit
from actors.storage.journal import Journal, Shelf
from actors.sync.peering import Peering
from transport.message import Message, Secret, local

QUERIES_MAX = 64
QUERY_S = 1.0
_LOADING = "keys are being loaded"


@local
class Tick(Message):
    """Time to repeat, to expire, to wipe."""


@local
class QueriesDue(Message):
    """Time to say no to fetches whose owner has not answered."""


class Query(NamedTuple):
    """A fetch of grants unknown here, while rows are loaded or the owner is asked for them."""

    ask: keys.GetKeyWithIds
    answer: Later
    unknown: set[bytes]
    until: float = 0.0


class Delivery(Part):
    """Hands keys out: *delivering* is durable before they leave.

    `owner` is the peer of a shared store: a grant unknown here may be on its way from it. In
    `local` mode the SAE over there may have its keys already, so nothing is denied without it.
    """

    def __init__(
        self,
        context: Context,
        owner: Peering | None,
        *,
        held: Held,
        commits: GroupCommit,
        serving: Serving,
        plan: StorePlan,
    ) -> None:
        self._context, self._owner = context, owner
        self._held, self._commits, self._serving = held, commits, serving
        self._local = plan.options.mode == "local"
        self._store = plan.peer
        self._queries: list[Query] = []
        self._early: list[Query] = []
        """Fetches that wait for rows."""

    @handles(keys.GetKeyWithIds)
    def get_key_with_ids(self, ask: keys.GetKeyWithIds) -> Later:
        """Hand keys out; a grant unknown here may be on its way from the owner."""
        self._serving.check()
        unknown = dict.fromkeys(n.grant for n in ask.names if not self._held.knows(n.grant))
        if unknown and self._held.loading:
            return self._wait_for_rows(ask, set(unknown))
        owner = self._to_be_asked(unknown)
        if owner is None:
            body = self._fetch(ask)
            answer = self._context.later()
            self._commits.effect(lambda: answer(body))
            return answer
        answer = self._context.later()
        self._wait_for_owner(owner, Query(ask, answer, set(unknown)))
        return answer

    def _wait_for_rows(self, ask: keys.GetKeyWithIds, unknown: set[bytes]) -> Later:
        """A grant unknown here may be one that is not loaded yet: never "no" for it."""
        if len(self._early) >= QUERIES_MAX:
            raise Refused("not_ready", _LOADING)
        answer = self._context.later()
        self._early.append(Query(ask, answer, unknown, self._until()))
        return answer

    def loaded(self, ids: list[bytes]) -> None:
        """Serve fetches of what has come in; when all is in, ask the owner for the others (R9)."""
        for query in self._early:
            query.unknown.difference_update(ids)
        due = [it for it in self._early if not (it.unknown and self._held.loading)]
        self._early = [it for it in self._early if it not in due]
        for query in due:
            try:
                owner = self._to_be_asked(query.unknown)
            except Refused as no:
                query.answer(Failed(code=no.code, why=str(no)))
                continue
            if owner:
                self._wait_for_owner(owner, query)
            else:
                self._serve(query)

    def _until(self) -> float:
        """Until when a fetch waits that begins to wait now."""
        self._context.remind(QUERY_S, QueriesDue())
        return self._context.clock.now + QUERY_S

    def _to_be_asked(self, unknown: Collection[bytes]) -> Peering | None:
        """Return the owner if it is to be asked for these first; refuse what cannot wait for it."""
        if not (unknown and self._owner and self._can_ask(self._owner)):
            return None
        if len(self._queries) >= QUERIES_MAX:
            raise Refused("busy", f"too many fetches wait for word from {self._owner.name}")
        return self._owner

    def _wait_for_owner(self, owner: Peering, query: Query) -> None:
        self._queries.append(query._replace(until=self._until()))
        if owner.ready:
            self._ask_owner(owner, sorted(query.unknown))
        else:
            owner.wake()

    def _can_ask(self, owner: Peering) -> bool:
        """Whether the owner answers, or may wake up; if it may know more and is away: refuse."""
        if owner.ready or (self._local and owner.idle):
            return True
        if self._local:
            raise Refused("peer_down", f"{owner.name} may know of this key, and is away")
        return False

    def _fetch(self, ask: keys.GetKeyWithIds) -> keys.KeysWithIds:
        now = self._context.clock.now
        octets, receipt = self._held.fetch(ask.master, ask.slave, ask.names, now)
        return keys.KeysWithIds(octets=tuple(map(Secret, octets)), receipt=receipt)

    @handles(keys.Written)
    def written(self, news: keys.Written) -> None:
        """The response is out."""
        self._held.written(news.receipt, self._context.clock)
        self._commits.hurry()  # the sooner a delivery is durable, the better

    @handles(keys.Broken)
    def broken(self, news: keys.Broken) -> None:
        """The response is not out."""
        self._held.broken(news.receipt, self._context.clock)

    # Fetches that wait for the owner

    def _ask_owner(self, owner: Peering, unknown: Iterable[bytes]) -> None:
        head = owner.state.head(now=True)
        for id_ in unknown:
            owner.tell(grants.GrantQuery(head=head, id=id_))

    def unknown(self, id_: bytes) -> None:
        """The owner has never answered such a grant."""
        self._retry([query for query in self._queries if id_ in query.unknown])

    def now_held(self, ids: list[bytes]) -> None:
        """The owner has announced these, and they are durable."""
        for query in self._queries:
            query.unknown.difference_update(ids)
        self._retry([query for query in self._queries if not query.unknown])
        self.loaded(ids)

    @handles(QueriesDue)
    def on_queries_due(self, _: QueriesDue) -> None:
        """The owner has not answered in time."""
        self._retry_due(self._context.clock.now + 0.01)  # timers run on another clock

    def _retry_due(self, now: float) -> None:
        late = [query for query in self._early if query.until <= now]
        self._early = [query for query in self._early if query.until > now]
        for query in late:
            query.answer(Failed(code="not_ready", why=_LOADING))
        self._retry([query for query in self._queries if query.until <= now])

    def _retry(self, due: list[Query]) -> None:
        """Serve these fetches now, one way or the other."""
        self._queries = [query for query in self._queries if query not in due]
        for query in due:
            self._serve(query)

    def _serve(self, query: Query) -> None:
        owner = self._owner
        if query.unknown and self._local and owner and not owner.in_touch:
            why = f"{owner.name} may know of this key, and is away"
            query.answer(Failed(code="peer_down", why=why))
            return
        try:
            body = self._fetch(query.ask)
        except Refused as no:
            query.answer(Failed(code=no.code, why=str(no)))
            return
        self._commits.effect(lambda: query.answer(body))

    # What befalls the store

    def resumed(self) -> None:
        """A distant owner is awake: ask for what fetches wait for."""
        if self._owner:
            ids = dict.fromkeys(id_ for it in self._queries for id_ in sorted(it.unknown))
            self._ask_owner(self._owner, ids)

    def expire(self, now: Clock) -> None:
        """End grants and windows that are over."""
        expired = self._held.tick(now)
        if expired:
            meter = self._context.system.meter
            meter.add("protokms_grants_expired", len(expired), peer=self._store)

    def gauge(self) -> None:
        """Say how many grants are held."""
        held = float(self._held.count)
        meter, former = self._context.system.meter, self._held.former * 8.0
        meter.set("protokms_grants_held", held, peer=self._store)
        meter.set("protokms_bits_of_earlier_starts", former, peer=self._store)

    @property
    def quiet(self) -> bool:
        """Whether nothing is held for SAEs here, nor does anybody wait for an answer."""
        return not (self._held.count or self._queries or self._early)

    def tick(self, now: Clock) -> None:
        """Give up on owners that do not answer."""
        self._retry_due(now.now)


def load_held(
    context: Context,
    journal: Journal,
    shelf: Shelf,
    options: StoreOptions,
    alive: Callable[[SegmentId], bool],
    *,
    nowhere: bool = False,
) -> Held:
    """Return the grants held at a start; `alive` says whether a segment is still there.

    `nowhere`: no grant of this store lies in a stream.
    """
    return Held(
        journal,
        shelf,
        context.clock,
        alive=alive,
        redelivery_s=options.redelivery_s,
        repeat_s=options.repeat_window_s,
        receipts_from=int.from_bytes(context.system.random(8), "big") >> 2,
        pair_octets=options.max_undelivered_bits_per_pair // 8,
        sae_octets=options.max_undelivered_bits_per_sae // 8,
        former_octets=options.max_undelivered_bits_of_earlier_starts // 8,
        found=find(context.system, journal.store, shelf, nowhere=nowhere),
    )
