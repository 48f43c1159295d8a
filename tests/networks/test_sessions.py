"""Key transport sessions: set up, refreshed, led around what fails; durable at the origin alone."""

import re
from typing import Any

import pytest

from actors.protocol import links, sessions
from actors.protocol.common import Failed, Health, Healthy, Refused
from actors.protocol.relay import LaneBroken, LaneClosed, LaneOpened, SessionId
from actors.protocol.sessions import (
    NODES_MAX,
    TOO_MANY,
    EnsureSession,
    SessionAdded,
    SessionEnsured,
    SessionRemoved,
)
from actors.sessions.sessions import SessionManager
from actors.sessions.terms import terms_of
from tests.kit.mesh import Distant, Lanes, Mesh, chain, ring
from transport.message import Message

SETTLED_S = 7.0
DETECTION_S = 3.0


def mesh_of(nodes: str, **more: Any) -> Mesh:
    mesh = Mesh(nodes, **more)
    mesh.advance(SETTLED_S)
    return mesh


def ensure(mesh: Mesh, here: str, peer: str, sae: str = "sae-1") -> Message:
    ask = EnsureSession(peer=peer, sae=sae)
    return mesh.cluster.ask(f"sessions@{here}", ask, 10.0)


def remove(mesh: Mesh, origin: str, destination: str) -> Message:
    ask = sessions.RemoveSession(destination=destination)
    return mesh.cluster.ask(f"sessions@{origin}", ask, 5.0)


def established(mesh: Mesh, origin: str, destination: str) -> bool:
    return mesh.seen(origin, destination).state == "established"


def whole(mesh: Mesh, path: tuple[str, ...]) -> bool:
    """Tell whether lanes lead all along a path, from virtual link to virtual link."""
    last = len(path) - 1
    for hop, node in enumerate(path):
        source = f"relay/{path[hop - 1]}" if hop else f"virtual_link/{path[-1]}"
        target = f"relay/{path[hop + 1]}" if hop < last else f"virtual_link/{path[0]}"
        for name in (source, target):
            lanes = [it for it in mesh.lanes(f"{name}@{node}") if it.path == path]
            if [(it.source, it.target, it.hop) for it in lanes] != [(source, target, hop)]:
                return False
    return True


# Setting up


def test_a_session_over_a_chain_of_five_has_lanes_at_every_node() -> None:
    mesh = mesh_of(chain(5))

    added = mesh.add("n1", "n5")

    path = ("n1", "n2", "n3", "n4", "n5")
    assert isinstance(added, SessionAdded)
    assert (added.session.state, added.session.paths) == ("established", (path,))
    assert whole(mesh, path)
    assert mesh.has("key_store/n5@n1")
    assert mesh.has("key_store/n1@n5")
    assert not mesh.has("key_store/n5@n3")
    assert [mesh.all(f"n{i}").crossing for i in range(1, 6)] == [0, 1, 1, 1, 0]


def test_the_same_again_is_harmless() -> None:
    mesh = mesh_of(chain(3))
    mesh.add("n1", "n3")
    before = mesh.lanes("virtual_link/n3@n1")

    again = mesh.add("n1", "n3")

    assert isinstance(again, SessionAdded)
    assert mesh.lanes("virtual_link/n3@n1") == before


def test_other_terms_replace_the_old_ones() -> None:
    mesh = mesh_of(chain(3))
    mesh.add("n1", "n3")

    changed = mesh.add("n1", "n3", low_bits=1000, high_bits=2000, weight=3)

    assert isinstance(changed, SessionAdded)
    (lane,) = mesh.lanes("relay/n3@n2")
    assert lane.weight == 3
    assert (changed.session.low_bits, changed.session.high_bits) == (1000, 2000)


def test_other_terms_overtake_a_search_for_paths_that_is_under_way() -> None:
    mesh = mesh_of(chain(3))
    mesh.cluster.probe("router@n1")  # takes the question, and answers nothing
    probe = mesh.cluster.probe("someone@n1")
    probe.question("sessions@n1", sessions.AddSession(destination="n3"))
    mesh.advance(0.5)

    added = mesh.add("n1", "n3", paths=(("n1", "n2", "n3"),), wait=1.0)

    assert isinstance(added, SessionAdded)


def test_what_is_removed_before_it_is_set_up_is_never_set_up() -> None:
    mesh = mesh_of(chain(3))
    asking = mesh.cluster.probe("cli@n1")

    for _ in range(3):
        asking.question("sessions@n1", sessions.AddSession(destination="n3"))
        asking.question("sessions@n1", sessions.RemoveSession(destination="n3"))
    mesh.advance(20.0)

    assert mesh.lanes("virtual_link/n3@n1") == mesh.lanes("relay/n3@n2") == []
    assert len(asking.envelopes) == 6


