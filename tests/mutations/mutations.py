"""Lines of the ledger broken on purpose, for test_mutations.py: a right one in, a wrong one out."""

import math
from collections.abc import Callable
from typing import Any

import pytest

from actors.crypto import batch_tag
from actors.keystore import held_grants
from actors.keystore.allocation import ASKED_MAX, TURN_OCTETS, Allocation
from actors.keystore.announcements import Announcements
from actors.keystore.delivery import Delivery, Query
from actors.keystore.held_grants import HeldGrants
from actors.keystore.limits import Limits
from actors.keystore.loading import Loading
from actors.ledger import issued
from actors.ledger.batches import Batches
from actors.ledger.held import Found, Held, Loads
from actors.ledger.peering_state import PeeringState, ResumeOutcome
from actors.ledger.pieces import Pieces
from actors.ledger.segment import Segment
from actors.ledger.stream import Stream
from actors.protocol.blocks import Transfer
from actors.protocol.grants import Grant, Piece
from actors.protocol.keys import Stock
from actors.rights.fair_queue import FairQueue
from actors.storage.group_commit import GroupCommit
from actors.sync.segments import Segments


def nothing(_: Any) -> Any:
    return lambda *_a, **_k: None


def always(value: Any) -> Callable[[Any], Any]:
    return lambda _: lambda *_a, **_k: value


def is_(value: Any) -> Callable[[Any], Any]:
    return lambda _: value


def hold_with_old_pieces(_: Any) -> Any:
    def epoch_closed(self: Held) -> None:
        for name in list(self._tombs_of):
            self.segment_closed(name)

    return epoch_closed


def counts_on(_: Any) -> Any:
    def next_(self: Held) -> int:
        self._order += 1
        return self._order

    return next_


def weighs_nothing(_: Any) -> Any:
    def weigh(_self: Held, found: Found) -> int:
        return sum(n for _, n in (*found.former, *found.weights))

    return weigh


def none_is_former(_: Any) -> Any:
    def loads_at(self: Held, _number: int, mode: str) -> Loads:
        return self._local if mode == "local" else self._loads

    return loads_at


def misses_nothing(_: Any) -> Any:
    def end(self: Loading) -> None:
        self._held.all_loaded()

    return end


def binds_to_nothing(_: Any) -> Any:
    return lambda *_a: lambda *_b: b""


def at_once(_: Any) -> Any:
    def effect(_self: GroupCommit, act: Callable[[], None]) -> None:
        act()

    return effect


def unburnt(_: Any) -> Any:
    def burn(self: Stream, segment: Segment) -> None:
        if not segment.next:
            self._ready[segment.id] = segment
            self.usable += segment.free

    return burn


def usable_at_once(original: Any) -> Any:
    def lease_next(self: Stream, now: float) -> Segment | None:
        segment: Segment | None = original(self, now)
        if segment:
            self.lease_held(segment.id)
        return segment

    return lease_next


def any_number(_: Any) -> Any:
    def accept(self: Stream, name: Any, n: int) -> bool:
        segment = self.segments.get(name)
        if segment and not segment.owned:
            self._not_fresh(segment)
            segment.owned, segment.transfer_no = True, n
            self._is_fresh(segment)
            self.stock += segment.free
            self._save(segment)
        return True

    return accept


def told_before_commit(_: Any) -> Any:
    def say_transfer(self: Segments, name: Any, n: int) -> None:
        word = Transfer(head=self._peer.state.head(), segment=name, n=n)
        self._peer.tell(word)

    return say_transfer


def without_nonce(original: Any) -> Any:
    def judge(self: PeeringState, word: Any) -> ResumeOutcome:
        self.nonce = self.nonce and word.nonce
        verdict: ResumeOutcome = original(self, word)
        return verdict

    return judge


def undetected(original: Any) -> Any:
    def judge(self: PeeringState, word: Any) -> ResumeOutcome:
        seq, seen = self.seq, self.seen
        self.seq, self.seen = 1 << 61, 0
        verdict: ResumeOutcome = original(self, word)
        self.seq, self.seen = seq, max(seen, self.seen)
        return verdict

    return judge


def never_joins(original: Any) -> Any:
    def judge(self: PeeringState, word: Any) -> ResumeOutcome:
        verdict = original(self, word)
        return ResumeOutcome.IGNORED if verdict is ResumeOutcome.JOIN else verdict

    return judge


