"""The management socket of a node: a UNIX socket that only its own user can open (0013).

It asks the node's actors what `protokms session`, `route`, `peer`, `link` and `alarm` want to
know. There are no key bits in any answer.
"""

import asyncio
import contextlib
import os
import socket
import stat
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import msgspec
import structlog

from actors.protocol import alarms, links, peers, routes, sessions
from actors.protocol.common import Failed, Health, Healthy
from actors.protocol.siblings import AskProcess, ProcessStatus
from protokms import loops
from protokms.manage import wanted, words
from protokms.manage.callers import ALONE, NEEDED, Caller, Callers, Role, caller_at
from protokms.manage.printable import printable
from transport.explained import Explained
from transport.message import Message

CONNECTIONS_MAX = 8
_BACKLOG = 8
_IDLE_S = 30.0
_ASK_S = 5.0
_CLEAR_S = 8.0
_STOP_S = 5.0
_MOVE = "write in a folder of the node's user, or move it"
_TEXT_MAX, _ACTORS_MAX = 256, 1_024
"""Characters of a text, and actors, that a process beside core may tell of."""

_FILLERS = {"quantum_link": "quantum", "virtual_link": "relay"}


class Node(Protocol):
    """Whose actors are asked."""

    @property
    def node(self) -> str:
        """Return the name of the node."""
        ...

    def names(self) -> Sequence[str]:
        """Return the actors that should be alive."""
        ...

    def ask(self, name: str, body: Message, timeout: float) -> Future[Message]:
        """Ask one of them."""
        ...

    def processes(self) -> Sequence[str]:
        """Return the processes of the node, core first."""
        ...

    def reload(self) -> words.Reloaded:
        """Read the configuration again, and wait until that is done."""
        ...


