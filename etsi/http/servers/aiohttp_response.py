"""Replies as responses of aiohttp, and what stands for those that are written without it."""

from typing import cast

from aiohttp import web

from etsi.http.reply import LAST, Reply
from etsi.http.servers.layout import fields_of


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


def response(reply: Reply) -> web.Response:
    """Make a response of any kind but a stream."""
    made = web.Response(status=reply.status, body=reply.body, headers=fields_of(reply))
    if reply.code in LAST:
        made.force_close()
    return made
