"""The agent of controllers on one loop, without actors, threads, TLS or network: for fast tests."""

import asyncio
import json
import socket
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, NamedTuple

import structlog

from etsi.gs015.api import Gs015
from etsi.gs015.options import ControllerRow, Gs015Options
from etsi.gs015.restconf.problems import MEDIA, reply_to
from etsi.http.call import Caller
from etsi.http.limits import LIMITS
from etsi.http.pipeline import RequestPipeline
from etsi.http.server import Serving
from etsi.http.servers.aiohttp_connection import Connections
from protokms.node.meter import MemoryMeter
from tests.kit.wanted import Wanted
from transport.endpoint import Endpoint
from transport.envelope import Address
from transport.message import Message

DATA = "/restconf/data"
NODE = f"{DATA}/etsi-qkd-sdn-node:qkd_node"
LINKS, APPS = f"{NODE}/qkd_links", f"{NODE}/qkd_applications"
INTERFACES = f"{NODE}/qkd_interfaces"


def options(**changes: Any) -> Gs015Options:
    """Make options that name no files."""
    files = dict.fromkeys(("certificate", "key", "client_ca"), Path("none"))
    rows = [
        ControllerRow(id="controller-1", write=True),
        ControllerRow(id="controller-2", write=True),
        ControllerRow(id="reader"),
        ControllerRow(id="teraflow", write=True, dialect="teraflow"),
    ]
    values: dict[str, Any] = {"bind": Endpoint("127.0.0.1", 0), "controllers": rows}
    return Gs015Options(**(values | files | changes))


class Answer(NamedTuple):
    """A response; `json` is None when the body is none."""

    status: int
    headers: dict[str, str]
    body: bytes
    json: Any

    @property
    def tag(self) -> str:
        """The error-tag."""
        return str(self.error["error-tag"])

    @property
    def error(self) -> Any:
        """The one error."""
        (error,) = self.json["ietf-restconf:errors"]["error"]
        return error


class Agent:
    """Serves connections over socket pairs, on rows that a test has laid out."""

    def __init__(self, settings: Gs015Options | None = None) -> None:
        self.wanted, self.meter = Wanted(), MemoryMeter()
        self.settings = settings or options()
        self.runner = asyncio.Runner()
        self.log = structlog.get_logger()
        self.told: list[Message] = []
        self.unwelcome = ""
        self.api = Gs015(
            self,
            "kms-1",
            self.settings,
            objection=lambda _: self.unwelcome,
            bound=lambda: "127.0.0.1:18002",
        )
        self.pipeline = RequestPipeline(
            self.api, self.settings, self.log, self.meter, "life", refuse=reply_to
        )
        self.caller = Caller("controller-1")
        self.connections: Connections = self.run(self._open())

    def ask(
        self, to: Address, body: Message, timeout: float, trace: str = ""
    ) -> Awaitable[Message]:
        """Answer as the one actor that there is."""
        assert str(to) == "intent@kms-1"
        return self._answer(body)

    def tell(self, to: Address, body: Message, trace: str = "") -> None:
        """Take note."""
        self.told.append(body)

    async def _answer(self, body: Message) -> Message:
        return self.wanted.answer(body)

    def run(self, work: Any) -> Any:
        """Run a coroutine on the loop; nothing here takes long."""
        return self.runner.run(asyncio.wait_for(work, 10))

    def close(self) -> None:
        """Close what is open."""
        self.api.streams.close()
        self.run(self.connections.shutdown(1))
        self.runner.close()

    async def connect(self, who: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection of this controller."""
        near, far = socket.socketpair()
        self.caller = Caller(who)
        await asyncio.get_running_loop().connect_accepted_socket(self.connections, far)
        return await asyncio.open_connection(sock=near)

    def send(self, octets: bytes, who: str = "controller-1") -> Answer:
        """Send octets on a connection of their own; return the answer."""

        async def exchange() -> Answer:
            reader, writer = await self.connect(who)
            writer.write(octets)
            found = await read(reader, head=octets.startswith(b"HEAD"))
            writer.close()
            await writer.wait_closed()
            return found

        found = self.run(exchange())
        assert isinstance(found, Answer)
        assert found.status < 500 or found.status == 503
        assert b"internal error" not in found.body
        return found

    def do(
        self,
        method: str,
        path: str,
        body: Any = None,
        *head: str,
        who: str = "controller-1",
        media: str = MEDIA,
    ) -> Answer:
        """Send a request; a body is JSON unless it is octets already."""
        fields = list(head)
        if body is not None and media:
            fields.append(f"Content-Type: {media}")
        return self.send(request(method, path, body, *fields), who)

    async def _open(self) -> Connections:
        serving = Serving(
            options=self.settings,
            pipeline=self.pipeline,
            identify=lambda _: self.caller,
            loop=asyncio.get_running_loop(),
            log=self.log,
            meter=self.meter,
            died=self.log.error,
        )
        return Connections(serving, LIMITS)


def request(method: str, path: str, body: Any = None, *head: str) -> bytes:
    """Write a request."""
    content = b"" if body is None else body if type(body) is bytes else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: kms.example:18002", *head]
    if body is not None:
        lines.append(f"Content-Length: {len(content)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


async def read(reader: asyncio.StreamReader, *, head: bool = False) -> Answer:
    """Read one response."""
    lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    fields = dict(line.split(": ", 1) for line in lines[1:] if line)
    status = int(lines[0].split()[1])
    length = 0 if head or status in (204, 304) else int(fields.get("Content-Length", "0"))
    content = await reader.readexactly(length)
    found = json.loads(content) if "json" in fields.get("Content-Type", "") and content else None
    return Answer(status, fields, content, found)
