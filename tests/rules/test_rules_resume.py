"""R7 and R8: resume, epochs, rollback, effects after the commit."""

import dataclasses

import pytest

from actors.protocol import blocks, grants, keys
from actors.protocol.blocks import Head, SegmentId
from actors.protocol.common import Failed
from actors.protocol.grants import Grant, Piece
from tests.kit.ledger_check import check_counters, check_rest
from tests.kit.pair import Pair

ONE_KEY = keys.GetKey(master="alice", slaves=("bob",), number=1, size=32)


def ready(**options: object) -> Pair:
    pair = Pair(**options)  # type: ignore[arg-type]
    pair.fill()
    pair.fill(sender="b")
    return pair


def rest(pair: Pair) -> None:
    pair.lost.clear()
    pair.cluster.advance(10.0)
    check_rest(pair.store("a"), pair.store("b"))
    for node in ("a", "b"):
        check_counters(pair.store(node))


def head(pair: Pair, sender: str, **changes: int) -> Head:
    return dataclasses.replace(pair.store(sender).state.head(), **changes)


# R7: which words count


@pytest.mark.parametrize("field", ["mine", "yours", "number", "random"])
def test_r7_a_word_of_another_start_or_epoch_changes_nothing(field: str) -> None:
    pair = ready()
    leased = next(iter(pair.store("b").stream._fresh[True]), SegmentId(1, 1))
    other = head(pair, "b", **{field: 3}, seq=1000)
    pair.say("a", blocks.Lease(head=other, segments=(leased,)))

    assert pair.store("a").state.seen < 1000
    rest(pair)


def test_r7_a_word_of_an_unknown_start_makes_an_end_ask() -> None:
    pair = ready()
    pair.wire.clear()

    pair.say("a", blocks.Lease(head=head(pair, "b", mine=3), segments=()))

    assert pair.said(blocks.ResumeAsk, "a")
    rest(pair)


def test_r7_a_resume_counts_only_with_the_nonce_of_the_open_question() -> None:
    pair = ready()
    pair.lost = {blocks.Resume}
    pair.cluster.restart("a")
    pair.cluster.advance(1.0)
    was = pair.said(blocks.Resume, "b")[-1]
    pair.lost = set()
    fake = dataclasses.replace(was, nonce=was.nonce + 1, seen=0, seq=10**6)
    store = pair.store("a")
    store.state.nonce, nonce = was.nonce, store.state.nonce

    store.peer.on_resume(fake)

    assert not store.state.resumed
    assert store.state.seen < 10**6
    store.state.nonce = nonce
    rest(pair)


def test_r7_between_question_and_answer_nothing_else_is_handled_or_allocated() -> None:
    pair = ready()
    pair.lost = {blocks.Resume}
    pair.cluster.restart("b")
    pair.cluster.advance(1.0)
    seq, stock = pair.store("a").state.seq, pair.store("a").stream.stock

    answer = pair.enc()
    pair.feed(4000)
    pair.cluster.advance(5.0)

    assert isinstance(answer, Failed)
    assert answer.code == "not_ready"
    assert (pair.store("a").state.seq, pair.store("a").stream.stock) == (seq, stock)
    rest(pair)


def test_r7_a_grant_is_not_voided_before_resume_though_its_master_gives_up() -> None:
    pair = ready()
    pair.lost = {grants.GrantsHeld, blocks.Resume}
    front = pair.cluster.probe("front@a")
    front.question(pair.at("a"), ONE_KEY)
    pair.cluster.advance(0.1)
    pair.cluster.restart("b")
    pair.cluster.advance(8.0)

    assert [type(body) for body in front.received] == [Failed]
    assert not pair.rows("a", "void")
    pair.lost.clear()
    pair.cluster.advance(3.0)
    assert pair.said(grants.GrantsVoid, "a")
    assert [type(body) for body in front.received] == [Failed]
    rest(pair)


def test_r7_an_end_asks_again_after_every_reconnect() -> None:
    pair = ready()
    pair.cluster.cut("a", "b")
    pair.cluster.advance(5.0)
    pair.wire.clear()

    pair.cluster.mend("a", "b")
    pair.cluster.advance(1.0)

    assert pair.said(blocks.ResumeAsk, "a")
    assert pair.said(blocks.ResumeAsk, "b")
    rest(pair)


