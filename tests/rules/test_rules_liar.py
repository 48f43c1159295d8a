"""A peer that says anything at all: no crash here, and nobody else is the worse for it."""

import dataclasses
import itertools
from typing import Any, get_args, get_origin, get_type_hints

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from actors.keystore import held_grants
from actors.keystore.delivery import QUERIES_MAX
from actors.protocol import blocks, grants, keys
from actors.protocol.blocks import Head, SegmentId
from actors.protocol.common import Failed
from actors.storage import group_commit
from tests.kit.ledger_check import check_counters
from tests.kit.pair import Pair
from transport.message import Message

NUMBERS = st.sampled_from(
    [0, 1, 2, 3, 31, 32, 64, 3968, 4000, -1, 1 << 31, 1 << 62, (1 << 64) - 1, -(1 << 63)]
)
WORDS = [
    kind
    for talk in (blocks, grants)
    for kind in vars(talk).values()
    if isinstance(kind, type) and issubclass(kind, Message) and kind.wire
]
IDS = [b"", b"another id..", bytes(12), bytes(16), b"held"]
TRUE = st.just("true")


def strategy(hint: Any) -> st.SearchStrategy[Any]:
    """Anything of a type, as far as the codec lets it in."""
    if hint is Head:
        wrong = st.builds(Head, NUMBERS, NUMBERS, NUMBERS, NUMBERS, NUMBERS)
        return st.one_of(TRUE, TRUE, TRUE, st.tuples(TRUE, NUMBERS), wrong)
    if hint is SegmentId:
        real = st.builds(SegmentId, st.integers(0, 1), st.integers(0, 5))
        return st.one_of(real, real, st.builds(SegmentId, NUMBERS, NUMBERS))
    if hint is int:
        return NUMBERS
    if hint is bytes:
        return st.sampled_from(IDS)
    if hint is str:
        return st.sampled_from(["alice", "bob", "bert", "carol", "local", "confirmed", "", "ü"])
    if hint is float:
        return st.sampled_from([60.0, 0.0, -1.0, 1e300])
    if get_origin(hint) is tuple:
        return st.lists(strategy(get_args(hint)[0]), max_size=3).map(tuple)
    hints = get_type_hints(hint)
    return st.builds(hint, **{f.name: strategy(hints[f.name]) for f in dataclasses.fields(hint)})


LIES = st.lists(st.one_of([strategy(kind) for kind in WORDS]), min_size=1, max_size=12)


def true_head(pair: Pair, value: Any) -> Head:
    """The head that the honest peer would write, maybe with another seq."""
    if isinstance(value, Head):
        return value
    a, b = pair.store("a").state, pair.store("b").state
    seq = value[1] if isinstance(value, tuple) else a.seq
    return Head(a.start, b.start, *b.epoch, seq)


def bent(value: Any, held: bytes) -> Any:
    """Put the id of a grant that is held where the lie names one."""
    if value == b"held":
        return held
    if isinstance(value, tuple):
        return tuple(bent(each, held) for each in value)
    if isinstance(value, grants.Grant | grants.Voided | grants.Refusal):
        return dataclasses.replace(value, id=bent(value.id, held))
    return value


def lie_to(pair: Pair, lies: list[Message]) -> None:
    """Say all this to the store at b as if a had said it; see that nothing gives way."""
    mine = pair.key(4, 32, at="b")
    theirs = pair.key(2, 32, slaves=("bob",))
    for lie in lies:
        names = [field.name for field in dataclasses.fields(lie)]  # type: ignore[arg-type]
        fields = {name: bent(getattr(lie, name), theirs.grant) for name in names}
        if "head" in fields:
            fields["head"] = true_head(pair, fields["head"])
        pair.say("b", type(lie)(**fields))
        check_counters(pair.store("b"))
    pair.cluster.advance(3.0)
    check_counters(pair.store("b"))
    seen = [mine.octets.reveal()]
    for _ in range(3):
        answer = pair.enc(4, 32, at="b")
        seen += [answer.octets.reveal()] if isinstance(answer, keys.Keys) else []
    units = [octets[i : i + 32] for octets in seen for i in range(0, len(octets), 32)]
    assert len(set(units)) == len(units), "octets were used twice"
    for slave in ("bert", "alice"):
        assert isinstance(pair.dec(theirs.grant, slave=slave), Failed)
    got = pair.dec(theirs.grant, 0, 1)
    if isinstance(got, keys.KeysWithIds):
        assert b"".join(key.reveal() for key in got.octets) == theirs.octets.reveal()
    assert len(pair.store("b").held.tombs) <= 20