def test_removing_ends_it_all_along_the_path_and_keeps_the_stores() -> None:
    mesh = mesh_of(chain(4))
    mesh.add("n1", "n4")

    assert remove(mesh, "n1", "n4") == SessionRemoved()
    assert remove(mesh, "n1", "n4") == SessionRemoved()

    assert mesh.all("n1").sessions == ()
    for node, actor in (("n1", "relay/n2"), ("n2", "relay/n3"), ("n4", "virtual_link/n1")):
        assert mesh.lanes(f"{actor}@{node}") == []
    assert mesh.has("key_store/n4@n1")
    assert mesh.has("key_store/n1@n4")


def test_a_crash_before_its_store_was_made_leaves_no_session_without_one() -> None:
    mesh = mesh_of(chain(3))
    asking = mesh.cluster.probe("cli@n1")
    mesh.cluster.crash_at_commit("n1", 1, before=False)

    asking.question("sessions@n1", sessions.AddSession(destination="n3"))
    mesh.advance(1.0)
    assert not mesh.cluster.nodes["n1"].alive
    mesh.cluster.restart("n1")
    mesh.advance(20.0)

    assert established(mesh, "n1", "n3")


def test_a_session_that_was_removed_stays_so_over_a_restart() -> None:
    mesh = mesh_of(chain(3))
    mesh.add("n1", "n3")
    remove(mesh, "n1", "n3")

    mesh.cluster.restart("n1")
    mesh.advance(20.0)

    assert mesh.all("n1").sessions == ()
    assert mesh.has("key_store/n3@n1")
    assert mesh.lanes("virtual_link/n3@n1") == []


# Refusals name the node


@pytest.mark.parametrize(
    ("terms", "code"),
    [
        ({"destination": "n9"}, "no_such_peer"),
        ({"destination": "n1"}, "malformed"),
        ({"destination": "n2"}, "not_allowed"),
        ({"destination": "n4", "n": -1}, "malformed"),
        ({"destination": "n4", "n": 9}, "malformed"),
        ({"destination": "n4", "weight": 0}, "malformed"),
        ({"destination": "n4", "weight": 17}, "malformed"),
        ({"destination": "n4", "low_bits": 2, "high_bits": 1}, "malformed"),
        (
            {"destination": "n4", "n": 1, "paths": (("n1", "n2", "n4"), ("n1", "n3", "n4"))},
            "malformed",
        ),
        ({"destination": "n4", "paths": (("n2", "n4"),)}, "malformed"),
        ({"destination": "n4", "paths": (("n1", "n2", "n1", "n4"),)}, "malformed"),
        ({"destination": "n4", "paths": (("n1", "n9", "n4"),)}, "no_such_peer"),
        (
            {"destination": "n4", "n": 2, "paths": (("n1", "n2", "n4"), ("n1", "n2", "n3", "n4"))},
            "not_enough_disjoint_paths",
        ),
    ],
)
def test_terms_that_cannot_be_are_refused_and_not_kept(terms: dict[str, Any], code: str) -> None:
    mesh = mesh_of(chain(4))

    answer = mesh.add("n1", **terms)

    assert isinstance(answer, Failed)
    assert answer.code == code
    assert mesh.all("n1").sessions == ()


def test_no_route_is_refused_kept_and_tried_until_there_is_one() -> None:
    mesh = mesh_of(chain(4))
    mesh.say("n3", "n4", ready=False)
    mesh.advance(SETTLED_S)

    answer = mesh.add("n1", "n4")
    assert answer == Failed(code="no_route", why="refused by n1")
    assert mesh.seen("n1", "n4").state == "no_route"
    mesh.say("n3", "n4", ready=True)
    mesh.advance(SETTLED_S)

    assert established(mesh, "n1", "n4")


def test_a_hop_that_is_down_is_named() -> None:
    mesh = mesh_of(chain(4))
    mesh.say("n3", "n4", ready=False)

    answer = mesh.add("n1", "n4", paths=(("n1", "n2", "n3", "n4"),))

    assert answer == Failed(code="no_route", why="refused by n3")


def test_a_session_over_a_dry_hop_stands_and_waits_for_room() -> None:
    mesh = mesh_of(chain(4))
    mesh.say("n2", "n3", stock=0)

    answer = mesh.add("n1", "n4", paths=(("n1", "n2", "n3", "n4"),))

    assert isinstance(answer, SessionAdded)


def test_a_destination_that_accepts_nobody_is_named() -> None:
    mesh = mesh_of(chain(3), relay={"accept": False})
    asked = mesh.add("n1", "n3")
    assert asked == Failed(code="not_allowed", why="refused by n3")
    assert mesh.seen("n1", "n3").paths == (("n1", "n2", "n3"),)


def test_who_accepts_nobody_begins_sessions_nevertheless() -> None:
    mesh = mesh_of(chain(3), relay_at={"n1": {"accept": False}})

    assert mesh.add("n3", "n1") == Failed(code="not_allowed", why="refused by n1")
    assert isinstance(mesh.add("n1", "n3"), SessionAdded)


