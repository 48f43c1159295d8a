"""What holds while grants still come in from the disk (P1-P3, R7, R9, R12)."""

from collections.abc import Callable
from functools import partial

import pytest

from actors.base import Clock
from actors.keystore import delivery, loading
from actors.ledger import held as ledger
from actors.protocol import blocks, grants
from actors.protocol import keys as keys_
from actors.protocol.common import Failed
from actors.runtime.crashes import describe
from protokms.testing.cluster import NoAnswer
from protokms.testing.sim.checker.ledgers import named
from protokms.testing.steps import StepSystem
from tests.kit.pair import Pair

Slow = list[Callable[[], None]]


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    return slow_rows(monkeypatch)


def slow_rows(monkeypatch: pytest.MonkeyPatch) -> Slow:
    """Slices of two rows, each of which comes when the test lets it."""
    waiting: Slow = []
    read = StepSystem._read
    monkeypatch.setattr(StepSystem, "_read", lambda *args: waiting.append(partial(read, *args)))
    monkeypatch.setattr(loading, "SLICE", 2)
    return waiting


def let(pair: Pair, slow: Slow, n: int = 1000) -> None:
    while slow and n:
        slow.pop(0)()
        pair.cluster.settle()
        n -= 1


def made(n: int = 9, **options: object) -> tuple[Pair, list[tuple[bytes, bytes]]]:
    """Keys that lie at b, known to be used by the rows of segments there; b has crashed."""
    pair = Pair(**options)  # type: ignore[arg-type]
    pair.fill(6)
    pair.fill(4, sender="b")
    keys = [(key.grant, key.octets.reveal()) for key in (pair.key() for _ in range(n))]
    pair.cluster.advance(6.0)
    assert pair.rows("b", "marked")
    return pair, keys


def restart(pair: Pair, node: str = "b") -> None:
    pair.cluster.crash(node)
    pair.cluster.start(node)
    pair.cluster.settle()
    pair.cluster.advance(1.0)


def test_keys_survive_any_number_of_kills_while_they_are_loaded(slow: Slow) -> None:
    pair, keys = made()
    for slices in range(7):
        restart(pair)
        assert pair.store("b").held.loading
        let(pair, slow, slices)
        slow.clear()
    restart(pair)
    let(pair, slow)

    assert not pair.store("b").held.loading
    for grant, octets in keys:
        assert pair.fetch(grant)[0] == octets
    assert pair.alarms() == 0


def test_both_ends_serve_before_anything_is_loaded_and_no_octet_is_used_twice(slow: Slow) -> None:
    pair, keys = made()
    restart(pair)

    pair.fill(4, sender="b")  # the leases of b are burnt
    pair.fill(4)
    fresh = pair.key()
    back = pair.key(at="b")

    assert pair.store("b").held.loading
    assert pair.fetch(fresh.grant)[0] == fresh.octets.reveal()
    assert pair.fetch(back.grant, at="a")[0] == back.octets.reveal()
    assert fresh.octets.reveal() not in dict(keys).values()
    let(pair, slow)
    for grant, octets in keys:
        assert pair.fetch(grant)[0] == octets


def test_what_was_held_after_the_last_wipe_is_marked_before_the_store_serves(slow: Slow) -> None:
    pair, _ = made()
    late = pair.key()
    pair.lost = {blocks.SegmentClosed}
    used = {name: list(it.used) for name, it in pair.store("b").stream.segments.items()}
    restart(pair)

    assert late.grant in pair.store("b").held.holdings
    there = {n: it for n, it in pair.store("b").stream.segments.items() if not it.owned}
    assert any(it.used for it in there.values())
    assert {name: list(it.used) for name, it in there.items()} == {n: used[n] for n in there}


def test_a_fetch_of_a_key_that_is_not_loaded_waits_and_then_is_503(slow: Slow) -> None:
    pair, keys = made()
    restart(pair)

    answer = pair.dec(keys[0][0], wait=3.0)
    assert isinstance(answer, Failed)
    assert answer.code == "not_ready"

    let(pair, slow, 2)  # tombs first, there are none
    assert pair.fetch(keys[-1][0])[0] == keys[-1][1]  # the newest come first
    let(pair, slow)
    answer = pair.dec(bytes(12))
    assert isinstance(answer, Failed)
    assert answer.code == "no_such_key"


def rows_come(pair: Pair, slow: Slow) -> None:
    """Let one slice after the other come while time passes."""
    if slow:
        slow.pop(0)()
    if pair.store("b").held.loading:
        pair.cluster.agenda.later(0.001, partial(rows_come, pair, slow))


