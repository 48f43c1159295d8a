"""R1-R6: datagrams, batches, tags, ownership, leases."""

import pytest

from actors.ledger.batches import BATCH_FORMED, BATCH_MIN
from actors.protocol import blocks, grants
from actors.protocol.blocks import SegmentId
from actors.protocol.common import Failed
from actors.protocol.relay import CHUNK_PAD_MIN
from actors.sync.block_sync import ARRIVED_MAX_S, ARRIVED_S, UNMEASURED_MAX, WINDOW
from actors.sync.segments import IDLE_BURN_S
from tests.kit.ledger_check import check_counters, check_rest, give_away
from tests.kit.pair import Pair
from transport.message import Secret


def rest(pair: Pair) -> None:
    pair.lost.clear()
    pair.cluster.advance(10.0)
    check_rest(pair.store("a"), pair.store("b"))
    for node in ("a", "b"):
        check_counters(pair.store(node))


# R1


def test_r1_a_datagram_of_another_pair_of_starts_is_dropped() -> None:
    pair = Pair()
    old = pair.store("b").state.datagram_epoch
    pair.cluster.restart("a")
    pair.cluster.advance(2.0)

    pair.arrive("b", old, 1, bytes(2000))

    assert pair.store("b").batches.arrived == 0


def test_r1_no_datagram_is_taken_before_resume() -> None:
    pair = Pair()
    pair.lost = {blocks.Resume}
    pair.cluster.restart("a")
    pair.cluster.advance(1.0)
    store = pair.store("b")

    pair.arrive("b", store.state.datagram_epoch, 1, bytes(2000))

    assert not store.state.resumed
    assert store.batches.arrived == 0


def test_r1_a_datagram_that_comes_twice_is_in_one_batch() -> None:
    pair = Pair()
    payload = pair.feed(2000)
    pair.cluster.advance(1.0)

    pair.arrive("b", pair.store("b").state.datagram_epoch, 0, payload)
    pair.cluster.advance(1.0)

    assert len({word.batch for word in pair.said(blocks.BlocksHeld)}) == 1


def test_r1_what_lies_in_no_batch_at_a_resume_is_dropped() -> None:
    pair = Pair()
    pair.feed(500)

    pair.cluster.restart("a")
    pair.cluster.advance(2.0)
    pair.fill(2)

    assert pair.store("b").batches.arrived == 0
    assert pair.store("b").stream.octets == 2 * 3968
    rest(pair)


def test_r1_what_no_batch_names_in_time_is_discarded_at_the_sender() -> None:
    pair = Pair()
    pair.fill(8)  # the rate is known
    pair.feed(4000, lose=True)

    pair.cluster.advance(2 * ARRIVED_S + 1)

    assert pair.store("a").batches.emitted == 0


def test_r1_what_its_sender_soon_discards_spoils_no_batch() -> None:
    pair = Pair()
    pair.fill(8)
    pair.feed(500)
    pair.cluster.advance(2 * ARRIVED_S + 1)

    pair.fill(1)

    assert pair.store("a").stream.octets == pair.store("b").stream.octets == 9 * 3968


def test_r1_while_no_rate_is_known_octets_wait_for_a_slow_link() -> None:
    pair = Pair()
    pair.feed(500)
    pair.cluster.advance(ARRIVED_MAX_S - 10.0)
    pair.feed(700)
    pair.cluster.advance(1.0)

    assert pair.store("a").stream.octets == pair.store("b").stream.octets == 1200 - 32


