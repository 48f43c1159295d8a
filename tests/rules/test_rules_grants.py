"""R9, R10 and R12: grants, their ids, their time."""

import struct
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from actors.keystore import allocation, limits
from actors.protocol import blocks, grants, keys
from actors.protocol.common import Failed
from tests.kit.ledger_check import check_counters, check_rest, hold_no_more_than
from tests.kit.pair import LOCATED, SAES, Pair
from transport.codec import decode
from transport.message import Message

ONE_KEY = keys.GetKey(master="alice", slaves=("bob",), number=1, size=32)


def ready(**options: object) -> Pair:
    pair = Pair(**options)  # type: ignore[arg-type]
    pair.fill()
    pair.fill(sender="b")
    pair.wire.clear()
    return pair


@contextmanager
def hold_back(
    pair: Pair, which: Callable[[grants.GrantsHeld], bool]
) -> Iterator[list[grants.GrantsHeld]]:
    """Keep some acknowledgements off the wire for a while; they are in the list."""
    kept: list[grants.GrantsHeld] = []
    carry = pair._carry

    def post(sender: str, to: str, octets: bytes) -> None:
        word = decode(octets, sender).body
        if isinstance(word, grants.GrantsHeld) and which(word):
            kept.append(word)
        else:
            carry(sender, to, octets)

    pair._carry = post
    yield kept
    pair._carry = carry


def more(pair: Pair) -> None:
    """Come in step, and bring bits of this epoch."""
    pair.cluster.advance(3.0)
    for _ in range(4):
        pair.feed()
        pair.cluster.advance(0.2)


def rest(pair: Pair) -> None:
    pair.lost.clear()
    pair.cluster.advance(10.0)
    check_rest(pair.store("a"), pair.store("b"))
    for node in ("a", "b"):
        check_counters(pair.store(node))


def code(answer: Message) -> str:
    assert isinstance(answer, Failed), answer
    return answer.code


# R9: confirmed


def test_r9_a_master_is_answered_when_the_peer_holds_the_keys_durably() -> None:
    pair = ready()
    front = pair.cluster.probe("front@a")
    pair.cluster.crash_at_commit("b", before=True)

    front.question(pair.at("a"), ONE_KEY)
    pair.cluster.advance(1.0)
    early = list(front.received)
    pair.cluster.restart("b")
    pair.cluster.advance(4.0)

    assert not early
    assert len(front.received) == 1
    rest(pair)


def test_r9_keys_are_equal_at_both_ends_and_for_every_slave() -> None:
    pair = ready()

    key = pair.key(3, 24, slaves=("bob", "bert"))

    for slave in ("bob", "bert"):
        assert pair.fetch(key.grant, 0, 1, 2, slave=slave)[0] == key.octets.reveal()
    rest(pair)


def test_r9_a_grant_given_up_is_void_before_the_peer_hears_of_it() -> None:
    pair = ready()
    pair.lost = {grants.GrantsHeld}
    front = pair.cluster.probe("front@a")
    front.question(pair.at("a"), ONE_KEY)
    pair.cluster.advance(2.0)
    pair.cluster.fill_disk("a")
    pair.cluster.advance(3.0)

    early = pair.said(grants.GrantsVoid), list(front.received)
    pair.cluster.free_disk("a")
    pair.cluster.advance(1.0)

    assert early == ([], [])
    assert pair.said(grants.GrantsVoid)
    assert [type(body) for body in front.received] == [Failed]
    rest(pair)


def test_r9_a_void_grant_is_never_answered_though_held_comes_late() -> None:
    pair = ready()
    pair.lost = {grants.GrantsHeld}
    front = pair.cluster.probe("front@a")
    front.question(pair.at("a"), ONE_KEY)
    pair.cluster.advance(5.0)
    pair.lost = set()

    pair.say("a", pair.said(grants.GrantsHeld)[0])
    pair.cluster.advance(3.0)

    assert [type(body) for body in front.received] == [Failed]
    grant = pair.said(grants.GrantsAnnounced)[0].grants[0].id
    assert code(pair.dec(grant)) == "no_such_key"
    rest(pair)


def test_r9_keys_that_come_too_late_for_who_asked_are_taken_back() -> None:
    pair = ready()
    pair.lost = {grants.GrantsHeld}
    front = pair.cluster.probe("front@a")
    front.question(pair.at("a"), replace(ONE_KEY, within=0.3))
    pair.cluster.advance(0.2)
    pair.lost = set()
    pair.cluster.advance(0.7)

    pair.say("a", pair.said(grants.GrantsHeld)[0])
    pair.cluster.advance(3.0)

    assert [code(body) for body in front.received] == ["timeout"]
    assert code(pair.dec(pair.said(grants.GrantsAnnounced)[0].grants[0].id)) == "no_such_key"
    rest(pair)


