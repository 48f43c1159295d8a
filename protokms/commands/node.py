"""`protokms node`: one process of a node in the foreground, as a service manager runs it.

Neither typer nor rich is loaded here. Exit codes, by which the service manager decides:
0 drained; 1 it cannot start now (an address or a port is not to be had, the store is locked or
missing, there is no room), and is to be started again; 2 misused; 70 it must not go on, and is to
be started again; 78 a configuration, or a file it names, with which it cannot run: no restart
helps. With `--check`: 0 all is well, 1 it is not. `protokms node reload`: 0 all that a reload can
take is in use, 1 something was refused, or a process or the node was not reached. `protokms node
status`: 0 every process has answered, 1 one has not.
"""

import argparse
import contextlib
import ctypes
import gc
import json
import math
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import structlog

from protokms.config.load import AnyConfig, load, load_any, load_process, manage_socket
from protokms.config.sections import CORE, NodeConfig, identity, with_brainpool
from protokms.config.tables import ConfigError
from protokms.manage import client as manage_client
from protokms.manage.client import ManageFailed
from protokms.manage.printable import printable
from protokms.manage.words import NodeStatus, Reloaded, ReloadNode, Word
from protokms.node import logs, service
from protokms.node.node import Node, NodeEarly, NodeFailed, NodeUnfit

DRAINED, NOT_NOW, MISUSED, MUST_NOT_GO_ON, UNFIT = 0, 1, 2, 70, 78
_SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
RELOAD, STATUS = "reload", "status"
RELOAD_S, STATUS_S = 30.0, 15.0
_PR_SET_DUMPABLE = 4
_FILES = 65_536
_TELL_S = 1.0
_PAUSE_S = 0.5


def run(args: Sequence[str]) -> int:
    """Run a process of a node until it is told to stop; return the exit code."""
    if args[:1] == [RELOAD]:
        return reload(args[1:])
    if args[:1] == [STATUS]:
        return status(args[1:])
    parser = argparse.ArgumentParser(prog="protokms node", add_help=False)
    parser.add_argument("config", type=Path)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--process", default="")
    parser.add_argument("--new", action="store_true")
    asked = parser.parse_args(args)
    if asked.new and (asked.check or asked.process not in {"", CORE}):
        parser.error(
            "--new makes the store of a node that has never run: with core, without --check"
        )
    if asked.json and not asked.check:
        parser.error("--json goes with --check")
    if asked.check:
        from protokms.commands.check import check  # noqa: PLC0415 -- a running node has no use for it

        return check(asked.config, asked.process, as_json=asked.json)
    try:
        config = _load(asked.config, asked.process)
    except ConfigError as wrong:
        _complain(str(wrong))
        service.say(f"does not start: {wrong}")
        return NOT_NOW if _comes_late(asked.config, wrong) else UNFIT
    if with_brainpool(config):
        from protokms.config import brainpool  # noqa: PLC0415 -- it imports x509

        brainpool.begin_anew()
    own = config.node if isinstance(config, NodeConfig) else config.process
    threshold = logs.configure(own.log, level=own.log_level, requests=own.log_requests)
    return _serve(config, threshold, new=asked.new)


def _load(path: Path, process: str) -> AnyConfig:
    """Read the file of the process that is asked for: by itself, or as core says where it is."""
    if process in {CORE, ""}:
        return load_any(path) if not process else load(path)
    return load_process(path, process)


_RELOAD = """\
Let a running node read certificates, lists and limits of [etsi014] and [etsi015], the level of
the log and the directory again, in all its processes; say what is applied, what is refused, and
what needs a restart."""
_RELOAD_ENDS = """\
exit codes: 0 all that a reload can take is in use; 1 something was refused, or a process or the
node was not reached; 2 misused."""
_STATUS = "Say of each process of a running node where it runs, and how its actors are."
_STATUS_ENDS = """\
exit codes: 0 every process has answered; 1 one has not, or the node was not reached; 2 misused."""


def _parser(name: str, what: str, ends: str) -> argparse.ArgumentParser:
    example = f"example: protokms node {name} lab/kms-1/node.toml"
    parser = argparse.ArgumentParser(
        prog=f"protokms node {name}", description=what, epilog=f"{ends} {example}"
    )
    parser.add_argument("config", type=Path, help="configuration of core, TOML")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


def reload(args: Sequence[str]) -> int:
    """Let a running node read its configuration again; say what came of it."""
    asked = _parser(RELOAD, _RELOAD, _RELOAD_ENDS).parse_args(args)
    answer = _ask(asked.config, ReloadNode(), RELOAD_S, as_json=asked.json)
    if answer is None:
        return 1
    found = msgspec.convert(answer, Reloaded)
    if asked.json:
        sys.stdout.write(json.dumps(msgspec.to_builtins(found), indent=2) + "\n")
        return 0 if found.whole else 1
    _say(f"applied: {', '.join(found.applied) or 'nothing has changed'}")
    if found.needs_restart:
        _say(f"needs a restart: {', '.join(found.needs_restart)}")
    for why in found.refused:
        _complain(f"refused: {why}")
    for name in found.not_reached:
        _complain(f"not reached: process {name}; start it, or reload again")
    return 0 if found.whole else 1


_HANG_UP = "meanwhile SIGHUP to its process has a node read lists and certificates again"


