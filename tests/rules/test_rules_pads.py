"""R4 to R7 and R13 for pads: whose they are, opened once, and what every crash makes of them."""

from dataclasses import replace

import pytest

from actors.keystore import pads as pads_of
from actors.keystore.key_store import KeyStore
from actors.keystore.pads import WANTED_S
from actors.ledger.shares import LOCAL_PARTS, PREFILL_PARTS
from actors.protocol import blocks, keys, pads
from actors.protocol.common import Failed
from actors.protocol.grants import Piece
from tests.kit.ledger_check import check_counters, check_rest
from tests.kit.pair import Pair
from tests.kit.relays import Relays
from transport.message import Message


def ready(**options: object) -> tuple[Pair, Relays]:
    pair = Pair(**options)  # type: ignore[arg-type]
    relays = Relays(pair)
    pair.fill()
    pair.fill(sender="b")
    return pair, relays


def rest(pair: Pair) -> None:
    pair.lost.clear()
    pair.cluster.advance(10.0)
    check_rest(pair.store("a"), pair.store("b"))
    for node in ("a", "b"):
        check_counters(pair.store(node))


def code(answer: Message | None) -> str:
    assert isinstance(answer, Failed), answer
    return answer.code


def close_all(pair: Pair) -> None:
    """Use up whatever is leased, for nothing."""
    for node in ("a", "b"):
        store = pair.store(node)
        for segment in list(store.stream._ready.values()):
            store.stream.burn(segment)
    pair.cluster.advance(3.0)


# R4: one octet string


def test_r4_both_ends_have_the_same_octets_once() -> None:
    pair, relays = ready()

    pad = relays.take(200)

    assert relays.open(pad) == pad.octets.reveal()
    assert relays.refused(pad) == "opened"
    assert pair.alarms() == 0
    relays.done(pad.id)
    rest(pair)


def test_r4_no_octet_of_a_pad_is_in_another_or_in_a_key() -> None:
    pair, relays = ready()

    one, two = relays.take(64), relays.take(64)
    key = pair.key(2, 32)
    there = relays.take(64, at="b")

    found = [one.octets, two.octets, key.octets, there.octets]
    units = [it.reveal()[i : i + 8] for it in found for i in range(0, 64, 8)]
    assert len(set(units)) == len(units)


def test_r4_a_pad_opened_part_by_part_freezes_the_store() -> None:
    pair, relays = ready()
    pad = relays.take(200)
    relays.open(pad)
    (piece,) = pad.pieces

    part = replace(pad, pieces=(replace(piece, length=100),))

    assert relays.refused(part) == "overlap"
    assert pair.store("b").state.frozen
    assert pair.alarms() == 1


def test_r4_a_pad_over_the_octets_of_a_key_freezes_the_store() -> None:
    pair, relays = ready()
    pad = relays.take(100)
    pair.key(4, 32)
    (piece,) = pad.pieces

    stolen = replace(pad, pieces=(replace(piece, offset=piece.offset + piece.length),))

    assert relays.refused(stolen) == "overlap"
    assert pair.store("b").state.frozen


def test_r4_a_key_over_the_octets_of_a_pad_is_refused() -> None:
    pair, relays = ready()
    pad = relays.take(100)
    relays.open(pad)
    stream = pair.store("a").stream
    segment = stream.segments[blocks.SegmentId(pad.pieces[0].holder, pad.pieces[0].batch)]
    segment.next = pad.pieces[0].offset

    answer = pair.enc(1, 32)

    assert code(answer) in {"not_ready", "frozen"}
    assert pair.store("b").state.frozen


@pytest.mark.parametrize("octets", [0, 32, pads_of.PAD_MAX + 1])
def test_r4_a_pad_has_a_key_for_its_tag_and_a_bound(octets: int) -> None:
    _, relays = ready()

    _, token = relays.want(octets)

    assert code(relays.answer("a", token)) == "malformed"


# R5, R6: only the owner's, only held leases


