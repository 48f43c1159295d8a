"""A peer leaves the directory: its store says down, with the reason, until it is back."""

import pytest

from actors.protocol import keys, peers, sessions
from actors.protocol.common import Failed, Health, Healthy
from protokms.testing.kms import KmsNetwork

LEFT = "the directory names c no more"


def listed(kms: KmsNetwork, serial: int, *names: str, at: str = "ab") -> None:
    """Give nodes a directory of these KMSs alone."""
    assert kms.directory
    kmss = tuple(it for it in kms.directory.kmss if it.name in names)
    for node in at:
        done = kms.cluster.ask(f"peer_manager@{node}", peers.Directory(serial=serial, kmss=kmss))
        assert done == peers.Done()


def health(kms: KmsNetwork, at: str) -> Healthy:
    answer = kms.cluster.ask(at, Health())
    assert isinstance(answer, Healthy)
    return answer


@pytest.fixture
def kms() -> KmsNetwork:
    made = KmsNetwork("a--b b--c")
    made.advance(5.0)
    assert isinstance(made.enc("sae-2", "sae-3"), keys.Keys)
    assert isinstance(made.enc("sae-1", "sae-3", wait=10.0), keys.Keys)
    return made


@pytest.mark.parametrize("at", ["b", "a"])
def test_the_store_of_a_peer_that_left_says_down_and_why(kms: KmsNetwork, at: str) -> None:
    listed(kms, 2, "a", "b")
    kms.advance(10.0)

    found = health(kms, f"key_store/c@{at}")
    assert dict(found.facts)["peer_up"] == dict(found.facts)["resumed"] == "false"
    assert found.waits == (LEFT,)
    assert found.ready


def test_who_left_is_listed_with_the_reason_and_counted(kms: KmsNetwork) -> None:
    listed(kms, 2, "a", "b")

    answer = kms.cluster.ask("peer_manager@b", peers.ListPeers())
    assert isinstance(answer, peers.Peers)
    rows = {it.name: it for it in answer.peers}
    assert not rows["c"].up
    assert "the directory names it no more" in rows["c"].trouble
    assert kms.cluster.count("b", "protokms_peers_left") == 1


@pytest.mark.parametrize("node", [1, 2])
def test_requests_are_refused_with_the_reason(kms: KmsNetwork, node: int) -> None:
    listed(kms, 2, "a", "b")

    ask = keys.GetKey(master=f"sae-{node}", slaves=("sae-3",), number=1, size=32)
    refused = kms.cluster.ask(f"key_store/c@{'ab'[node - 1]}", ask)

    assert refused == Failed(code="peer_down", why=LEFT)


def test_words_of_one_that_left_change_nothing(kms: KmsNetwork) -> None:
    listed(kms, 2, "a", "b")

    kms.cluster.restart("c")
    kms.advance(20.0)

    assert dict(health(kms, "key_store/c@b").facts)["peer_up"] == "false"


def test_a_session_to_one_that_left_ends_with_the_reason(kms: KmsNetwork) -> None:
    listed(kms, 2, "a", "b", at="a")  # the others have the old one yet
    kms.advance(2.0)

    answer = kms.cluster.ask("sessions@a", sessions.ListSessions())
    assert isinstance(answer, sessions.Sessions)
    assert [(it.state, it.why) for it in answer.sessions] == [("no_such_peer", LEFT)]


def test_a_store_that_starts_when_its_peer_has_left_says_so(kms: KmsNetwork) -> None:
    listed(kms, 2, "a", "b")

    kms.cluster.tolerant = True
    kms.cluster.crash_actor("key_store/c@b")
    kms.advance(5.0)

    assert health(kms, "key_store/c@b").waits == (LEFT,)


def test_one_that_is_back_serves_again(kms: KmsNetwork) -> None:
    listed(kms, 2, "a", "b")
    kms.advance(3.0)

    listed(kms, 3, "a", "b", "c")
    kms.advance(3.0)

    assert isinstance(kms.enc("sae-2", "sae-3"), keys.Keys)
    assert isinstance(kms.enc("sae-1", "sae-3", wait=10.0), keys.Keys)
    assert health(kms, "key_store/c@b").waits == ()
    assert kms.cluster.count("b", "protokms_peers_left") == 0


def test_requests_that_wait_for_one_that_leaves_hear_it_at_once(kms: KmsNetwork) -> None:
    kms.cluster.crash("c")
    kms.advance(10.0)
    front = kms.cluster.probe("front@a")
    front.question(
        "key_store/c@a", keys.GetKey(master="sae-1", slaves=("sae-3",), number=1, size=32)
    )
    kms.cluster.settle()

    listed(kms, 2, "a", "b")

    (no,) = front.of(Failed)
    assert (no.code, no.why) == ("peer_down", LEFT)
