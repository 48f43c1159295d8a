"""Interfaces of a node: their numbers, and the files that say what leads to which peer."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path
from typing import Any, cast

from actors.runtime.places import Interface as Placed
from protokms.config import modules, rules
from protokms.config.keyfiles import read_key
from protokms.config.link_tables import KINDS
from protokms.config.plugins import OPTIONS
from protokms.config.sections import (
    CORE,
    INTERFACE,
    QUANTUM_LINK,
    Fibre,
    Interface,
    Link,
    NodeConfig,
    OwnFibre,
)
from protokms.config.tables import (
    ConfigError,
    Problem,
    Report,
    attempt,
    hook_for,
    read_struct,
    read_toml,
)
from transport.envelope import is_node

SUFFIX = ".toml"
FIBRES_MAX = 4_096
"""Files of one folder that are read."""

_UNKNOWN = ""
"""The kind of module of what another process has: its file says it, and core's does not."""


def numbered(config: NodeConfig) -> list[Placed]:
    """Return every interface of a node, by number, with the process that has it.

    A link without a number gets the next that is free, in the order of the names of peers.
    """
    found = [Placed(one.id, one.module, CORE) for one in config.interfaces]
    bound: dict[str, tuple[int | None, str, str]] = {}
    bound |= {it.peer: (it.interface, it.module, CORE) for it in config.links}
    for process in config.processes:
        for actor in process.actors:
            kind, _, what = actor.partition("/")
            if kind == INTERFACE:
                found.append(Placed(int(what), _UNKNOWN, process.name))
            elif kind == QUANTUM_LINK:
                bound[what] = None, _UNKNOWN, process.name
    taken = {one.number for one in found} | {number for number, _, _ in bound.values()}
    free = (number for number in count(1) if number not in taken)
    for peer, (number, module, name) in sorted(bound.items()):
        found.append(Placed(number or next(free), module, name, peer))
    return sorted(found)


def fibre_file(interface: Interface, peer: str) -> Path:
    """Return where the key and the far address of a peer are."""
    return interface.secrets / f"{peer}{SUFFIX}"


def read_link(interface: Interface, peer: str) -> Link:
    """Read what leads to a peer, as the link over this interface; `ConfigError` if it is wrong."""
    report = Report(fibre_file(interface, peer))
    fibre = _read(report, interface.module)
    if isinstance(fibre, Fibre) and fibre.remote == interface.bind:
        report.add("remote", f"is where interface {interface.id} listens", "write the far address")
    if report.problems or fibre is None:
        raise ConfigError(report.problems)
    return _link(interface, peer, fibre)


def fibres(interface: Interface) -> list[Path]:
    """Return the files of the folder: none if it is not there, or cannot be read."""
    return sorted(interface.secrets.glob(f"*{SUFFIX}"))[:FIBRES_MAX]


def check(values: Mapping[str, Any], node: str, report: Report) -> None:
    """Check the folders of all interfaces, and each file in them once."""
    waiting = cast(list[Interface], values.get("interfaces", []))
    kinds = Counter(folder for folder, _ in {(one.secrets, one.module) for one in waiting})
    seen: set[Path] = set()
    for one in waiting:
        key = f"{report.key(one)}.secrets"
        if not os.path.isdir(one.secrets):
            remedy = f"make it, with a file <peer>{SUFFIX} for each peer; or correct the path"
            report.add(key, f"{one.secrets} is no folder", remedy)
            continue
        if one.secrets in seen:
            continue
        seen.add(one.secrets)
        module = one.module if kinds[one.secrets] == 1 else ""
        report.problems += [
            found for file in fibres(one) for found in _problems(file, module, node)
        ]


def _problems(file: Path, module: str, node: str) -> Iterator[Problem]:
    report = Report(file)
    if not is_node(file.stem):
        report.add("", "has no name of a KMS", f"call it <peer>{SUFFIX}, or put it elsewhere")
    if file.stem == node:
        report.add("", "leads to this node itself", "take it out")
    _read(report, module)
    yield from report.problems


def _read(report: Report, module: str) -> Fibre | OwnFibre | None:
    """Read one file, for a module of this kind; the path of its key is relative to it.

    Without a kind it is not known yet over which of several interfaces it will lead.
    """
    table = read_toml(report.file, report)
    if table is None:
        return None
    hook = hook_for(report.file.absolute().parent)
    if module not in KINDS if module else OPTIONS in table:
        own = read_struct(OwnFibre, table, "", hook, report)
        if own and module:
            modules.own_of(own, module, OPTIONS, report)
        return own
    fibre = read_struct(Fibre, table, "", hook, report)
    if fibre:
        rules.check_fibre(fibre, "", report)
        if module:
            modules.check_glass(fibre, module, "", report)
        attempt(lambda: read_key(fibre.secret), "secret", report)
    return fibre


def _link(interface: Interface, peer: str, fibre: Fibre | OwnFibre) -> Link:
    known = {name: getattr(fibre, name) for name in fibre.__struct_fields__}
    if isinstance(fibre, Fibre):
        known["allow_insecure_emulation"] |= interface.allow_insecure_emulation
    return Link(
        peer=peer,
        interface=interface.id,
        module=interface.module,
        bind=interface.bind,
        **known,
    )
