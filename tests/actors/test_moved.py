"""For one release the old paths of what others import lead to the new ones, with a warning."""

import subprocess
import sys
from importlib import import_module

import pytest

from actors.keystore.key_store import KeyStore
from actors.keystore.options import StoreOptions
from actors.sessions.options import SessionOptions

MOVED = [
    ("actors.distant", "SessionOptions", SessionOptions),
    ("actors.keeper", "StoreOptions", StoreOptions),
    ("actors.key_store", "KeyStore", KeyStore),
]


@pytest.mark.parametrize(("module", "name", "found"), MOVED)
def test_an_old_path_forwards_with_a_warning_at_its_importer(
    module: str, name: str, found: type
) -> None:
    place: dict[str, object] = {}
    line = compile(f"from {module} import {name}", "theirs.py", "exec")

    with pytest.warns(DeprecationWarning, match=f"import {name} from {found.__module__}") as told:
        exec(line, place)

    assert place[name] is found
    assert {warning.filename for warning in told} == {"theirs.py"}


@pytest.mark.parametrize("module", [module for module, _, _ in MOVED])
def test_an_old_path_has_nothing_else(module: str) -> None:
    assert not hasattr(import_module(module), "Keeper")


def test_a_module_that_never_was_is_not_found() -> None:
    with pytest.raises(ModuleNotFoundError):
        import_module("actors.keeper_of_bees")


def test_who_uses_no_old_path_imports_no_actor() -> None:
    asked = "import sys, actors; print(*(name for name in sys.modules if 'actors.' in name))"

    told = subprocess.run([sys.executable, "-c", asked], capture_output=True, check=True, text=True)

    assert told.stdout.split() == []
