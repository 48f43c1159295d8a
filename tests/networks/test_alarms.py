"""Alarms of whole nodes: what befalls them is in the list, and leaves it when it is over."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import pytest

from actors.keystore.options import StoreOptions
from actors.modules.module import ModuleNotReady
from actors.protocol import alarms, blocks, links, peers
from actors.sync.peering import OUT_OF_STEP_S
from protokms.node.composition import Composition
from protokms.testing.kms import KmsNetwork
from transport.message import Message


class Mixed(KmsNetwork):
    """A network whose first node is in `local` mode, until it is started again."""

    mode: Literal["local", "confirmed"] = "local"

    def composition(self, node: str) -> Composition:
        made = super().composition(node)
        other = StoreOptions(mode=self.mode)
        return dataclasses.replace(made, store=other) if node == "a" else made


def listed(kms: KmsNetwork, node: str) -> list[tuple[str, str]]:
    found = kms.cluster.ask(f"alarms@{node}", alarms.ListAlarms())
    assert isinstance(found, alarms.AlarmList)
    return [(each.id, each.subject) for each in found.alarms]


@contextmanager
def without(kms: KmsNetwork, word: type[Message]) -> Iterator[None]:
    """Let a wire word get lost between all nodes."""
    carry = kms.cluster.net.post

    def post(sender: str, to: str, octets: bytes) -> None:
        if word.wire.encode() not in octets:
            carry(sender, to, octets)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kms.cluster.net, "post", post)
        yield


def test_a_network_that_is_well_has_none() -> None:
    kms = KmsNetwork("a--b", link={"rate_bit_s": 10e3})
    kms.advance(OUT_OF_STEP_S + 10.0)

    assert [listed(kms, node) for node in "ab"] == [[], []]


def test_another_mode_is_one_at_both_ends_and_ends_with_it() -> None:
    kms = Mixed("a--b b--c")
    kms.advance(2.0)
    assert listed(kms, "a") == [("other_mode", "b")]
    assert listed(kms, "b") == [("other_mode", "a")]

    kms.mode = "confirmed"
    kms.cluster.restart("a")
    kms.advance(10.0)

    assert (listed(kms, "a"), listed(kms, "b")) == ([], [])


def test_a_key_that_is_refused_is_one_until_the_peer_is_heard() -> None:
    kms = KmsNetwork("a--b")
    kms.advance(2.0)
    kms.cluster.tell("peer_manager@a", peers.PeerDown(peer="b"))
    kms.cluster.tell("peer_manager@a", peers.KeyRefused(peer="b"))
    kms.cluster.settle()
    assert listed(kms, "a") == [("key_refused", "b")]

    kms.cluster.tell("peer_manager@a", peers.PeerUp(peer="b"))
    kms.cluster.settle()

    assert listed(kms, "a") == []


def test_a_peer_that_says_another_name_is_one_until_the_directory_agrees() -> None:
    kms = KmsNetwork("a--b")
    kms.advance(2.0)
    liar = peers.Capabilities(id="other", name="b", version="1", words=(), interfaces=())
    kms.cluster.tell("peer_manager@a", liar, sender="peer_manager@b")
    kms.cluster.settle()
    assert listed(kms, "a") == [("peer_conflict", "b")]

    kms.cluster.restart("b")
    kms.advance(10.0)

    assert listed(kms, "a") == []


def test_a_peer_that_has_left_is_one_until_it_is_back() -> None:
    kms = KmsNetwork("a--b b--c")
    kms.advance(2.0)
    assert kms.directory
    everybody = kms.directory.kmss

    def give(serial: int, kmss: tuple[peers.Kms, ...]) -> None:
        kms.cluster.ask("peer_manager@b", peers.Directory(serial=serial, kmss=kmss))

    give(2, tuple(it for it in everybody if it.name != "c"))
    assert listed(kms, "b") == [("peer_left", "c")]

    give(3, everybody)
    assert listed(kms, "b") == []


def test_an_alarm_of_a_peer_that_leaves_ends() -> None:
    kms = Mixed("a--b b--c")
    kms.advance(2.0)
    assert kms.directory
    left = tuple(it for it in kms.directory.kmss if it.name != "a")

    kms.cluster.ask("peer_manager@b", peers.Directory(serial=2, kmss=left))

    assert listed(kms, "b") == [("peer_left", "a")]


def test_a_neighbour_that_is_heard_and_not_in_step_is_one_after_a_minute() -> None:
    kms = KmsNetwork("a--b")
    kms.advance(2.0)
    with without(kms, blocks.Resume):
        kms.cluster.restart("b")
        kms.advance(OUT_OF_STEP_S - 10.0)
        assert listed(kms, "a") == []

        kms.advance(20.0)
        assert listed(kms, "a") == [("out_of_step", "b")]
    kms.advance(10.0)
    assert listed(kms, "a") == []

    with without(kms, blocks.Resume):
        kms.cluster.restart("b")  # the minute begins anew
        kms.advance(20.0)
        assert listed(kms, "a") == []


def quarantined() -> KmsNetwork:
    """Return two nodes, the link to b in quarantine at a."""
    kms = KmsNetwork("a--b")
    kms.advance(5.0)
    store = kms.cluster.actor("key_store/b@a")
    store.link_health.judge(bytes(4096))  # type: ignore[attr-defined]
    store.quarantine.look()  # type: ignore[attr-defined]
    kms.advance(2.0)
    assert listed(kms, "a") == [("bad_bits", "b")]
    return kms


@pytest.mark.parametrize("way", ["link clear", "alarm clear"])
def test_a_quarantine_is_one_until_it_is_ended_by_hand_either_way(way: str) -> None:
    kms = quarantined()

    if way == "link clear":
        kms.cluster.ask("key_store/b@a", links.ClearQuarantine(), 5.0)
    else:
        done = kms.cluster.ask("alarms@a", alarms.ClearAlarm(id="bad_bits", subject="b"), 5.0)
        assert done == alarms.AlarmsCleared(n=1)

    assert listed(kms, "a") == []
    assert kms.cluster.actor("key_store/b@a").quarantine.waits == ()  # type: ignore[attr-defined]


def test_a_quarantine_is_one_again_after_a_restart() -> None:
    kms = quarantined()

    kms.cluster.restart("a")
    kms.advance(5.0)

    assert listed(kms, "a") == [("bad_bits", "b")]


def test_a_frozen_store_is_one_after_a_restart_until_a_new_epoch() -> None:
    kms = KmsNetwork("a--b")
    kms.advance(5.0)
    kms.cluster.actor("key_store/b@a").peer.freeze("overlap")  # type: ignore[attr-defined]
    kms.advance(2.0)
    assert listed(kms, "a") == [("overlap", "b")]
    kms.cluster.restart("a")
    kms.advance(5.0)
    assert listed(kms, "a") == [("overlap", "b")]

    store = kms.cluster.actor("key_store/b@a")
    store.new_epoch((store.state.epoch[0] + 1, 7))  # type: ignore[attr-defined]
    kms.advance(2.0)

    assert listed(kms, "a") == []


def test_a_module_that_does_not_open_is_one_until_it_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kms = KmsNetwork("a--b")
    kms.advance(2.0)
    module = kms.cluster.actor("quantum_link/b@a")._module  # type: ignore[attr-defined]

    def broken(_: bytes) -> None:
        raise ModuleNotReady("no light")

    with monkeypatch.context() as patch:
        patch.setattr(module, "open", broken)
        kms.cluster.tell("key_store/b@a", peers.PeerDown(peer="b"))
        kms.cluster.tell("key_store/b@a", peers.PeerUp(peer="b"))
        kms.advance(2.0)
        assert listed(kms, "a") == [("link_not_ready", "b")]
    kms.advance(10.0)

    assert listed(kms, "a") == []


def test_what_a_store_had_raised_does_not_outlive_it() -> None:
    kms = KmsNetwork("a--b")
    kms.advance(2.0)
    with without(kms, blocks.Resume):
        kms.cluster.restart("b")
        kms.advance(OUT_OF_STEP_S + 20.0)
        assert listed(kms, "a") == [("out_of_step", "b")]
        kms.cluster.tolerant = True
        assert kms.cluster.crash_actor("key_store/b@a")
        kms.advance(3.0)
    kms.advance(10.0)

    assert listed(kms, "a") == []


def test_what_a_peer_manager_had_raised_does_not_outlive_it() -> None:
    kms = KmsNetwork("a--b")
    kms.advance(2.0)
    kms.cluster.tell("peer_manager@a", peers.PeerDown(peer="b"))
    kms.cluster.tell("peer_manager@a", peers.KeyRefused(peer="b"))
    kms.cluster.tolerant = True
    assert kms.cluster.crash_actor("peer_manager@a")
    kms.advance(3.0)

    assert listed(kms, "a") == []
