"""Each row of docs/range.md says what happens one step beyond, and names a command or a test."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/range.md").read_text()
ROW = re.compile(r"^\| (?!-)(.+) \|$", re.MULTILINE)
TEST = re.compile(r"\btest_\w+\b(?!\.py)")
SHOWN = re.compile(r"`(?:make|protokms) |`tests/|`test_\w+`|\bthe same\b|\bthere\b")
COLUMNS = 4
ROWS_AT_LEAST = 20
"""Rows of all tables "works from … to …" together."""


def rows() -> list[list[str]]:
    """Every row of a table that says what is one step beyond."""
    found: list[list[str]] = []
    for table in PAGE.split("\n\n"):
        head, *lines = ROW.findall(table) or [""]
        if "one step beyond" in head:
            found += [line.split(" | ") for line in lines if not line.startswith("---")]
    return found


def test_the_tables_are_found() -> None:
    assert len(rows()) >= ROWS_AT_LEAST


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_a_row_says_what_is_beyond_and_how_it_is_shown(row: list[str]) -> None:
    assert len(row) == COLUMNS, row
    _, works, beyond, shown = row

    assert works.strip()
    assert beyond.strip()
    assert SHOWN.search(shown)


def test_the_tests_that_are_named_are_there() -> None:
    named = set(TEST.findall(PAGE))
    sources = [path.read_text() for path in (ROOT / "tests").rglob("test_*.py")]
    missing = {name for name in named if not any(f"def {name}(" in text for text in sources)}

    assert named
    assert not missing
