"""Whole nodes in one thread."""

import pytest

from actors.protocol import keys, peers
from protokms.testing.kms import KmsNetwork


def test_two_applications_get_the_same_keys_in_a_chain_of_three() -> None:
    kms = KmsNetwork("kms-1--kms-2 kms-2--kms-3")
    kms.advance(5.0)

    made = kms.enc("sae-2", "sae-3", number=2)
    assert isinstance(made, keys.Keys)
    same = kms.dec("sae-3", "sae-2", made.grant, 0, 1)

    assert isinstance(same, keys.KeysWithIds)
    assert b"".join(key.reveal() for key in same.octets) == made.octets.reveal()


def test_keys_survive_the_crash_of_both_nodes() -> None:
    kms = KmsNetwork("kms-1--kms-2")
    kms.advance(5.0)
    made = kms.enc("sae-1", "sae-2")
    assert isinstance(made, keys.Keys)

    for node in ("kms-1", "kms-2"):
        kms.cluster.restart(node)
    kms.advance(5.0)
    same = kms.dec("sae-2", "sae-1", made.grant)

    assert isinstance(same, keys.KeysWithIds)
    assert same.octets[0] == made.octets


def test_two_applications_of_one_node_share_keys_too() -> None:
    kms = KmsNetwork(["kms-1"], saes={"sae-1": "kms-1", "sae-2": "kms-1"})

    made = kms.enc("sae-1", "sae-2")
    assert isinstance(made, keys.Keys)
    same = kms.dec("sae-2", "sae-1", made.grant)

    assert isinstance(same, keys.KeysWithIds)
    assert same.octets[0] == made.octets


@pytest.mark.slow
def test_keys_for_an_sae_beyond_the_neighbours_come_over_trusted_nodes() -> None:
    kms = KmsNetwork("kms-1--kms-2 kms-2--kms-3 kms-3--kms-4 kms-4--kms-5")
    kms.advance(7.0)

    made = kms.enc("sae-1", "sae-5", number=3, wait=10.0)
    assert isinstance(made, keys.Keys)
    same = kms.dec("sae-5", "sae-1", made.grant, 0, 1, 2)

    assert isinstance(same, keys.KeysWithIds)
    assert b"".join(key.reveal() for key in same.octets) == made.octets.reveal()


@pytest.mark.slow
def test_a_connection_closed_unused_keeps_nobody_from_keys() -> None:
    kms = KmsNetwork("kms-1--kms-2 kms-2--kms-3")
    kms.advance(7.0)
    kms.enc("sae-1", "sae-3", wait=10.0)
    kms.advance(5.0)

    for here, there in (("kms-1", "kms-3"), ("kms-3", "kms-1")):
        idle = peers.PeerDown(peer=there, idle=True)
        kms.cluster.tell(f"peer_manager@{here}", idle)

    assert isinstance(kms.enc("sae-1", "sae-3", wait=1.0), keys.Keys)