@pytest.mark.parametrize("mode", ["confirmed", "local"])
def test_r9_nothing_is_allocated_for_who_has_waited_too_long(mode: str) -> None:
    pair = Pair(mode=mode)
    pair.lost = {blocks.LeaseHeld}
    pair.fill()
    front = pair.cluster.probe("front@a")
    pair.cluster.advance(pair.store("a").clock.now % 0.5 + 0.01)  # just after a tick
    front.question(pair.at("a"), replace(ONE_KEY, within=0.1))
    pair.cluster.advance(0.2)

    pair.lost = set()
    pair.say("a", pair.said(blocks.LeaseHeld, "b")[-1])

    assert [code(body) for body in front.received] == ["timeout"]
    assert not pair.said(grants.GrantsAnnounced)
    rest(pair)


def test_r9_a_void_beats_a_later_announcement_of_an_id_never_heard() -> None:
    pair = ready()
    pair.lost = {grants.GrantsAnnounced}
    code(pair.enc())
    pair.lost = {blocks.SegmentClosed}
    pair.cluster.advance(2.0)

    pair.say("b", pair.said(grants.GrantsAnnounced)[0])

    assert not pair.store("b").held.holdings
    assert pair.said(grants.GrantsRefused)[0].refusals[0].code == "void"
    rest(pair)


def test_r9_a_void_is_repeated_until_acknowledged_across_restarts() -> None:
    pair = ready()
    pair.lost = {grants.GrantsHeld, grants.GrantsVoid}
    code(pair.enc())
    pair.cluster.restart("a")
    pair.cluster.advance(3.0)
    held = len(pair.store("b").held.holdings)
    pair.lost = set()

    pair.cluster.advance(3.0)

    assert held == 1
    assert not pair.store("b").held.holdings
    rest(pair)


def test_r8_a_void_is_acknowledged_when_it_is_durable_at_the_slaves_side() -> None:
    pair = ready()
    pair.lost = {grants.GrantsHeld, grants.GrantsVoid}
    told = code(pair.enc())
    grant = pair.said(grants.GrantsAnnounced)[0].grants[0].id
    void = pair.said(grants.GrantsVoid)[0]
    pair.lost = {grants.GrantsHeld}
    pair.cluster.crash_at_commit("b", before=True)

    pair.say("b", void)
    pair.cluster.advance(0.2)

    alive, early = pair.cluster.nodes["b"].alive, pair.said(grants.GrantsVoidHeld)
    held = pair.rows("b", "holding")
    pair.cluster.restart("b")
    pair.cluster.advance(3.0)
    assert (told, void.grants[0].id, alive) == ("timeout", grant, False)
    assert len(held) == 1
    assert not early
    assert code(pair.dec(grant)) == "no_such_key"
    assert pair.said(grants.GrantsVoidHeld)
    rest(pair)


def test_r9_a_confirmed_grant_answered_before_a_crash_of_its_issuer_stays_fetchable() -> None:
    pair = ready()
    key = pair.key()

    pair.cluster.restart("a")
    pair.cluster.advance(30.0)

    assert pair.fetch(key.grant)[0] == key.octets.reveal()


def test_r9_the_ids_of_finished_grants_are_known_while_a_repeat_can_come() -> None:
    pair = ready()
    key = pair.key()
    late = pair.said(grants.GrantsAnnounced)[0]
    pair.deliver(key.grant)
    pair.lost = {blocks.SegmentClosed}  # or there would be no segment for it to lie in
    pair.cluster.restart("b")
    pair.cluster.advance(2.0)

    again = grants.GrantsAnnounced(head=pair.store("a").state.head(), grants=late.grants)
    pair.say("b", again)

    assert not pair.store("b").held.holdings
    assert pair.alarms() == 0
    assert code(pair.dec(key.grant)) == "no_such_key"
    rest(pair)


def test_r9_a_grant_that_comes_after_its_segment_was_closed_is_refused() -> None:
    pair = ready()
    key = pair.key()
    late = pair.said(grants.GrantsAnnounced)[0]
    pair.deliver(key.grant)
    pair.cluster.restart("a")
    pair.cluster.advance(5.0)

    again = grants.GrantsAnnounced(head=pair.store("a").state.head(), grants=late.grants)
    pair.say("b", again)

    assert not pair.store("b").held.holdings
    assert not pair.store("b").held.tombs
    assert pair.said(grants.GrantsRefused)[-1].refusals[0].code == "no_such_segment"


