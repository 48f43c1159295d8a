"""Runs the nodes of a lab on this machine, each in processes of its own, and watches them."""

import http.client
import json
import os
import socket
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from protokms.config import addresses
from protokms.config.load import load
from protokms.config.sections import CORE, FRONT, QUANTUM_LINK, NodeConfig
from protokms.config.tables import ConfigError
from protokms.lab import netns
from protokms.lab import processes as lab_processes
from protokms.lab.lab import Lab, LabError, LabNode, here, is_new, note_stores, places_of, read
from protokms.lab.lock import only_one
from protokms.lab.netns import Namespaces
from protokms.lab.processes import Running
from protokms.manage import client as manage_client
from protokms.manage import words
from protokms.manage.client import ManageFailed

READY_S = 30.0
"""Seconds that `up` and `start` wait by default, and `NODE_S` more for each node."""

NODE_S = 2.0

STOP_S = 15.0
"""Seconds that a node has to drain before it is killed."""

_HTTP_S = 3.0
_PAUSE_S = (0.05, 0.5)
_AT_ONCE = 2 * (os.cpu_count() or 1)
"""Nodes that are on their way up at a time: more would only make each other late."""

_ANSWER_LIMIT = 1 << 22  # octets
_KINDS = {socket.SOCK_STREAM: "TCP", socket.SOCK_DGRAM: "UDP"}
_LAST_EVENTS = frozenset({"node_failed", "node_died"})
_OK = 200
_TAIL = 12


