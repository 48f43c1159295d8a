"""One hop of the relay: sealed, repeated, opened once, acknowledged in time (R4, R13)."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from actors.protocol import pads, relay
from actors.protocol.common import Failed, Health, Healthy
from actors.protocol.grants import Piece
from actors.protocol.peers import PeerDown, PeerUp, Subscribe
from actors.protocol.relay import (
    CHUNK_MAX,
    GIVE_UP_S,
    HOLD_S,
    QUEUE_MAX,
    WINDOW,
    Carried,
    Carry,
    ChunkId,
    NotCarried,
    SessionId,
)
from actors.relay import link_queue, outgoing
from actors.relay.outgoing import PACE, PACE_AT_ONCE
from actors.relay.queues import ADMITTED_MAX, AWAITING_PAD_MAX
from tests.kit.hops import EPOCH, OTHER, SESSION, Hops, chunk
from transport.message import Message, Secret


def opened(nodes: str = "abc", **more: Any) -> Hops:
    hops = Hops(nodes, **more)
    hops.open()
    return hops


def test_chunks_cross_two_hops_and_each_is_sealed_anew() -> None:
    hops = opened()

    sent = hops.send(1, 2, 3)

    assert hops.arrived() == sent
    assert hops.answers() == ["passed"] * 3
    frames = hops.said(Carry)
    assert len(frames) == 6
    assert len({frame.sealed for frame in frames}) == 6
    assert not any(payload in frame.sealed for payload in sent.values() for frame in frames)
    assert [frame.hop for frame in frames].count(0) == 3


def test_the_largest_chunk_crosses() -> None:
    hops = opened()

    sent = hops.send(1, size=CHUNK_MAX)

    assert hops.arrived() == sent


def test_what_is_no_chunk_is_refused() -> None:
    hops = opened()
    hops.send(1, size=CHUNK_MAX + 1)
    hops.send(2, size=0)
    hops.send(1 << 62)
    bad = ChunkId(SESSION, 0, EPOCH[:-1], 4)

    hops.near.question("relay/b@a", relay.Pass(chunk=bad, payload=Secret(b"x" * 2000)))
    hops.cluster.settle()

    assert hops.answers() == ["malformed"] * 4


def test_pads_are_given_back_once_a_chunk_is_acknowledged() -> None:
    hops = opened()

    hops.send(1, 2)

    for at in ("key_store/b@a", "key_store/c@b"):
        store = hops.stores[at]
        taken = [ask.id for ask in store.of(pads.TakePad)]
        assert [id_ for word in store.of(pads.PadsDone) for id_ in word.ids] == taken
        assert [ask.octets for ask in store.of(pads.TakePad)] == [2032, 2032]
        assert {ask.session for ask in store.of(pads.TakePad)} == {"relay"}


def test_a_started_relay_burns_what_it_had_and_asks_for_its_shares() -> None:
    hops = Hops("ab")
    sessions, store = hops.sessions["a"], hops.stores["key_store/b@a"]

    assert len(store.of(pads.ForgetPads)) == len(sessions.of(relay.AskLanes)) == 1
    assert len(hops.cluster.nodes["a"].actors["peer_manager"].of(Subscribe)) == 1  # type: ignore[union-attr]


# R4: one octet string


def test_r4_a_lost_frame_is_repeated_byte_for_byte() -> None:
    hops = opened("ab")
    hops.lost = {Carry}
    hops.send(1)
    hops.cluster.advance(2.1)
    hops.lost = set()
    hops.cluster.advance(1.1)

    frames = hops.said(Carry)

    assert len(frames) == 4
    assert all(frame == frames[0] for frame in frames)
    assert len(hops.stores["key_store/b@a"].of(pads.TakePad)) == 1
    assert list(hops.arrived()) == [1]


def test_r4_a_chunk_whose_answer_was_lost_is_answered_again_and_handed_on_once() -> None:
    hops = opened("ab")
    hops.lost = {Carried}
    hops.send(1)
    hops.cluster.advance(1.1)
    hops.lost = set()
    hops.cluster.advance(1.1)

    assert len(hops.said(Carried)) == 3
    assert list(hops.arrived()) == [1]
    assert len(hops.stores["key_store/a@b"].of(pads.OpenPad)) == 1
    hops.cluster.advance(5.0)
    assert len(hops.said(Carry)) == 3


def test_r4_a_frame_that_cannot_be_opened_any_more_is_given_up_and_its_bits_burnt() -> None:
    hops = opened("ab")
    hops.lost = {Carry}
    hops.send(1)
    hops.lost = set()
    hops.stores["key_store/b@a"].bank.unopened.clear()  # as after a start of the reader
    hops.cluster.advance(1.5)

    assert [word.code for word in hops.said(NotCarried)] == ["lost"]
    assert hops.dropped("a", reason="lost") == 1
    assert len(hops.stores["key_store/b@a"].of(pads.PadsDone)) == 1
    assert hops.arrived() == {}
    assert list(hops.send(2)) == list(hops.arrived())


def test_r4_a_relay_that_crashed_opens_no_frame_twice() -> None:
    hops = opened("ab", tolerant=True)
    hops.lost = {Carried}
    hops.send(1)
    hops.cluster.crash_actor("relay/a@b")
    hops.cluster.settle()
    hops.spawn("b", "a")
    hops.tell_both("b", hops.terms("b"))
    hops.lost = set()
    hops.cluster.advance(1.5)

    assert list(hops.arrived()) == [1]
    assert [word.code for word in hops.said(NotCarried)] == ["lost"]


def test_a_sealed_chunk_is_not_kept_in_clear() -> None:
    hops = opened("ab")
    hops.lost = {Carry}

    hops.send(1, 2)

    queue = next(iter(hops.relay("a", "b").queues.by_share.values()))
    assert len(queue.in_flight) == 2
    assert not queue.queued
    assert not queue.awaiting_pad
    assert not queue.admitted


HEAD_FIELDS = ("mine", "yours", "number", "random", "seq")


def _head(name: str) -> Callable[[Carry], Carry]:
    def spoil(word: Carry) -> Carry:
        value = getattr(word.head, name) ^ 1
        return dataclasses.replace(word, head=dataclasses.replace(word.head, **{name: value}))

    return spoil


def _piece(name: str) -> Callable[[Carry], Carry]:
    def spoil(word: Carry) -> Carry:
        first, second = word.pieces
        changed = dataclasses.replace(first, **{name: getattr(first, name) ^ 1})
        return dataclasses.replace(word, pieces=(changed, second))

    return spoil


def _chunk(**changes: Any) -> Callable[[Carry], Carry]:
    return lambda word: dataclasses.replace(word, chunk=dataclasses.replace(word.chunk, **changes))


SPOILT: dict[str, Callable[[Carry], Carry]] = {
    **{f"head.{name}": _head(name) for name in HEAD_FIELDS},
    **{f"pieces.{name}": _piece(name) for name in ("holder", "batch", "offset")},
    "pieces swapped": lambda word: dataclasses.replace(word, pieces=word.pieces[::-1]),
    "chunk.seq": _chunk(seq=99),
    "chunk.epoch": _chunk(epoch=b"\xff" * 16),
    "chunk.session": _chunk(session=OTHER),
    "chunk.share": _chunk(share=1),
    "sealed, first": lambda w: dataclasses.replace(
        w, sealed=bytes([w.sealed[0] ^ 1]) + w.sealed[1:]
    ),
    "sealed, last": lambda w: dataclasses.replace(
        w, sealed=w.sealed[:-1] + bytes([w.sealed[-1] ^ 128])
    ),
    "tag": lambda word: dataclasses.replace(word, tag=bytes([word.tag[0] ^ 1]) + word.tag[1:]),
}


@pytest.mark.parametrize("what", SPOILT)
def test_any_field_that_is_changed_is_found_out(what: str) -> None:
    hops = Hops("ab")
    for session in (SESSION, OTHER):
        hops.open(session, shares=2)
        hops.open(session, share=1, shares=2)
    hops.lost = {Carry}
    hops.send(1)
    (frame,) = hops.said(Carry)
    bank = hops.stores["key_store/b@a"].bank
    spoilt = SPOILT[what](frame)
    bank.unopened[spoilt.pieces] = bank.unopened.pop(frame.pieces)  # whatever the store thinks

    hops.play("relay/a@b", spoilt, "relay/b@a")

    assert hops.arrived() == {}
    assert hops.cluster.count("b", "protokms_relay_refused", reason="bad_tag") == 1


def test_a_good_frame_after_two_bad_ones_is_still_opened() -> None:
    hops = opened("ab")
    hops.lost = {Carry}
    sent = hops.send(1)
    (frame,) = hops.said(Carry)

    for what in ("tag", "sealed, last"):
        hops.play("relay/a@b", SPOILT[what](frame), "relay/b@a")
    hops.lost = set()
    hops.cluster.advance(1.1)

    assert hops.arrived() == sent
    assert len(hops.stores["key_store/a@b"].of(pads.OpenPad)) == 1


def test_three_bad_frames_under_one_pad_end_it_with_an_alarm() -> None:
    hops = opened("ab")
    hops.lost = {Carry}
    hops.send(1)
    (frame,) = hops.said(Carry)

    for _ in range(3):
        hops.play("relay/a@b", SPOILT["tag"](frame), "relay/b@a")
    hops.lost = set()
    hops.cluster.advance(1.1)

    assert hops.arrived() == {}
    assert hops.cluster.count("b", "protokms_alarms", kind="bad_tag") == 1
    assert hops.dropped("a", reason="bad_tag") == 1
    assert list(hops.send(2)) == list(hops.arrived())


# Whose chunks are taken


def test_a_frame_of_an_unknown_session_is_refused_but_not_just_after_a_start() -> None:
    hops = Hops("ab")
    hops.open(nodes="a")
    hops.send(1)

    assert [word.code for word in hops.said(NotCarried)] == ["no_session"]
    assert hops.broken("a") == ["no_session"]
    assert hops.dropped("a", reason="no_session") == 1


def test_just_after_a_start_a_session_may_still_be_told() -> None:
    hops = opened("ab", tolerant=True)
    hops.cluster.crash_actor("relay/a@b")
    hops.cluster.settle()
    hops.spawn("b", "a")
    hops.send(1)

    hops.tell_both("b", hops.terms("b"))
    hops.cluster.advance(1.1)

    assert hops.said(NotCarried) == []
    assert list(hops.arrived()) == [1]


def test_a_frame_with_the_wrong_hop_is_refused() -> None:
    hops = opened()
    hops.lost = {Carry}
    hops.send(1)
    (frame,) = hops.said(Carry)

    hops.play("relay/a@b", dataclasses.replace(frame, hop=1), "relay/b@a")

    assert [word.code for word in hops.said(NotCarried)] == ["not_allowed"]


def test_a_neighbour_that_is_not_on_the_path_is_refused() -> None:
    hops = opened()
    hops.lost = {Carry}
    hops.send(1)
    (frame,) = hops.said(Carry)

    hops.play("relay/c@b", frame, "relay/b@c")

    assert [word.code for word in hops.said(NotCarried)] == ["no_session"]
    assert hops.arrived() == {}


@pytest.mark.parametrize(
    "changes",
    [
        {"tag": b""},
        {"sealed": b""},
        {"pieces": ()},
        {"pieces": (Piece(0, 1, 0, 32),)},
        {"pieces": (Piece(0, 1, 0, 2033), Piece(0, 1, 0, -1))},
        {"chunk": ChunkId(SESSION, 0, b"", 1)},
        {"chunk": ChunkId(SESSION, 0, EPOCH, -1)},
    ],
)
def test_a_frame_of_impossible_sizes_is_refused(changes: dict[str, Any]) -> None:
    hops = opened("ab")
    hops.lost = {Carry}
    hops.send(1)
    (frame,) = hops.said(Carry)

    hops.play("relay/a@b", dataclasses.replace(frame, **changes), "relay/b@a")

    assert [word.code for word in hops.said(NotCarried)] == ["malformed"]
    assert hops.stores["key_store/a@b"].of(pads.OpenPad) == []


def test_shares_are_told_by_sessions_alone() -> None:
    hops = Hops("ab")
    hops.near.say("relay/b@a", hops.terms("a"))
    hops.cluster.settle()
    hops.send(1)
    hops.open()
    hops.near.say("relay/b@a", relay.LaneClosed(session=SESSION, share=0))
    hops.cluster.settle()
    hops.send(2)

    assert hops.answers() == ["no_session", "passed"]


def test_an_actor_that_is_not_the_source_of_a_share_passes_nothing_on() -> None:
    hops = opened()

    ask = relay.Pass(chunk=chunk(1), payload=Secret(b"x" * 2000))
    answer = hops.cluster.ask("relay/b@a", ask)

    assert answer == Failed(code="no_session", why="that session does not come this way")


def test_the_same_chunk_again_is_refused_while_it_is_here() -> None:
    hops = opened("ab")
    hops.lost = {Carry}

    hops.send(1)
    hops.send(1)

    assert hops.answers() == ["passed", "duplicate"]


# R13: bounded, slowed, never blocked


TAKEN = AWAITING_PAD_MAX + QUEUE_MAX
"""Chunks of a share that a dry hop takes over."""


def fill(hops: Hops, first: int = 1) -> int:
    """Send as many chunks as a share has place for; return how many."""
    n = TAKEN + ADMITTED_MAX
    hops.send(*range(first, first + n))
    return n


def test_r13_a_dry_hop_takes_over_a_few_chunks_and_answers_the_rest_late() -> None:
    hops = opened("ab")
    store = hops.stores["key_store/b@a"]
    store.dry = True

    n = fill(hops)
    hops.send(n + 1)

    assert hops.answers() == ["passed"] * TAKEN + ["busy"]
    assert len(store.waiting) == AWAITING_PAD_MAX
    store.pour(2)
    hops.cluster.settle()
    assert hops.answers().count("passed") == TAKEN + 2
    store.dry = False
    store.pour()
    hops.cluster.settle()
    assert len(hops.arrived()) == n


def test_r13_a_dry_hop_waits_for_one_pad_of_all_its_large_chunks() -> None:
    hops = opened("ab")
    hops.open(OTHER)
    store = hops.stores["key_store/b@a"]
    store.dry = True

    hops.send(1, 2, size=CHUNK_MAX)
    hops.send(3, 4, size=CHUNK_MAX, session=OTHER)

    assert len(store.waiting) == 1
    store.dry = False
    store.pour()
    hops.cluster.settle()
    assert len(hops.arrived()) == 4


def test_r13_a_relay_holds_so_many_octets_in_clear_and_gives_all_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(link_queue, "CLEAR_MAX", 40_000)
    hops = opened("ab")
    store = hops.stores["key_store/b@a"]
    store.dry = True

    hops.send(*range(1, 7), size=2000)

    clear = hops.relay("a", "b").queues.clear
    assert hops.answers().count("busy") == 1  # a quarter of it is of one origin
    assert clear.total == 10_000
    hops.close("a")
    assert clear.total == 0
    hops.open()
    hops.send(*range(11, 17), size=2000)
    store.dry = False
    store.pour()
    hops.cluster.settle()
    assert clear.total == 0
    assert not hops.relay("a", "b").queues.pads.waits_for


def test_r13_who_is_held_back_too_long_hears_no() -> None:
    hops = opened("ab")
    hops.stores["key_store/b@a"].dry = True
    fill(hops)

    hops.cluster.advance(HOLD_S + 1.0)

    assert hops.answers().count("busy") == ADMITTED_MAX


def test_r13_what_no_pad_comes_for_is_dropped_and_said_to_the_sessions() -> None:
    hops = opened("ab")
    store = hops.stores["key_store/b@a"]
    store.dry = True
    hops.send(1)

    hops.cluster.advance(GIVE_UP_S + 1.5)

    assert hops.broken("a") == ["not_enough_bits"]
    assert hops.dropped("a", reason="no_pad") == 1
    (ask,) = store.of(pads.TakePad)
    assert ask.wait == GIVE_UP_S
    assert [word.ids for word in store.of(pads.PadsDone)] == [(ask.id,)]


def test_r13_what_is_not_acknowledged_is_given_up_and_said_to_the_sessions() -> None:
    hops = opened("ab")
    hops.lost = {Carried}
    hops.send(1)

    hops.cluster.advance(GIVE_UP_S + 0.6)

    assert hops.broken("a") == ["no_progress"]
    assert hops.dropped("a", reason="unanswered") == 1
    assert hops.relay("a", "b").queues.chunks == 0


def test_r13_a_chunk_is_acknowledged_only_once_the_next_hop_has_taken_it_over() -> None:
    hops = opened()
    hops.stores["key_store/c@b"].dry = True

    n = fill(hops)

    assert len(hops.said(Carried, "b")) == TAKEN
    assert hops.answers().count("passed") == TAKEN + WINDOW + QUEUE_MAX < n
    assert len(hops.relay("a", "b").queues.by_share[SESSION, 0].in_flight) == WINDOW


def test_r13_a_share_that_stands_still_holds_no_other() -> None:
    hops = opened()
    hops.open(OTHER)
    away = hops.cluster.probe("relay/c@b")  # takes no chunk over
    terms = dataclasses.replace(hops.terms("b", OTHER), target="virtual_link/a")
    taker = hops.cluster.probe("virtual_link/a@b")
    taker.on(relay.Pass, relay.Passed())
    hops.close("b", OTHER)
    hops.tell_both("b", terms)

    fill(hops)
    fill_other = hops.send(*range(100, 111), session=OTHER)

    assert len(away.of(relay.Pass)) == WINDOW
    assert hops.arrived(taker) == fill_other


def test_a_chunk_of_a_new_epoch_drops_what_is_not_sent_of_the_one_before() -> None:
    hops = opened("ab")
    store = hops.stores["key_store/b@a"]
    store.dry = True
    fill(hops)
    new = dataclasses.replace(chunk(50), epoch=EPOCH[::-1])

    hops.near.question("relay/b@a", relay.Pass(chunk=new, payload=Secret(b"x" * 2000)))
    hops.cluster.settle()
    hops.send(51)
    store.dry = False
    store.pour()
    hops.cluster.settle()

    assert hops.answers() == ["passed"] * TAKEN + ["stale"] * ADMITTED_MAX + ["passed", "stale"]
    assert list(hops.arrived()) == [50]
    assert hops.dropped("a", reason="stale") == TAKEN + ADMITTED_MAX


def test_a_relay_sends_no_faster_than_its_neighbour_may_take() -> None:
    hops = opened("ab")
    n, began = 0, hops.cluster.now
    while hops.cluster.now < began + 3.0:
        while hops.answers().count("passed") == n:
            n += 1
            hops.send(n, size=CHUNK_MAX)
        hops.cluster.advance(0.25)

    sent = sum(len(frame.sealed) for frame in hops.said(Carry))
    assert 3.0 * PACE < sent <= 3.0 * PACE + PACE_AT_ONCE + CHUNK_MAX


def test_a_store_that_is_not_ready_is_asked_again() -> None:
    hops = opened("ab")
    near, far = hops.stores["key_store/b@a"], hops.stores["key_store/a@b"]
    near.ready = far.ready = False
    sent = hops.send(1, 2)
    hops.cluster.advance(1.1)
    near.ready = True
    hops.cluster.advance(1.1)

    assert hops.arrived() == {}
    far.ready = True
    hops.cluster.advance(1.1)
    assert hops.arrived() == sent
    assert hops.said(NotCarried) == []


def test_a_closed_share_drops_what_it_has_and_burns_its_pads() -> None:
    hops = opened("ab")
    store = hops.stores["key_store/b@a"]
    hops.lost = {Carry}
    hops.send(1, 2)
    store.dry = True
    n = TAKEN + 1
    hops.send(*range(3, 3 + n))

    hops.close("a")
    store.pour()
    hops.lost = set()
    hops.cluster.advance(3.0)

    assert hops.answers().count("no_session") == 1
    assert hops.arrived() == {}
    burnt = {id_ for word in store.of(pads.PadsDone) for id_ in word.ids}
    assert burnt == {ask.id for ask in store.of(pads.TakePad)}
    assert hops.dropped("a", reason="closed") == n + 2
    assert hops.relay("a", "b").outgoing.unrepeated == {}


def test_r14_other_terms_for_a_share_drop_what_was_on_its_way() -> None:
    hops = opened("ab")
    hops.lost = {Carry}
    hops.send(1)

    hops.tell_both("a", dataclasses.replace(hops.terms("a"), path=("a", "b", "x")))

    assert hops.relay("a", "b").queues.chunks == 0
    assert hops.dropped("a", reason="closed") == 1


def test_the_same_share_again_changes_its_weight_alone() -> None:
    hops = opened("ab")
    hops.lost = {Carry}
    hops.send(1)

    hops.open(weight=5)
    hops.send(2)

    assert hops.relay("a", "b").queues.by_share[SESSION, 0].weight == 5
    assert [ask.weight for ask in hops.stores["key_store/b@a"].of(pads.TakePad)] == [1, 1]
    assert hops.relay("a", "b").queues.chunks == 2


# The neighbour goes and comes


def test_a_neighbour_that_is_away_breaks_its_shares_and_nothing_is_taken_for_it() -> None:
    hops = opened("ab")
    hops.cluster.tell("relay/b@a", PeerDown(peer="b"))
    hops.send(1)

    assert hops.broken("a") == ["peer_down"]
    assert hops.stores["key_store/b@a"].of(pads.TakePad) == []
    hops.cluster.tell("relay/b@a", PeerUp(peer="b"))
    assert list(hops.arrived()) == [1]


def test_what_was_not_acknowledged_is_said_at_once_when_the_neighbour_is_back() -> None:
    hops = opened("ab")
    hops.lost = {Carry}
    hops.send(1)
    hops.lost = set()
    hops.cluster.tell("relay/b@a", PeerDown(peer="b"))

    hops.cluster.tell("relay/b@a", PeerUp(peer="b"))

    assert list(hops.arrived()) == [1]


def test_a_share_to_a_neighbour_that_is_away_is_broken_from_the_start() -> None:
    hops = Hops("ab")
    hops.cluster.tell("relay/b@a", PeerDown(peer="b"))

    hops.open()

    assert hops.broken("a") == ["peer_down"]


def test_what_a_peer_answers_about_nothing_is_harmless() -> None:
    hops = opened("ab")
    words: tuple[Message, ...] = (
        Carried(chunks=(chunk(5), chunk(6, session=SessionId("z", 1)))),
        NotCarried(chunk=chunk(5), code="no_session"),
    )

    for word in words:
        hops.play("relay/b@a", word, "relay/a@b")

    assert hops.broken("a") == []
    assert hops.cluster.count("a", "protokms_relay_carried") == 0


def test_a_word_of_a_peer_becomes_no_label() -> None:
    hops = opened("ab")
    hops.lost = {Carry}
    hops.send(1)

    word = NotCarried(chunk=chunk(1), code="whatever they like")
    hops.play("relay/b@a", word, "relay/a@b")

    assert hops.dropped("a", reason="refused") == 1


def test_a_relay_is_well_and_says_what_it_has() -> None:
    hops = opened("ab")
    hops.lost = {Carry}
    hops.send(1)

    answer = hops.cluster.ask("relay/b@a", Health())

    assert answer == Healthy(ready=True, reasons=(), facts=(("lanes", "1"), ("chunks", "1")))


def test_r13_frames_that_wait_behind_a_slow_hop_hold_no_other_share_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(outgoing, "UNREPEATED_MAX", WINDOW)
    hops = opened("ab")
    hops.open(OTHER)
    hops.far.on(relay.Pass, lambda ask: relay.Passed() if ask.chunk.session == OTHER else None)
    hops.send(*range(1, WINDOW + 1))

    sent = hops.send(50, session=OTHER)
    assert 50 not in hops.arrived()
    hops.cluster.advance(1.6)

    assert hops.arrived().get(50) == sent[50]
