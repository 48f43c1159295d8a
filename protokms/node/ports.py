"""Ports for a lab: outside the range the kernel deals out, free when the lab is made."""

import hashlib
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path

from transport.binding import find_trouble
from transport.endpoint import Endpoint

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
    return not any(find_trouble(Endpoint(host, port), kind) for kind in kinds)
