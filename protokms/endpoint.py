"""Host and port, as they are written in configurations."""

import ipaddress
import re
from functools import total_ordering
from typing import Any

_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,252}[A-Za-z0-9])?")
_PORT = re.compile(r"[0-9]{1,5}")
_PORT_LIMIT = 1 << 16
_ANY = ("0.0.0.0", "::")  # noqa: S104  # to recognise, not to bind


@total_ordering
class Endpoint:
    """Where something listens: `host:port`, or `[v6 host]:port`."""

    __slots__ = ("host", "port")
    scheme = ""

    def __init__(self, host: str, port: int) -> None:
        self.host, self.port = host, port

    @classmethod
    def parse(cls, text: Any) -> "Endpoint":
        """Read it; `ValueError` says what is wrong."""
        if not isinstance(text, str):
            raise ValueError(f"expected a text '{cls.scheme}host:port'")
        if not text.startswith(cls.scheme):
            raise ValueError(f"does not begin with {cls.scheme}")
        host, _, port = text.removeprefix(cls.scheme).rpartition(":")
        if not _PORT.fullmatch(port) or not 0 < int(port) < _PORT_LIMIT:
            raise ValueError("has no port between 1 and 65535")
        if host.startswith("[") and host.endswith("]"):
            host = str(ipaddress.IPv6Address(host[1:-1]))
        elif not _HOST.fullmatch(host):
            raise ValueError("has no host before the port")
        return cls(host, int(port))

    @property
    def authority(self) -> str:
        """Return `host:port`, with brackets around a v6 address."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Tell whether it is certain that this never leaves the machine."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def overlaps(self, other: "Endpoint") -> bool:
        """Tell whether both could not be bound at once (for the same protocol)."""
        same = self.host == other.host or self.host in _ANY or other.host in _ANY
        return same and self.port == other.port

    def __str__(self) -> str:
        return f"{self.scheme}{self.authority}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.host!r}, {self.port})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Endpoint) and (self.host, self.port) == (other.host, other.port)

    def __lt__(self, other: "Endpoint") -> bool:
        return (self.host, self.port) < (other.host, other.port)

    def __hash__(self) -> int:
        return hash((self.host, self.port))


class TcpEndpoint(Endpoint):
    """The same, written as ZeroMQ wants it: `tcp://host:port`."""

    __slots__ = ()
    scheme = "tcp://"