# R7: seq


def test_r7_every_row_of_which_the_peer_may_hear_counts() -> None:
    pair = Pair()
    seqs = [(pair.store("a").state.seq, pair.store("b").state.seq)]

    def note() -> tuple[int, int]:
        seqs.append((pair.store("a").state.seq, pair.store("b").state.seq))
        (a0, b0), (a1, b1) = seqs[-2:]
        return a1 - a0, b1 - b0

    pair.lost = {blocks.BlocksConfirmed}
    pair.feed(4000)
    pair.cluster.advance(0.1)
    formed_and_decided = note()
    pair.lost = {blocks.Lease}
    pair.lease("a")
    pair.cluster.advance(2.0)
    concluded_and_leased = note()
    pair.lost = set()
    pair.cluster.advance(2.0)
    lease_held = note()
    key = pair.key()
    grant_held = note()
    pair.deliver(key.grant)
    delivered = note()

    assert formed_and_decided == (1, 1)
    assert concluded_and_leased == (1, 1)
    assert lease_held == (0, 1)
    assert grant_held == (0, 1)
    assert delivered == (0, 0)


def test_r7_delivery_goes_on_before_resume() -> None:
    pair = ready()
    key = pair.key()
    pair.cluster.cut("a", "b")
    pair.cluster.restart("b")
    pair.cluster.advance(5.0)

    octets, _ = pair.fetch(key.grant)

    assert not pair.store("b").state.resumed
    assert octets == key.octets.reveal()


def test_r7_the_highest_seq_seen_is_stored_with_what_the_word_caused() -> None:
    pair = ready(mode="local")
    pair.key()
    pair.cluster.advance(0.1)  # so that what nobody waits for is durable too
    seen = pair.store("a").state.seen
    said = pair.said(grants.GrantsHeld, "b")[-1].head.seq

    pair.cluster.crash("a")
    pair.lost = {blocks.Resume}
    pair.cluster.restart("a")
    pair.cluster.advance(0.1)

    assert not pair.rows("a", "unheard")
    assert pair.store("a").state.seen == seen == said


# R7: rollback and epochs


@pytest.mark.parametrize("node", ["a", "b"])
def test_r7_an_end_put_back_to_before_a_lease_is_noticed(node: str) -> None:
    pair = Pair()
    pair.lost = {blocks.Lease}
    pair.fill(sender=node)
    copy = pair.cluster.backup(node)
    pair.lost = set()
    pair.cluster.advance(3.0)
    first = pair.key(at=node)

    pair.cluster.restore(node, copy)
    pair.cluster.advance(3.0)
    pair.fill(2)
    second = pair.key(at=node)

    assert pair.alarms() >= 1
    assert pair.store("a").state.epoch[0] == pair.store("b").state.epoch[0] == 2
    assert first.octets.reveal() != second.octets.reveal()
    other = "b" if node == "a" else "a"
    assert pair.fetch(first.grant, at=other)[0] == first.octets.reveal()
    rest(pair)


def test_r7_the_larger_epoch_wins_and_the_lower_end_joins_it_at_nothing() -> None:
    pair = ready()
    old = {name for node in "ab" for name in pair.store(node).stream.segments}
    a = pair.store("a")
    a.new_epoch((7, 5))
    a.commits.submit()

    pair.cluster.advance(2.0)

    b = pair.store("b")
    assert a.state.epoch == b.state.epoch == (7, 5)
    assert (b.state.seq, b.state.seen) == (0, 0)
    assert old
    assert not a.stream.segments
    assert not b.stream.segments
    assert not pair.rows("a", "bits") + pair.rows("b", "bits")
    rest(pair)


def test_r7_grants_held_outlive_the_epoch_and_touch_nothing_of_the_next() -> None:
    pair = ready()
    held = pair.key(100, 32)
    pair.store("a").new_epoch((2, 5))
    pair.store("a").commits.submit()
    pair.cluster.advance(2.0)
    pair.fill()
    pair.cluster.restart("b")
    pair.cluster.advance(2.0)
    pair.fill()

    fresh = pair.key(100, 32)

    assert pair.fetch(held.grant, 0)[0] == held.octets.reveal()[:32]
    assert pair.fetch(fresh.grant, *range(100))[0] == fresh.octets.reveal()
    assert pair.alarms() == 0
    rest(pair)


