"""Routers tell each other, signed, how links are; nobody can forge it or bring it back."""

import dataclasses
import itertools

import pytest

from actors.crypto.signatures import Signer, state_text
from actors.network.lsdb import JUMP_MAX, SEQ_MAX
from actors.network.router import Router
from actors.protocol import peers, routes
from actors.protocol.alarms import Raised
from actors.protocol.common import Failed, Health, Healthy
from actors.protocol.routes import Known, KnownStates, LinkLoad, LinkState, LinkStates
from tests.kit.mesh import Mesh, chain, key_of, ring
from transport.codec import decode

SETTLED_S = 7.0


@pytest.fixture
def row() -> Mesh:
    mesh = Mesh(chain(4))
    mesh.advance(SETTLED_S)
    return mesh


def state(origin: str, seq: int, *peers: str, signer: str = "", step: int = 20) -> LinkState:
    loads = tuple(LinkLoad(peer, step, step) for peer in sorted(peers))
    text = state_text(origin, seq, loads)
    return LinkState(origin, seq, loads, Signer(key_of(signer or origin)).sign(text))


def tell(mesh: Mesh, sender: str, to: str, *states: LinkState) -> None:
    mesh.cluster.tell(f"router@{to}", LinkStates(states=states), sender=f"router@{sender}")


def known(mesh: Mesh, at: str, origin: str) -> LinkState | None:
    return mesh.actor(f"router@{at}", Router).lsdb.of(origin)


def seq(mesh: Mesh, at: str, origin: str) -> int:
    found = known(mesh, at, origin)
    return found.seq if found else 0


def refused(mesh: Mesh, node: str, reason: str) -> float:
    return mesh.cluster.count(node, "protokms_states_refused", reason=reason)


def test_every_node_hears_of_every_link(row: Mesh) -> None:
    for at, (start, end) in itertools.product(("n1", "n4"), (("n1", "n4"), ("n4", "n1"))):
        assert len(row.route(start, end, at)) == 4


def test_a_link_that_is_short_of_bits_is_avoided() -> None:
    mesh = Mesh("a-b b-d a-c c-d")
    mesh.advance(SETTLED_S)
    assert mesh.route("a", "d") == ("a", "b", "d")

    for end in ("b", "d"):
        mesh.say(end, "d" if end == "b" else "b", stock=0)
    mesh.advance(SETTLED_S)

    assert mesh.route("a", "d") == ("a", "c", "d")


def test_a_link_that_one_end_does_not_claim_is_none(row: Mesh) -> None:
    row.say("n3", "n2", ready=False)
    row.advance(SETTLED_S)

    assert row.route("n1", "n4") == ()
    assert row.route("n1", "n2") == ("n1", "n2")


def test_a_dead_node_is_known_everywhere_within_a_step_of_its_neighbours_noticing() -> None:
    mesh = Mesh(ring(6))
    mesh.advance(20.0)

    mesh.cluster.crash("n2")
    mesh.advance(3.0 + 0.5)

    assert mesh.route("n1", "n3", at="n5") == ("n1", "n6", "n5", "n4", "n3")


def test_one_origin_floods_at_most_every_five_seconds() -> None:
    mesh = Mesh("a-b b-c")
    told: list[tuple[float, int]] = []

    def watch(what: str, sender: str, _to: str, octets: bytes) -> None:
        body = decode(octets, sender).body
        if what == "posted" and sender == "b" and isinstance(body, LinkStates):
            for it in body.states:
                if it.origin == "b" and (not told or told[-1][1] != it.seq):
                    told.append((mesh.cluster.now, it.seq))

    mesh.cluster.net.watchers.append(watch)
    for turn in range(200):
        mesh.say("b", "a", ready=bool(turn % 2))
        mesh.advance(0.25)

    gaps = [later - sooner for (sooner, _), (later, _) in itertools.pairwise(told)]
    assert len(told) > 5
    assert min(gaps) >= 5.0 - 1e-6


def test_a_node_that_is_up_before_its_neighbours_tells_of_its_first_link_soon() -> None:
    mesh = Mesh("a-b")
    mesh.cluster.crash("b")
    mesh.cluster.restart("a")
    mesh.advance(1.0)

    mesh.cluster.start("b")
    mesh.advance(1.0)

    assert mesh.route("a", "b") == mesh.route("b", "a")[::-1] == ("a", "b")


def test_a_loss_that_goes_at_once_takes_what_waits_along_and_then_there_is_quiet() -> None:
    mesh = Mesh("a-b b-c b-d")
    mesh.advance(20.0)
    before = seq(mesh, "a", "b")

    mesh.say("b", "a", stock=0)
    mesh.advance(0.1)
    mesh.say("b", "c", ready=False)
    mesh.say("b", "d", ready=False)
    mesh.advance(4.8)

    assert seq(mesh, "a", "b") == before + 1
    mesh.advance(0.2)
    assert seq(mesh, "a", "b") == before + 2


