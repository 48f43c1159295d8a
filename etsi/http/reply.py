"""What goes back to a caller: a status, a JSON body, and what to do once it was written."""

import json
from collections.abc import AsyncGenerator, Callable
from typing import NamedTuple

JSON = "application/json"
"""The type of a body, unless a reply says another one."""

HEADERS = {
    "Content-Type": JSON,
    "Cache-Control": "no-store",
    "Server": "protokms",
}
"""Header fields of every response."""

LAST = frozenset(
    (
        "bad_http",
        "not_authenticated",
        "draining",
        "too_many_connections",
        "too_large",
        "encoding",
        "slow",
    )
)
"""Codes after which a server closes the connection: its caller is unwelcome, or its body unread."""


class Reply(NamedTuple):
    """One response; `settle(written)` hears whether the kernel took all of it.

    `media` is the type of the body, `fields` are header fields beside those of every response. With
    a `stream` the body is what that brings, piece by piece, until it ends.
    """

    status: int
    body: bytes
    code: str = ""
    retry_after: int = 0
    allow: str = ""
    settle: Callable[[bool], None] | None = None
    media: str = JSON
    fields: tuple[tuple[str, str], ...] = ()
    stream: AsyncGenerator[bytes, None] | None = None


class Problem(Exception):
    """The request is answered with an error; `code` is for programs, the text for people."""

    def __init__(
        self,
        status: int,
        code: str,
        text: str,
        *details: dict[str, str],
        retry_after: int = 0,
        allow: str = "",
    ) -> None:
        super().__init__(text)
        self.status, self.code, self.details = status, code, details
        self.retry_after, self.allow = retry_after, allow

    def reply(self) -> Reply:
        """Return it in the error format of ETSI GS QKD 014, 6.5."""
        body: dict[str, object] = {"message": str(self)}
        body["details"] = [{"code": self.code}, *self.details]
        # ASCII on purpose: texts repeat what a caller sent, which may hold lone surrogates.
        octets = json.dumps(body, ensure_ascii=True, separators=(",", ":")).encode()
        return Reply(self.status, octets, self.code, self.retry_after, self.allow)


def quoted(text: str) -> str:
    """Return what a caller sent, short and harmless enough for an error text or a log."""
    longest = 80
    return ascii(text if len(text) <= longest else text[:longest] + "...")
