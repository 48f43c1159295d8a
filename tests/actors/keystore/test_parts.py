"""Of what the actors are made: who handles which word, who is the base of whom, who asks whom."""

import importlib
import pkgutil
from collections import Counter
from graphlib import TopologicalSorter
from typing import get_type_hints

import pytest

import actors
from actors.base import Actor, Part
from actors.keystore.key_store import KeyStore
from actors.keystore.own_store import OwnStore
from actors.protocol import blocks
from actors.protocol.blocks import Head
from actors.protocol.doors import DOORS
from transport.message import doors

MODULES = [
    importlib.import_module(found.name)
    for found in pkgutil.walk_packages(actors.__path__, "actors.")
]
CLASSES = {
    kind
    for module in MODULES
    for kind in vars(module).values()
    if isinstance(kind, type) and kind.__module__.startswith("actors.")
}
ACTORS = sorted((it for it in CLASSES if issubclass(it, Actor) and it is not Actor), key=str)
PARTS = sorted((it for it in CLASSES if issubclass(it, Part) and it is not Part), key=str)
WORDS = [word for word, name in DOORS.items() if name == "key_store/{peer}"]


def asked(part: type) -> set[type]:
    """The parts that a part is given."""
    hints = get_type_hints(part.__init__)  # type: ignore[misc]
    return {other for hint in hints.values() for other in PARTS if other in (hint, *_inside(hint))}


def _inside(hint: object) -> tuple[object, ...]:
    return getattr(hint, "__args__", ())


@pytest.mark.parametrize("word", DOORS)
def test_a_wire_word_has_one_handler_in_one_actor(word: str) -> None:
    kind = doors()[word]
    found = [(actor, by) for actor in ACTORS for it, by in actor.handled_by().items() if it is kind]

    assert len(found) == 1


@pytest.mark.parametrize("actor", ACTORS, ids=lambda it: it.__name__)
def test_an_actor_has_no_base_but_actor(actor: type[Actor]) -> None:
    assert actor.__bases__ == (Actor,)


@pytest.mark.parametrize("part", PARTS, ids=lambda it: it.__name__)
def test_a_part_has_no_base_but_part(part: type[Part]) -> None:
    assert part.__bases__ == (Part,)


def test_no_two_parts_ask_each_other() -> None:
    graph = {part: asked(part) for part in PARTS}

    order = list(TopologicalSorter(graph).static_order())

    assert set(order) >= set(PARTS)
    assert sum(map(len, graph.values())) > len(KeyStore.parts)


@pytest.mark.parametrize("part", PARTS, ids=lambda it: it.__name__)
def test_a_part_is_given_no_actor(part: type[Part]) -> None:
    hints = get_type_hints(part.__init__)

    assert not [hint for hint in hints.values() if isinstance(hint, type) and hint in ACTORS]


@pytest.mark.parametrize("store", [KeyStore, OwnStore])
def test_a_part_of_a_store_is_named_before_those_that_ask_it(store: type[Actor]) -> None:
    for number, part in enumerate(store.parts):
        later = set(store.parts[number:])
        assert not asked(part) & later


@pytest.mark.parametrize("word", WORDS)
def test_a_word_of_a_peer_store_says_under_which_head_it_counts(word: str) -> None:
    kind = doors()[word]
    head = get_type_hints(kind).get("head")

    assert (head is Head) == (kind not in (blocks.ResumeAsk, blocks.Resume))


def test_most_words_are_handled_by_parts() -> None:
    by = Counter(KeyStore.handled_by()[doors()[word]] is KeyStore for word in WORDS)

    assert by[True] == 1  # the end of a segment, which concerns two parts
