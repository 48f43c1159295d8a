"""A closed-loop HTTPS load generator for `protokms bench`: little work a request, honest clocks."""

import asyncio
import ssl
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import urlsplit

Next = Callable[[int, bytes], bytes | None]
"""Takes status and body of a response; returns the next request, or None: enough."""

Enc = tuple[str, ssl.SSLContext, bytes]
"""Url, TLS and request."""

Dec = tuple[str, ssl.SSLContext, Callable[[bytes], bytes], Callable[[bytes, bytes], bool]]
"""Url, TLS, what makes the request from the body of the first response, and whether both bodies
hold equal keys."""

_HEAD_END = b"\r\n\r\n"

CLOSE_S = 5.0
"""So long a peer may take to say good-bye."""


@dataclass
class Score:
    """What came back: seconds a request took, and how many answers were not 200."""

    seconds: list[float] = field(default_factory=list)
    refused: int = 0
    began: float = 0.0
    ended: float = 0.0

    @property
    def per_second(self) -> float:
        """Requests answered 200 in a second."""
        return len(self.seconds) / max(self.ended - self.began, 1e-9)

    def quantile(self, q: float) -> float:
        """Seconds within which the share `q` of the requests was answered."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else 0.0


def get(path: str, host: str = "bench") -> bytes:
    """Lay out a GET request."""
    return f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


class _Reader(asyncio.Protocol):
    """Takes whole HTTP responses with a Content-Length, one at a time, out of what comes in."""

    def __init__(self) -> None:
        self._buffer = b""
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that nothing of the connection is left."""
        if not self.lost.done():
            self.lost.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Take octets; `response` hears of each whole response."""
        self._buffer = self._buffer + data if self._buffer else data
        head, mark, rest = self._buffer.partition(_HEAD_END)
        if not mark:
            return
        at = head.lower().find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r\n", 1)[0])
        if len(rest) >= length:
            self._buffer = b""
            self.response(int(head[9:12]), rest[:length])

    def response(self, status: int, body: bytes) -> None:
        """Take one response."""
        raise NotImplementedError


R = TypeVar("R", bound=_Reader)


class Client(_Reader):
    """One keep-alive connection with one request open at a time."""

    def __init__(self, score: Score, first: bytes, following: Next) -> None:
        super().__init__()
        self._score, self._first, self._following = score, first, following
        self._sent = 0.0
        self._transport: asyncio.Transport | None = None
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def begin(self, transport: asyncio.Transport) -> None:
        """Send the first request."""
        self._transport = transport
        self._send(self._first)

    def response(self, status: int, body: bytes) -> None:
        """Score it and go on."""
        if status == 200:  # noqa: PLR2004 -- OK
            self._score.seconds.append(time.perf_counter() - self._sent)
        else:
            self._score.refused += 1
        following = self._following(status, body)
        if following is None:
            self._finish(None)
        else:
            self._send(following)

    def connection_lost(self, exc: Exception | None) -> None:
        """End here: the bench says how many were lost by what is missing."""
        super().connection_lost(exc)
        self._finish(exc or ConnectionError("the node closed the connection"))

    def _send(self, request: bytes) -> None:
        assert self._transport, "begin() first"
        self._sent = time.perf_counter()
        self._transport.write(request)

    def _finish(self, why: Exception | None) -> None:
        if not self.done.done():
            if why:
                self.done.set_exception(why)
            else:
                self.done.set_result(None)
        if self._transport:
            self._transport.close()


async def load(
    url: str, tls: ssl.SSLContext, connections: int, seconds: float, request: bytes
) -> Score:
    """Send one request over and over on so many connections; connecting is not measured."""
    score = Score()
    until = 0.0

    def following(_status: int, _body: bytes) -> bytes | None:
        return request if time.perf_counter() < until else None

    made = [
        await _connect(url, tls, lambda: Client(score, request, following))
        for _ in range(connections)
    ]
    score.began = time.perf_counter()
    until = score.began + seconds
    for transport, client in made:
        client.begin(transport)
    try:
        await asyncio.wait_for(asyncio.gather(*(client.done for _, client in made)), seconds + 30)
        score.ended = time.perf_counter()
    finally:
        await _hang_up(made)
    return score


async def cycles(
    enc: Enc,
    dec: Dec,
    workers: int,
    seconds: float,
) -> Score:
    """Fetch a key at one node and the same at the other, one after the other, in each worker."""
    score = Score()
    score.began = time.perf_counter()
    until = score.began + seconds
    await asyncio.wait_for(
        asyncio.gather(*(_worker(enc, dec, score, until) for _ in range(workers))), seconds + 30
    )
    score.ended = time.perf_counter()
    return score


async def _worker(
    enc: Enc,
    dec: Dec,
    score: Score,
    until: float,
) -> None:
    answers: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()
    ends = [await _connect(url, tls, lambda: _Caller(answers)) for url, tls in (enc[:2], dec[:2])]
    (master, _), (slave, _) = ends
    try:
        while time.perf_counter() < until:
            began = time.perf_counter()
            master.write(enc[2])
            status, first = await answers.get()
            if status == 200:  # noqa: PLR2004 -- OK
                slave.write(dec[2](first))
                status, second = await answers.get()
            if status == 200 and dec[3](first, second):  # noqa: PLR2004 -- OK
                score.seconds.append(time.perf_counter() - began)
            else:
                score.refused += 1
    finally:
        await _hang_up(ends)


class Asker:
    """One keep-alive connection of which somebody asks one thing after the other."""

    def __init__(
        self,
        end: "tuple[asyncio.Transport, _Caller]",
        answers: "asyncio.Queue[tuple[int, bytes]]",
    ) -> None:
        self._end, self._answers = end, answers

    async def once(self, request: bytes) -> int:
        """Send a request; return the status of its answer, 0 if the connection was lost."""
        return (await self.answer(request))[0]

    async def answer(self, request: bytes) -> tuple[int, bytes]:
        """Send a request; return status and body of its answer."""
        self._end[0].write(request)
        return await self._answers.get()

    async def close(self) -> None:
        """Hang up."""
        await _hang_up([self._end])


async def connect(url: str, tls: ssl.SSLContext) -> Asker:
    """Open a connection."""
    answers: asyncio.Queue[tuple[int, bytes]] = asyncio.Queue()
    return Asker(await _connect(url, tls, lambda: _Caller(answers)), answers)


async def _connect(
    url: str, tls: ssl.SSLContext, make: Callable[[], R]
) -> tuple[asyncio.Transport, R]:
    parts = urlsplit(url)
    loop = asyncio.get_running_loop()
    return await loop.create_connection(make, parts.hostname or "", parts.port or 443, ssl=tls)


async def _hang_up(ends: Sequence[tuple[asyncio.Transport, _Reader]]) -> None:
    """Close connections and wait: a loop that ends before they are closed leaves sockets open."""
    for hang_up in ("close", "abort"):
        open_ = [(transport, reader) for transport, reader in ends if not reader.lost.done()]
        for transport, _ in open_:
            getattr(transport, hang_up)()
        if open_:
            await asyncio.wait([reader.lost for _, reader in open_], timeout=CLOSE_S)


class _Caller(_Reader):
    """One connection whose responses go into a queue."""

    def __init__(self, answers: "asyncio.Queue[tuple[int, bytes]]") -> None:
        super().__init__()
        self._answers = answers

    def response(self, status: int, body: bytes) -> None:
        self._answers.put_nowait((status, body))

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._answers.put_nowait((0, b""))