def test_r9_a_segment_lives_until_the_fate_of_its_grants_is_known() -> None:
    pair = ready()
    pair.lost = {grants.GrantsVoidHeld, grants.GrantsHeld}
    code(pair.enc())
    stream = pair.store("a").stream
    for segment in list(stream._ready.values()):
        stream.burn(segment)

    pair.cluster.advance(5.0)

    open_ = [name for name, segment in stream.segments.items() if segment.grants]
    assert open_
    assert pair.store("b").stream.segments.keys() >= set(open_)
    rest(pair)
    assert not any(segment.grants for segment in stream.segments.values())


# R9: local


def test_r9_local_a_master_is_answered_after_its_own_commit() -> None:
    pair = ready(mode="local")
    pair.lost = {grants.GrantsHeld}

    key = pair.key()

    assert pair.rows("a", "unheard")
    assert pair.fetch(key.grant)[0] == key.octets.reveal()
    rest(pair)
    assert not pair.rows("a", "unheard")


def test_r9_local_the_announcement_is_repeated_until_acknowledged_across_a_restart() -> None:
    pair = ready(mode="local")
    pair.lost = {grants.GrantsAnnounced}
    key = pair.key()
    pair.cluster.advance(3.0)
    pair.cluster.restart("a")
    pair.cluster.advance(3.0)
    pair.lost = set()

    pair.cluster.advance(3.0)

    assert key.grant in pair.store("b").held.holdings
    assert pair.fetch(key.grant)[0] == key.octets.reveal()
    rest(pair)


def test_r9_local_the_slaves_side_asks_the_owner_before_it_says_no() -> None:
    pair = ready(mode="local")
    pair.lost = {grants.GrantsAnnounced}
    one, two = pair.key(), pair.key()
    pair.lost = set()
    names = (keys.KeyName(one.grant, 0), keys.KeyName(two.grant, 0))
    ask = keys.GetKeyWithIds(master="alice", slave="bob", names=names)

    answer = pair.cluster.ask(pair.at("b"), ask, 0.2)

    assert isinstance(answer, keys.KeysWithIds)
    assert answer.octets == (one.octets, two.octets)


def test_r8_local_keys_that_were_asked_for_of_their_owner_leave_when_that_is_durable() -> None:
    pair = ready(mode="local")
    pair.lost = {grants.GrantsAnnounced}
    key = pair.key()
    pair.lost = set()
    front = pair.cluster.probe("front@b")
    pair.cluster.slow_disk("b", 0.1)  # an answer that does not wait comes before the crash
    pair.cluster.crash_at_commit("b", 2, before=True)  # the first one is of the grant held

    names = (keys.KeyName(key.grant, 0),)
    front.question(pair.at("b"), keys.GetKeyWithIds(master="alice", slave="bob", names=names))
    pair.cluster.advance(0.5)

    alive, early = pair.cluster.nodes["b"].alive, list(front.received)
    held, delivering = pair.rows("b", "holding"), pair.rows("b", "window")
    pair.cluster.restart("b")
    pair.cluster.advance(3.0)
    assert pair.said(grants.GrantQuery, "b")
    assert (alive, len(held), delivering) == (False, 1, [])
    assert not early
    assert pair.fetch(key.grant)[0] == key.octets.reveal()


def test_r9_local_the_slaves_side_says_no_within_a_second() -> None:
    pair = ready(mode="local")
    unknown = code(pair.dec(b"never given.", wait=0.2))
    pair.lost = {grants.GrantQuery}

    lost = code(pair.dec(b"never given.", wait=1.1))

    assert (unknown, lost) == ("no_such_key", "no_such_key")
    rest(pair)


def test_r9_local_an_unknown_key_is_not_denied_while_its_owner_is_away() -> None:
    pair = ready(mode="local")
    pair.cluster.cut("a", "b")
    pair.cluster.advance(5.0)

    away = code(pair.dec(b"perhaps one.", wait=0.2))

    assert away == "peer_down"


def test_r9_local_an_announcement_is_never_refused_for_limits() -> None:
    pair = ready(mode="local", max_undelivered_bits_per_pair=8 * 64)
    pair.lost = {grants.GrantsHeld}
    made = [pair.key(), pair.key()]
    pair.lost = set()
    store = pair.store("b")
    store.options = pair.made("b").options

    pair.cluster.advance(3.0)

    assert not pair.said(grants.GrantsRefused)
    for key in made:
        assert pair.fetch(key.grant)[0] == key.octets.reveal()