def test_the_first_loss_after_a_quiet_time_is_told_at_once(row: Mesh) -> None:
    row.advance(10.0)
    before = seq(row, "n4", "n1")

    row.say("n1", "n2", ready=False)

    assert seq(row, "n4", "n1") == before + 1


def test_small_changes_are_told_to_nobody(row: Mesh) -> None:
    row.advance(10.0)
    before = seq(row, "n4", "n1")

    for stock in (1_100_000, 900_000, 2_050_000, 1_050_000):
        row.say("n1", "n2", stock=stock)
        row.advance(6.0)

    assert seq(row, "n4", "n1") == before


def test_a_state_is_refreshed_every_minute_and_ages_when_it_is_not(row: Mesh) -> None:
    before = seq(row, "n1", "n4")
    row.advance(62.0)
    assert seq(row, "n1", "n4") == before + 1

    row.cluster.crash("n4")
    row.advance(170.0)
    assert seq(row, "n1", "n4") == before + 1
    row.advance(15.0)
    assert known(row, "n1", "n4") is None


def test_what_has_aged_out_cannot_be_brought_back(row: Mesh) -> None:
    old = known(row, "n1", "n4")
    assert old
    row.cluster.crash("n4")
    row.advance(190.0)

    tell(row, "n2", "n1", old)

    assert known(row, "n1", "n4") is None


def test_numbers_grow_over_restarts(row: Mesh) -> None:
    for _ in range(5):
        before = seq(row, "n4", "n1")
        row.cluster.restart("n1", reboot=True)
        row.advance(SETTLED_S)
        assert seq(row, "n4", "n1") > before


@pytest.mark.parametrize("before", [True, False])
def test_no_number_is_told_twice_though_a_crash_comes_with_its_commit(
    row: Mesh, before: bool
) -> None:
    row.advance(10.0)
    old = known(row, "n4", "n1")
    assert old
    row.cluster.crash_at_commit("n1", before=before)
    row.say("n1", "n2", ready=False)
    row.cluster.restart("n1")
    row.advance(SETTLED_S)

    new = known(row, "n4", "n1")

    assert new
    assert new.seq > old.seq
    assert [load.peer for load in new.links] == ["n2"]


def test_a_node_goes_on_counting_though_nobody_tells_it_how_far_it_was(row: Mesh) -> None:
    before = seq(row, "n1", "n1")
    row.cluster.cut("n1", "n2")

    row.cluster.restart("n1")

    assert row.actor("router@n1", Router).originate.seq >= before


def test_nothing_is_told_before_its_number_is_durable(row: Mesh) -> None:
    row.advance(10.0)
    before = seq(row, "n2", "n1")
    row.cluster.fill_disk("n1")

    row.say("n1", "n2", ready=False)
    row.advance(10.0)
    assert seq(row, "n2", "n1") == before
    row.cluster.free_disk("n1")
    row.advance(0.1)

    assert seq(row, "n2", "n1") == before + 1


def test_a_node_that_has_lost_its_disk_goes_on_from_what_the_network_knows() -> None:
    mesh = Mesh(chain(3))
    mesh.advance(130.0)
    far = state("n1", 1000, "n2")
    tell(mesh, "n3", "n2", far)  # as if an earlier life had got so far

    mesh.cluster.restart("n1")
    mesh.advance(SETTLED_S)

    assert seq(mesh, "n1", "n1") > 1000
    assert seq(mesh, "n3", "n1") > 1000


def test_a_forged_state_is_refused_and_goes_no_further(row: Mesh) -> None:
    tell(row, "n1", "n2", state("n4", 99, "n1", signer="n1"))
    row.advance(1.0)

    assert refused(row, "n2", "signature") == 1
    assert seq(row, "n3", "n4") < 99


@pytest.mark.parametrize("spoilt", ["links", "seq"])
def test_a_signature_covers_all_of_a_state(row: Mesh, spoilt: str) -> None:
    true = state("n4", 99, "n3")
    lie = {
        "links": LinkState("n4", 99, (LinkLoad("n3", 20, 21),), true.signature),
        "seq": LinkState("n4", 100, true.links, true.signature),
    }[spoilt]

    tell(row, "n1", "n2", lie)

    assert refused(row, "n2", "signature") == 1


def test_a_state_of_ours_that_we_have_not_signed_is_not_outdone(row: Mesh) -> None:
    before = seq(row, "n1", "n1")

    tell(row, "n2", "n1", state("n1", before + 1000, "n2", signer="n2"))
    row.advance(SETTLED_S)

    assert refused(row, "n1", "signature") == 1
    assert seq(row, "n1", "n1") < before + 1000


