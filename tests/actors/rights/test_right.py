"""What a pair of SAEs may have, for each combination of rows that may be about it."""

from itertools import permutations, product

import pytest

from actors.protocol.intent import PER_SAE, Application, Policy
from actors.protocol.rights import Entitled, Rights, Rule
from actors.rights.right import Least, Most, Ways, joint, right_of

HOMES = {"ann": "a", "bob": "b", "bert": "b"}
ANN, ID = "ann", "c3d7f0aa-8d3c-4f1d-b7d9-000000000001"
PAIR = ANN, "bob"
NAMES = {
    "the SAE": ("bob",),
    "its node": ("node:b",),
    "anybody": ("*",),
    "another SAE": ("bert",),
    "another node": ("node:a",),
    "nobody known": ("node:c", "zoe"),
}
NAMED = ("the SAE", "its node", "anybody")


def rule(
    name: str, slaves: tuple[str, ...], *, allow: bool, masters: tuple[str, ...] = ("*",)
) -> Rule:
    return Rule(name, Policy(0, masters, slaves, allow=allow))


@pytest.mark.parametrize("controlled", [False, True])
@pytest.mark.parametrize("app", ["none", "there", "over"])
@pytest.mark.parametrize("allow", [None, True, False])
@pytest.mark.parametrize("who", NAMES)
def test_one_policy_and_one_application(
    controlled: bool, app: str, allow: bool | None, who: str
) -> None:
    rules = () if allow is None else (rule("gold", NAMES[who], allow=allow),)
    over = Entitled(ID, Application(ANN, ("bob",)), over=app == "over")
    rights = Rights(
        controlled=controlled, entitled={} if app == "none" else {PAIR: over}, rules=rules
    )

    no = right_of(rights, *PAIR, HOMES.get).no

    if allow is False and who in NAMED:
        assert no == "policy gold denies keys with SAE bob"
    elif app == "none":
        assert bool(no) is controlled
        assert "no application" in no or not controlled
    else:
        assert no == (f"the time of application {ID} is over" if app == "over" else "")


@pytest.mark.parametrize("order", list(permutations(range(3))))
def test_the_first_policy_that_names_the_pair_decides(order: tuple[int, ...]) -> None:
    three = (
        rule("deny", ("*",), allow=False),
        rule("allow", ("bob",), allow=True),
        rule("others", ("bert",), allow=True),
    )
    rules = tuple(three[at] for at in order)
    first = next(it for it in rules if it.name != "others")

    right = right_of(Rights(controlled=False, entitled={}, rules=rules), *PAIR, HOMES.get)

    assert bool(right.no) is (first.name == "deny")


@pytest.mark.parametrize(("masters", "slaves"), list(product(NAMES, NAMES)))
def test_a_policy_has_to_name_both(masters: str, slaves: str) -> None:
    rules = (rule("gold", NAMES[slaves], masters=NAMES[masters], allow=False),)
    rights = Rights(controlled=False, entitled={}, rules=rules)

    no = right_of(rights, "bob", "bob", HOMES.get).no

    assert bool(no) is (masters in NAMED and slaves in NAMED)


RATES = (None, 0, 5, 7)
LIVES = (None, 60, 90)


@pytest.mark.parametrize(("app", "policy"), list(product(RATES, RATES)))
def test_limits_of_both_hold_and_none_at_all_is_a_refusal(
    app: int | None, policy: int | None
) -> None:
    there = Entitled(ID, Application(ANN, ("bob",), max_bandwidth=app))
    rule = Rule("gold", Policy(0, ("*",), ("*",), max_bandwidth=policy))

    right = right_of(
        Rights(controlled=True, entitled={PAIR: there}, rules=(rule,)), *PAIR, HOMES.get
    )

    if app == 0:
        assert right.no == f"application {ID} gives no bits"
    elif policy == 0:
        assert right.no == "policy gold gives no bits"
    else:
        assert sorted(it.rate for it in right.limits) == sorted(it for it in (app, policy) if it)
        assert len({it.scope for it in right.limits}) == len(right.limits)


