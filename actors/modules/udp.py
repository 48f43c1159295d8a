"""The emulated link over UDP: the module `emulated` of a node's configuration.

It carries key bits in clear. Hence it refuses any address but loopback, unless the operator
says `allow_insecure_emulation = true`, and it warns in the log at every start.
"""

import ipaddress
import select
import socket
import struct
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from actors.modules.datagram import OVERHEAD
from actors.modules.emulated import Emulated, Emulation
from actors.modules.lookup import Lookup
from actors.modules.module import (
    GROUP_DATAGRAMS,
    GROUP_OCTETS,
    Host,
    Module,
    ModuleFailed,
    ModuleNotReady,
)
from actors.modules.physical import Physical, physical
from transport.binding import cannot_bind
from transport.stage import kind_and_place

BUFFER_OCTETS = 4 * 1024 * 1024
"""Asked of the kernel for each socket buffer; what it grants is a metric."""

_SO_RXQ_OVFL = 40  # Linux; the socket module of Python 3.11 does not name it
_DROPS = struct.Struct("=I")
_LINGER_S = 0.002
_GROUPS_UNDER_WAY = 16
_JOIN_S = 2.0
_PORT_MAX = 65_535


@dataclass(frozen=True, slots=True, kw_only=True)
class Options(Emulation):
    """One `[[link]]` of a configuration: `bind` and `remote` are `host:port` or `[v6]:port`."""

    peer: str
    bind: str
    remote: str
    allow_insecure_emulation: bool = False

    def __post_init__(self) -> None:
        super(Options, self).__post_init__()  # slots=True made a new class: no bare super()
        for name in ("bind", "remote"):
            host, _ = split(getattr(self, name))
            if not (self.allow_insecure_emulation or _is_loopback(host)):
                raise ValueError(
                    f"{name} = {getattr(self, name)!r} is no loopback address, and the emulated "
                    "quantum link carries key bits in clear; allow_insecure_emulation = true "
                    "lets it, for experiments without real keys"
                )


def factory(options: Options, glass: Physical | None = None) -> Callable[[], Module]:
    """Return what a `QuantumLink` is given to make its module; a fibre makes its pace, if any."""
    if glass:
        return lambda: physical(glass, options, UdpWire(options))
    return lambda: Emulated(options, UdpWire(options))


def split(address: str) -> tuple[str, int]:
    """Read `host:port`; `ValueError` if it is none."""
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not (host and port.isascii() and port.isdigit() and 0 < int(port) <= _PORT_MAX):
        raise ValueError(f"{address!r} is not host:port")
    return host, int(port)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False  # a name: who knows where it leads


