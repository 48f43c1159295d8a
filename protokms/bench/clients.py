"""Figures: many clients connect at once, to our front end and, in turns, to the bare server."""

import asyncio
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import uvloop

from protokms.bench import loader
from protokms.bench.delivery import cpu_seconds
from protokms.enrol.pki import Authority
from protokms.node import ports
from transport.https import client_context

ROUNDS = 7
START_S, ROUND_S = 10.0, 60.0

_KINDS = {"ours": "protokms.bench.front", "bare": "protokms.bench.yardstick"}


def at_once(clients: Sequence[int], say: Callable[[str], None]) -> dict[str, Any]:
    """Connect so many clients together; each asks once, and all stay until the last is answered.

    `ours` and `bare` are seconds until then: the median of the rounds, their least and most; and
    the processor time of the server for one client.
    """
    figures: dict[str, Any] = {"rounds": ROUNDS}
    with tempfile.TemporaryDirectory(prefix="protokms-bench-") as made, ExitStack() as stack:
        folder = Path(made)
        _certificates(folder)
        tls = client_context(folder / "ca.crt", folder / "sae.crt", folder / "sae.key")
        servers = {kind: stack.enter_context(_serving(folder, kind)) for kind in _KINDS}
        for port, _ in servers.values():
            uvloop.run(_ready(port, tls))
        for number in clients:
            say(f"{number} clients at once, {ROUNDS} rounds of each")
            figures[f"clients_{number}"] = _compared(servers, tls, number)
    return figures


def _compared(
    servers: dict[str, tuple[int, int]], tls: ssl.SSLContext, clients: int
) -> dict[str, Any]:
    seconds: dict[str, list[float]] = {kind: [] for kind in servers}
    lost, busy = dict.fromkeys(servers, 0), dict.fromkeys(servers, 0.0)
    for _ in range(ROUNDS):
        for kind, (port, pid) in servers.items():
            before = cpu_seconds(pid)
            spent, failed = uvloop.run(_round(port, tls, clients))
            busy[kind] += cpu_seconds(pid) - before
            seconds[kind].append(spent)
            lost[kind] += failed
    rows: dict[str, Any] = {
        kind: {
            "median_s": round(statistics.median(found), 3),
            "least_s": round(min(found), 3),
            "most_s": round(max(found), 3),
            "cpu_ms_a_client": round(1e3 * busy[kind] / ROUNDS / clients, 2),
            "not_let_in": lost[kind],
        }
        for kind, found in seconds.items()
    }
    rows["ours_to_bare"] = round(rows["ours"]["median_s"] / rows["bare"]["median_s"], 2)
    return rows


async def _round(port: int, tls: ssl.SSLContext, clients: int) -> tuple[float, int]:
    """Return the seconds until the last answer, and how many got none."""
    done = [asyncio.get_running_loop().create_future() for _ in range(clients)]
    began = time.perf_counter()
    found = await asyncio.gather(*(_client(port, tls, each) for each in done))
    spent = time.perf_counter() - began
    for transport in found:
        if transport:
            transport.abort()
    return spent, sum(transport is None for transport in found)


async def _client(
    port: int, tls: ssl.SSLContext, answered: "asyncio.Future[bool]"
) -> asyncio.Transport | None:
    """Connect and ask; None if there was no answer 200."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(ROUND_S):
            transport, _ = await loop.create_connection(
                lambda: _Once(answered), "127.0.0.1", port, ssl=tls, ssl_handshake_timeout=ROUND_S
            )
            transport.write(loader.get("/"))
            return transport if await answered else None
    except OSError:  # a time-out is one
        return None


class _Once(asyncio.Protocol):
    """Tells whether the first octets that come are an answer 200."""

    def __init__(self, answered: "asyncio.Future[bool]") -> None:
        self._answered = answered

    def data_received(self, data: bytes) -> None:
        self._answer(data.startswith(b"HTTP/1.1 200 "))

    def connection_lost(self, exc: Exception | None) -> None:
        self._answer(False)

    def _answer(self, good: bool) -> None:
        if not self._answered.done():
            self._answered.set_result(good)


def _certificates(folder: Path) -> None:
    authority = Authority.create(folder)
    authority.server(folder / "tls.crt", folder / "tls.key", "bench", "bench", ["127.0.0.1"])
    authority.client(folder / "sae.crt", folder / "sae.key", "sae-1")


@contextmanager
def _serving(folder: Path, kind: str) -> Iterator[tuple[int, int]]:
    """Run one of the two servers; yield its port and its process id."""
    port = next(ports.free(f"bench-{kind}", ()))
    files = [str(folder / name) for name in ("tls.crt", "tls.key", "ca.crt")]
    command = [sys.executable, "-m", _KINDS[kind], *files, str(port)]
    log = (folder / f"{kind}.log").open("wb")
    with log, subprocess.Popen(command, stderr=log, stdout=log) as process:  # noqa: S603
        try:
            yield port, process.pid
        finally:
            process.terminate()


async def _ready(port: int, tls: ssl.SSLContext) -> None:
    """Wait until a server answers; `TimeoutError` if it does not."""
    async with asyncio.timeout(START_S):
        while (await _round(port, tls, 1))[1]:
            await asyncio.sleep(0.05)