def test_r9_the_owner_is_asked_for_what_no_row_brought(slow: Slow) -> None:
    pair, _ = made(mode="local")
    restart(pair)
    pair.lost = {grants.GrantsAnnounced}
    got = pair.key()  # answered, and announced once, in vain
    pair.lost = set()

    pair.cluster.agenda.later(0.001, partial(rows_come, pair, slow))
    assert pair.store("b").held.loading
    answer = pair.dec(got.grant, wait=3.0)

    assert isinstance(answer, keys_.KeysWithIds), answer
    assert answer.octets[0] == got.octets


def test_r9_a_fetch_that_waits_for_rows_hears_what_the_owner_announces(
    slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "QUERY_S", 30.0)
    pair, _ = made(mode="local")
    restart(pair)
    pair.lost = {grants.GrantsAnnounced}
    got = pair.key()
    pair.lost = set()

    begun = pair.cluster.now
    answer = pair.dec(got.grant, wait=40.0)

    assert isinstance(answer, keys_.KeysWithIds), answer
    assert pair.store("b").held.loading
    assert pair.cluster.now - begun < 5.0


def test_a_repeated_announcement_of_what_lies_on_the_disk_waits_for_it(slow: Slow) -> None:
    pair, _ = made(request_timeout_s=60.0)
    pair.lost = {grants.GrantsHeld}
    ask = keys_.GetKey(master="alice", slaves=("bob",), number=1, size=32)
    with pytest.raises(NoAnswer):
        pair.cluster.ask(pair.at("a"), ask, 6.0)  # b holds it, and has marked it
    (id_,) = pair.store("a").issued.waiting
    assert id_ in pair.store("b").held.holdings
    restart(pair)
    pair.lost = set()
    pair.cluster.advance(5.0)

    assert id_ in pair.store("a").issued.waiting
    assert pair.alarms() == 0
    let(pair, slow)
    pair.cluster.advance(5.0)
    assert id_ not in pair.store("a").issued.waiting
    assert id_ in pair.store("b").held.holdings
    assert pair.alarms() == 0


def test_a_void_of_what_lies_on_the_disk_waits_for_it(slow: Slow) -> None:
    pair, keys = made()
    pair.lost = {grants.GrantsHeld, grants.GrantsVoid}
    pair.enc(wait=20.0)
    (id_,) = pair.store("a").issued.voiding
    pair.cluster.advance(6.0)
    restart(pair)
    pair.lost = set()
    pair.cluster.advance(5.0)

    assert id_ in pair.store("a").issued.voiding
    let(pair, slow)
    pair.cluster.advance(5.0)
    assert not pair.store("a").issued.voiding
    assert len(pair.store("b").held.holdings) == len(keys)


def test_grants_that_are_not_loaded_outlive_a_new_epoch(slow: Slow) -> None:
    pair, keys = made()
    pair.deliver(keys[0][0])
    pair.cluster.advance(6.0)
    assert pair.rows("b", "tombstone")
    restart(pair)
    pair.store("b").new_epoch((2, 7))
    pair.store("b").commits.submit()
    pair.cluster.advance(5.0)
    assert pair.store("a").state.epoch[0] == 2
    assert pair.store("b").state.epoch[0] == 2
    assert pair.store("b").held.loading

    let(pair, slow)
    pair.cluster.advance(3.0)
    assert not pair.rows("b", "tombstone")
    pair.fill(6)  # segments with the names of those that are gone
    for grant, octets in keys[1:]:
        got = pair.deliver(grant)
        assert not isinstance(got, Failed)
        assert got.octets[0].reveal() == octets
    pair.cluster.advance(1.0)
    assert not pair.rows("b", "holding")
    assert not pair.rows("b", "tombstone")


def test_limits_count_what_is_not_loaded_for_each_pair_at_once(slow: Slow) -> None:
    limits = {"max_undelivered_bits_per_pair": 10 * 256, "max_undelivered_bits_per_sae": 20 * 256}
    pair, keys = made(**limits)
    restart(pair)
    store = pair.store("b")

    assert store.held.loading
    assert store.held.load("alice", "bob") == len(keys) * 32
    pair.key()
    answer = pair.enc(wait=4.0)
    assert isinstance(answer, Failed)
    assert answer.code == "too_many_undelivered"
    pair.key(slaves=("bert",))
    let(pair, slow)
    assert store.held.load("alice", "bob") == (len(keys) + 1) * 32
    assert store.held.load_of("bert") == 32