def tell(lies: list[Message]) -> None:
    pair = Pair()
    pair.fill(2)
    pair.fill(4, sender="b")
    lie_to(pair, lies)


@settings(max_examples=60, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(LIES)
def test_whatever_a_peer_says_nothing_crashes_and_no_octet_is_used_twice(
    lies: list[Message],
) -> None:
    tell(lies)


@pytest.mark.slow
@settings(max_examples=1500, suppress_health_check=list(HealthCheck))
@given(LIES)
def test_whatever_a_peer_says_at_length(lies: list[Message]) -> None:
    tell(lies)


def test_a_batch_number_that_has_a_segment_already_is_not_decided_again() -> None:
    pair = Pair()
    pair.fill(1)
    pair.store("a").batches._settled.clear()
    true = pair.said(blocks.BlocksHeld)[0]
    before = pair.store("a").stream.octets

    pair.say("a", dataclasses.replace(true, head=pair.store("b").state.head()))

    assert pair.store("a").stream.octets == before
    assert not pair.said(blocks.BlocksDiscarded)
    check_counters(pair.store("a"))


def test_voids_of_ids_never_heard_take_no_memory_beyond_the_octets_they_name() -> None:
    pair = Pair()
    pair.fill(2)
    head = pair.store("a").state.head()
    for n in range(300):
        piece = grants.Piece(1, n % 2, 0, 32)
        void = grants.Voided(n.to_bytes(12, "big"), (piece,))
        pair.say("b", grants.GrantsVoid(head=head, grants=(void,)))

    assert len(pair.store("b").held.tombs) <= 2


def test_loads_of_saes_that_are_none_take_no_memory() -> None:
    pair = Pair(mode="local")
    head = pair.store("b").state.head()
    for n in range(50):
        loads = (grants.Load(f"sae-{n}", "bob", 1, 1, 1), grants.Load("alice", "bob", 1, 1, 1))
        pair.say("a", grants.GrantsHeld(head=head, ids=(), loads=loads))

    assert pair.store("a").issued.undelivered._pairs.keys() == {("alice", "bob")}


def test_a_peer_that_speaks_while_the_disk_hangs_takes_no_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(group_commit, "EFFECTS_MAX", 100)
    pair = Pair()
    pair.fill(4)
    pair.cluster.slow_disk("b", 60.0)
    pair.feed()
    pair.cluster.advance(0.2)
    ask = blocks.ResumeAsk(start=pair.store("a").state.start, number=1, random=0, nonce=7)

    for _ in range(600):
        pair.say("b", ask)
    waiting = len(pair.store("b").commits._effects)
    refused = [pair.dec(b"no such grant", wait=0.1), pair.enc(at="b", wait=0.1)]
    pair.cluster.slow_disk("b", 0.0)
    pair.cluster.advance(65.0)

    assert waiting == 100
    assert [isinstance(no, Failed) and no.code for no in refused] == ["busy", "busy"]
    assert pair.cluster.count("b", "protokms_words_unsaid") >= 500
    pair.key(at="b")
    assert not pair.alarms()


def test_voids_octet_by_octet_end_at_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_grants, "TOMBS_MAX", 10)
    pair = Pair()
    pair.fill(2)
    head = pair.store("a").state.head()
    voids = [
        grants.Voided(n.to_bytes(12, "big"), (grants.Piece(1, 0, 2 * n, 1),)) for n in range(30)
    ]

    for void in voids:
        pair.say("b", grants.GrantsVoid(head=head, grants=(void,)))
    acknowledged = [id_ for word in pair.said(grants.GrantsVoidHeld) for id_ in word.ids]

    assert len(pair.store("b").held.tombs) == 10
    assert acknowledged == [void.id for void in voids[:10]]


