"""Room: told back along a path before a chunk is sent, and claimed by shares that starve (R13)."""

import itertools
from typing import Any

import pytest

from actors.crypto.one_time_pad import KEY_OCTETS
from actors.protocol import pads, relay
from actors.protocol.relay import (
    CHUNK_MIN,
    CHUNK_PAD_MIN,
    GIVE_UP_S,
    HOLD_S,
    ROOM_MAX,
    give_up_s,
)
from actors.relay.queues import SendQueue
from actors.relay.room import ACTIVE_S, AT_ONCE_MAX, PAUSE_EACH_S, ROOM_EVERY_S, Rooms
from tests.kit.hops import OTHER, SESSION, Hops
from transport.message import Message


def row(nodes: str = "abcd", **rooms: int) -> Hops:
    """A row of relays with a share over all of it that wants; `rooms` by node, towards the end."""
    hops = Hops(nodes)
    for here, there in itertools.pairwise(nodes):
        teller = hops.stores[f"key_store/{there}@{here}"]
        teller.tell_room(rooms.get(here, 1 << 20))
    hops.cluster.settle()
    hops.open()
    want(hops)
    return hops


def want(hops: Hops, session: relay.SessionId = SESSION) -> None:
    word = relay.LaneWants(session=session, share=0)
    hops.near.say(f"relay/{hops.row[1]}@{hops.row[0]}", word)
    hops.cluster.settle()


def told(hops: Hops, session: relay.SessionId = SESSION) -> tuple[int, int]:
    """What the origin was told last."""
    news = [word for word in hops.near.of(relay.LaneRoom) if word.session == session][-1]
    return news.after, news.octets


def teller(hops: Hops, here: str, there: str) -> list[Message]:
    return hops.stores[f"key_store/{there}@{here}"].heard


def test_the_origin_hears_what_the_hop_with_least_has() -> None:
    hops = row(a=50_000, b=9_000, c=20_000)

    assert told(hops) == (-1, 9_000 - KEY_OCTETS)


def test_less_than_a_smallest_chunk_is_told_now_and_then_for_whoever_waits_for_it() -> None:
    hops = row(b=CHUNK_PAD_MIN - 1)
    before = told(hops)
    want(hops)

    assert before == (-1, 0)

    assert told(hops) == (-1, CHUNK_MIN - 1)


def test_room_that_grows_is_no_news_until_a_smallest_chunk_fits() -> None:
    hops = row(a=500)
    before = len(hops.near.of(relay.LaneRoom))
    for octets in (*range(510, CHUNK_PAD_MIN, 50), CHUNK_PAD_MIN - 1):
        hops.stores["key_store/b@a"].tell_room(octets)
        hops.cluster.settle()
    in_between = len(hops.near.of(relay.LaneRoom))
    hops.stores["key_store/b@a"].tell_room(CHUNK_PAD_MIN)
    hops.cluster.settle()

    assert in_between == before
    assert told(hops) == (-1, CHUNK_MIN)


def test_a_path_is_told_of_no_more_than_there_is_use_for() -> None:
    assert told(row())[1] == ROOM_MAX


def test_what_is_on_its_way_is_counted_once() -> None:
    hops = row(a=20_000, b=9_000, c=20_000)
    hops.send(5, size=4_000)

    last = told(hops)

    assert last[0] == 5
    assert last[1] <= 9_000 - 4_000 - 2 * KEY_OCTETS


def test_a_chunk_that_died_on_its_way_is_not_counted_for_ever() -> None:
    hops = row(a=20_000, b=9_000, c=20_000)
    hops.lost = {relay.Carry}
    hops.send(5, size=4_000)
    hops.cluster.advance(GIVE_UP_S + 2.0)
    hops.lost = set()
    hops.stores["key_store/b@a"].tell_room(20_000)
    want(hops)

    assert told(hops) == (5, 9_000 - KEY_OCTETS)


def test_room_that_got_lost_is_told_again_to_who_wants() -> None:
    hops = row(b=9_000)
    hops.lost = {relay.Room}
    hops.stores["key_store/c@b"].tell_room(5_000)
    hops.cluster.settle()
    before = told(hops)
    hops.lost = set()
    want(hops)
    hops.cluster.advance(0.1)

    assert before == (-1, 9_000 - KEY_OCTETS)
    assert told(hops) == (-1, 5_000 - KEY_OCTETS)


def test_the_same_is_said_again_now_and_then_while_a_share_is_in_use() -> None:
    hops = row()
    hops.wire.clear()
    hops.cluster.advance(ROOM_EVERY_S + 1.0)
    in_use = len(hops.said(relay.Room, "b"))
    hops.cluster.advance(ACTIVE_S)
    hops.wire.clear()
    hops.cluster.advance(60.0)

    assert in_use == 1
    assert not hops.said(relay.Room)


