"""Replies as HTTP responses: aiohttp's own, and a cheaper way for the ordinary case."""

import time
from email.utils import formatdate
from http import HTTPStatus
from typing import cast

from aiohttp import HttpVersion11, web

from etsi.http.reply import HEADERS, JSON, LAST, Reply

_FIRST = {
    code: f"HTTP/1.1 {code} {HTTPStatus(code).phrase}\r\n".encode() for code in (200, 400, 503)
}
_METHODS = frozenset(("GET", "POST"))


class _Sent:
    """What a handler returns when it has written the response itself."""

    def __init__(self, *, keep_alive: bool) -> None:
        self.keep_alive = keep_alive

    async def prepare(self, _: web.BaseRequest) -> None:
        """Nothing is left to prepare."""

    async def write_eof(self) -> None:
        """Nothing is left to write."""


SENT = cast(web.StreamResponse, _Sent(keep_alive=True))
"""Tells aiohttp that this request has been answered and the next may come."""

SENT_LAST = cast(web.StreamResponse, _Sent(keep_alive=False))
"""Tells aiohttp that this request has been answered and was the last one."""


class PlainResponse:
    """Lays out the usual responses as octets: a third of the work of aiohttp's `Response`."""

    def __init__(self) -> None:
        self._second, self._fields = 0, b""

    def octets(self, reply: Reply, request: web.BaseRequest) -> bytes | None:
        """Return head and body; None: it is not usual, and aiohttp's own is to be used.

        A client that asks again and again while there are no keys gets 503 at little cost.
        """
        first = _FIRST.get(reply.status)
        own = reply.code in LAST or reply.allow or reply.fields or reply.stream
        usual = reply.media is JSON and request.method in _METHODS and not own
        if first is None or not usual:
            return None
        second = int(time.time())
        if second != self._second:
            fields = {**HEADERS, "Date": formatdate(second, usegmt=True)}
            lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
            self._second, self._fields = second, lines.encode()
        more = b"Retry-After: %d\r\n" % reply.retry_after if reply.retry_after else b""
        if not request.keep_alive:
            more += b"Connection: close\r\n"
        elif request.version != HttpVersion11:
            more += b"Connection: keep-alive\r\n"
        body = reply.body
        head = first, self._fields, more, len(body)
        return b"%b%b%bContent-Length: %d\r\n\r\n%b" % (*head, body)


def fields_of(reply: Reply) -> dict[str, str]:
    """Return the header fields of a response, but for those of HTTP itself."""
    fields = {**HEADERS, "Content-Type": reply.media, **dict(reply.fields)}
    if not reply.media:
        del fields["Content-Type"]
    if reply.retry_after:
        fields["Retry-After"] = str(reply.retry_after)
    if reply.allow:
        fields["Allow"] = reply.allow
    return fields


def response(reply: Reply) -> web.Response:
    """Make a response of any kind but a stream."""
    made = web.Response(status=reply.status, body=reply.body, headers=fields_of(reply))
    if reply.code in LAST:
        made.force_close()
    return made
