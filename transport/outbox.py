"""What is on its way to one other process: a bounded queue, its session, and its socket."""

import re
import threading
import time
from collections import deque
from dataclasses import dataclass

import structlog
import zmq
from zmq.utils.monitor import recv_monitor_message

from transport.codec import MAX_FRAME
from transport.curve import CurveKey, check_public
from transport.endpoint import is_number
from transport.envelope import is_node
from transport.quota import Quota
from transport.session import MISSED, Beat, Session

CORE = "core"
"""The process of a node that its peers talk to."""

MAX_MESSAGE = MAX_FRAME + 1024
"""Octets at which libzmq drops a connection; the slack is for what CURVE adds."""

SOCKET_FRAMES = 1000
"""Frames that libzmq itself holds for one connection to send."""

INBOX_FRAMES = 100
"""Frames that it holds for one connection that came in; they may be as large as they get."""

HANDSHAKE_MS = 2000
"""Milliseconds a handshake may take; whom a gate turns away tries again after that."""

_ADDRESS = re.compile(r"tcp://(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.-]+):([0-9]{1,5})")
_PORTS = range(1, 1 << 16)
_RECONNECT_MS = 50
_RECONNECT_MAX_MS = 1000
_CONNECT_MS = 3000
_STALE = 5.0  # seconds
_LAST_WORDS_MS = 200


@dataclass(frozen=True, slots=True)
class Peer:
    """Another process: whose it is, where its inbox is, and its CURVE public key (Z85).

    `lazy`: connected when there is something to say, either way, and closed when there is not.
    """

    node: str
    process: str
    address: str
    curve: str
    lazy: bool = False

    def __post_init__(self) -> None:
        found = _ADDRESS.fullmatch(self.address)
        if not found or int(found[2]) not in _PORTS:
            raise ValueError(f"not tcp://HOST:PORT: {self.address[:80]!r}")
        if not (is_node(self.node) and is_node(self.process)):
            raise ValueError(f"not the name of a process: {self.node}/{self.process}"[:160])
        check_public(self.curve)

    @property
    def name(self) -> str:
        """What it is called as a destination: `kms-2`, or `kms-2/front` if it is not the core."""
        return destination(self.node, self.process)


def destination(node: str, process: str = CORE) -> str:
    """Name a process for `post`."""
    return node if process == CORE else f"{node}/{process}"


