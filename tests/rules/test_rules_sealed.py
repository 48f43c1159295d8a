"""R4 and R9 for sealed grants: keys drawn elsewhere, brought to the peer under one-time bits."""

from dataclasses import replace

import pytest

from actors.crypto.one_time_pad import KEY_OCTETS
from actors.keystore.announcements import PREPARED_S
from actors.keystore.held_grants import TRIES_MAX
from actors.protocol import blocks, grants, keys, pads
from actors.protocol.common import Failed
from actors.protocol.peers import PeerDown
from protokms.testing.probe import Probe
from tests.kit.ledger_check import check_counters, check_rest
from tests.kit.pair import SAES, Pair
from tests.kit.relays import Relays
from transport.message import Message, Secret

ID = bytes(range(12))
KEYS = bytes(range(200, 200 + 48)) + bytes(16)


def ready(**options: object) -> Pair:
    pair = Pair(**options)  # type: ignore[arg-type]
    pair.fill()
    pair.fill(sender="b")
    pair.wire.clear()
    return pair


def give(**other: object) -> keys.Prepare:
    facts: dict[str, object] = {
        "grant": ID,
        "master": "alice",
        "slaves": ("bob",),
        "number": 2,
        "size": 32,
        "octets": Secret(KEYS),
    }
    return keys.Prepare(**facts | other)  # type: ignore[arg-type]


def ask(pair: Pair, body: Message, wait: float = 5.0) -> Message:
    return pair.cluster.ask(pair.at("a"), body, wait)


def asked(pair: Pair) -> Probe:
    """The multicast of a, which has just asked the store there to hold the keys at b."""
    front = pair.cluster.probe("multicast@a")
    front.question(pair.at("a"), give())
    return front


def say(pair: Pair, body: Message) -> None:
    pair.cluster.tell(pair.at("a"), body)
    pair.cluster.settle()


def rest(pair: Pair) -> None:
    pair.lost.clear()
    pair.cluster.advance(10.0)
    for node in ("a", "b"):
        check_counters(pair.store(node))
    check_rest(pair.store("a"), pair.store("b"))


def code(answer: Message) -> str:
    assert isinstance(answer, Failed), answer
    return answer.code


def settled(pair: Pair) -> None:
    assert ask(pair, give()) == keys.Prepared(grant=ID)
    say(pair, keys.Settle(grant=ID))


# R4


def test_r4_the_keys_come_to_the_peer_under_bits_that_nothing_else_uses() -> None:
    pair = ready()

    settled(pair)

    word = pair.said(grants.GrantSealed)[0]
    pair.lost -= {grants.GrantSealed}
    assert word.sealed != KEYS
    assert sum(piece.length for piece in word.grant.pieces) == KEY_OCTETS + len(KEYS)
    assert pair.fetch(ID, 0, 1)[0] == KEYS
    key = pair.key(4, 32).octets.reveal()
    assert key[:32] not in (word.sealed, KEYS)
    rest(pair)


def test_r4_a_sealed_grant_is_repeated_octet_for_octet() -> None:
    pair = ready(request_timeout_s=20.0)
    pair.lost = {grants.GrantsHeld}
    front = asked(pair)

    pair.cluster.advance(3.5)
    again = {(w.grant, w.sealed, w.tag) for w in pair.said(grants.GrantSealed)}
    pair.lost = set()
    pair.cluster.advance(2.0)

    assert len(pair.said(grants.GrantSealed)) >= 3
    assert len(again) == 1
    assert front.received == [keys.Prepared(grant=ID)]
    say(pair, keys.Settle(grant=ID))
    rest(pair)


def test_r4_the_same_seal_is_good_after_a_start_of_the_reader() -> None:
    pair = ready(request_timeout_s=20.0)
    pair.lost = {grants.GrantSealed}
    front = asked(pair)
    pair.cluster.advance(1.0)
    pair.cluster.restart("b")
    pair.lost = set()

    pair.cluster.advance(5.0)

    assert len({(w.sealed, w.tag) for w in pair.said(grants.GrantSealed)}) == 1
    assert len({w.head.yours for w in pair.said(grants.GrantSealed)}) == 2
    assert front.received == [keys.Prepared(grant=ID)]
    assert pair.fetch(ID, 0, 1)[0] == KEYS


