"""Lines of the ledger broken on purpose, for test_mutations.py: a right one in, a wrong one out."""

import math
from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from actors import issuer, slaves_side, tag, vault
from actors.batches import Batches
from actors.keeper import Keeper
from actors.key_store import KeyStore
from actors.owner_limits import OwnerLimits
from actors.protocol.blocks import Transfer
from actors.protocol.grants import Grant, Piece
from actors.protocol.keys import Stock
from actors.segment import Segment
from actors.shared_stream import SharedStream
from actors.standing import Standing, Verdict
from actors.stream import Stream
from actors.vault import Vault


def nothing(_: Any) -> Any:
    return lambda *_a, **_k: None


def always(value: Any) -> Callable[[Any], Any]:
    return lambda _: lambda *_a, **_k: value


def is_(value: Any) -> Callable[[Any], Any]:
    return lambda _: value


def hold_with_old_pieces(_: Any) -> Any:
    def epoch_closed(self: Vault, _clock: Any) -> None:
        for name in list(self._tombs_of):
            self.segment_closed(name)

    return epoch_closed


def at_once(_: Any) -> Any:
    def effect(_self: Keeper, act: Callable[[], None]) -> None:
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
        if segment and not segment.mine:
            self._not_fresh(segment)
            segment.mine, segment.n = True, n
            self._is_fresh(segment)
            self.stock += segment.free
            self._save(segment)
        return True

    return accept


def told_before_commit(_: Any) -> Any:
    def say_transfer(self: SharedStream, name: Any, n: int) -> None:
        word = Transfer(head=self.standing.head(), segment=name, n=n)
        self.tell(self.peer, word)

    return say_transfer


def without_nonce(original: Any) -> Any:
    def judge(self: Standing, word: Any) -> Verdict:
        self.nonce = self.nonce and word.nonce
        verdict: Verdict = original(self, word)
        return verdict

    return judge


def undetected(original: Any) -> Any:
    def judge(self: Standing, word: Any) -> Verdict:
        seq, seen = self.seq, self.seen
        self.seq, self.seen = 1 << 61, 0
        verdict: Verdict = original(self, word)
        self.seq, self.seen = seq, max(seen, self.seen)
        return verdict

    return judge


def never_joins(original: Any) -> Any:
    def judge(self: Standing, word: Any) -> Verdict:
        verdict = original(self, word)
        return Verdict.IGNORED if verdict is Verdict.JOIN else verdict

    return judge


def counts(original: Any) -> Any:
    def written(self: Keeper, news: Any) -> None:
        original(self, news)
        if isinstance(self, SharedStream):  # keys for two SAEs of one node have no standing
            self.standing.count()

    return written


def any_head(_: Any) -> Any:
    def admits(self: Standing, head: Any) -> bool:
        self._see(head.seq)
        return True

    return admits


def other_start(_: Any) -> Any:
    def same(self: Standing, head: Any) -> bool:
        return bool(head.mine and head.yours)

    return same


def unread_window(original: Any) -> Any:
    def begin(self: Vault, *args: Any, **options: Any) -> None:
        original(self, *args, **options)
        for opened in self._open.values():
            opened.until = 0.0

    return begin


def any_boot(_: Any) -> Any:
    def load(self: Vault, id_: bytes, clear: list[Any], octets: bytes, clock: Any) -> None:
        pieces, size, number, master, slaves, mode, _boot, deadline, remaining, left = clear
        made = tuple(Piece(*piece) for piece in pieces)
        grant = Grant(id_, made, size, number, master, tuple(slaves), mode, remaining)
        maps = (int.from_bytes(bits, "big") for bits in left)
        still = dict(zip(slaves, maps, strict=True))
        self._keep(vault.Holding(grant, bytearray(octets), deadline, still))

    return load


def void_unknown_is_no_news(original: Any) -> Any:
    def void(self: Vault, id_: bytes, pieces: Any) -> bool:
        return id_ in self.holdings and bool(original(self, id_, pieces))

    return void


def anybody(_: Any) -> Any:
    def check(_self: KeyStore, grant: Any) -> str:
        return "" if slaves_side._well_formed(grant) else "malformed"

    return check


def voids_early(original: Any) -> Any:
    def give_up(self: KeyStore, id_: bytes, waiting: Any) -> None:
        was, self.standing.resumed = self.standing.resumed, True
        original(self, id_, waiting)
        self.standing.resumed = was

    return give_up


def void_stays_waiting(original: Any) -> Any:
    def void(self: issuer.Issuer, id_: bytes) -> Any:
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
    def hold(self: KeyStore, grant: Any, now: Any) -> str:
        if sum(p.length for p in grant.pieces) > self.room(grant.master, grant.slaves[0]):
            return "too_many_undelivered"
        return str(original(self, grant, now))

    return hold