def test_a_stale_state_is_dropped(row: Mesh) -> None:
    old = known(row, "n1", "n1")
    assert old
    row.advance(62.0)

    tell(row, "n1", "n2", old)

    assert refused(row, "n2", "stale") == 1
    assert seq(row, "n2", "n1") > old.seq


def test_a_lie_about_a_link_state_is_an_alarm_that_names_the_neighbour(row: Mesh) -> None:
    operators = row.cluster.probe("alarms@n2")
    true = state("n4", 99)

    tell(row, "n3", "n2", LinkState("n4", 100, true.links, true.signature))
    tell(row, "n3", "n2", state("n1", SEQ_MAX - 1))
    tell(row, "n3", "n2", state("n4", 0))  # stale: honest networks do that
    row.cluster.settle()

    told = [(it.id, it.subject) for it in operators.of(Raised)]
    assert told == [("link_state_forged", "n3"), ("link_state_jump", "n3")]


@pytest.mark.parametrize("far", [SEQ_MAX - 1, JUMP_MAX + 1000])
def test_a_thief_of_a_signing_key_does_not_mute_a_node_with_one_state(row: Mesh, far: int) -> None:
    lie = state("n1", far)

    for at in ("n2", "n4"):
        tell(row, "n3", at, lie)
    tell(row, "n2", "n1", lie)
    row.say("n1", "n2", stock=1)
    row.advance(SETTLED_S)

    assert [refused(row, at, "jump") for at in ("n1", "n2", "n4")] == [1, 1, 1]
    told = [known(row, at, "n1") for at in row.cluster.nodes]
    assert {it.links if it else () for it in told} == {(LinkLoad("n2", 1, 16),)}


def test_a_jump_within_the_bound_is_outdone(row: Mesh) -> None:
    tell(row, "n3", "n2", state("n1", JUMP_MAX))
    row.advance(75.0)  # it comes to its own ears with the next comparison

    assert {seq(row, at, "n1") for at in row.cluster.nodes} == {JUMP_MAX + 1}
    assert len(row.route("n4", "n1")) == 4


def test_a_node_that_met_the_lie_first_believes_the_truth_when_the_lie_has_aged(row: Mesh) -> None:
    row.cluster.cut("n2", "n3")
    for do in (row.cluster.crash, row.cluster.start):
        for node in ("n3", "n4"):
            do(node)
    tell(row, "n3", "n4", state("n1", SEQ_MAX - 1))
    row.cluster.mend("n2", "n3")
    row.advance(60.0)
    assert seq(row, "n4", "n1") == SEQ_MAX - 1

    row.advance(190.0)

    assert 0 < seq(row, "n4", "n1") < 1000
    assert len(row.route("n4", "n1")) == 4


def test_a_new_signing_key_begins_anew(row: Mesh) -> None:
    tell(row, "n3", "n2", state("n4", 900, "n3"))
    row.advance(SETTLED_S)
    old = known(row, "n2", "n4")
    assert old
    kmss = tuple(
        dataclasses.replace(it, signing=Signer(key_of("another")).public) if it.name == "n4" else it
        for it in row.directory.kmss
    )
    for at in ("n2", "n3"):
        row.cluster.ask(f"peer_manager@{at}", peers.Directory(serial=2, kmss=kmss))
    row.cluster.crash("n4")
    tell(row, "n3", "n2", old, state("n4", 1, "n3", signer="another"))
    row.advance(1.0)

    assert refused(row, "n2", "signature") >= 1
    assert seq(row, "n2", "n4") == 1


def test_a_node_that_an_older_version_led_to_the_last_number_begins_anew(row: Mesh) -> None:
    row.actor("router@n1", Router).originate.seq = SEQ_MAX - 2
    row.advance(62.0)

    row.cluster.restart("n1")

    assert row.actor("router@n1", Router).originate.seq < 10


def test_who_is_not_in_the_directory_has_no_links(row: Mesh) -> None:
    tell(row, "n1", "n2", state("n9", 1, "n2"))

    assert refused(row, "n2", "stranger") == 1
    assert known(row, "n2", "n9") is None


def test_only_neighbours_are_heard(row: Mesh) -> None:
    tell(row, "n4", "n1", state("n4", 99, "n3"))

    assert refused(row, "n1", "no_neighbour") == 1


def test_a_flood_of_one_neighbour_is_bounded(row: Mesh) -> None:
    for number in range(100, 400):
        tell(row, "n1", "n2", state("n1", number, "n2"))

    assert refused(row, "n2", "hurry") + refused(row, "n2", "flood") >= 298
    assert refused(row, "n2", "flood") > 0


