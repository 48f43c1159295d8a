"""A peer that refuses a grant does not choose what an SAE here is told."""

import pytest

from actors.protocol import grants, keys
from actors.protocol.common import Failed
from actors.protocol.grants import Refusal
from tests.kit.ledger_check import check_rest
from tests.kit.pair import LOCATED, Pair
from transport.envelope import Address, Envelope


@pytest.mark.parametrize(
    ("said", "heard"),
    [("too_many_undelivered", "too_many_undelivered"), ("no_such_key", "not_ready")],
)
def test_r9_only_known_reasons_of_a_refusal_are_passed_on(said: str, heard: str) -> None:
    pair = Pair()
    pair.fill()
    pair.lost = {grants.GrantsAnnounced}
    master = pair.cluster.probe("master@a")
    ask = keys.GetKey(master="alice", slaves=("bob",), number=1, size=32)
    to = Address.parse(pair.at("a"))
    pair.cluster.nodes["a"].send(Envelope(master.address, to, ask, token=1))
    pair.cluster.settle()
    (id_,) = pair.store("a").issued.waiting

    head = pair.store("b").state.head()
    pair.say("a", grants.GrantsRefused(head=head, refusals=(Refusal(id_, said),)))

    (answer,) = (envelope.body for envelope in master.envelopes)
    assert isinstance(answer, Failed)
    assert answer.code == heard


def test_r9_a_grant_that_was_refused_is_not_held_when_a_copy_comes_later() -> None:
    pair = Pair(max_undelivered_bits_per_pair=8 * 64)
    pair.fill()
    first = pair.key(2)
    pair.wire.clear()
    refused = pair.enc()
    (word,) = pair.said(grants.GrantsAnnounced)
    pair.deliver(first.grant, 0, 1)

    pair.say("b", word)

    assert isinstance(refused, Failed)
    assert not pair.store("b").held.holdings
    pair.cluster.advance(10.0)
    check_rest(pair.store("a"), pair.store("b"))


def test_p9_a_store_that_does_not_know_the_directory_yet_asks_for_patience() -> None:
    pair = Pair()
    pair.fill()
    pair.store("a").homes.replace({})

    early = pair.enc()
    pair.cluster.tell(pair.at("a"), LOCATED)

    assert isinstance(early, Failed)
    assert early.code == "not_ready"
    assert isinstance(pair.enc(), keys.Keys)


def test_r12_requests_that_wait_together_keep_the_limit_of_local_grants() -> None:
    pair = Pair(mode="local", max_undelivered_bits_per_pair=64 * 8)
    pair.fill()
    master = pair.cluster.probe("master@a")
    pair.cluster.slow_disk("a", 0.2)

    for size in (16, 40, 40):  # the second and third wait for the commit of the first
        ask = keys.GetKey(master="alice", slaves=("bob",), number=1, size=size)
        master.question(pair.at("a"), ask)
        pair.cluster.settle()
    pair.cluster.advance(2.0)

    assert [made.size for made in master.of(keys.Keys)] == [16, 40]
    assert [no.code for no in master.of(Failed)] == ["too_many_undelivered"]