def test_r6_no_pad_leaves_before_the_peer_holds_the_lease() -> None:
    pair, relays = ready()
    close_all(pair)
    pair.lost = {blocks.LeaseHeld}
    pair.fill(2)

    _, token = relays.want(100)
    pair.cluster.advance(1.0)
    early = relays.answer("a", token)
    pair.lost = set()
    pair.cluster.advance(1.5)

    assert early is None
    assert isinstance(relays.answer("a", token), pads.Pad)


def test_r5_octets_of_our_own_cannot_be_opened() -> None:
    pair, relays = ready()
    mine = relays.take(100, at="b")

    assert relays.refused(replace(mine, head=relays.take(64).head)) == "overlap"
    assert pair.store("b").state.frozen


# R7: starts, epochs


def test_r7_after_a_start_of_the_opener_an_older_pad_is_stale() -> None:
    pair, relays = ready()
    pad = relays.take()

    pair.cluster.restart("b")
    pair.cluster.advance(3.0)

    assert relays.refused(pad) == "stale"
    relays.done(pad.id)
    rest(pair)


def test_r7_after_a_start_of_the_sealer_an_older_pad_is_stale_and_burnt() -> None:
    pair, relays = ready()
    pad = relays.take()

    pair.cluster.restart("a")
    pair.cluster.advance(3.0)

    assert relays.refused(pad) == "stale"
    assert pad.octets.reveal() not in b"".join(pair.secrets("a"))
    relays.done(pad.id)  # unknown in this life: harmless
    rest(pair)


@pytest.mark.parametrize("node", ["a", "b"])
def test_r7_a_crash_of_the_store_alone_is_a_start(node: str) -> None:
    pair, relays = ready(tolerant=True)
    pad = relays.take()

    pair.cluster.crash_actor(pair.at(node))
    pair.cluster.settle()
    pair.revive(node)
    pair.cluster.advance(3.0)

    assert relays.refused(pad) == "stale"
    pair.fill()
    again = relays.take()
    assert relays.open(again) == again.octets.reveal()
    relays.done(pad.id, again.id)
    rest(pair)


def test_r7_a_reconnect_is_no_start() -> None:
    pair, relays = ready()
    pad = relays.take()

    pair.cluster.cut("a", "b")
    pair.cluster.advance(10.0)
    pair.cluster.mend("a", "b")
    pair.cluster.advance(10.0)

    assert relays.open(pad) == pad.octets.reveal()
    relays.done(pad.id)
    rest(pair)


def test_r7_between_question_and_answer_a_pad_is_neither_opened_nor_stale() -> None:
    pair, relays = ready()
    pad = relays.take()
    pair.lost = {blocks.Resume}
    pair.store("b").peer.ask()

    early = relays.refused(pad)
    pair.lost = set()
    pair.cluster.advance(2.0)

    assert early == "not_ready"
    assert relays.open(pad) == pad.octets.reveal()


def test_r7_a_head_of_an_unknown_life_is_stale_and_raises_the_question() -> None:
    pair, relays = ready()
    pad = relays.take()
    pair.wire.clear()

    code_ = relays.refused(replace(pad, head=replace(pad.head, mine=99)))

    assert code_ == "stale"
    assert pair.said(blocks.ResumeAsk, "b")


def test_r7_frames_of_a_life_that_is_over_raise_no_question() -> None:
    pair, relays = ready()
    pad = relays.take()
    for node in ("b", "a"):
        pair.cluster.restart(node)
        pair.cluster.advance(3.0)
    pair.wire.clear()
    ours = pair.store("b").state
    before = replace(pad.head, yours=ours.start)
    between = replace(pad.head, mine=ours.peer)

    for head in (pad.head, before, between):
        assert relays.refused(replace(pad, head=head)) == "stale"
    assert not pair.said(blocks.ResumeAsk, "b")