def counts(original: Any) -> Any:
    def written(self: Delivery, news: Any) -> None:
        original(self, news)
        if self._owner:  # keys for two SAEs of one node have no peering
            self._owner.state.count()

    return written


def any_head(_: Any) -> Any:
    def admits(self: PeeringState, head: Any) -> bool:
        self._see(head.seq)
        return True

    return admits


def other_start(_: Any) -> Any:
    def same(self: PeeringState, head: Any) -> bool:
        return bool(head.mine and head.yours)

    return same


def unread_window(original: Any) -> Any:
    def begin(self: Held, *args: Any, **options: Any) -> None:
        original(self, *args, **options)
        for opened in self._open.values():
            opened.until = 0.0

    return begin


def any_boot(_: Any) -> Any:
    def deadline(_self: Held, _boot: str, deadline: float, _remaining: float) -> float:
        return deadline

    return deadline


def void_unknown_is_no_news(original: Any) -> Any:
    def void(self: Held, id_: bytes, pieces: Any) -> bool:
        return id_ in self.holdings and bool(original(self, id_, pieces))

    return void


def anybody(_: Any) -> Any:
    def check(_self: HeldGrants, grant: Any) -> str:
        return "" if held_grants._well_formed(grant) else "malformed"

    return check


def voids_early(original: Any) -> Any:
    def void(self: Announcements, id_: bytes, waiting: Any) -> None:
        state = self._peer.state
        was, state.resumed = state.resumed, True
        original(self, id_, waiting)
        state.resumed = was

    return void


def void_stays_waiting(original: Any) -> Any:
    def void(self: issued.Issued, id_: bytes) -> Any:
        waiting = self.waiting[id_]
        made = original(self, id_)
        waiting.until, waiting.failed = math.inf, False
        self.waiting[id_] = waiting
        return made

    return void


def without_row(kind: str) -> Callable[[Any], Any]:
    def make(original: Any) -> Any:
        def put(self: Any, row: str, *args: Any, **more: Any) -> None:
            if row != kind:
                original(self, row, *args, **more)

        return put

    return make


def refused_for_limits(original: Any) -> Any:
    def hold(self: HeldGrants, grant: Any, now: Any) -> str:
        if sum(p.length for p in grant.pieces) > self._held.room(grant.master, grant.slaves[0]):
            return "too_many_undelivered"
        return str(original(self, grant, now))

    return hold


def broken_forgets(original: Any) -> Any:
    def broken(self: Held, receipt: int, clock: Any) -> None:
        original(self, receipt, clock)
        self._receipts.pop(receipt, None)

    return broken


def forgotten_tag(original: Any) -> Any:
    def begin(self: Batches, *args: Any) -> None:
        original(self, *args)
        for one in self.held.values():
            one.tag = bytes(16)

    return begin


def not_durable(_: Any) -> Any:
    def submit(self: GroupCommit) -> None:
        self._events.before_commit()
        changes, effects, self._effects = self._journal.take(), self._effects, []
        self._run(effects)
        if changes:
            self._commit(changes, lambda: None)

    return submit


def anew(original: Any) -> Any:
    def decide(self: Batches, word: Any) -> bool | None:
        kept, octets = dict(self._emitted), self.emitted
        self.decided.pop(word.batch, None)
        decision: bool | None = original(self, word)
        self._emitted, self.emitted = kept, octets
        return decision

    return decide


class Unburnt:
    """The module `batch_tag`, but nothing is cut off the front of a batch."""

    KEY_OCTETS = 0
    make, agrees = staticmethod(batch_tag.make), staticmethod(batch_tag.agrees)


def both_own(original: Any) -> Any:
    def enter(self: Stream, name: Any, octets: bytes, **more: Any) -> None:
        original(self, name, octets, **more)
        segment = self.segments[name]
        if not segment.owned:
            self._not_fresh(segment)
            segment.owned = True
            self._is_fresh(segment)
            self.stock += segment.free

    return enter


def forms_any(_: Any) -> Any:
    def form(self: Batches, _at_least: int, *, judged: bool) -> list[int]:
        return [self._form(judged=judged)] if self.arrived else []

    return form