@pytest.mark.parametrize(("app", "policy"), list(product(LIVES, LIVES)))
def test_the_shorter_life_counts(app: int | None, policy: int | None) -> None:
    there = Entitled(ID, Application(ANN, ("bob",), ttl_s=app))
    rule = Rule("gold", Policy(0, ("*",), ("*",), ttl_s=policy))

    right = right_of(
        Rights(controlled=False, entitled={PAIR: there}, rules=(rule,)), *PAIR, HOMES.get
    )

    assert right.ttl_s == min((it for it in (app, policy) if it), default=None)


def test_the_limit_of_an_application_is_one_for_all_its_slaves_and_that_of_a_policy_for_each() -> (
    None
):
    app = Entitled(ID, Application(ANN, ("bob", "bert"), max_bandwidth=5, min_bandwidth=2))
    entitled = {(ANN, "bob"): app, (ANN, "bert"): app}
    rule = Rule("gold", Policy(0, ("*",), ("*",), max_bandwidth=9))
    rights = Rights(controlled=True, entitled=entitled, rules=(rule,))

    one, other = (right_of(rights, ANN, slave, HOMES.get) for slave in ("bob", "bert"))

    assert one.limits[0] == other.limits[0]
    assert one.limits[1].scope != other.limits[1].scope
    assert one.least == other.least == Least(ID, 2)


def test_the_other_way_round_is_another_pair() -> None:
    there = Entitled(ID, Application(ANN, ("bob",)))
    rights = Rights(controlled=True, entitled={PAIR: there})

    assert right_of(rights, *PAIR, HOMES.get).no == ""
    assert right_of(rights, "bob", ANN, HOMES.get).no


@pytest.mark.parametrize(("app", "policy"), list(product((0, 3, 99), (0, 2, 99))))
def test_the_priority_of_a_policy_counts_else_that_of_the_application(
    app: int, policy: int
) -> None:
    there = Entitled(ID, Application(ANN, ("bob",), priority=app))
    rule = Rule("gold", Policy(0, ("*",), ("*",), priority=policy))
    rights = Rights(controlled=True, entitled={PAIR: there}, rules=(rule,))

    assert right_of(rights, *PAIR, HOMES.get).weight == min(16, 1 + (policy or app))


def test_the_rate_of_an_sae_has_one_scope_for_all_its_pairs_and_each_sae_its_own() -> None:
    rule = Rule("gold", Policy(0, ("*", PER_SAE), ("*",), max_bandwidth=9, stock_bits=80))
    rights = Rights(controlled=False, entitled={}, rules=(rule,))

    pairs = ((ANN, "bob"), (ANN, "bert"), ("bert", "bob"))
    one, same, other = (right_of(rights, *pair, HOMES.get) for pair in pairs)

    assert one.limits == same.limits
    assert one.limits[0].scope != other.limits[0].scope
    assert joint([one, same]).limits == one.limits
    assert one.stock == Most("policy gold", 10)


@pytest.mark.parametrize(("one", "other"), list(product((0, 1, 2, 3), repeat=2)))
def test_of_keys_for_several_the_rule_with_most_paths_counts(one: int, other: int) -> None:
    rules = (
        Rule("gold", Policy(0, ("*",), ("bob",), paths=one)),
        Rule("silver", Policy(1, ("*",), ("bert",), paths=other)),
    )
    rights = Rights(controlled=False, entitled={}, rules=rules)
    each = [right_of(rights, ANN, slave, HOMES.get) for slave in ("bob", "bert")]

    assert each[0].ways == (Ways("policy gold", one) if one else None)
    several = joint(each).ways
    assert (several.paths if several else 0) == max(one, other)


def test_the_mark_of_a_rate_names_nobody() -> None:
    rule = Rule("gold", Policy(0, ("bert", PER_SAE), ("*",), allow=False))
    rights = Rights(controlled=False, entitled={}, rules=(rule,))

    assert right_of(rights, *PAIR, HOMES.get).no == ""
