"""Rows of the mutation tables with a change that changes nothing: each witness stays content.

Else a mutation might be noticed for another reason than what it breaks: since its method is found
by a mark that the new one lacks, say, or since the witness fails anyway.
"""

import inspect
from collections.abc import Callable
from typing import Any

import pytest

from tests.mutations import (
    test_mutations,
    test_mutations_pads,
    test_mutations_places,
    test_mutations_relay,
    test_mutations_survivors,
)
from tests.mutations.rewritten import Line, rewritten
from tests.mutations.test_mutations import Mutation, Seeds

pytestmark = pytest.mark.slow

SEEDS = 3
"""Of the runs of a witness: all of them are run as they are elsewhere."""
TABLE = (*test_mutations.TABLE, *test_mutations_pads.TABLE, *test_mutations_relay.TABLE)

LINES = (*test_mutations_places.TABLE, *test_mutations_survivors.TABLE)


def passing_on(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make another function that does the same; it bears none of the marks of the first."""

    def same(*args: Any, **more: Any) -> Any:
        return function(*args, **more)

    return same


def unchanged(owner: Any, name: str) -> Any:
    """Put what is there into another shape, as a mutation would replace it."""
    found = inspect.getattr_static(owner, name)
    if isinstance(found, staticmethod | classmethod):
        return type(found)(passing_on(found.__func__))
    if isinstance(found, property):
        assert found.fget
        return property(passing_on(found.fget))
    return passing_on(found) if inspect.isfunction(found) else found


def distinct() -> list[Mutation]:
    """One row for each place and witness."""
    rows = {(it.owner, it.name, str(it.witness)): it for it in TABLE}
    return list(rows.values())


@pytest.mark.parametrize("it", distinct(), ids=[f"{it.rule}: {it.what}" for it in distinct()])
def test_a_change_that_changes_nothing_is_not_noticed(
    it: Mutation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(it.owner, it.name, unchanged(it.owner, it.name))

    if isinstance(it.witness, Seeds):
        Seeds(it.witness.first, it.witness.first + SEEDS)()
    else:
        it.witness()


@pytest.mark.parametrize("it", LINES, ids=[it.what for it in LINES])
def test_a_line_in_its_own_place_is_not_noticed(it: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(it.owner, it.name, rewritten(it.owner, it.name, it.line, it.line))

    it.witness()
