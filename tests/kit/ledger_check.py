"""Looks into two stores: do their counters agree with what they count, and are they at rest?"""

from collections import Counter

from actors.keystore.key_store import KeyStore
from actors.protocol.blocks import SegmentId
from tests.kit.history import BrokenPromise


def _same(what: str, is_: object, should: object) -> None:
    if is_ != should:
        raise BrokenPromise(f"P9: {what} is {is_}, should be {should}")


def check_counters(store: KeyStore) -> None:
    """Recount everything that a store counts as it goes along."""
    stream, batches, held = store.stream, store.batches, store.held
    segments = list(stream.segments.values())
    free = {name: segment.free for name, segment in stream.segments.items()}
    _same("octets", stream.octets, sum(len(s.octets) for s in segments))
    _same("stock", stream.stock, sum(s.free for s in segments if s.owned))
    _same("theirs", stream.theirs, sum(s.left for s in segments if not s.owned))
    _same("usable", stream.usable, sum(free[name] for name in stream._ready))
    _same("asked", stream.asked, sum(free[name] for name in stream._asking))
    for mine in (True, False):
        fresh = [s for s in segments if s.owned is mine and not s.leased]
        _same("fresh", stream.fresh_octets[mine], sum(len(s.octets) for s in fresh))
        _same("fresh segments", set(stream._fresh[mine]), {s.id for s in fresh})
    _same("arrived", batches.arrived, sum(len(it.octets) for it in batches._arrived.values()))
    _same("emitted", batches.emitted, sum(len(it.octets) for it in batches._emitted.values()))
    _same("undecided", batches.undecided, sum(len(h.octets) for h in batches.held.values()))
    issued = store.issued
    open_: Counter[SegmentId] = Counter()
    lists = [waiting.grant.pieces for waiting in issued.waiting.values()]
    lists += [it.grant.pieces for it in issued.unacknowledged.values()]
    lists += [voiding.pieces for voiding in issued.voiding.values()]
    lists += [given.pieces for given in store.own_pads.pads.values()]
    lists += [given.pieces for given in issued.given.values()]
    for piece in (piece for pieces in lists for piece in pieces):
        open_[SegmentId(piece.holder, piece.batch)] += 1
    for segment in segments:
        if segment.owned:
            _same(f"grants in {segment.id}", segment.grants, open_[segment.id])
    shares = store.shares
    promised = sum(asked.octets for asked in store.allocation._asked)
    _same("promised", shares.reserved, promised)
    _same("waiting for pads", list(shares._open), list(store.own_pads._waiters))
    _same("backlog", shares.backlog, sum(made.octets for made in shares._open.values()))
    pairs: Counter[tuple[str, str]] = Counter()
    for holding in held.holdings.values():
        for slave, left in holding.left.items():
            pairs[holding.ends.master, slave] += holding.ends.size * left.bit_count()
    counted = held._loads.pairs + held._local.pairs + held._former.pairs
    if not held.loading:
        _same("loads", dict(counted), {pair: n for pair, n in pairs.items() if n})
    unacknowledged: Counter[tuple[str, str]] = Counter()
    for grant in (waiting.grant for waiting in issued.unacknowledged.values()):
        unacknowledged.update(
            {(grant.master, slave): grant.number * grant.size for slave in grant.slaves}
        )
    _same(
        "undelivered and unacknowledged",
        dict(issued.undelivered._unacknowledged),
        dict(unacknowledged),
    )


def check_rest(a: KeyStore, b: KeyStore) -> None:
    """Liveness, once the faults have stopped: nothing open, one stream."""
    for store in (a, b):
        state, batches, issued = store.state, store.batches, store.issued
        still = {
            "not resumed": not state.resumed,
            "frozen": state.frozen,
            "undecided": list(batches.held),
            "unsettled": list(batches.decided),
            "waiting": list(issued.waiting),
            "unacknowledged": list(issued.unacknowledged),
            "voiding": list(issued.voiding),
            "giving": list(store.stream.giving),
            "leases asked for": list(store.stream._asking),
            "segments to close": store.stream.closable(),
            "requests": list(store.allocation._asked),
            "to be sealed": list(store.allocation._prepares),
            "to be voided": list(store.announcements._to_void),
            "requests that wait for the peer": store.peer._pending,
            "pads asked for": list(store.own_pads._waiters),
            "fetches": list(store.delivery._queries),
            "effects": store.commits._effects,
        }
        if any(still.values()):
            raise BrokenPromise(f"LIVE: {store.address}: { {k: v for k, v in still.items() if v} }")
    _same("epochs", a.state.epoch, b.state.epoch)
    for one, two in ((a, b), (b, a)):
        if one.state.seq < two.state.seen:
            raise BrokenPromise("P9: an end has seen what the other never committed")
    _same("segments", sorted(map(repr, a.stream.segments)), sorted(map(repr, b.stream.segments)))
    for name, mine in a.stream.segments.items():
        theirs = b.stream.segments[name]
        _same(f"owners of {name}", (mine.owned, mine.leased), (not theirs.owned, theirs.leased))
        front = max(mine.next, theirs.next)
        if mine.octets[front:] != theirs.octets[front:]:
            raise BrokenPromise(f"P1: segment {name} differs")


def hold_no_more_than(store: KeyStore, octets: int) -> None:
    """From now on the store holds so many undelivered octets for each pair of SAEs."""
    store.held._pair_octets = octets


def give_away(store: KeyStore, name: SegmentId) -> None:
    """Let a store give a segment of its own to the peer, as if it had been asked."""
    number = store.stream.give(name, store.clock.now)
    store.segments._say_transfer(name, number)
    store.commits.submit()
