"""What other packages bring to a node: found by a name, each with a table of options of its own.

A name is that of an entry point, or `package:factory`. A factory is a function with a parameter
`options`; the type of that, a `msgspec.Struct`, says what may stand in the table.
"""

import importlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple, get_type_hints

from msgspec import Meta, Struct, structs

from protokms.config.link_tables import KINDS
from protokms.config.tables import ConfigError, Loose, Report, hook_for, read_struct
from transport.explained import Explained
from transport.stage import kind_and_place


class Group(NamedTuple):
    """Entry points of one kind of thing, and the names that are taken, since they are ours."""

    name: str
    ours: tuple[str, ...]


MODULES = Group("protokms.modules", KINDS)
"""QKD modules."""

ACTORS = Group("protokms.actors", ())
"""Actors."""

OPTIONS = "options"
"""The table, and the parameter of a factory, for what is said to what another package brings."""

_NAME, _PART = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", r"[A-Za-z_][A-Za-z0-9_.]{0,127}"
Plugin = Annotated[
    str,
    Meta(
        pattern=rf"^({_NAME}|{_PART}:{_PART})\Z",
        description="write its name, or 'package:factory'",
    ),
]
_TEXT_MAX = 500


class NotThere(Exception):
    """Nothing that can be used stands under a name: why, and what to do."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.reason, self.remedy = reason, remedy


def find(name: str, group: Group) -> tuple[Callable[..., Any], type[Struct]]:
    """Import what a name stands for; return the factory, and the type of its options.

    Code of others runs: whatever it raises becomes `NotThere`.
    """
    try:
        factory = _imported(name) if ":" in name else _entry_point(name, group)
        hint = get_type_hints(factory).get(OPTIONS) if callable(factory) else None
    except NotThere:
        raise
    except (Exception, SystemExit) as why:
        remedy = "install the package for the Python that runs this node, or correct the name"
        raise NotThere(f"{name} cannot be imported: {_said(why)}", remedy) from why
    if not (isinstance(hint, type) and issubclass(hint, Struct)):
        remedy = f"give it a parameter {OPTIONS} whose type is a msgspec.Struct"
        raise NotThere(f"{name} is no factory", remedy)
    return factory, hint


def read(
    name: str, table: Loose | None, group: Group, keys: tuple[str, str], report: Report
) -> tuple[Callable[..., Any], Struct] | None:
    """Return a factory and its options, or report everything that hinders it.

    `keys` are those of the name and of the table.
    """
    named, at = keys
    try:
        factory, kind = find(name, group)
    except NotThere as why:
        report.add(named, why.reason, why.remedy)
        return None
    given = table or Loose(report.file.absolute().parent, {})
    try:
        options = read_struct(kind, given.table, at, hook_for(given.base), report)
    except Exception as why:  # of types that cannot be read, say
        report.add(at, f"cannot be read by {name}: {_said(why)}", "tell its author")
        return None
    return (factory, options) if options is not None else None


def files(name: str, table: Loose | None, group: Group, file: Path) -> list[Path]:
    """Return the files and folders that its options name and that are there.

    A field whose type is a `Path`, or that has some in it, says so. `file` is that of the table.
    """
    found = read(name, table, group, ("", ""), Report(file))
    paths = _paths(found[1]) if found else ()
    return [path for path in paths if path.is_file() or path.is_dir()]


def _paths(value: Any) -> Iterator[Path]:
    if isinstance(value, Path):
        yield value
    elif isinstance(value, Struct):
        value = structs.astuple(value)
    elif isinstance(value, Mapping):
        value = tuple(value.values())
    if isinstance(value, list | tuple | set | frozenset):
        for each in value:
            yield from _paths(each)


def call(name: str, key: str, report: Report, made: Callable[[], Any]) -> Any:
    """Call the factory that a name stands for; None, and a finding at `key`, if nothing comes."""
    try:
        found = made()
    except (Explained, OSError, ValueError) as why:
        report.add(key, str(why)[:_TEXT_MAX] or type(why).__name__, "correct it")
    except (Exception, SystemExit) as why:
        report.add(key, f"{name} fails: {kind_and_place(why)}", "tell its author")
    else:
        if found is None:
            report.add(key, f"{name} gives nothing", "tell its author")
        return found
    return None


def whole(report: Report, made: Any) -> Any:
    """Return what was made, or raise `ConfigError` with why it could not be."""
    if report.problems or made is None:
        raise ConfigError(report.problems)
    return made


def _imported(name: str) -> Any:
    package, _, path = name.partition(":")
    found: Any = importlib.import_module(package)
    for step in path.split("."):
        found = getattr(found, step)
    return found


def _entry_point(name: str, group: Group) -> Any:
    from importlib import metadata  # noqa: PLC0415 -- 2.7 MiB that most nodes do without

    known = metadata.entry_points(group=group.name)
    found = {point.value: point for point in known if point.name == name}
    if len(found) > 1:
        remedy = f"write one of {', '.join(sorted(found))}"
        raise NotThere(f"several packages bring a {name}", remedy)
    if not found:
        names = [*group.ours, *sorted(known.names)]
        remedy = f"write one of {', '.join(names)}; or install the package that brings it"
        raise NotThere(f"there is no {name[:80]}", remedy)
    (point,) = found.values()
    return point.load()


def _said(why: BaseException) -> str:
    return f"{type(why).__name__}: {str(why)[:_TEXT_MAX]}"
