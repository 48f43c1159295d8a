"""`protokms node`: one process of a node in the foreground, as a service manager runs it.

Neither typer nor rich is loaded here. Exit codes: 0 drained, 1 it cannot start or the check
found something, 2 misused, 70 it must not go on (the service manager starts it again).
"""

import argparse
import contextlib
import ctypes
import gc
import json
import os
import resource
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import structlog

from protokms import config as configs
from protokms import logs
from protokms.node import Node, NodeFailed
from protokms.sections import CORE, NodeConfig
from protokms.tables import ConfigError, Problem

MUST_NOT_GO_ON = 70
_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
_PR_SET_DUMPABLE = 4
_FILES = 65_536


def run(args: Sequence[str]) -> int:
    """Run a process of a node until it is told to stop; return the exit code."""
    parser = argparse.ArgumentParser(prog="protokms node", add_help=False)
    parser.add_argument("config", type=Path)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--process", default=CORE)
    asked = parser.parse_args(args)
    if asked.json and not asked.check:
        parser.error("--json goes with --check")
    if asked.check:
        return check(asked.config, as_json=asked.json)
    try:
        config = configs.load(asked.config)
    except ConfigError as wrong:
        return _complain(wrong.problems)
    known = [CORE, *(one.name for one in config.processes)]
    if asked.process not in known:
        sys.stderr.write(f"there is no process {asked.process}, only {', '.join(known)}\n")
        return 2
    logs.configure(config.node.log)
    return _serve(config, asked.process)


def check(config: Path, *, as_json: bool = False) -> int:
    """Say everything that is wrong with a configuration, its files and the store."""
    problems = configs.check(config)
    with contextlib.suppress(ConfigError):  # which is among the problems
        made = configs.load(config, files=False)
        told = any(problem.key == "node.data" for problem in problems)
        if not told and (trouble := _store_trouble(made)):
            problems.append(Problem(str(config), "node.data", *trouble))
    if as_json:
        found = {"well": not problems, "problems": [problem._asdict() for problem in problems]}
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return 1 if problems else 0
    if problems:
        return _complain(problems)
    sys.stdout.write(f"{made.node.name} is well\n")
    return 0


def _store_trouble(config: NodeConfig) -> tuple[str, str] | None:
    from actors.store import StoreFile  # noqa: PLC0415 -- a front end has no store
    from actors.store_errors import StoreError, StoreLocked  # noqa: PLC0415

    path = config.node.data
    if not path.exists():
        return None  # it is made when the node starts
    try:
        StoreFile.open(path, config.node.name, configs.node_key(config)).close()
    except StoreLocked:
        return None  # the node runs on it, so it is well
    except StoreError as wrong:
        return wrong.reason, wrong.remedy
    return None


def _serve(config: NodeConfig, process: str) -> int:
    _keep_out_of_core_dumps()
    _allow_open_files()
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # every thread, so that sigwait gets them
    log = structlog.get_logger().bind(node=config.node.name, process=process)
    node = Node(config, _die, process)
    try:
        node.start()
    except NodeFailed as why:
        log.error("node_failed", why=str(why))
        return 1
    gc.freeze()  # what is there now stays; collections need not look at it
    _notify("READY=1")
    while signal.sigwait(_SIGNALS) == signal.SIGHUP:
        node.reload()
    _notify("STOPPING=1")
    node.stop()
    return 0


def _die(why: str) -> None:
    """End the process at once: whatever is open has an unknown outcome, and is not answered."""
    with contextlib.suppress(Exception):
        structlog.get_logger().critical("node_died", why=why)
        sys.stderr.flush()
    os._exit(MUST_NOT_GO_ON)


def _keep_out_of_core_dumps() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def _allow_open_files() -> None:
    """Take as many as the system grants: whoever connects costs one, welcome or not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _FILES if hard == resource.RLIM_INFINITY else min(_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _notify(state: str) -> None:
    """Tell systemd, if it has asked to be told."""
    if path := os.environ.get("NOTIFY_SOCKET"):
        address = "\0" + path[1:] if path.startswith("@") else path
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as made,
        ):
            made.sendto(state.encode(), address)


def _complain(problems: Sequence[Any]) -> int:
    for problem in problems:
        sys.stderr.write(f"{problem}\n")
    return 1
