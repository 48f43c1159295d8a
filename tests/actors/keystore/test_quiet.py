"""A store of a distant peer at rest looks seldom whether something is due, and wakes at once."""

from collections import Counter

import pytest

from actors.keystore.delivery import Tick
from actors.keystore.key_store import QUIET_TICKS, KeyStore
from actors.keystore.options import TICK_S
from actors.protocol import blocks, grants, keys
from actors.protocol.peers import PeerDown
from tests.kit.pair import Pair
from tests.rules.test_rules_distant import distant, fill

QUIET_S = QUIET_TICKS * TICK_S


class Ticks:
    """Counts the ticks of every store, by node."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.seen = Counter[str]()
        tick = KeyStore.tick

        def counted(store: KeyStore, due: Tick) -> None:
            self.seen[store.system.node] += 1
            tick(store, due)

        patch.setattr(KeyStore, "tick", counted)

    def within(self, pair: Pair, seconds: float) -> dict[str, int]:
        self.seen.clear()
        pair.cluster.advance(seconds)
        return dict(self.seen)


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> Ticks:
    return Ticks(monkeypatch)


def resting() -> Pair:
    pair, link = distant()
    fill(pair, link)
    pair.cluster.advance(30.0)
    return pair


def test_a_full_store_at_rest_ticks_every_four_seconds_and_says_nothing(ticks: Ticks) -> None:
    pair = resting()
    pair.wire.clear()

    assert ticks.within(pair, 40.0) == {"a": 10, "b": 10}
    assert pair.wire == []


def test_a_store_that_is_not_full_ticks_as_ever(ticks: Ticks) -> None:
    pair, _ = distant()

    assert ticks.within(pair, 10.0) == {"a": 20, "b": 20}


def test_a_store_of_a_neighbour_ticks_as_ever(ticks: Ticks) -> None:
    pair = Pair()
    pair.fill(8)
    pair.cluster.advance(30.0)

    assert ticks.within(pair, 10.0) == {"a": 20, "b": 20}


def test_a_request_wakes_both_ends_until_its_keys_are_fetched_and_erased(ticks: Ticks) -> None:
    pair = resting()
    made = pair.key(1, 32, at="a")

    assert ticks.within(pair, 4.0)["b"] == 8  # it holds a grant
    pair.dec(made.grant, at="b")
    woken = ticks.within(pair, 5.0)
    assert min(woken.values()) >= 5  # used octets are wiped in time


def test_what_gets_lost_is_said_again_as_soon_as_ever() -> None:
    pair = resting()
    pair.lost = {grants.GrantsAnnounced}
    probe = pair.cluster.probe("front@a")
    probe.question(pair.at("a"), keys.GetKey(master="alice", slaves=("bob",), number=1, size=32))
    pair.cluster.advance(0.2)
    pair.lost = set()

    pair.cluster.advance(2.0)

    assert probe.of(keys.Keys)


def test_a_resume_that_gets_lost_is_asked_for_again_as_soon_as_ever() -> None:
    pair = resting()
    pair.lost = {blocks.Resume}
    pair.cluster.restart("b")
    pair.cluster.advance(0.1)
    pair.lost = set()

    pair.cluster.advance(1.5)

    assert pair.store("a").state.resumed
    assert pair.store("b").state.resumed


def test_whose_peer_is_away_rests_too(ticks: Ticks) -> None:
    pair = resting()
    for node in ("a", "b"):
        pair.cluster.tell(pair.at(node), PeerDown(peer=pair.made(node).peer))
    pair.cluster.advance(10.0)

    assert ticks.within(pair, 40.0) == {"a": 10, "b": 10}


def test_room_that_stays_as_it_is_is_said_less_and_less_often() -> None:
    pair, link = distant(max_bits=1 << 22)  # so small that there is never room for a window
    fill(pair, link)
    pair.cluster.advance(5.0)
    pair.wire.clear()

    pair.cluster.advance(600.0)

    assert 10 <= len(pair.said(blocks.Room, "a")) <= 20