def test_a_share_at_rest_is_told_of_one_smallest_chunk_and_claims_nothing() -> None:
    hops = Hops("abcd")
    hops.open()

    assert told(hops) == (-1, CHUNK_MIN)
    wanted = [body for body in teller(hops, "a", "b") if isinstance(body, pads.WantPads)]
    assert not any(body.octets for body in wanted)


def test_one_that_wants_claims_a_chunk_at_each_hop_for_a_while() -> None:
    hops = row(b=0)

    for here, there in ("ab", "bc", "cd"):
        claims = [w.octets for w in teller(hops, here, there) if isinstance(w, pads.WantPads)]
        assert claims[-1] == CHUNK_PAD_MIN
    hops.cluster.advance(ACTIVE_S + 1.0)
    claims = [w.octets for w in teller(hops, "b", "c") if isinstance(w, pads.WantPads)]
    assert claims[-1] == 0


def test_shares_that_want_have_the_same_room_by_weight() -> None:
    hops = Hops("abc")
    hops.stores["key_store/b@a"].tell_room(2 * CHUNK_PAD_MIN + 8_000)
    hops.open()
    hops.open(OTHER, weight=3)
    want(hops)
    want(hops, OTHER)

    assert told(hops)[1] == CHUNK_MIN + 2_000
    assert told(hops, OTHER)[1] == CHUNK_MIN + 6_000


def test_where_there_is_room_for_one_chunk_who_has_had_least_is_first() -> None:
    hops = Hops("abc")
    store = hops.stores["key_store/b@a"]
    store.tell_room(CHUNK_PAD_MIN)
    hops.open()
    hops.open(OTHER)
    want(hops)
    want(hops, OTHER)
    turns = []
    for seq in range(1, 7):
        store.tell_room(CHUNK_PAD_MIN)
        hops.cluster.settle()
        mine = SESSION if told(hops)[1] else OTHER
        assert bool(told(hops)[1]) is not bool(told(hops, OTHER)[1])
        turns.append(mine)
        hops.send(seq, size=CHUNK_MIN, session=mine)

    assert turns.count(SESSION) == turns.count(OTHER) == 3


def test_a_peer_of_an_earlier_version_hears_nothing_and_gets_small_chunks() -> None:
    hops = Hops("abcd")
    hops.speaks("b", "a", "relay.carry/1")
    hops.speaks("b", "c", "relay.carry/1")
    hops.open()
    hops.wire.clear()
    want(hops)
    want(hops)

    assert not hops.said(relay.Room, "b")
    assert not hops.said(relay.Wants, "b")
    rooms = [word.octets for word in hops.said(relay.Room, "c")]
    assert not rooms or max(rooms) >= CHUNK_MIN
    held = hops.relay("b", "c").rooms._rooms[SESSION, 0]
    assert held.told[1] == CHUNK_MIN


def test_on_a_slow_link_chunks_wait_longer() -> None:
    assert give_up_s(0) == give_up_s(1e6) == GIVE_UP_S
    assert 80.0 < give_up_s(300 / 8) < 100.0
    hops = row()
    hops.stores["key_store/b@a"].tell_room(20_000, rate=300 / 8)
    hops.cluster.settle()

    assert hops.near.of(relay.LaneRoom)[-1].hold_s == HOLD_S / GIVE_UP_S * give_up_s(300 / 8)


def at_rest(n: int) -> tuple[Hops, list[relay.SessionId]]:
    """A row with one share that wants, and others that nobody has asked for anything."""
    hops = row("abc")
    sessions = [relay.SessionId("a", 100 + number) for number in range(n)]
    for session in sessions:
        hops.open(session)
    return hops, sessions


def test_shares_at_rest_are_not_looked_at_when_another_sends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hops, sessions = at_rest(20)
    looked_at: list[relay.SessionId] = []
    tell = Rooms._tell

    def noted(self: Rooms, queue: SendQueue, *args: Any, **more: Any) -> None:
        looked_at.append(queue.terms.session)
        tell(self, queue, *args, **more)

    monkeypatch.setattr(Rooms, "_tell", noted)
    hops.send(*range(1, 6))
    hops.cluster.advance(5.0)

    assert SESSION in looked_at
    assert not set(sessions) & set(looked_at)


def test_shares_at_rest_hear_when_there_is_no_room_and_when_there_is_again() -> None:
    hops, sessions = at_rest(3)
    heard = []
    for octets in (0, 1 << 20):
        hops.stores["key_store/c@b"].tell_room(octets)
        hops.cluster.settle()
        heard.append({told(hops, session) for session in sessions})

    assert heard == [{(-1, 0)}, {(-1, CHUNK_MIN)}]


