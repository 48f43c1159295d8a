"""Who is in the network, linked, up, usable: what an actor knows, and what it hears of it."""

import pytest

from actors.base import Actor, System
from actors.network.neighbours import Neighbours
from actors.protocol.peers import Directory, Kms, Linked, PeerDown, PeerUp
from actors.protocol.routes import LinkLevel
from protokms.testing.cluster import Cluster


class Watcher(Actor):
    """An actor over neighbours alone; it writes down what befalls it."""

    parts = (Neighbours,)

    def __init__(self, system: System, name: str) -> None:
        super().__init__(system, name)
        self.near = Neighbours(self, events=self)
        self.serve(self.near)
        self.heard: list[object] = []

    def network_changed(self) -> None:
        self.heard.append("network changed")

    def peer_up(self, peer: str) -> None:
        self.heard.append(f"{peer} up")

    def peer_down(self, peer: str) -> None:
        self.heard.append(f"{peer} down")

    def level_changed(self, level: LinkLevel, *, usable_now: bool) -> None:
        self.heard.append((level.peer, usable_now))


@pytest.fixture
def cluster() -> Cluster:
    made = Cluster("a-b b-c")
    made.spawn("watcher@a", Watcher)
    return made


def tell(cluster: Cluster, *words: Directory | Linked | PeerUp | PeerDown | LinkLevel) -> Watcher:
    for word in words:
        cluster.tell("watcher@a", word, sender="anybody@a")
    cluster.settle()
    found = cluster.actor("watcher@a")
    assert isinstance(found, Watcher)
    return found


def directory(*names: str) -> Directory:
    kmss = tuple(Kms(name, f"id-{name}", "tcp://x", "z", f"key of {name}", ()) for name in names)
    return Directory(serial=1, kmss=kmss)


def level(peer: str, *, ready: bool = True) -> LinkLevel:
    return LinkLevel(peer=peer, stock=1, rate=1.0, ready=ready)


def test_briefed_once_both_directory_and_links_are_told(cluster: Cluster) -> None:
    watcher = tell(cluster, Linked(peers=("b",)))
    assert not watcher.near.briefed

    tell(cluster, directory("a", "b"), Linked(peers=("b",)))

    assert watcher.near.briefed
    assert watcher.near.public == {"a": "key of a", "b": "key of b"}
    assert watcher.heard == ["network changed"] * 3


def test_a_link_is_usable_while_linked_up_and_in_step(cluster: Cluster) -> None:
    watcher = tell(cluster, Linked(peers=("b",)), PeerUp(peer="b"))
    assert not watcher.near.usable("b")

    tell(cluster, level("b"))
    assert watcher.near.usable("b")
    tell(cluster, level("b", ready=False))
    assert not watcher.near.usable("b")
    tell(cluster, level("b"), PeerDown(peer="b"))
    assert not watcher.near.usable("b")
    assert watcher.near.linked_up() == []


def test_an_event_tells_that_a_link_has_come_to_be_of_use(cluster: Cluster) -> None:
    watcher = tell(cluster, Linked(peers=("b",)), PeerUp(peer="b"))
    watcher.heard.clear()

    tell(cluster, level("b"), level("b"), level("b", ready=False), level("b"))

    assert watcher.heard == [("b", True), ("b", False), ("b", False), ("b", True)]


def test_an_event_comes_when_what_it_tells_is_known(cluster: Cluster) -> None:
    watcher = tell(cluster, Linked(peers=("b",)), PeerUp(peer="c"), PeerDown(peer="c"))

    assert watcher.heard == ["network changed", "c up", "c down"]
    assert watcher.near.up == {}


def test_the_level_of_a_link_goes_with_the_link(cluster: Cluster) -> None:
    watcher = tell(cluster, Linked(peers=("b",)), PeerUp(peer="b"), level("b"))

    tell(cluster, Linked(peers=()), Linked(peers=("b",)))

    assert not watcher.near.usable("b")


def test_another_node_says_nothing_of_our_links(cluster: Cluster) -> None:
    watcher = tell(cluster, Linked(peers=("b",)), PeerUp(peer="b"))

    cluster.tell("watcher@a", level("b"), sender="router@b")
    cluster.settle()

    assert not watcher.near.levels
