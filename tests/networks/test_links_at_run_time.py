"""Links that come and go while nodes run: no key is lost, no bit is used twice (R1, R2, R6)."""

import random

import pytest

from actors.keystore.key_store import KeyStore
from actors.protocol import keys, peers
from actors.protocol.common import Failed
from protokms.testing.kms import KmsNetwork
from tests.kit.ledger_check import check_counters, check_rest
from transport.message import Message

ENDS = (("kms-1", "kms-2"), ("kms-2", "kms-1"))
WINDOW = 8
"""Octets: two windows of as many random octets are not equal by chance."""


def linked(nodes: str = "kms-1--kms-2", **options: object) -> KmsNetwork:
    """Make bare nodes, and let kms-1 and kms-2 have a link."""
    kms = KmsNetwork(nodes, bare=True, **options)  # type: ignore[arg-type]
    for one, other in ENDS:
        assert kms.add_link(one, other) == peers.Done()
    kms.advance(3.0)
    return kms


def store(kms: KmsNetwork, node: str, peer: str) -> KeyStore:
    found = kms.cluster.actor(f"key_store/{peer}@{node}")
    assert isinstance(found, KeyStore)
    return found


def runs(kms: KmsNetwork, node: str, peer: str) -> bool:
    return f"quantum_link/{peer}" in kms.cluster.nodes[node].actors


def code(answer: Message) -> str:
    assert isinstance(answer, Failed), answer
    return answer.code


def test_a_bare_node_has_keys_with_a_peer_once_both_have_the_link() -> None:
    kms = KmsNetwork("kms-1--kms-2", bare=True)
    assert kms.add_link("kms-1", "kms-2") == peers.Done()
    kms.advance(3.0)
    assert isinstance(kms.enc("sae-1", "sae-2"), Failed)
    assert kms.add_link("kms-2", "kms-1") == peers.Done()

    made = kms.enc("sae-1", "sae-2", wait=5.0)
    assert isinstance(made, keys.Keys), made
    same = kms.dec("sae-2", "sae-1", made.grant)
    assert isinstance(same, keys.KeysWithIds)
    assert same.octets == (made.octets,)


def test_a_link_that_is_stopped_leaves_its_stock_and_brings_no_more() -> None:
    kms = linked()
    for one, other in ENDS:
        assert kms.remove_link(one, other) == peers.Done()
    kms.advance(30.0)
    before = store(kms, "kms-1", "kms-2").stream.stock
    kms.advance(30.0)

    assert not runs(kms, "kms-1", "kms-2")
    assert store(kms, "kms-1", "kms-2").stream.stock == before > 0
    assert isinstance(kms.enc("sae-1", "sae-2"), keys.Keys)
    check_rest(store(kms, "kms-1", "kms-2"), store(kms, "kms-2", "kms-1"))


