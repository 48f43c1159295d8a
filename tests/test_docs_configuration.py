"""docs/configuration.md has every key that a file may hold, as the node reads it."""

import re
from typing import Annotated

import pytest
from msgspec import Meta, Struct

from actors.protocol.limits import limit
from protokms.config import sections
from tests.kit import config_page

ROWS = [
    (name, row) for name, (kind, _) in config_page.FILES.items() for row in config_page.rows(kind)
]
KEYS_AT_LEAST = 150


class Table(Struct, kw_only=True):
    """What a test asks for."""

    size: Annotated[int, limit(1, 2_000, "octets")] = 7
    name: Annotated[str, Meta(description="write a name")]
    below: list[sections.Metrics] | None = None


def test_the_page_is_up_to_date() -> None:
    _, found = config_page.parts_of(config_page.PAGE.read_text(encoding="utf-8"))

    assert found == config_page.tables()  # else: python -m tests.kit.config_page


@pytest.mark.parametrize(
    "row", list(config_page.rows(sections.Tables)), ids=lambda row: ".".join(row.place)
)
def test_each_key_has_a_row_with_a_meaning(row: config_page.Row) -> None:
    section = (
        config_page.PAGE.read_text().partition(f"\n### `{row.table}`\n")[2].partition("\n#")[0]
    )
    cells = re.findall(rf"^\| `{row.key}` \| (.*) \|$", section, re.MULTILINE)

    assert len(cells) == 1
    assert all(cell.strip() for cell in cells[0].split(" | ")), cells


def test_no_key_is_without_words() -> None:
    assert len(ROWS) >= KEYS_AT_LEAST
    assert "|  |" not in config_page.tables()


def test_what_is_said_beside_the_examples_is_of_keys_that_exist() -> None:
    known = {row.place for _, row in ROWS}

    assert set(config_page.CLEAR) - known == set()


def test_a_row_is_what_a_struct_says() -> None:
    size, name, bind = config_page.rows(Table, "[own]")

    assert size == ("[own]", "size", "1 to 2,000 octets", "`7`")
    assert name == ("[own]", "name", "a name", "must be there")
    assert (bind.table, bind.key) == ("[[own.below]]", "bind")


def test_a_meaning_goes_on_in_the_next_line() -> None:
    text = (
        "[own]\n# size = 7                 # how large,\n" + " " * 33 + '# and more\nname = "a"\n'
    )

    assert config_page.meanings(text) == {("own", "size"): "how large, and more"}
