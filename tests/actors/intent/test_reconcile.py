"""Wanted and seen to words: every state of a link and of a session, and what is said in each."""

import itertools
from dataclasses import replace

import pytest

from actors.intent.reconcile import AGAIN_S, Seen, adopted, heard, is_as, words
from actors.intent.rows import Kept
from actors.intent.shown.facts import NOTHING, Store, crossed, link_facts
from actors.intent.shown.news import news_of
from actors.intent.wanted import Wanted, wanted_of
from actors.protocol import intent, links, peers, sessions
from actors.protocol.intent import Facts, Link
from actors.protocol.sessions import AddSession, Permit, SessionState
from transport.message import Message

ME = "a"
ADD = AddSession(destination="c", paths=(("a", "b", "c"),), n=1, low_bits=8, high_bits=80, weight=2)
STATE = SessionState("c", ADD.paths, 1, 8, 80, 2, True, "established", "")
OTHER = replace(STATE, low_bits=0)
ON_DEMAND = replace(STATE, paths=(("a", "b", "c"),), fixed=False, sae="sae-1")
PERMIT = Permit(ends=("a", "c"), before="b")


def said(wanted: Wanted, seen: Seen, now: float = 0.0) -> list[tuple[str, object]]:
    return [(it.to, it.body) for it in words(wanted, seen, now)]


def told(wanted: Wanted) -> Seen:
    """All is heard, and permits and pauses were told."""
    paused = {peer: peer in wanted.paused for peer in wanted.fills}
    return Seen(linked=frozenset(), sessions={}, paused=paused, permits=wanted.permits)


ANSWERS = (None, "", "no_route")
STATES = (None, STATE, OTHER, ON_DEMAND)


@pytest.mark.parametrize(
    ("wants", "state", "answer"), list(itertools.product([True, False], STATES, ANSWERS))
)
def test_a_session_in_each_state(
    wants: bool, state: SessionState | None, answer: str | None
) -> None:
    wanted = Wanted(sessions={"c": ADD} if wants else {})
    seen = told(wanted)
    seen.sessions = {"c": state} if state else {}
    expected = _expected(wants, state)

    assert said(wanted, seen) == expected, "said at once"
    if answer is not None:
        heard(seen.sessions_asked.get("c"), answer, "")
    assert said(wanted, seen, AGAIN_S - 0.1) == [], "and not again at once"
    as_it_is = wants and state == STATE and answer == ""
    again = expected if not as_it_is else []
    assert said(wanted, seen, AGAIN_S) == again, "but later, unless it is so"


def _expected(wants: bool, state: SessionState | None) -> list[tuple[str, object]]:
    if wants:
        return [("sessions", ADD)]
    if state and not state.sae:
        return [("sessions", sessions.RemoveSession(destination="c"))]
    return []


ADDED = peers.AddQuantumPeer(peer="b", interface=1)
REMOVED = peers.RemoveQuantumPeer(peer="b")


@pytest.mark.parametrize("answer", [None, "", "unknown_peer", "link_up"])
@pytest.mark.parametrize(("wants", "there"), list(itertools.product([True, False], repeat=2)))
def test_a_quantum_link_in_each_state(wants: bool, there: bool, answer: str | None) -> None:
    wanted = Wanted(links={"b": 1} if wants else {})
    seen = told(wanted)
    seen.linked = frozenset({"b"} if there else ())
    body: Message = ADDED if wants else REMOVED
    expected = [("peer_manager", body)] if wants or there else []

    assert said(wanted, seen) == expected, "said at once, though it may run over another interface"
    if answer is not None:
        heard(seen.links_asked.get("b"), answer, "")
    then = list[tuple[str, object]]()
    if answer == "link_up" and wants:
        then = [("peer_manager", REMOVED)]
    assert said(wanted, seen, AGAIN_S - 0.1) == then
    if not then:
        as_it_is = answer == "" and wants is there
        again = [] if as_it_is else expected
        assert said(wanted, seen, AGAIN_S) == again


def test_what_the_configuration_binds_is_left_alone() -> None:
    wanted = Wanted(fixed=frozenset("b"))

    for linked in (frozenset("b"), frozenset()):
        assert said(wanted, Seen(linked=linked, sessions={}, permits=())) == []


def test_a_link_that_is_to_be_over_another_interface_is_stopped_first() -> None:
    before, after = Wanted(links={"b": 1}), Wanted(links={"b": 2})
    seen = told(before)
    said(before, seen)
    heard(seen.links_asked["b"], "", "")
    seen.linked = frozenset({"b"})

    assert said(after, seen) == [("peer_manager", REMOVED)]
    heard(seen.links_asked["b"], "", "")
    seen.linked = frozenset()
    assert said(after, seen) == [
        ("peer_manager", peers.AddQuantumPeer(peer="b", interface=2)),
    ]