@pytest.mark.parametrize("mode", ["confirmed", "local"])
def test_grants_of_one_octet_end_at_a_limit(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    monkeypatch.setattr(held_grants, "HELD_MIN", 4)
    limits = {
        "max_undelivered_bits_per_sae": 512,
        "max_undelivered_bits_of_earlier_starts": 0,
    }
    pair = Pair(mode=mode, **limits)  # type: ignore[arg-type]

    pair.fill(4)
    answers = [pair.enc(size=1, wait=4.0) for _ in range(6)]
    held = len(pair.store("b").held.holdings)
    for answer in answers[:4]:
        assert isinstance(answer, keys.Keys)
        assert isinstance(pair.deliver(answer.grant), keys.KeysWithIds)
    pair.cluster.advance(3.0)

    assert held == 4
    if mode == "local":  # they were answered, so they wait for room and are never refused
        assert len(pair.store("b").held.holdings) == 2
        assert not pair.said(grants.GrantsRefused)
    else:
        assert [isinstance(no, Failed) and no.code for no in answers[4:]] == [
            "too_many_undelivered"
        ] * 2


def test_refused_grants_are_one_line_of_the_log_a_frame() -> None:
    pair = Pair()
    pair.fill(2)
    head = pair.store("a").state.head()
    bad = [
        grants.Grant(n.to_bytes(12, "big"), (), 1, 1, "alice", ("bob",), "confirmed", 1.0)
        for n in range(200)
    ]

    with capture_logs() as lines:
        pair.say("b", grants.GrantsAnnounced(head=head, grants=tuple(bad)))

    assert [line["n"] for line in lines if line["event"] == "grants_refused"] == [200]


def test_fetches_past_the_limit_are_told_to_come_again_and_not_that_there_is_no_key() -> None:
    pair = Pair(mode="local")
    pair.fill(2)
    pair.lost = {grants.GrantQuery}
    names = [n.to_bytes(12, "big") for n in range(QUERIES_MAX)]
    for name in names:
        ask = keys.GetKeyWithIds(master="alice", slave="bob", names=(keys.KeyName(name, 0),))
        pair.cluster.tell(pair.at("b"), ask)

    one_more = pair.dec(b"one too many", wait=0.1)

    assert isinstance(one_more, Failed)
    assert one_more.code == "busy"


def test_refused_ids_take_no_memory_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_grants, "REFUSED_MAX", 10)
    pair = Pair()
    pair.fill(2)
    head = pair.store("a").state.head()
    bad = [
        grants.Grant(n.to_bytes(12, "big"), (), 1, 1, "alice", ("bob",), "confirmed", 1.0)
        for n in range(50)
    ]

    pair.say("b", grants.GrantsAnnounced(head=head, grants=tuple(bad)))

    assert len(pair.store("b").held_grants._refused) == 10


def test_a_question_for_loads_is_answered_for_saes_of_both_ends_alone() -> None:
    pair = Pair()
    pair.fill(2)
    head = pair.store("a").state.head()
    masters, slaves = ("alice", "carol", "mallory", "x" * 1000), ("bob", "nobody", "alice")

    for master, slave in itertools.product(masters, slaves):
        pair.say("b", grants.LoadQuery(head=head, master=master, slave=slave))

    answers = pair.said(grants.GrantsHeld, "b")
    assert [(load.master, load.slave) for it in answers for load in it.loads] == [
        ("alice", "bob"),
        ("carol", "bob"),
    ]