def test_a_hop_that_carries_too_many_is_named() -> None:
    mesh = mesh_of(f"{chain(4)} n0-n1", relay={"max_crossing": 1})

    first = mesh.add("n1", "n4")
    second = mesh.add("n0", "n3")

    assert isinstance(first, SessionAdded)
    assert second == Failed(code="node_full", why="refused by n1")


def test_a_hop_that_does_not_know_a_node_is_named() -> None:
    mesh = mesh_of(chain(4))
    del mesh.actor("sessions@n2", SessionManager).neighbours.public["n4"]

    answer = mesh.add("n1", "n4", paths=(("n1", "n2", "n3", "n4"),))

    assert answer == Failed(code="no_such_peer", why="refused by n2")


def test_too_few_disjoint_paths_are_refused_by_the_origin() -> None:
    mesh = mesh_of(chain(4))

    answer = mesh.add("n1", "n4", n=2)

    assert answer == Failed(code="not_enough_disjoint_paths", why="refused by n1")


# What fails, and heals


@pytest.mark.parametrize("node", ["n1", "n2", "n3", "n4", "n5"])
def test_a_restart_of_any_node_of_the_path_heals_by_itself(node: str) -> None:
    mesh = mesh_of(chain(5))
    mesh.add("n1", "n5")

    mesh.cluster.restart(node)
    mesh.advance(SETTLED_S)

    assert established(mesh, "n1", "n5")
    assert whole(mesh, ("n1", "n2", "n3", "n4", "n5"))


def test_a_restart_that_no_heartbeat_notices_heals_with_the_next_refresh() -> None:
    mesh = mesh_of(chain(4))
    mesh.add("n1", "n4")
    mesh.cluster.tolerant = True
    mesh.cluster.crash_actor("sessions@n2")

    mesh.advance(6.0)  # the answer to a refresh tells what is not known there any more

    assert established(mesh, "n1", "n4")
    mesh.advance(15.0)  # what n3 had of it is forgotten, as nobody refreshes it
    assert whole(mesh, ("n1", "n2", "n3", "n4"))


def test_a_relay_that_starts_anew_is_told_its_lanes() -> None:
    mesh = mesh_of(chain(3))
    mesh.add("n1", "n3")
    mesh.cluster.tolerant = True

    mesh.cluster.crash_actor("relay/n3@n2")
    mesh.advance(1.0)

    assert [it.path for it in mesh.lanes("relay/n3@n2")] == [("n1", "n2", "n3")]


@pytest.mark.parametrize("victim", ["n2", "n3"])
def test_a_dead_node_is_left_aside_as_soon_as_it_is_noticed(victim: str) -> None:
    mesh = mesh_of(ring(6))
    mesh.add("n1", "n4")
    (old,) = mesh.seen("n1", "n4").paths
    way = ("n1", "n2", "n3", "n4")
    if old != way:
        victim = {"n2": "n6", "n3": "n5"}[victim]

    mesh.cluster.crash(victim)
    mesh.advance(DETECTION_S + 0.1)

    (new,) = mesh.seen("n1", "n4").paths
    assert established(mesh, "n1", "n4")
    assert victim not in new
    assert whole(mesh, new)


def test_a_cut_link_before_the_destination_is_gone_around() -> None:
    mesh = mesh_of(ring(5))
    mesh.add("n1", "n3")
    assert mesh.seen("n1", "n3").paths == (("n1", "n2", "n3"),)

    mesh.cluster.cut("n2", "n3")
    mesh.advance(DETECTION_S + 0.1)

    assert mesh.seen("n1", "n3").paths == (("n1", "n5", "n4", "n3"),)
    assert whole(mesh, ("n1", "n5", "n4", "n3"))
    assert mesh.lanes("relay/n1@n2") == []


def test_a_reroute_has_another_number_and_the_old_one_is_closed_first() -> None:
    mesh = mesh_of(ring(5))
    mesh.add("n1", "n3")
    mesh.cluster.cut("n2", "n3")
    mesh.advance(DETECTION_S + 0.1)

    heard = mesh.actor("virtual_link/n3@n1", Lanes).heard

    opened, closed, anew = heard
    assert isinstance(opened, LaneOpened)
    assert isinstance(closed, LaneClosed)
    assert isinstance(anew, LaneOpened)
    assert opened.session == closed.session
    assert opened.session.number != anew.session.number


def test_a_relay_that_gives_up_makes_the_origin_look_for_another_way() -> None:
    mesh = mesh_of(ring(5))
    mesh.add("n1", "n3")
    (lane,) = mesh.lanes("relay/n3@n2")

    broken = LaneBroken(session=lane.session, share=0, code="not_enough_bits")
    mesh.cluster.tell("sessions@n2", broken, sender="relay/n3@n2")
    mesh.advance(0.1)

    assert mesh.seen("n1", "n3").paths == (("n1", "n5", "n4", "n3"),)