def test_r9_local_the_owner_checks_the_limit_before_it_answers() -> None:
    pair = ready(mode="local", max_undelivered_bits_per_pair=8 * 64)
    pair.key(2)
    pair.cluster.advance(0.1)

    assert code(pair.enc()) == "too_many_undelivered"


@pytest.mark.parametrize("limit", ["max_undelivered_bits_per_pair", "max_undelivered_bits_per_sae"])
def test_r9_local_the_limits_hold_however_slowly_a_master_asks(limit: str) -> None:
    pair = ready(mode="local", **{limit: 8 * 96})

    answers = []
    for _ in range(8):
        answers.append(pair.enc())
        pair.cluster.advance(2.0)

    assert [type(answer) for answer in answers[:3]] == [keys.Keys] * 3
    assert {code(answer) for answer in answers[3:]} == {"too_many_undelivered"}


def test_r9_local_the_limit_of_an_sae_counts_all_its_masters() -> None:
    pair = ready(mode="local", max_undelivered_bits_per_sae=8 * 64)
    pair.key(2)
    pair.cluster.advance(2.0)
    ask = keys.GetKey(master="carol", slaves=("bob",), number=1, size=32)

    assert code(pair.cluster.ask(pair.at("a"), ask)) == "too_many_undelivered"


@pytest.mark.parametrize("limit", ["max_undelivered_bits_per_pair", "max_undelivered_bits_per_sae"])
def test_r12_local_an_owner_that_was_started_again_asks_what_is_not_fetched(limit: str) -> None:
    pair = ready(mode="local", **{limit: 8 * 64})
    grant = pair.key(2).grant
    pair.cluster.advance(1.0)
    pair.cluster.restart("a")
    more(pair)

    again = code(pair.enc())
    pair.deliver(grant, 0, 1)
    pair.cluster.advance(0.2)
    pair.enc()  # the owner asks again
    pair.cluster.advance(0.2)

    assert again == "too_many_undelivered"
    assert isinstance(pair.enc(), keys.Keys)
    rest(pair)


def test_r12_local_a_peer_that_went_back_to_a_copy_is_asked_what_it_holds() -> None:
    pair = ready(mode="local", max_undelivered_bits_per_pair=8 * 64)
    grant = pair.key(2).grant
    pair.cluster.advance(1.0)
    before = pair.cluster.backup("b")
    pair.deliver(grant, 0, 1)
    pair.know_loads()
    pair.cluster.restore("b", before)
    more(pair)

    assert code(pair.enc()) == "too_many_undelivered"


def test_r12_local_a_question_for_loads_is_repeated_and_its_time_is_limited() -> None:
    pair = ready(mode="local")
    pair.cluster.restart("a")
    more(pair)
    pair.lost = {grants.LoadQuery}
    stock = pair.store("a").stream.stock

    assert code(pair.enc()) == "timeout"
    assert len(pair.said(grants.LoadQuery)) >= 3
    assert pair.store("a").stream.stock == stock
    pair.lost = set()
    assert isinstance(pair.enc(), keys.Keys)


def test_r12_local_so_many_requests_wait_for_loads_and_no_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "PENDING_MAX", 1)
    pair = ready(mode="local")
    pair.cluster.restart("a")
    more(pair)
    pair.lost = {grants.LoadQuery}
    ask = keys.GetKey(master="alice", slaves=("bob",), number=1, size=32)
    pair.cluster.tell(pair.at("a"), ask)

    assert code(pair.enc()) == "busy"


def test_r12_local_what_was_said_of_loads_is_not_believed_when_it_comes_late() -> None:
    pair = ready(mode="local", max_undelivered_bits_per_pair=8 * 64)
    pair.cluster.advance(1.0)
    with hold_back(pair, lambda word: not word.ids) as late:
        pair.cluster.ask(pair.at("a"), keys.GetStatus(master="alice", slave="bob", size=32))
    pair.key(2)
    pair.cluster.advance(0.2)

    pair.say("a", *late)

    assert code(pair.enc()) == "too_many_undelivered"


