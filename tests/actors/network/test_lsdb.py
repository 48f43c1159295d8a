"""The link-state database: what is believed, what links cost, when paths in use are left."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.crypto.signatures import Signer, state_text
from actors.network.lsdb import (
    AGE_S,
    JUMP_MAX,
    SEQ_MAX,
    Avoid,
    LinkStateDatabase,
    Verdict,
    VerifiedLsa,
    differs,
    link_cost,
    step,
    verify_lsa,
)
from actors.network.paths import Path
from actors.protocol.routes import Known, LinkLoad, LinkState
from transport.message import Secret

FULL = 30
NAMES = "abcdefgh"


def lsa_of(origin: str, seq: int, **links: int) -> VerifiedLsa:
    loads = {peer: LinkLoad(peer, stock, FULL) for peer, stock in sorted(links.items())}
    return VerifiedLsa(LinkState(origin, seq, tuple(loads.values()), b""), loads)


def lsdb_of(links: str, stocks: dict[str, int] | None = None) -> LinkStateDatabase:
    """Make the database of `"ab bc"`: each pair a link; `stocks` of pairs that are not full."""
    pairs = links.split()
    lsdb = LinkStateDatabase(frozenset(NAMES))
    for node in NAMES:
        loads = {}
        for pair in pairs:
            if node in pair:
                loads[pair.replace(node, "")] = (stocks or {}).get(pair, FULL)
        lsdb.install(lsa_of(node, 1, **loads), 0.0)
    return lsdb


links_of = st.lists(
    st.sampled_from(["".join(pair) for pair in itertools.combinations(NAMES, 2)]), unique=True
)
steps = st.integers(0, 40)


@given(st.integers(0, 1 << 70))
def test_a_step_is_a_power_of_two(amount: int) -> None:
    assert step(amount) == min(63, amount.bit_length())


@given(steps, steps, steps, steps)
def test_a_link_costs_the_same_in_both_directions_and_never_less_than_a_hop(
    a: int, b: int, c: int, d: int
) -> None:
    one, other = LinkLoad("x", a, b), LinkLoad("y", c, d)

    assert link_cost(one, other) == link_cost(other, one) >= 1.0


@given(steps, steps, steps, steps)
def test_nobody_makes_a_link_cheaper_by_a_rate_of_its_own(a: int, b: int, c: int, d: int) -> None:
    honest = link_cost(LinkLoad("x", a, b), LinkLoad("y", c, b))

    assert link_cost(LinkLoad("x", a, b + d), LinkLoad("y", c, b)) == honest


@given(st.integers(17, 40), steps, steps, steps)
def test_a_full_store_that_takes_nothing_in_is_short_of_nothing(
    a: int, b: int, c: int, d: int
) -> None:
    assert link_cost(LinkLoad("x", a, b), LinkLoad("y", c, d)) == 1.0


@given(st.integers(0, 15), steps, steps)
def test_fewer_bits_never_make_a_link_cheaper(stock: int, rate: int, other: int) -> None:
    fuller = link_cost(LinkLoad("x", stock + 1, rate), LinkLoad("y", 0, other))

    assert link_cost(LinkLoad("x", stock, rate), LinkLoad("y", 0, other)) >= fuller


def test_few_hops_are_preferred_and_links_short_of_bits_avoided() -> None:
    assert lsdb_of("ab bc cd ad").find_paths("a", "d", 1) == (("a", "d"),)
    assert lsdb_of("ab bc cd ad", {"ad": 5}).find_paths("a", "d", 1) == (("a", "b", "c", "d"),)


def test_a_link_counts_only_if_both_ends_say_so() -> None:
    lsdb = lsdb_of("ab bc")
    lsdb.install(lsa_of("c", 2), 0.0)

    assert lsdb.find_paths("a", "c", 1) == ()
    assert lsdb.cost(("a", "b", "c")) is None


@given(links_of, st.sets(st.sampled_from(NAMES)), st.integers(1, 3))
def test_what_is_to_be_avoided_is_avoided(links: list[str], out: set[str], n: int) -> None:
    lsdb = lsdb_of(" ".join(links))
    cut = [(pair[0], pair[1]) for pair in links[:2]]

    paths = lsdb.find_paths("a", "h", n, Avoid(out, cut))

    for path in paths:
        assert not set(path[1:-1]) & out
        assert all(hop not in cut and hop[::-1] not in cut for hop in itertools.pairwise(path))


@given(links_of, st.integers(1, 3))
def test_avoiding_nothing_finds_what_avoiding_the_impossible_finds(
    links: list[str], n: int
) -> None:
    lsdb = lsdb_of(" ".join(links))

    plain = lsdb.find_paths("a", "h", n)

    assert plain == lsdb.find_paths("a", "h", n, Avoid(("nobody",), ()))


@given(links_of, st.integers(1, 3), st.data())
def test_paths_in_use_are_never_left_for_equal_ones(
    links: list[str], n: int, data: st.DataObject
) -> None:
    lsdb = lsdb_of(" ".join(links))
    found = lsdb.find_paths("a", "h", n)
    keep = tuple(data.draw(st.permutations(found)))

    assert lsdb.find_paths("a", "h", n, keep=keep) == (keep if len(found) == n else found)


def test_a_path_in_use_is_kept_unless_the_new_one_is_clearly_better() -> None:
    five: Path = ("a", "b", "c", "d", "e", "h")
    lsdb = lsdb_of("ab bc cd de eh af fg gc")
    assert lsdb.find_paths("a", "h", 1, keep=(five,)) == (five,)
    longer: Path = ("a", "f", "g", "c", "d", "e", "h")
    assert lsdb.find_paths("a", "h", 1, keep=(longer,)) == (longer,)

    shorter = lsdb_of("ab bc cd de eh ah")

    assert shorter.find_paths("a", "h", 1, keep=(five,)) == (("a", "h"),)


def test_a_path_in_use_that_is_broken_is_left() -> None:
    lsdb = lsdb_of("ab bh ac ch")

    assert lsdb.find_paths("a", "h", 1, keep=(("a", "d", "h"),)) == (("a", "b", "h"),)
    kept: Path = ("a", "b", "h")
    assert lsdb.find_paths("a", "h", 1, Avoid((), [("b", "h")]), (kept,)) == (("a", "c", "h"),)


def test_only_newer_states_of_the_directory_are_taken() -> None:
    lsdb = LinkStateDatabase(frozenset("ab"))

    verdicts = [lsdb.install(lsa_of(*each), 0.0) for each in (("a", 5), ("a", 5), ("a", 4))]

    assert verdicts == [Verdict.NEWS, Verdict.KNOWN, Verdict.STALE]
    assert lsdb.install(lsa_of("z", 9), 0.0) is Verdict.STRANGER


def test_what_is_old_is_forgotten_but_not_how_far_it_was() -> None:
    lsdb = LinkStateDatabase(frozenset("ab"))
    lsdb.install(lsa_of("a", 5, b=9), 0.0)

    assert lsdb.age(AGE_S) == []
    assert lsdb.age(AGE_S + 1) == ["a"]

    assert lsdb.install(lsa_of("a", 5, b=9), 200.0) is Verdict.KNOWN
    assert lsdb.of("a") is None
    assert lsdb.install(lsa_of("a", 6, b=9), 200.0) is Verdict.NEWS


def test_a_number_grows_by_a_bounded_jump() -> None:
    lsdb = LinkStateDatabase(frozenset("ab"))
    lsdb.install(lsa_of("a", 5), 0.0)

    assert lsdb.install(lsa_of("a", SEQ_MAX - 1), 0.0) is Verdict.JUMP
    assert lsdb.install(lsa_of("a", 5 + JUMP_MAX + 1), 0.0) is Verdict.JUMP
    assert lsdb.install(lsa_of("a", 5 + JUMP_MAX), 0.0) is Verdict.NEWS


def test_who_is_not_known_yet_may_have_counted_far() -> None:
    lsdb = LinkStateDatabase(frozenset("ab"))

    assert lsdb.install(lsa_of("a", 9 * JUMP_MAX), 0.0) is Verdict.NEWS


def test_a_number_that_no_honest_node_reaches_is_forgotten_when_it_has_aged_out() -> None:
    lsdb = LinkStateDatabase(frozenset("ab"))
    lsdb.install(lsa_of("a", SEQ_MAX - 1), 0.0)
    assert lsdb.install(lsa_of("a", 5), 1.0) is Verdict.STALE

    lsdb.age(AGE_S + 1)

    assert lsdb.install(lsa_of("a", 5), 200.0) is Verdict.NEWS


def test_who_signs_with_another_key_begins_anew() -> None:
    lsdb = lsdb_of("ab bc")
    lsdb.install(lsa_of("a", 7, b=FULL), 0.0)
    before = lsdb.version

    lsdb.forget("a")

    assert lsdb.of("a") is None
    assert lsdb.version > before
    assert lsdb.install(lsa_of("a", 1, b=FULL), 0.0) is Verdict.NEWS


def test_who_leaves_the_directory_leaves_the_database() -> None:
    lsdb = lsdb_of("ab bc")

    lsdb.set_origins("ab")

    assert lsdb.find_paths("a", "c", 1) == ()
    assert [known.origin for known in lsdb.summary()] == ["a", "b"]


def test_a_refresh_changes_no_version_and_a_link_does() -> None:
    lsdb = lsdb_of("ab")
    before = lsdb.version

    lsdb.install(lsa_of("a", 2, b=FULL), 1.0)
    assert lsdb.version == before
    lsdb.install(lsa_of("a", 3), 2.0)
    assert lsdb.version > before


@given(st.dictionaries(st.sampled_from(NAMES), st.integers(1, 9)), st.data())
def test_after_an_answer_nobody_lacks_anything(seqs: dict[str, int], data: st.DataObject) -> None:
    theirs = data.draw(st.dictionaries(st.sampled_from(NAMES), st.integers(1, 9)))
    lsdb, other = LinkStateDatabase(frozenset(NAMES)), LinkStateDatabase(frozenset(NAMES))
    for mine, origins in ((lsdb, seqs), (other, theirs)):
        for origin, seq in origins.items():
            mine.install(lsa_of(origin, seq), 0.0)

    for state in lsdb.missing_from(other.summary()):
        assert other.install(VerifiedLsa(state, {}), 0.0) is Verdict.NEWS

    assert lsdb.missing_from(other.summary()) == []
    assert all(other.of(origin) for origin in seqs)


def test_lacking_names_nothing_that_is_known() -> None:
    lsdb = lsdb_of("ab")

    states = lsdb.missing_from([Known(name, 1) for name in NAMES[:-1]])

    assert [state.origin for state in states] == ["h"]


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        ([("b", 10, 10)], False),
        ([("b", 11, 9)], False),
        ([("b", 12, 10)], True),
        ([("b", 10, 8)], True),
        ([], True),
        ([("b", 10, 10), ("c", 1, 1)], True),
        ([("c", 10, 10)], True),
    ],
)
def test_a_small_change_is_none(new: list[tuple[str, int, int]], expected: bool) -> None:
    old = [LinkLoad("b", 10, 10)]

    assert differs(old, [LinkLoad(*each) for each in new]) is expected


def test_having_none_is_never_a_small_change() -> None:
    assert differs([LinkLoad("b", 1, 5)], [LinkLoad("b", 0, 5)])
    assert differs([LinkLoad("b", 0, 0)], [LinkLoad("b", 1, 0)])


SIGNER = Signer(Secret(bytes(32)))


def state(seq: int, *loads: LinkLoad, origin: str = "a") -> LinkState:
    return LinkState(origin, seq, loads, SIGNER.sign(state_text(origin, seq, loads)))


def test_a_signed_state_is_believed() -> None:
    made = verify_lsa(state(1, LinkLoad("b", 1, 2)), SIGNER.public)

    assert made
    assert made.loads == {"b": LinkLoad("b", 1, 2)}


@pytest.mark.parametrize(
    "lie",
    [
        state(0),
        state(-1),
        state(1, LinkLoad("c", 1, 1), LinkLoad("b", 1, 1)),
        state(1, LinkLoad("b", 1, 1), LinkLoad("b", 1, 1)),
        state(1, LinkLoad("a", 1, 1)),
        state(1, LinkLoad("b", -1, 1)),
        state(1, LinkLoad("b", 1, 64)),
        LinkState("a", 2, (), state(1).signature),
        LinkState("a", 1, (), b""),
        LinkState("b", 1, (), state(1).signature),
    ],
)
def test_what_is_not_well_formed_and_signed_is_not_believed(lie: LinkState) -> None:
    assert verify_lsa(lie, SIGNER.public) is None


@pytest.mark.parametrize("public", ["", "nonsense", "AAAA", Signer(Secret(b"x" * 32)).public])
def test_another_key_verifies_nothing(public: str) -> None:
    assert verify_lsa(state(1), public) is None
