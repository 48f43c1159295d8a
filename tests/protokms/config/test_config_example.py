"""The example in deploy/ shows every key there is, with its default."""

import re
import tomllib
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.keystore.options import StoreOptions
from actors.modules.glass import Glass
from actors.modules.physical import Physical
from etsi.gs014.options import Gs014Options
from etsi.gs015.options import Gs015Options
from protokms.config.link_tables import Device, KeyStream
from protokms.config.load import load, load_any
from protokms.config.sections import (
    EdgeConfig,
    EdgeCore,
    EdgeProcess,
    EdgeTables,
    Fibre,
    Interface,
    Link,
    Manage,
    OwnActorTable,
    Process,
    Tables,
)
from tests.kit.folders import HOME

DEPLOY = Path(__file__).parents[3] / "deploy"
EXAMPLE, EDGE, FIBRE = (DEPLOY / f"{name}.toml" for name in ("node", "edge", "fibre"))
TABLES = [
    (name, kind)
    for name, kind in (
        ("etsi014", Gs014Options),
        ("etsi015", Gs015Options),
        ("store", StoreOptions),
        ("link", Link),
        ("interface", Interface),
        ("device", Device),
        ("stream", KeyStream),
        ("fibre", Fibre),
        ("process", Process),
        ("actor", OwnActorTable),
        ("manage", Manage),
        ("", Tables),
    )
]


def whole(example: Path = EXAMPLE) -> str:
    return re.sub(r"(?m)^# (\w+ = |\[)", r"\1", example.read_text())


def table(name: str) -> dict[str, Any]:
    if name == "fibre":
        return tomllib.loads(whole(FIBRE))
    made: Any = tomllib.loads(whole())
    if name in ("device", "stream"):
        kind = "etsi014" if name == "device" else "etsi004"
        return table("link")[kind]  # type: ignore[no-any-return]
    made = made[name] if name else made
    rows: list[dict[str, Any]] = made if isinstance(made, list) else [made]
    return {key: value for row in reversed(rows) for key, value in row.items()}


def test_the_example_is_right_as_it_stands_and_with_every_comment_taken_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(HOME)
    file = tmp_path / "node.toml"
    here = whole().replace('"kms_echo:', '"examples.actor.kms_echo:')  # words are declared once
    file.write_text(here)

    load(EXAMPLE, files=False)
    load(file, files=False)


def test_the_example_of_an_edge_is_right_and_shows_every_key_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "front.toml"
    file.write_text(whole(EDGE))
    shown = tomllib.loads(whole(EDGE))

    load_any(EDGE, files=False)
    made = load_any(file, files=False)

    assert isinstance(made, EdgeConfig)
    assert made.actors == ["etsi014/1", "etsi015", "quantum_link/kms-3", "interface/3"]
    for name, kind in (("process", EdgeProcess), ("core", EdgeCore), ("", EdgeTables)):
        keys = {field.encode_name for field in msgspec.structs.fields(kind)}
        assert (shown[name] if name else shown).keys() == keys


@pytest.mark.parametrize(("name", "kind"), TABLES)
def test_the_example_shows_every_key(name: str, kind: type[msgspec.Struct]) -> None:
    keys = {field.encode_name for field in msgspec.structs.fields(kind)}

    assert keys - {"rate_bit_s", "block_octets", "block_s"} == table(name).keys()


@pytest.mark.parametrize(("name", "kind"), TABLES[:6])
def test_the_example_tells_the_true_defaults(name: str, kind: type[msgspec.Struct]) -> None:
    shown = table(name)
    defaults = {
        field.name: list(field.default) if field.default == () else field.default
        for field in msgspec.structs.fields(kind)
        if field.default not in (msgspec.NODEFAULT, None)
    }
    wrong = {
        name: (shown.get(name), default)
        for name, default in defaults.items()
        if shown.get(name) != default
    }

    assert wrong == {}


def test_the_example_tells_the_true_defaults_of_a_fibre_and_its_devices() -> None:
    shown = table("fibre")
    made = {
        name: value
        for kind in (Glass, Physical)
        for name, value in {it.name: it.default for it in fields(kind)}.items()
        if name in shown and value is not MISSING
    }

    assert {name: shown[name] for name in made} == made | {"eavesdropping": []}