def test_r12_local_a_word_of_one_pair_does_not_make_that_of_another_stale() -> None:
    pair = ready(mode="local", max_undelivered_bits_per_pair=8 * 64)
    pair.cluster.advance(1.0)
    pair.cluster.ask(pair.at("a"), keys.GetStatus(master="alice", slave="bob", size=32))
    with hold_back(pair, lambda word: any(it.slave == "bob" for it in word.loads)) as late:
        pair.key(2)
        pair.cluster.advance(0.2)
        pair.cluster.ask(pair.at("a"), keys.GetStatus(master="alice", slave="bert", size=32))
        pair.key(1, slaves=("bert",))
        pair.cluster.advance(0.2)
    assert late

    pair.say("a", *late)

    assert pair.store("a").issued.undelivered.of_pair("alice", "bob") == 64
    assert code(pair.enc()) == "too_many_undelivered"


def test_r12_local_all_that_is_said_of_loads_counts() -> None:
    pair = ready(mode="local")
    saes = tuple((f"s{n}", "b") for n in range(150))
    located = replace(LOCATED, serial=2, homes=dict((*SAES, *saes)))
    loads = tuple(grants.Load("alice", slave, 1, 1, 1) for slave, _ in saes)

    pair.cluster.tell(pair.at("a"), located, sender="peer_manager@a")
    pair.say("a", grants.GrantsHeld(head=pair.store("b").state.head(), ids=(), loads=loads))

    assert {pair.store("a").issued.undelivered.of_slave(slave) for slave, _ in saes} == {1}


@pytest.mark.parametrize("again", ["a", "b"])
def test_r12_local_nobody_is_refused_for_what_was_fetched_before_both_ends_came_in_step(
    again: str,
) -> None:
    pair = ready(mode="local", max_undelivered_bits_per_pair=8 * 64)
    grant = pair.key(2).grant
    pair.cluster.advance(1.0)
    pair.deliver(grant, 0, 1)
    pair.cluster.restart(again)
    more(pair)

    assert isinstance(pair.enc(), keys.Keys)


def test_r9_local_grants_that_the_peer_has_not_acknowledged_count_too() -> None:
    pair = ready(mode="local", max_undelivered_bits_per_pair=8 * 64)
    pair.lost = {grants.GrantsAnnounced}  # so the peer says that nothing lies there
    pair.key(2)
    pair.cluster.restart("a")
    more(pair)

    refused = code(pair.enc())

    assert pair.said(grants.LoadQuery, "a")
    assert not pair.store("b").held.holdings
    assert refused == "too_many_undelivered"
    rest(pair)


def test_r9_local_the_owner_asks_what_was_fetched_meanwhile() -> None:
    pair = ready(mode="local", max_undelivered_bits_per_pair=8 * 64)
    grant = pair.key(2).grant
    pair.cluster.advance(2.0)
    before = code(pair.enc())
    pair.deliver(grant, 0, 1)

    assert before == "too_many_undelivered"
    assert isinstance(pair.enc(), keys.Keys)  # at once: it asks when there seem to be too many
    rest(pair)


@pytest.mark.parametrize("mode", ["confirmed", "local"])
def test_r9_a_peer_that_does_not_know_its_saes_yet_lets_the_grant_wait(mode: str) -> None:
    pair = ready(mode=mode)
    pair.store("b").homes.replace({})
    front = pair.cluster.probe("front@a")
    front.question(pair.at("a"), ONE_KEY)
    pair.cluster.advance(1.0)
    pair.store("b").homes.replace(LOCATED.homes)
    pair.cluster.advance(2.0)

    key = front.received[0]

    assert isinstance(key, keys.Keys)
    assert pair.fetch(key.grant)[0] == key.octets.reveal()
    assert not pair.said(grants.GrantsRefused)


# R9: spend nothing


def test_r9_nothing_is_spent_while_the_peer_is_down() -> None:
    pair = ready()
    pair.cluster.cut("a", "b")
    pair.cluster.advance(5.0)
    stock = pair.store("a").stream.stock

    assert code(pair.enc()) == "peer_down"
    assert pair.store("a").stream.stock == stock


