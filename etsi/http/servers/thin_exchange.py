"""One request as llhttp has read it, and the way back to its client."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

from etsi.http.call import too_large
from etsi.http.reply import LAST, Problem, Reply
from etsi.http.servers.outlet import LOOK_AT_STREAM_S, SMALL

if TYPE_CHECKING:
    from etsi.http.servers.thin_connection import Connection

_INVITATION = b"HTTP/1.1 100 Continue\r\n\r\n"
_VERSIONS = ("1.1", "1.0")


class ThinExchange:
    """An `Exchange`, see there; its connection tells it of its body, and when that is complete.

    `fields` are those of the head, names in small letters, several of one name with commas
    between. `doubt` says that others could read its head in another way. `keep` is whether its
    connection stays after it, as far as is known. A body that is `broken` will not be `complete`.
    """

    __slots__ = ("_connection", "_octets", "_parts", "_waiting", "_wanted", "admitted", "broken",
                 "caller", "complete", "doubt", "fields", "keep", "method", "target",
                 "version")  # fmt: skip

    def __init__(
        self,
        connection: "Connection",
        method: str,
        target: bytes,
        version: str,
        fields: dict[bytes, bytes],
    ) -> None:
        self._connection, self.fields = connection, fields
        self.caller, self.admitted = connection.caller, connection.admitted
        self.method, self.version = method, version
        self.target = target.decode("utf-8", "surrogateescape")
        self.keep, self.complete, self.doubt = True, False, False
        self._parts: list[bytes] = []
        self._octets, self.broken, self._wanted = 0, False, True
        self._waiting: asyncio.Future[None] | None = None

    @property
    def chunked(self) -> bool:
        """Whether its body comes in chunks."""
        return b"transfer-encoding" in self.fields

    # Called by the connection

    def take(self, octets: bytes) -> None:
        """Take a piece of the body; what is too much, or comes too late, is dropped."""
        self._octets += len(octets)
        if self._octets > self._connection.server.max_body_octets:
            self._parts.clear()
            self._wake()
        elif self._wanted:
            self._parts.append(octets)

    def end(self) -> None:
        """The body is complete."""
        self.complete = True
        self._wake()

    def spoil(self) -> None:
        """The rest of the body will not come, or is malformed."""
        self.broken, self.keep = True, False
        self._wake()

    # Called by the pipeline

    def check_form(self) -> None:
        """Refuse what others on the way could read as another request."""
        fields = self.fields
        coding = fields.get(b"transfer-encoding")
        plain = coding is None or (coding.lower() == b"chunked" and self.version == _VERSIONS[0])
        if self.doubt or not plain or self.version not in _VERSIONS:
            raise Problem(400, "bad_http", "write HTTP/1.1, with no coding but chunked")

    def header(self, name: str) -> str:
        """Return a field of the head, several of one name with commas between; empty: none."""
        found = self.fields.get(name.lower().encode())
        return found.decode("utf-8", "surrogateescape") if found else ""

    async def body(self) -> bytes:
        """Read the body; `Problem` 400, 408, 413 or 415 if that cannot be done."""
        server, limit = self._connection.server, self._connection.server.max_body_octets
        if self.fields.get(b"content-encoding", b"identity").lower() != b"identity":
            raise Problem(415, "encoding", "a compressed body is not accepted")
        if int(self.fields.get(b"content-length", b"0")) > limit:
            raise too_large(limit)
        if not (self.complete or self.broken or self._octets > limit):
            self._invite()
            self._waiting = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(server.limits.body_timeout_s):
                    await self._waiting
            except TimeoutError:
                raise Problem(408, "slow", "the body did not come in time") from None
        if self._octets > limit:
            raise too_large(limit)
        if self.broken:
            raise Problem(400, "broken_body", "the body is incomplete or malformed")
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)

    async def send(self, reply: Reply) -> None:
        """Write the response; return once the kernel has taken all of it."""
        connection = self._connection
        outlet, server = connection.outlet, connection.server
        self._wanted, http11 = False, self.version != "1.0"
        keep = self.keep and not connection.last and reply.code not in LAST and not reply.stream
        self.keep = keep
        try:
            outlet.send(server.layout.any(reply, self.method, keep=keep, http11=http11))
            if reply.stream:
                async with contextlib.aclosing(reply.stream) as pieces:
                    if self.method != "HEAD":
                        await self._stream(pieces, chunked=http11)
            elif len(reply.body) > SMALL or not outlet.taken():
                async with asyncio.timeout(server.limits.write_timeout_s):
                    await outlet.flushed()
        except (ConnectionError, TimeoutError):
            outlet.abort()
            raise

    async def _stream(self, pieces: AsyncGenerator[bytes, None], *, chunked: bool) -> None:
        outlet, patience = self._connection.outlet, self._connection.server.limits.stream_timeout_s
        self._connection.streams = True
        async for piece in pieces:
            if not piece:
                continue  # an empty chunk is the end
            outlet.send(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            async with asyncio.timeout(patience):
                await outlet.flushed(LOOK_AT_STREAM_S)
        if chunked:
            outlet.send(b"0\r\n\r\n")

    def _invite(self) -> None:
        if self.version != "1.0" and self.fields.get(b"expect", b"").lower() == b"100-continue":
            with contextlib.suppress(ConnectionError):
                self._connection.outlet.send(_INVITATION)

    def _wake(self) -> None:
        if self._waiting and not self._waiting.done():
            self._waiting.set_result(None)
