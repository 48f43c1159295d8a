"""Looks into two stores: do their counters agree with what they count, and are they at rest?"""

from collections import Counter

from actors.key_store import KeyStore
from actors.protocol.blocks import SegmentId
from tests.system.history import BrokenPromise


def _same(what: str, is_: object, should: object) -> None:
    if is_ != should:
        raise BrokenPromise(f"P9: {what} is {is_}, should be {should}")


def check_counters(store: KeyStore) -> None:
    """Recount everything that a store counts as it goes along."""
    stream, batches, vault = store.stream, store.batches, store.vault
    segments = list(stream.segments.values())
    free = {name: segment.free for name, segment in stream.segments.items()}
    _same("octets", stream.octets, sum(len(s.octets) for s in segments))
    _same("stock", stream.stock, sum(s.free for s in segments if s.mine))
    _same("theirs", stream.theirs, sum(s.left for s in segments if not s.mine))
    _same("usable", stream.usable, sum(free[name] for name in stream._ready))
    _same("asked", stream.asked, sum(free[name] for name in stream._asking))
    for mine in (True, False):
        fresh = [s for s in segments if s.mine is mine and not s.leased]
        _same("fresh", stream.fresh_octets[mine], sum(len(s.octets) for s in fresh))
        _same("fresh segments", set(stream._fresh[mine]), {s.id for s in fresh})
    _same("arrived", batches.arrived, sum(len(it.octets) for it in batches._arrived.values()))
    _same("emitted", batches.emitted, sum(len(it.octets) for it in batches._emitted.values()))
    _same("undecided", batches.undecided, sum(len(h.octets) for h in batches.held.values()))
    issuer = store.issuer
    open_: Counter[SegmentId] = Counter()
    lists = [waiting.grant.pieces for waiting in issuer.waiting.values()]
    lists += [unheard.grant.pieces for unheard in issuer.unheard.values()]
    lists += [voiding.pieces for voiding in issuer.voiding.values()]
    lists += [given.pieces for given in store.pads.values()]
    lists += [given.pieces for given in issuer.given.values()]
    for piece in (piece for pieces in lists for piece in pieces):
        open_[SegmentId(piece.holder, piece.batch)] += 1
    for segment in segments:
        if segment.mine:
            _same(f"grants in {segment.id}", segment.grants, open_[segment.id])
    shares = store.shares
    promised = sum(asked.octets for asked in store._asked)
    _same("promised", shares.promised, promised)
    _same("waiting for pads", list(shares._open), list(store._waiters))
    _same("backlog", shares.backlog, sum(made.octets for made in shares._open.values()))
    pairs: Counter[tuple[str, str]] = Counter()
    for holding in vault.holdings.values():
        for slave, left in holding.left.items():
            pairs[holding.grant.master, slave] += holding.grant.size * left.bit_count()
    _same("loads", dict(vault._pairs), {pair: n for pair, n in pairs.items() if n})
    unheard: Counter[tuple[str, str]] = Counter()
    for grant in (waiting.grant for waiting in issuer.unheard.values()):
        unheard.update({(grant.master, slave): grant.number * grant.size for slave in grant.slaves})
    _same("loads unheard of", dict(issuer.loads._unheard), dict(unheard))


def check_rest(a: KeyStore, b: KeyStore) -> None:
    """Liveness, once the faults have stopped: nothing open, one stream."""
    for store in (a, b):
        standing, batches, issuer = store.standing, store.batches, store.issuer
        still = {
            "not resumed": not standing.resumed,
            "frozen": standing.frozen,
            "undecided": list(batches.held),
            "unsettled": list(batches.decided),
            "waiting": list(issuer.waiting),
            "unheard": list(issuer.unheard),
            "voiding": list(issuer.voiding),
            "giving": list(store.stream.giving),
            "leases asked for": list(store.stream._asking),
            "segments to close": store.stream.closable(),
            "requests": list(store._asked),
            "gives": list(store._gives),
            "to be taken back": list(store._to_void),
            "requests that wait for the peer": store.sleepers,
            "pads asked for": list(store._waiters),
            "fetches": list(store._queries),
            "effects": store._effects,
        }
        if any(still.values()):
            raise BrokenPromise(f"LIVE: {store.address}: { {k: v for k, v in still.items() if v} }")
    _same("epochs", a.standing.epoch, b.standing.epoch)
    for one, two in ((a, b), (b, a)):
        if one.standing.seq < two.standing.seen:
            raise BrokenPromise("P9: an end has seen what the other never committed")
    _same("segments", sorted(map(repr, a.stream.segments)), sorted(map(repr, b.stream.segments)))
    for name, mine in a.stream.segments.items():
        theirs = b.stream.segments[name]
        _same(f"owners of {name}", (mine.mine, mine.leased), (not theirs.mine, theirs.leased))
        front = max(mine.next, theirs.next)
        if mine.octets[front:] != theirs.octets[front:]:
            raise BrokenPromise(f"P1: segment {name} differs")
