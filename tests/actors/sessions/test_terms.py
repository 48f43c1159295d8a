"""Sessions in plain values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.protocol.relay import SessionId
from actors.protocol.sessions import are_disjoint, is_path
from actors.sessions.session import EXCLUDED_S, OriginSession, OwnSessions
from actors.sessions.terms import HopState, HopTable, Terms, blame

PATH = ("a", "b", "c", "d")


@given(st.integers(0, 2), st.text(), st.text())
def test_nobody_is_blamed_but_nodes_further_on(hop: int, code: str, node: str) -> None:
    said, blamed = blame(PATH, hop, code, node)

    assert blamed in PATH[hop + 1 :]
    assert said in {"no_route", code}


def test_who_is_further_on_is_blamed_with_a_code_that_is_one() -> None:
    assert blame(PATH, 1, "not_allowed", "d") == ("not_allowed", "d")
    assert blame(PATH, 1, "nonsense", "d") == ("no_route", "d")
    assert blame(PATH, 1, "not_allowed", "a") == ("not_allowed", "c")


@pytest.mark.parametrize("path", [(), ("a",), ("a", "b", "a"), tuple(map(str, range(129)))])
def test_what_is_no_path(path: tuple[str, ...]) -> None:
    assert not is_path(path)


def test_paths_that_share_a_node_or_the_direct_link_are_not_disjoint() -> None:
    assert are_disjoint([("a", "b", "d"), ("a", "c", "d"), ("a", "d")])
    assert not are_disjoint([("a", "b", "d"), ("a", "b", "c", "d")])
    assert not are_disjoint([("a", "d"), ("a", "d")])


@pytest.mark.parametrize(
    ("hop", "source", "target"),
    [
        (0, "virtual_link/d", "relay/b"),
        (1, "relay/a", "relay/c"),
        (3, "relay/c", "virtual_link/a"),
    ],
)
def test_a_share_leads_from_one_actor_to_the_next(hop: int, source: str, target: str) -> None:
    state = HopState(SessionId("a", 1), 0, 1, PATH, hop, 1, 1, 0.0)

    assert (state.source, state.target) == (source, target)


def test_terms_come_back_from_the_disk_as_they_were() -> None:
    terms = Terms(destination="d", paths=(PATH,), n=1, low_bits=1, high_bits=2, weight=3, sae="s")

    row = terms.row()

    assert row.id == b"d"
    assert Terms.read(row.clear) == terms


def test_a_node_keeps_its_share_as_long_as_anything_is_undecided() -> None:
    session = OriginSession(Terms(destination="z", n=2))
    session.paths = (("s", "a", "z"), ("s", "b", "z"))
    session.hold_down(100.0)
    swapped = (("s", "b", "z"), ("s", "a", "z"))
    crossed = (("s", "a", "b", "z"), ("s", "c", "z"))

    assert session.assign_shares(swapped, 101.0) == session.paths
    assert session.assign_shares((("s", "c", "z"), ("s", "a", "z")), 101.0) == (
        ("s", "a", "z"),
        ("s", "c", "z"),
    )
    assert session.assign_shares(crossed, 101.0) is None
    assert session.assign_shares(crossed, 100.0 + session.hold_down_s + 1) == crossed


def test_two_paths_whose_nodes_had_one_share_find_no_order() -> None:
    session = OriginSession(Terms(destination="z", n=2))
    session.paths = (("s", "a", "b", "z"), ("s", "c", "z"))
    session.hold_down(100.0)

    assert session.assign_shares((("s", "a", "z"), ("s", "b", "z")), 101.0) is None


def test_what_has_failed_is_excluded_for_a_while() -> None:
    session = OriginSession(Terms(destination="d"))

    session.exclude(PATH, "no_route", "b", 0.0)
    session.exclude(PATH, "not_allowed", "c", 0.0)
    session.exclude(PATH, "not_allowed", "d", 0.0)

    assert session.excluded_links(1.0) == (("b", "c"),)
    assert session.excluded_nodes(1.0) == ("c",)
    assert not session.excluded_links(EXCLUDED_S + 1)
    assert not session.excluded_nodes(EXCLUDED_S + 1)


def test_hop_states_are_counted_by_where_they_lead() -> None:
    hops = HopTable()
    hops.add(HopState(SessionId("a", 1), 0, 1, PATH, 1, 1, 1, 0.0))
    hops.add(HopState(SessionId("a", 2), 0, 2, PATH, 3, 1, 1, 0.0))
    hops.add(HopState(SessionId("b", 3), 0, 1, ("b", "c"), 0, 1, 1, 0.0))

    assert len(hops) == 3
    assert hops.in_transit() == 1
    assert (hops.ends_here("a"), hops.ends_here("b")) == (True, False)
    assert hops.remove((SessionId("a", 2), 0))
    assert not hops.remove((SessionId("a", 2), 0))
    assert not hops.ends_here("a")


def test_least_shares_are_those_of_the_session_or_of_the_node() -> None:
    own = OwnSessions(2)
    own.add(OriginSession(Terms(destination="d", n=3, sae="s")))

    assert (own.least_shares("d"), own.least_shares("e")) == (3, 2)
    assert [it.destination for it in own.made_for("s")] == ["d"]
    own.remove("d")
    assert own.least_shares("d") == 2
