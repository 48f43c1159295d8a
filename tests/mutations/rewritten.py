"""One line of a method in other words, for the tests that break the code on purpose."""

import inspect
import sys
import textwrap
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import pytest

HOWEVER = (Exception, pytest.fail.Exception)


class Line(NamedTuple):
    """A line of a method, what takes its place, and the test that notices."""

    what: str
    owner: Any
    name: str
    line: str
    by: str
    witness: Callable[[], Any]


def breaks(it: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the method be without its line for the rest of a test."""
    monkeypatch.setattr(it.owner, it.name, rewritten(it.owner, it.name, it.line, it.by))


def assert_noticed(witness: Callable[[], Any], *unfit: type[Exception]) -> None:
    """Let a test fail, whatever with, but not because the change itself does not fit the code."""
    with pytest.raises(HOWEVER) as noticed:
        witness()

    assert not isinstance(noticed.value, (NameError, ImportError, *unfit))


def patched(test: Callable[[pytest.MonkeyPatch], Any]) -> Callable[[], None]:
    """Return a test that changes something of its own."""

    def witness() -> None:
        with pytest.MonkeyPatch.context() as patch:
            test(patch)

    return witness


def rewritten(owner: Any, name: str, line: str, by: str) -> Any:
    """Compile a method or a function anew, with `by` in the place of its line that reads `line`.

    `ValueError` if it has no such line, or several: the code has changed, and the fault with it.
    """
    lines = textwrap.dedent(inspect.getsource(getattr(owner, name))).splitlines()
    places = [at for at, text in enumerate(lines) if text.strip() == line]
    if len(places) != 1:
        raise ValueError(f"{owner.__name__}.{name} has {len(places)} lines '{line}'")
    (at,) = places
    indent = lines[at][: len(lines[at]) - len(lines[at].lstrip())]
    lines[at] = indent + by
    module = owner if isinstance(owner, ModuleType) else sys.modules[owner.__module__]
    made: dict[str, Any] = {}
    exec(compile("\n".join(lines), module.__file__ or "", "exec"), vars(module), made)
    return made[name]