def test_r7_in_a_new_epoch_old_pads_are_stale_and_old_waits_are_over() -> None:
    pair, relays = ready()
    copy = pair.cluster.backup("a")
    pad = relays.take()
    pair.lost = {blocks.LeaseHeld}
    _, token = relays.want(40_000)
    pair.fill(4)
    pair.lost = set()

    pair.cluster.restore("a", copy)
    pair.cluster.advance(5.0)

    assert pair.store("b").state.epoch[0] == 2
    assert relays.refused(pad) == "stale"
    assert not isinstance(relays.answer("a", token), pads.Pad)
    relays.done(pad.id)
    pair.fill()
    pair.fill(sender="b")
    again = relays.take()
    assert relays.open(again) == again.octets.reveal()
    relays.done(again.id)
    rest(pair)


def test_r7_pads_of_an_old_epoch_hold_no_segment_of_the_new_one() -> None:
    pair, relays = ready()
    pad = relays.take()
    there = relays.take(at="b")
    copy = pair.cluster.backup("b")
    pair.fill(4)
    pair.cluster.restore("b", copy)
    pair.cluster.advance(5.0)
    pair.fill()
    pair.fill(sender="b")

    relays.done(pad.id)
    relays.done(there.id, at="b")

    assert pair.store("a").state.epoch[0] == 2
    rest(pair)


def test_r7_nothing_is_taken_while_the_peer_is_away() -> None:
    pair, relays = ready()
    pair.cluster.crash("b")
    pair.cluster.advance(5.0)

    _, token = relays.want()

    assert code(relays.answer("a", token)) == "peer_down"


def test_r7_who_waits_for_bits_hears_at_once_that_the_ends_are_out_of_step() -> None:
    pair, relays = ready()
    _, token = relays.want(40_000)
    pair.lost = {blocks.Resume}

    pair.store("a").peer.ask()
    pair.cluster.settle()

    assert code(relays.answer("a", token)) == "not_ready"
    rest(pair)


def test_r7_a_frozen_store_takes_and_opens_nothing() -> None:
    pair, relays = ready()
    pad = relays.take()
    pair.store("b").state.freeze()

    _, token = relays.want(at="b")

    assert code(relays.answer("b", token)) == "not_ready"
    assert relays.refused(pad) == "not_ready"


# The end of a pad


def test_r1_a_segment_is_closed_once_its_pads_are_done() -> None:
    pair, relays = ready()
    pad = relays.take()
    close_all(pair)
    name = blocks.SegmentId(pad.pieces[0].holder, pad.pieces[0].batch)
    before = name in pair.store("b").stream.segments

    relays.done(pad.id)
    pair.cluster.advance(3.0)

    assert before
    assert name not in pair.store("b").stream.segments
    assert relays.refused(pad) == "no_such_segment"
    assert not pair.store("b").peer_pads._opened
    rest(pair)


def test_r1_a_pad_opened_is_remembered_as_long_as_its_segment_lives() -> None:
    pair, relays = ready()
    pad = relays.take()
    relays.open(pad)
    close_all(pair)

    assert relays.refused(pad) == "opened"
    relays.done(pad.id)
    pair.cluster.advance(3.0)
    assert not pair.store("b").peer_pads._opened


def test_r1_the_bits_of_pads_leave_the_disk_at_the_next_wipe() -> None:
    pair, relays = ready()
    pad = relays.take(200)
    relays.open(pad)
    octets = pad.octets.reveal()
    before = [any(octets in it for it in pair.secrets(node)) for node in ("a", "b")]

    pair.cluster.advance(5.0)

    assert before == [True, True]
    assert not any(octets in it for node in ("a", "b") for it in pair.secrets(node))


def test_a_relay_that_starts_anew_has_no_pads_and_waits_for_none() -> None:
    pair, relays = ready()
    relays.take()
    _, token = relays.want(40_000)

    relays.probes["a"].say(pair.at("a"), pads.ForgetPads())
    pair.cluster.settle()
    pair.fill(6)

    assert not pair.store("a").own_pads.pads
    assert relays.answer("a", token) is None
    rest(pair)


