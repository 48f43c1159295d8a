"""The peer manager: the directory holds, whatever peers say."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from structlog.testing import capture_logs

from actors.base import Actor
from actors.network.homes import PIECE, DirectoryHomes
from actors.network.linking import LAST_WORDS_S
from actors.network.peer_manager import PeerManager, PeerPlan
from actors.protocol import blocks, doors, grants, peers
from actors.protocol.common import Failed, Health, Healthy, Refused
from actors.protocol.siblings import ProcessUp
from actors.protocol.trees import Child, Started, StartLink, StopLink, Stopped
from actors.runtime.places import Interface, LinkPlaces
from actors.runtime.supervisor import Supervisor
from protokms.testing.cluster import Cluster
from protokms.testing.probe import Probe
from protokms.testing.steps import StepSystem
from transport import message
from transport.codec import MAX_FRAME, encode
from transport.envelope import Address, Envelope
from transport.message import Message

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


class Made:
    """The interfaces of core: number 9 has something wrong."""

    fixed: Mapping[str, int] = {}

    def link(self, peer: str, interface: int) -> Child:
        if interface == 9:
            raise Refused("malformed", "what is that?")
        return Child(f"quantum_link/{peer}", Idle)

    def holder(self, peer: str) -> str:
        return f"peer/{peer}"


FAR = "far"
"""A process beside core, which has interface 2; 1 and 9 are of core."""


def places() -> LinkPlaces:
    return LinkPlaces(Interface(n, "emulated", FAR if n == 2 else "core") for n in (1, 2, 9))


def plan(node: str, **changes: object) -> PeerPlan:
    first = PeerPlan(me=claim(node), directory=directory(), subtree=subtree, places=places())
    return replace(first, **changes)  # type: ignore[arg-type]


def recipe(**changes: object) -> Callable[[StepSystem], None]:
    def start(system: StepSystem) -> None:
        mine = (Child("peer_manager", PeerManager, (plan(system.node, **changes),)),)
        kind: Any = partial(Supervisor, interfaces=Made())
        system.spawn("supervisor", kind, mine, give_up)

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
    no_words = peers.PeerSpeaks(peer="b", words=())  # the nodes of this row have none
    assert news == [peers.PeerUp(peer="b"), no_words, peers.PeerDown(peer="b")]
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


def test_a_peer_that_refuses_our_key_is_in_trouble_until_it_is_up(row: Cluster) -> None:
    refused = peers.KeyRefused(peer="b")

    with capture_logs() as logs:
        for _ in range(3):
            row.tell("peer_manager@a", refused)

    trouble = "b refuses our key; directory serial 1 here"
    assert states(row, "a")["b"].trouble == trouble
    assert [line["trouble"] for line in logs if line["event"] == "peer_trouble"] == [trouble]
    up(row, "a", "b")
    assert states(row, "a")["b"].trouble == ""
    row.tell("peer_manager@a", refused)
    row.tell("peer_manager@a", peers.KeyRefused(peer="nobody"))
    assert states(row, "a")["b"].trouble == ""


def test_a_peer_that_lacks_one_of_our_words_is_in_trouble() -> None:
    cluster = Cluster("a b", start_with_words, hear_peers=())

    up(cluster, "a", "b")

    assert "blocks.held/2" in states(cluster, "a")["b"].trouble


@pytest.mark.parametrize("kind", ["key_store", "relay"])
def test_store_and_relay_hear_which_of_our_words_the_peer_understands(kind: str) -> None:
    words = {"a": ("x/1", "x/2", "y/1"), "b": ("x/1", "y/1", "z/9")}

    def start(system: StepSystem) -> None:
        me = claim(system.node, words=words[system.node])
        plan_ = plan(system.node, me=me, stores=("b",), relays=("b",))
        system.spawn("peer_manager", PeerManager, plan_)

    cluster = Cluster("a b", start, hear_peers=())
    hears = cluster.probe(f"{kind}/b@a")

    for _ in range(2):  # told once
        up(cluster, "a", "b")
    assert hears.of(peers.PeerSpeaks) == [peers.PeerSpeaks(peer="b", words=("x/1", "y/1"))]

    hears.question("peer_manager@a", peers.Subscribe())  # a fresh one is told again
    cluster.settle()
    assert len(hears.of(peers.PeerSpeaks)) == 2


def in_mode(node: str, mode: str) -> peers.Capabilities:
    return replace(
        claim(node), interfaces=("etsi014/1.1.1", *([peers.MODE + mode] if mode else []))
    )


@pytest.mark.parametrize(
    ("ours", "theirs", "alarms"),
    [("local", "confirmed", 1), ("confirmed", "local", 1), ("local", "local", 0), ("local", "", 0)],
)
def test_a_peer_of_another_mode_is_in_trouble_at_both_ends(
    ours: str, theirs: str, alarms: int
) -> None:
    modes = {"a": ours, "b": theirs}

    def start(system: StepSystem) -> None:
        me = in_mode(system.node, modes[system.node])
        system.spawn("peer_manager", PeerManager, plan(system.node, me=me))

    cluster = Cluster("a b", start, hear_peers=())

    for _ in range(2):  # the alarm is counted once as long as it goes on
        up(cluster, "a", "b")
        up(cluster, "b", "a")

    for at, peer in (("a", "b"), ("b", "a")):
        assert cluster.count(at, "protokms_alarms", kind="other_mode", peer=peer) == alarms
        assert ("set [store] mode to one" in states(cluster, at)[peer].trouble) is bool(alarms)


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
    multicast, store = row.probe("multicast@a"), row.probe("key_store/b@a")
    multicast.say("peer_manager@a", peers.Subscribe())
    row.settle()

    done = row.ask("peer_manager@a", directory(serial=2, c=("sae-9",)))
    row.settle()

    first, second = multicast.of(peers.Located)
    assert done == peers.Done()
    assert first.here == "a"
    assert dict(first.homes) == {"sae-1": "a", "sae-2": "b", "sae-3": "b"}
    assert (second.serial, second.homes["sae-9"]) == (2, "c")
    assert store.of(peers.Located)[0].homes is second.homes, "one map for all, however many SAEs"


def test_a_front_end_hears_how_many_pieces_there_are_and_asks_for_each(row: Cluster) -> None:
    front = row.probe("etsi014@a")
    many = tuple(f"many-{number}" for number in range(PIECE))

    row.ask("peer_manager@a", directory(serial=2, b=many, c=("last",)))
    front.say("peer_manager@a", peers.Subscribe())
    row.settle()

    news = peers.HomesChanged(serial=2, here="a", pieces=2)
    assert front.received == [news, news]
    first, second = (
        row.ask("peer_manager@a", peers.GetHomes(serial=2, piece=piece)) for piece in range(2)
    )
    assert isinstance(first, peers.Homes)
    assert isinstance(second, peers.Homes)
    assert first.ids == (("a", "id-a"), ("b", "id-b"), ("c", "id-c"))
    assert second == peers.Homes(ids=(), saes=((many[-1], "b"), ("last", "c")))
    assert (*first.saes, *second.saes)[1:] == (*((sae, "b") for sae in many), ("last", "c"))


@pytest.mark.parametrize(
    ("serial", "piece", "code"), [(0, 0, "stale"), (1, -1, "malformed"), (1, 1, "malformed")]
)
def test_pieces_that_are_not_there_are_refused(
    row: Cluster, serial: int, piece: int, code: str
) -> None:
    answer = row.ask("peer_manager@a", peers.GetHomes(serial=serial, piece=piece))

    assert isinstance(answer, Failed)
    assert answer.code == code


def test_a_piece_of_the_longest_names_fits_a_frame() -> None:
    saes = tuple(f"{number:0512}" for number in range(PIECE))
    kmss = [peers.Kms(f"{n:064}", f"{n:0512}", "", "", "", saes[n : n + 1]) for n in range(PIECE)]
    body = DirectoryHomes(peers.Directory(serial=1, kmss=tuple(kmss))).piece(0)
    ends = Address("peer_manager", "a" * 64), Address("etsi014", "a" * 64)

    octets = encode(Envelope(*ends, body, 1, True), NoSealer())

    assert len(body.saes) == PIECE
    assert MAX_FRAME // 2 < len(octets) < MAX_FRAME


class NoSealer:
    """Seals nothing."""

    def seal(self, octets: bytes) -> bytes:
        return octets

    def open(self, octets: bytes) -> bytes:
        return octets


def test_the_audience_of_the_plan_hears_without_asking_after_a_crash_too() -> None:
    cluster = Cluster("a", recipe(audience=("etsi014",)), hear_peers=())
    front = cluster.probe("etsi014@a")

    cluster.restart("a")

    assert len(front.of(peers.HomesChanged)) == 1


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

    heard = [body for body in relay.received if not isinstance(body, peers.PeerSpeaks)]
    assert heard == [peers.PeerUp(peer="c"), peers.PeerDown(peer="c")]


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
    answer = row.ask("peer_manager@a", peers.AddQuantumPeer(peer="c", interface=1))

    there = {"peer/c", "key_store/c", "quantum_link/c"}
    assert answer == peers.Done()
    assert there <= set(row.nodes["a"].actors)


def test_a_removed_link_leaves_the_key_store_and_can_come_back(row: Cluster) -> None:
    row.ask("peer_manager@a", peers.AddQuantumPeer(peer="c", interface=1))
    store = row.actor("key_store/c@a")

    removed = row.ask("peer_manager@a", peers.RemoveQuantumPeer(peer="c"))
    gone = "quantum_link/c" not in row.nodes["a"].actors
    back = row.ask("peer_manager@a", peers.AddQuantumPeer(peer="c", interface=1))

    assert (removed, back, gone) == (peers.Done(), peers.Done(), True)
    assert row.actor("key_store/c@a") is store


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (peers.AddQuantumPeer(peer="x", interface=1), "no_such_peer"),
        (peers.AddQuantumPeer(peer="a", interface=1), "no_such_peer"),
        (peers.AddQuantumPeer(peer="c", interface=9), "malformed"),
    ],
)
def test_links_that_cannot_be_are_refused(
    row: Cluster, wrong: peers.AddQuantumPeer, code: str
) -> None:
    answer = row.ask("peer_manager@a", wrong, wait=10.0)

    assert isinstance(answer, Failed)
    assert answer.code == code


def test_a_link_that_was_refused_leaves_its_interface_free(row: Cluster) -> None:
    refused = row.ask("peer_manager@a", peers.AddQuantumPeer(peer="c", interface=9))

    other = row.ask("peer_manager@a", peers.AddQuantumPeer(peer="c", interface=1))

    assert isinstance(refused, Failed)
    assert other == peers.Done()


def test_a_link_that_is_removed_while_its_subtree_starts_does_not_come(row: Cluster) -> None:
    asking = row.probe("intent@a")
    asking.question("peer_manager@a", peers.AddQuantumPeer(peer="c", interface=1))
    asking.question("peer_manager@a", peers.RemoveQuantumPeer(peer="c"))
    row.advance(1.0)

    assert "quantum_link/c" not in row.nodes["a"].actors
    assert [type(it) for it in asking.received] == [Failed, peers.Done]
    assert row.ask("peer_manager@a", peers.AddQuantumPeer(peer="c", interface=1)) == peers.Done()
    assert "quantum_link/c" in row.nodes["a"].actors


def test_a_link_that_is_wanted_again_while_it_stops_stays_bound(row: Cluster) -> None:
    add = peers.AddQuantumPeer(peer="c", interface=1)
    row.ask("peer_manager@a", add)
    asking = row.probe("intent@a")
    for body in (peers.RemoveQuantumPeer(peer="c"), add):
        asking.question("peer_manager@a", body)
    row.advance(1.0)

    assert asking.received == [peers.Done(), peers.Done()]
    assert "quantum_link/c" in row.nodes["a"].actors
    told = row.ask("peer_manager@a", peers.ListInterfaces())
    assert isinstance(told, peers.Interfaces)
    assert told.interfaces[0].peer == "c"


@pytest.fixture
def apart(row: Cluster) -> Probe:
    """The supervisor of a process beside core, as core sees it."""
    return row.probe(f"supervisor/{FAR}@a")


def add_far(row: Cluster, probe: Probe, reply: Message) -> Message:
    probe.on(StartLink, reply)
    return row.ask("peer_manager@a", peers.AddQuantumPeer(peer="c", interface=2), 6.0)


def test_the_supervisor_of_its_process_is_asked_for_a_link(row: Cluster, apart: Probe) -> None:
    assert add_far(row, apart, Started()) == peers.Done()

    assert apart.of(StartLink) == [StartLink(peer="c", interface=2)]
    assert "key_store/c" in row.nodes["a"].actors
    assert "quantum_link/c" not in row.nodes["a"].actors


def test_what_the_supervisor_refuses_is_handed_on(row: Cluster, apart: Probe) -> None:
    no = Failed(code="unknown_peer", why="no key of c")

    assert add_far(row, apart, no) == no

    told = row.ask("peer_manager@a", peers.ListInterfaces())
    assert isinstance(told, peers.Interfaces)
    assert [it.peer for it in told.interfaces] == ["", "", ""]


@pytest.mark.parametrize("code", ["core_down", "timeout", "undeliverable"])
def test_a_link_of_a_process_that_is_away_starts_when_it_is_back(
    row: Cluster, apart: Probe, code: str
) -> None:
    assert add_far(row, apart, Failed(code=code, why="")) == Failed(code=code, why="")
    apart.clear()
    apart.on(StartLink, Started())

    row.tell("peer_manager@a", ProcessUp(process="other"))
    nobody = apart.of(StartLink)
    row.tell("peer_manager@a", ProcessUp(process=FAR))

    assert nobody == []
    assert apart.of(StartLink) == [StartLink(peer="c", interface=2)]


def test_a_link_that_could_not_be_stopped_is_still_there(row: Cluster, apart: Probe) -> None:
    add_far(row, apart, Started())
    away = Failed(code="undeliverable", why="")
    apart.on(StopLink, away)

    assert row.ask("peer_manager@a", peers.RemoveQuantumPeer(peer="c")) == away
    apart.on(StopLink, Stopped())
    assert row.ask("peer_manager@a", peers.RemoveQuantumPeer(peer="c")) == peers.Done()


def test_the_last_words_of_a_link_are_heard_for_a_while() -> None:
    where = places()
    row = Cluster("a", recipe(places=where), hear_peers=())
    apart = row.probe(f"supervisor/{FAR}@a")
    apart.on(StopLink, Stopped())
    add_far(row, apart, Started())
    row.ask("peer_manager@a", peers.RemoveQuantumPeer(peer="c"))

    first = where.process_of("c")
    row.advance(LAST_WORDS_S + 1.0)

    assert (first, where.process_of("c")) == (FAR, None)


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

    speaks = peers.PeerSpeaks(peer="c", words=())
    assert watcher.received == [peers.PeerUp(peer="c"), speaks, peers.PeerDown(peer="c"), newer]


def test_a_watcher_that_starts_late_hears_all_it_has_missed(watched: Cluster) -> None:
    up(watched, "a", "c")
    watcher = watched.probe("router@a")

    watcher.say("peer_manager@a", peers.Subscribe())
    watched.settle()

    linked = peers.Linked(peers=("b",))
    assert watcher.received == [directory(), linked, peers.PeerUp(peer="c")]


def test_a_link_that_comes_or_goes_at_run_time_is_told_to_watchers(watched: Cluster) -> None:
    watcher = watched.probe("router@a")

    watched.ask("peer_manager@a", peers.AddQuantumPeer(peer="c", interface=1), 1.0)
    watched.ask("peer_manager@a", peers.RemoveQuantumPeer(peer="c"), 1.0)

    told = [body for body in watcher.received if isinstance(body, peers.Linked)]
    assert told == [peers.Linked(peers=("b", "c")), peers.Linked(peers=("b",))]


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
