"""Reading the configuration of one node: whole and right, or every reason why not."""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec import NODEFAULT, Struct, ValidationError, convert, structs

from etsi.gs014.options import Gs014Options
from etsi.gs015.options import Gs015Options
from etsi.http.options import DENY, RESTART, HttpOptions, Text
from protokms.config import addresses, earlier, edges, fronts, placements
from protokms.config import files as config_files
from protokms.config import rules as config_rules
from protokms.config.keyfiles import BadFile, read_key
from protokms.config.sections import (
    AGENT,
    CORE,
    FRONT,
    FRONTS,
    DirectoryFiles,
    EdgeConfig,
    EdgeProcess,
    EdgeTables,
    Manage,
    Node,
    NodeConfig,
    PolicyRow,
    Process,
    Tables,
)
from protokms.config.tables import ConfigError, Problem, Report, hook_for, read_fields, read_toml
from transport.endpoint import Endpoint
from transport.message import Secret

AnyConfig = NodeConfig | EdgeConfig
"""What the file of a process may be read as: that of core, or of a process beside it."""


def load(path: Path | str, *, files: bool = True) -> NodeConfig:
    """Read the configuration of a node, or raise `ConfigError` with every problem it has.

    With `files=False` only the text itself is checked, not the files that it names.
    """
    made = load_any(path, files=files)
    if isinstance(made, NodeConfig):
        return made
    remedy = "give the file of core, or run it with `protokms node`"
    raise ConfigError([Problem(str(path), "", "is the file of one process beside core", remedy)])


def load_any(path: Path | str, *, files: bool = True) -> AnyConfig:
    """Read the file of a node's core, or of a process beside it."""
    report, kind, values = _checked(Path(path), files=files)
    if report.problems:
        raise ConfigError(report.problems)
    return _made(Path(path), report, kind, values)


def load_process(path: Path | str, name: str) -> EdgeConfig:
    """Read the file of the process `name`, as that of its core says where it is.

    Nothing that is core's own is opened.
    """
    core, key, file = _place(path, name)
    made = load_any(file)
    if not isinstance(made, EdgeConfig):
        raise _wrong(path, key, "is the file of a core", f"write the file of {name}")
    if (made.process.node, made.process.name) != (core.node.name, name):
        said = f"{made.process.node}/{made.process.name}"
        raise _wrong(path, key, f"is the file of {said}", f"write that of {core.node.name}/{name}")
    return made


def process_file(path: Path | str, name: str) -> Path:
    """Return where the file of a process beside core is, or raise `ConfigError`."""
    return _place(path, name)[2]


def _place(path: Path | str, name: str) -> tuple[NodeConfig, str, Path]:
    """Return the configuration of core, and where it says at which key that a process has one."""
    core = load(path, files=False)
    known = {one.name: one for one in core.processes}
    if name not in known:
        names = ", ".join([CORE, *known])
        raise _wrong(path, "process", f"there is no process {name}", f"these are there: {names}")
    one = known[name]
    key = f"process[{core.processes.index(one)}].config"
    if one.config is None:
        raise _wrong(path, key, "is missing", f"add it, or give the file of {name} itself")
    return core, key, one.config


def _wrong(path: Path | str, key: str, reason: str, remedy: str) -> ConfigError:
    return ConfigError([Problem(str(path), key, reason, remedy)])


def _look_apart(report: Report, values: dict[str, Any]) -> None:
    """Report what is wrong with the files of processes beside core, those that are here."""
    told = {(problem.file, problem.key) for problem in report.problems}
    here: dict[str, EdgeConfig] = {}
    for one in values.get("processes", []):
        key = report.key(one)
        if one.config and _is_away(one.config):
            report.unchecked.append(f"{key}.config: {one.config} is not here")
            continue
        apart = _problems_apart(one, key, values, report.file, here)
        report.problems += [it for it in apart if (it.file, it.key) not in told]
    actors = [actor for one in placements.read(values, report) for actor in one.actors]
    report.problems += fronts.compare(sum(map(fronts.is_front, actors)), here, report.file)
    bound = [(edge.path, addresses.places(structs.asdict(edge))) for edge in here.values()]
    report.problems += addresses.clashes([(report.file, addresses.places(values)), *bound])


def _is_away(file: Path) -> bool:
    """Tell whether a file is not here, as that of a process on another host."""
    try:
        file.stat()
    except FileNotFoundError:
        return True
    except OSError:  # which is told when it is read
        return False
    return False