def test_a_share_that_comes_to_rest_is_told_of_one_smallest_chunk() -> None:
    hops = row("abc")
    before = told(hops)
    hops.cluster.advance(ACTIVE_S + 1.0)

    assert before == (-1, ROOM_MAX)
    assert told(hops) == (-1, CHUNK_MIN)


def test_what_died_on_its_way_is_no_longer_counted_against_a_share_at_rest() -> None:
    hops = row("abc", b=20_000)
    hops.lost = {relay.Carry, relay.Room}
    hops.stores["key_store/b@a"].tell_room(20_000, rate=300 / 8)
    hops.send(5, size=4_000)
    hops.cluster.advance(ACTIVE_S + 1.0)
    hops.play(
        "relay/b@a", relay.Room(session=SESSION, share=0, after=-1, octets=4_100), "relay/a@b"
    )
    before = told(hops)
    hops.cluster.advance(give_up_s(300 / 8))

    assert before[1] < CHUNK_MIN
    assert told(hops) == (5, CHUNK_MIN)


def test_many_that_want_are_told_together_and_of_no_more_than_there_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    divided = 0
    divide = Rooms._divided

    def counted(self: Rooms, *args: Any) -> Any:
        nonlocal divided
        divided += self._context.address.node == "a"
        return divide(self, *args)

    monkeypatch.setattr(Rooms, "_divided", counted)
    hops, sessions = Hops("ab"), [relay.SessionId("a", n) for n in range(2 * AT_ONCE_MAX)]
    octets = len(sessions) * 2 * CHUNK_PAD_MIN
    hops.stores["key_store/b@a"].tell_room(octets)
    for session in sessions:
        hops.open(session)
        want(hops, session)
    hops.cluster.advance(1.0)
    divided = 0
    for session in sessions:
        hops.send(1, size=CHUNK_MIN, session=session)
    at_once, promised = divided, sum(told(hops, session)[1] for session in sessions)
    hops.cluster.advance(2 * len(sessions) * PAUSE_EACH_S)

    assert at_once <= 1
    assert promised <= octets
    assert {told(hops, session)[0] for session in sessions} == {1}
    assert sum(told(hops, session)[1] for session in sessions) <= octets - len(sessions) * CHUNK_MIN


@pytest.mark.parametrize("rate", [0.979, 1.0, 1.007, 1.042])
def test_a_clock_that_is_a_hair_behind_its_timers_sets_no_timer_for_ever(rate: float) -> None:
    hops, sessions = Hops("ab"), [relay.SessionId("a", n) for n in range(2 * AT_ONCE_MAX)]
    hops.cluster.advance(18.652)
    hops.cluster.nodes["a"]._clock.boot()
    hops.cluster.nodes["a"]._clock.drift(rate)
    hops.stores["key_store/b@a"].tell_room(1 << 24)
    for session in sessions:
        hops.open(session)
        want(hops, session)

    for after in range(1, 31):
        for session in sessions:
            hops.send(after, size=CHUNK_MIN, session=session)
        hops.cluster.advance(0.137)  # `RuntimeError` if timers of no time are set for ever

    assert {told(hops, session)[0] for session in sessions} == {30}


def test_an_origin_with_many_shares_has_no_more_room_than_one_with_one() -> None:
    hops = Hops("abc")
    many, one = [relay.SessionId("a", n) for n in range(8)], relay.SessionId("z", 1)
    hops.stores["key_store/b@a"].tell_room(6 * CHUNK_PAD_MIN)
    for session in (*many, one):
        hops.open(session, weight=1 if session == one else 16)
        want(hops, session)
    hops.cluster.advance(1.0)
    rooms = [told(hops, session)[1] for session in many]

    assert rooms == [CHUNK_MIN] * 3 + [0] * 5
    assert told(hops, one)[1] == 3 * CHUNK_MIN


def test_what_many_have_is_told_in_steps_so_that_a_chunk_of_one_is_no_news_for_the_others() -> None:
    hops, sessions = Hops("ab"), [relay.SessionId("a", n) for n in range(2 * AT_ONCE_MAX)]
    exact = 15 * CHUNK_MIN + 600
    hops.stores["key_store/b@a"].tell_room(len(sessions) * (exact + KEY_OCTETS))
    for session in sessions:
        hops.open(session)
        want(hops, session)
    hops.cluster.advance(1.0)
    before = {session: told(hops, session) for session in sessions}
    heard = len(hops.near.of(relay.LaneRoom))
    hops.send(1, size=CHUNK_MIN, session=sessions[0])
    hops.cluster.advance(2 * len(sessions) * PAUSE_EACH_S)

    assert set(before.values()) == {(-1, 12 * CHUNK_MIN)}
    assert {it.session for it in hops.near.of(relay.LaneRoom)[heard:]} == {sessions[0]}
    assert told(hops, sessions[0]) == (1, 12 * CHUNK_MIN)