def test_a_pad_that_still_waits_is_not_given_once_it_is_done() -> None:
    pair, relays = ready()
    id_, token = relays.want(40_000)

    relays.done(id_, 77)
    pair.fill(6)

    assert relays.answer("a", token) is None
    rest(pair)


def test_a_pad_that_the_relay_forgets_does_not_keep_its_segment_for_ever() -> None:
    pair, relays = ready()
    relays.take()

    pair.cluster.advance(pads_of.PADS_KEPT_S + 1.0)

    assert not pair.store("a").own_pads.pads
    check_counters(pair.store("a"))


def test_a_metric_says_how_many_pads_the_relay_is_not_done_with() -> None:
    pair, relays = ready()
    pad, _ = relays.take(), relays.take()

    pair.cluster.advance(2 * pair.store("a").options.tick_s)
    two = pair.cluster.count("a", "protokms_pads_out", peer="b")
    relays.done(pad.id)
    pair.cluster.advance(2 * pair.store("a").options.tick_s)

    assert two == 2.0
    assert pair.cluster.count("a", "protokms_pads_out", peer="b") == 1.0


def test_pads_are_for_the_relay_of_this_peer_alone() -> None:
    pair, relays = ready()
    pad = relays.take()
    wants = pads.TakePad(id=9, session="s", octets=64, weight=1, wait=1.0)
    for body in (
        wants,
        pads.OpenPad(head=pad.head, pieces=pad.pieces),
        pads.PadsDone(ids=(pad.id,)),
        pads.ForgetPads(),
    ):
        for who in ("relay/c@a", "router@a", "key_store/c@a"):
            probe = pair.cluster.probe(who)
            probe.question(pair.at("a"), body)
            pair.cluster.settle()
            assert code(probe.received[-1]) == "not_allowed"
    assert pad.id in pair.store("a").own_pads.pads


@pytest.mark.parametrize(
    "pieces",
    [
        (),
        (Piece(0, 0, -1, 64),),
        (Piece(0, 0, 0, 0), Piece(0, 0, 0, 64)),
        (Piece(0, 0, 0, 32),),
        (Piece(0, -1, 0, 64),),
        (Piece(0, 0, 0, 1 << 40),),
        (Piece(0, 0, 0, 64), Piece(0, 0, 32, 64)),
        tuple(Piece(0, 0, 2 * i, 1) for i in range(600)),
    ],
)
def test_a_place_that_makes_no_sense_is_malformed(pieces: tuple[Piece, ...]) -> None:
    pair, relays = ready()
    pad = relays.take()
    name = blocks.SegmentId(pad.pieces[0].holder, pad.pieces[0].batch)
    placed = tuple(replace(p, holder=name.holder, batch=p.batch + name.batch) for p in pieces)
    placed = tuple(replace(p, batch=-1) if p.batch < name.batch else p for p in placed)

    assert relays.refused(replace(pad, pieces=placed)) == "malformed"
    assert not pair.store("b").state.frozen


# R13: shares


def test_r13_a_pad_that_cannot_be_served_waits_and_is_told_so_in_time() -> None:
    pair, relays = ready()

    _, token = relays.want(40_000)
    pair.cluster.advance(1.9)
    early = relays.answer("a", token)
    pair.cluster.advance(0.2)

    assert early is None
    assert code(relays.answer("a", token)) == "timeout"
    rest(pair)


def test_r13_a_pad_that_waits_is_served_when_bits_come() -> None:
    pair, relays = ready()
    _, token = relays.want(40_000)

    pair.fill(12)

    assert isinstance(relays.answer("a", token), pads.Pad)


def test_r13_a_dry_store_asks_the_peer_for_bits_that_its_relay_wants() -> None:
    pair, relays = ready()
    pair.fill(16)
    for _ in range(12):
        relays.take(2000)
    pair.wire.clear()

    relays.want(40_000)

    assert pair.said(blocks.Wanted, "a")


