"""The addresses that a process of a node binds, and whether they can be had."""

import itertools
import socket
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from protokms.config.sections import FRONT, FRONTS, EdgeProcess
from protokms.config.tables import Problem
from transport.binding import CannotBind, find_trouble
from transport.endpoint import Endpoint


class Place(NamedTuple):
    """An address, and the key of the configuration that says so.

    It is `shared` with the other front ends of the node, where there are several.
    """

    key: str
    end: Endpoint
    kind: socket.SocketKind
    shared: bool = False


def places(values: Mapping[str, Any]) -> list[Place]:
    """Return all addresses that a process binds; `values` are the tables that could be read."""
    tcp, udp = socket.SOCK_STREAM, socket.SOCK_DGRAM
    process = values.get("process")
    several = isinstance(process, EdgeProcess) and process.front is not None
    found = [
        Place(f"{name}.bind", values[name].bind, tcp, several and name == FRONT)
        for name in ("transport", "process", "metrics", *FRONTS)
        if values.get(name)
    ]
    links, waiting = values.get("links", []), values.get("interfaces", [])
    found += [Place(f"link to {it.peer}: bind", it.bind, udp) for it in links if it.bind]
    return found + [Place(f"interface {it.id}: bind", it.bind, udp) for it in waiting if it.bind]


def clashes(processes: Sequence[tuple[Path, Sequence[Place]]]) -> list[Problem]:
    """Find what two processes of one host want both, from their files and what each binds."""
    found, seen = [], list[tuple[Path, Place]]()
    for file, own in processes:
        for place, (other, taken) in itertools.product(own, seen):
            alike = place.kind == taken.kind and place.end.overlaps(taken.end)
            if alike and not (place.shared and taken.shared):
                reason = f"{place.end.authority} is bound by {taken.key} in {other}"
                found.append(Problem(str(file), place.key, reason, "use another port"))
        seen += [(file, place) for place in own]
    return found


def troubles(wanted: Iterable[Place]) -> list[tuple[Place, CannotBind]]:
    """Try each address; return those that cannot be had, and why not."""
    tried = ((place, find_trouble(place.end, place.kind, shared=place.shared)) for place in wanted)
    return [(place, why) for place, why in tried if why]
