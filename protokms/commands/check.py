"""`protokms node FILE --check`: all that is wrong, in one go, and nothing is run."""

import errno
import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from actors.protocol.peers import Kms
from protokms.config import addresses, brainpool, directory, hosts
from protokms.config import files as config_files
from protokms.config.keyfiles import BadFile
from protokms.config.limits import Limit, limits
from protokms.config.load import (
    AnyConfig,
    examine,
    load,
    load_any,
    load_process,
    process_file,
)
from protokms.config.sections import CORE, EdgeProcess, Manage, Node, with_brainpool
from protokms.config.tables import ConfigError, Expiry, Problem, Report
from protokms.manage import callers, server
from transport.message import Secret

_NAMED_MAX = 8
"""Names that one line tells of."""
_NO_STORE = (
    "there is no store yet",
    "start a node that has never run with --new, once; else mount the volume of its store",
)


@dataclass(slots=True)
class Found:
    """What a check has found; the node is well if there are no problems.

    `unchecked` says what could not be looked at. `curves` are the Brainpool curves that can be
    used, by version of TLS, where they are asked for.
    """

    problems: list[Problem]
    warnings: list[Problem]
    unchecked: list[str]
    expiries: list[Expiry]
    limits: Sequence[Limit] = ()
    curves: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return plain data, for JSON."""
        found: dict[str, Any] = {
            "well": not self.problems,
            "problems": [problem._asdict() for problem in self.problems],
            "warnings": [warning._asdict() for warning in self.warnings],
            "unchecked": self.unchecked,
            "expiries": [expiry._asdict() for expiry in self.expiries],
            "limits": [bound.as_dict() for bound in self.limits],
        }
        return found | ({"brainpool": self.curves} if self.curves else {})

    def lines(self) -> list[str]:
        """Return what is worth a word, the worst last."""
        found = [f"warning: {warning}" for warning in self.warnings]
        found += [f"not checked: {text}" for text in self.unchecked]
        found += [f"limit reached: {bound}" for bound in self.limits if bound.reached]
        return found + [str(problem) for problem in self.problems]


def check(path: Path, process: str = "", *, as_json: bool = False) -> int:
    """Say everything that is wrong with a configuration, its files, addresses and the store.

    With `process`, of the file of that process of the node.
    """
    found, name = _find_process(path, process) if process else find(path)
    if as_json:
        sys.stdout.write(json.dumps(found.as_dict(), indent=2) + "\n")
        return 1 if found.problems else 0
    for line in found.lines():
        sys.stderr.write(f"{line}\n")
    if found.curves:
        sys.stdout.write(f"{brainpool.in_words(found.curves)}\n")
    for expiry in _soonest(found.expiries):
        how = f"expires in {expiry.days:,} days"
        if expiry.days < 0:
            how = f"expired {-expiry.days:,} days ago"
        sys.stdout.write(f"{expiry.key}: {expiry.name} {how}\n")
    if found.problems:
        return 1
    sys.stdout.write(f"{name} is well\n")
    return 0


def find(path: Path) -> tuple[Found, str]:
    """Look at everything; return what was found, and the name of the node if it has one."""
    report, values = examine(path)
    node: Node | None = values.get("node")
    edge: EdgeProcess | None = values.get("process")
    runs = _check_store(node, report) if node else False
    for place, why in addresses.troubles(addresses.places(values)):
        if edge and why.errno == errno.EADDRINUSE:
            report.unchecked.append(f"{place.key}: {why.reason}, by this process if it runs")
        elif not (runs and why.errno == errno.EADDRINUSE):  # by the node itself
            report.add(place.key, why.reason, why.remedy)
    _look_up(values, report)
    if manage := values.get("manage"):
        _check_groups(manage, report)
        if not runs:
            _check_socket(manage.socket, report)
    found = Found(
        [*report.problems, *report.closed], report.warnings, report.unchecked, report.expiries
    )
    with suppress(ConfigError):  # which is among the problems
        _look_at_whole(load_any(path, files=False), found)
    name = node.name if node else ""
    return found, f"{edge.node}/{edge.name}" if edge else name


def _find_process(path: Path, process: str) -> tuple[Found, str]:
    """Look at the file of one process, and whether that of core names it as it is."""
    try:
        file = path if process == CORE else process_file(path, process)
    except ConfigError as wrong:
        return Found(list(wrong.problems), [], [], []), ""
    found, name = find(file)
    try:
        if process == CORE:
            load(path, files=False)
        else:
            load_process(path, process)
    except ConfigError as wrong:
        found.problems += [one for one in wrong.problems if one not in found.problems]
    return found, name


def _look_at_whole(made: AnyConfig, found: Found) -> None:
    found.limits = limits(made)
    if tables := with_brainpool(made):
        brainpool.begin_anew()
        found.curves = brainpool.usable()
        if trouble := brainpool.trouble(found.curves):
            found.problems.append(Problem(str(made.path), f"{tables[0]}.brainpool", *trouble))


def _check_store(node: Node, report: Report) -> bool:
    """Check the store, as far as there is a key for it; tell whether the node runs on it."""
    from actors.storage.errors import StoreError, StoreLocked  # noqa: PLC0415
    from actors.storage.file import StoreFile  # noqa: PLC0415 -- a front end has no store

    if any(problem.key == "node.data" for problem in report.problems):
        return False
    if not node.data.exists():
        report.warn("node.data", *_NO_STORE)
        return False
    key = _node_key(node, report)
    try:
        if key is None:
            StoreFile.look(node.data)
        else:
            StoreFile.open(node.data, node.name, key).close()
    except StoreLocked:
        return True  # so it is well
    except StoreError as wrong:
        report.add("node.data", wrong.reason, wrong.remedy)
    except OSError as why:  # of the lock beside it
        reason = f"{why.filename} cannot be opened: {why.strerror}"
        report.add("node.data", reason, "check as the user of the node, or give it that file")
    return False


def _look_up(values: Mapping[str, Any], report: Report) -> None:
    """Look up the names of other hosts: a node runs without them, but does not reach those."""
    kmss: Sequence[Kms] = ()
    if files := values.get("directory"):
        with suppress(BadFile):  # which is among the problems
            kmss = directory.read(files.file, files.ca).kmss
    found = hosts.look_up(hosts.hosts(values, kmss))
    for host, why in found.wrong:
        reason = f"{host.name} does not resolve here: {why}"
        remedy = "correct the name or the name server; until then that host is not reached"
        report.warn(host.key, reason, remedy)
    if found.unknown:
        names = ", ".join(host.name for host in found.unknown[:_NAMED_MAX])
        more = len(found.unknown) - _NAMED_MAX
        names += f" and {more:,} more" if more > 0 else ""
        report.unchecked.append(f"whether these names resolve, within {hosts.WAIT_S:g} s: {names}")


def _check_groups(manage: Manage, report: Report) -> None:
    for role in ("read", "operate", "security"):
        try:
            callers.callers(getattr(manage, role))
        except ValueError as why:
            report.add(f"manage.{role}", str(why), "make it, or take it out")


def _check_socket(path: Path, report: Report) -> None:
    told = any(problem.key == "manage.socket" for problem in report.problems)
    if not told and (trouble := server.find_trouble(path)):
        report.add("manage.socket", *trouble)


def _node_key(node: Node, report: Report) -> Secret | None:
    scratch = Report(report.file, outside=True)  # what is wrong with the key was told before
    return config_files.node_key(node.node_key, "node.node_key", scratch)


def _soonest(expiries: Sequence[Expiry]) -> list[Expiry]:
    """Leave of each file what expires first."""
    first: dict[str, Expiry] = {}
    for one in sorted(expiries, key=lambda expiry: expiry.days):
        first.setdefault(one.key, one)
    return list(first.values())
