"""The file of an edge: rules between its keys, what may not stand in it, what it was before."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from etsi.gs015.options import Gs015Options
from protokms.config import directory, fronts, rules
from protokms.config.files import curve_public
from protokms.config.keyfiles import BadFile
from protokms.config.sections import AGENT, FRONTS, QUANTUM_LINK, EdgeCore, EdgeProcess, Link
from protokms.config.tables import Report
from transport.endpoint import TcpEndpoint

_CORES = ("node", "directory", "transport", "store", "relay", "manage", "policy")
_SECRETS = ("node_key", "signing_key", "process_key", "data")
_THIS_HOST = "the address of this host"
_OWN = "an edge holds no node key, no signing key and no store: take it out"


def is_edge(table: Mapping[str, Any]) -> bool:
    """Tell the file of an edge from that of core."""
    return isinstance(table.get("process"), Mapping) or "core" in table


def take_out_cores(table: dict[str, Any], report: Report) -> dict[str, Any]:
    """Report what belongs to core alone; return what is left."""
    for name in _CORES:
        if name in table:
            report.add(name, "is a table of core", _OWN)
    left = {name: value for name, value in table.items() if name not in _CORES}
    process = left.get("process")
    if isinstance(process, Mapping):
        for name in _SECRETS:
            if name in process:
                report.add(f"process.{name}", "belongs to core", _OWN)
        left["process"] = {key: value for key, value in process.items() if key not in _SECRETS}
    return left


def check(values: Mapping[str, Any], report: Report) -> None:
    """Check the rules between those sections of an edge that could be read."""
    process = cast(EdgeProcess | None, values.get("process"))
    core = cast(EdgeCore | None, values.get("core"))
    rules.check_shared(values, process.node if process else "", report)
    fronts.check_edge(values, report)
    if process:
        rules.check_process("process", process.name, report)
    if core:
        rules.check_reached("core.address", core.address, report)
    for link in cast(list[Link], values.get("links", [])):
        if link.interface is not None:
            remedy = "take it out: core numbers the links of other processes by their peers"
            report.add(f"{report.key(link)}.interface", "is for the file of core", remedy)
    agent = cast(Gs015Options | None, values.get(AGENT))
    if agent and agent.applications:
        remedy = "write it there, in the [[process]] of this one"
        report.add(f"{AGENT}.applications", "is for the file of core, who enforces it", remedy)
    runs = any(values.get(name) for name in (*FRONTS, "links", "interfaces"))
    if not runs and "" not in values:
        report.add(
            "", "has nothing to run", "add [etsi014], [etsi015], a [[link]] or an [[interface]]"
        )


def take_out_old(table: dict[str, Any], base: Path, report: Report) -> dict[str, Any]:
    """Report each `[[process]]` of 0.1 and 0.2 with what to write instead; return what is left."""
    rows = table.get("process")
    if not isinstance(rows, list):
        return table
    old = [isinstance(row, Mapping) and bool({"bind", "curve"} & set(row)) for row in rows]
    for number, row in enumerate(rows):
        if old[number]:
            reason = "has the form of 0.2: a process has a file, and secrets, of its own now"
            report.add(f"process[{number}]", reason, _instead(row, table, base))
    left = [row for row, gone in zip(rows, old, strict=True) if not gone]
    return {**table, "process": left}


def _instead(row: Mapping[str, Any], table: Mapping[str, Any], base: Path) -> str:
    name, node, transport = str(row.get("name")), table.get("node"), table.get("transport")
    of_node = node if isinstance(node, Mapping) else {}
    of_core = transport if isinstance(transport, Mapping) else {}
    host = _host(str(of_node.get("name")), table.get("directory"), base)
    actors = row.get("actors")
    named = [str(it) for it in actors] if isinstance(actors, list) else []
    moved = ["[etsi014]"] * any(map(fronts.is_front, named))
    links = [it.partition("/")[2] for it in named if it.startswith(f"{QUANTUM_LINK}/")]
    moved += [f"the [[link]] to {peer}" for peer in links]
    lines = [
        f"make its seal (`openssl rand -base64 32 > {name}.seal.key; chmod 600 {name}.seal.key`)",
        "write in this file",
        "[[process]]",
        f'name = "{name}"',
        f'address = "{_reached(row.get("bind"), host)}"',
        f'public = "{_public(base, row.get("curve"))}"',
        f'seal = "{name}.seal.key"',
        "actors = [" + ", ".join(f'"{it}"' for it in named) + "]",
        f'config = "{name}.toml"',
        f"and in {name}.toml",
        "[process]",
        f'node = "{of_node.get("name")}"',
        f'name = "{name}"',
        f'bind = "{row.get("bind")}"',
        f'curve = "{row.get("curve")}"',
        f'seal = "{name}.seal.key"',
        "[core]",
        f'address = "{_reached(of_core.get("bind"), host)}"',
        f'public = "{_public(base, of_core.get("curve"))}"',
        f"and move {' and '.join(moved) or 'what it runs'} there",
    ]
    return "\n".join(lines)


def _reached(bind: Any, host: str) -> str:
    """Return where what binds this is reached: at its host, if it binds all of them."""
    try:
        end = TcpEndpoint.parse(bind)
    except ValueError:
        return str(bind)
    return str(TcpEndpoint(host, end.port) if end.is_any else end)


def _host(node: str, table: Any, base: Path) -> str:
    """Return the host of a node as the directory says it, if that can be read."""
    files = table if isinstance(table, Mapping) else {}
    try:
        known = directory.read(base / str(files.get("file")), base / str(files.get("ca")))
        ends = {kms.name: TcpEndpoint.parse(kms.address) for kms in known.kmss}
    except (BadFile, OSError, ValueError):
        return _THIS_HOST
    return ends[node].host if node in ends and not ends[node].is_any else _THIS_HOST


def _public(base: Path, file: Any) -> str:
    try:
        return curve_public(base / str(file))
    except (BadFile, OSError, ValueError):
        return f"the value of public in {file}"
