"""Raw octets over TLS at the door for SAEs, many at a time; and what came back."""

import asyncio
import json
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tests.doors.town import THIEF, VICTIM, Town

HUNG_S = 30.0
"""Seconds after which an attacked node that neither answers nor cuts has hung."""

_AT_A_TIME = 60
"""Less than an SAE may have connections, and than handshakes are done at a time."""

_HEAD_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Heard:
    """What a node answered: statuses in order, bodies, and whether it closed the connection."""

    statuses: tuple[int, ...] = ()
    bodies: tuple[bytes, ...] = ()
    closed: bool = False

    @property
    def outcome(self) -> str:
        """Return it in a word, for counting."""
        return " ".join(map(str, self.statuses)) or "cut"

    @property
    def clear(self) -> bool:
        """Whether each refusal is JSON with a message, as 014 says, and tells no key."""
        rows = zip(self.statuses, self.bodies, strict=True)
        return all(status < 300 or _is_problem(body) for status, body in rows)


class Attacker:
    """Opens connections with the certificate of an SAE, and sends what it likes."""

    def __init__(self, town: Town, sae: str = THIEF, node: str = VICTIM) -> None:
        self.host, self.port = town.https_of(node)
        row = next(row for row in town.made.saes if row.id == sae)
        self.context = ssl.create_default_context(cafile=town.folder / town.made.ca)
        self.context.load_cert_chain(town.folder / row.cert, town.folder / row.key)

    def volley(self, inputs: Sequence[bytes], *, to_the_end: bool = False) -> list[Heard]:
        """Send each on a connection of its own; `to_the_end`: read until the node closes."""
        return asyncio.run(self._volley(inputs, to_the_end))

    async def _volley(self, inputs: Sequence[bytes], to_the_end: bool) -> list[Heard]:
        room = asyncio.Semaphore(_AT_A_TIME)

        async def one(octets: bytes) -> Heard:
            async with room, asyncio.timeout(HUNG_S):
                return await self.send(octets, to_the_end=to_the_end)

        return await asyncio.gather(*map(one, inputs))

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Open a connection; TLS is established."""
        return await asyncio.open_connection(self.host, self.port, ssl=self.context)

    async def send(self, octets: bytes, *, to_the_end: bool = False) -> Heard:
        """Send octets; read one response, or all there is."""
        reader, writer = await self.connect()
        try:
            writer.write(octets)
            return await hear(reader, to_the_end=to_the_end)
        finally:
            writer.transport.abort()


async def hear(reader: asyncio.StreamReader, *, to_the_end: bool = False) -> Heard:
    """Read one response, or all until the node closes."""
    statuses: list[int] = []
    bodies: list[bytes] = []
    while to_the_end or not statuses:
        try:
            status, body = await _response(reader)
        except (asyncio.IncompleteReadError, OSError):
            return Heard(tuple(statuses), tuple(bodies), closed=True)
        if status >= 200:
            statuses.append(status)
            bodies.append(body)
    return Heard(tuple(statuses), tuple(bodies))


async def _response(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readuntil(_HEAD_END)).decode("latin-1")
    version, status = head.split(" ", 2)[:2]
    assert version.startswith("HTTP/"), head
    lines = (line.partition(": ") for line in head.split("\r\n")[1:])
    fields = {name.lower(): value for name, _, value in lines}
    body = await reader.readexactly(int(fields.get("content-length", "0")))
    return int(status), body


def _is_problem(body: bytes) -> bool:
    try:
        found: Any = json.loads(body) if body else {"message": ""}  # a HEAD has no body
        return isinstance(found["message"], str) and "Traceback" not in found["message"]
    except (ValueError, TypeError, KeyError):
        return False


def request(method: str = "GET", path: str = "", *fields: str, body: bytes = b"") -> bytes:
    """Lay a request out; a Content-Length is not added."""
    head = "\r\n".join((f"{method} {path or STATUS} HTTP/1.1", "Host: kms", *fields))
    return head.encode("latin-1") + _HEAD_END + body


STATUS = "/api/v1/keys/sae-2/status"
ENC = "/api/v1/keys/sae-2/enc_keys"
DEC = "/api/v1/keys/sae-2/dec_keys"