def test_r1_a_link_that_loses_all_it_carries_goes_on_soon() -> None:
    pair = Pair()
    for _ in range(1 + UNMEASURED_MAX // 4000):
        pair.feed(4000, lose=True)

    pair.cluster.advance(2 * ARRIVED_S + 1)

    assert pair.store("a").batches.emitted == 0


def test_r1_a_batch_of_a_link_makes_a_chunk_with_both_tag_keys() -> None:
    pair = Pair()
    pair.feed(1000)
    pair.cluster.advance(1.0)
    few = len(pair.said(blocks.BlocksHeld))

    pair.feed(164)
    pair.cluster.advance(1.0)

    assert few == 0
    assert BATCH_FORMED >= BATCH_MIN
    assert pair.store("a").stream.octets == BATCH_FORMED - 32 == CHUNK_PAD_MIN


def test_r1_an_idle_segment_is_burnt_but_no_grant_in_it() -> None:
    pair = Pair()
    pair.fill()
    key = pair.key()

    pair.cluster.advance(IDLE_BURN_S + 10)

    name = SegmentId(1, 1) if SegmentId(1, 1) in pair.store("a").stream.segments else None
    used = [s for s in pair.store("a").stream.segments.values() if s.next]
    assert not used, name
    assert pair.fetch(key.grant)[0] == key.octets.reveal()
    rest(pair)


def test_r1_a_segment_whose_lease_got_lost_with_its_owner_is_burnt_at_both_ends() -> None:
    pair = Pair()
    pair.lost = {blocks.Lease}
    pair.fill()
    pair.lease("a")
    pair.cluster.restart("a")

    pair.cluster.advance(10.0)

    assert not [s for s in pair.store("b").stream.segments.values() if not s.owned]
    pair.lost.clear()
    rest(pair)


def test_r1_a_close_that_overtakes_the_confirmation_waits_for_it() -> None:
    pair = Pair()
    pair.lost = {blocks.BlocksConfirmed}
    pair.fill()
    for _ in range(2):  # leased at the first start, burnt at the second
        pair.cluster.restart("a")
        pair.cluster.advance(5.0)
        pair.lease("a")

    assert pair.said(blocks.SegmentClosed, "a")
    assert not pair.said(blocks.SegmentClosedHeld, "b")
    rest(pair)


# R2


def test_r2_the_holder_repeats_the_same_batch_until_it_hears_the_decision() -> None:
    pair = Pair()
    pair.lost = {blocks.BlocksConfirmed}
    pair.fill(1)
    pair.cluster.advance(5.0)

    said = pair.said(blocks.BlocksHeld)

    assert len(said) >= 4
    assert len({(word.batch, word.runs, word.lengths, word.tag) for word in said}) == 1
    rest(pair)


def test_r2_the_decider_repeats_its_decision_across_a_restart_until_it_is_settled() -> None:
    pair = Pair()
    pair.lost = {blocks.BlocksSettled, blocks.BlocksHeld}
    pair.feed(4000)
    pair.lost = {blocks.BlocksConfirmed, blocks.BlocksSettled}
    pair.cluster.advance(3.0)
    pair.cluster.restart("a")
    pair.lost = {blocks.BlocksHeld}

    pair.cluster.advance(5.0)

    assert not pair.store("b").batches.held
    assert pair.store("b").stream.octets == pair.store("a").stream.octets == 3968


def test_r2_a_batch_is_decided_once() -> None:
    pair = Pair()
    pair.lost = {blocks.BlocksHeld, blocks.BlocksDiscarded}
    pair.feed(4000)
    pair.cluster.advance(0.2)
    true = pair.said(blocks.BlocksHeld)[0]
    fields = {name: getattr(true, name) for name in ("runs", "lengths", "credit", "batch")}
    head = pair.store("b").state.head()
    pair.lost = {blocks.BlocksDiscarded}
    pair.say("a", blocks.BlocksHeld(head=head, tag=bytes(16), **fields))

    pair.say("a", blocks.BlocksHeld(head=head, tag=true.tag, **fields))

    assert not pair.said(blocks.BlocksConfirmed)
    rest(pair)
    assert pair.store("a").stream.octets == 0


def test_r2_a_batch_of_unknown_octets_is_discarded_at_both_ends() -> None:
    pair = Pair()

    pair.arrive("b", pair.store("b").state.datagram_epoch, 77, pair.dice.randbytes(2000))
    pair.cluster.advance(1.0)

    assert pair.said(blocks.BlocksDiscarded, "a")
    rest(pair)
    assert pair.store("b").stream.octets == 0
    assert not pair.rows("b", "bits")


def test_r2_the_holder_never_discards_by_itself() -> None:
    pair = Pair()
    pair.lost = {blocks.BlocksHeld}
    pair.feed(4000)
    pair.cluster.advance(60.0)
    pair.cluster.restart("b")
    pair.cluster.advance(60.0)

    assert list(pair.store("b").batches.held) == [0]
    rest(pair)


def test_r2_a_full_store_pauses_the_far_sender_and_lets_it_go_on() -> None:
    pair = Pair(max_bits=8 * 40_000)
    pair.fill(8, 5000)
    full = pair.store("a").block_sync.peer_credit
    pair.key(200, 64)
    pair.cluster.advance(IDLE_BURN_S + 10)

    assert full < 5000
    assert pair.store("a").block_sync.peer_credit > full
    before = pair.store("a").stream.octets
    pair.fill(1, 5000)
    assert pair.store("a").stream.octets > before


def test_r2_a_store_takes_no_more_than_its_limit() -> None:
    pair = Pair(max_bits=8 * 40_000)

    pair.fill(20, 5000)

    assert pair.store("b").stream.octets <= 40_000
    assert pair.store("a").stream.octets <= 40_000
    assert pair.store("a").intake.most < WINDOW


# R3


def test_r3_one_wrong_octet_and_the_batch_is_discarded() -> None:
    pair = Pair()
    payload = pair.feed(4000, lose=True)
    wrong = payload[:-1] + bytes([payload[-1] ^ 1])

    pair.arrive("b", pair.store("b").state.datagram_epoch, 0, wrong)
    pair.cluster.advance(1.0)

    assert pair.said(blocks.BlocksDiscarded)
    assert pair.store("a").stream.octets == pair.store("b").stream.octets == 0


def test_r3_the_tag_key_is_burnt_at_both_ends() -> None:
    pair = Pair()
    payload = pair.feed(4000)
    pair.cluster.advance(0.2)

    octets = [bytes(s.octets) for n in "ab" for s in pair.store(n).stream.segments.values()]

    assert octets == [payload[32:]] * 2
    assert all(payload[:32] not in secret for n in "ab" for secret in pair.secrets(n))


def test_r3_undecided_batches_die_with_the_epoch() -> None:
    pair = Pair()
    pair.lost = {blocks.BlocksHeld}
    pair.feed(4000)
    pair.cluster.advance(0.2)
    copy = pair.cluster.backup("b")
    pair.lost = set()
    pair.fill()
    pair.cluster.restore("b", copy)

    pair.cluster.advance(5.0)

    assert pair.store("b").state.epoch[0] == 2
    assert not pair.store("b").batches.held
    assert not pair.rows("b", "held")
    assert not [word for word in pair.said(blocks.BlocksHeld) if word.head.number > 1]
    rest(pair)


# R4 (in this version the only one-time bits beside keys are tag keys)


def test_r4_a_tag_key_is_bound_to_one_text_across_restarts() -> None:
    pair = Pair()
    pair.lost = {blocks.BlocksConfirmed, blocks.BlocksDiscarded}
    pair.fill(1)
    pair.cluster.restart("b")
    pair.cluster.advance(3.0)

    said = pair.said(blocks.BlocksHeld)

    assert len({word.head.mine for word in said}) == 2
    assert len({(word.batch, word.runs, word.lengths, word.tag) for word in said}) == 1


# R5


def full(batches: int = 12) -> Pair:
    """A pair with more than the leases cover: fresh segments at both ends."""
    pair = Pair()
    for _ in range(batches):
        pair.feed(32_000)
        pair.cluster.advance(0.2)
    return pair


def give(pair: Pair) -> SegmentId:
    store = pair.store("a")
    segment = store.stream.newest()
    assert segment
    give_away(store, segment.id)
    return segment.id


def test_r5_the_first_owner_is_the_parity_of_the_batch() -> None:
    pair = Pair()
    pair.fill(4)
    pair.fill(4, sender="b")

    for node, end in (("a", 0), ("b", 1)):
        segments = pair.store(node).stream.segments
        assert {name: it.owned for name, it in segments.items()} == {
            name: name.batch % 2 == end for name in segments
        }


def test_r5_a_transfer_is_repeated_until_it_is_taken_and_then_both_agree() -> None:
    pair = full()
    pair.lost = {blocks.Transfer}
    name = give(pair)
    pair.cluster.advance(3.0)
    before = pair.store("b").stream.segments[name].owned

    rest(pair)

    assert not before
    assert pair.store("b").stream.segments[name].owned


def test_r5_a_transfer_counts_only_with_the_next_number() -> None:
    pair = full()
    name = give(pair)
    pair.cluster.settle()
    word = pair.said(blocks.Transfer)[0]
    b = pair.store("b")
    give_away(b, name)
    pair.cluster.settle()
    assert pair.store("a").stream.segments[name].owned

    pair.say("b", word)

    assert not b.stream.segments[name].owned
    assert pair.store("a").stream.segments[name].owned
    rest(pair)


def test_r5_a_transfer_counts_at_both_ends_so_that_a_lost_one_is_a_rollback() -> None:
    pair = full()
    pair.lost = {blocks.Transfer}
    a, b = pair.store("a"), pair.store("b")
    before = a.state.seq
    name = give(pair)
    given = a.state.seq - before
    pair.cluster.settle()
    n = pair.said(blocks.Transfer)[0].n
    before = b.state.seq

    taken = [(b.stream.accept(name, n), b.state.seq - before) for _ in range(2)]

    assert given == 1
    assert taken == [(True, 1), (True, 1)]


def test_r5_not_mine_is_durable_before_the_peer_hears_of_it() -> None:
    pair = full()
    pair.cluster.crash_at_commit("a", before=True)

    give(pair)
    pair.cluster.settle()

    assert not pair.said(blocks.Transfer)
    pair.cluster.restart("a")
    rest(pair)


def test_r5_a_transfer_from_an_earlier_start_is_dropped() -> None:
    pair = full()
    pair.lost = {blocks.Transfer}
    copy = pair.cluster.backup("a")
    name = give(pair)
    pair.cluster.settle()
    late = pair.said(blocks.Transfer)[0]
    pair.cluster.restore("a", copy)
    pair.cluster.advance(3.0)

    pair.say("b", late)

    owners = [pair.store(n).stream.segments[name].owned for n in "ab"]
    assert owners.count(True) == 1


def test_r5_only_segments_never_leased_move() -> None:
    pair = full()
    give(pair)
    pair.cluster.advance(1.0)
    pair.say("b", blocks.Wanted(head=pair.store("a").state.head(now=True), octets=1 << 20))
    pair.cluster.advance(1.0)

    assert pair.said(blocks.Transfer, "b")
    leased = {name for word in pair.said(blocks.Lease) for name in word.segments}
    given = {word.segment for word in pair.said(blocks.Transfer)}
    assert not leased & given
    rest(pair)


def test_r5_an_end_without_bits_gets_some_of_the_other_end() -> None:
    pair = full(24)
    store = pair.store("b")
    while segment := store.stream.newest():
        give_away(store, segment.id)
        pair.cluster.advance(0.1)
    assert store.stream.fresh_octets[True] == 0

    pair.enc(1, 32, at="b")
    pair.cluster.advance(3.0)

    assert pair.said(blocks.Transfer, "a")
    rest(pair)


# R6


def test_r6_nothing_is_used_before_the_peer_holds_the_lease() -> None:
    pair = Pair()
    pair.lost = {blocks.Lease}
    pair.fill()
    pair.lease("a")

    answer = pair.enc()

    assert isinstance(answer, Failed)
    assert not pair.said(grants.GrantsAnnounced)
    pair.lost.clear()
    pair.cluster.advance(3.0)
    pair.key()


def test_r6_a_lease_is_held_only_when_it_is_durable_at_the_peer() -> None:
    pair = Pair()
    pair.lost = {blocks.Lease}
    pair.fill()
    pair.lease("a")
    pair.lost.clear()
    pair.wire.clear()
    pair.cluster.fill_disk("b")
    pair.cluster.advance(5.0)

    assert pair.said(blocks.Lease, "a")
    assert not pair.said(blocks.LeaseHeld, "b")
    pair.cluster.free_disk("b")
    rest(pair)


def test_r6_the_lease_is_durable_at_the_owner_before_it_is_told() -> None:
    pair = Pair()
    pair.lost = {blocks.BlocksConfirmed}
    pair.fill(2)
    pair.wire.clear()
    pair.lost.clear()
    pair.cluster.fill_disk("a")
    pair.cluster.advance(3.0)

    assert not pair.said(blocks.Lease, "a")
    pair.cluster.free_disk("a")


def test_r6_the_rest_of_every_lease_is_burnt_at_a_start() -> None:
    pair = Pair()
    pair.fill()
    first = pair.key(5)
    pair.cluster.restart("a")
    pair.cluster.advance(2.0)

    pair.fill(2)
    second = pair.key(5)

    one, two = first.octets.reveal(), second.octets.reveal()
    assert not {one[i : i + 32] for i in range(0, 160, 32)} & {
        two[i : i + 32] for i in range(0, 160, 32)
    }
    assert pair.alarms() == 0
    assert pair.fetch(first.grant)[0] == one[:32]
    rest(pair)


def test_r6_a_lease_is_asked_for_while_the_last_is_in_use() -> None:
    pair = full()
    store = pair.store("a")
    before = store.stream.fresh_octets[True]
    pair.key(1000, 64)

    pair.cluster.advance(1.0)

    assert store.stream.fresh_octets[True] < before
    assert store.stream.usable >= 64_000


@pytest.mark.parametrize("node", ["a", "b"])
def test_r6_leases_survive_a_crash_of_the_store_actor_as_a_start_of_it(node: str) -> None:
    pair = Pair(tolerant=True)
    pair.fill()
    first = pair.key()
    system = pair.cluster.nodes[node]
    system.failed(pair.at(node).partition("@")[0], None, None)
    pair.revive(node)
    pair.cluster.advance(3.0)
    pair.fill(2)

    second = pair.key()

    assert first.octets.reveal() != second.octets.reveal()
    assert pair.fetch(first.grant)[0] == first.octets.reveal()
    assert Secret(b"") != first.octets
