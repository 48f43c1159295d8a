"""One request on its way through a front end, and what its log line will say of it."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import unquote_to_bytes

from etsi.http.reply import Problem, Reply


@dataclass(frozen=True, slots=True)
class Caller:
    """Whom a client certificate names; `trouble` says why it names nobody.

    `fingerprint` is the SHA-256 of the certificate in lower-case hex, `issuer` its issuer's name
    in DER. `above` are issuer and serial of the CAs that vouch for it, nearest first, the last one
    being trusted. `not_after` is when the first of all these expires, in seconds since 1970.
    """

    sae: str
    fingerprint: str = ""
    issuer: bytes = b""
    serial: int = 0
    not_after: float = float("inf")
    trouble: str = ""
    above: tuple[tuple[bytes, int], ...] = ()


Identify = Callable[[asyncio.BaseTransport], Caller]
"""Tells who is at the other end of a connection."""


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


class Desk(Protocol):
    """Takes the requests of a server, and says no in the words of its interface."""

    async def handle(self, exchange: Exchange) -> None:
        """Answer one request, whatever it is."""
        ...

    def refuse(self, problem: Problem) -> Reply:
        """Make an answer of what is wrong."""
        ...

    def refused(self, reason: str, caller: Caller) -> None:
        """Take note of what never became a request."""
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