class Manager:
    """Listens on a UNIX socket, in a thread of its own.

    Its mode is 0600, unless groups have a role: then the folder says who can reach it, and the
    kernel who has connected.
    """

    def __init__(self, path: Path, node: Node, callers: Callers = ALONE) -> None:
        self._path, self._node, self._callers = path, node, callers
        self._mode = 0o600 if callers.alone else 0o666
        self._log = structlog.get_logger().bind(node=node.node)
        self._decoder = msgspec.json.Decoder(words.Word)
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self._inode = 0

    def start(self) -> None:
        """Listen; `Explained` if that place cannot be had."""
        try:
            made = self._bind()
        except OSError as why:
            text = f"manage.socket: {self._path} cannot be made: {why.strerror}"
            raise Explained(f"{text}; {_MOVE}") from why
        self._loop = loops.make("manage")
        self._thread = threading.Thread(target=self._loop.run_forever, name="manage", daemon=True)
        self._thread.start()
        self._server = self._run(self._listen(made))

    def stop(self) -> None:
        """Close every connection, end the thread, remove the socket."""
        if self._server is None:
            return
        self._run(self._close())
        self._server = None
        with contextlib.suppress(OSError):
            if self._path.lstat().st_ino == self._inode:  # or it is that of the next life
                self._path.unlink()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_STOP_S)
        self._loop.close()

    def _bind(self) -> socket.socket:
        _clear(self._path)
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            os.fchmod(made.fileno(), self._mode)  # the file gets it, with no moment before it
            with words.short_name(self._path) as name:
                made.bind(name)
                if not self._callers.alone:
                    os.chmod(name, self._mode)  # which the umask has narrowed
            found = self._path.lstat()
            if self._callers.alone and stat.S_IMODE(found.st_mode) & ~0o600:
                raise Explained(f"manage.socket: {self._path} can be opened by others; move it")
            self._inode = found.st_ino
            made.setblocking(False)
        except BaseException:
            made.close()
            raise
        return made

    async def _listen(self, made: socket.socket) -> asyncio.Server:
        limit = words.LINE_LIMIT
        return await asyncio.start_unix_server(
            self._serve, sock=made, limit=limit, backlog=_BACKLOG
        )

    async def _close(self) -> None:
        assert self._server
        self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._open.add(task)
        try:
            caller = self._welcome(writer)
            if caller is None:
                return
            while line := await asyncio.wait_for(reader.readline(), _IDLE_S):
                writer.write(await self._answer(line, caller) + b"\n")
                async with asyncio.timeout(_IDLE_S):
                    await writer.drain()
        except ValueError:  # a line without an end
            why = f"a line is of at most {words.LINE_LIMIT} octets"
            writer.write(_failed("malformed", why) + b"\n")
        except (TimeoutError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._open.discard(task)
            writer.close()

    def _welcome(self, writer: asyncio.StreamWriter) -> Caller | None:
        """Let in who has a role, as long as there is room."""
        caller = caller_at(writer.get_extra_info("socket"))
        if self._callers.role(caller) is Role.NOBODY:
            self._log.warning("management_refused", pid=caller.pid, uid=caller.uid)
            return None
        if len(self._open) > CONNECTIONS_MAX:
            writer.write(_failed("busy", "too many connections; try again") + b"\n")
            return None
        return caller

    async def _answer(self, line: bytes, caller: Caller) -> bytes:
        try:
            word = self._decoder.decode(line)
        except (ValueError, RecursionError) as why:  # those of msgspec are ValueErrors
            return _failed("malformed", str(why)[:200])
        has, needs = self._callers.role(caller), NEEDED[type(word)]
        said = type(word).__struct_config__.tag
        if needs > Role.READ:
            who = {"pid": caller.pid, "uid": caller.uid, "role": has.name.lower()}
            self._log.info("management", do=said, **who, refused=has < needs)
        if has < needs:
            role = needs.name.lower()
            text = f"{said} is for the role {role} ([manage] {role}), you have {has.name.lower()}"
            return _failed("not_allowed", text)
        try:
            found = await self._do(word)
        except Exception as why:  # a fault of ours must not end in silence
            self._log.error("management_failed", why=type(why).__name__)
            return _failed("crashed", "internal error; see the log")
        if isinstance(found, Failed):
            return _failed(found.code, found.why)
        return msgspec.json.encode({"ok": found})

    async def _do(self, word: words.Word) -> Any:
        if isinstance(word, words.ListLinks):
            return {"links": await self._links()}
        if isinstance(word, words.ReloadNode):
            return await self._reload()
        if isinstance(word, words.NodeStatus):
            return {"processes": await self._processes()}
        if isinstance(word, wanted.Word):
            return await wanted.do(word, self._node.node, self._ask)
        answer = await self._ask(*_question(word))
        return _alarms(answer) if isinstance(answer, alarms.AlarmList) else answer

    async def _ask(self, name: str, body: Message, timeout: float = _ASK_S) -> Message:
        answer = await asyncio.wrap_future(self._node.ask(name, body, timeout))
        if isinstance(answer, Failed) and answer.code == "undeliverable":
            return Failed(code="undeliverable", why=f"there is no {name} at this node")
        return answer

    async def _processes(self) -> list[dict[str, Any]]:
        """Ask all processes at once; of one that does not answer nothing else is told."""
        names = self._node.processes()
        asked = [self._node.ask(f"node/{name}", AskProcess(), _ASK_S) for name in names]
        answers = await asyncio.gather(*map(asyncio.wrap_future, asked))
        found = []
        for name, answer in zip(names, answers, strict=True):
            if isinstance(answer, ProcessStatus):
                most = None if name == names[0] else _ACTORS_MAX  # the first is core, itself
                found.append(_process(name, answer, most))
            else:
                found.append({"reached": False, "process": name})
        return found

    async def _reload(self) -> words.Reloaded:
        """Reload on a thread of its own: it waits, and nobody else is to wait for it."""
        done: Future[words.Reloaded] = Future()
        done.set_running_or_notify_cancel()  # who hangs up does not stop it

        def run() -> None:
            try:
                done.set_result(self._node.reload())
            except Exception as why:
                done.set_exception(why)

        threading.Thread(target=run, name="reload", daemon=True).start()
        return await asyncio.wrap_future(done)

    async def _links(self) -> list[dict[str, Any]]:
        """Tell of each store what fills it and how it is, by peer."""
        names = [name.partition("/") for name in self._node.names()]
        fillers = {peer: _FILLERS[kind] for kind, _, peer in names if kind in _FILLERS}
        stores = sorted({p for kind, _, p in names if kind == "key_store"} - {self._node.node})
        quantum = [peer for peer in stores if fillers.get(peer) == "quantum"]
        asked = [f"key_store/{peer}" for peer in stores]
        asked += [f"quantum_link/{peer}" for peer in quantum]
        answers = await asyncio.gather(*(self._ask(name, Health()) for name in asked))
        found = dict(zip(asked, answers, strict=True))
        rows = [_link(it, fillers.get(it, "none"), found[f"key_store/{it}"]) for it in stores]
        for row in rows:
            module = found.get(f"quantum_link/{row['peer']}")
            facts = dict(module.facts) if isinstance(module, Healthy) else {}
            row["qber"] = float(facts["qber"]) if "qber" in facts else None
            row["reasons"] += _quiet(module)  # what is in store is served all the same
        return rows

    def _run(self, call: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(call, self._loop).result(_STOP_S)


def _process(name: str, answer: ProcessStatus, most: int | None) -> dict[str, Any]:
    """Say under the name that was asked what a process tells of itself, as far as it fits."""
    return {
        "reached": True,
        "process": name,
        "host": _bounded(answer.host),
        "version": _bounded(answer.version),
        "actors": [_bounded(one) for one in answer.actors[:most]],
        "deaths": answer.deaths,
        "mailbox": answer.mailbox,
        "last_error": _bounded(answer.last_error),
    }


def _bounded(text: str) -> str:
    return printable(text[:_TEXT_MAX])[:_TEXT_MAX]


def _link(peer: str, kind: str, answer: Message) -> dict[str, Any]:
    facts = dict(answer.facts) if isinstance(answer, Healthy) else {}
    reasons = [*answer.reasons, *answer.waits] if isinstance(answer, Healthy) else [_code(answer)]
    up = facts.get("peer_up") == "true"
    if kind == "quantum" and isinstance(answer, Healthy) and not up:  # others may be idle
        reasons.append(f"{peer} is not heard")
    return {
        "peer": peer,
        "kind": kind,
        "ready": isinstance(answer, Healthy) and answer.ready and not reasons,
        "peer_up": up,
        "stored_bits": int(facts.get("stored_bits", 0)),
        "own_bits": int(facts.get("own_bits", 0)),
        "reasons": reasons,
    }


def _quiet(answer: Message | None) -> list[str]:
    """Say why no key comes from the module of a quantum link, if none does."""
    waits = answer.waits if isinstance(answer, Healthy) else ()
    return [_bounded(it) for it in waits if it.startswith("quiet: ")]


def _question(word: words.Word) -> tuple[str, Message, float]:
    """Return which actor is asked what, and how long it may take."""
    found: tuple[str, Message, float]
    match word:
        case words.ListPeers():
            found = "peer_manager", peers.ListPeers(), _ASK_S
        case words.ClearLink():
            found = f"key_store/{word.peer}", links.ClearQuarantine(), _ASK_S
        case words.ListAlarms():
            found = alarms.NAME, alarms.ListAlarms(), _ASK_S
        case words.ClearAlarm():
            clear = alarms.ClearAlarm(id=word.id, subject=word.subject)
            found = alarms.NAME, clear, _CLEAR_S
        case words.ShowRoute():
            found = "router", routes.FindRoute(start=word.start, end=word.end), _ASK_S
        case words.ListSessions():
            found = "sessions", sessions.ListSessions(), _ASK_S
        case _:
            raise TypeError(type(word).__name__)
    return found


def _alarms(answer: alarms.AlarmList) -> dict[str, Any]:
    """Write down when each began, by the clock of the wall."""
    now = time.time()
    rows = []
    for each in answer.alarms:
        since = datetime.fromtimestamp(now - each.since_s, UTC).isoformat(timespec="seconds")
        rows.append({"id": each.id, "since": since, "subject": each.subject, "text": each.text})
        rows[-1] |= {"remedy": each.remedy, "clears": each.clears}
    return {"alarms": rows, "dropped": answer.dropped}


def _code(answer: Message) -> str:
    return answer.code if isinstance(answer, Failed) else "crashed"


def _failed(code: str, why: str) -> bytes:
    return msgspec.json.encode({"failed": {"code": code, "why": why}})


def find_trouble(path: Path) -> tuple[str, str] | None:
    """Return why a socket cannot be made at this place, and the remedy; a dead one is no matter."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            return f"{path} is no socket", "take it away, or choose another"
        with socket.socket(socket.AF_UNIX) as probe, words.short_name(path) as name:
            probe.settimeout(1.0)
            probe.connect(name)
    except (ConnectionRefusedError, FileNotFoundError):
        return None
    except (TimeoutError, BlockingIOError):
        pass  # whoever listens is busy
    except OSError as why:
        return f"{path} cannot be made: {why.strerror}", _MOVE
    return f"another process listens at {path}", "end it, or choose another"


def _clear(path: Path) -> None:
    """Remove the socket of an earlier life; `Explained` if it is none, or somebody listens."""
    if trouble := find_trouble(path):
        raise Explained(f"manage.socket: {'; '.join(trouble)}")
    path.unlink(missing_ok=True)
