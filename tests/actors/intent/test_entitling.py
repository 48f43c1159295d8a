"""What rows come to for those who give keys out."""

from collections.abc import Iterable
from dataclasses import replace

import pytest

from actors.intent import entitling
from actors.intent.entitling import rights_of
from actors.intent.rows import Body, Book, Kept
from actors.protocol import intent
from actors.protocol.common import Failed
from actors.protocol.intent import Application, Edit, Policy, Write
from actors.protocol.rights import FRESH_S, AskRights, Entitled, Rights, Rule
from protokms.testing.kms import TODAY, KmsNetwork

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


def test_rows_are_worked_out_once_for_each_revision_and_each_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kms = KmsNetwork("a--b", saes={"ann": "a", "bob": "b"})
    kms.advance(1.0)
    made: list[float] = []

    def count(rows: Iterable[Kept], at: float, *, controlled: bool) -> Rights:
        made.append(at - TODAY)
        return rights_of(rows, at, controlled=controlled)

    monkeypatch.setattr(entitling, "rights_of", count)
    asker = kms.cluster.probe("asker@a")
    app = replace(APP, expires=TODAY + 20.5)
    edit = Edit(intent.PUT, intent.APPLICATION, "", application=app)

    for _ in range(100):
        asker.question("intent@a", AskRights())
    kms.advance(9.0)
    assert made == []
    kms.cluster.ask("intent@a", Write(owner="controller-1", edits=(edit,)))
    kms.advance(15.0)

    assert made == [10.0, 20.5]
    asker.question("intent@a", AskRights())
    kms.cluster.settle()
    told = asker.of(Rights)[-1]
    assert told.entitled["ann", "bob"].over


def test_a_clock_that_is_set_back_lets_an_application_that_was_over_go_on() -> None:
    class Node:
        """What a part may ask of `intent`, with a clock of its own."""

        def __init__(self) -> None:
            self.book, self.wall = Book(), NOW
            self.told = list[float]()
            row = kept("1", replace(APP, expires=NOW + 5.0))
            self.book.written[row.key] = row

        def go_on(self, seconds: float, _: object) -> None:
            self.told.append(seconds)

    node = Node()
    part = entitling.Entitling(node, controlled=True, wall=lambda: node.wall)  # type: ignore[arg-type]
    part._tell = lambda: None  # type: ignore[method-assign]
    overs = []
    for later in (0.0, 5.0, 1.0, 2.0):
        node.wall = NOW + later
        part.look()
        overs.append(part.rights.entitled["ann", "bob"].over)

    assert overs == [False, True, False, False]
    assert node.told == [5.0, 4.0, 3.0]