def _ask(path: Path, word: Word, seconds: float, *, as_json: bool) -> dict[str, Any] | None:
    """Ask on the socket that the configuration names, though all else in it be wrong.

    Without an answer it says why, and returns None.
    """
    try:
        return manage_client.ask(manage_socket(path), word, seconds)
    except ConfigError as wrong:
        text = f"{wrong}\n{_HANG_UP}" if isinstance(word, ReloadNode) else str(wrong)
        no = ManageFailed("not_running", text)
    except ManageFailed as failed:
        no = failed
    if as_json:
        _say(json.dumps({"failed": {"code": no.code, "why": no.why}}))
    else:
        _complain(str(no))
    return None


def status(args: Sequence[str]) -> int:
    """Say of each process of a running node where it runs, and how its actors are."""
    asked = _parser(STATUS, _STATUS, _STATUS_ENDS).parse_args(args)
    found = _ask(asked.config, NodeStatus(), STATUS_S, as_json=asked.json)
    if found is None:
        return 1
    rows = found["processes"]
    if asked.json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
    else:
        for row in rows:
            _say(_in_words(row))
    return 0 if all(row["reached"] for row in rows) else 1


def _in_words(row: Mapping[str, Any]) -> str:
    name = row["process"]
    if not row["reached"]:
        return f"{name}: not reached; see whether it runs"
    text = (
        f"{name}: on {row['host']}, release {row['version']}, {len(row['actors'])} actors,"
        f" {row['deaths']} deaths, {row['mailbox']} messages wait"
    )
    return f"{text}; last error {row['last_error']}" if row["last_error"] else text


def _comes_late(path: Path, wrong: ConfigError) -> bool:
    """Tell whether all that is wrong is a store whose folder is not there, or not mounted, yet."""
    if any(problem.key != "node.data" for problem in wrong.problems):
        return False
    with contextlib.suppress(ConfigError):
        return not load(path, files=False).node.data.parent.is_dir()
    return False


def _serve(config: AnyConfig, threshold: logs.Threshold, *, new: bool) -> int:
    _keep_out_of_core_dumps()
    _allow_open_files()
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # every thread, so that sigwait gets them
    process, name = identity(config)
    log = structlog.get_logger().bind(node=name, process=process)
    for warning in config.warnings:
        log.warning("config_warning", key=warning.key, why=warning.reason, remedy=warning.remedy)
    if tables := with_brainpool(config):
        from protokms.config import brainpool  # noqa: PLC0415 -- it imports x509

        curves = brainpool.usable()
        log.info("brainpool", **curves)
        if trouble := brainpool.trouble(curves):
            why, remedy = trouble
            log.warning("config_warning", key=f"{tables[0]}.brainpool", why=why, remedy=remedy)
    unfit = partial(_die, status=UNFIT)
    made = partial(
        Node,
        config,
        _die,
        unfit=unfit,
        new=new,
        progress=service.starting,
        threshold=threshold,
    )
    try:
        own = config.node if isinstance(config, NodeConfig) else config.process
        node = _started(made, own.start_wait_s, log)
    except NodeFailed as why:
        log.error("node_failed", why=str(why))
        service.say(f"does not start: {why}")
        return UNFIT if isinstance(why, NodeUnfit) else NOT_NOW
    if node is None:
        return DRAINED
    gc.freeze()  # what is there now stays; collections need not look at it
    if seconds := service.feed_s():
        node.pulse(seconds, service.feed)
    service.notify("READY=1")
    while _next_signal(node) == signal.SIGHUP:
        node.reload()
    service.notify("STOPPING=1")
    node.stop()
    return DRAINED


def _next_signal(node: Node) -> int:
    """Wait for a signal; say meanwhile how many undelivered keys are to be loaded yet."""
    while left := node.grants_to_load:
        service.notify(f"STATUS=serving, {left:,} undelivered grants to load")
        if found := signal.sigtimedwait(_SIGNALS, _TELL_S):
            return found.si_signo
    service.notify("STATUS=serving")
    return signal.sigwait(_SIGNALS)


def _started(make: Callable[[], Node], seconds: float, log: Any) -> Node | None:
    """Start a node, and wait for a while for addresses that are not there; None if told to end."""
    until, told = math.inf, ""
    while True:
        node = make()
        try:
            node.start()
        except NodeEarly as why:
            now = time.monotonic()
            until = min(until, now + seconds)  # from the first time on
            left = until - now
            if left <= 0:
                raise
            if str(why) != told:
                told = str(why)
                log.warning("node_waits", why=told, seconds=round(left, 1))
            service.starting(f"waits for {left:.0f} s: {why}")
            if _told_to_end(min(left, _PAUSE_S)):
                return None
        else:
            return node


def _told_to_end(seconds: float) -> bool:
    """Wait; tell whether a signal to end has come meanwhile."""
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        came = signal.sigtimedwait(_SIGNALS, left)
        if came and came.si_signo != signal.SIGHUP:
            return True
    return False


def _die(why: str, status: int = MUST_NOT_GO_ON) -> None:
    """End the process at once: whatever is open has an unknown outcome, and is not answered."""
    with contextlib.suppress(Exception):
        structlog.get_logger().critical("node_died", why=why)
        service.say(f"died: {why}")
        sys.stderr.flush()
    os._exit(status)


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


def _say(line: str) -> None:
    sys.stdout.write(f"{printable(line)}\n")


def _complain(text: str) -> None:
    for line in text.split("\n"):  # a remedy may have several
        sys.stderr.write(f"{printable(line)}\n")
