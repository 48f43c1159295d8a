"""Whose bits they are: pairs at key stores, and the rows that name them."""

import uuid
from dataclasses import replace
from pathlib import Path

import pytest

from actors.intent.rows import Kept
from actors.intent.scene import Scene
from actors.intent.shown.applications import consumption, sort_out
from actors.intent.shown.facts import NOTHING, Denials, application_facts
from actors.protocol import intent
from actors.protocol.intent import Application, Consumed, Policy
from actors.protocol.rights import Entitled, Rights, Rule
from actors.protocol.usage import KEPT, Interval, Pair, Usage

SCENE = Scene(node="a", homes={"m": "a", "s": "b", "t": "c", "u": "b"})
CONTROLLER = Path(__file__).parents[3] / "docs" / "controller.md"
NARROW = Application("m", ("s",), min_bandwidth=500)
WIDE = Application("m", ("t", "s"))


def kept(app: Application, id_: str = "1") -> Kept:
    return Kept(intent.APPLICATION, id_, "x", 1, 0.0, app)


def pair(*slaves: str, mean: float = 100.0, bits: int = 8, number: int = 1) -> Pair:
    return Pair("m", slaves, mean, (Interval(number, bits),))


def usage(*pairs: Pair) -> Usage:
    return replace(NOTHING, pairs=pairs)


def test_a_pair_belongs_to_the_row_of_these_saes_else_to_a_wider_one() -> None:
    rows = [kept(WIDE, "w"), kept(NARROW, "n")]

    taken, others = sort_out(rows, {"b": usage(pair("s"), pair("u")), "c": usage(pair("t"))}, "a")

    assert {id_: it.means for id_, it in taken.items()} == {"w": {"c": 100.0}, "n": {"b": 100.0}}
    (other,) = others
    assert other.id == intent.application_id("m", ["u"])
    assert other.application == Application("m", ("u",), local="a", remote="b")
    assert sort_out(rows[:1], {"b": usage(pair("s"))}, "a")[0]["w"].means == {"b": 100.0}


def test_an_application_over_several_stores_has_one_history() -> None:
    told = {"b": usage(pair("s", bits=8)), "c": usage(pair("t", bits=16), pair("t", number=3))}
    taken, _ = sort_out([kept(WIDE)], told, "a")

    assert taken["1"].consumed(1_000.5) == (
        Consumed(1_030.5, 1_060.5, 24),
        Consumed(1_090.5, 1_120.5, 8),
    )
    many = replace(pair("s"), intervals=tuple(Interval(n, 8) for n in range(KEPT)))
    taken, _ = sort_out([kept(WIDE)], {"b": usage(many), "c": usage(pair("t", number=KEPT))}, "a")
    assert len(taken["1"].consumed(0.0)) == KEPT


@pytest.mark.parametrize(("mean", "expected"), [(100.0, 500.0), (900.0, 900.0)])
def test_of_what_is_kept_and_what_is_taken_the_larger_is_expected(
    mean: float, expected: float
) -> None:
    rows = [kept(NARROW)]
    taken, others = sort_out(rows, {"b": usage(pair("s", mean=mean), pair("u", mean=7.0))}, "a")

    found = consumption(rows, taken, others, SCENE)
    assert found["b"] == expected + 7.0
    assert "c" not in found, "no SAE of it is there"
    assert consumption(rows, {}, [], SCENE)["b"] == 500.0, "kept, though nobody asked yet"


def test_an_application_is_on_until_its_time_or_an_sae_is_gone() -> None:
    app = replace(WIDE, expires=100.0)

    assert application_facts(app, SCENE, now=99.0, created=5.0).status == intent.ON
    assert application_facts(app, SCENE, now=100.0, created=5.0).status == intent.OUT_OF_TIME
    gone = application_facts(replace(WIDE, slaves=("x",)), SCENE, now=0.0, created=5.0)
    assert (gone.status, gone.created) == (intent.DISCONNECTED, 5.0)
    assert "x" in gone.why


RULES = (
    Rule("no-t", Policy(1, ("*",), ("t",), allow=False)),
    Rule("none", Policy(2, ("*",), ("s",), max_bandwidth=0)),
)


@pytest.mark.parametrize(
    ("app", "registered", "why"),
    [
        (Application("m", ("t",)), True, "policy no-t denies"),
        (Application("m", ("t",)), False, "policy no-t denies"),
        (Application("m", ("s",)), False, "policy none gives no bits"),
        (Application("m", ("s", "t")), True, "policy none"),
        (Application("m", ("t", "u")), True, ""),
        (Application("m", ("t", "u")), False, "policy no-t"),
        (Application("m", ("u",)), False, ""),
        (Application("u", ("t",)), False, ""),
        (Application("m", ("t",), intent.INTERNAL), True, ""),
    ],
)
def test_what_policies_of_the_masters_node_deny_is_disconnected(
    app: Application, registered: bool, why: str
) -> None:
    denials = Denials(Rights(controlled=False, entitled={}, rules=RULES), SCENE)

    assert denials.of(app, registered=registered).startswith(why)
    assert bool(why) is bool(denials.of(app, registered=registered))
    facts = application_facts(app, SCENE, now=0.0, created=5.0, denied=why)
    assert facts.status == (intent.DISCONNECTED if why else intent.ON)


@pytest.mark.parametrize(("controlled", "limit"), [(True, None), (False, 0)])
def test_what_nobody_registered_may_have_nothing_where_applications_are_controlled(
    controlled: bool, limit: int | None
) -> None:
    app = Application("m", ("t",), max_bandwidth=limit)
    entitled = {("m", "t"): Entitled("id", app)} if limit == 0 else {}
    denials = Denials(Rights(controlled=controlled, entitled=entitled), SCENE)

    assert denials.of(Application("m", ("t",)), registered=False)
    assert not denials.of(app, registered=True), "it is as somebody wants it"


def test_ids_are_made_as_the_documents_say() -> None:
    name = uuid.uuid5(intent.NAMESPACE, "application\nm\ns\nt")
    assert intent.application_id("m", ["t", "s"]) == str(name)
    one, other = "7C0A1F5E-0000", "11111111-0000"
    phys = str(uuid.uuid5(intent.NAMESPACE, f"phys\n{other}\n{one.lower()}"))
    assert {intent.link_id(intent.PHYS, *it) for it in ((one, other), (other, one))} == {phys}
    virt = str(uuid.uuid5(intent.NAMESPACE, f"virt\n{one.lower()}\n{other}"))
    assert intent.link_id(intent.VIRT, one, other) == virt
    assert str(intent.NAMESPACE) in CONTROLLER.read_text()
