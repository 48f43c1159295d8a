"""Ports for a lab: outside the range the kernel deals out, free when the lab is made."""

import errno
import hashlib
import socket
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from protokms.endpoint import Endpoint

FIRST, LAST = 10_000, 30_000
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_EPHEMERAL = (32_768, 60_999)  # what Linux has by default


class NoPorts(Exception):
    """There are not enough free ports outside the ephemeral range."""


def ephemeral() -> tuple[int, int]:
    """Return the range of ports that the kernel deals out to clients."""
    try:
        low, high = map(int, _RANGE.read_text().split())
    except (OSError, ValueError):
        return _EPHEMERAL
    return low, high


def candidates(key: str) -> list[int]:
    """Return the ports that may be used, beginning at a place that depends on `key`."""
    low, high = ephemeral()
    usable = [port for port in range(FIRST, LAST) if not low <= port <= high]
    if not usable:
        raise NoPorts(f"every port from {FIRST} to {LAST} is ephemeral here ({low}-{high})")
    start = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") % len(usable)
    return usable[start:] + usable[:start]


def free(key: str, taken: Iterable[int]) -> Iterator[int]:
    """Yield ports that nobody holds on any address of this machine, TCP or UDP."""
    refused = set(taken)
    for port in candidates(key):
        if port not in refused and is_free("0.0.0.0", port):  # noqa: S104  # bound and let go
            yield port
    raise NoPorts(f"no free port is left between {FIRST} and {LAST}")


def is_free(host: str, port: int) -> bool:
    """Tell whether nobody listens there, neither on TCP nor on UDP."""
    kinds = (socket.SOCK_STREAM, socket.SOCK_DGRAM)
    return not any(occupied(Endpoint(host, port), kind) for kind in kinds)


def occupied(end: Endpoint, kind: socket.SocketKind) -> bool:
    """Tell whether another socket holds this address; False when it is not of this machine."""
    for family, _, _, _, address in _resolve(end, kind):
        with closing(socket.socket(family, kind)) as probe:
            if kind == socket.SOCK_STREAM:  # a connection that lingers is no hindrance
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(address)
            except OSError as why:
                if why.errno in (errno.EADDRINUSE, errno.EACCES):
                    return True
    return False


def _resolve(
    end: Endpoint, kind: socket.SocketKind
) -> Sequence[tuple[int, int, int, str, tuple[str, int]]]:
    try:
        return socket.getaddrinfo(end.host, end.port, type=kind)  # type: ignore[return-value]
    except OSError:
        return []
