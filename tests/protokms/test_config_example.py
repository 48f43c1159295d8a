"""The example in deploy/ shows every key there is, with its default."""

import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from protokms import config
from protokms.sections import Etsi014, Link, Manage, Store, Tables

EXAMPLE = Path(__file__).parents[2] / "deploy/node.toml"
TABLES = [
    (name, kind)
    for name, kind in (
        ("etsi014", Etsi014),
        ("store", Store),
        ("link", Link),
        ("manage", Manage),
        ("", Tables),
    )
]


def whole() -> str:
    return re.sub(r"(?m)^# (\w+ = |\[\[)", r"\1", EXAMPLE.read_text())


def table(name: str) -> dict[str, Any]:
    made: Any = tomllib.loads(whole())
    made = made[name] if name else made
    row: dict[str, Any] = made[0] if isinstance(made, list) else made
    return row


def test_the_example_is_right_as_it_stands_and_with_every_comment_taken_away(
    tmp_path: Path,
) -> None:
    file = tmp_path / "node.toml"
    file.write_text(whole())

    config.load(EXAMPLE, files=False)
    config.load(file, files=False)


@pytest.mark.parametrize(("name", "kind"), TABLES)
def test_the_example_shows_every_key(name: str, kind: type[msgspec.Struct]) -> None:
    keys = {field.encode_name for field in msgspec.structs.fields(kind)}

    assert keys - {"rate_bit_s"} == table(name).keys()


@pytest.mark.parametrize(("name", "kind"), TABLES[:3])
def test_the_example_tells_the_true_defaults(name: str, kind: type[msgspec.Struct]) -> None:
    shown = table(name)
    wrong = {
        field.name: (shown.get(field.name), field.default)
        for field in msgspec.structs.fields(kind)
        if field.default not in (msgspec.NODEFAULT, None) and shown.get(field.name) != field.default
    }

    assert wrong == {}