def test_without_another_way_it_waits_with_the_reason_and_comes_back() -> None:
    mesh = mesh_of(chain(4))
    mesh.add("n1", "n4")
    mesh.cluster.cut("n3", "n4")
    mesh.advance(DETECTION_S + 1.0)
    waiting = mesh.seen("n1", "n4")
    assert (waiting.state, waiting.why) != ("established", "")
    assert waiting.state == "no_route"

    mesh.cluster.mend("n3", "n4")
    mesh.advance(SETTLED_S)

    assert whole(mesh, ("n1", "n2", "n3", "n4"))


def test_what_its_origin_does_not_refresh_is_forgotten() -> None:
    mesh = mesh_of(chain(4))
    mesh.add("n1", "n4")

    mesh.cluster.worsen("n1", "n2", loss=1.0)  # heartbeats still pass
    mesh.advance(20.0)

    assert mesh.lanes("relay/n3@n2") == []
    assert mesh.lanes("virtual_link/n1@n4") == []
    assert not established(mesh, "n1", "n4")


def test_a_refresh_that_gets_lost_costs_nothing() -> None:
    mesh = mesh_of(chain(3))
    mesh.add("n1", "n3")
    before = mesh.lanes("virtual_link/n3@n1")
    mesh.cluster.worsen("n2", "n3", loss=1.0)
    mesh.advance(6.0)
    mesh.cluster.worsen("n2", "n3", loss=0.0)
    mesh.advance(20.0)

    assert mesh.lanes("virtual_link/n3@n1") == before


def test_on_bad_wires_a_session_comes_to_stand() -> None:
    mesh = mesh_of(chain(5), seed=7)
    for one, other in mesh.cluster.links:
        mesh.cluster.worsen(one, other, loss=0.1, duplicate=0.1, reorder=0.1)

    mesh.add("n1", "n5", wait=10.0)
    mesh.advance(60.0)
    for one, other in mesh.cluster.links:
        mesh.cluster.worsen(one, other, loss=0.0, duplicate=0.0, reorder=0.0)
    mesh.advance(30.0)

    assert whole(mesh, ("n1", "n2", "n3", "n4", "n5"))


def test_a_node_that_dies_while_it_is_asked_is_not_waited_for() -> None:
    mesh = mesh_of(ring(5))
    mesh.cluster.probe("sessions@n2")  # takes what is asked, and answers nothing
    probe = mesh.cluster.probe("someone@n1")
    probe.question("sessions@n1", sessions.AddSession(destination="n3"))
    mesh.advance(0.5)

    mesh.cluster.crash("n2")
    mesh.advance(DETECTION_S + 1.0)

    assert mesh.seen("n1", "n3").paths == (("n1", "n5", "n4", "n3"),)
    assert established(mesh, "n1", "n3")


# Explicit paths, better paths


def test_an_explicit_path_wins_though_there_is_a_shorter_one() -> None:
    mesh = mesh_of(ring(5))
    way = ("n1", "n5", "n4", "n3")

    added = mesh.add("n1", "n3", paths=(way,))

    assert isinstance(added, SessionAdded)
    assert whole(mesh, way)
    mesh.advance(60.0)
    assert mesh.seen("n1", "n3").paths == (way,)


@pytest.mark.parametrize("nodes", [NODES_MAX, NODES_MAX + 1])
def test_a_path_of_too_many_nodes_is_refused(nodes: int) -> None:
    path = tuple(f"n{number}" for number in range(nodes))
    ask = sessions.AddSession(destination=path[-1], paths=(path,))
    if nodes == NODES_MAX:
        assert terms_of(ask, "n0", path).paths == (path,)
        return

    with pytest.raises(Refused) as refused:
        terms_of(ask, "n0", path)

    assert refused.value.code == "malformed"


def test_an_explicit_path_that_breaks_is_waited_for_and_never_replaced() -> None:
    mesh = mesh_of(ring(5))
    way = ("n1", "n5", "n4", "n3")
    mesh.add("n1", "n3", paths=(way,))

    mesh.cluster.cut("n4", "n5")
    mesh.advance(40.0)
    waiting = mesh.seen("n1", "n3")
    assert (waiting.state, waiting.why, waiting.paths) == ("no_route", "refused by n5", (way,))
    mesh.cluster.mend("n4", "n5")
    mesh.advance(20.0)

    assert established(mesh, "n1", "n3")
    assert whole(mesh, way)


def test_a_clearly_better_path_is_taken_and_an_equal_one_is_not() -> None:
    mesh = mesh_of("a-b b-e a-c c-d d-e a-f f-e")
    mesh.cluster.cut("a", "b")
    mesh.cluster.cut("a", "f")
    mesh.advance(SETTLED_S)
    mesh.add("a", "e")
    assert mesh.seen("a", "e").paths == (("a", "c", "d", "e"),)

    mesh.cluster.mend("a", "b")
    mesh.advance(30.0)
    assert mesh.seen("a", "e").paths == (("a", "b", "e"),)
    number = mesh.lanes("virtual_link/e@a")[0].session.number
    mesh.cluster.mend("a", "f")
    mesh.advance(60.0)

    assert mesh.lanes("virtual_link/e@a")[0].session.number == number