@pytest.mark.parametrize("part", ["sealed", "tag", "slaves", "remaining", "size", "pieces"])
def test_r4_a_changed_grant_does_not_verify_and_the_true_one_still_does(part: str) -> None:
    pair = ready(request_timeout_s=20.0)
    pair.lost = {grants.GrantSealed}
    front = asked(pair)
    pair.cluster.settle()
    word = pair.said(grants.GrantSealed)[0]
    pair.lost -= {grants.GrantSealed}
    (piece,) = word.grant.pieces
    grant = {
        "slaves": replace(word.grant, slaves=("bert",)),
        "remaining": replace(word.grant, remaining=3601.0),
        "size": replace(word.grant, size=16, number=4),
        "pieces": replace(word.grant, pieces=(replace(piece, offset=piece.offset + 1),)),
    }.get(part, word.grant)
    flip = bytes((word.sealed[0] ^ 1,)) + word.sealed[1:]
    tag = bytes((word.tag[0] ^ 1,)) + word.tag[1:]

    forged = replace(
        word,
        grant=grant,
        sealed=flip if part == "sealed" else word.sealed,
        tag=tag if part == "tag" else word.tag,
    )
    pair.say("b", forged)
    pair.cluster.settle()
    held = dict(pair.store("b").held.holdings)
    pair.lost = set()
    pair.cluster.advance(2.0)

    assert not held
    assert pair.cluster.count("b", "protokms_grants_forged") == 1
    assert front.received == [keys.Prepared(grant=ID)]
    say(pair, keys.Settle(grant=ID))
    rest(pair)


def test_r4_a_few_forgeries_end_the_pad() -> None:
    pair = ready(request_timeout_s=20.0)
    pair.lost = {grants.GrantSealed}
    front = asked(pair)
    pair.cluster.settle()
    word = pair.said(grants.GrantSealed)[0]
    pair.lost -= {grants.GrantSealed}

    used = []
    for _ in range(TRIES_MAX):
        used.append(any(map(pair.store("b").pieces.used, word.grant.pieces)))
        pair.say("b", replace(word, tag=bytes(16)))
        pair.cluster.settle()
    used.append(all(map(pair.store("b").pieces.used, word.grant.pieces)))
    pair.lost = set()
    pair.cluster.advance(3.0)

    assert used == [False] * TRIES_MAX + [True]
    assert code(front.received[0]) == "not_ready"
    assert not pair.store("b").held.holdings
    assert pair.cluster.count("b", "protokms_alarms", kind="forged") == 1
    assert code(pair.dec(ID)) == "no_such_key"
    rest(pair)


def test_r4_the_mirror_notices_a_pad_that_was_used() -> None:
    pair = ready()
    relays = Relays(pair)
    pad = relays.take(KEY_OCTETS + len(KEYS))
    relays.open(pad)
    pair.lost = {grants.GrantSealed}
    pair.cluster.probe("multicast@a").question(pair.at("a"), give())
    pair.cluster.settle()
    word = pair.said(grants.GrantSealed)[0]
    pair.lost -= {grants.GrantSealed}

    pair.say("b", replace(word, grant=replace(word.grant, pieces=pad.pieces)))
    pair.cluster.settle()

    assert pair.store("b").state.frozen
    assert not pair.store("b").held.holdings


@pytest.mark.parametrize("mode", ["confirmed", "local", "own", ""])
def test_r4_sealed_is_sealed_and_open_is_open(mode: str) -> None:
    pair = ready()
    pair.lost = {grants.GrantSealed}
    pair.cluster.probe("multicast@a").question(pair.at("a"), give())
    pair.cluster.settle()
    word = pair.said(grants.GrantSealed)[0]
    pair.lost -= {grants.GrantSealed}

    pair.say("b", grants.GrantsAnnounced(head=word.head, grants=(word.grant,)))
    pair.cluster.settle()
    pair.say("b", replace(word, grant=replace(word.grant, mode=mode)))
    pair.cluster.settle()

    assert not pair.store("b").held.holdings
    refused = [r.code for w in pair.said(grants.GrantsRefused) for r in w.refusals]
    assert refused == ["malformed", "malformed"]


# R9


def test_r9_given_means_that_the_peer_holds_it_durably() -> None:
    pair = ready()
    front = pair.cluster.probe("multicast@a")
    pair.cluster.crash_at_commit("b", before=True)

    front.question(pair.at("a"), give())
    pair.cluster.advance(1.0)
    early = list(front.received)
    pair.cluster.restart("b")
    pair.cluster.advance(4.0)

    assert not early
    assert len(front.received) == 1


def test_r9_what_was_given_can_be_taken_back() -> None:
    pair = ready()
    assert ask(pair, give()) == keys.Prepared(grant=ID)

    say(pair, keys.Abort(grant=ID))
    pair.cluster.advance(1.0)

    assert code(pair.dec(ID)) == "no_such_key"
    assert not pair.store("b").held.holdings
    rest(pair)


