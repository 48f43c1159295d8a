"""Reads tables that people wrote into structs, key by key, so that every error is told at once."""

import re
import tomllib
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar, Union, get_args, get_origin

import msgspec

from protokms.config.keyfiles import BadFile
from transport.endpoint import Endpoint
from transport.explained import Explained

S = TypeVar("S", bound=msgspec.Struct)
T = TypeVar("T")
Hook = Callable[[type, Any], Any]

_FILE_LIMIT = 1 << 20  # octets; a configuration is a few KiB
_CLOSE_ENOUGH = 0.6
_REGEX = re.compile(r"Expected `str` matching regex .*?(?= - at `\$|\Z)", re.DOTALL)


class Problem(NamedTuple):
    """One thing that is wrong: in which file, at which key, why, and what to do."""

    file: str
    key: str
    reason: str
    remedy: str

    def __str__(self) -> str:
        where = f"{self.file}: {self.key}" if self.key else self.file
        return f"{where}: {self.reason}. Remedy: {self.remedy}."


class Expiry(NamedTuple):
    """When something expires: which file of which key, its name, and the days that are left."""

    key: str
    name: str
    days: float


class ConfigError(Explained):
    """The configuration is wrong; `problems` says everything that is."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)


@dataclass
class Report:
    """Collects what is wrong with one file, and what is not wrong but worth a word.

    `closed` says why every client of the node would be refused, though it can run.
    `outside` says that this is not the process of the node: what only that one gets from its
    service manager is `unchecked`. `expiries` are told when they are asked for.
    `retired` are keys that may still be there, with the values that they have for good.
    """

    file: Path
    retired: Mapping[str, Any] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    closed: list[Problem] = field(default_factory=list)
    outside: bool = False
    unchecked: list[str] = field(default_factory=list)
    expiries: list[Expiry] = field(default_factory=list)
    _places: dict[int, str] = field(default_factory=dict)

    def add(self, key: str, reason: str, remedy: str, file: Path | None = None) -> None:
        """Note one problem; `file` when it lies in another file than this one."""
        found = Problem(str(file or self.file), key, reason, remedy)
        if found not in self.problems:
            self.problems.append(found)

    def warn(self, key: str, reason: str, remedy: str, *, closed: bool = False) -> None:
        """Note something with which the node runs; `closed` if nobody is let in meanwhile."""
        (self.closed if closed else self.warnings).append(
            Problem(str(self.file), key, reason, remedy)
        )

    def place(self, table: msgspec.Struct, key: str) -> None:
        """Remember at which key a table was read; the caller keeps the table."""
        self._places[id(table)] = key

    def key(self, table: msgspec.Struct) -> str:
        """Return the key at which a table was read."""
        return self._places[id(table)]


class Loose:
    """A table as it was written; what stands for it may say how it is to be read.

    `base` is the folder of its file: paths in the table are relative to it.
    """

    __slots__ = ("base", "table")

    def __init__(self, base: Path, table: Mapping[str, Any]) -> None:
        self.base, self.table = base, table

    def __eq__(self, other: object) -> bool:
        alike = isinstance(other, Loose) and self.base == other.base
        return alike and isinstance(other, Loose) and self.table == other.table

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<table with {len(self.table)} keys>"

    @classmethod
    def read(cls, base: Path, value: Any) -> "Loose":
        """Take a table as it is; `TypeError` for anything else."""
        if not isinstance(value, dict):
            raise TypeError("expected a table")
        return cls(base, value)


def hook_for(base: Path) -> Hook:
    """Return the reader of the types that msgspec does not know; paths are relative to `base`."""

    def read(kind: type, value: Any) -> Any:
        if issubclass(kind, Endpoint):
            return kind.parse(value)
        if issubclass(kind, Loose):
            return kind.read(base, value)
        if not isinstance(value, str):
            raise TypeError("expected a text")
        if not value or "\0" in value:
            raise ValueError("is not the path of a file")
        return base / value

    return read


def read_toml(path: Path, report: Report) -> dict[str, Any] | None:
    """Read a TOML file; what is wrong with it goes to the report, and the answer is None."""
    try:
        with path.open("rb") as file:
            octets = file.read(_FILE_LIMIT + 1)
    except (OSError, ValueError) as why:
        report.add("", f"cannot be read: {_os(why)}", "give the path of a readable TOML file")
        return None
    if len(octets) > _FILE_LIMIT:
        report.add("", f"is larger than {_FILE_LIMIT} octets", "give the path of a configuration")
        return None
    try:
        return tomllib.loads(octets.decode())
    except UnicodeDecodeError:
        report.add("", "is not UTF-8 text", "save it as UTF-8")
    except tomllib.TOMLDecodeError as why:
        report.add("", f"is not TOML: {why}", "correct the syntax at that place")
    except (RecursionError, ValueError):
        report.add("", "is not TOML: nested too deep or a number too long", "simplify it")
    return None


def read_struct(kind: type[S], table: Any, key: str, hook: Hook | None, report: Report) -> S | None:
    """Build a struct from a table, or report everything that hinders it and return None."""
    values = read_fields(kind, table, key, hook, report)
    if values is None:
        return None
    spoilt = values.pop("", None)
    known = msgspec.structs.fields(kind)
    said = {it.name for it in known if it.required or it.encode_name in table}
    if spoilt and said - values.keys():
        return None
    try:
        made = kind(**values)
    except (TypeError, ValueError) as why:  # of a rule of its own between several keys
        report.add(key, str(why), "correct it")
        return None
    if spoilt:
        return None
    report.place(made, key)
    return made


def read_fields(
    kind: type[S], table: Any, key: str, hook: Hook | None, report: Report
) -> dict[str, Any] | None:
    """Read the fields that can be read; the item `""` is there when any could not."""
    if not isinstance(table, Mapping):
        report.add(key, f"is {_kind(table)}, not a table", f"write a table [{key}]")
        return None
    fields = {known.encode_name: known for known in msgspec.structs.fields(kind)}
    before = len(report.problems)
    _unknown(table, fields, key, report)
    values: dict[str, Any] = {}
    for name, known in fields.items():
        where = f"{key}.{name}" if key else name
        if name in table:
            value = _value(known.type, table[name], where, hook, report)
            if value is not None:
                values[known.name] = value
        elif known.required:
            report.add(where, "is missing", meaning(known.type) or "add it")
    if len(report.problems) > before:
        values[""] = True
    return values


def meaning(hint: Any) -> str:
    """Return what the description of a field says that is to be written there."""
    if get_origin(hint) is not Annotated:
        return ""
    metas = [arg for arg in get_args(hint)[1:] if isinstance(arg, msgspec.Meta)]
    return next((meta.description for meta in reversed(metas) if meta.description), "")


def in_words(reason: str) -> str:
    """Take the regular expression out of what msgspec says; whoever adds a remedy says it."""
    return _REGEX.sub("a text that does not fit here", reason)


def _unknown(table: Mapping[str, Any], fields: Mapping[str, Any], key: str, report: Report) -> None:
    for name in table:
        if name in fields:
            continue
        where = f"{key}.{name}" if key else name
        if where in report.retired:
            reason = f"is ignored: its value is a constant, {report.retired[where]:g}, since 0.2"
            report.warnings.append(Problem(str(report.file), where, reason, "take it out"))
            continue
        from difflib import get_close_matches  # noqa: PLC0415 -- for what is wrong alone

        close = get_close_matches(name, fields, 1, _CLOSE_ENOUGH)
        known = ", ".join(sorted(fields))
        remedy = f"did you mean {close[0]}?" if close else f"take it out; known here: {known}"
        report.add(where[:200], "is an unknown key", remedy.rstrip("?"))


def _value(hint: Any, value: Any, key: str, hook: Hook | None, report: Report) -> Any:
    inner = _bare(hint)
    if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
        return read_struct(inner, value, key, hook, report)
    items = get_args(inner) if get_origin(inner) is list else ()
    if items and isinstance(items[0], type) and issubclass(items[0], msgspec.Struct):
        return _rows(items[0], value, key, hook, report)
    try:
        return msgspec.convert(value, hint, dec_hook=hook)
    except msgspec.ValidationError as why:
        reason, _, place = in_words(str(why)).partition(" - at `$")
        remedy = meaning(hint) or "correct it"
        report.add(f"{key}{place.rstrip('`')}", reason.replace("`", "'"), remedy)
        return None


def _rows(kind: type[S], value: Any, key: str, hook: Hook | None, report: Report) -> list[S]:
    if not isinstance(value, list):
        report.add(key, f"is {_kind(value)}, not a list of tables", f"write [[{key}]]")
        return []
    rows = [
        read_struct(kind, row, f"{key}[{index}]", hook, report) for index, row in enumerate(value)
    ]
    return [row for row in rows if row is not None]


def _bare(hint: Any) -> Any:
    if get_origin(hint) is Annotated:
        return _bare(get_args(hint)[0])
    if get_origin(hint) in (Union, types.UnionType):
        kinds = [kind for kind in get_args(hint) if kind is not types.NoneType]
        return _bare(kinds[0]) if len(kinds) == 1 else hint
    return hint


def _kind(value: Any) -> str:
    names = {list: "a list", str: "a text", int: "a number", float: "a number", bool: "a switch"}
    return names.get(type(value), f"a {type(value).__name__}")


def _os(why: Exception) -> str:
    return str(getattr(why, "strerror", None) or why).lower()


def attempt(read: Callable[[], T], key: str, report: Report) -> T | None:
    """Read a file; a `BadFile` goes to the report, and the answer is None."""
    try:
        return read()
    except BadFile as why:
        report.add(key, f"{why.file} {why.reason}", why.remedy)
        return None
