"""The rooms of `actors/`: each a subject that one reads in a sitting."""

from pathlib import Path

import pytest

import actors

ROOT = Path(actors.__file__).parent
ROOMS = sorted(room.parent for room in ROOT.glob("*/__init__.py"))
MODULES_MAX = 12
"""Beside `__init__`; `protocol` has as many as there are conversations."""


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_a_room_has_a_sentence_and_few_modules(room: Path) -> None:
    modules = [module for module in room.glob("*.py") if module.name != "__init__.py"]

    assert (room / "__init__.py").read_text(encoding="utf-8").startswith('"""')
    assert len(modules) <= MODULES_MAX or room.name == "protocol"


def test_there_are_fourteen_rooms() -> None:
    assert len(ROOMS) == 14
