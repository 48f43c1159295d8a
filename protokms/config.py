"""Reading the configuration of one node: whole and right, or every reason why not."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from protokms import config_files, config_rules
from protokms.endpoint import Endpoint
from protokms.sections import Link, NodeConfig, Tables
from protokms.tables import ConfigError, Problem, Report, read_fields, read_struct, read_toml
from transport.message import Secret


def load(path: Path | str, *, files: bool = True) -> NodeConfig:
    """Read a configuration, or raise `ConfigError` with every problem it has.

    With `files=False` only the text itself is checked, not the files that it names.
    """
    report = Report(Path(path))
    values = _parts(Path(path), report)
    config_rules.check(values, report)
    if files:
        config_files.check(values, report)
    if report.problems:
        raise ConfigError(report.problems)
    return NodeConfig(path=Path(path).absolute(), **values)


def check(path: Path | str) -> list[Problem]:
    """Return everything that is wrong with a configuration and the files it names."""
    try:
        load(path)
    except ConfigError as wrong:
        return list(wrong.problems)
    return []


def read_link(options: str, base: Path) -> Link:
    """Read the keys of one `[[link]]` table written as JSON; paths are relative to `base`."""
    report = Report(Path("<options>"))
    try:
        table = json.loads(options)
    except (ValueError, RecursionError) as why:
        report.add("", "is not JSON", "write the keys of a [[link]] table as a JSON object")
        raise ConfigError(report.problems) from why
    link = read_struct(Link, table, "link", _hook(base.absolute()), report)
    if link:
        config_rules.check_link(link, report)
        config_files.check_link(link, report)
    if report.problems or link is None:
        raise ConfigError(report.problems)
    return link


def node_key(config: NodeConfig) -> Secret:
    """Read the node key from where the configuration says, or raise `ConfigError`."""
    report = Report(config.path)
    octets = config_files.node_key(config.node.node_key, "node.node_key", report)
    if octets is None:
        raise ConfigError(report.problems)
    return octets


def _parts(path: Path, report: Report) -> dict[str, Any]:
    table = read_toml(path, report)
    if table is None:
        return {}
    values = read_fields(Tables, table, "", _hook(path.absolute().parent), report)
    return values or {}


def _hook(base: Path) -> Callable[[type, Any], Any]:
    """Return the reader of the types that msgspec does not know."""

    def read(kind: type, value: Any) -> Any:
        if issubclass(kind, Endpoint):
            return kind.parse(value)
        if not isinstance(value, str):
            raise TypeError("expected a text")
        if not value or "\0" in value:
            raise ValueError("is not the path of a file")
        return base / value

    return read
