"""Names of other hosts that a process of a node is to reach, and whether they resolve here."""

import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from actors.protocol import peers
from protokms.config.sections import Link
from transport.endpoint import TcpEndpoint, is_number

NAMES_MAX = 256
"""Names that are looked up at most."""
AT_ONCE = 16
WAIT_S = 3.0
"""Seconds for all of them: a name server that is away must not hold up who asks."""

Resolve = Callable[[str, int], object]
"""Returns addresses of host and port, or raises `OSError`."""


class Host(NamedTuple):
    """A name of another host, and the key of the configuration that says so."""

    key: str
    name: str


class Found(NamedTuple):
    """Names that do not resolve, with the reason, and those of which that is not known."""

    wrong: list[tuple[Host, str]]
    unknown: list[Host]


def hosts(values: Mapping[str, Any], kmss: Sequence[peers.Kms] = ()) -> list[Host]:
    """Return the names of hosts, each once; `values` are the tables that could be read.

    Addresses in numbers need no look-up, and the node's own is among those that it binds.
    """
    found = [end for link in values.get("links", []) for end in _far_ends(link)]
    processes = values.get("processes", [])
    found += [(f"process {one.name}: address", one.address.host) for one in processes]
    if core := values.get("core"):
        found.append(("core.address", core.address.host))
    own = values["node"].name if values.get("node") else ""
    for kms in kmss:
        if kms.name != own:
            found.append((f"directory: {kms.name}", TcpEndpoint.parse(kms.address).host))
    once: dict[str, str] = {}
    for key, name in found:
        if not is_number(name):
            once.setdefault(name, key)
    return [Host(key, name) for name, key in once.items()]


def _far_ends(link: Link) -> Iterator[tuple[str, str]]:
    """Return what a link is to reach: the other end, or the device at this one."""
    if link.remote:
        yield f"link to {link.peer}: remote", link.remote.host
    for kind, table in link.devices:
        with suppress(ValueError):  # which is among the problems
            if name := urlsplit(table.url).hostname:
                yield f"link to {link.peer}: {kind}.url", name


def look_up(
    wanted: Sequence[Host], wait_s: float = WAIT_S, resolve: Resolve = socket.getaddrinfo
) -> Found:
    """Look names up, some at once; nobody waits for longer than `wait_s`."""
    left, answers = list(reversed(wanted[:NAMES_MAX])), dict[Host, str]()
    ended, last = threading.Event(), len(left)

    def work() -> None:
        with suppress(IndexError):
            while not ended.is_set():
                host = left.pop()
                answers[host] = _fault(host.name, resolve)
                if len(answers) == last:
                    ended.set()

    for _ in range(min(AT_ONCE, last)):
        threading.Thread(target=work, name="look_up", daemon=True).start()
    if last:
        ended.wait(wait_s)
        ended.set()
    known = dict(answers)
    wrong = [(host, known[host]) for host in wanted if known.get(host)]
    return Found(wrong, [host for host in wanted if host not in known])


def _fault(name: str, resolve: Resolve) -> str:
    try:
        resolve(name, 0)
    except (OSError, UnicodeError) as why:  # a name may be none in the domain name system
        return getattr(why, "strerror", None) or "it is no name of a host"
    return ""
