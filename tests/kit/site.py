"""A front end on one loop, without actors, threads, TLS or network: for fast tests."""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import structlog

from actors.protocol import keys, peers
from etsi.gs014.api import Gs014
from etsi.gs014.options import Gs014Options
from etsi.gs014.places import Places
from etsi.http.call import Caller
from etsi.http.limits import LIMITS, Limits
from etsi.http.pipeline import RequestPipeline
from etsi.http.server import Serving
from etsi.http.servers import aiohttp_connection, thin_connection, thin_server
from protokms.node.meter import MemoryMeter
from transport.endpoint import Endpoint
from transport.envelope import Address
from transport.message import Message, Secret

GRANT = bytes(range(1, 13))
ID_0, ID_1 = keys.key_id(GRANT, 0), keys.key_id(GRANT, 1)

HOMES = peers.Homes(
    saes=(
        ("sae-1", "kms-1"),
        ("sae-1b", "kms-1"),
        ("sae-2", "kms-2"),
        ("sae-2b", "kms-2"),
        ("sae-3", "kms-3"),
        ("a/b", "kms-2"),
        ("größe", "kms-2"),
    ),
    ids=(("kms-1", "KME one"), ("kms-2", "KME two"), ("kms-3", "KME three")),
)


def options(**changes: Any) -> Gs014Options:
    """Make options that name no files."""
    files = dict.fromkeys(("certificate", "key", "client_ca"), Path("none"))
    return Gs014Options(**({"bind": Endpoint("127.0.0.1", 0)} | files | changes))


def octets(length: int, first: int = 0) -> bytes:
    """Make octets that no two keys share."""
    return bytes((first + index) % 256 for index in range(length))


class Desk:
    """Stands for all actors: notes questions, gives the answers it was told to give."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Message]] = []
        self.told: list[tuple[str, Message]] = []
        self.answer: Callable[[Message], Message] = answer
        self.hold: asyncio.Event | None = None

    def ask(
        self, to: Address, body: Message, timeout: float, trace: str = ""
    ) -> Awaitable[Message]:
        self.asked.append((str(to), body))
        return self._answer(body)

    def tell(self, to: Address, body: Message, trace: str = "") -> None:
        self.told.append((str(to), body))

    async def _answer(self, body: Message) -> Message:
        if self.hold:
            await self.hold.wait()
        return self.answer(body)


def answer(body: Message) -> Message:
    """Answer as a key store that has everything."""
    if isinstance(body, keys.GetKey | keys.GetMulticast):
        return keys.Keys(
            grant=GRANT, size=body.size, octets=Secret(octets(body.number * body.size))
        )
    if isinstance(body, keys.GetKeyWithIds):
        found = tuple(Secret(octets(32, name.index)) for name in body.names)
        return keys.KeysWithIds(octets=found, receipt=77)
    assert isinstance(body, keys.GetStatus)
    return keys.Stock(stored=25, capacity=1000)


class Answer(NamedTuple):
    """A response, with its body as JSON."""

    status: int
    headers: dict[str, str]
    json: Any


Connections = aiohttp_connection.Connections | thin_connection.Connections


class Site:
    """Serves connections over socket pairs; each names its caller by `sae`.

    `speak` is what a test may replace by the connections of another server.
    """

    speak: Callable[[Serving, Limits], Connections] = thin_server.speak

    def __init__(
        self,
        settings: Gs014Options,
        *,
        allow_loopback_pairs: bool = False,
        limits: Limits = LIMITS,
    ) -> None:
        self.desk, self.meter, self.settings = Desk(), MemoryMeter(), settings
        self.api = Gs014(self.desk, "kms-1", settings, allow_loopback_pairs)
        self.api.places = Places("kms-1", dict(HOMES.saes), dict(HOMES.ids))
        self.log, self.limits = structlog.get_logger(), limits
        self.pipeline = RequestPipeline(self.api, settings, self.log, self.meter, "life")
        self.caller = Caller("sae-1")
        self.runner = asyncio.Runner()
        self.connections: Connections = self.run(self._open())

    def run(self, work: Any) -> Any:
        """Run a coroutine on the loop of the site; nothing here takes long."""
        return self.runner.run(asyncio.wait_for(work, 10))

    def close(self) -> None:
        """Close what is open."""
        self.run(self.connections.shutdown(1))
        self.runner.close()

    async def connect(
        self, sae: str | None = None
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection of this SAE."""
        near, far = socket.socketpair()
        if sae is not None:
            self.caller = Caller(sae)
        await asyncio.get_running_loop().connect_accepted_socket(self.connections, far)
        return await asyncio.open_connection(sock=near)

    def send(self, request: bytes, sae: str | None = None) -> Answer:
        """Send octets on a connection of their own; return the answer."""

        async def exchange() -> Answer:
            reader, writer = await self.connect(sae)
            writer.write(request)
            head = request.startswith(b"HEAD")
            found = await read(reader, head=head)
            writer.close()
            await writer.wait_closed()
            return found

        found = self.run(exchange())
        assert isinstance(found, Answer)
        return found

    def get(self, path: str, sae: str | None = None) -> Answer:
        """GET, the path written as it is."""
        return self.send(request("GET", path), sae)

    def post(self, path: str, body: Any, sae: str | None = None) -> Answer:
        """POST a body, JSON unless it is octets already."""
        return self.send(request("POST", path, body), sae)

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
        return type(self).speak(serving, self.limits)


def request(method: str, path: str, body: Any = None, *head: str) -> bytes:
    """Write a request."""
    content = b"" if body is None else body if type(body) is bytes else json.dumps(body).encode()
    lines = [f"{method} {path} HTTP/1.1", "Host: kms", *head]
    if body is not None:
        lines.append(f"Content-Length: {len(content)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + content


async def read(reader: asyncio.StreamReader, *, head: bool = False) -> Answer:
    """Read one response."""
    lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    fields = dict(line.split(": ", 1) for line in lines[1:] if line)
    length = 0 if head else int(fields.get("Content-Length", "0"))
    content = await reader.readexactly(length)
    return Answer(int(lines[0].split()[1]), fields, json.loads(content) if content else None)