def _problems_apart(
    one: Process, key: str, values: dict[str, Any], path: Path, here: dict[str, EdgeConfig]
) -> list[Problem]:
    """Look at the file of a process beside core, and whether both say the same.

    If it can be read, it is put to those that are `here`.
    """
    if one.config is None:
        return []
    there, kind, read = _checked(one.config)
    if kind is Tables and not there.problems:  # it may be this very file: no further from here
        return [Problem(str(path), f"{key}.config", "is the file of a core", "correct it")]
    if found := [*there.problems, *there.closed]:
        return found
    made = _made(one.config, there, kind, read)
    assert isinstance(made, EdgeConfig), "its kind says so"
    here[key] = made
    node, transport = values.get("node"), values.get("transport")
    pairs: list[tuple[str, Any, Any]] = [
        (f"{key}.name", one.name, made.process.name),
        (f"{key}.actors", ", ".join(sorted(one.actors)), ", ".join(sorted(made.actors))),
        (f"{key}.public", one.public, config_files.curve_public(made.process.curve)),
        (f"{key}.address", *_ports(one.address, made.process.bind)),
    ]
    if node:
        pairs.append((f"{key}.config", node.name, made.process.node))
    if transport:
        beats = transport.sibling_heartbeat_s, made.process.sibling_heartbeat_s
        pairs.append(("transport.sibling_heartbeat_s", *beats))
        pairs.append(("transport.bind", *_ports(transport.bind, made.core.address)))
        with contextlib.suppress(BadFile):
            core = config_files.curve_public(transport.curve)
            pairs.append((f"{key}.config", core, made.core.public))
    with contextlib.suppress(BadFile):
        if read_key(one.seal) != read_key(made.process.seal):
            pairs.append((f"{key}.seal", "this seal", "another one"))
    remedy = "let both say the same"
    return [
        Problem(str(path), where, f"is {here}; {one.config} says {there}", remedy)
        for where, here, there in pairs
        if here != there
    ]


def _ports(here: Endpoint, there: Endpoint) -> tuple[str, str]:
    """Return what must be the same in an address that is bound and in the one to connect to."""
    return f"port {here.port}", f"port {there.port}"


def examine(path: Path) -> tuple[Report, dict[str, Any]]:
    """Check everything that can be checked without being the node; return the tables too.

    It takes longer than a start would: handshakes are rehearsed.
    """
    report, _, values = _checked(path, outside=True)
    _look_apart(report, values)
    for front in FRONTS:
        etsi = values.get(front)
        if etsi is None:
            continue
        from protokms.config import tls as config_tls  # noqa: PLC0415 -- only where HTTP is served

        config_tls.rehearse(etsi, report, front)
    return report, values


_TOGETHER = (
    {"sae_id_from", "sae", "authority"},
    {"key_size_bits", "min_key_size_bits", "max_key_size_bits", "max_keys_per_request"},
    {"max_in_flight", "max_in_flight_per_sae"},
)
"""Keys that mean something together only: one that is bad keeps the others as they were, too."""


_OPTIONS: dict[str, type[HttpOptions]] = {FRONT: Gs014Options, AGENT: Gs015Options}

_OF_LOG = ("log_level", "log_requests")


@dataclass(frozen=True, slots=True)
class Reread:
    """What can be used of a configuration in which something may be wrong.

    `config` is there if nothing is, `directory` and `node` (`[process]` of an edge) if those tables
    can be read. `fronts` are the good keys of the table of each front end, by field; those that are
    left out are at their defaults, unless there is a key that nobody knows. Of a deny list that is
    bad it has the good entries: who is named there is denied, whatever stands beside.
    """

    config: AnyConfig | None
    directory: DirectoryFiles | None
    node: Node | EdgeProcess | None
    fronts: dict[str, dict[str, Any]]
    problems: tuple[Problem, ...]
    policies: list[PolicyRow] | None = None
    """None: something is wrong with one, or with the directory by which they are judged."""


def reread(path: Path) -> Reread:
    """Read the configuration of a node that runs; never raises."""
    report, kind, values = _checked(path)
    config = None if report.problems else _made(path, report, kind, values)
    table = read_toml(path, Report(path)) or {}
    good = {name: _good(name, table.get(name), values.get(name), path) for name in FRONTS}
    node = values.get("process") if kind is EdgeTables else values.get("node")
    directory = values.get("directory")
    rules = None if _doubts_policies(report) else values.get("policies", [])
    return Reread(config, directory, node, good, tuple(report.problems), rules)


def _doubts_policies(report: Report) -> bool:
    tables = {problem.key.partition(".")[0].partition("[")[0] for problem in report.problems}
    slips = tables - {known.encode_name for known in structs.fields(Tables)}  # one may stand for it
    return bool(slips) or not tables.isdisjoint(("policy", "directory"))


