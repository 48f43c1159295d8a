"""Addresses that cannot be had: why not, in words, and whether they may be had later."""

import errno
import socket
from collections.abc import Sequence
from contextlib import closing
from typing import Any

from transport.endpoint import Endpoint, TcpEndpoint, is_number
from transport.explained import Explained

_NO_NAME = frozenset({socket.EAI_NONAME, socket.EAI_AGAIN, socket.EAI_NODATA, socket.EAI_FAIL})
_PASSES = frozenset({socket.EAI_NONAME, errno.ENODEV, errno.EADDRNOTAVAIL})
_NO_PRIVILEGE = (
    "cannot be bound: port {port} needs CAP_NET_BIND_SERVICE",
    "give the process that capability, or use a port from 1024 on",
)
_WORDS: dict[int, tuple[str, str]] = {
    socket.EAI_NONAME: (
        "cannot be bound: the name {host} does not resolve here",
        "write the address in numbers, or mend the name service",
    ),
    errno.ENODEV: (
        "cannot be bound: this host has no interface {host}",
        "write the address in numbers, or bring that interface up",
    ),
    errno.EADDRNOTAVAIL: (
        "is not an address of this host",
        "correct it, or bring its interface up (`ip address` lists those there are)",
    ),
    errno.EADDRINUSE: (
        "is occupied by another process",
        "end that process (`ss -lntup` shows it), or use another port",
    ),
    errno.EACCES: _NO_PRIVILEGE,
    errno.EPERM: _NO_PRIVILEGE,
}


class CannotBind(Explained, OSError):
    """An address cannot be had. `passes`: it may be there later, though nobody changes a file."""

    def __init__(self, reason: str, remedy: str, number: int | None, *, passes: bool) -> None:
        super().__init__(f"{reason}; {remedy}")
        self.errno, self.passes = number, passes
        self.reason, self.remedy = reason, remedy


def cannot_bind(address: str, why: OSError) -> CannotBind:
    """Say in words why an address (`host:port`, with a scheme or not) cannot be bound."""
    if isinstance(why, CannotBind):
        return why
    host, _, port = address.rpartition("//")[2].rpartition(":")
    nameless = isinstance(why, socket.gaierror) or why.errno in _NO_NAME
    number = socket.EAI_NONAME if nameless else why.errno or 0
    reason, remedy = _WORDS.get(number, (f"cannot be bound: {why.strerror or why}", "correct it"))
    text = f"{address} {reason.format(host=host, port=port)}"
    return CannotBind(text, remedy, why.errno, passes=number in _PASSES)


def find_trouble(
    end: Endpoint, kind: socket.SocketKind, *, shared: bool = False
) -> CannotBind | None:
    """Bind an address, and let go of it at once; return why it cannot be had.

    One that is `shared` may be bound by processes of this user that share it as well.
    """
    if isinstance(end, TcpEndpoint) and not is_number(end.host):
        # ZeroMQ looks no name up here: what is no number is an interface.
        there = {name for _, name in socket.if_nameindex()}
        return None if end.host in there else cannot_bind(str(end), OSError(errno.ENODEV, ""))
    try:
        found = _resolve(end, kind)
    except OSError as why:
        return cannot_bind(str(end), why)
    options = [socket.SO_REUSEADDR] if kind == socket.SOCK_STREAM else []  # what lingers is none
    options += [socket.SO_REUSEPORT] if shared else []
    troubles = [trouble for where in found if (trouble := _attempt(end, kind, options, *where))]
    worst = next((trouble for trouble in troubles if not trouble.passes), None)
    return worst or (troubles[0] if len(troubles) == len(found) else None)


def _attempt(
    end: Endpoint,
    kind: socket.SocketKind,
    options: Sequence[int],
    family: socket.AddressFamily,
    address: Any,
) -> CannotBind | None:
    try:
        with closing(socket.socket(family, kind)) as probe:
            for option in options:
                probe.setsockopt(socket.SOL_SOCKET, option, 1)
            probe.bind(address)
    except OSError as why:
        return cannot_bind(str(end), why)
    return None


def _resolve(end: Endpoint, kind: socket.SocketKind) -> Sequence[tuple[socket.AddressFamily, Any]]:
    try:
        found = socket.getaddrinfo(end.host, end.port, type=kind)
    except UnicodeError as why:  # a name that the domain name system could not hold
        raise socket.gaierror(socket.EAI_NONAME, str(why)) from why
    return [(family, address) for family, _, _, _, address in found]