class UdpWire:
    """A `Wire`: one UDP socket, and at the receiver a thread that drains it into groups."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._wake: socket.socket | None = None
        self._waker: socket.socket | None = None
        self._stopping = threading.Event()
        # Backpressure: past so many groups that the actor has not taken, the thread lets the
        # kernel drop (and count) instead of filling the mailbox.
        self._room = threading.Semaphore(_GROUPS_UNDER_WAY)
        self._drops = self._drops_told = 0

    def start(self, host: Host) -> None:
        """Bind the socket; a receiver begins to listen."""
        self._host = host
        host.log.warning(
            "quantum_link_emulated",
            why="key bits travel in clear over UDP: for experiments only",
            bind=self._options.bind,
            remote=self._options.remote,
            insecure_allowed=self._options.allow_insecure_emulation,
        )
        self._socket = self._bound()
        self._lookup = Lookup(self._socket.family)
        if self._options.role == "receiver":
            self._wake, self._waker = socket.socketpair()
            name = f"quantum-link-{host.peer}"
            self._thread = threading.Thread(target=self._receive, name=name, daemon=True)
            self._thread.start()

    def open(self) -> None:
        """Look the other end up anew: a container that was replaced may have moved."""
        if self._options.role != "sender" or self._socket is None:
            return
        host, port = split(self._options.remote)
        try:
            self._socket.connect(self._lookup.find(host, port))
        except OSError as why:
            raise ModuleNotReady(f"remote {self._options.remote}: {why}") from why

    def send(self, datagrams: Sequence[bytes]) -> None:
        """Send each at once; what the kernel does not take is lost, as on a real fibre."""
        assert self._socket, "started first"
        lost = 0
        for datagram in datagrams:
            try:
                self._socket.send(datagram)
            except OSError:  # buffer full, nobody listens, no route
                lost += 1
        self._host.count("dropped", lost, reason="not_sent")

    def taken(self) -> None:
        """Make room for one more group; tell what the kernel has dropped."""
        self._room.release()
        drops = self._drops
        self._host.count("kernel_drops", drops - self._drops_told & 0xFFFFFFFF)
        self._drops_told = drops

    def stop(self) -> None:
        """End the thread, close the sockets."""
        self._stopping.set()
        self._room.release()
        if self._thread and self._waker:
            self._waker.send(b"x")
            self._thread.join(_JOIN_S)
        for each in (self._socket, self._wake, self._waker):
            if each:
                each.close()
        self._socket = self._wake = self._waker = self._thread = None

    def _bound(self) -> socket.socket:
        host, port = split(self._options.bind)
        made: socket.socket | None = None
        try:
            family, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
            made = socket.socket(family, socket.SOCK_DGRAM)
            made.setblocking(False)
            for kind, option in (("send", socket.SO_SNDBUF), ("receive", socket.SO_RCVBUF)):
                made.setsockopt(socket.SOL_SOCKET, option, BUFFER_OCTETS)
                granted = made.getsockopt(socket.SOL_SOCKET, option)
                self._host.gauge("socket_buffer_octets", granted, kind=kind)
            made.setsockopt(socket.SOL_SOCKET, _SO_RXQ_OVFL, 1)
            made.bind(where)
        except OSError as why:
            if made:
                made.close()
            text = cannot_bind(self._options.bind, why)
            raise ModuleFailed(f"quantum link to {self._options.peer}: UDP {text}") from why
        return made

    # On the thread

    def _receive(self) -> None:
        assert self._socket, "started first"
        assert self._wake, "started first"
        drain = Drain(self._socket, self._options.max_bytes + OVERHEAD + 1)
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        poll.register(self._wake, select.POLLIN)
        try:
            while not self._stopping.is_set():
                if group := drain.read():
                    self._drops = drain.kernel_drops
                    self._room.acquire()
                    self._host.arrived(group)
                if not drain.full:
                    poll.poll()
                    # Let a few more come: to the actor, a message costs more than a datagram.
                    self._stopping.wait(_LINGER_S)
        except Exception as why:  # the actor must hear of it, whatever it is
            if not self._stopping.is_set():
                self._host.broken(f"receive thread: {kind_and_place(why)}")


class Drain:
    """Reads what a socket holds, a group at a time."""

    def __init__(self, source: socket.socket, size: int) -> None:
        self._socket, self._size = source, size
        self.full = False
        """Whether the last group left something behind, for all we know."""
        self.kernel_drops = 0
        """How many datagrams the kernel has dropped for this socket, modulo 2**32."""

    def read(self) -> list[bytes]:
        """Return the next group of datagrams, empty if there are none; does not wait."""
        group: list[bytes] = []
        receive, size = self._socket.recv, self._size
        try:
            group.append(self._first())
            octets = len(group[0])
            while len(group) < GROUP_DATAGRAMS and octets < GROUP_OCTETS:
                group.append(receive(size))
                octets += len(group[-1])
        except BlockingIOError:
            self.full = False
        else:
            self.full = True
        return group

    def _first(self) -> bytes:
        """Read one datagram the slow way, which also tells the kernel's count of drops."""
        room = socket.CMSG_SPACE(_DROPS.size)
        datagram, ancillary, _, _ = self._socket.recvmsg(self._size, room)
        for level, kind, data in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, _SO_RXQ_OVFL):
                (self.kernel_drops,) = _DROPS.unpack(data[: _DROPS.size])
        return datagram