def test_nothing_is_done_before_it_is_known_how_all_is() -> None:
    wanted = Wanted(links={"b": 1}, sessions={"c": ADD})

    assert said(wanted, Seen(permits=())) == []


def test_stores_are_told_of_a_pause_once_and_of_its_end_once() -> None:
    paused = Wanted(fills=frozenset("b"), paused=frozenset("b"))
    seen = told(Wanted())

    for then in (Wanted(fills=frozenset("b")), Wanted()):
        assert said(paused, seen) == [("key_store/b", links.Pause())]
        assert said(paused, seen) == []
        assert said(then, seen) == [("key_store/b", links.Resume())]
        assert said(then, seen) == []


def test_a_store_that_a_former_life_has_told_to_pause_is_told_to_go_on() -> None:
    wanted = Wanted(fills=frozenset("b"))

    assert said(wanted, told(Wanted())) == [("key_store/b", links.Resume())]


def test_sessions_are_told_of_permits_when_they_change() -> None:
    wanted, seen = Wanted(permits=(PERMIT,)), told(Wanted())

    assert said(wanted, seen) == [("sessions", sessions.Permits(permits=(PERMIT,)))]
    assert said(wanted, seen) == []
    seen.permits = None
    assert len(said(wanted, seen)) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"low_bits": 1},
        {"high_bits": 90},
        {"weight": 3},
        {"paths": ()},
        {"paths": (("a", "d", "c"),)},
        {"n": 2},
    ],
    ids=str,
)
def test_a_session_of_other_terms_is_another(change: dict[str, object]) -> None:
    assert is_as(STATE, ADD)
    assert not is_as(STATE, replace(ADD, **change))  # type: ignore[arg-type]
    assert not is_as(ON_DEMAND, replace(ADD, paths=()))


def test_sessions_that_were_added_are_adopted_as_they_are() -> None:
    assert adopted({"c": STATE, "d": ON_DEMAND}) == {"c": ADD}


# What rows want

PHYS = Link(intent.PHYS, "a", "b", interface=3)
VIRT = Link(intent.VIRT, "a", "c")
TWO = (("a", "b", "c"), ("a", "d", "c"))


def wants(*given: Link) -> Wanted:
    return wanted_of([Kept(intent.LINK, str(n), "x", 1, 0.0, it) for n, it in enumerate(given)], ME)


@pytest.mark.parametrize(
    ("link", "paths"),
    [
        (VIRT, ()),
        (replace(VIRT, hops=("b", "c")), (("a", "b", "c"),)),
        (replace(VIRT, paths=TWO, n=2), TWO),
    ],
)
def test_hops_up_to_the_remote_are_a_path(link: Link, paths: tuple[tuple[str, ...], ...]) -> None:
    add = wants(link).sessions["c"]

    assert add.paths == paths
    assert add.n == len(add.paths)


def test_a_path_of_which_one_node_is_given_waits_for_the_rest() -> None:
    rows = [Kept(intent.LINK, "0", "x", 1, 0.0, replace(VIRT, hops=("b",)))]

    unknown = wanted_of(rows, ME)
    known = wanted_of(rows, ME, {("b", "c"): ("a", "b", "x", "c")})

    assert (unknown.over, unknown.waiting) == (frozenset({("b", "c")}), frozenset("c"))
    assert unknown.sessions == {}
    seen = told(unknown)
    seen.sessions = {"c": STATE}
    assert said(unknown, seen) == [], "what is there stays meanwhile"
    assert known.sessions["c"].paths == (("a", "b", "x", "c"),)
    assert known.waiting == frozenset()


@pytest.mark.parametrize(
    ("link", "permit"),
    [
        (Link(intent.VIRT, "x", "y", prev="b", hops=("c", "y")), Permit(("x", "y"), "b", "c")),
        (Link(intent.VIRT, "a", "y", prev="b", hops=("c",)), Permit(("y",), "b", "c")),
        (Link(intent.VIRT, "a", "y", prev="b"), Permit(("a", "y"), "b")),
        (Link(intent.VIRT, "y", "a", prev="b"), Permit(("a", "y"), "b")),
        (Link(intent.VIRT, "y", "a"), Permit(("a", "y"))),
    ],
)
def test_a_node_where_it_does_not_begin_permits_it(link: Link, permit: Permit) -> None:
    made = wants(link)

    assert (made.permits, made.sessions) == ((permit,), {})


