"""The side of ETSI GS QKD 004 that asks: streams of one application over mutual TLS."""

import ssl
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

from actors.modules.datagram import MAX_PAYLOAD
from actors.modules.devices.asker import TIMEOUT_S, Timed, context, explained, left, shut_down
from actors.modules.devices.device import DeviceError
from actors.modules.etsi004 import wire
from actors.modules.etsi004.statuses import EDITIONS, Status
from actors.modules.etsi004.talk import (
    INDEX_MAX,
    Answer,
    Chunk,
    Chunks,
    Close,
    Closed,
    NamedKeys,
    NewKeys,
    Open,
    Opened,
    Request,
)
from actors.modules.etsi004.wire import Qos, malformed
from transport.https import connect

PORT = 25_575
"""Of QUBIP's server, if the URL says none."""
_LONG_S = 0.25
"""Chunks that came are handed on after so long, however many are still to be asked for."""
_THEIRS = 0.8
"""Share of our patience after which the device is to say that the time is over."""
_URI_MAX = 1_000
_KINDS = {
    Status.INSUFFICIENT: "unavailable",
    Status.NO_PEER: "no_peer",
    Status.NO_CONNECTION: "unavailable",
    Status.IN_USE: "in_use",
    Status.TIMEOUT: "unavailable",
    Status.QOS: "qos",
    Status.METADATA: "refused",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Where a device is, who asks, and for what; `ValueError` for what makes no sense.

    `source` and `destination` are the URIs of the two ends, as the devices know them. `qos.timeout`
    follows `timeout_s`. `server_name` is that in the certificate of the device, if it is not the
    host of `url`.
    """

    url: str
    source: str
    destination: str
    certificate: Path
    key: Path
    ca: Path
    qos: Qos
    edition: int = 2
    server_name: str = ""
    timeout_s: float = 5.0

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        try:
            good = parts.scheme == "tls" and bool(parts.hostname) and parts.port != 0
        except ValueError:
            good = False
        if not good or parts.path or parts.query or parts.fragment or parts.username is not None:
            raise ValueError("url is tls://HOST or tls://HOST:PORT")
        for one, uri in (("source", self.source), ("destination", self.destination)):
            _check_uri(one, uri)
        if self.source == self.destination:
            raise ValueError("destination is the application of the other end, not that of source")
        if not 1 <= self.qos.chunk <= MAX_PAYLOAD:
            raise ValueError(f"a chunk has 1 to {MAX_PAYLOAD:,} octets")
        if self.qos.max_bps and self.qos.min_bps > self.qos.max_bps:
            raise ValueError("min_bit_s is more than max_bit_s")
        if self.edition not in EDITIONS:
            raise ValueError(f"edition is one of {', '.join(map(str, EDITIONS))}")
        if not TIMEOUT_S[0] <= self.timeout_s <= TIMEOUT_S[1]:
            raise ValueError(f"timeout_s is {TIMEOUT_S[0]} to {TIMEOUT_S[1]}")


def _check_uri(name: str, uri: str) -> None:
    good = uri.isascii() and uri.isprintable() and " " not in uri and len(uri) <= _URI_MAX
    try:
        parts = urlsplit(uri)
        good = good and bool(parts.scheme and parts.netloc)
    except ValueError:
        good = False
    if not good:
        raise ValueError(f"{name} is a URI with scheme and host, like client://kms-1")


class _Refusal(DeviceError):
    """A status, properly said, other than success."""

    def __init__(self, kind: str, text: str, status: Status) -> None:
        super().__init__(kind, text)
        self.status = status


class Client:
    """One connection to a device, and the streams that are open over it; see `asker.Client`."""

    def __init__(self, access: Access) -> None:
        parts = urlsplit(access.url)
        self._access = access
        self._place = (str(parts.hostname), parts.port or PORT)
        self._qos = access.qos._replace(timeout=int(1000 * access.timeout_s * _THEIRS))
        self._sock: Timed | None = None
        self._aborted = False

    def ask(self, request: Request) -> Answer:
        """Do it, within `timeout_s` each call; `DeviceError` if nothing good comes."""
        answer = self._answer(request)
        if isinstance(answer, DeviceError):
            raise answer
        return answer

    def abort(self) -> None:
        """End a request that is under way, and ask no more; for any thread."""
        self._aborted = True
        shut_down(self._sock)

    def close(self) -> None:
        """Close the connection; streams are not bound to it, the next request opens another."""
        if self._sock:
            self._sock.close()
        self._sock = None

    def _answer(self, request: Request) -> Answer | DeviceError:
        with explained(self._access.timeout_s, self.close):
            try:
                if isinstance(request, Open):
                    return self._open(request.stream)
                if isinstance(request, NewKeys):
                    return self._some(self._new(request))
                if isinstance(request, NamedKeys):
                    return self._some(self._named(request))
                return self._close(request)
            except _Refusal as why:  # after which the connection is as good as before
                return why

    # The three functions of the standard

    def _open(self, stream: UUID | None) -> Opened:
        """Open it with what was asked for, or else with what the device offers in its place."""
        status, said, found, qos = self._try_open(self._qos, stream)
        if status is Status.QOS:
            if found != wire.NOBODY:  # some servers open the stream all the same
                self._call(wire.CLOSE, wire.close(found))
            if qos.max_bps and qos.max_bps < self._access.qos.min_bps:
                raise DeviceError("qos", f"{said}; it offers {qos.max_bps} bit/s")
            status, said, found, qos = self._try_open(qos, stream)
        if status is Status.QOS:
            raise DeviceError("qos", said)
        if found == wire.NOBODY or (stream and found != stream):
            raise malformed("another stream was opened than the one asked for")
        if not 0 < qos.chunk <= MAX_PAYLOAD:
            raise malformed(f"chunks of {qos.chunk} octets are offered: not 1 to {MAX_PAYLOAD}")
        return Opened(found, qos.chunk)

    def _try_open(self, qos: Qos, stream: UUID | None) -> tuple[Status, str, UUID, Qos]:
        access = self._access
        asked = wire.open_connect(access.source, access.destination, qos, stream)
        body = self._call(wire.OPEN, asked)
        status, said = wire.read_status(body, access.edition)
        if status not in (Status.SUCCESS, Status.NO_PEER_YET, Status.QOS):
            raise _failed(status, said)
        return status, said, *wire.read_opened(body)

    def _new(self, asked: NewKeys) -> Iterator[Chunk]:
        """The device may skip what it has no more, and never goes back (index is in and out)."""
        index = asked.first
        for _ in range(asked.number):
            found = self._get(asked.stream, index, asked.chunk)
            if found.index < index:
                raise malformed(f"the index goes back: {index} was asked for, {found.index} came")
            yield found
            index = found.index + 1
            if index > INDEX_MAX:
                return

    def _named(self, asked: NamedKeys) -> Iterator[Chunk]:
        for index in asked.indexes:
            found = self._get(asked.stream, index, asked.chunk)
            if found.index != index:
                raise malformed(f"the index jumps: {index} was asked for, {found.index} came")
            yield found

    def _get(self, stream: UUID, index: int, size: int) -> Chunk:
        body = self._call(wire.GET, wire.get_key(stream, index))
        status, said = wire.read_status(body, self._access.edition)
        if status is not Status.SUCCESS:
            raise _failed(status, said)
        return wire.read_chunk(body, size)

    def _close(self, asked: Close) -> Closed:
        body = self._call(wire.CLOSE, wire.close(asked.stream))
        wire.read_status(body, self._access.edition)
        return Closed()

    def _some(self, chunks: Iterable[Chunk]) -> Chunks:
        """Take what comes in a while; an error is told if it is the first thing that comes.

        That there is no more key at the moment is none.
        """
        found: list[Chunk] = []
        until = time.monotonic() + _LONG_S
        try:
            for each in chunks:
                found.append(each)
                if time.monotonic() >= until:
                    break
        except _Refusal as why:
            if not found and why.status not in (Status.INSUFFICIENT, Status.TIMEOUT):
                raise
        except (DeviceError, OSError):
            if not found:
                raise
            self.close()
        return Chunks(tuple(found))

    # Octets

    def _call(self, service: int, octets: bytes) -> bytes:
        """Ask again over a new connection if the device has closed one that was idle."""
        until = time.monotonic() + self._access.timeout_s
        idle = self._sock is not None
        try:
            return self._exchange(service, octets, until)
        except (ConnectionError, ssl.SSLEOFError):
            if not idle or self._aborted:
                raise
            self.close()
            return self._exchange(service, octets, until)

    def _exchange(self, service: int, octets: bytes, until: float) -> bytes:
        sock = self._sock = self._sock or self._connected(until)
        if self._aborted:  # before it could be shut down
            raise ConnectionAbortedError
        sock.until = until
        sock.settimeout(left(until))
        sock.sendall(octets)
        length = wire.read_head(_read(sock, wire.HEAD), service)
        return _read(sock, length)

    def _connected(self, until: float) -> Timed:
        access = self._access
        tls = context(access.ca, access.certificate, access.key)
        made = connect(tls, self._place, left(until), access.server_name or None)
        assert isinstance(made, Timed), "its context makes such sockets"
        return made


def _read(sock: Timed, length: int) -> bytes:
    octets = bytearray(length)
    view, at = memoryview(octets), 0
    while at < length:
        n = sock.recv_into(view[at:])
        if not n:
            raise ConnectionResetError("it closed the connection")
        at += n
    return bytes(octets)


def _failed(status: Status, said: str) -> DeviceError:
    kind = _KINDS.get(status)
    if kind is None:
        return malformed(f"{said}, which is no answer to that")
    return _Refusal(kind, said, status)