@dataclass(slots=True)
class NodeState:
    """How one node is; `links` is the stock in bits of the store shared with each neighbour.

    `sessions` are those that begin there: `destination`, `state`, `paths` and more.
    """

    name: str
    running: bool = False
    ready: bool = False
    pids: dict[str, int] = field(default_factory=dict)
    links: dict[str, int] = field(default_factory=dict)
    sessions: list[dict[str, Any]] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return plain data, for JSON."""
        return asdict(self)


def up(folder: Path, timeout: float | None = None) -> list[NodeState]:
    """Start every node that does not run, and wait until all are ready and links deliver bits.

    Nodes whose `reasons` are not empty did not get there in time; what runs is left running.
    `LabError` if nothing was started: an address is occupied, or a configuration is wrong.
    """
    lab = read(folder)
    return _start(folder, lab, lab.nodes, timeout)


def start(folder: Path, name: str, timeout: float | None = None) -> NodeState:
    """Start one node and wait until it is ready; its links to nodes that run deliver bits then."""
    lab = read(folder)
    return _start(folder, lab, [lab.node(name)], timeout)[0]


def status(folder: Path) -> list[NodeState]:
    """Tell how every node is."""
    lab = read(folder)
    configs = {node.name: _config(folder, node) for node in lab.nodes}
    alive = {node.name for node in lab.nodes if processes_of(folder, node)}
    states = [_look(folder, node, configs[node.name], alive) for node in lab.nodes]
    for state in states:
        state.sessions = _sessions(configs[state.name]) if state.running else []
    return states


def down(folder: Path, timeout: float = STOP_S) -> list[str]:
    """End every node, in order; return the names of those that had to be killed.

    What `lab netns` has made for them is taken away.
    """
    lab = read(folder)
    found = {node.name: list(processes_of(folder, node).values()) for node in lab.nodes}
    everyone = [process for processes in found.values() for process in processes]
    stubborn = lab_processes.stop_all(everyone, timeout)
    for node in lab.nodes:
        _forget(folder, node)
    netns.undo(folder)
    return [name for name, own in found.items() if any(one in stubborn for one in own)]


def kill(folder: Path, name: str) -> bool:
    """SIGKILL one node; False if it did not run."""
    node = read(folder).node(name)
    found = list(processes_of(folder, node).values())
    lab_processes.kill_all(found)
    _forget(folder, node)
    return bool(found)


def restart(folder: Path, name: str, timeout: float | None = None) -> NodeState:
    """End one node in order, if it runs, and start it again; `LabError` if it does not end."""
    node = read(folder).node(name)
    found = list(processes_of(folder, node).values())
    if lab_processes.stop_all(found, STOP_S):
        raise LabError(f"{name} had to be killed; next: protokms lab start {folder} {name}")
    _forget(folder, node)
    return start(folder, name, timeout)


def logs(folder: Path, name: str = "") -> dict[str, Path]:
    """Return the files that nodes write what they log to, or that of one node."""
    lab = read(folder)
    nodes = [lab.node(name)] if name else lab.nodes
    return {node.name: _log(folder, node) for node in nodes}


def cut(folder: Path, one: str, other: str) -> bool:
    """Let nothing pass between two nodes (or processes of them, `kms-1/front`).

    False if the lab has no hosts: then both stores of their link take nothing in.
    """
    return _between(folder, one, other, whole=False)


def mend(folder: Path, one: str, other: str) -> bool:
    """Undo that; False if the lab has no hosts."""
    return _between(folder, one, other, whole=True)


def _between(folder: Path, one: str, other: str, *, whole: bool) -> bool:
    lab = read(folder)
    made = netns.read(folder)
    if made is not None:
        netns.check_wire(folder, made)
        (netns.mend if whole else netns.cut)(made, one, other)
        return True
    configs = [_config(folder, lab.node(name)) for name in (one, other)]
    for config, peer in zip(configs, (other, one), strict=True):
        if config.manage is None:
            raise LabError(f"{config.node.name}: has no [manage], by which its link is paused")
        try:
            manage_client.ask(config.manage.socket, words.SwitchLink(peer=peer, enabled=whole))
        except ManageFailed as why:
            raise LabError(f"{config.node.name}: {why}") from why
    return False


def processes_of(folder: Path, node: LabNode) -> dict[str, Running]:
    """Return the processes of a node that run, by their names in its configuration."""
    file = folder / node.pid
    files = {CORE: file} | {
        path.name.removeprefix(f"{file.name}."): path
        for path in sorted(file.parent.glob(f"{file.name}.*"))
        if not path.name.endswith(".new")
    }
    found = {name: lab_processes.running(path) for name, path in files.items()}
    return {name: process for name, process in found.items() if process}


def _start(
    folder: Path, lab: Lab, nodes: Sequence[LabNode], timeout: float | None
) -> list[NodeState]:
    timeout = READY_S + NODE_S * len(nodes) if timeout is None else timeout
    deadline = time.monotonic() + timeout
    with only_one(folder):
        configs = {node.name: _config(folder, node) for node in lab.nodes}
        fresh = [node for node in nodes if not processes_of(folder, node)]
        hosts = netns.read(folder)
        if hosts is None:
            _check_addresses((node, configs[node.name]) for node in fresh)
        else:
            netns.check_wire(folder, hosts)
        _launch_all(folder, nodes, configs, deadline)
    try:
        found = _watch(folder, lab, nodes, configs, deadline)
    finally:
        _note_stores(folder, configs)
    for node in nodes:
        state = found[node.name]
        if state.reasons:
            state.log = lab_processes.tail(_log(folder, node), _TAIL)
            if state.running:
                state.reasons.append(f"not ready within {timeout:g} s")
    return [found[node.name] for node in nodes]


def _launch_all(
    folder: Path, nodes: Sequence[LabNode], configs: dict[str, NodeConfig], deadline: float
) -> None:
    """Start the nodes, few at a time; one that answers, or has ended, makes room for the next."""
    coming: list[LabNode] = []
    hosts = netns.read(folder)
    for node in nodes:
        while len(coming) >= _AT_ONCE and time.monotonic() < deadline:
            time.sleep(_PAUSE_S[0])
            coming = [one for one in coming if not _answers(folder, one)]
        _launch(folder, node, configs[node.name], hosts)
        coming.append(node)


def _answers(folder: Path, node: LabNode) -> bool:
    return not processes_of(folder, node) or _get(node.metrics, "/ready")[0] != 0


def _watch(
    folder: Path,
    lab: Lab,
    nodes: Sequence[LabNode],
    configs: dict[str, NodeConfig],
    deadline: float,
) -> dict[str, NodeState]:
    """Look again and again at nodes that are not ready, until all are, or one has ended."""
    found: dict[str, NodeState] = {}
    pause = _PAUSE_S[0]
    while True:
        alive = {node.name for node in lab.nodes if processes_of(folder, node)}
        for node in nodes:
            if node.name not in found or found[node.name].reasons or node.name not in alive:
                found[node.name] = _look(folder, node, configs[node.name], alive)
        waiting = [state for state in found.values() if state.reasons]
        if not waiting or not all(state.running for state in waiting):
            return found
        if time.monotonic() > deadline:
            return found
        time.sleep(pause)
        pause = min(2 * pause, _PAUSE_S[1])


def _launch(folder: Path, node: LabNode, made: NodeConfig, hosts: Namespaces | None) -> None:
    file, log = (folder / node.pid).absolute(), _log(folder, node)
    path = str((folder / node.config).absolute())
    for process in (CORE, *(edge.process.name for edge in here(made))):
        args = ["node", path]
        if process != CORE:
            args += ["--process", process]
        elif is_new(node, made):
            args += ["--new"]
        pid = file if process == CORE else file.with_name(f"{file.name}.{process}")
        if not lab_processes.running(pid):
            command = lab_processes.protokms(*args)
            if hosts is not None:
                command = hosts.command(f"{node.name}/{process}", command)
            lab_processes.start(command, log, pid)


def _note_stores(folder: Path, configs: dict[str, NodeConfig]) -> None:
    """From now on a store that is missing is lost; another command that is at it does the same."""
    with suppress(LabError), only_one(folder):
        note_stores(folder, {name for name, made in configs.items() if made.node.data.exists()})


def _look(folder: Path, node: LabNode, made: NodeConfig, alive: set[str]) -> NodeState:
    """See how a node is; `reasons` say what is missing for it to be ready."""
    found = processes_of(folder, node)
    state = NodeState(name=node.name, pids={name: one.pid for name, one in found.items()})
    wanted = {CORE, *(edge.process.name for edge in here(made))}
    state.running = wanted <= set(found)
    if not state.running:
        state.reasons = [_ended(folder, node, name) for name in sorted(wanted - set(found))]
        return state
    code, body = _get(node.metrics, "/ready")
    state.ready = code == _OK
    if not state.ready:
        said = body.get("reasons") if isinstance(body.get("reasons"), list) else None
        state.reasons = [str(reason)[:300] for reason in said or ["/ready does not answer"]]
    waiting = body.get("waiting") if isinstance(body.get("waiting"), list) else None
    state.reasons += [str(why)[:300] for why in waiting or [] if str(why).startswith(f"{FRONT}/")]
    _, health = _get(node.metrics, "/health") if code else (0, {})
    state.links = {peer: _stored(health, peer) for peer in _linked(health, made)}
    there = {peer: bits for peer, bits in state.links.items() if peer in alive}
    apart = [peer for peer in there if _waits(health, peer)]
    state.reasons += [f"link to {peer}: not in step yet" for peer in apart]
    state.reasons += [f"link to {peer}: no bits yet" for peer, bits in there.items() if bits <= 0]
    return state


def _ended(folder: Path, node: LabNode, process: str) -> str:
    file = folder / (node.pid if process == CORE else f"{node.pid}.{process}")
    known = lab_processes.read_pid(file)
    if known is None:
        return f"process {process} does not run"
    status = lab_processes.exit_status(known)
    how = "" if status is None else f" with status {status}"
    why = _last_words(lab_processes.tail(_log(folder, node), _TAIL), process)
    return f"process {process} (pid {known.pid}) has ended{how}{why}"


def _last_words(lines: Sequence[str], process: str) -> str:
    """Return why a process has ended, if the last lines of its node's log say so."""
    for line in reversed(lines):
        with suppress(ValueError, KeyError, TypeError, AttributeError):
            row = json.loads(line)
            if row.get("process", process) != process:
                continue
            if row["event"] in _LAST_EVENTS:
                return f": {row['why']}"
            if row["event"] == "node_started":  # what is above is of an earlier life
                break
    return ""


