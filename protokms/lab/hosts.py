"""Which hosts the processes of a lab are on, by the addresses that they listen on."""

import ipaddress
from collections.abc import Iterator
from pathlib import Path

import msgspec

from protokms.config import addresses, directory
from protokms.config.keyfiles import BadFile, read_file
from protokms.config.load import load
from protokms.config.sections import CORE, EdgeConfig, NodeConfig
from protokms.config.tables import ConfigError
from protokms.lab.lab import Lab, LabError, here
from protokms.lab.wire import PORTS_MAX
from transport.endpoint import Endpoint, is_number

_DIRECTORY_MAX = 1 << 28  # octets
_V4, _V6 = 24, 64
"""Bits of the part of an address that all hosts of a lab have in common."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Hosts(msgspec.Struct, frozen=True, kw_only=True):
    """Where every process is (`kms-1`, `kms-1/front`), and which addresses names stand for."""

    places: dict[str, str]
    names: dict[str, str]

    @property
    def addresses(self) -> list[str]:
        """Every host once, in order."""
        return list(dict.fromkeys(self.places.values()))

    def of(self, name: str) -> list[str]:
        """Return the hosts of a node, or that of one of its processes; `LabError`: none is."""
        node, _, process = name.partition("/")
        wanted = [f"{node}/{process}" if process not in {"", CORE} else node]
        if not process:
            wanted += [it for it in self.places if it.startswith(f"{node}/")]
        found = [self.places[it] for it in wanted if it in self.places]
        if not found:
            known = ", ".join(self.places)
            raise LabError(f"nobody is called {name[:80]} here; there are {known}")
        return list(dict.fromkeys(found))


def find(folder: Path, lab: Lab) -> Hosts:
    """Find them; `LabError` tells every reason why this lab is not one over several hosts."""
    places: dict[str, str] = {}
    names: dict[str, str] = {}
    faults: list[str] = []
    for node in lab.nodes:
        try:
            made = load(folder / node.config, files=False)
        except ConfigError as why:
            raise LabError(f"{node.name}: its configuration is wrong:\n{why}") from why
        told = _told(made)
        processes: list[NodeConfig | EdgeConfig] = [made, *here(made)]
        for one in processes:
            edge = one if isinstance(one, EdgeConfig) else None
            name = f"{node.name}/{edge.process.name}" if edge else node.name
            faults += _look(name, one, told, places, names)
    faults += _apart(places)
    if faults:
        listed = "\n  ".join(faults)
        raise LabError(f"these processes cannot be on hosts of their own:\n  {listed}")
    return Hosts(places=places, names=names)


def networks(hosts: Hosts) -> list[Network]:
    """Return the networks that the hosts are in: one of each family at most."""
    found = [_network(address) for address in hosts.addresses]
    return list(dict.fromkeys(found))


def _network(address: str) -> Network:
    bits = _V6 if ":" in address else _V4
    return ipaddress.ip_network(f"{address}/{bits}", strict=False)


def _told(made: NodeConfig) -> dict[str, Endpoint]:
    """Return where others reach each process of a node, as far as it is said."""
    found: dict[str, Endpoint] = {one.name: one.address for one in made.processes}
    try:
        rows = directory.parse(
            made.directory.file, read_file(made.directory.file, _DIRECTORY_MAX)
        ).kmss
    except (BadFile, ConfigError) as why:
        raise LabError(f"{made.node.name}: {why}") from why
    own = next((row for row in rows if row.name == made.node.name), None)
    return found | ({CORE: Endpoint.parse(own.address.removeprefix("tcp://"))} if own else {})


def _look(
    name: str,
    made: NodeConfig | EdgeConfig,
    told: dict[str, Endpoint],
    places: dict[str, str],
    names: dict[str, str],
) -> Iterator[str]:
    """Place one process, or say why not."""
    edge = isinstance(made, EdgeConfig)
    bind = made.process.bind if isinstance(made, EdgeConfig) else made.transport.bind
    known = told.get(made.process.name if isinstance(made, EdgeConfig) else CORE)
    home = bind.host
    if bind.is_any and known is not None:
        home = known.host
    key = "process.bind" if edge else "transport.bind"
    if not is_number(home) or Endpoint(home, 1).is_any:
        yield f"{name}: {key} is {bind.host}: write the one address of its host"
        return
    if Endpoint(home, 1).is_loopback:
        yield f"{name}: {key} is {home}, on loopback: `lab init --hosts NET` gives each node a host"
        return
    places[name] = home
    called = "" if known is None or is_number(known.host) else known.host
    if called and names.setdefault(called, home) != home:
        yield f"{name}: its name {called} is that of another host, too: take another"
    for place in addresses.places(msgspec.structs.asdict(made)):
        if place.end.host != home and not place.end.is_any:
            yield f"{name}: {place.key} is {place.end.host}, and not on its host {home}"


def _apart(places: dict[str, str]) -> Iterator[str]:
    """Say which nodes share a host, and which are in another network than the first."""
    seen: dict[str, str] = {}
    first: dict[int, str] = {}
    for name, address in places.items():
        node = name.partition("/")[0]
        if seen.setdefault(address, node) != node:
            yield f"{name}: {address} is that of {seen[address]}, too: give each node its own"
        version = ipaddress.ip_address(address).version
        near = first.setdefault(version, address)
        if _network(near) != _network(address):
            yield f"{name}: {address} is not in {_network(near)}, where {near} is"
    if len(seen) >= PORTS_MAX:
        yield f"{len(seen)} hosts: at most {PORTS_MAX - 1}"