@pytest.mark.parametrize("seed", range(2))
def test_no_key_is_lost_and_no_bit_comes_twice(seed: int) -> None:
    kms, dice = linked(seed=seed), random.Random(seed)
    epoch, seen = store(kms, "kms-1", "kms-2").state.epoch, set[bytes]()
    kept: list[tuple[str, str, keys.Keys]] = []
    for _ in range(30):
        node, peer = dice.choice(ENDS)
        change = dice.choice((kms.add_link, kms.remove_link))
        assert change(node, peer) == peers.Done()
        kms.advance(dice.choice((0.0, 0.01, 0.3, 2.0)))
        for master, slave in (("sae-1", "sae-2"), ("sae-2", "sae-1")):
            made = kms.enc(master, slave, number=dice.choice((1, 5)), wait=5.0)
            if isinstance(made, keys.Keys):
                kept.append((master, slave, made))
    for node, peer in ENDS:
        kms.add_link(node, peer)
    kms.advance(30.0)

    for master, slave, made in kept:
        octets = made.octets.reveal()
        windows = {octets[at : at + WINDOW] for at in range(0, len(octets), WINDOW)}
        assert not windows & seen
        seen |= windows
        indexes = range(len(octets) // made.size)
        same = kms.dec(slave, master, made.grant, *indexes)
        assert isinstance(same, keys.KeysWithIds), same
        assert b"".join(it.reveal() for it in same.octets) == octets
    assert len(kept) > 30
    for node, peer in ENDS:
        check_counters(store(kms, node, peer))
        assert store(kms, node, peer).state.epoch == epoch
    kms.cluster.close()


def test_a_link_that_is_there_again_goes_on_in_the_same_epoch_with_other_numbers() -> None:
    kms = linked()
    state = store(kms, "kms-1", "kms-2").state
    epochs = state.datagram_epoch, state.epoch
    first = kms.cluster.actor("quantum_link/kms-2@kms-1")._module._seq  # type: ignore[attr-defined]

    kms.remove_link("kms-1", "kms-2")
    kms.add_link("kms-1", "kms-2")
    kms.advance(1.0)

    again = kms.cluster.actor("quantum_link/kms-2@kms-1")
    assert (state.datagram_epoch, state.epoch) == epochs
    assert abs(again._module._seq - first) > 1 << 40  # type: ignore[attr-defined]
    assert again.store_side.epoch == epochs[0]  # type: ignore[attr-defined]


def test_what_is_wanted_may_be_said_again() -> None:
    kms = linked()
    first = kms.cluster.actor("quantum_link/kms-2@kms-1")

    assert kms.add_link("kms-1", "kms-2") == peers.Done()
    assert kms.cluster.actor("quantum_link/kms-2@kms-1") is first
    assert kms.remove_link("kms-1", "kms-2") == peers.Done()
    assert kms.remove_link("kms-1", "kms-2") == peers.Done()


@pytest.mark.parametrize(
    ("peer", "interface", "why"),
    [
        ("kms-2", 2, "link_up"),
        ("kms-3", 1, "in_use"),
        ("kms-3", 9, "no_such_interface"),
        ("kms-3", 0, "no_such_interface"),
        ("kms-9", 2, "no_such_peer"),
        ("kms-1", 2, "no_such_peer"),
        ("kms-4", 2, "unknown_peer"),
    ],
)
def test_a_link_that_cannot_be_is_refused_with_the_reason(
    peer: str, interface: int, why: str
) -> None:
    kms = linked("kms-1--kms-2 kms-1--kms-3 kms-3--kms-4")
    ask = peers.AddQuantumPeer(peer=peer, interface=interface)

    assert code(kms.cluster.ask("peer_manager@kms-1", ask)) == why
    assert runs(kms, "kms-1", "kms-2")
    again = peers.AddQuantumPeer(peer="kms-3", interface=2)
    assert kms.cluster.ask("peer_manager@kms-1", again) == peers.Done()


def test_a_link_that_a_file_binds_for_good_stays() -> None:
    kms = KmsNetwork("kms-1--kms-2")
    kms.advance(1.0)

    assert kms.add_link("kms-1", "kms-2") == peers.Done()
    assert code(kms.remove_link("kms-1", "kms-2")) == "bound"
    assert runs(kms, "kms-1", "kms-2")


def test_a_fresh_peer_manager_knows_the_links_and_says_them_again() -> None:
    kms = linked(tolerant=True)
    kms.cluster.crash_actor("peer_manager@kms-1")
    kms.advance(1.0)

    told = kms.cluster.ask("peer_manager@kms-1", peers.ListInterfaces())

    known = peers.InterfaceState(
        number=1, module="emulated", process="core", peer="kms-2", fixed=False
    )
    assert told == peers.Interfaces(interfaces=(known,))
    assert kms.remove_link("kms-1", "kms-2") == peers.Done()
    assert not runs(kms, "kms-1", "kms-2")


def test_relay_uses_a_link_that_came_at_run_time() -> None:
    kms = KmsNetwork("kms-1--kms-2 kms-2--kms-3", bare=True)
    for one, other in (*ENDS, ("kms-2", "kms-3"), ("kms-3", "kms-2")):
        kms.add_link(one, other)
    kms.advance(10.0)

    made = kms.enc("sae-1", "sae-3", wait=20.0)

    assert isinstance(made, keys.Keys), made
    assert isinstance(kms.dec("sae-3", "sae-1", made.grant), keys.KeysWithIds)
