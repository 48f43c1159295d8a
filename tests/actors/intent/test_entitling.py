"""What rows come to for those who give keys out."""

from dataclasses import replace

import pytest

from actors.intent import entitling
from actors.intent.entitling import rights_of
from actors.intent.rows import Body, Kept
from actors.protocol import intent
from actors.protocol.common import Failed
from actors.protocol.intent import Application, Edit, Policy, Write
from actors.protocol.rights import FRESH_S, AskRights, Entitled, Rights, Rule
from protokms.testing.kms import KmsNetwork

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


def test_who_has_asked_no_more_for_long_leaves_room_for_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(entitling, "ASKERS_MAX", 3)
    kms = KmsNetwork("a--b")
    kms.advance(3 * FRESH_S)  # stores that nobody asks for keys ask no more
    known = kms.cluster.probe("known@a")
    known.question("intent@a", AskRights())
    found = [kms.cluster.ask("intent@a", AskRights()) for _ in range(3)]
    known.question("intent@a", AskRights())
    kms.advance(2 * FRESH_S)
    later = kms.cluster.ask("intent@a", AskRights())

    assert [isinstance(it, Rights) for it in found] == [True, True, False]
    assert found[2] == Failed(code="busy", why="3 have asked already")
    assert [isinstance(it, Rights) for it in known.received] == [True, True]
    assert isinstance(later, Rights)
    kms.cluster.close()


def test_who_asks_again_in_time_hears_of_changes_and_who_does_not_is_forgotten() -> None:
    kms = KmsNetwork("a--b")
    one, two = (kms.cluster.probe(f"{name}@a") for name in ("one", "two"))
    for probe in (one, two):
        probe.question("intent@a", AskRights())
    kms.advance(FRESH_S)
    one.question("intent@a", AskRights())
    kms.advance(1.5 * FRESH_S)
    for probe in (one, two):
        probe.clear()

    edit = Edit(intent.PUT, intent.POLICY, "no", policy=Policy(1, ("*",), ("*",), allow=False))
    kms.cluster.ask("intent@a", Write(owner=intent.CLI, edits=(edit,)))

    assert [it.rules[0].name for it in one.of(Rights)] == ["no"]
    assert two.of(Rights) == []
    kms.cluster.close()
