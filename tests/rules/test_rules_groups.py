"""What comes together leaves together; rows that nobody waits for ride along, not for long."""

import pytest

from actors.protocol import grants, keys
from actors.storage.group_commit import LAZY_S, TURNS_MAX
from protokms.testing.sim.checker.ledgers import named
from tests.kit.pair import Pair

ASK = keys.GetKey(master="alice", slaves=("bob",), number=1, size=32)


def ready(**options: object) -> Pair:
    pair = Pair(**options)  # type: ignore[arg-type]
    pair.fill(8)
    return pair


def announced(pair: Pair) -> list[int]:
    return [len(word.grants) for word in pair.said(grants.GrantsAnnounced, "a")]


@pytest.mark.parametrize("mode", ["confirmed", "local"])
def test_requests_that_wait_in_the_mailbox_are_served_at_one_go(mode: str) -> None:
    pair = ready(mode=mode)
    inbox = pair.store("a").mailbox
    inbox.drop("more to come")
    for _ in range(3):
        pair.cluster.tell(pair.at("a"), ASK)
    assert announced(pair) == []

    inbox.take()
    pair.cluster.tell(pair.at("a"), ASK)

    assert announced(pair) == [4]


def test_a_mailbox_that_is_never_empty_does_not_hold_them_back_for_ever() -> None:
    pair = ready(max_undelivered_bits_per_pair=1 << 30)
    pair.key()  # there is a lease
    before = announced(pair)
    pair.store("a").mailbox.drop("more to come")

    for _ in range(TURNS_MAX):
        pair.cluster.tell(pair.at("a"), ASK)

    assert announced(pair) != before


def test_a_row_that_nobody_waits_for_is_durable_soon() -> None:
    pair = ready(mode="local")
    key = pair.key()
    riding = [row.id for row in pair.rows("a", "unheard")]

    pair.cluster.advance(LAZY_S)

    assert riding == [key.grant]
    assert not pair.rows("a", "unheard")


def test_it_rides_with_the_next_commit() -> None:
    pair = ready(mode="local")
    first = pair.key()

    second = pair.key()

    assert first.grant not in [row.id for row in pair.rows("a", "unheard")]
    assert second.grant in [row.id for row in pair.rows("a", "unheard")]


def test_a_delivery_does_not_ride() -> None:
    pair = ready()
    key = pair.key()

    pair.deliver(key.grant)

    assert [named(row) for row in pair.rows("b", "tombstone")] == [key.grant]
