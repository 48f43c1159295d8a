"""Many sessions over one link: a burst admits what fits, the rest hears which limit, and whose."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.protocol.common import Failed
from actors.protocol.relay import LaneClosed, SessionId
from actors.protocol.sessions import (
    AddSession,
    EnsureSession,
    RemoveSession,
    SessionEnded,
    SessionEnsured,
)
from actors.sessions.sessions import SessionManager
from tests.kit.mesh import Mesh, chain
from tests.networks.test_sessions_liars import NO, Row, signed
from transport.envelope import Envelope

DUMBBELL = " ".join([*(f"a{n}-h" for n in range(5)), "h-k", *(f"k-b{n}" for n in range(5))])


def dumbbell(**limits: int) -> Mesh:
    mesh = Mesh(DUMBBELL, relay=limits)
    mesh.advance(7.0)
    return mesh


def ask_all(mesh: Mesh) -> None:
    for near in range(5):
        for far in range(5):
            mesh.cluster.tell(f"sessions@a{near}", AddSession(destination=f"b{far}"))


def standing(mesh: Mesh) -> int:
    return sum(it.state == "established" for n in range(5) for it in mesh.all(f"a{n}").sessions)


def lost(mesh: Mesh) -> float:
    return sum(mesh.cluster.count(node, "protokms_lanes_lost") for node in mesh.cluster.nodes)


@pytest.mark.parametrize(("limit", "fits"), [(25, 25), (24, 24), (7, 7)])
def test_a_burst_admits_what_fits_and_loses_nothing(limit: int, fits: int) -> None:
    mesh = dumbbell(max_lanes=limit)
    ask_all(mesh)
    mesh.advance(3.0)

    assert standing(mesh) == fits
    mesh.advance(30.0)
    assert standing(mesh) == fits
    assert lost(mesh) == 0
    why = {(it.state, it.why) for n in range(5) for it in mesh.all(f"a{n}").sessions}
    assert why - {("established", "")} == ({("link_full", "refused by h")} if fits < 25 else set())


def test_an_sae_hears_which_limit_of_which_node_is_reached() -> None:
    mesh = dumbbell(max_lanes=2)
    for far in range(2):
        mesh.add("a0", f"b{far}")
    mesh.cluster.tell("sessions@a1", EnsureSession(peer="b0", sae="sae-1"))
    mesh.advance(1.0)

    probe = mesh.cluster.probe("saes@a1")
    probe.question("sessions@a1", EnsureSession(peer="b0", sae="sae-1"))
    mesh.advance(0.1)

    assert probe.received[-1] == SessionEnsured(code="link_full", node="h", limit="max_lanes")


def test_places_are_given_back_when_sessions_end() -> None:
    mesh = dumbbell(max_lanes=7)
    ask_all(mesh)
    mesh.advance(3.0)
    for near in range(5):
        manager = mesh.actor(f"sessions@a{near}", SessionManager)
        for destination in [it.destination for it in manager.own]:
            manager.origin.remove(destination, lambda: None)
    mesh.advance(20.0)

    for node in ("h", "k", "a0", "b0"):
        assert len(mesh.actor(f"sessions@{node}", SessionManager).room) == 0


def test_one_step_past_the_room_of_a_link_is_refused_by_name() -> None:
    mesh = Mesh(chain(3), relay_at={"n2": {"max_lanes": 1}})
    mesh.advance(7.0)
    mesh.add("n1", "n3")

    assert mesh.add("n3", "n1") != Failed(code="entry_full", why="refused by n2")  # the other way
    row = Row(relay={"max_lanes": 1})
    assert row.hear(signed()).established
    second = signed(session=SessionId("n1", 78))
    assert row.hear(second) == replace(NO, code="entry_full")


def test_a_session_ended_while_it_is_set_up_is_never_opened() -> None:
    row = Row()
    ask = signed()
    token = row.liar.question("sessions@n3", ask)
    row.liar.say("sessions@n3", SessionEnded(session=ask.session, share=ask.share))
    row.advance(1.0)

    answers = [it.body for it in row.liar.envelopes if it.answer and it.token == token]
    assert answers == [replace(NO, node="n4")]
    assert not row.open()
    for node in ("n3", "n4"):
        assert len(row.actor(f"sessions@{node}", SessionManager).room) == 0


def test_at_a_close_the_virtual_link_hears_of_it_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """It withdraws what is undecided; the relay only then drops the chunks (R14)."""
    mesh = Mesh(chain(3))
    mesh.advance(7.0)
    mesh.add("n1", "n3")
    heard: list[str] = []
    for node in ("n1", "n3"):
        system = mesh.cluster.nodes[node]
        send = system.send

        def noted(envelope: Envelope, send: Callable[[Envelope], object] = send) -> None:
            if isinstance(envelope.body, LaneClosed):
                heard.append(f"{envelope.to.name}@{envelope.to.node}")
            send(envelope)

        monkeypatch.setattr(system, "send", noted)
    mesh.cluster.ask("sessions@n1", RemoveSession(destination="n3"), 1.0)
    mesh.advance(1.0)

    assert heard == ["virtual_link/n3@n1", "relay/n2@n1", "virtual_link/n1@n3", "relay/n2@n3"]


def test_a_neighbour_may_not_end_what_another_is_setting_up() -> None:
    row = Row()
    ask = signed()
    token = row.liar.question("sessions@n3", ask)
    ended = SessionEnded(session=ask.session, share=ask.share)
    row.cluster.tell("sessions@n3", ended, sender="sessions@n4")
    row.advance(1.0)

    answers = [it.body for it in row.liar.envelopes if it.answer and it.token == token]
    assert [it.established for it in answers] == [True]  # type: ignore[attr-defined]


def test_an_origin_keeps_to_the_room_of_its_own_links() -> None:
    mesh = Mesh("a-b b-c b-d b-e", relay_at={"a": {"max_lanes": 2}})
    mesh.advance(7.0)
    for far in "cde":
        mesh.cluster.tell("sessions@a", AddSession(destination=far))
    mesh.advance(3.0)

    states = sorted((it.state, it.why) for it in mesh.all("a").sessions)

    assert states == [*[("established", "")] * 2, ("link_full", "refused by a")]


def of_pairs(k: int) -> Mesh:
    """Two stars of so many leaves, joined by one link; all pairs over it are asked for at once."""
    near, far = (f"a{n:02}-h" for n in range(k)), (f"k-b{n:02}" for n in range(k))
    mesh = Mesh(" ".join([*near, "h-k", *far]))
    mesh.advance(7.0)
    for one in range(k):
        for two in range(k):
            ask = AddSession(destination=f"b{two:02}")
            mesh.cluster.tell(f"sessions@a{one:02}", ask)
    return mesh


@pytest.mark.slow
@pytest.mark.parametrize("k", [20, 32])
def test_all_pairs_over_one_link_stand_at_the_first_look_and_stay(k: int) -> None:
    mesh = of_pairs(k)

    mesh.advance(15.0)
    first = sum(it.state == "established" for n in range(k) for it in mesh.all(f"a{n:02}").sessions)
    mesh.advance(60.0)

    assert first == k * k
    assert sum(len(mesh.lanes(f"virtual_link/b{n:02}@a00")) for n in range(k)) == k
    assert lost(mesh) == 0


@pytest.mark.slow
@pytest.mark.parametrize("leaves", [100, 300])
def test_a_spur_has_sessions_with_every_leaf_one_after_the_other(leaves: int) -> None:
    mesh = Mesh(" ".join(["a-h", "h-k", *(f"k-b{n:03}" for n in range(leaves))]))
    mesh.advance(7.0)

    for n in range(leaves):
        mesh.add("a", f"b{n:03}", wait=5.0)
    mesh.advance(60.0)

    assert {it.state for it in mesh.all("a").sessions} == {"established"}
    assert len(mesh.all("a").sessions) == leaves
    assert lost(mesh) == 0


STEPS = st.lists(
    st.tuples(st.sampled_from("+-xr"), st.integers(0, 4), st.integers(0, 4)), max_size=12
)


@settings(max_examples=15)
@given(STEPS)
def test_places_are_given_back_whatever_befalls_sessions(steps: list[tuple[str, int, int]]) -> None:
    mesh = dumbbell(max_lanes=7, max_lanes_per_origin=3)
    for what, one, two in steps:
        if what == "+":
            mesh.cluster.tell(f"sessions@a{one}", AddSession(destination=f"b{two}"))
        elif what == "-":
            mesh.cluster.tell(f"sessions@a{one}", RemoveSession(destination=f"b{two}"))
        elif what == "x":
            mesh.cluster.worsen("h", "k", loss=0.5 * (one % 2))
        else:
            mesh.cluster.restart(f"a{one}")
        mesh.advance(0.5 * two)
    mesh.cluster.worsen("h", "k", loss=0.0)
    for near in range(5):
        for far in range(5):
            mesh.cluster.tell(f"sessions@a{near}", RemoveSession(destination=f"b{far}"))
    mesh.advance(40.0)

    for node in mesh.cluster.nodes:
        manager = mesh.actor(f"sessions@{node}", SessionManager)
        assert len(manager.room) == len(manager.hops) == 0
        assert {use.used for use in manager.room.uses()} == {0}