def broken_forgets(original: Any) -> Any:
    def broken(self: Vault, receipt: int, clock: Any) -> None:
        original(self, receipt, clock)
        self._receipts.pop(receipt, None)

    return broken


def forgotten_tag(original: Any) -> Any:
    def begin(self: Batches, *args: Any) -> None:
        original(self, *args)
        for held in self.held.values():
            held.tag = bytes(16)

    return begin


def not_durable(_: Any) -> Any:
    def submit(self: Keeper) -> None:
        self.before_commit()
        changes, effects, self._effects = self.journal.take(), self._effects, []
        self._run(effects)
        if changes:
            self.commit(changes, lambda: None)

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
    """The module `tag`, but nothing is cut off the front of a batch."""

    KEY_OCTETS = 0
    make, agrees = staticmethod(tag.make), staticmethod(tag.agrees)


def both_own(original: Any) -> Any:
    def enter(self: Stream, name: Any, octets: bytes, **more: Any) -> None:
        original(self, name, octets, **more)
        segment = self.segments[name]
        if not segment.mine:
            self._not_fresh(segment)
            segment.mine = True
            self._is_fresh(segment)
            self.stock += segment.free

    return enter


def forms_any(_: Any) -> Any:
    def form(self: Batches, _at_least: int) -> list[int]:
        return [self._form()] if self.arrived else []

    return form


def key_as_id(_: Any) -> Any:
    def allocate(self: KeyStore, asked: Any, ask: Any, now: Any) -> Any:
        pieces, octets = self.take_promised(asked.octets, now)
        ends = (ask.size, ask.number, ask.master, ask.slaves, "confirmed", 60.0)
        made = Grant(octets[:12], pieces, *ends)
        waiting = issuer.Waiting(made, octets, asked.answer, asked.until, self._volley, now.now)
        self.issuer.await_held(waiting)
        return made

    return allocate


def in_clear(original: Any) -> Any:
    def put(self: Any, kind: str, id_: bytes, clear: Any, secret: bytes | None = None) -> None:
        original(self, kind, id_, (clear, secret) if kind == "grant" else clear, secret)

    return put


def loads_of_anybody(original: Any) -> Any:
    def on_held(self: KeyStore, word: Any) -> None:
        original(self, word)
        for load in word.loads:
            self.issuer.loads.told(load)

    return on_held


def keeps_loads(_: Any) -> Any:
    def on_resumed(self: OwnerLimits) -> None:
        super(OwnerLimits, self).on_resumed()

    return on_resumed


def never_busy(original: Any) -> Any:
    def get_key(self: KeyStore, ask: Any) -> Any:
        waiting, self._asked = self._asked, deque()
        answer = original(self, ask)
        self._asked = deque([*waiting, *self._asked])
        return answer

    return get_key


def voids_keep_places(original: Any) -> Any:
    """Pieces of a closed epoch stay in a void."""

    def epoch_closed(self: issuer.Issuer) -> Any:
        before = {id_: voiding.pieces for id_, voiding in self.voiding.items()}
        vain = original(self)
        for id_, pieces in before.items():
            self.voiding[id_].pieces = pieces
        return vain

    return epoch_closed


def voids_end(original: Any) -> Any:
    """Pending voids go with the closed epoch."""

    def epoch_closed(self: issuer.Issuer) -> Any:
        vain = original(self)
        for id_ in self.voiding:
            self._journal.drop("void", id_)
        self.voiding.clear()
        return vain

    return epoch_closed


def fetched_at_once(original: Any) -> Any:
    """Keys that waited for word from their owner leave before *delivering* is durable."""

    def fetch(self: slaves_side.SlavesSide, query: slaves_side.Query) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self, "effect", lambda act: act())
            original(self, query)

    return fetch


def void_held_at_once(original: Any) -> Any:
    """The acknowledgement of a void leaves before its commit."""

    def on_void(self: slaves_side.SlavesSide, word: Any) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self, "say", lambda held: self.tell(self.peer, held))
            original(self, word)

    return on_void


def still_promised(original: Any) -> Any:
    """What was promised to those who waited in the old epoch is kept for them in the next."""

    def new_epoch(self: KeyStore, epoch: Any) -> None:
        promised = self.shares.promised
        original(self, epoch)
        self.shares.promised = promised

    return new_epoch


def closes_only_leased(original: Any) -> Any:
    """As it was at first."""

    def close(self: Stream, name: Any) -> bool:
        segment = self.segments.get(name)
        return (segment is None or segment.leased) and bool(original(self, name))

    return close


def cuts_beside(original: Any) -> Any:
    def cut(self: KeyStore, piece: Piece) -> bytes:
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
        if kind != "grant":
            original(self, kind, id_)

    return drop


def status_of_all(_: Any) -> Any:
    def get_status(self: KeyStore, ask: Any) -> Any:
        return Stock(stored=self.stream.octets // ask.size, capacity=self.max_octets // ask.size)

    return get_status
