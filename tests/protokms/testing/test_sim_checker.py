"""The checker on made-up histories: each promise broken is noticed, an honest one is not."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from actors.base import Row
from actors.protocol import blocks, grants, keys, relay, sessions
from actors.protocol.common import Failed
from actors.protocol.doors import DOORS
from actors.protocol.keys import KeyName
from protokms.testing.sim.checker.checker import Checker
from protokms.testing.sim.checker.deliveries import WRITING_S
from protokms.testing.sim.checker.ledgers import Ledgers, silent
from protokms.testing.sim.checker.operation import Operation
from protokms.testing.sim.checker.promise import BrokenPromise
from protokms.testing.sim.checker.stocks import Terms
from transport.message import Message, Secret

HEAD = blocks.Head(1, 2, 1, 0, 7)
HOME = {"alice": "a", "bob": "b", "bert": "b"}
GRANT = b"g" * 12
OTHER = b"h" * 12
TTL_S = 100.0


class Story:
    """A network of two nodes in which everything happens as the test says."""

    def __init__(self, mode: str = "confirmed", **terms: Any) -> None:
        dice = random.Random(1)
        self.now, self.number = 10.0, 0
        self.ahead = {"a": 0.0, "b": 0.0}
        self.payloads = {seq: dice.randbytes(800) for seq in range(4)}
        self.rows: dict[tuple[str, str], list[Row]] = {}
        self.checker = Checker(
            Terms(mode, HOME, ttl_s=TTL_S, pair_octets=1000, **terms),
            Ledgers(lambda node, store: self.rows.get((node, store), []), {"a": ["b"], "b": ["a"]}),
            lambda _sender, _to, seq: self.payloads[seq],
            lambda one, other: one != other,
            now=lambda: self.now,
            age=lambda node: self.now + self.ahead[node],
        )
        for payload in self.payloads.values():
            self.checker.octets.draw(payload)
        held = blocks.BlocksHeld(
            head=HEAD,
            batch=0,
            runs=(blocks.Run(0, 1),),
            lengths=(800, 800),
            tag=b"t" * 16,
            credit=0,
        )
        self.held = held
        self.say("b", held)
        segment = blocks.SegmentId(1, 0)
        self.say("b", blocks.LeaseHeld(head=HEAD, segments=(segment,)))

    def say(self, sender: str, word: Message) -> None:
        to = "b" if sender == "a" else "a"
        self.checker.overheard.hear(sender, to, repr(word).encode(), word)

    def key(self, offset: int = 0, length: int = 32) -> bytes:
        return (self.payloads[0] + self.payloads[1])[32 + offset : 32 + offset + length]

    def grant(self, id_: bytes = GRANT, offset: int = 0) -> grants.Grant:
        pieces = (grants.Piece(1, 0, offset, 32),)
        return grants.Grant(id_, pieces, 32, 1, "alice", ("bob",), "confirmed", TTL_S)

    def announce(self, id_: bytes = GRANT, offset: int = 0) -> None:
        self.say("a", grants.GrantsAnnounced(head=HEAD, grants=(self.grant(id_, offset),)))

    def hold(self, id_: bytes = GRANT) -> None:
        self.say("b", grants.GrantsHeld(head=HEAD, ids=(id_,), loads=()))

    def ask(self, node: str, peer: str, ask: Message, *, honest: bool = True) -> Operation:
        self.number += 1
        op = Operation(self.number, ask, node, peer, self.now, honest)
        self.checker.invoked(op)
        return op

    def enc(self, octets: bytes | None = None, id_: bytes = GRANT, **how: bool) -> Operation:
        ask = keys.GetKey(master="alice", slaves=("bob",), number=1, size=32)
        op = self.ask("a", "b", ask, **how)
        octets = self.key() if octets is None else octets
        body = keys.Keys(grant=id_, size=32, octets=Secret(octets))
        self.checker.answered(op, body)
        return op

    def given(self) -> None:
        self.announce()
        self.hold()
        self.enc()

    def dec(self, slave: str = "bob", octets: bytes | None = None) -> Operation:
        ask = keys.GetKeyWithIds(master="alice", slave=slave, names=(KeyName(GRANT, 0),))
        op = self.ask("b", "a", ask)
        octets = self.key() if octets is None else octets
        self.checker.answered(op, keys.KeysWithIds(octets=(Secret(octets),), receipt=1))
        return op

    def refuse(self, code: str) -> None:
        ask = keys.GetKeyWithIds(master="alice", slave="bob", names=(KeyName(GRANT, 0),))
        self.checker.answered(self.ask("b", "a", ask), Failed(code=code, why=""))

    def put(self, node: str, kind: str, id_: bytes, clear: object, secret: bytes = b"") -> None:
        store = "b" if node == "a" else "a"
        row = Row(store, kind, id_, msgspec.msgpack.encode(clear), Secret(secret))
        self.rows.setdefault((node, store), []).append(row)


def test_an_honest_history_is_clean() -> None:
    story = Story()
    story.given()
    op = story.dec()
    story.checker.reported(op, written=True)
    story.now += 40.0
    story.refuse("no_such_key")

    story.checker.sample()
    story.checker.rest("a", "b")


def test_what_follows_from_a_word_follows_from_its_later_versions_too() -> None:
    heard = Story().checker.overheard.words
    stems = {word.partition("/")[0] for word in heard}

    assert {word for word in DOORS if word.partition("/")[0] in stems} <= heard


def two_values(story: Story) -> None:
    story.given()
    story.dec(octets=story.key(64))


def nobody_drew(story: Story) -> None:
    story.hold()
    story.enc(octets=bytes(32))


def too_few(story: Story) -> None:
    story.hold()
    story.enc(octets=story.key(0, 24))


def used_by_value(story: Story) -> None:
    story.given()
    story.hold(OTHER)
    story.enc(id_=OTHER)


def used_by_place(story: Story) -> None:
    story.given()
    story.announce(OTHER, offset=24)


def used_as_tag_key(story: Story) -> None:
    story.say("b", replace(story.held, batch=2))


def refused_though_due(story: Story) -> None:
    story.given()
    story.refuse("no_such_key")


def held_back_though_due(story: Story) -> None:
    story.given()
    story.refuse("in_delivery")


def held_back_for_longer_than_a_response_takes(story: Story) -> None:
    story.given()
    story.dec()
    story.refuse("in_delivery")
    story.now += WRITING_S + 5.0
    story.refuse("in_delivery")


def refused_after_broken(story: Story) -> None:
    story.given()
    story.checker.reported(story.dec(), written=False)
    story.now += 5.0
    story.refuse("no_such_key")


def not_erased(story: Story) -> None:
    story.given()
    story.checker.reported(story.dec(), written=True)
    story.put("b", "bits", b"s", 0, story.key())
    story.now += 20.0
    story.checker.sample()


def not_expired(story: Story) -> None:
    story.given()
    story.put("b", "grant", GRANT, 0, story.key())
    story.now += TTL_S + 10.0
    story.checker.sample()


def bits_without_a_segment(story: Story) -> None:
    story.put("a", "bits", b"s", 0, b"x" * 64)
    story.checker.rest("a", "b")


def bits_of_an_epoch_that_is_over(story: Story) -> None:
    for node in "ab":
        story.put(node, "standing", b"", [2, 5, 7, 7, False])
        story.put(node, "segment", b"s", [node == "a", 1, True, 1568, []])
    story.put("b", "bits", b"s", 0, story.key(0, 1568))
    story.checker.rest("a", "b")


def in_clear(story: Story) -> None:
    story.given()
    story.put("b", "grant", GRANT, story.key())
    story.checker.sample()


def to_another(story: Story) -> None:
    story.given()
    story.dec("bert")


def to_a_thief(story: Story) -> None:
    story.hold()
    story.enc(honest=False)


def on_the_wire(story: Story) -> None:
    story.given()
    silent(story.checker.octets, b"..." + story.key(), "")


def in_a_log(story: Story) -> None:
    story.given()
    silent(story.checker.octets, b"", story.key().hex())


def no_answer(story: Story) -> None:
    op = story.ask("a", "b", keys.GetStatus(master="alice", slave="bob", size=32))
    story.now += 6.0
    story.checker.silence(op, died=False)


def too_many_rows(story: Story) -> None:
    for number in range(20_001):
        story.put("a", "tomb", number.to_bytes(4, "big"), 0)
    story.checker.ledgers.bounded("a")


def refused_for_nothing(story: Story) -> None:
    ask = keys.GetKey(master="alice", slaves=("bob",), number=1, size=32)
    story.checker.answered(story.ask("a", "b", ask), Failed(code="peer_down", why=""))


def refused_as_full(story: Story) -> None:
    ask = keys.GetKey(master="alice", slaves=("bob",), number=1, size=32)
    story.checker.answered(story.ask("a", "b", ask), Failed(code="too_many_undelivered", why=""))


def too_good_a_status(story: Story) -> None:
    op = story.ask("a", "b", keys.GetStatus(master="alice", slave="bob", size=32))
    story.checker.answered(op, keys.Stock(stored=1000, capacity=2000))


def stock_of_the_dead(story: Story) -> None:
    story.checker.died("b")
    story.now += 5.0
    op = story.ask("a", "b", keys.GetStatus(master="alice", slave="bob", size=32))
    story.checker.answered(op, keys.Stock(stored=1, capacity=2000))


def names_what_was_not_sent(story: Story) -> None:
    story.say("b", replace(story.held, batch=2, runs=(blocks.Run(2, 2),), lengths=(8,)))


def allocated_after_the_close(story: Story) -> None:
    story.say("a", blocks.SegmentClosed(head=HEAD, segment=blocks.SegmentId(1, 0)))
    story.announce()


def closed_under_an_open_grant(story: Story) -> None:
    story.announce()
    story.say("a", blocks.SegmentClosed(head=HEAD, segment=blocks.SegmentId(1, 0)))


def closed_under_an_open_void(story: Story) -> None:
    story.announce()
    story.hold()
    story.say("a", grants.GrantsVoid(head=HEAD, grants=(grants.Voided(GRANT, ()),)))
    story.say("a", blocks.SegmentClosed(head=HEAD, segment=blocks.SegmentId(1, 0)))


def told_differently(story: Story) -> None:
    story.say("b", replace(story.held, tag=b"u" * 16))


def decided_twice(story: Story) -> None:
    story.say("a", blocks.BlocksConfirmed(head=HEAD, batch=0))
    story.say("a", blocks.BlocksDiscarded(head=HEAD, batch=0))


def confirmed_though_bad(story: Story) -> None:
    bad = blocks.BlocksHeldJudged(
        head=HEAD,
        batch=2,
        runs=(blocks.Run(2, 3),),
        lengths=(800, 800),
        tag=b"t" * 16,
        verdict="bad",
        credit=0,
    )
    story.say("b", bad)
    story.say("a", blocks.BlocksConfirmed(head=HEAD, batch=2))


def in_no_batch(story: Story) -> None:
    lease = blocks.LeaseHeld(head=HEAD, segments=(blocks.SegmentId(1, 2),))
    story.say("b", lease)
    pieces = (grants.Piece(1, 2, 0, 32),)
    made = replace(story.grant(), pieces=pieces)
    story.say("a", grants.GrantsAnnounced(head=HEAD, grants=(made,)))


def two_owners(story: Story) -> None:
    for node in "ab":
        story.put(node, "standing", b"", [1, 0, 7, 7, False])
        story.put(node, "segment", b"s", [True, 0, False, 8, []])
    story.checker.ledgers.rest("a", "b")


def two_streams(story: Story) -> None:
    for node, octets in (("a", b"x" * 8), ("b", b"y" * 8)):
        story.put(node, "segment", b"s", [node == "a", 0, False, 8, []])
        story.put(node, "bits", b"s", None, octets)
    story.checker.ledgers.rest("a", "b")


def still_open(story: Story) -> None:
    story.put("a", "void", GRANT, [])
    story.checker.ledgers.rest("a", "b")


def frozen(story: Story) -> None:
    story.put("a", "standing", b"", [1, 0, 7, 7, True])
    story.checker.ledgers.rest("a", "b")


def two_epochs(story: Story) -> None:
    for node, number in (("a", 1), ("b", 2)):
        story.put(node, "standing", b"", [number, 0, 7, 7, False])
    story.checker.ledgers.rest("a", "b")


def no_lease(story: Story) -> None:
    story.say("b", replace(story.held, batch=2, runs=(blocks.Run(2, 3),)))
    made = replace(story.grant(), pieces=(grants.Piece(1, 2, 0, 32),))
    story.say("a", grants.GrantsAnnounced(head=HEAD, grants=(made,)))


def not_durable(story: Story) -> None:
    story.announce()
    story.enc()


def announced_differently(story: Story) -> None:
    story.announce()
    story.announce(GRANT, offset=64)


def answered_after_void(story: Story) -> None:
    story.announce()
    story.say("a", grants.GrantsVoid(head=HEAD, grants=(grants.Voided(GRANT, ()),)))
    story.enc()


def voided_after_answer(story: Story) -> None:
    story.given()
    story.say("a", grants.GrantsVoid(head=HEAD, grants=(grants.Voided(GRANT, ()),)))


def served_after_void(story: Story) -> None:
    story.announce()
    story.say("b", grants.GrantsVoidHeld(head=HEAD, ids=(GRANT,)))
    story.now += 1.0
    story.dec()


def given_twice(story: Story) -> None:
    story.given()
    story.enc()


def served_after_written(story: Story) -> None:
    story.given()
    story.checker.reported(story.dec(), written=True)
    story.now += 5.0
    story.dec()


def served_after_the_window(story: Story) -> None:
    story.given()
    story.checker.reported(story.dec(), written=False)
    story.now += 40.0
    story.dec()


def carry(pieces: tuple[grants.Piece, ...], sealed: bytes, seq: int = 0) -> relay.Carry:
    chunk = relay.ChunkId(relay.SessionId("a", 1), 0, b"e" * 16, seq)
    return relay.Carry(head=HEAD, pieces=pieces, chunk=chunk, hop=0, sealed=sealed, tag=b"t")


PAD = (grants.Piece(1, 0, 0, 40),)


def resealed(story: Story) -> None:
    story.say("a", carry(PAD, b"12345678"))
    story.say("a", carry(PAD, b"abcdefgh"))


def pad_is_a_key(story: Story) -> None:
    story.given()
    story.say("a", carry(PAD, b"12345678"))


def chunk_changes(story: Story) -> None:
    story.say("a", carry(PAD, b"12345678"))
    story.say("a", carry((grants.Piece(1, 0, 40, 40),), b"12345678"))


def shares_meet(story: Story) -> None:
    for share in range(2):
        word = sessions.KeyTransportSession(
            session=relay.SessionId("a", 1),
            share=share,
            shares=2,
            path=("a", "x", "b"),
            weight=1,
            serial=1,
            signature=b"",
            hop=1,
            wait=1.0,
        )
        story.say("a", word)


BROKEN: list[tuple[str, Callable[[Story], None]]] = [
    *(("P1", story) for story in (two_values, nobody_drew, too_few, two_streams, chunk_changes)),
    *(("P2", story) for story in (used_by_value, used_by_place, used_as_tag_key)),
    *(("P2", story) for story in (resealed, pad_is_a_key)),
    *(("P3", story) for story in (refused_though_due, refused_after_broken)),
    *(
        ("P3", story)
        for story in (held_back_though_due, held_back_for_longer_than_a_response_takes)
    ),
    *(("P4", story) for story in (not_erased, not_expired, bits_without_a_segment)),
    ("P4", bits_of_an_epoch_that_is_over),
    *(("P5", story) for story in (to_another, to_a_thief)),
    *(("P6", story) for story in (on_the_wire, in_a_log)),
    *(("P8", story) for story in (no_answer, too_many_rows)),
    *(("P9", story) for story in (refused_for_nothing, refused_as_full)),
    *(("P9", story) for story in (too_good_a_status, stock_of_the_dead)),
    *(("R1", story) for story in (names_what_was_not_sent, allocated_after_the_close)),
    *(("R2", story) for story in (told_differently, decided_twice, in_no_batch)),
    ("R5", two_owners),
    ("R6", no_lease),
    ("R8", not_durable),
    *(("R9", story) for story in (announced_differently, answered_after_void)),
    *(("R9", story) for story in (voided_after_answer, served_after_void)),
    *(("R7", story) for story in (closed_under_an_open_grant, closed_under_an_open_void)),
    ("R10", given_twice),
    *(("R11", story) for story in (served_after_written, served_after_the_window)),
    ("R14", shares_meet),
    ("R15", in_clear),
    ("R21", confirmed_though_bad),
    *(("LIVE", story) for story in (still_open, frozen, two_epochs)),
]


@pytest.mark.parametrize(("promise", "story"), BROKEN, ids=lambda it: getattr(it, "__name__", it))
def test_a_broken_promise_is_noticed(promise: str, story: Callable[[Story], None]) -> None:
    with pytest.raises(BrokenPromise) as broken:
        story(Story())

    assert broken.value.promise == promise


def test_a_start_closes_what_an_earlier_one_announced_but_for_local_grants() -> None:
    later = replace(HEAD, mine=HEAD.mine + 1)
    close = blocks.SegmentClosed(head=later, segment=blocks.SegmentId(1, 0))
    story, local = Story(), Story("local")
    story.announce()
    made = replace(local.grant(), mode="local")
    local.say("a", grants.GrantsAnnounced(head=HEAD, grants=(made,)))

    story.say("a", close)

    with pytest.raises(BrokenPromise, match="R7"):
        local.say("a", close)


def test_who_has_gone_back_to_a_copy_closes_without_what_it_forgot() -> None:
    story = Story("local")
    made = replace(story.grant(), mode="local")
    story.say("a", grants.GrantsAnnounced(head=HEAD, grants=(made,)))

    story.checker.restored("a", ())

    story.say("a", blocks.SegmentClosed(head=HEAD, segment=blocks.SegmentId(1, 0)))


def test_a_local_grant_is_durable_at_its_issuer() -> None:
    story = Story("local")

    with pytest.raises(BrokenPromise, match="R8"):
        not_durable(story)


def test_trouble_excuses_a_refusal_for_a_while_and_no_longer() -> None:
    story = Story()
    story.checker.troubles.add("cut", ("a", "b"), 10.0, 11.0)

    refused_for_nothing(story)
    story.now = 30.0

    with pytest.raises(BrokenPromise, match="P9"):
        refused_for_nothing(story)


def test_a_key_may_be_gone_after_its_time_or_with_a_rolled_back_node() -> None:
    old, leapt, back = Story(), Story(), Story()
    for story in (old, leapt, back):
        story.given()
    old.now += TTL_S
    leapt.ahead["a"] += TTL_S  # before it was held, its time ran on the clock of its issuer
    back.checker.restored("b", kept=())

    for story in (old, leapt, back):
        story.refuse("no_such_key")


def test_the_time_of_a_key_begins_when_its_master_asks() -> None:
    story = Story()
    story.announce()
    story.hold()
    ask = keys.GetKey(master="alice", slaves=("bob",), number=1, size=32)
    op = story.ask("a", "b", ask)
    story.ahead["b"] += TTL_S
    story.checker.answered(op, keys.Keys(grant=GRANT, size=32, octets=Secret(story.key())))

    story.refuse("no_such_key")


def test_a_slave_may_hold_what_is_void_at_another_node() -> None:
    story = Story()
    story.announce()
    word = grants.GrantsVoidHeld(head=HEAD, ids=(GRANT,))
    story.checker.overheard.hear("c", "a", b"", word)

    story.now += 1.0
    story.dec()


def test_a_node_that_stopped_may_keep_a_key_as_much_longer() -> None:
    story = Story()
    story.given()
    story.put("b", "grant", GRANT, 0, story.key())
    story.now += TTL_S / 2
    story.checker.died("b")
    story.now += TTL_S / 2
    story.checker.started("b")

    story.now += TTL_S
    story.checker.sample()
    story.now += 10.0
    with pytest.raises(BrokenPromise, match="P4"):
        story.checker.sample()


@pytest.mark.parametrize("late", [False, True])
def test_a_window_begins_when_its_grant_is_loaded_at_the_latest(late: bool) -> None:
    story = Story(slice_s={"b": 2.0} if late else {})
    story.given()
    story.put("b", "holding", GRANT, (GRANT,), story.key())
    story.checker.reported(story.dec(), written=False)
    story.now += 2.0
    story.checker.died("b")
    story.checker.started("b")

    story.now += 40.0  # longer than `redelivery_s`
    if late:
        story.dec()
    else:
        with pytest.raises(BrokenPromise, match="R11"):
            story.dec()


def test_nothing_is_promised_between_a_liar_and_its_peer() -> None:
    story = Story()
    story.given()

    story.checker.betrayed("b", "a")

    story.announce(OTHER)
    story.refuse("no_such_key")