def test_a_neighbour_that_is_back_hears_what_it_has_missed() -> None:
    mesh = Mesh(chain(4))
    mesh.advance(SETTLED_S)
    mesh.cluster.cut("n1", "n2")
    mesh.advance(20.0)
    mesh.say("n4", "n3", stock=0)
    mesh.advance(10.0)
    told = seq(mesh, "n2", "n4")
    assert seq(mesh, "n1", "n4") < told

    mesh.cluster.mend("n1", "n2")
    mesh.advance(0.1)

    assert seq(mesh, "n1", "n4") == told


def test_news_that_got_lost_on_the_way_comes_with_the_next_comparison() -> None:
    mesh = Mesh(chain(3))
    mesh.advance(20.0)
    mesh.cluster.worsen("n2", "n1", one_way=True, loss=1.0)
    mesh.say("n3", "n2", stock=0)
    mesh.advance(5.0)
    told = seq(mesh, "n2", "n3")
    assert seq(mesh, "n1", "n3") < told
    mesh.cluster.worsen("n2", "n1", one_way=True, loss=0.0)

    mesh.advance(31.0)

    assert seq(mesh, "n1", "n3") >= told


def test_states_travel_grouped() -> None:
    mesh = Mesh(" ".join(f"hub-n{i}" for i in range(40)))
    mesh.advance(SETTLED_S)
    words: list[LinkStates] = []

    def watch(what: str, sender: str, to: str, octets: bytes) -> None:
        body = decode(octets, sender).body
        if (what, to) == ("posted", "n1") and isinstance(body, LinkStates):
            words.append(body)

    mesh.cluster.net.watchers.append(watch)
    mesh.cluster.restart("n1")
    mesh.advance(0.01)

    assert len({it.origin for word in words for it in word.states}) == 41
    assert len(words) <= 3


def test_a_comparison_names_only_what_lacks(row: Mesh) -> None:
    probe = row.cluster.probe("router@n4")  # in the place of the fourth router

    mine = tuple(Known(f"n{i}", seq(row, "n3", f"n{i}")) for i in (1, 2))
    row.cluster.tell("router@n3", KnownStates(known=mine), sender="router@n4")
    row.cluster.settle()

    (answer,) = probe.of(LinkStates)
    assert {it.origin for it in answer.states} == {"n3", "n4"}


def test_who_hears_that_a_neighbour_knows_more_asks_for_it(row: Mesh) -> None:
    probe = row.cluster.probe("router@n4")  # in the place of the fourth router
    row.advance(31.0)
    probe.clear()

    more = (Known("n1", seq(row, "n3", "n1") + 1),)
    for _ in range(2):  # the second time it waits: n4 hears one comparison in 5 s
        row.cluster.tell("router@n3", KnownStates(known=more), sender="router@n4")
    row.cluster.settle()

    assert [type(it) for it in probe.received] == [LinkStates, KnownStates, LinkStates]


def test_paths_from_here_use_no_link_that_is_down_this_moment(row: Mesh) -> None:
    row.cluster.cut("n1", "n2")
    row.advance(3.0)

    found = row.cluster.ask("router@n1", routes.FindPaths(to="n4", n=1))

    assert found == routes.Paths(paths=())


def test_a_route_to_nowhere_says_why(row: Mesh) -> None:
    stranger = row.cluster.ask("router@n1", routes.FindRoute(start="n1", end="n9"))
    row.say("n3", "n4", ready=False)
    row.advance(1.0)
    broken = row.cluster.ask("router@n1", routes.FindRoute(start="n1", end="n4"))

    assert isinstance(stranger, Failed)
    assert isinstance(broken, Failed)
    assert (stranger.code, broken.code) == ("no_such_peer", "no_route")


def test_a_router_that_crashes_knows_all_again_soon(row: Mesh) -> None:
    row.cluster.tolerant = True
    row.cluster.crash_actor("router@n1")
    row.advance(32.0)

    assert row.route("n1", "n4") == ("n1", "n2", "n3", "n4")


def test_health_tells_how_much_is_known(row: Mesh) -> None:
    healthy = row.cluster.ask("router@n2", Health())

    assert isinstance(healthy, Healthy)
    assert dict(healthy.facts)["states_known"] == "4"
    assert dict(healthy.facts)["links"] == "2"


def test_neighbours_among_some_nodes_are_told_and_who_has_any_link() -> None:
    mesh = Mesh("a-b b-c c-d")
    mesh.advance(6.0)
    mesh.say("c", "b", ready=False)
    mesh.advance(6.0)

    told = mesh.cluster.ask("router@a", routes.AskLinks(nodes=("c", "b", "a", "nobody")))

    assert told == routes.KnownLinks(links=(("a", "b"),), linked=("a", "b", "c"))