def test_paths_are_not_left_for_better_ones_as_soon_as_they_stand() -> None:
    mesh = mesh_of("a-b b-e a-c c-d d-e")
    mesh.cluster.cut("a", "b")
    mesh.advance(SETTLED_S)
    mesh.add("a", "e")

    mesh.cluster.mend("a", "b")
    mesh.advance(9.0)
    assert mesh.seen("a", "e").paths == (("a", "c", "d", "e"),)
    mesh.advance(2.0)

    assert mesh.seen("a", "e").paths == (("a", "b", "e"),)


# Several paths (R14)


def test_two_shares_go_over_disjoint_paths() -> None:
    mesh = mesh_of(ring(6))

    added = mesh.add("n1", "n4", n=2)

    assert isinstance(added, SessionAdded)
    one, two = added.session.paths
    assert {one[1:-1], two[1:-1]} == {("n2", "n3"), ("n6", "n5")}
    assert sorted(it.share for it in mesh.lanes("virtual_link/n4@n1")) == [0, 1]
    assert sorted(it.share for it in mesh.lanes("virtual_link/n1@n4")) == [0, 1]


def test_fewer_paths_pause_the_session_and_never_carry_it() -> None:
    mesh = mesh_of(ring(6))
    mesh.add("n1", "n4", n=2)

    mesh.cluster.cut("n2", "n3")
    mesh.advance(DETECTION_S + 1.0)
    paused = mesh.seen("n1", "n4")
    assert paused.state == "not_enough_disjoint_paths"
    assert mesh.lanes("virtual_link/n4@n1") == []
    mesh.cluster.mend("n2", "n3")
    mesh.advance(30.0)

    assert established(mesh, "n1", "n4")


def test_over_a_reroute_no_node_gets_another_share_than_before() -> None:
    # Two rows, n1-a-b-z and n1-c-d-z, with rungs between: paths could swap sides half-way.
    mesh = mesh_of("n1-a a-b b-z n1-c c-d d-z a-d c-b n1-e e-z")
    mesh.add("n1", "z", n=2)
    carried: dict[str, set[int]] = {}
    for _ in range(30):
        for node in mesh.cluster.nodes:
            for peer in mesh.neighbours(node):
                for lane in mesh.lanes(f"relay/{peer}@{node}"):
                    if node not in ("n1", "z"):
                        carried.setdefault(node, set()).add(lane.share)
        if mesh.cluster.now < 12.0:
            mesh.cluster.cut("a", "b")
        mesh.advance(0.5)

    assert carried
    assert all(len(shares) == 1 for shares in carried.values())


def test_the_store_hears_when_bits_of_fewer_paths_will_do_again_and_when_it_asks() -> None:
    mesh = mesh_of(ring(4))
    mesh.add("n1", "n3", n=2)
    store = mesh.actor("key_store/n3@n1", Distant)

    mesh.cluster.tell("sessions@n1", links.AskLeastPaths(peer="n3"), sender="key_store/n3@n1")
    asked = store.least[-1]
    remove(mesh, "n1", "n3")
    mesh.cluster.tell("sessions@n1", links.AskLeastPaths(peer="n3"), sender="key_store/n2@n1")

    assert (asked, store.least[-1]) == (2, 1)
    assert store.least.count(1) == 1


@pytest.mark.parametrize("removed", [False, True])
def test_explicit_paths_give_no_node_another_share_than_before(removed: bool) -> None:
    mesh = mesh_of(ring(4))
    one, two = ("n1", "n2", "n3"), ("n1", "n4", "n3")
    mesh.add("n1", "n3", n=2, paths=(one, two))
    before = {lane.path: lane.share for lane in mesh.lanes("virtual_link/n3@n1")}
    if removed:
        remove(mesh, "n1", "n3")

    mesh.add("n1", "n3", n=2, paths=(two, one))

    assert {lane.path: lane.share for lane in mesh.lanes("virtual_link/n3@n1")} == before
    mesh.advance(1.0)


def test_the_store_hears_over_how_many_paths_its_bits_must_come_before_they_do() -> None:
    mesh = mesh_of(chain(3))
    mesh.add("n1", "n3")

    mesh.add("n1", "n3", n=2)

    assert mesh.seen("n1", "n3").state == "not_enough_disjoint_paths"
    assert mesh.actor("key_store/n3@n1", Distant).least[-1] == 2


