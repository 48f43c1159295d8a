"""A small ETSI 004 server over mutual TLS on loopback, which does as a test says."""

import contextlib
import secrets
import socket
import ssl
import struct
import threading
import time
import uuid
from collections.abc import Callable
from types import TracebackType
from typing import Self

from tests.kit.authority import Authority

CHUNK = 64
QOS = struct.Struct("!7I256s")
SUCCESS, NO_PEER_YET, INSUFFICIENT, NO_PEER = range(4)
NO_CONNECTION, IN_USE, TIMEOUT, QOS_STATUS, META = range(4, 9)
METADATA = b'{"age": 1, "hops": 0}'


class Streams:
    """What a pair of devices shares: streams of key, and who has opened them."""

    def __init__(self) -> None:
        self.streams: dict[uuid.UUID, dict[int, bytes]] = {}
        self.open: dict[uuid.UUID, set[str]] = {}
        self.chunks = 10_000
        """A stream has so many chunks, and no more for now."""

    def chunk(self, stream: uuid.UUID, index: int, size: int) -> bytes:
        """Return a chunk: the same to both ends."""
        return self.streams.setdefault(stream, {}).setdefault(index, secrets.token_bytes(size))


class FaultyStream:
    """One of two devices; `wrong` makes another body of a good one, by service, or stays away."""

    def __init__(self, authority: Authority, streams: Streams, name: str = "device") -> None:
        self.streams, self.name = streams, name
        self.wrong: Callable[[int, bytes], bytes | None] = lambda _, body: body
        self.service = 1
        """What is added to the service asked for, in an answer."""
        self.jump: Callable[[int], int] = lambda index: index
        self.alone = False
        """Whether a stream may be read before the other end has opened it."""
        self.largest = CHUNK
        self.min_bps = 0
        self.pause_s = 0.0
        self.drips = False
        self.asked: list[tuple[int, int]] = []
        self.connections = 0
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        folder = authority.folder
        self._tls.load_cert_chain(folder / f"{name}.crt", folder / f"{name}.key")
        self._tls.verify_mode = ssl.CERT_REQUIRED
        self._tls.load_verify_locations(authority.path)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"tls://localhost:{self._socket.getsockname()[1]}"
        self._live: set[ssl.SSLSocket] = set()
        self._thread = threading.Thread(target=self._accept)
        self.ended = threading.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.ended.set()
        self._socket.shutdown(socket.SHUT_RDWR)
        self.hang_up()
        self._thread.join()
        self._socket.close()

    def hang_up(self) -> None:
        """Close all connections; streams live on."""
        for one in list(self._live):
            with contextlib.suppress(OSError):
                socket.socket.shutdown(one, socket.SHUT_RDWR)

    def forget(self) -> None:
        """Start anew, with no stream open."""
        for ends in self.streams.open.values():
            ends.discard(self.name)

    def _accept(self) -> None:
        workers = []
        while not self.ended.is_set():
            try:
                plain, _ = self._socket.accept()
            except OSError:
                break
            self.connections += 1
            workers.append(threading.Thread(target=self._serve, args=(plain,)))
            workers[-1].start()
        for each in workers:
            each.join()

    def _serve(self, plain: socket.socket) -> None:
        with plain:
            try:
                sock = self._tls.wrap_socket(plain, server_side=True)
            except OSError:
                return
            with sock:
                self._live.add(sock)
                try:
                    while self._answer(sock):
                        pass
                except OSError:
                    pass
                finally:
                    self._live.discard(sock)

    def _answer(self, sock: ssl.SSLSocket) -> bool:
        head = _read(sock, 8)
        if len(head) < 8:
            return False
        service, length = head[3], int.from_bytes(head[4:], "big")
        body = self.wrong(service, self._good(service, _read(sock, length)))
        if self.ended.wait(self.pause_s):
            return False
        if body is None:
            return not self.ended.wait(60.0)
        frame = struct.pack("!BBBbI", 1, 0, 1, service + self.service, len(body)) + body
        step = 1 if self.drips else len(frame)
        for at in range(0, len(frame), step):
            sock.sendall(frame[at : at + step])
            if self.drips and self.ended.wait(0.05):
                return False
        return True

    def _good(self, service: int, body: bytes) -> bytes:
        if service == 0x02:
            return self._open(body)
        stream = uuid.UUID(bytes=body[:16])
        ends = self.streams.open.get(stream, set())
        if service == 0x08:
            self.asked.append((service, -1))
            known = self.name in ends
            ends.discard(self.name)
            return _status(SUCCESS if known else NO_PEER)
        index, room = struct.unpack("!II", body[16:])
        self.asked.append((service, index))
        if self.name not in ends or not (self.alone or len(ends) > 1):
            return _status(NO_PEER)
        if room < len(METADATA):
            return _status(META) + struct.pack("!I", len(METADATA))
        index = self.jump(index)
        if index >= self.streams.chunks:
            return _status(INSUFFICIENT)
        key = self.streams.chunk(stream, index, self.largest)
        meta = struct.pack("!I", len(METADATA)) + METADATA
        return _status(SUCCESS) + struct.pack("!II", index, len(key)) + key + meta

    def _open(self, body: bytes) -> bytes:
        self.asked.append((0x02, -1))
        source, destination, rest = body.split(b"\0", 2)
        assert b"://" in source
        assert b"://" in destination
        *numbers, mimetype = QOS.unpack(rest[: QOS.size])
        stream = uuid.UUID(bytes=rest[QOS.size : QOS.size + 16])
        good = numbers[0] <= self.largest and numbers[2] >= self.min_bps
        numbers[0], numbers[2] = self.largest, max(numbers[2], self.min_bps)
        if stream.int == 0:
            stream = uuid.uuid4()
        elif self.name in self.streams.open.get(stream, ()):
            return _status(IN_USE)
        ends = self.streams.open.setdefault(stream, set())
        ends.add(self.name)
        status = SUCCESS if len(ends) > 1 else NO_PEER_YET
        head = _status(status if good else QOS_STATUS)
        return head + QOS.pack(*numbers, mimetype) + stream.bytes


def _status(number: int) -> bytes:
    return struct.pack("!I", number)


def _read(sock: ssl.SSLSocket, length: int) -> bytes:
    found = b""
    while len(found) < length and (more := sock.recv(length - len(found))):
        found += more
    return found


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Look until something is so."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it does not happen"
        time.sleep(0.01)
