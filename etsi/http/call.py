"""One request on its way through a front end, and what its log line will say of it."""

from typing import Protocol
from urllib.parse import unquote_to_bytes

from etsi.http.identity import Caller
from etsi.http.reply import Problem, Reply


class Exchange(Protocol):
    """One request in the hands of an HTTP server: what has come, and the way back.

    `target` is path and query as they were sent, in origin form. `admitted` is False when the
    connection is one too many, of this SAE or in all.
    """

    caller: Caller
    admitted: bool
    method: str
    target: str

    def check_form(self) -> None:
        """Refuse, with a `Problem`, what others on the way could read as another request."""
        ...

    def header(self, name: str) -> str:
        """Return a field of the head, several of one name with commas between; empty: none."""
        ...

    async def body(self) -> bytes:
        """Read the body; `Problem` 400, 408, 413 or 415 if that cannot be done."""
        ...

    async def send(self, reply: Reply) -> None:
        """Write the response; return once the kernel has taken all of it.

        `ConnectionError` or `TimeoutError` if it did not: then the connection is gone. One with a
        `stream` is written piece by piece, and ends when the stream does.
        """
        ...


class Call:
    """One request: who, what, and notes for the log.

    `path` holds the segments of the path, still percent-encoded, without the leading slash.
    """

    __slots__ = ("caller", "exchange", "keys", "method", "path", "peer", "query", "route", "trace")

    def __init__(self, exchange: Exchange, trace: str) -> None:
        self.exchange, self.caller, self.trace = exchange, exchange.caller, trace
        self.method = exchange.method
        path, _, self.query = exchange.target.partition("?")
        self.path = path[1:].split("/")
        self.route, self.peer, self.keys = "unknown", "", 0

    def header(self, name: str) -> str:
        """Return a field of the head, several of one name with commas between; empty: none."""
        return self.exchange.header(name)

    async def body(self) -> bytes:
        """Read the body; `Problem` 400, 408, 413 or 415 if that cannot be done."""
        return await self.exchange.body()


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
