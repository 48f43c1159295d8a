"""Whole nodes in one thread."""

from actors.protocol import keys, peers
from actors.protocol.common import Failed
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


def test_a_connection_closed_unused_keeps_nobody_from_keys() -> None:
    kms = KmsNetwork("kms-1--kms-2")
    kms.advance(5.0)

    kms.cluster.tell("key_store/kms-2@kms-1", peers.PeerDown(peer="kms-2", idle=True))
    quiet = kms.enc("sae-1", "sae-2")
    kms.cluster.tell("key_store/kms-2@kms-1", peers.PeerDown(peer="kms-2"))
    away = kms.enc("sae-1", "sae-2", wait=0.0)

    assert isinstance(quiet, keys.Keys)
    assert isinstance(away, Failed)
    assert away.code == "peer_down"