def test_r9_nothing_is_spent_while_too_many_grants_are_unacknowledged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(allocation, "UNACKED_MAX", 2)
    pair = ready(mode="local")
    pair.lost = {grants.GrantsAnnounced}
    pair.key()
    pair.key()
    stock = pair.store("a").stream.stock

    assert code(pair.enc()) == "busy"
    assert pair.store("a").stream.stock == stock
    rest(pair)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"slaves": ()}, "malformed"),
        ({"slaves": ("bob", "bob")}, "malformed"),
        ({"slaves": ("bob", "alice")}, "not_allowed"),
        ({"slaves": ("mallory",)}, "not_allowed"),
        ({"master": "bob"}, "not_allowed"),
        ({"master": "mallory"}, "not_allowed"),
        ({"number": 0}, "malformed"),
        ({"number": -1}, "malformed"),
        ({"number": 1 << 40}, "malformed"),
        ({"size": 0}, "malformed"),
        ({"size": 1 << 17}, "malformed"),
        ({"size": 50_000}, "no_keys"),
    ],
)
@pytest.mark.parametrize("mode", ["confirmed", "local"])
def test_r9_what_cannot_be_granted_is_refused_and_spends_nothing(
    mode: str, change: dict[str, object], why: str
) -> None:
    pair = ready(mode=mode)
    stock = pair.store("a").stream.stock
    fields = {"master": "alice", "slaves": ("bob",), "number": 1, "size": 32} | change
    ask = keys.GetKey(**fields)  # type: ignore[arg-type]

    answer = pair.cluster.ask(pair.at("a"), ask, 5.0)

    assert code(answer) == why
    assert pair.store("a").stream.stock == stock


def test_before_a_store_knows_who_is_where_it_is_not_ready() -> None:
    pair = ready()
    pair.store("a").homes.replace({})

    assert code(pair.enc()) == "not_ready"


# P5


@pytest.mark.parametrize(
    ("master", "slaves"),
    [("bob", ("bert",)), ("mallory", ("bob",)), ("alice", ("carol",)), ("alice", ("mallory",))],
)
def test_p5_a_peer_speaks_only_for_saes_that_are_bound_to_it(
    master: str, slaves: tuple[str, ...]
) -> None:
    pair = ready()
    pair.key()
    true = pair.said(grants.GrantsAnnounced)[0].grants[0]
    piece = grants.Piece(true.pieces[0].holder, true.pieces[0].batch, 100, 32)
    lie = grants.Grant(b"another id..", (piece,), 32, 1, master, slaves, "confirmed", 60.0)

    pair.say("b", grants.GrantsAnnounced(head=pair.store("a").state.head(), grants=(lie,)))

    assert pair.said(grants.GrantsRefused)[0].refusals[0].code == "not_allowed"
    assert len(pair.store("b").held.holdings) == 1


def test_p5_only_an_sae_named_for_a_key_gets_it_and_only_as_its_masters() -> None:
    pair = ready()
    key = pair.key()

    assert code(pair.dec(key.grant, slave="bert")) == "not_named"
    assert code(pair.dec(key.grant, slave="alice")) == "not_named"
    assert code(pair.dec(key.grant, master="carol")) == "no_such_key"
    assert code(pair.dec(key.grant, 1)) == "no_such_key"
    assert pair.fetch(key.grant)[0] == key.octets.reveal()


def test_p5_keys_are_handed_out_all_or_none() -> None:
    pair = ready()
    key = pair.key(3)
    pair.deliver(key.grant, 1)

    assert code(pair.dec(key.grant, 0, 1)) == "no_such_key"
    assert code(pair.dec(key.grant, 0, 0)) == "duplicate"
    assert pair.fetch(key.grant, 0, 2)[0] == key.octets.reveal()[:32] + key.octets.reveal()[64:]


# P9


def test_p9_the_status_is_what_can_be_handed_out() -> None:
    pair = ready()
    ask = keys.GetStatus(master="alice", slave="bob", size=32)

    def stored() -> int:
        stock = pair.cluster.ask(pair.at("a"), ask)
        assert isinstance(stock, keys.Stock)
        return stock.stored

    before = stored()
    pair.key(10)
    after = stored()
    taken = 0
    while isinstance(pair.enc(), keys.Keys):
        taken += 1
    pair.cluster.cut("a", "b")
    pair.cluster.advance(5.0)

    assert after == before - 10 <= taken  # the peer, whom nobody asks, gives of its own
    assert stored() == 0


def test_p9_nothing_stays_promised_to_who_waited_when_the_epoch_ended() -> None:
    pair = Pair()
    pair.lost = {blocks.LeaseHeld}
    pair.fill()
    front = pair.cluster.probe("front@a")
    front.question(pair.at("a"), replace(ONE_KEY, number=20))
    pair.cluster.settle()
    store = pair.store("a")
    promised = store.shares.reserved

    store.new_epoch((2, 5))
    store.commits.submit()
    pair.lost = set()
    more(pair)

    assert promised == 20 * 32
    assert [code(body) for body in front.received] == ["not_ready"]
    assert store.shares.reserved == 0
    ask = keys.GetStatus(master="alice", slave="bob", size=32)
    stock = pair.cluster.ask(pair.at("a"), ask)
    assert isinstance(stock, keys.Stock)
    assert stock.stored == store.stream.stock // 32 > 0
    pair.key(stock.stored)
    assert code(pair.enc()) == "no_keys"
    rest(pair)


