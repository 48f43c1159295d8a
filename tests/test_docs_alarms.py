"""Every alarm has a row in docs/operate.md, a remedy to be typed, and somebody who raises it."""

import re
from pathlib import Path
from typing import Any

import pytest
import typer

from actors.protocol.alarms import HAND, KINDS
from etsi.http.options import RESTART
from protokms.commands.main import app
from protokms.commands.node import RELOAD
from tests.kit.alarms_page import PAGE, parts_of, table

ROOT = Path(__file__).parents[1]
COMMAND = re.compile(r"`protokms ([^`]*)`")


def test_the_page_is_up_to_date() -> None:
    _, found, _ = parts_of(PAGE.read_text(encoding="utf-8"))

    assert found == table()  # else: python -m tests.kit.alarms_page


@pytest.mark.parametrize("id_", KINDS)
def test_a_remedy_names_a_command_that_exists(id_: str) -> None:
    commands = COMMAND.findall(KINDS[id_].remedy)

    assert commands
    assert [why for text in commands for why in wrong(text.split())] == []


@pytest.mark.parametrize("id_", [id_ for id_, kind in KINDS.items() if kind.clears == HAND])
def test_what_ends_by_hand_says_how(id_: str) -> None:
    remedy = KINDS[id_].remedy

    assert f"`protokms alarm clear {id_} {{subject}}`" in remedy or "`protokms link clear" in remedy


@pytest.mark.parametrize("id_", KINDS)
def test_somebody_raises_it(id_: str) -> None:
    name = re.compile(rf'"{id_}"|\b{id_}=')
    files = [
        file for room in ("actors", "etsi", "protokms") for file in (ROOT / room).rglob("*.py")
    ]

    assert any(name.search(file.read_text()) for file in files if file.name != "alarms.py")


def test_the_page_says_what_a_reload_does_not_take() -> None:
    section = PAGE.read_text(encoding="utf-8").partition("## Reload\n")[2].partition("\n## ")[0]

    assert [key for key in RESTART if f"`{key}`" not in section] == []


def test_a_command_that_does_not_exist_is_found() -> None:
    assert wrong(["link", "clean"])
    assert wrong(["node", "FILE", "--chuck"])
    assert not wrong(["link", "clear", "kms-2"])


def wrong(words: list[str]) -> list[str]:
    """Say what of a command line there is not."""
    if words[:2] == ["node", RELOAD]:  # typer does not see it
        return [] if len(words) == 3 else ["a reload is of one file"]
    found: Any = typer.main.get_command(app)
    rest = list(words)
    while hasattr(found, "get_command"):
        below = found.get_command(typer.Context(found), rest[0]) if rest else None
        if below is None:
            return [f"there is no {' '.join(words)}"]
        found, rest = below, rest[1:]
    known = {name for each in found.params for name in each.opts}
    return [f"no option {word}" for word in rest if word.startswith("--") and word not in known]
