"""Sessions in plain values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.course import SCAR_S, UNCONFIRMED_S, Course
from actors.protocol.relay import SessionId
from actors.terms import Lane, Terms, are_disjoint, blame, is_path

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
def test_a_lane_leads_from_one_actor_to_the_next(hop: int, source: str, target: str) -> None:
    lane = Lane(SessionId("a", 1), 0, 1, PATH, hop, 1, 1, 0.0)

    assert (lane.source, lane.target) == (source, target)


def test_terms_come_back_from_the_disk_as_they_were() -> None:
    terms = Terms(destination="d", paths=(PATH,), n=1, low_bits=1, high_bits=2, weight=3, sae="s")

    row = terms.row()

    assert row.id == b"d"
    assert Terms.read(row.clear) == terms


def test_a_node_keeps_its_share_as_long_as_anything_is_undecided() -> None:
    course = Course(Terms(destination="z", n=2))
    course.paths = (("s", "a", "z"), ("s", "b", "z"))
    course.carry(100.0)
    swapped = (("s", "b", "z"), ("s", "a", "z"))
    crossed = (("s", "a", "b", "z"), ("s", "c", "z"))

    assert course.arrange(swapped, 101.0) == course.paths
    assert course.arrange((("s", "c", "z"), ("s", "a", "z")), 101.0) == (
        ("s", "a", "z"),
        ("s", "c", "z"),
    )
    assert course.arrange(crossed, 101.0) is None
    assert course.arrange(crossed, 100.0 + UNCONFIRMED_S + 1) == crossed


def test_two_paths_whose_nodes_had_one_share_cannot_be_arranged() -> None:
    course = Course(Terms(destination="z", n=2))
    course.paths = (("s", "a", "b", "z"), ("s", "c", "z"))
    course.carry(100.0)

    assert course.arrange((("s", "a", "z"), ("s", "b", "z")), 101.0) is None


def test_what_has_failed_is_avoided_for_a_while() -> None:
    course = Course(Terms(destination="d"))

    course.scar(PATH, "no_route", "b", 0.0)
    course.scar(PATH, "not_allowed", "c", 0.0)
    course.scar(PATH, "not_allowed", "d", 0.0)

    assert course.broken(1.0) == (("b", "c"),)
    assert course.shunned(1.0) == ("c",)
    assert not course.broken(SCAR_S + 1)
    assert not course.shunned(SCAR_S + 1)