def test_r13_bits_that_a_relay_wants_are_not_for_saes_here_for_a_while() -> None:
    pair, relays = ready()
    status = keys.GetStatus(master="alice", slave="bob", size=32)
    seen = []
    relays.ask("a", pads.WantPads(octets=1 << 30))
    for seconds in (1.0, WANTED_S + 1.0):
        pair.cluster.advance(seconds)
        stock = pair.cluster.ask(pair.at("a"), status)
        assert isinstance(stock, keys.Stock)
        seen.append(stock.stored)

    assert seen[0] < seen[1]


def test_r13_a_store_that_keeps_its_floor_asks_the_peer_for_the_bits_beyond_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(KeyStore, "want_octets", 1000)
    pair, relays = ready(max_bits=8 * 64_000)
    pair.fill(20)
    while pair.store("a").stream.stock > pair.store("a").shares.floor + 2000:
        relays.take(2000)
    pair.wire.clear()

    relays.want(4000)

    assert pair.said(blocks.Wanted, "a")


def test_r13_saes_here_keep_their_floor_and_status_says_what_is_theirs() -> None:
    pair, relays = ready(max_bits=8 * 32_000)
    floor = pair.store("a").shares.floor
    pair.cluster.advance(1.0)
    for n in range(40):
        relays.want(1000, session=f"s{n % 3}")
    pair.cluster.advance(0.5)

    status = pair.cluster.ask(pair.at("a"), keys.GetStatus(master="alice", slave="bob", size=32))

    assert isinstance(status, keys.Stock)
    assert floor <= pair.store("a").stream.stock < floor + 1000
    assert status.stored == floor // 32
    pair.key(status.stored, 32)
    assert code(pair.enc(40, 32)) == "no_keys"


def test_r13_nobody_here_takes_what_a_pad_waits_for() -> None:
    pair, relays = ready(max_bits=8 * 128_000)
    pair.store("a").shares.floor = 0
    stock = pair.store("a").stream.stock
    relays.want(min(stock + 100, pair.store("a").own_pads.most))

    assert code(pair.enc(1, 32)) == "no_keys"


def test_r13_prefill_gets_its_share_of_what_comes_in_while_the_floor_is_short() -> None:
    pair, relays = ready()
    pair.key()  # an SAE here asks, now and then
    taken = 0
    for _ in range(30):
        pair.feed(4000)
        for _ in range(6):
            relays.want(500)
        pair.cluster.advance(0.3)
        taken = int(pair.cluster.count("a", "protokms_pad_octets", way="taken"))

    got = taken, pair.store("a").shares.account
    assert got[0] / sum(got) == pytest.approx(
        PREFILL_PARTS / (LOCAL_PARTS + PREFILL_PARTS), abs=0.1
    )


def test_r13_pads_asked_for_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pads_of, "PADS_MAX", 3)
    pair, relays = ready()
    ids = [relays.take(64).id for _ in range(3)]

    _, token = relays.want(64)
    refused = relays.answer("a", token)
    relays.done(*ids)

    assert code(refused) == "busy"
    relays.take(64)
    rest_free = len(pair.store("a").own_pads.pads)
    assert rest_free == 1


def test_r13_a_number_in_use_is_refused() -> None:
    _, relays = ready()
    pad = relays.take()
    again = pads.TakePad(id=pad.id, session="s", octets=64, weight=1, wait=1.0)

    assert code(relays.ask("a", again)) == "malformed"


def test_r16_pads_opened_just_before_a_crash_are_soon_in_no_row() -> None:
    pair, relays = ready()
    pad = relays.take(200)
    opened = relays.open(pad)
    relays.done(pad.id)

    pair.cluster.crash("b")
    left = any(opened in octets for octets in pair.secrets("b"))
    pair.cluster.restart("b")
    pair.cluster.advance(8.0)

    assert left  # or this shows nothing
    assert not any(opened in octets for octets in pair.secrets("b"))
    rest(pair)
