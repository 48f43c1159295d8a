"""Each wire word is handled by exactly one class, and docs/protocol.md says by which."""

import pytest

from actors.protocol.doors import ANSWERS, DOORS
from tests.kit.handlers_page import ACTORS, PAGE, parts_of, table
from transport.message import doors

OURS = [word for word, kind in doors().items() if kind.__module__.startswith("actors.protocol.")]


@pytest.mark.parametrize("word", OURS)
def test_each_wire_word_has_exactly_one_handler(word: str) -> None:
    kind = doors()[word]

    handlers = [by for actor in ACTORS.values() for by in (actor.handled_by().get(kind),) if by]

    assert len(handlers) == (0 if word in ANSWERS else 1)


def test_each_wire_word_has_a_door() -> None:
    assert sorted(OURS) == sorted([*DOORS, *ANSWERS])


def test_the_page_is_up_to_date() -> None:
    _, found, _ = parts_of(PAGE.read_text(encoding="utf-8"))

    assert found == table()