@pytest.mark.parametrize(
    ("link", "peer"),
    [
        (PHYS, "b"),
        (VIRT, "c"),
        (Link(intent.VIRT, "a", "y", prev="b"), "y"),
        (Link(intent.VIRT, "y", "a", prev="b"), "y"),
        (Link(intent.VIRT, "x", "y", prev="b", hops=("c", "y")), ""),
    ],
)
def test_a_link_that_is_switched_off_pauses_the_store_it_fills(link: Link, peer: str) -> None:
    on, off = wants(link), wants(replace(link, enabled=False))

    assert on.paused == frozenset()
    assert off.paused == on.fills == off.fills == frozenset({peer} - {""})
    assert off.permits == (on.permits if peer else ()), "one that leads over here is refused"


def test_of_two_rows_for_one_thing_the_first_counts_and_the_other_says_why_not() -> None:
    made = wants(PHYS, replace(PHYS, interface=4), VIRT, replace(VIRT, weight=9))

    assert (made.links, made.sessions["c"].weight) == ({"b": 3}, 1)
    file = Kept(intent.LINK, "f", intent.FILE, 1, 0.0, PHYS)
    fixed = wanted_of([file, replace(file, owner="x", id="g")], ME)
    assert (fixed.links, fixed.fixed) == ({}, frozenset("b"))
    assert set(fixed.hidden) == {(intent.LINK, "g")}
    assert set(made.hidden) == {(intent.LINK, "1"), (intent.LINK, "3")}


# How a link is


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("comes", [True, False])
@pytest.mark.parametrize("stock", [0, 800])
@pytest.mark.parametrize("there", [True, False])
def test_the_status_of_a_link(enabled: bool, comes: bool, stock: int, there: bool) -> None:
    usage = replace(NOTHING, skr=900.7, eskr=800.0, comes=comes, stock_bits=stock)
    one = Store(usage, qber=2.1) if there else None

    facts = link_facts(replace(PHYS, enabled=enabled), one, "", 1e12)

    if there and comes and enabled:
        status = intent.ACTIVE
    elif there and stock:
        status = intent.PASSIVE
    else:
        status = intent.PENDING if enabled else intent.OFF
    assert facts.status == status
    assert bool(facts.why) is (not enabled)
    assert (facts.skr, facts.eskr) == ((900, 800) if there else (0, 0))
    assert facts.consumption == intent.BANDWIDTH_MAX, "it stays at the top"
    assert facts.qber == (2.1 if there else None)


BEFORE = Facts(status=intent.ACTIVE, skr=1_000, eskr=1_000)


@pytest.mark.parametrize(
    ("before", "after", "events"),
    [
        (None, BEFORE, []),
        (BEFORE, BEFORE, []),
        (BEFORE, replace(BEFORE, status=intent.PASSIVE), ["link_down"]),
        (BEFORE, replace(BEFORE, skr=1_200), []),
        (BEFORE, replace(BEFORE, skr=1_500), ["link_perf_update"]),
        (BEFORE, replace(BEFORE, consumption=2_000), ["link_perf_update", "link_overloaded"]),
        (BEFORE, replace(BEFORE, consumption=2_000, stock_bits=120_000), ["link_perf_update"]),
        (None, Facts(status=intent.PENDING, why="no_route: b"), ["event"]),
        (
            Facts(status=intent.PENDING, why="no_route: b"),
            Facts(status=intent.PENDING, why="no_route: b"),
            [],
        ),
    ],
)
def test_what_has_happened_between_two_looks(
    before: Facts | None, after: Facts, events: list[str]
) -> None:
    assert [event for event, _ in news_of(before, after)] == events


CROSSING = Link(intent.VIRT, "x", "y", prev="b", hops=("c", "y"), bandwidth=300)


@pytest.mark.parametrize(
    ("link", "first", "over"),
    [
        (CROSSING, (), {"b", "c"}),
        (replace(CROSSING, enabled=False), (), set()),
        (replace(CROSSING, bandwidth=None), (), set()),
        (Link(intent.VIRT, "x", "a", prev="b", bandwidth=300), (), {"b"}),
        (Link(intent.VIRT, "a", "y", hops=("b", "y"), bandwidth=300), (), {"b"}),
        (Link(intent.VIRT, "a", "y", bandwidth=300), ("b", "c"), {"b", "c"}),
        (Link(intent.VIRT, "a", "y", bandwidth=300), (), set()),
        (Link(intent.PHYS, "a", "b"), (), set()),
    ],
)
def test_a_virtual_link_is_to_have_its_bandwidth_over_the_links_it_crosses(
    link: Link, first: tuple[str, ...], over: set[str]
) -> None:
    assert crossed(link, first) == over
