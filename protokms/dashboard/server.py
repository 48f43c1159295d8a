"""Serves the page of a lab on loopback: files, a stream of pictures, and two buttons."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from protokms.dashboard.collector import picture
from protokms.dashboard.guards import refusal
from protokms.lab import run as lab_run
from transport.explained import Explained

LOOPBACK = "127.0.0.1"
READERS_MAX = 16
BODY_LIMIT = 1024  # octets
PERIOD_S = 1.0
WRITE_S = 5.0
"""Seconds that a reader may take for one picture before it is dropped."""

_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
_KINDS = {
    "index.html": "text/html",
    "dashboard.js": "text/javascript",
    "dashboard.css": "text/css",
}

_BUTTONS: dict[str, Callable[[Path, str], object]] = {"kill": lab_run.kill, "start": lab_run.start}


class Dashboard:
    """One page for one lab; the lab is looked at once a period, however many readers there are."""

    def __init__(self, folder: Path, port: int) -> None:
        self._folder, self._port = folder, port
        self._token = secrets.token_urlsafe(32)
        self._readers = 0
        self._shown = json.dumps({"nodes": [], "links": [], "sessions": []})
        self._busy = asyncio.Lock()

    def app(self) -> web.Application:
        """Return what is served."""
        made = web.Application(middlewares=[self._guarded()], client_max_size=BODY_LIMIT)
        made.router.add_get("/", self._page)
        made.router.add_get("/{name:dashboard\\.(?:js|css)}", self._page)
        made.router.add_get("/events", self._events)
        made.router.add_post("/do", self._act)
        made.cleanup_ctx.append(self._looking)
        return made

    def _guarded(self) -> Middleware:
        @web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            writes = request.method not in {"GET", "HEAD"}
            why = refusal(request.headers, self._port, writes=writes, token=self._token)
            if why:
                return web.Response(status=403, text=why, headers=_HEADERS)
            return await handler(request)

        return guard

    async def _page(self, request: web.Request) -> web.Response:
        name = request.match_info.get("name", "index.html")
        text = (files("protokms.dashboard") / "page" / name).read_text("utf-8")
        text = text.replace("@TOKEN@", self._token) if name == "index.html" else text
        return web.Response(text=text, content_type=_KINDS[name], headers=_HEADERS)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        if self._readers >= READERS_MAX:
            return web.Response(status=503, text="too many readers", headers=_HEADERS)
        self._readers += 1
        try:
            stream = web.StreamResponse(headers={**_HEADERS, "Content-Type": "text/event-stream"})
            await stream.prepare(request)
            while True:
                line = f"data: {self._shown}\n\n".encode()
                await asyncio.wait_for(stream.write(line), WRITE_S)
                await asyncio.sleep(PERIOD_S)
        except (TimeoutError, ConnectionError):
            if request.transport is not None:
                request.transport.abort()
            return stream
        finally:
            self._readers -= 1

    async def _act(self, request: web.Request) -> web.Response:
        try:
            asked = json.loads(await request.text())
            do = _BUTTONS[asked["do"]]
            node = str(asked["node"])
        except (ValueError, KeyError, TypeError):
            return web.Response(status=400, text="not a button of this page", headers=_HEADERS)
        if self._busy.locked():
            return web.Response(status=409, text="another button is at work", headers=_HEADERS)
        async with self._busy:
            try:
                await asyncio.to_thread(do, self._folder, node)
            except Explained as why:
                return web.Response(status=409, text=str(why), headers=_HEADERS)
        return web.Response(text="done", headers=_HEADERS)

    async def _looking(self, _app: web.Application) -> AsyncIterator[None]:
        async with _background(self._look()):
            yield

    async def _look(self) -> None:
        while True:
            try:
                states = await asyncio.to_thread(lab_run.status, self._folder)
                self._shown = json.dumps(picture(states))
            except Explained as why:
                self._shown = json.dumps({"failed": str(why)})
            await asyncio.sleep(PERIOD_S)


@asynccontextmanager
async def _background(work: Awaitable[None]) -> AsyncIterator[None]:
    task = asyncio.ensure_future(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def serve(folder: Path, port: int, up: Callable[[], None]) -> None:
    """Serve on loopback until interrupted; call `up` once it listens."""

    async def made() -> web.Application:
        return Dashboard(folder, port).app()

    web.run_app(
        made(),
        host=LOOPBACK,
        port=port,
        print=lambda _text: up(),
        access_log=None,
        shutdown_timeout=1,
    )
