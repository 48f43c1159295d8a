"""The management socket of a node: a UNIX socket that only its own user can open (0013).

It asks the node's actors what `protokms session`, `route`, `peer` and `link` want to know. There
are no key bits in any answer.
"""

import asyncio
import contextlib
import os
import socket
import stat
import struct
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Protocol

import msgspec
import structlog

from actors.protocol import peers, routes, sessions
from actors.protocol.common import Failed, Health, Healthy
from protokms import loops
from protokms import manage_words as words
from transport.message import Message

CONNECTIONS_MAX = 8
_BACKLOG = 8
_IDLE_S = 30.0
_ASK_S = 5.0
_SESSION_S = 15.0
_STOP_S = 5.0
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid
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


class Manager:
    """Listens on a UNIX socket of mode 0600, in a thread of its own."""

    def __init__(self, path: Path, node: Node) -> None:
        self._path, self._node = path, node
        self._log = structlog.get_logger().bind(node=node.node)
        self._decoder = msgspec.json.Decoder(words.Word)
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()
        self._inode = 0

    def start(self) -> None:
        """Listen; `OSError` if something else is at that place."""
        made = self._bind()
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
            os.fchmod(made.fileno(), 0o600)  # the file gets this mode, with no moment before it
            with words.short_name(self._path) as name:
                made.bind(name)
            found = self._path.lstat()
            if stat.S_IMODE(found.st_mode) & ~0o600:
                raise OSError(f"{self._path} can be opened by others")
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
            if not self._welcome(writer):
                return
            while line := await asyncio.wait_for(reader.readline(), _IDLE_S):
                writer.write(await self._answer(line) + b"\n")
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

    def _welcome(self, writer: asyncio.StreamWriter) -> bool:
        """Let in who is of this user, or root, as long as there is room."""
        peer = writer.get_extra_info("socket")
        raw = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        pid, uid, _ = _CREDENTIALS.unpack(raw)
        if uid not in (0, os.geteuid()):
            self._log.warning("management_refused", pid=pid, uid=uid)
            return False
        if len(self._open) > CONNECTIONS_MAX:
            writer.write(_failed("busy", "too many connections; try again") + b"\n")
            return False
        return True

    async def _answer(self, line: bytes) -> bytes:
        try:
            word = self._decoder.decode(line)
        except (ValueError, RecursionError) as why:  # those of msgspec are ValueErrors
            return _failed("malformed", str(why)[:200])
        try:
            found = await self._do(word)
        except Exception as why:  # a fault of ours must not end in silence
            self._log.error("management_failed", why=type(why).__name__)
            return _failed("crashed", "internal error; see the log")
        if isinstance(found, Failed):
            return _failed(found.code, found.why)
        return msgspec.json.encode({"ok": found})

    async def _do(self, word: words.Word) -> Any:
        match word:
            case words.ListPeers():
                return await self._ask("peer_manager", peers.ListPeers())
            case words.ListLinks():
                return {"links": await self._links()}
            case words.ShowRoute():
                return await self._ask("router", routes.FindRoute(start=word.start, end=word.end))
            case words.ListSessions():
                return await self._ask("sessions", sessions.ListSessions())
            case words.RemoveSession():
                body = sessions.RemoveSession(destination=word.destination)
                return await self._ask("sessions", body, _SESSION_S)
            case words.AddSession():
                fields = msgspec.structs.asdict(word)
                return await self._ask("sessions", sessions.AddSession(**fields), _SESSION_S)

    async def _ask(self, name: str, body: Message, timeout: float = _ASK_S) -> Message:
        answer = await asyncio.wrap_future(self._node.ask(name, body, timeout))
        if isinstance(answer, Failed) and answer.code == "undeliverable":
            return Failed(code="undeliverable", why=f"there is no {name} at this node")
        return answer

    async def _links(self) -> list[dict[str, Any]]:
        """Tell of each store what fills it and how it is, by peer."""
        names = [name.partition("/") for name in self._node.names()]
        fillers = {peer: _FILLERS[kind] for kind, _, peer in names if kind in _FILLERS}
        stores = sorted({p for kind, _, p in names if kind == "key_store"} - {self._node.node})
        asked = [self._ask(f"key_store/{peer}", Health()) for peer in stores]
        answers = zip(stores, await asyncio.gather(*asked), strict=True)
        return [_link(peer, fillers.get(peer, "none"), answer) for peer, answer in answers]

    def _run(self, call: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(call, self._loop).result(_STOP_S)


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


def _code(answer: Message) -> str:
    return answer.code if isinstance(answer, Failed) else "crashed"


def _failed(code: str, why: str) -> bytes:
    return msgspec.json.encode({"failed": {"code": code, "why": why}})


def _clear(path: Path) -> None:
    """Remove the socket of an earlier life; `OSError` if somebody listens there, or it is none."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise OSError(f"manage.socket: {path} is no socket; take it away, or choose another")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, words.short_name(path) as name:
        probe.settimeout(1.0)
        try:
            probe.connect(name)
        except (ConnectionRefusedError, FileNotFoundError):
            path.unlink(missing_ok=True)
            return
    raise OSError(f"manage.socket: another process listens at {path}")