def needs_restart(before: AnyConfig, after: AnyConfig) -> list[str]:
    """Return the keys that differ and that no reload takes."""
    aside = {
        f"{front}.{known.encode_name}"
        for front, kind in _OPTIONS.items()
        for known in structs.fields(kind)
        if known.name not in RESTART
    }
    aside |= {"path", "warnings", "directory.file", "directory.ca", "policy"}
    aside |= {f"{own}.{key}" for own in ("node", "process") for key in _OF_LOG}
    found = _differences("", before, after)
    return sorted(key for key in found if re.sub(r"\[\d+\].*", "", key) not in aside)


def _differences(key: str, before: Any, after: Any) -> Iterator[str]:
    if isinstance(before, Struct) and type(before) is type(after):
        for known in structs.fields(type(before)):
            inner = f"{key}.{known.encode_name}" if key else known.encode_name
            yield from _differences(inner, getattr(before, known.name), getattr(after, known.name))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for row, (old, new) in enumerate(zip(before, after, strict=True)):
            yield from _differences(f"{key}[{row}]", old, new)
    elif before != after:
        yield key


def _good(name: str, table: Any, whole: HttpOptions | None, path: Path) -> dict[str, Any]:
    """Return the keys of a table that can be used; `whole` is the table, if all could be read."""
    kind = _OPTIONS[name]
    if not isinstance(table, dict):
        return {}
    hook, report = hook_for(path.absolute().parent), Report(path)
    values = read_fields(kind, table, name, hook, report) or {}
    if isinstance(whole, Gs014Options):
        config_rules.check_etsi(whole, report)
    if isinstance(whole, Gs015Options):
        config_rules.check_agent(whole, report)
    values.pop("", None)
    bad = {re.split(r"[.\[]", problem.key)[1] for problem in report.problems if "." in problem.key}
    bad = bad.union(*(group for group in _TOGETHER if bad & group))
    fields = structs.fields(kind)
    slips = bad - {known.encode_name for known in fields}  # one may stand for any key left out
    for known in fields:
        if known.encode_name in bad:
            values.pop(known.name, None)  # of a list with one bad row no row is good,
            if known.encode_name == DENY:  # but for this one
                values[known.name] = _denied(table[DENY])
        elif known.encode_name not in table and not known.required and not slips:
            made = known.default_factory
            values[known.name] = known.default if made is NODEFAULT else made()
    return values


def _denied(entries: Any) -> tuple[str, ...]:
    """Return the good entries of a deny list that is bad as a whole."""
    rows = [entries] if isinstance(entries, str) else entries
    good = []
    for row in rows if isinstance(rows, list) else ():
        with contextlib.suppress(ValidationError):
            good.append(convert(row, Text))
    return tuple(good)


def _checked(
    path: Path, *, files: bool = True, outside: bool = False
) -> tuple[Report, type[Struct], dict[str, Any]]:
    report = Report(path, earlier.RETIRED, outside=outside)
    kind, values = _parts(path, report)
    apart = kind is EdgeTables
    (edges.check if apart else config_rules.check)(values, report)
    if files:
        (config_files.check_edge if apart else config_files.check)(values, report)
    return report, kind, values


def _made(path: Path, report: Report, kind: type[Struct], values: dict[str, Any]) -> AnyConfig:
    warnings = (*report.warnings, *report.closed)
    made = EdgeConfig if kind is EdgeTables else NodeConfig
    return made(path=path.absolute(), warnings=warnings, **values)


def manage_socket(path: Path) -> Path:
    """Return where the node of this file is asked, whatever is wrong with the rest of the file.

    `ConfigError` says why that cannot be told.
    """
    report = Report(path, earlier.RETIRED)
    kind, values = _parts(path, report)
    if kind is EdgeTables:
        raise _wrong(path, "", "is the file of one process beside core", "give the file of core")
    manage: Manage | None = values.get("manage")
    if manage is not None:
        return manage.socket
    found = [it for it in report.problems if re.split(r"[.\[]", it.key)[0] in {"", "manage"}]
    remedy = "add it, and restart the node"
    raise ConfigError(found or [Problem(str(path), "", "there is no [manage] socket", remedy)])


def node_key(config: NodeConfig) -> Secret:
    """Read the node key from where the configuration says, or raise `ConfigError`."""
    report = Report(config.path)
    octets = config_files.node_key(config.node.node_key, "node.node_key", report)
    if octets is None:
        raise ConfigError(report.problems)
    return octets


def _parts(path: Path, report: Report) -> tuple[type[Struct], dict[str, Any]]:
    table = read_toml(path, report)
    if table is None:
        return Tables, {}
    base, before = path.absolute().parent, len(report.problems)
    kind: type[Struct] = EdgeTables if edges.is_edge(table) else Tables
    if kind is EdgeTables:
        table = edges.take_out_cores(table, report)
    else:
        earlier.note(table, report)
        table = edges.take_out_old(table, base, report)
    values = read_fields(kind, table, "", hook_for(base), report) or {}
    if len(report.problems) > before:
        values[""] = table
    return kind, values
