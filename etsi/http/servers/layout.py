"""Replies laid out as the octets of an HTTP response."""

import time
from email.utils import formatdate
from http import HTTPStatus

from etsi.http.reply import HEADERS, JSON, LAST, Reply

_FIRST = {
    code: f"HTTP/1.1 {code} {HTTPStatus(code).phrase}\r\n".encode() for code in (200, 400, 503)
}
_BODILESS = frozenset((204, 304))
_BREAKS = frozenset("\r\n\0")
_METHODS = frozenset(("GET", "POST"))


class Layout:
    """Lays out responses: the usual ones at little cost; `keep`: the connection stays.

    `http11` is False for a client of HTTP/1.0.
    """

    def __init__(self) -> None:
        self._second, self._fields = 0, b""

    def usual(self, reply: Reply, method: str, *, keep: bool, http11: bool) -> bytes | None:
        """Return head and body; None: it is not usual.

        A client that asks again and again while there are no keys gets 503 at little cost.
        """
        first = _FIRST.get(reply.status)
        own = reply.code in LAST or reply.allow or reply.fields or reply.stream
        usual = reply.media is JSON and method in _METHODS and not own
        if first is None or not usual:
            return None
        second = int(time.time())
        if second != self._second:
            fields = {**HEADERS, "Date": formatdate(second, usegmt=True)}
            self._second, self._fields = second, _lines(fields)
        more = b"Retry-After: %d\r\n" % reply.retry_after if reply.retry_after else b""
        if not keep:
            more += b"Connection: close\r\n"
        elif not http11:
            more += b"Connection: keep-alive\r\n"
        body = reply.body
        head = first, self._fields, more, len(body)
        return b"%b%b%bContent-Length: %d\r\n\r\n%b" % (*head, body)

    def any(self, reply: Reply, method: str, *, keep: bool, http11: bool) -> bytes:
        """Return head and body of any response; of a stream, its head alone."""
        octets = self.usual(reply, method, keep=keep, http11=http11)
        if octets is not None:
            return octets
        fields = fields_of(reply) | {"Date": formatdate(time.time(), usegmt=True)}
        if reply.stream:
            keep = False
            if http11:
                fields["Transfer-Encoding"] = "chunked"
        elif reply.status not in _BODILESS:
            fields["Content-Length"] = str(len(reply.body))
        if not keep:
            fields["Connection"] = "close"
        elif not http11:
            fields["Connection"] = "keep-alive"
        first = f"HTTP/1.1 {reply.status} {HTTPStatus(reply.status).phrase}\r\n".encode()
        bare = method == "HEAD" or reply.status in _BODILESS
        return b"%b%b\r\n%b" % (first, _lines(fields), b"" if bare else reply.body)


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


def _lines(fields: dict[str, str]) -> bytes:
    for value in fields.values():
        if not _BREAKS.isdisjoint(value):
            raise ValueError("a header field does not hold the end of a line")
    return "".join(f"{name}: {value}\r\n" for name, value in fields.items()).encode()
