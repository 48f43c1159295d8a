"""The peer manager: the directory holds, whatever peers say."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from actors.base import Actor
from actors.peer_manager import PeerManager, PeerPlan
from actors.protocol import blocks, doors, grants, peers
from actors.protocol.common import Failed, Health, Healthy, Refused
from actors.protocol.trees import Child
from actors.supervisor import Supervisor
from protokms.testing.cluster import Cluster
from protokms.testing.steps import StepSystem
from transport import message

SAES = {"a": ("sae-1",), "b": ("sae-2", "sae-3"), "c": ()}


def directory(serial: int = 1, **saes: tuple[str, ...]) -> peers.Directory:
    rows = [(name, saes.get(name, SAES[name])) for name in SAES]
    return peers.Directory(
        serial=serial,
        kmss=tuple(peers.Kms(name, f"id-{name}", "tcp://x", "z", "s", mine) for name, mine in rows),
    )


def claim(node: str, version: str = "1", words: tuple[str, ...] = ()) -> peers.Capabilities:
    return peers.Capabilities(
        id=f"id-{node}", name=node, version=version, words=words, interfaces=()
    )


class Idle(Actor):
    """Stands where a key store or a link would."""


def give_up(_name: str, _why: str) -> None:
    raise AssertionError("nobody should give up")


def subtree(peer: str) -> Child:
    stores = (Child(f"key_store/{peer}", Idle),)
    return Child(f"peer/{peer}", Supervisor, (stores, give_up))


def link(peer: str, options: str) -> Child:
    if options == "nonsense":
        raise Refused("malformed", "what is that?")
    return Child(f"quantum_link/{peer}", Idle)


def plan(node: str, **changes: object) -> PeerPlan:
    first = PeerPlan(me=claim(node), directory=directory(), subtree=subtree, link=link)
    return replace(first, **changes)  # type: ignore[arg-type]


def recipe(**changes: object) -> Callable[[StepSystem], None]:
    def start(system: StepSystem) -> None:
        mine = (Child("peer_manager", PeerManager, (plan(system.node, **changes),)),)
        system.spawn("supervisor", Supervisor, mine, give_up)

    return start


@pytest.fixture
def row() -> Cluster:
    return Cluster("a b c", recipe(audience=("etsi014",), stores=("b",)), hear_peers=())


def up(cluster: Cluster, at: str, peer: str) -> None:
    cluster.tell(f"peer_manager@{at}", peers.PeerUp(peer=peer))


def states(cluster: Cluster, at: str) -> dict[str, peers.PeerState]:
    answer = cluster.ask(f"peer_manager@{at}", peers.ListPeers())
    assert isinstance(answer, peers.Peers)
    return {state.name: state for state in answer.peers}


def test_a_peer_that_comes_up_is_asked_who_it_is(row: Cluster) -> None:
    up(row, "a", "b")

    assert states(row, "a") == {
        "b": peers.PeerState("b", up=True, version="1", trouble=""),
        "c": peers.PeerState("c", up=False, version="", trouble=""),
    }


def test_up_and_down_reach_the_key_store_of_that_peer_and_no_other(row: Cluster) -> None:
    store, other = row.probe("key_store/b@a"), row.probe("key_store/c@a")

    up(row, "a", "b")
    up(row, "a", "c")
    row.tell("peer_manager@a", peers.PeerDown(peer="b"))

    located, *news = store.received
    assert isinstance(located, peers.Located)
    assert news == [peers.PeerUp(peer="b"), peers.PeerDown(peer="b")]
    assert other.received == []
    assert not states(row, "a")["b"].up


@pytest.mark.parametrize("wrong", [replace(claim("b"), id="id-c"), replace(claim("b"), name="c")])
def test_a_conflicting_claim_is_refused_counted_and_alarmed(
    row: Cluster, wrong: peers.Capabilities
) -> None:
    liar = row.probe("peer_manager@b")

    liar.question("peer_manager@a", wrong)
    row.settle()

    answer, health = liar.received[-1], row.ask("peer_manager@a", Health())
    assert isinstance(answer, Failed)
    assert answer.code == "conflict"
    assert row.count("a", "protokms_conflicts", peer="b") == 1
    assert states(row, "a")["b"].trouble
    assert isinstance(health, Healthy)
    assert ("conflicts", "1") in health.facts


def test_a_conflicting_reply_changes_nothing_but_the_alarm(row: Cluster) -> None:
    liar, front = row.probe("peer_manager@b"), row.probe("etsi014@a")
    wrong = peers.CapabilitiesReply(id="id-a", name="a", version="9", words=(), interfaces=())
    liar.on(peers.Capabilities, wrong)

    up(row, "a", "b")

    assert row.count("a", "protokms_conflicts", peer="b") == 1
    assert states(row, "a")["b"].version == ""
    assert front.received == []


def test_a_true_claim_ends_the_trouble(row: Cluster) -> None:
    peer = row.probe("peer_manager@b")
    peer.question("peer_manager@a", replace(claim("b"), id="id-c"))
    row.settle()

    peer.question("peer_manager@a", claim("b"))
    row.settle()

    assert isinstance(peer.received[-1], peers.CapabilitiesReply)
    assert states(row, "a")["b"].trouble == ""


def test_a_peer_that_lacks_one_of_our_words_is_in_trouble() -> None:
    cluster = Cluster("a b", start_with_words, hear_peers=())

    up(cluster, "a", "b")

    assert "blocks.held/2" in states(cluster, "a")["b"].trouble


def start_with_words(system: StepSystem) -> None:
    words = ("blocks.held/2",) if system.node == "a" else ()
    me = claim(system.node, words=words)
    system.spawn("peer_manager", PeerManager, plan(system.node, me=me))


def test_a_peer_that_does_not_answer_is_asked_again(row: Cluster) -> None:
    mute = row.probe("peer_manager@b")

    up(row, "a", "b")
    row.advance(11.0)

    assert len(mute.of(peers.Capabilities)) == 2


def test_a_peer_outside_the_directory_is_not_heard() -> None:
    cluster = Cluster(
        "a x", lambda system: recipe()(system) if system.node == "a" else None, hear_peers=()
    )
    stranger = cluster.probe("peer_manager@x")

    stranger.question("peer_manager@a", replace(claim("a"), name="x"))
    up(cluster, "a", "x")

    assert stranger.received == [Failed(code="no_such_peer", why="x")]


def test_subscribers_hear_where_each_sae_is_now_and_at_every_change(row: Cluster) -> None:
    front, store = row.probe("front@a"), row.probe("key_store/b@a")
    front.say("peer_manager@a", peers.Subscribe())
    row.settle()

    done = row.ask("peer_manager@a", directory(serial=2, c=("sae-9",)))
    row.settle()

    first, second = front.of(peers.Located)
    assert done == peers.Done()
    assert first.here == "a"
    assert first.saes == (("sae-1", "a"), ("sae-2", "b"), ("sae-3", "b"))
    assert first.ids == (("a", "id-a"), ("b", "id-b"), ("c", "id-c"))
    assert (second.serial, second.saes[-1]) == (2, ("sae-9", "c"))
    assert store.of(peers.Located) == [second]


def test_the_audience_of_the_plan_hears_without_asking_after_a_crash_too() -> None:
    cluster = Cluster("a", recipe(audience=("etsi014",)), hear_peers=())
    front = cluster.probe("etsi014@a")

    cluster.restart("a")

    assert len(front.of(peers.Located)) == 1


def test_a_key_store_that_subscribes_hears_that_its_peer_is_up(row: Cluster) -> None:
    up(row, "a", "c")
    store = row.probe("key_store/c@a")

    store.say("peer_manager@a", peers.Subscribe())
    row.settle()

    assert peers.PeerUp(peer="c") in store.received


def test_a_relay_hears_of_its_neighbour_and_of_nothing_else(row: Cluster) -> None:
    up(row, "a", "b")
    up(row, "a", "c")
    relay = row.probe("relay/c@a")

    relay.say("peer_manager@a", peers.Subscribe())
    row.settle()
    row.tell("peer_manager@a", peers.PeerDown(peer="b"))
    row.tell("peer_manager@a", peers.PeerDown(peer="c"))

    assert relay.received == [peers.PeerUp(peer="c"), peers.PeerDown(peer="c")]


def test_the_relays_of_the_plan_hear_without_asking() -> None:
    cluster = Cluster("a", recipe(relays=("b",)), hear_peers=())
    relay = cluster.probe("relay/b@a")

    cluster.tell("peer_manager@a", peers.PeerUp(peer="b"))

    assert relay.received == [peers.PeerUp(peer="b")]


@pytest.mark.parametrize(
    ("new", "code"),
    [
        (directory(serial=0, b=()), "stale"),
        (directory(serial=1, b=()), "stale"),
        (directory(serial=2, c=("sae-1",)), "malformed"),
        (peers.Directory(serial=2, kmss=directory().kmss[1:]), "malformed"),
        (peers.Directory(serial=2, kmss=directory().kmss * 2), "malformed"),
    ],
)
def test_a_directory_that_is_older_or_contradicts_itself_is_refused(
    row: Cluster, new: peers.Directory, code: str
) -> None:
    front = row.probe("etsi014@a")

    answer = row.ask("peer_manager@a", new)

    assert isinstance(answer, Failed)
    assert answer.code == code
    assert front.received == []


def test_the_same_directory_again_is_harmless(row: Cluster) -> None:
    assert row.ask("peer_manager@a", directory()) == peers.Done()


def test_who_is_up_already_is_asked_at_the_start() -> None:
    cluster = Cluster("a b", recipe(alive=lambda: {"b"}), hear_peers=())

    cluster.restart("a")

    assert states(cluster, "a")["b"].version == "1"


def test_a_link_to_a_new_peer_brings_its_subtree(row: Cluster) -> None:
    answer = row.ask("peer_manager@a", peers.AddQuantumPeer(peer="c", options="{}"))

    there = {"peer/c", "key_store/c", "quantum_link/c"}
    assert answer == peers.Done()
    assert there <= set(row.nodes["a"].actors)


def test_a_removed_link_leaves_the_key_store_and_can_come_back(row: Cluster) -> None:
    row.ask("peer_manager@a", peers.AddQuantumPeer(peer="c", options="{}"))
    store = row.actor("key_store/c@a")

    removed = row.ask("peer_manager@a", peers.RemoveQuantumPeer(peer="c"))
    gone = "quantum_link/c" not in row.nodes["a"].actors
    back = row.ask("peer_manager@a", peers.AddQuantumPeer(peer="c", options="{}"))

    assert (removed, back, gone) == (peers.Done(), peers.Done(), True)
    assert row.actor("key_store/c@a") is store


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (peers.AddQuantumPeer(peer="x", options="{}"), "no_such_peer"),
        (peers.AddQuantumPeer(peer="a", options="{}"), "no_such_peer"),
        (peers.AddQuantumPeer(peer="c", options="nonsense"), "malformed"),
        (peers.RemoveQuantumPeer(peer="x"), "no_such_peer"),
    ],
)
def test_links_that_cannot_be_are_refused(
    row: Cluster, wrong: peers.AddQuantumPeer | peers.RemoveQuantumPeer, code: str
) -> None:
    answer = row.ask("peer_manager@a", wrong, wait=10.0)

    assert isinstance(answer, Failed)
    assert answer.code == code


def test_a_second_link_to_the_same_peer_is_refused(row: Cluster) -> None:
    row.ask("peer_manager@a", peers.AddQuantumPeer(peer="c", options="{}"))

    again = row.ask("peer_manager@a", peers.AddQuantumPeer(peer="c", options="{}"))

    assert isinstance(again, Failed)
    assert again.code == "duplicate"


def test_every_wire_word_has_one_place_where_a_peer_may_say_it() -> None:
    assert blocks.ResumeAsk.wire
    assert grants.GrantQuery.wire

    ours = {n for n, kind in message.doors().items() if kind.__module__.startswith("actors.")}
    assert ours == set(doors.DOORS) | doors.ANSWERS
    assert not set(doors.DOORS) & doors.ANSWERS


# Who watches the network


@pytest.fixture
def watched() -> Cluster:
    return Cluster("a b c", recipe(stores=("b",), watchers=("router",)), hear_peers=())


def test_a_watcher_hears_directory_links_and_of_every_peer(watched: Cluster) -> None:
    watcher = watched.probe("router@a")

    up(watched, "a", "c")
    watched.tell("peer_manager@a", peers.PeerDown(peer="c"))
    newer = directory(2, c=("sae-9",))
    watched.ask("peer_manager@a", newer)

    assert watcher.received == [peers.PeerUp(peer="c"), peers.PeerDown(peer="c"), newer]


def test_a_watcher_that_starts_late_hears_all_it_has_missed(watched: Cluster) -> None:
    up(watched, "a", "c")
    watcher = watched.probe("router@a")

    watcher.say("peer_manager@a", peers.Subscribe())
    watched.settle()

    linked = peers.Linked(peers=("b",))
    assert watcher.received == [directory(), linked, peers.PeerUp(peer="c")]


def test_a_link_that_comes_or_goes_at_run_time_is_told_to_watchers(watched: Cluster) -> None:
    watcher = watched.probe("router@a")

    watched.ask("peer_manager@a", peers.AddQuantumPeer(peer="c", options=""), 1.0)
    watched.ask("peer_manager@a", peers.RemoveQuantumPeer(peer="c"), 1.0)

    told = [body for body in watcher.received if isinstance(body, peers.Linked)]
    assert told == [peers.Linked(peers=("b", "c")), peers.Linked(peers=("b",))]


def test_a_peer_that_is_reached_by_relay_gets_no_link_at_run_time(watched: Cluster) -> None:
    store = watched.probe("key_store/c@a")
    store.say("peer_manager@a", peers.Subscribe())
    watched.settle()

    answer = watched.ask("peer_manager@a", peers.AddQuantumPeer(peer="c", options=""), 1.0)

    assert isinstance(answer, Failed)
    assert answer.code == "not_allowed"


def test_an_idle_connection_takes_no_neighbour_away(watched: Cluster) -> None:
    watcher, store = watched.probe("router@a"), watched.probe("key_store/b@a")
    up(watched, "a", "b")
    for probe in (watcher, store):
        probe.clear()

    watched.tell("peer_manager@a", peers.PeerDown(peer="b", idle=True))

    assert watcher.received == store.received == []
    assert states(watched, "a")["b"].up


def test_an_idle_connection_is_told_as_such(watched: Cluster) -> None:
    store = watched.probe("key_store/c@a")
    store.say("peer_manager@a", peers.Subscribe())
    up(watched, "a", "c")
    store.clear()

    watched.tell("peer_manager@a", peers.PeerDown(peer="c", idle=True))

    assert store.received == [peers.PeerDown(peer="c", idle=True)]
