"""One request on its way through a front end, and what its log line will say of it."""

import asyncio
from urllib.parse import unquote_to_bytes

from aiohttp import HttpVersion10, HttpVersion11, web

from etsi.identity import Caller
from etsi.reply import Problem

_VERSIONS = (HttpVersion11, HttpVersion10)


class Call:
    """One request: who, what, and notes for the log.

    `path` holds the segments of the path, still percent-encoded, without the leading slash;
    `patience` is how many seconds a body may take to come.
    """

    __slots__ = (
        "_patience",
        "caller",
        "keys",
        "method",
        "path",
        "peer",
        "query",
        "request",
        "route",
        "trace",
    )

    def __init__(
        self, request: web.BaseRequest, caller: Caller, trace: str, patience: float
    ) -> None:
        self.request, self.caller, self.trace = request, caller, trace
        self.method, self._patience = request.method, patience
        target = request.raw_path
        if not target.startswith("/"):  # absolute form, as sent to proxies
            target = request.rel_url.raw_path_qs
        path, _, self.query = target.partition("?")
        self.path = path[1:].split("/")
        self.route, self.peer, self.keys = "unknown", "", 0

    def check_form(self) -> None:
        """Refuse what HTTP's parser lets through and others may read in another way.

        Those are versions that are not ours, and transfer codings that nobody here decodes.
        """
        request = self.request
        coding = request.headers.get("Transfer-Encoding", "chunked")
        if request.version not in _VERSIONS or coding.lower() != "chunked":
            raise Problem(400, "bad_http", "write HTTP/1.1, with no coding but chunked")

    async def body(self) -> bytes:
        """Read the body; `Problem` 408, 413 or 415 if it is slow, too large or compressed."""
        request = self.request
        if "Content-Encoding" in request.headers:
            raise Problem(415, "encoding", "a compressed body is not accepted")
        limit = request.client_max_size
        if (request.content_length or 0) > limit:
            raise too_large(limit)
        try:
            if request.content.is_eof():  # in the usual case it came with the head
                octets = request.content.read_nowait()
                if len(octets) > limit:
                    raise too_large(limit)
                return octets
            async with asyncio.timeout(self._patience):
                await self._invite()
                return await request.read()
        except web.HTTPRequestEntityTooLarge:
            raise too_large(limit) from None
        except TimeoutError:
            raise Problem(408, "slow", "the body did not come in time") from None
        except (web.RequestPayloadError, ConnectionError):
            raise Problem(400, "broken_body", "the body is incomplete or malformed") from None

    async def _invite(self) -> None:
        if self.request.headers.get("Expect", "").lower() == "100-continue":
            writer = self.request.writer
            await writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            writer.output_size = 0


def too_large(limit: int) -> Problem:
    """Return the problem of a body of more than `limit` octets."""
    return Problem(413, "too_large", f"the body is larger than {limit} octets")


def segment(text: str) -> str:
    """Percent-decode one segment of a path, in which `%2F` is no separator; or `Problem` 400."""
    if "%" not in text:
        return text
    try:
        return unquote_to_bytes(text).decode()
    except ValueError:
        raise Problem(400, "malformed", "the path is not UTF-8") from None