def key_as_id(_: Any) -> Any:
    def allocate(self: Allocation, asked: Any, ask: Any, now: Any) -> Any:
        pieces, octets = self._take_reserved(asked.octets, now)
        ends = (ask.size, ask.number, ask.master, ask.slaves, "confirmed", 60.0)
        made = Grant(octets[:12], pieces, *ends)
        waiting = issued.Waiting(
            made, octets, asked.answer, asked.until, self._announcement, now.now
        )
        self._issued.await_held(waiting)
        return made

    return allocate


def in_clear(original: Any) -> Any:
    def put(
        self: Any,
        kind: str,
        id_: bytes,
        clear: Any,
        secret: bytes | None = None,
        ends: bytes = b"",
    ) -> None:
        original(self, kind, id_, (clear, secret) if kind == "holding" else clear, secret, ends)

    return put


def loads_of_anybody(original: Any) -> Any:
    def on_held(self: Announcements, word: Any) -> None:
        original(self, word)
        for load in word.loads:
            self._issued.undelivered.told(load, word.head.seq)

    return on_held


def unsaved(_: Any) -> Any:
    """What was seen of the peer is not stored with what it caused."""
    return lambda self: self.state.seq


def never_busy(original: Any) -> Any:
    def get_key(self: Allocation, ask: Any) -> Any:
        waiting, self._asked = self._asked, FairQueue(TURN_OCTETS, ASKED_MAX)
        answer = original(self, ask)
        for asked in self._asked:
            waiting.put(asked.pair, asked.octets, asked)
        self._asked = waiting
        return answer

    return get_key


def voids_keep_places(original: Any) -> Any:
    """Pieces of a closed epoch stay in a void."""

    def epoch_closed(self: issued.Issued) -> Any:
        before = {id_: voiding.pieces for id_, voiding in self.voiding.items()}
        vain = original(self)
        for id_, pieces in before.items():
            self.voiding[id_].pieces = pieces
        return vain

    return epoch_closed


def voids_end(original: Any) -> Any:
    """Pending voids go with the closed epoch."""

    def epoch_closed(self: issued.Issued) -> Any:
        vain = original(self)
        for id_ in self.voiding:
            self._journal.drop("void", id_)
        self.voiding.clear()
        return vain

    return epoch_closed


def fetched_at_once(original: Any) -> Any:
    """Keys that waited for word from their owner leave before *delivering* is durable."""

    def serve(self: Delivery, query: Query) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self._commits, "effect", lambda act: act())
            original(self, query)

    return serve


def void_held_at_once(original: Any) -> Any:
    """The acknowledgement of a void leaves before its commit."""

    def on_void(self: HeldGrants, word: Any) -> None:
        peer = self._peer
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(peer, "say", peer.tell)
            original(self, word)

    return on_void


def still_promised(original: Any) -> Any:
    """What was promised to those who waited in the old epoch is kept for them in the next."""

    def new_epoch(self: Allocation) -> None:
        promised = self._shares.reserved
        original(self)
        self._shares.reserved = promised

    return new_epoch


def closes_only_leased(original: Any) -> Any:
    """As it was at first."""

    def close(self: Stream, name: Any) -> bool:
        segment = self.segments.get(name)
        return (segment is None or segment.leased) and bool(original(self, name))

    return close


def cuts_beside(original: Any) -> Any:
    def cut(self: Pieces, piece: Piece) -> bytes:
        octets: bytes = original(self, piece)
        return octets[1:] + octets[:1]

    return cut


def takes_again(original: Any) -> Any:
    """The octets of a grant stay where they are, for the next grant to take."""

    def take(self: Stream, length: int, now: float) -> Any:
        segment = next(iter(self._ready.values()))
        start, octets = segment.next, bytes(segment.octets)
        taken = original(self, length, now)
        segment.next, segment.octets[:] = start, octets
        return taken

    return take


def shown(_: Any) -> Any:
    return lambda self: f"<Secret {self.reveal()!r}>"


def admits_any_key(original: Any) -> Any:
    def judge(self: Any, version: bytes, rest: list[bytes]) -> Any:
        self._knows = lambda _: True
        return original(self, version, rest)

    return judge


def drops_no_grants(original: Any) -> Any:
    def drop(self: Any, kind: str, id_: bytes) -> None:
        if kind != "holding":
            original(self, kind, id_)

    return drop


def status_of_all(_: Any) -> Any:
    def get_status(self: Limits, ask: Any) -> Any:
        capacity = self._options.max_bits // 8 // ask.size
        return Stock(stored=self._stream.octets // ask.size, capacity=capacity)

    return get_status