def test_r7_a_void_that_goes_on_in_the_next_epoch_touches_nothing_of_it() -> None:
    pair = ready()
    pair.lost = {grants.GrantsHeld, grants.GrantsVoidHeld}
    pair.enc(100, 32)
    pair.store("a").new_epoch((2, 5))
    pair.store("a").commits.submit()
    pair.lost = {grants.GrantsVoidHeld}
    pair.cluster.advance(3.0)
    pair.fill(4)
    pair.cluster.advance(3.0)

    fresh = pair.key(50, 32)

    assert pair.fetch(fresh.grant, *range(50))[0] == fresh.octets.reveal()
    rest(pair)


def test_r7_a_grant_given_up_is_void_though_an_epoch_began_before_the_peer_heard_of_it() -> None:
    pair = ready()
    pair.lost = {grants.GrantsHeld, grants.GrantsVoid}
    told = pair.enc()
    grant = pair.said(grants.GrantsAnnounced, "a")[-1].grants[0].id
    copy = pair.cluster.backup("b")
    pair.fill(2)
    pair.cluster.restore("b", copy)
    held = grant in pair.store("b").held.holdings
    pair.cluster.advance(3.0)
    epochs = {pair.store(node).state.epoch[0] for node in ("a", "b")}

    rest(pair)

    assert isinstance(told, Failed)
    assert told.code == "timeout"
    assert held
    assert epochs == {2}
    answer = pair.dec(grant)
    assert isinstance(answer, Failed)
    assert answer.code == "no_such_key"
    assert grant not in pair.store("b").held.holdings
    assert not pair.rows("b", "holding")
    assert not pair.rows("a", "void")


def test_r7_the_same_grant_again_is_no_overlap() -> None:
    pair = ready()
    pair.lost = {grants.GrantsHeld}
    front = pair.cluster.probe("front@a")
    front.question(pair.at("a"), ONE_KEY)
    pair.cluster.advance(1.2)
    pair.lost = set()

    pair.cluster.advance(2.0)

    assert len(pair.said(grants.GrantsAnnounced)) > 1
    assert [type(body) for body in front.received] == [keys.Keys]
    assert pair.alarms() == 0
    assert not pair.store("b").state.frozen


def test_r7_a_true_overlap_is_refused_freezes_the_store_and_alarms() -> None:
    pair = ready()
    pair.key()
    true = pair.said(grants.GrantsAnnounced, "a")[-1].grants[0]
    lie = dataclasses.replace(true, id=b"another id..")

    pair.say("b", grants.GrantsAnnounced(head=head(pair, "a"), grants=(lie,)))

    assert pair.said(grants.GrantsRefused, "b")[-1].refusals[0].code == "overlap"
    assert pair.store("b").state.frozen
    assert pair.cluster.count("b", "protokms_alarms", kind="overlap") == 1
    refused = pair.enc(at="b")
    assert isinstance(refused, Failed)
    assert refused.code == "frozen"
    pair.cluster.restart("b")
    pair.cluster.advance(2.0)
    assert pair.store("b").state.frozen


@pytest.mark.parametrize("mine", [True, False])
def test_r7_a_grant_in_what_is_not_the_peers_or_not_leased_is_an_overlap(mine: bool) -> None:
    pair = Pair()
    pair.lost = {blocks.Lease}
    pair.fill()
    name = next(n for n, s in pair.store("b").stream.segments.items() if s.owned is mine)
    piece = Piece(name.holder, name.batch, 0, 32)
    lie = Grant(b"another id..", (piece,), 32, 1, "alice", ("bob",), "confirmed", 60.0)

    pair.say("b", grants.GrantsAnnounced(head=head(pair, "a"), grants=(lie,)))

    assert pair.store("b").state.frozen
    assert not pair.store("b").held.holdings


