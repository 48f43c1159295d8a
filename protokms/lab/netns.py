"""A lab over several hosts on one machine: each host is a network namespace, joined by a wire.

netns.json      what was made; written before it is made, so that it can be undone at any time
wire.pid, .log  the process that carries frames between TAP devices (`--wire tap`)
wire.ready      is there once it carries them

With `--wire netem` the kernel carries them: a bridge, a pair of interfaces for each host, and
`tc netem` for how the way is. This machine is on the wire as well, to ask nodes how they are.
"""

import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec

from protokms.config.keyfiles import BadFile, read_file
from protokms.lab import hosts as lab_hosts
from protokms.lab import processes as lab_processes
from protokms.lab import tap
from protokms.lab.hosts import Hosts, Network
from protokms.lab.lab import LabError
from protokms.lab.lab import read as read_lab
from protokms.lab.lock import only_one
from protokms.lab.wire import NOBODY, Conditions, address_of

FILE = "netns.json"
FILES = (FILE, "wire.pid", "wire.log", "wire.ready")
DEVICE = "eth0"
"""The interface of each host to the wire."""

WireKind = Literal["tap", "netem"]

_LIMIT = 1 << 20  # octets of netns.json
_IP_S, _READY_S, _STOP_S, _PAUSE_S = 10.0, 30.0, 5.0, 0.02
_NAMES = Path("/etc/netns")  # `ip netns exec NAME` shows what is in NAME/ there as /etc
_LAST = 2
_LAST_V6 = 0xFFFF
_ROOM_MS = 1_000  # netem keeps what comes within so many milliseconds at its rate
_FRAME_BITS = 12_000
_ROOM_FRAMES = 10_000


class Namespace(msgspec.Struct, frozen=True, kw_only=True):
    """A host: its address, and the name of its network namespace."""

    address: str
    name: str


class Namespaces(msgspec.Struct, frozen=True, kw_only=True):
    """What netns.json says; `here` are the addresses of this machine on the wire, with lengths."""

    tag: str
    wire: WireKind
    way: Conditions
    hosts: Hosts
    namespaces: list[Namespace]
    here: list[str]

    def command(self, place: str, command: Sequence[str]) -> list[str]:
        """Return what runs a command on the host of a node or of a process; it keeps its id."""
        address = self.hosts.of(place)[0]
        return [_tool("ip"), "netns", "exec", self.name_of(address), *command]

    def name_of(self, address: str) -> str:
        """Return the namespace of a host."""
        return next(one.name for one in self.namespaces if one.address == address)

    def device(self, port: int) -> str:
        """Return the name of the device of a port on this machine."""
        return f"pk{self.tag}-{port}"


def tag_of(folder: Path) -> str:
    """Return what is in the names of namespaces and devices of the lab in this folder."""
    return hashlib.sha256(str(folder.absolute()).encode()).hexdigest()[:6]


def read(folder: Path) -> Namespaces | None:
    """Return what was made, if anything was."""
    if not (folder / FILE).exists():
        return None
    try:
        return msgspec.json.decode(read_file(folder / FILE, _LIMIT), type=Namespaces)
    except (BadFile, ValueError) as why:
        raise LabError(f"{folder / FILE} is damaged: {why}") from why


def make(folder: Path, way: Conditions, wire: WireKind) -> Namespaces:
    """Make the hosts of a lab and join them, or raise `LabError`; then nothing is left of it."""
    with only_one(folder):
        check_tools(wire)
        lab = read_lab(folder)
        if read(folder) is not None:
            raise LabError(f"the hosts of {folder} are there; `protokms lab down {folder}` first")
        pids = {
            node.name: (folder / node.name).glob(f"{Path(node.pid).name}*") for node in lab.nodes
        }
        running = [name for name, files in pids.items() if any(map(lab_processes.running, files))]
        if running:
            raise LabError(f"{', '.join(running)}: runs; `protokms lab down {folder}` first")
        made = _plan(folder, lab_hosts.find(folder, lab), way, wire)
        _check_machine(made)
        for name in FILES:
            (folder / name).unlink(missing_ok=True)
        (folder / FILE).write_bytes(
            msgspec.json.format(msgspec.json.encode(made), indent=2) + b"\n"
        )
        try:
            _make(folder, made)
        except BaseException:
            undo(folder)
            raise
        return made


