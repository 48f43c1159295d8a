"""The actor of a store that two ends share, beside what the rules ask of it."""

from actors.keystore.key_store import KeyStore
from actors.protocol.blocks import Room
from actors.protocol.common import Committed, Failed
from protokms.testing.cluster import Cluster
from tests.kit.pair import Pair
from transport.envelope import Address, Envelope


def unloaded() -> tuple[KeyStore, Cluster]:
    """A store that has not been started, beside two that have."""
    pair = Pair()
    system = pair.cluster.nodes["a"]
    return KeyStore(system, "key_store/c", pair.made("a")), pair.cluster


def test_a_commit_of_a_former_life_that_returns_before_loading_is_nothing() -> None:
    store, _ = unloaded()

    store.on_receive(Envelope(store.address, store.address, Committed(token=1)))

    assert not hasattr(store, "allocation")


def test_before_loading_has_ended_a_word_is_answered_not_ready() -> None:
    store, cluster = unloaded()
    probe = cluster.probe("asker@a")
    head = Pair().store("b").state.head()

    word = Room(head=head, credit=1)
    store.on_receive(Envelope(Address("asker", "a"), store.address, word, token=7))
    cluster.settle()

    assert isinstance(probe.received[-1], Failed)
    assert probe.received[-1].code == "not_ready"