def test_r7_a_store_in_step_is_never_alarmed_by_crashes() -> None:
    pair = ready()
    for n in range(12):
        node = "ab"[n % 2]
        pair.cluster.crash_at_commit(node, 1 + n % 3, before=n % 4 < 2)
        pair.feed(4000, sender="ab"[n // 2 % 2]) if n % 3 else None
        front = pair.cluster.probe(f"front{n}@{node}")
        front.question(pair.at("a"), ONE_KEY) if node == "a" else None
        pair.cluster.advance(1.0)
        pair.cluster.restart(node)
        pair.cluster.advance(2.0)

    assert pair.alarms() == 0
    rest(pair)


# R8


@pytest.mark.parametrize("mode", ["confirmed", "local"])
def test_r8_nothing_is_answered_that_is_not_durable(mode: str) -> None:
    pair = ready(mode=mode)
    disk = "b" if mode == "confirmed" else "a"
    front = pair.cluster.probe("front@a")
    pair.key()  # there is a lease
    pair.wire.clear()
    pair.cluster.fill_disk(disk)
    front.question(pair.at("a"), ONE_KEY)
    pair.cluster.advance(1.0)

    answered, said = list(front.received), pair.said(grants.GrantsHeld)
    announced = pair.said(grants.GrantsAnnounced)
    pair.cluster.free_disk(disk)
    pair.cluster.advance(1.0)

    assert not answered
    assert not said
    assert bool(announced) == (mode == "confirmed")
    assert [type(body) for body in front.received] == [keys.Keys]


def test_r8_a_first_request_while_the_disk_of_the_peer_is_full_spends_nothing() -> None:
    """There is no lease at an end that nobody has asked, and the peer can hold none (R6)."""
    pair = ready()
    before = pair.store("a").stream.stock
    pair.cluster.fill_disk("b")

    refused = pair.enc()

    assert isinstance(refused, Failed)
    assert refused.code == "timeout"
    assert pair.store("a").stream.stock == before
    pair.cluster.free_disk("b")
    pair.cluster.advance(1.0)
    pair.key()


def test_r8_a_key_leaves_only_when_its_delivery_is_durable() -> None:
    pair = ready()
    key = pair.key()
    front = pair.cluster.probe("front@b")
    pair.cluster.fill_disk("b")
    names = (keys.KeyName(key.grant, 0),)
    front.question(pair.at("b"), keys.GetKeyWithIds(master="alice", slave="bob", names=names))
    pair.cluster.advance(1.0)

    assert not front.received
    pair.cluster.free_disk("b")
    assert [type(body) for body in front.received] == [keys.KeysWithIds]


@pytest.mark.parametrize("node", ["a", "b"])
def test_r8_while_the_disk_is_full_who_asks_hears_so_at_once(node: str) -> None:
    pair = ready(mode="local")
    held = pair.key()
    front = pair.cluster.probe(f"front@{node}")
    pair.cluster.fill_disk(node)
    pair.cluster.advance(10.0)  # something waits for its commit by now

    for ask in (
        keys.GetKey(master="alice", slaves=("bob",), number=1, size=32),
        keys.GetKeyWithIds(master="alice", slave="bob", names=(keys.KeyName(held.grant, 0),)),
    ):
        front.question(pair.at(node), ask)
        pair.cluster.settle()
    status = pair.cluster.ask(pair.at(node), keys.GetStatus(master="alice", slave="bob", size=32))
    pair.cluster.free_disk(node)
    pair.cluster.advance(3.0)

    told = [isinstance(no, Failed) and no.code for no in front.received]
    assert told == ["not_ready", "not_ready"]
    assert isinstance(status, keys.Stock)
    assert status.stored == 0
    pair.key()
    assert pair.fetch(held.grant)[0] == held.octets.reveal()


def test_r8_a_receipt_of_an_earlier_life_means_nothing_in_the_next() -> None:
    pair = ready()
    key = pair.key(2)
    _, old = pair.fetch(key.grant, 0)
    pair.cluster.restart("b")
    pair.cluster.advance(2.0)
    _, new = pair.fetch(key.grant, 1)

    pair.cluster.tell(pair.at("b"), keys.Written(receipt=old))
    pair.cluster.tell(pair.at("b"), keys.Broken(receipt=new))

    assert old != new
    assert pair.fetch(key.grant, 1)[0] == key.octets.reveal()[32:]
