"""Host and port, as they are written in configurations."""

import ipaddress
import re
from functools import total_ordering
from typing import Any

_HOST_MAX, _LABEL_MAX = 253, 63
_NO_LABEL_CHARACTER = re.compile(r"[^A-Za-z0-9_-]")
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
        elif not host:
            raise ValueError("has no host before the port")
        elif fault := host_name_fault(host):
            raise ValueError(f"has a host that {fault}")
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

    @property
    def is_any(self) -> bool:
        """Tell whether it stands for every address of a host: to be bound, not to be reached."""
        return self.host in _ANY

    @property
    def version(self) -> int | None:
        """Return 4 or 6, the version of IP; None for a name, which may stand for both."""
        return ipaddress.ip_address(self.host).version if is_number(self.host) else None

    def fits(self, other: "Endpoint") -> bool:
        """Tell whether a datagram socket bound here may reach there, as far as one can see."""
        versions = {self.version, other.version} - {None}
        return len(versions) <= 1

    def overlaps(self, other: "Endpoint") -> bool:
        """Tell whether both could not be bound at once (for the same protocol)."""
        same = self.host == other.host or self.is_any or other.is_any
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


def is_number(host: str) -> bool:
    """Tell an IP address from a name, which somebody has to look up."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def host_name_fault(name: str) -> str:
    """Tell what is wrong with the name of a host, or nothing; DNS allows `_`, too.

    ZeroMQ does not where a name begins.
    """
    if not name.isascii():
        return "is not ASCII: write it in its form with xn--"
    if name.startswith("_"):
        return "begins with '_'"
    if len(name) > _HOST_MAX:
        return f"has {len(name)} characters, more than {_HOST_MAX}"
    if name.endswith("."):
        return "ends with a dot: leave that out"
    return next((fault for label in name.split(".") if (fault := _label_fault(label))), "")


def _label_fault(label: str) -> str:
    bad = _NO_LABEL_CHARACTER.search(label)
    if bad:
        return f"holds {bad[0]!r}, which is in no name of a host"
    if not label:
        return "has nothing before or after a dot"
    if len(label) > _LABEL_MAX:
        return f"has {len(label)} characters between two dots, more than {_LABEL_MAX}"
    return "has '-' at the edge of a part" if "-" in (label[0], label[-1]) else ""