def undo(folder: Path) -> None:
    """Take all of it away, whatever is left of it; harmless when there is nothing."""
    made = read(folder)
    if made is None:
        return
    wire = lab_processes.running(folder / "wire.pid")
    if wire:
        lab_processes.stop_all([wire], _STOP_S)
    if made.wire == "netem":
        _try("link", "del", made.device(0))
    for port, one in enumerate(made.namespaces, 1):
        for device in (made.device(port), _far_end(made, port)):
            _try("link", "del", device)  # a namespace that is in use still would keep it
        _try("netns", "del", one.name)
        shutil.rmtree(_NAMES / one.name, ignore_errors=True)
    if made.hosts.names:
        with suppress(OSError):
            _NAMES.rmdir()  # unless others have something there
    for name in ("wire.pid", "wire.ready", FILE):
        (folder / name).unlink(missing_ok=True)


def check_wire(folder: Path, made: Namespaces) -> None:
    """Raise `LabError` unless the hosts are joined."""
    if made.wire == "tap" and not lab_processes.running(folder / "wire.pid"):
        remedy = f"`protokms lab down {folder}`, then `protokms lab netns` again"
        raise LabError(f"the wire between the hosts has ended: {remedy}")


def cut(made: Namespaces, one: str, other: str) -> None:
    """Let nothing pass between two nodes (or processes, `kms-1/front`): it gets lost, both ways."""
    for namespace, address in _ways(made, one, other):
        entry = (address, "lladdr", NOBODY, "dev", DEVICE, "nud", "permanent")
        _must("-n", namespace, "neigh", "replace", *entry)


def mend(made: Namespaces, one: str, other: str) -> None:
    """Let everything pass again."""
    for namespace, address in _ways(made, one, other):
        _try("-n", namespace, "neigh", "del", address, "dev", DEVICE)


def serve(folder: Path) -> None:
    """Be the wire: make the devices, give each to its host, and carry frames until ended."""
    made = read(folder)
    if made is None:
        raise LabError(f"{folder} has no hosts: `protokms lab netns` makes them")
    handles = [tap.open_device(made.device(port)) for port in range(len(made.namespaces) + 1)]
    _set_up_here(made)
    for port, one in enumerate(made.namespaces, 1):
        _must("link", "set", made.device(port), "address", address_of(port))
        _set_up(made, port, one)
    (folder / "wire.ready").touch()
    tap.run(handles, made.way)


def _plan(folder: Path, hosts: Hosts, way: Conditions, wire: WireKind) -> Namespaces:
    tag = tag_of(folder)
    spaces = [
        Namespace(address=address, name=f"protokms-{tag}-{number}")
        for number, address in enumerate(hosts.addresses, 1)
    ]
    here = [_free(net, hosts.addresses) for net in lab_hosts.networks(hosts)]
    return Namespaces(tag=tag, wire=wire, way=way, hosts=hosts, namespaces=spaces, here=here)


def _free(net: Network, taken: Sequence[str]) -> str:
    """Return an address for this machine: the last one that no host has."""
    number = net.num_addresses - _LAST if net.version == 4 else _LAST_V6  # noqa: PLR2004
    while str(net[number]) in taken:
        number -= 1
    return f"{net[number]}/{net.prefixlen}"


def check_tools(wire: WireKind) -> None:
    """Raise `LabError` unless hosts can be made here: by root, with `ip`, over such a wire."""
    if os.geteuid() != 0:
        raise LabError("only root makes network namespaces: run it as root")
    for tool in ("ip", *(["tc"] if wire == "netem" else [])):
        _tool(tool)
    if wire == "tap" and not Path(tap.DEVICE).exists():
        raise LabError(f"there is no {tap.DEVICE} here; take --wire netem")


def _tool(name: str) -> str:
    found = shutil.which(name)
    if not found:
        raise LabError(f"there is no `{name}` here: install iproute2")
    return found


def _check_machine(made: Namespaces) -> None:
    for here in made.here:
        family = "-6" if ":" in here else "-4"
        there = _ip(family, "-o", "route", "show", "root", here).stdout.split()
        if there:
            remedy = "take another network, or `lab down` the lab that has this one"
            raise LabError(f"this machine has a way to {there[0]} already: {remedy}")


