"""The yardstick of `protokms bench`: the bare server, on which nothing of ours can be faster.

The same aiohttp and uvloop, mutual TLS, one constant key as JSON, and the same log line a request.
Run as `python -m protokms.bench.yardstick CERTIFICATE KEY CA PORT`.
"""

import asyncio
import ssl
import sys

import structlog
import uvloop
from aiohttp import web

from etsi.http.request_line import RequestLine, say_with
from protokms.node.logs import configure

BODY = (
    b'{"keys":[{"key_ID":"8f3b1c52-7d0e-4a63-9c1b-2f5e6d7a8b90",'
    b'"key":"mDzRqHcJ0V7m3nq4wYtE1uPz9kXo5sBf2LgAi6CjT8Q="}]}'
)

_BACKLOG = 1_024  # who has to dial again after a second would make it look slow


async def serve(certificate: str, key: str, ca: str, port: int) -> None:
    """Serve until the process is ended."""
    say = say_with(structlog.get_logger())

    async def handle(request: web.BaseRequest) -> web.Response:
        say(RequestLine(request.method, request.path, 200, "", "", 1, 0.0, "", ""))
        headers = {"Cache-Control": "no-store"}
        return web.Response(body=BODY, content_type="application/json", headers=headers)

    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=ca)
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_cert_chain(certificate, key)
    runner = web.ServerRunner(web.Server(handle, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls, backlog=_BACKLOG).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    configure("json")
    uvloop.run(serve(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