def test_paths_that_would_give_a_node_another_share_wait_until_nothing_is_undecided() -> None:
    # a and b carry share 0, c and d share 1; then only a-d and c-b are left.
    mesh = mesh_of("n1-a a-b b-z n1-c c-d d-z a-d c-b")
    mesh.add("n1", "z", n=2)
    assert set(mesh.seen("n1", "z").paths) == {("n1", "a", "b", "z"), ("n1", "c", "d", "z")}

    mesh.cluster.cut("a", "b")
    mesh.cluster.cut("c", "d")
    mesh.advance(DETECTION_S + SETTLED_S)
    waiting = mesh.seen("n1", "z")
    assert waiting.state == "not_enough_disjoint_paths"
    said = re.fullmatch(
        r"refused by n1: [abcd] carried another share, which counts for (\d+) s more; .*again.*",
        waiting.why,
    )
    assert said
    assert 0 < int(said[1]) <= 20
    assert mesh.lanes("virtual_link/z@n1") == []
    mesh.advance(30.0)

    assert set(mesh.seen("n1", "z").paths) == {("n1", "a", "d", "z"), ("n1", "c", "b", "z")}
    assert established(mesh, "n1", "z")


def test_who_carried_the_only_path_lately_is_named_when_two_are_asked_for_too_soon() -> None:
    mesh = mesh_of(ring(4))
    for way in (("n1", "n2", "n3"), ("n1", "n4", "n3")):
        mesh.add("n1", "n3", paths=(way,))

    soon = mesh.add("n1", "n3", n=2)

    assert isinstance(soon, Failed)
    assert soon.code == "not_enough_disjoint_paths"
    assert soon.why.startswith("refused by n1: n2 carried another share, which counts for 20 s ")
    mesh.advance(36.0)
    assert established(mesh, "n1", "n3")


# On demand


def test_a_session_on_demand_brings_a_store_at_both_ends() -> None:
    mesh = mesh_of(chain(4))

    assert ensure(mesh, "n1", "n4") == SessionEnsured()
    mesh.advance(1.0)

    assert mesh.has("key_store/n4@n1")
    assert mesh.has("key_store/n1@n4")
    assert established(mesh, "n1", "n4")


def test_a_neighbour_needs_no_session() -> None:
    mesh = mesh_of(chain(3))

    assert ensure(mesh, "n1", "n2") == SessionEnsured()
    assert mesh.all("n1").sessions == ()


def test_a_session_that_begins_at_the_other_end_will_do() -> None:
    mesh = mesh_of(chain(3))
    mesh.add("n1", "n3")

    assert ensure(mesh, "n3", "n1") == SessionEnsured()
    assert mesh.all("n3").sessions == ()


def test_when_both_ends_ask_at_once_one_of_them_fills() -> None:
    mesh = mesh_of(chain(3))
    probe = mesh.cluster.probe("saes@n3")
    probe.question("sessions@n3", EnsureSession(peer="n1", sae="sae-3"))

    ensure(mesh, "n1", "n3")
    mesh.advance(20.0)

    assert len(mesh.lanes("virtual_link/n3@n1")) == 1
    assert mesh.seen("n3", "n1").state == "established"


def test_when_the_other_end_stops_filling_this_one_begins() -> None:
    mesh = mesh_of(chain(3))
    probe = mesh.cluster.probe("saes@n3")
    probe.question("sessions@n3", EnsureSession(peer="n1", sae="sae-3"))
    ensure(mesh, "n1", "n3")
    mesh.advance(20.0)

    remove(mesh, "n1", "n3")
    mesh.advance(20.0)

    (lane,) = mesh.lanes("virtual_link/n1@n3")
    assert lane.path == ("n3", "n2", "n1")


def test_who_may_not_make_sessions_on_demand_is_told_so() -> None:
    mesh = mesh_of(chain(3), relay={"on_demand": False})

    answer = ensure(mesh, "n1", "n3")

    assert isinstance(answer, Failed)
    assert answer.code == "not_allowed"
    assert isinstance(mesh.add("n1", "n3"), SessionAdded)


def test_sessions_on_demand_are_bounded_for_one_sae_and_in_all() -> None:
    relay = {"max_sessions": 3, "max_sessions_per_sae": 2}
    mesh = mesh_of("hub-a hub-b hub-c hub-d hub-e hub-f", relay=relay)

    answers = [ensure(mesh, "a", peer, "sae-1") for peer in "bcd"]
    others = [ensure(mesh, "a", peer, "sae-2") for peer in "de"]

    codes = [it.code if isinstance(it, Failed) else "" for it in answers + others]
    assert codes == ["", "", TOO_MANY, "", TOO_MANY]


def test_a_session_on_demand_that_came_to_nothing_makes_room_for_another_of_that_sae() -> None:
    mesh = mesh_of("hub-a hub-b hub-c hub-d", relay={"max_sessions": 2, "max_sessions_per_sae": 2})
    mesh.say("hub", "b", ready=False)
    mesh.advance(SETTLED_S)
    for peer in "bc":
        ensure(mesh, "a", peer, "sae-1")
    mesh.advance(1.0)

    stranger = ensure(mesh, "a", "d", "sae-2")
    same = ensure(mesh, "a", "d", "sae-1")

    assert isinstance(stranger, Failed)
    assert same == SessionEnsured()
    assert [it.destination for it in mesh.all("a").sessions] == ["c", "d"]