def _make(folder: Path, made: Namespaces) -> None:
    for one in made.namespaces:
        _must("netns", "add", one.name)
        _must("-n", one.name, "link", "set", "lo", "up")
        if made.hosts.names:
            home = _NAMES / one.name
            home.mkdir(parents=True)
            rows = [f"{address} {name}\n" for name, address in made.hosts.names.items()]
            (home / "hosts").write_text("".join(["127.0.0.1 localhost\n::1 localhost\n", *rows]))
    if made.wire == "netem":
        _make_bridge(made)
        return
    command = lab_processes.protokms("lab", "wire", str(folder.absolute()))
    wire = lab_processes.start(command, folder / "wire.log", folder / "wire.pid")
    deadline = time.monotonic() + _READY_S
    while not (folder / "wire.ready").exists():
        if not wire.alive or time.monotonic() > deadline:
            said = "\n".join(lab_processes.tail(folder / "wire.log"))
            raise LabError(f"the wire does not start:\n{said}")
        time.sleep(_PAUSE_S)


def _make_bridge(made: Namespaces) -> None:
    bridge = made.device(0)
    _must("link", "add", bridge, "type", "bridge")
    _set_up_here(made)
    for port, one in enumerate(made.namespaces, 1):
        end = _far_end(made, port)
        _must("link", "add", made.device(port), "type", "veth", "peer", "name", end)
        _must("link", "set", end, "master", bridge, "up")
        _set_up(made, port, one)
        if not made.way.is_none:
            _netem(made.way, one.name)


def _far_end(made: Namespaces, port: int) -> str:
    """Return the name of the end of a host's pair of interfaces that is at the bridge."""
    return f"{made.device(port)}b"


def _netem(way: Conditions, namespace: str) -> None:
    """Put the way of a host behind `tc netem`; that to this machine, too."""
    rate = way.rate_bit_s
    room = _ROOM_FRAMES if rate is None else max(10, int(rate * _ROOM_MS / 1e3 / _FRAME_BITS))
    args = ["delay", f"{way.delay_s * 1e3:g}ms", "loss", f"{way.loss * 100:g}%"]
    args += [] if rate is None else ["rate", f"{rate:.0f}bit"]
    add = ["-n", namespace, "qdisc", "add", "dev", DEVICE, "root", "netem"]
    done = _run(_tool("tc"), *add, "limit", str(room), *args)
    if done.returncode:
        raise LabError(f"this kernel has no netem ({done.stderr.strip()}); take --wire tap")


def _set_up_here(made: Namespaces) -> None:
    device = made.device(0)
    _must("link", "set", device, "address", address_of(0))
    for address in made.here:
        _must("addr", "add", address, "dev", device, *_at_once(address))
    _must("link", "set", device, "up")


def _set_up(made: Namespaces, port: int, one: Namespace) -> None:
    """Give the device of a port to its host."""
    _must("link", "set", made.device(port), "netns", one.name, "name", DEVICE)
    length = next(it.rpartition("/")[2] for it in made.here if (":" in it) == (":" in one.address))
    address = f"{one.address}/{length}"
    _must("-n", one.name, "addr", "add", address, "dev", DEVICE, *_at_once(address))
    _must("-n", one.name, "link", "set", DEVICE, "up")


def _at_once(address: str) -> list[str]:
    """Return what makes an address of use at once, without asking whether somebody has it."""
    return ["nodad"] if ":" in address else []


def _ways(made: Namespaces, one: str, other: str) -> list[tuple[str, str]]:
    """Return each namespace of one side, with each address of the other."""
    near, far = made.hosts.of(one), made.hosts.of(other)
    if shared := sorted(set(near) & set(far)):
        raise LabError(f"{one} and {other} are both on {shared[0]}: nothing to cut between them")
    pairs = [pair for a in near for b in far for pair in ((a, b), (b, a))]
    return [(made.name_of(at), to) for at, to in pairs]


def _must(*args: str) -> None:
    done = _ip(*args)
    if done.returncode:
        raise LabError(f"ip {' '.join(args)}: {done.stderr.strip()}")


def _try(*args: str) -> None:
    _ip(*args)


def _ip(*args: str) -> "subprocess.CompletedProcess[str]":
    return _run(_tool("ip"), *args)


def _run(*command: str) -> "subprocess.CompletedProcess[str]":
    try:
        return subprocess.run(  # noqa: S603  # found on the PATH of root, no word of it is a shell's
            command, capture_output=True, text=True, check=False, timeout=_IP_S
        )
    except subprocess.TimeoutExpired as why:
        raise LabError(f"{' '.join(command)}: no answer within {_IP_S:g} s") from why
