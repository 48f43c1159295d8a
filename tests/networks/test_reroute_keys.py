"""Keys between far SAEs over whole nodes, while a node on the path dies (issue: within 10 s)."""

import pytest

from actors.protocol import keys, sessions
from protokms.testing.kms import KmsNetwork

pytestmark = pytest.mark.slow

RING = "n1-n2 n2-n3 n3-n4 n4-n5 n5-n6 n6-n1"


def path(kms: KmsNetwork) -> tuple[str, ...]:
    answer = kms.cluster.ask("sessions@n1", sessions.ListSessions())
    assert isinstance(answer, sessions.Sessions)
    (session,) = answer.sessions
    assert session.state == "established"
    (found,) = session.paths
    return found


def test_keys_flow_again_within_ten_seconds_of_the_death_of_a_node_on_the_path() -> None:
    kms = KmsNetwork(RING)
    kms.advance(7.0)
    assert isinstance(kms.enc("sae-1", "sae-4", wait=10.0), keys.Keys)
    victim = path(kms)[1]
    stock = keys.GetStatus(master="sae-1", slave="sae-4", size=32)

    kms.cluster.crash(victim)
    kms.advance(3.2)
    assert victim not in path(kms)

    for _ in range(40):  # far more than was in store
        made = kms.enc("sae-1", "sae-4", number=64, size=64, wait=3.0)
        assert isinstance(made, keys.Keys)
        same = kms.dec("sae-4", "sae-1", made.grant, wait=1.0)
        assert isinstance(same, keys.KeysWithIds)
        assert made.octets.reveal().startswith(same.octets[0].reveal())
        kms.advance(0.5)
    held = kms.cluster.ask("key_store/n4@n1", stock)
    assert isinstance(held, keys.Stock)
    assert held.stored > 0


def test_keys_flow_after_a_restart_of_every_node_one_after_the_other() -> None:
    kms = KmsNetwork("n1-n2 n2-n3 n3-n4")
    kms.advance(7.0)
    kms.enc("sae-1", "sae-4", wait=10.0)

    for node in ("n2", "n4", "n1", "n3"):
        kms.cluster.restart(node)
        kms.advance(8.0)
        made = kms.enc("sae-1", "sae-4", wait=5.0)
        assert isinstance(made, keys.Keys), node
        assert isinstance(kms.dec("sae-4", "sae-1", made.grant, wait=1.0), keys.KeysWithIds)


def test_one_end_that_is_asked_for_nothing_keeps_the_other_no_bits_from() -> None:
    kms = KmsNetwork("n1-n2 n2-n3")
    kms.advance(7.0)
    kms.enc("sae-1", "sae-3", wait=10.0)

    for _ in range(120):
        made = kms.enc("sae-1", "sae-3", number=64, size=64, wait=3.0)
        assert isinstance(made, keys.Keys)
        kms.advance(0.5)


def test_keys_come_over_two_paths_and_go_on_after_one_has_been_away() -> None:
    kms = KmsNetwork(RING, relay={"paths": 2})
    kms.advance(7.0)
    assert isinstance(kms.enc("sae-1", "sae-4", wait=10.0), keys.Keys)

    kms.cluster.restart("n2")
    kms.advance(40.0)

    answer = kms.cluster.ask("sessions@n1", sessions.ListSessions())
    assert isinstance(answer, sessions.Sessions)
    (session,) = answer.sessions
    assert session.state == "established"
    assert {path[1:-1] for path in session.paths} == {("n2", "n3"), ("n6", "n5")}
    for _ in range(20):
        made = kms.enc("sae-1", "sae-4", number=32, size=64, wait=3.0)
        assert isinstance(made, keys.Keys)
        same = kms.dec("sae-4", "sae-1", made.grant, wait=1.0)
        assert isinstance(same, keys.KeysWithIds)
        kms.advance(0.5)
