"""Whole nodes in one thread."""

from actors.protocol import keys
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