def _waits(health: dict[str, Any], peer: str) -> bool:
    """Tell whether a link and its store do not work yet, or do not say so."""
    try:
        actors = health["actors"]
        return any(actors[f"{kind}/{peer}"]["waits"] for kind in ("key_store", "quantum_link"))
    except (KeyError, TypeError):
        return True


def _linked(health: dict[str, Any], made: NodeConfig) -> list[str]:
    """Return the peers with a quantum link: those of the file, and those started since."""
    actors = health.get("actors")
    names = [name.partition("/") for name in actors] if isinstance(actors, dict) else []
    running = sorted(peer for kind, _, peer in names if kind == QUANTUM_LINK)
    return list(dict.fromkeys([*made.neighbours, *running]))


def _stored(health: dict[str, Any], peer: str) -> int:
    try:
        return int(health["actors"][f"key_store/{peer}"]["facts"]["stored_bits"])
    except (KeyError, TypeError, ValueError):
        return 0


def _sessions(made: NodeConfig) -> list[dict[str, Any]]:
    """Ask a node which sessions begin there; none when it does not say."""
    if made.manage is None:
        return []
    try:
        answer = manage_client.ask(made.manage.socket, words.ListSessions(), _HTTP_S)
        return [row for row in answer["sessions"] if isinstance(row, dict)]
    except (ManageFailed, KeyError, TypeError):
        return []


def _get(base: str, path: str) -> tuple[int, dict[str, Any]]:
    """Fetch a JSON object; status 0 when nobody answers."""
    url = urlsplit(base)
    try:
        connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=_HTTP_S)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            body = json.loads(response.read(_ANSWER_LIMIT))
        finally:
            connection.close()
    except (OSError, http.client.HTTPException, ValueError, RecursionError):
        return 0, {}
    return response.status, body if isinstance(body, dict) else {}


def _check_addresses(nodes: Iterable[tuple[LabNode, NodeConfig]]) -> None:
    found = [
        f"{node.name}: {_KINDS[place.kind]} port {place.end.port} ({place.key}): {why}"
        for node, made in nodes
        for place, why in addresses.troubles(places_of(made))
    ]
    if found:
        listed = "\n  ".join(found)
        raise LabError(f"nothing was started, as these addresses cannot be had:\n  {listed}")


def _config(folder: Path, node: LabNode) -> NodeConfig:
    try:
        return load(folder / node.config, files=False)
    except ConfigError as why:
        raise LabError(f"{node.name}: its configuration is wrong:\n{why}") from why


def _log(folder: Path, node: LabNode) -> Path:
    return (folder / node.pid).with_name("log").absolute()


def _forget(folder: Path, node: LabNode) -> None:
    file = folder / node.pid
    for path in (file, *file.parent.glob(f"{file.name}.*")):
        if not lab_processes.running(path):
            path.unlink(missing_ok=True)