def test_r9_what_is_settled_stands() -> None:
    pair = ready()
    settled(pair)

    say(pair, keys.Abort(grant=ID))
    pair.cluster.advance(1.0)

    assert pair.fetch(ID, 0, 1)[0] == KEYS
    assert not pair.said(grants.GrantsVoid)
    rest(pair)


def test_r9_what_is_on_its_way_can_be_taken_back() -> None:
    pair = ready()
    pair.lost = {grants.GrantsHeld}
    front = asked(pair)
    pair.cluster.settle()

    say(pair, keys.Abort(grant=ID))
    pair.cluster.advance(3.0)

    assert code(front.received[0]) == "timeout"
    assert len(front.received) == 1
    rest(pair)
    assert code(pair.dec(ID)) == "no_such_key"


def test_r9_what_has_no_bits_yet_can_be_taken_back() -> None:
    pair = ready()
    pair.lost = {blocks.LeaseHeld}
    for node in ("a", "b"):
        for segment in list(pair.store(node).stream._ready.values()):
            pair.store(node).stream.burn(segment)
    pair.fill(4)
    front = asked(pair)
    pair.cluster.settle()
    promised = pair.store("a").shares.reserved

    say(pair, keys.Abort(grant=ID))
    pair.lost = set()
    pair.cluster.advance(2.0)

    assert promised == KEY_OCTETS + len(KEYS)
    assert code(front.received[0]) == "timeout"
    assert not pair.said(grants.GrantSealed)
    rest(pair)


def test_r9_taken_back_while_the_peer_is_away_it_is_void_once_it_is_there() -> None:
    pair = ready()
    assert ask(pair, give()) == keys.Prepared(grant=ID)
    pair.lost = {blocks.Resume}
    pair.store("a").peer.ask()
    pair.cluster.settle()

    say(pair, keys.Abort(grant=ID))
    pair.cluster.advance(1.0)
    early = pair.said(grants.GrantsVoid)
    pair.lost = set()
    pair.cluster.advance(3.0)

    assert not early
    assert not pair.store("b").held.holdings
    rest(pair)


def test_r9_a_void_of_what_was_given_is_repeated_across_restarts() -> None:
    pair = ready()
    assert ask(pair, give()) == keys.Prepared(grant=ID)
    pair.lost = {grants.GrantsVoid}
    say(pair, keys.Abort(grant=ID))
    pair.cluster.restart("a")
    pair.lost = set()

    pair.cluster.advance(4.0)

    assert not pair.store("b").held.holdings
    rest(pair)


def test_r9_not_held_in_time_it_is_void() -> None:
    pair = ready()
    pair.lost = {grants.GrantsHeld}

    answer = ask(pair, give())

    assert code(answer) == "timeout"
    rest(pair)
    assert code(pair.dec(ID)) == "no_such_key"


def test_r9_after_a_start_of_the_sealer_it_is_left_to_the_slaves_side() -> None:
    pair = ready(ttl_s=30.0)
    assert ask(pair, give()) == keys.Prepared(grant=ID)

    pair.cluster.restart("a")
    pair.cluster.advance(3.0)
    say(pair, keys.Abort(grant=ID))
    held = len(pair.store("b").held.holdings)
    pair.cluster.advance(30.0)

    assert held == 1
    assert not pair.store("b").held.holdings
    rest(pair)


def test_r9_what_nobody_settles_is_left_to_the_slaves_side() -> None:
    pair = ready()
    assert ask(pair, give()) == keys.Prepared(grant=ID)

    pair.cluster.advance(PREPARED_S + 1.0)

    assert not pair.store("a").issued.given
    assert not pair.said(grants.GrantsVoid)
    assert pair.fetch(ID, 0, 1)[0] == KEYS


def test_r7_given_in_an_old_epoch_it_can_be_taken_back_in_the_new_one() -> None:
    pair = ready()
    copy = pair.cluster.backup("b")
    assert ask(pair, give()) == keys.Prepared(grant=ID)
    pair.store("a").new_epoch((2, 7))
    pair.cluster.advance(3.0)
    held = len(pair.store("b").held.holdings)

    say(pair, keys.Abort(grant=ID))
    pair.cluster.advance(2.0)

    assert copy
    assert held == 1
    assert not pair.store("b").held.holdings
    pair.fill()
    pair.fill(sender="b")
    rest(pair)