def test_a_session_on_demand_that_nobody_uses_is_ended_and_made_again() -> None:
    mesh = mesh_of(chain(4), relay={"idle_session_s": 60.0})
    ensure(mesh, "n1", "n4")
    mesh.add("n1", "n3")
    mesh.advance(50.0)
    mesh.actor("key_store/n4@n1", Distant).used_at = mesh.cluster.nodes["n1"].now()

    mesh.advance(50.0)
    assert established(mesh, "n1", "n4")
    mesh.advance(20.0)
    assert [it.destination for it in mesh.all("n1").sessions] == ["n3"]
    assert mesh.all("n2").crossing == 1

    ensure(mesh, "n1", "n4")  # its store says still that it was not used for long
    mesh.advance(50.0)
    assert established(mesh, "n1", "n4")


def test_a_session_on_demand_that_somebody_asks_for_again_goes_on() -> None:
    mesh = mesh_of(chain(4), relay={"idle_session_s": 60.0})
    for _ in range(3):
        ensure(mesh, "n1", "n4")
        mesh.advance(50.0)

    assert established(mesh, "n1", "n4")


def off_for(mesh: Mesh, node: str, seconds: float) -> None:
    """Stop a node, and start it again so much later."""
    mesh.cluster.crash(node)
    mesh.cluster.advance(seconds)
    mesh.cluster.restart(node)
    mesh.advance(SETTLED_S)


def test_a_pair_that_was_named_lately_is_remembered_across_starts() -> None:
    mesh = mesh_of(chain(4), relay={"named_s": 600.0})
    ensure(mesh, "n1", "n4")
    mesh.advance(5.0)

    off_for(mesh, "n1", 500.0)

    assert established(mesh, "n1", "n4")


def test_a_pair_that_nobody_has_named_for_days_gets_nothing_after_a_start() -> None:
    mesh = mesh_of(chain(4), relay={"named_s": 600.0})
    ensure(mesh, "n1", "n4")
    mesh.add("n1", "n3")
    mesh.advance(5.0)

    off_for(mesh, "n1", 600.0)

    assert [it.destination for it in mesh.all("n1").sessions] == ["n3"]  # somebody's order
    assert {row.kind for row in mesh.cluster.rows("n1", "sessions")} == {"start", "peer", "terms"}
    ensure(mesh, "n1", "n4")
    mesh.advance(5.0)
    assert established(mesh, "n1", "n4")


def test_a_pair_that_goes_on_being_used_goes_on_being_named() -> None:
    mesh = mesh_of(chain(4), relay={"named_s": 600.0, "idle_session_s": 60.0})
    ensure(mesh, "n1", "n4")
    for _ in range(5):
        mesh.advance(45.0)
        store = mesh.actor("key_store/n4@n1", Distant)
        store.used_at = mesh.cluster.nodes["n1"].now()
        mesh.advance(10.0)

    off_for(mesh, "n1", 400.0)

    assert established(mesh, "n1", "n4")


def test_stores_of_distant_peers_are_bounded_at_both_ends() -> None:
    mesh = mesh_of("hub-a hub-b hub-c hub-d", relay={"max_distant_peers": 1})

    here = [ensure(mesh, "a", peer) for peer in "bc"]
    there = mesh.add("d", "b")

    assert isinstance(here[0], SessionEnsured)
    assert isinstance(here[1], Failed)
    assert here[1].code == TOO_MANY
    assert here[1].why == "max_distant_peers"
    assert there == Failed(code="peers_full", why="refused by b")


def test_a_stranger_has_no_session() -> None:
    mesh = mesh_of(chain(3))

    assert ensure(mesh, "n1", "n9") == Failed(code="no_such_peer", why="n9")


def test_who_asks_for_a_session_that_does_not_stand_hears_why() -> None:
    mesh = Mesh(chain(4), relay={"paths": 2})
    mesh.advance(SETTLED_S)

    first = ensure(mesh, "n1", "n4")
    mesh.advance(1.0)

    assert first == SessionEnsured()
    no = SessionEnsured(code="not_enough_disjoint_paths", node="n1")
    assert ensure(mesh, "n1", "n4") == no


def test_a_session_on_demand_follows_the_policy_of_today() -> None:
    mesh = mesh_of(ring(4))
    ensure(mesh, "n1", "n3")
    mesh.add("n2", "n4")
    mesh.advance(1.0)
    before = mesh.seen("n1", "n3").n

    mesh.options["paths"] = 2
    for node in ("n1", "n2", "n3"):
        mesh.cluster.restart(node)
    mesh.advance(SETTLED_S)

    assert (before, mesh.seen("n1", "n3").n, mesh.seen("n2", "n4").n) == (1, 2, 1)