class Outbox:
    """The way to one process. Any thread may `put`; the rest is for the I/O thread."""

    def __init__(self, peer: Peer, interval: float, frames: int, octets: int) -> None:
        self.peer, self.session, self.quota = peer, Session(interval), Quota()
        self.sent = self.received = 0
        self.polled = False  # whether the poller waits for room in the socket
        self.wanted = not peer.lazy  # whether there is, or should be, a connection
        self.used = 0.0  # when a frame went either way, or was to go
        self._waits_until = 0.0
        self.interval, self.due = interval, 0.0
        """Seconds between two heartbeats, and when the next one is."""
        self._interval_ms = max(1, round(interval * 1000))
        self._frame_limit, self._octet_limit = frames, octets
        self._frames: deque[bytes] = deque()
        self._octets = 0
        self._open = False
        self._lock = threading.Lock()
        self._beat = b""
        self._socket: zmq.Socket[bytes] | None = None
        self.events: zmq.Socket[bytes] | None = None  # what libzmq tells of a handshake
        self.refused = False  # whether the other end has refused our key: libzmq has given up
        self._short = False  # whether there was no open file left for a socket
        self._since = 0.0  # when the socket last took something, or was made

    def put(self, octets: bytes) -> str:
        """Queue a frame; the reason if it is not taken, else an empty string."""
        with self._lock:
            if not self._open:
                opening, self.wanted = not self.wanted, True
                self.used = time.monotonic()
                return "opening" if opening else "down"
            if len(self._frames) >= self._frame_limit:
                return "full"
            if self._octets + len(octets) > self._octet_limit:
                return "full"
            self._octets += len(octets)
            self._frames.append(octets)
        return ""

    def open(self) -> None:
        """Take frames from now on."""
        with self._lock:
            self._open = True

    def shut(self) -> int:
        """Take no more frames and forget those that wait; returns how many there were."""
        with self._lock:
            lost, self._open, self._octets = len(self._frames), False, 0
            self._frames.clear()
        return lost

    @property
    def taking(self) -> bool:
        """Whether frames are taken: as the node was last told, the process is up."""
        return self._open

    @property
    def connected(self) -> bool:
        """Whether there is a socket."""
        return self._socket is not None

    @property
    def socket(self) -> zmq.Socket[bytes]:
        """The socket, once connected."""
        assert self._socket, "not connected"
        return self._socket

    # A connection on demand

    def begin(self, now: float, patience: float) -> None:
        """A connection is wanted from now on; within `patience` seconds it should be up."""
        self.wanted, self.used, self._waits_until = True, now, now + patience

    def idles(self, now: float, idle: float) -> bool:
        """Tell whether a connection on demand was used by nobody for so many seconds."""
        if self.sent or self.received or self._frames:
            self.used = now
        return self.peer.lazy and now - self.used >= idle

    def is_missed(self, now: float) -> bool:
        """Tell, once, that a connection on demand does not come up."""
        missed = self.peer.lazy and 0.0 < self._waits_until < now and not self._open
        if missed or self._open:
            self._waits_until = 0.0
        return missed

    def counted(self) -> list[tuple[str, int]]:
        """Return the counts of frames since the last call, by the names of their metrics."""
        counts = [("protokms_frames_sent", self.sent), ("protokms_frames_received", self.received)]
        self.sent = self.received = 0
        return [(name, n) for name, n in counts if n]

    def hear_refusal(self) -> bool:
        """Tell, once a socket, that the other end does not know our key.

        It says so before there is any proof of who it is: good for a hint, and for no more.
        """
        if self.events is None or self.refused or not self.events.poll(0):
            return False
        recv_monitor_message(self.events, zmq.NOBLOCK)
        self.refused = True
        return True

    def unwatch(self) -> None:
        """Let go of what tells of handshakes: it costs open files."""
        if self.events and self._socket:
            self._socket.disable_monitor()
            self.events.close(linger=0)
        self.events = None

    def stale(self, now: float) -> bool:
        """Tell whether the socket has taken nothing for so long that a new one is due.

        After some errors, which anyone on the way can provoke, libzmq never connects again.
        """
        return not self._open and self.polled and now - self._since > _STALE

    @property
    def pending(self) -> bool:
        """Whether anything waits to be sent."""
        return bool(self._beat or self._frames)

    def beat(self, beat: Beat) -> None:
        """Send this heartbeat next; one that still waits is out of date."""
        self._beat = beat.value

    def flush(self) -> bool:
        """Send what the socket takes now; False if it takes no more and something waits."""
        if self._socket is None:
            return True
        try:
            if self._beat:
                self._socket.send(self._beat, zmq.NOBLOCK)
                self._beat, self._since = b"", time.monotonic()
            while self._frames:
                octets = self._frames[0]  # only this thread takes frames out
                self._socket.send(octets, zmq.NOBLOCK)
                with self._lock:
                    self._frames.popleft()
                    self._octets -= len(octets)
                self.sent += 1
        except zmq.Again:
            return False
        return True

    def connect(
        self, context: zmq.Context[zmq.Socket[bytes]], key: CurveKey, *, v6: bool = False
    ) -> None:
        """Make the socket, if there is none; libzmq connects, and connects again, by itself.

        With `v6` a name stands for an address of IPv6, or if it has none, of IPv4; else for one of
        IPv4 alone.
        There is none afterwards if this process has no open file left: call it again later.
        """
        if self._socket:
            return
        try:
            made = context.socket(zmq.PUSH)
            try:
                self.events = made.get_monitor_socket(zmq.EVENT_HANDSHAKE_FAILED_AUTH)
            except zmq.ZMQError:
                made.close(linger=0)
                raise
        except zmq.ZMQError as why:  # many strangers at the door can bring that about
            if not self._short:
                log = structlog.get_logger()
                log.error("peer cannot be connected", peer=self.peer.name, why=why.strerror)
            self._short = True
            return
        self._short = False
        made.linger = 0
        made.curve_publickey = key.public.encode()
        made.curve_secretkey = key.secret.reveal()
        made.curve_serverkey = self.peer.curve.encode()
        made.immediate = True  # no frame waits for a process that is not there
        made.sndhwm = SOCKET_FRAMES
        made.maxmsgsize = MAX_MESSAGE
        host = self.peer.address.removeprefix("tcp://").rpartition(":")[0]
        made.ipv6 = "[" in host or (v6 and not is_number(host))
        made.reconnect_ivl, made.reconnect_ivl_max = _RECONNECT_MS, _RECONNECT_MAX_MS
        made.connect_timeout = _CONNECT_MS
        made.handshake_ivl = HANDSHAKE_MS
        # A cable that is cut says nothing: without these TCP would go on for a quarter of an hour.
        made.heartbeat_ivl = self._interval_ms
        made.heartbeat_timeout = MISSED * self._interval_ms
        self._socket, self._since = made, time.monotonic()
        try:
            made.connect(self.peer.address)
        except zmq.ZMQError as why:
            structlog.get_logger().error(
                "peer has no usable address", peer=self.peer.name, why=why.strerror
            )

    def close(self, last: Beat | None = None) -> None:
        """Close the socket; with a last word, if the peer is there to hear it."""
        if self._socket is None:
            return
        if last and self.session.up:
            self._beat = last.value
            if self.flush():
                self._socket.linger = _LAST_WORDS_MS
        self.unwatch()
        self._socket.close()
        self._socket, self.refused = None, False
