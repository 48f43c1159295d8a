"""What rows come to for those who give keys out."""

from dataclasses import replace

from actors.intent.entitling import rights_of
from actors.intent.rows import Body, Kept
from actors.protocol import intent
from actors.protocol.intent import Application, Policy
from actors.protocol.rights import Entitled, Rights, Rule

NOW = 1_000.0
APP = Application("ann", ("bob",))
TWO = Application("ann", ("bob", "cleo"))


def kept(id_: str, body: Body) -> Kept:
    kind = intent.POLICY if isinstance(body, Policy) else intent.APPLICATION
    return Kept(kind, id_, "controller-1", 1, 0.0, body)


def rights(*rows: Kept) -> Rights:
    return rights_of(rows, NOW, controlled=True)


def test_each_pair_of_an_application_is_entitled() -> None:
    two = Entitled("1", TWO)

    assert dict(rights(kept("1", TWO)).entitled) == {("ann", "bob"): two, ("ann", "cleo"): two}


def test_of_several_the_one_with_the_fewest_slaves_counts_whichever_comes_first() -> None:
    rows = kept("1", TWO), kept("2", APP)

    for order in (rows, rows[::-1]):
        found = {pair: it.id for pair, it in rights(*order).entitled.items()}
        assert found == {("ann", "bob"): "2", ("ann", "cleo"): "1"}


def test_one_whose_time_is_over_counts_only_alone() -> None:
    over = replace(APP, expires=NOW)

    assert rights(kept("2", over)).entitled["ann", "bob"].over
    assert rights(kept("2", over), kept("1", TWO)).entitled["ann", "bob"].id == "1"
    assert not rights(kept("2", replace(APP, expires=NOW + 1.0))).entitled["ann", "bob"].over


def test_what_nodes_have_among_themselves_entitles_no_sae() -> None:
    assert not rights(kept("1", replace(APP, kind=intent.INTERNAL))).entitled


def test_policies_stand_in_their_order_and_those_of_one_order_by_name() -> None:
    one, two = Policy(1, ("*",), ("*",)), Policy(2, ("*",), ("*",))

    found = rights(kept("b", two), kept("c", one), kept("a", two)).rules

    assert found == (Rule("c", one), Rule("a", two), Rule("b", two))