@pytest.mark.parametrize("mode", ["confirmed", "local"])
@pytest.mark.parametrize("limit", ["max_undelivered_bits_per_pair", "max_undelivered_bits_per_sae"])
def test_p9_the_status_knows_of_the_limits_of_undelivered_keys(mode: str, limit: str) -> None:
    pair = ready(mode=mode, **{limit: 8 * 128})
    made = pair.key(3).grant
    pair.cluster.advance(1.0)

    with_one_left = stored_twice(pair)
    pair.key()
    refused = code(pair.enc())
    pair.cluster.advance(1.0)
    full = stored_twice(pair)
    pair.deliver(made, 0, 1, 2)
    pair.cluster.advance(1.0)

    assert refused == "too_many_undelivered"
    assert (with_one_left, full, stored_twice(pair)) == (1, 0, 3)


def test_r12_a_peer_that_has_refused_is_asked_before_bits_are_spent_again() -> None:
    pair = ready(max_undelivered_bits_per_pair=8 * 64)
    made = pair.key(2).grant
    first = code(pair.enc())
    stock = pair.store("a").stream.stock

    again = [code(pair.enc()) for _ in range(20)]
    spent = stock - pair.store("a").stream.stock
    pair.deliver(made, 0, 1)

    assert {first, *again} == {"too_many_undelivered"}
    assert spent == 0
    assert isinstance(pair.enc(), keys.Keys)  # at once: what is not fetched is asked each time
    rest(pair)


def test_r12_a_peer_with_a_lower_limit_is_asked_as_well() -> None:
    pair = ready()
    hold_no_more_than(pair.store("b"), 64)
    made = pair.key(2).grant
    first = code(pair.enc())
    stock = pair.store("a").stream.stock

    again = {code(pair.enc()) for _ in range(20)}
    spent = stock - pair.store("a").stream.stock
    pair.deliver(made, 0, 1)

    assert {first, *again} == {"too_many_undelivered"}
    assert spent == 0
    assert isinstance(pair.enc(), keys.Keys)
    rest(pair)


def test_p9_a_status_does_not_believe_for_long_what_lay_unfetched() -> None:
    pair = ready(max_undelivered_bits_per_pair=8 * 64)
    made = pair.key(2).grant
    full = stored_twice(pair)
    pair.deliver(made, 0, 1)
    pair.cluster.advance(11.0)
    ask = keys.GetStatus(master="alice", slave="bob", size=32)
    later = pair.cluster.ask(pair.at("a"), ask)

    assert full == 0
    assert isinstance(later, keys.Stock)
    assert later.stored > 0


def stored_twice(pair: Pair) -> int:
    ask = keys.GetStatus(master="alice", slave="bob", size=32)
    pair.cluster.ask(pair.at("a"), ask)
    pair.cluster.advance(0.1)
    stock = pair.cluster.ask(pair.at("a"), ask)
    assert isinstance(stock, keys.Stock)
    return stock.stored


# R10


def test_r10_a_key_id_is_the_grant_and_the_index_laid_out_as_a_uuid() -> None:
    grant = bytes(range(1, 13))

    text = keys.key_id(grant, 0x01020304)

    assert uuid.UUID(text).bytes == grant + b"\x01\x02\x03\x04"
    assert keys.parse_key_id(text.upper()) == keys.KeyName(grant, 0x01020304)


def test_r10_an_id_is_random_and_holds_no_key_bits() -> None:
    pair = ready()

    made = [pair.key(2) for _ in range(5)]

    assert len({key.grant for key in made}) == 5
    assert {len(key.grant) for key in made} == {12}
    assert not any(key.grant[:4] in key.octets.reveal() for key in made)


def test_r10_a_grant_is_one_row_however_many_keys_it_has() -> None:
    pair = ready()

    key = pair.key(100)
    pair.deliver(key.grant, *range(50))

    assert len(pair.rows("b", "holding")) == 1
    assert not pair.rows("a", "holding")


# R12


def test_r12_a_grant_expires_at_the_slaves_side_after_its_time() -> None:
    pair = ready(ttl_s=60.0)
    key = pair.key()
    pair.cluster.advance(55.0)
    early = len(pair.store("b").held.holdings)

    pair.cluster.advance(10.0)

    assert early == 1
    assert code(pair.dec(key.grant)) == "no_such_key"
    assert not pair.rows("b", "holding")
    assert all(key.octets.reveal() not in secret for secret in pair.secrets("b"))
    rest(pair)