# What is durable


def test_a_session_and_its_store_are_there_again_after_a_restart_of_the_origin() -> None:
    mesh = mesh_of(chain(3))
    mesh.add("n1", "n3", low_bits=100, high_bits=200)

    mesh.cluster.restart("n1", reboot=True)
    mesh.advance(SETTLED_S)

    seen = mesh.seen("n1", "n3")
    assert (seen.state, seen.low_bits, seen.high_bits) == ("established", 100, 200)


def test_the_store_at_the_destination_is_there_again_before_any_refresh() -> None:
    mesh = mesh_of(chain(3))
    mesh.add("n1", "n3")
    mesh.cluster.crash("n1")

    mesh.cluster.restart("n3")
    mesh.advance(0.1)

    assert mesh.has("key_store/n1@n3")
    assert mesh.has("virtual_link/n1@n3")


@pytest.mark.parametrize("before", [True, False])
def test_a_crash_with_the_commit_of_a_session_keeps_it_or_not(before: bool) -> None:
    mesh = mesh_of(chain(3))
    mesh.cluster.crash_at_commit("n1", before=before)
    probe = mesh.cluster.probe("someone@n1")
    probe.question("sessions@n1", sessions.AddSession(destination="n3"))
    mesh.cluster.settle()
    assert probe.received == []

    mesh.cluster.restart("n1")
    mesh.advance(SETTLED_S)

    assert len(mesh.all("n1").sessions) == (0 if before else 1)


def test_health_says_which_session_does_not_stand_and_why() -> None:
    mesh = mesh_of(chain(3))
    mesh.say("n2", "n3", ready=False)
    mesh.add("n1", "n3")

    healthy = mesh.cluster.ask("sessions@n1", Health())

    assert isinstance(healthy, Healthy)
    assert healthy.ready
    assert "no_route" in dict(healthy.facts)["session/n3"]


def test_lanes_of_a_former_life_of_the_sessions_are_forgotten_by_relays() -> None:
    mesh = mesh_of(chain(3))
    mesh.add("n1", "n3")
    mesh.cluster.tolerant = True
    (old,) = mesh.lanes("virtual_link/n3@n1")

    mesh.cluster.crash_actor("sessions@n1")
    mesh.advance(SETTLED_S)

    (new,) = mesh.lanes("virtual_link/n3@n1")
    assert new.session != old.session
    assert [it.session for it in mesh.lanes("relay/n2@n1")] == [new.session]


def test_a_lane_that_nobody_knows_is_closed_when_a_relay_says_it_is_broken() -> None:
    mesh = mesh_of(chain(3))
    relay = mesh.cluster.probe("relay/n3@n2")
    foreign = LaneBroken(session=SessionId("n1", 5), share=0, code="busy")

    relay.say("sessions@n2", foreign)
    mesh.cluster.settle()

    assert relay.received == [LaneClosed(session=SessionId("n1", 5), share=0)]


# Several paths at one end, one at the other


def few_and_many() -> Mesh:
    """A ring of four; `n3` wants two paths for whatever SAEs there share with others."""
    return mesh_of(ring(4), relay_at={"n3": {"paths": 2}})


def test_who_splits_keys_over_two_paths_takes_none_that_came_over_one() -> None:
    mesh = few_and_many()

    added = mesh.add("n1", "n3")

    assert isinstance(added, Failed)
    assert added.code == "not_enough_disjoint_paths"
    assert not mesh.has("virtual_link/n1@n3")
    assert isinstance(mesh.add("n1", "n3", n=2), SessionAdded)


def test_a_session_over_one_path_ends_when_the_other_end_asks_for_two() -> None:
    mesh = mesh_of(ring(4))
    mesh.add("n1", "n3")

    mesh.add("n3", "n1", n=2)
    mesh.advance(20.0)

    assert {it.shares for it in mesh.lanes("virtual_link/n1@n3")} == {2}
    assert mesh.seen("n1", "n3").state == "not_enough_disjoint_paths"
    assert established(mesh, "n3", "n1")


def test_who_asks_for_one_path_in_so_many_words_gets_it() -> None:
    mesh = few_and_many()

    mesh.add("n3", "n1", n=1)

    assert isinstance(mesh.add("n1", "n3"), SessionAdded)


def test_who_does_not_say_over_how_many_paths_gets_what_the_node_is_configured_for() -> None:
    mesh = few_and_many()

    added = mesh.add("n3", "n1")
    lanes = mesh.lanes("virtual_link/n1@n3")
    again = mesh.add("n3", "n1")

    assert isinstance(added, SessionAdded)
    assert isinstance(again, SessionAdded)
    assert (added.session.n, len(added.session.paths)) == (2, 2)
    assert mesh.lanes("virtual_link/n1@n3") == lanes
    given = mesh.add("n3", "n1", paths=(("n3", "n4", "n1"),))
    assert isinstance(given, SessionAdded)
    assert given.session.n == 1