def test_a_number_is_never_used_again_or_its_grant_would_not_be_marked(slow: Slow) -> None:
    pair, _ = made(3)
    last = pair.key()
    (number,) = (row.id for row in pair.rows("b", "holding") if named(row) == last.grant)
    pair.deliver(last.grant)
    pair.store("b").new_epoch((2, 7))
    pair.store("b").commits.submit()
    pair.cluster.advance(6.0)
    assert not pair.rows("b", "tombstone")
    restart(pair)
    let(pair, slow)

    pair.fill(6)
    pair.key()
    assert min(row.id for row in pair.rows("b", "holding")[3:]) > number


def test_rows_that_an_index_does_not_lead_to_are_missed(slow: Slow) -> None:
    pair, _ = made(tolerant=True)
    restart(pair)
    row = pair.rows("b", "holding")[4]
    del pair.cluster._disks["b"].rows[row.store, row.kind, row.id]  # type: ignore[attr-defined]

    let(pair, slow)

    assert describe(pair.cluster.crashes[0].why) == "1 rows shared with a are missing"


def test_no_more_than_some_grants_expire_in_one_turn(
    slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "EXPIRE_MAX", 4)
    pair, _ = made(9, ttl_s=60.0)
    restart(pair)
    let(pair, slow)
    store = pair.store("b")
    due = max(holding.deadline for holding in store.held.holdings.values())

    left = []
    for _ in range(4):
        store.held.tick(Clock(store.clock.boot, due + 2.0))
        left.append(store.held.count)

    assert left == [5, 1, 0, 0]


def test_what_expired_while_the_node_was_down_expires_as_it_comes_in(slow: Slow) -> None:
    pair, keys = made(9, ttl_s=60.0)
    pair.cluster.crash("b")
    pair.cluster.advance(100.0)
    pair.cluster.start("b")
    pair.cluster.advance(2.0)
    let(pair, slow)
    pair.cluster.advance(2.0)

    assert not pair.rows("b", "holding")
    answer = pair.dec(keys[0][0])
    assert isinstance(answer, Failed)
    assert answer.code == "no_such_key"


def test_a_new_epoch_writes_one_row_whatever_is_held() -> None:
    pair, keys = made()
    before = pair.rows("b", "holding")
    store = pair.store("b")
    store.new_epoch((2, 7))
    changed = [it for it in store.journal.take() if it.kind in ("holding", "marked")]

    assert len(before) == len(keys)
    assert [it.kind for it in changed] == ["marked"]


def test_a_key_under_way_at_a_start_is_handed_out_again(slow: Slow) -> None:
    pair, keys = made()
    pair.dec(keys[0][0])  # nobody reports on the response
    restart(pair)
    let(pair, slow)

    assert pair.fetch(keys[0][0])[0] == keys[0][1]
    restart(pair)
    let(pair, slow)
    pair.cluster.advance(40.0)  # the window begins anew with each start
    assert pair.rows("b", "window") == []
    assert len(pair.rows("b", "holding")) == len(keys) - 1


# Earlier starts of the issuer (case P7)


def test_p7_grants_of_earlier_starts_of_the_issuer_count_against_a_bound_of_their_own() -> None:
    pair = small()
    for _ in range(5):
        while isinstance(answer := pair.enc(wait=4.0), keys_.Keys):
            last = answer
        assert isinstance(answer, Failed)
        assert answer.code == "too_many_undelivered"
        held_ = pair.store("b").held.count
        restart(pair, "a")
        pair.fill(4)

    assert held_ == 4 + 6  # four of this start, and as many as the bound allows
    assert pair.store("b").held.former == 10 * 32
    assert pair.fetch(last.grant)[0] == last.octets.reveal()


def small() -> Pair:
    limits = {
        "max_undelivered_bits_per_pair": 4 * 256,
        "max_undelivered_bits_per_sae": 20 * 256,
        "max_undelivered_bits_of_earlier_starts": 6 * 256,
    }
    pair = Pair(**limits)  # type: ignore[arg-type]
    pair.fill(8)
    return pair


def test_p7_earlier_starts_are_known_after_a_start_of_the_slaves_side(slow: Slow) -> None:
    pair = small()
    for _ in range(4):
        pair.key()
    restart(pair, "a")
    pair.fill(4)
    pair.key()
    pair.cluster.advance(6.0)
    restart(pair)
    held_ = pair.store("b").held

    assert held_.loading
    assert (held_.former, held_.load("alice", "bob")) == (4 * 32, 32)
    let(pair, slow)
    assert (held_.former, held_.load("alice", "bob")) == (4 * 32, 32)


def test_p7_each_local_grant_was_answered_and_goes_on_counting() -> None:
    pair = Pair(mode="local")
    pair.fill(4)
    for _ in range(4):
        pair.key()
    pair.cluster.advance(3.0)
    restart(pair, "a")

    held_ = pair.store("b").held
    assert (held_.former, held_.load("alice", "bob")) == (0, 4 * 32)