def test_r12_a_key_past_its_time_is_not_handed_out_even_before_the_next_tick() -> None:
    pair = ready(ttl_s=60.0)
    key = pair.key()
    pair.cluster.advance(59.0)
    store = pair.store("b")
    struct.pack_into(">d", store.held.holdings._records[key.grant], 8, store.clock.now)

    assert code(pair.dec(key.grant, wait=0.0)) == "no_such_key"


def restart(pair: Pair) -> None:
    pair.cluster.restart("b")


def reboot(pair: Pair) -> None:
    pair.cluster.restart("b", reboot=True)


@pytest.mark.parametrize(("start", "left"), [(restart, 20.0), (reboot, 60.0)])
def test_r12_a_deadline_outlives_a_restart_and_begins_anew_with_a_boot(
    start: Callable[[Pair], None], left: float
) -> None:
    pair = ready(ttl_s=60.0)
    key = pair.key()
    pair.cluster.advance(40.0)

    start(pair)
    pair.cluster.advance(left - 3.0)
    early = pair.store("b").held.holdings.keys()
    alive = key.grant in early
    pair.cluster.advance(6.0)

    assert alive
    assert key.grant not in pair.store("b").held.holdings


def test_r12_a_local_grant_is_announced_with_what_is_left_of_its_time_even_nothing() -> None:
    pair = ready(ttl_s=30.0, mode="local")
    pair.lost = {grants.GrantsAnnounced}
    pair.key()
    pair.cluster.advance(20.0)
    some = pair.said(grants.GrantsAnnounced)[-1].grants[0].remaining
    pair.cluster.advance(20.0)

    none = pair.said(grants.GrantsAnnounced)[-1].grants[0].remaining

    assert 9.0 <= some <= 11.0
    assert none == 0.0
    rest(pair)
    assert not pair.store("b").held.holdings


@pytest.mark.parametrize("limit", ["max_undelivered_bits_per_pair", "max_undelivered_bits_per_sae"])
def test_r12_more_undelivered_bits_than_allowed_are_refused(limit: str) -> None:
    options = {limit: 3 * 256}
    pair = ready(**options)
    key = pair.key(3)

    refused = code(pair.enc())
    pair.deliver(key.grant, 0)

    assert refused == "too_many_undelivered"
    pair.key()
    rest(pair)


@pytest.mark.parametrize(("boot", "left"), [(False, 10.0), (True, 30.0)])
def test_r12_the_time_of_a_local_grant_outlives_a_restart_of_its_issuer_and_a_boot_renews_it(
    *, boot: bool, left: float
) -> None:
    pair = ready(ttl_s=30.0, mode="local")
    pair.lost = {grants.GrantsAnnounced}
    pair.key()
    pair.cluster.advance(20.0)
    pair.cluster.restart("a", reboot=boot)
    pair.wire.clear()
    pair.cluster.advance(3.0)

    said = pair.said(grants.GrantsAnnounced)[0].grants[0].remaining

    assert left - 3.0 <= said <= left


def test_r7_after_a_start_the_places_of_a_delivered_key_are_used_though_not_wiped_yet() -> None:
    pair = ready()
    key = pair.key()
    places = pair.store("b").held.holdings[key.grant].pieces
    pair.deliver(key.grant, 0)
    wiped = [pair.store("b").stream.owes]
    pair.lost = {blocks.SegmentClosed}
    pair.cluster.restart("b")

    assert wiped == [True]
    assert not pair.store("b").held.holdings
    assert all(overlaps(pair, place) for place in places)
    rest(pair)


def test_r7_after_a_start_places_that_no_grant_names_any_more_are_used() -> None:
    pair = ready()
    pair.key()
    stream = pair.store("b").stream
    segment = next(it for it in stream.segments.values() if it.leased and not it.owned)
    place = grants.Piece(segment.id.holder, segment.id.batch, len(segment.octets) - 64, 64)
    stream.mark((place,))  # as for a pad, of which there is no row
    pair.cluster.advance(5.0)
    wiped = not stream.owes
    pair.lost = {blocks.SegmentClosed}
    pair.cluster.restart("b")

    assert wiped
    assert overlaps(pair, place)


def overlaps(pair: Pair, place: grants.Piece) -> bool:
    segment = pair.store("b").stream.segments[blocks.SegmentId(place.holder, place.batch)]
    return segment.overlaps(place.offset, place.offset + place.length)