def test_r7_one_given_in_an_old_epoch_lies_nowhere_in_the_new_one() -> None:
    """Its places are other bits there, of which none may be lost when it is taken back."""
    pair = ready()
    assert ask(pair, give()) == keys.Prepared(grant=ID)
    (given,) = pair.store("a").issued.given.values()
    places = given.pieces
    pair.store("a").new_epoch((2, 7))
    pair.cluster.advance(3.0)
    pair.fill()
    pair.fill(sender="b")
    pair.wire.clear()
    say(pair, keys.Abort(grant=ID))
    pair.cluster.advance(2.0)

    assert places
    assert {void.pieces for word in pair.said(grants.GrantsVoid) for void in word.grants} == {()}
    rest(pair)


def test_r7_what_waits_when_an_epoch_ends_comes_to_nothing() -> None:
    pair = ready()
    pair.lost = {grants.GrantSealed, blocks.LeaseHeld}
    front = asked(pair)
    pair.cluster.settle()

    pair.store("a").new_epoch((2, 7))
    pair.lost = set()
    pair.cluster.advance(3.0)

    assert code(front.received[0]) == "not_ready"
    pair.fill()
    pair.fill(sender="b")
    rest(pair)


# P5 and limits


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"slaves": ("carol",)}, "not_allowed"),
        ({"slaves": ("bob", "carol")}, "not_allowed"),
        ({"master": "bert"}, "not_allowed"),
        ({"slaves": ("bob", "bob")}, "malformed"),
        ({"slaves": ()}, "malformed"),
        ({"number": 3}, "malformed"),
        ({"number": 0}, "malformed"),
        ({"grant": bytes(11)}, "malformed"),
        ({"number": 1 << 10, "size": 1 << 10, "octets": Secret(bytes(1 << 20))}, "malformed"),
        ({"number": 300, "size": 64, "octets": Secret(bytes(19_200))}, "no_keys"),
    ],
)
def test_a_give_that_cannot_be_is_refused_and_spends_nothing(
    other: dict[str, object], why: str
) -> None:
    pair = ready()
    stock = pair.store("a").stream.stock

    assert code(ask(pair, give(**other))) == why
    assert pair.store("a").stream.stock == stock
    assert not pair.store("a").allocation._prepares


def test_p5_the_slaves_side_holds_nothing_for_saes_elsewhere() -> None:
    pair = ready()
    pair.store("b").homes.replace(dict(SAES) | {"bob": "c"})

    assert code(ask(pair, give())) == "not_ready"
    assert not pair.store("b").held.holdings


def test_r9_an_id_in_use_is_refused() -> None:
    pair = ready()
    settled_later = ask(pair, give())

    assert settled_later == keys.Prepared(grant=ID)
    assert code(ask(pair, give())) == "malformed"


def test_r12_limits_of_the_slaves_side_hold() -> None:
    pair = ready(max_undelivered_bits_per_pair=8 * 50)

    assert code(ask(pair, give())) == "too_many_undelivered"
    rest(pair)


def test_r13_gives_are_charged_to_saes_here() -> None:
    pair = ready()
    relays = Relays(pair)
    pair.store("a").shares.floor = 0
    relays.want(15_900)

    assert code(ask(pair, give())) == "no_keys"
    assert isinstance(relays.ask("a", pads.ForgetPads()), pads.Pad | None)
    settled(pair)


def test_a_give_wakes_an_idle_distant_peer() -> None:
    pair = Pair(virtual=True)
    pair.fill(8)
    for node in ("a", "b"):
        pair.cluster.tell(pair.at(node), PeerDown(peer=pair.made(node).peer))
    pair.cluster.settle()

    settled(pair)

    assert pair.fetch(ID, 0, 1)[0] == KEYS


def test_a_give_that_waits_for_an_idle_peer_can_be_taken_back() -> None:
    pair = Pair(virtual=True)
    pair.fill(8)
    pair.cluster.tell(pair.at("a"), PeerDown(peer="b"))
    pair.lost = {blocks.ResumeAsk}
    front = asked(pair)
    pair.cluster.settle()

    say(pair, keys.Abort(grant=ID))
    pair.lost = set()
    pair.cluster.advance(3.0)

    assert code(front.received[0]) == "timeout"
    assert not pair.said(grants.GrantSealed)
    rest(pair)


def test_a_give_that_waits_in_vain_leaves_nothing_behind() -> None:
    pair = Pair(virtual=True)
    pair.fill(8)
    pair.cluster.tell(pair.at("a"), PeerDown(peer="b"))
    pair.lost = {blocks.ResumeAsk}

    answer = ask(pair, give())

    assert code(answer) == "peer_down"
    rest(pair)
