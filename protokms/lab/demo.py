"""The main job in one go: a network, two applications far apart, equal keys at both ends."""

import contextlib
import hmac
import itertools
import secrets
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.protocol import sessions
from etsi.gs014.provenance import NAME as PROVENANCE
from protokms.client import SaeClient, SaeError, SaeKey
from protokms.config.load import load
from protokms.config.tables import ConfigError
from protokms.lab import lab, topology
from protokms.lab.lab import Lab, LabError, LabSae, is_new
from protokms.lab.topology import Topology
from protokms.node.node import Node, NodeFailed
from transport.message import Secret

READY_S = 20.0
"""Seconds within which the links must have brought enough bits."""

_POLL_S = 0.02
_ASK_S = 5.0
_UNAVAILABLE = 503


class DemoFailed(Exception):
    """Something did not work; the text says what."""


@dataclass(frozen=True, slots=True)
class DemoRow:
    """One key: its name, who shares it, its bits, a keyed fingerprint of it, and the verdict."""

    key_id: str
    pair: str
    bits: int
    fingerprint: str
    equal: bool


@dataclass(frozen=True, slots=True)
class DemoHop:
    """One quantum link on the way, and how many of its bits went into pads and tags there."""

    sender: str
    receiver: str
    pad_bits: int


@dataclass(frozen=True, slots=True)
class DemoResult:
    """All keys of a run, the way they came, and how many seconds it took.

    `path` is what the KMS of the master says of its keys; `hops` is empty between neighbours.
    """

    rows: tuple[DemoRow, ...]
    seconds: float
    path: tuple[str, ...] = ()
    hops: tuple[DemoHop, ...] = ()

    @property
    def equal(self) -> bool:
        """Whether there are keys, and every one is the same at both ends."""
        return bool(self.rows) and all(row.equal for row in self.rows)

    def as_json(self) -> dict[str, Any]:
        """Lay it out for `--json`; there is no key in it."""
        rows = [
            {
                "key_ID": row.key_id,
                "pair": row.pair,
                "bits": row.bits,
                "fingerprint": row.fingerprint,
                "equal": row.equal,
            }
            for row in self.rows
        ]
        hops = [
            {"from": hop.sender, "to": hop.receiver, "pad_bits": hop.pad_bits} for hop in self.hops
        ]
        return {
            "equal": self.equal,
            "seconds": round(self.seconds, 3),
            "path": list(self.path),
            "hops": hops,
            "keys": rows,
        }


def run_demo(
    nodes: int = 3, number: int = 5, ready_s: float = READY_S, shape: str = "chain"
) -> DemoResult:
    """Make a lab, run it, fetch `number` keys for the two SAEs farthest apart, remove it all.

    Sockets, TLS, ZeroMQ and files are real; `DemoFailed` if anything does not work.
    """
    begun = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="protokms-demo-") as name:
            folder, plan = Path(name) / "lab", topology.parse(f"{shape}:{nodes}")
            made = lab.init(folder, plan)
            with running(folder, made) as alive:
                ends = farthest(plan)
                rows, path = _fetch(folder, made, ends, number, ready_s)
                seconds = time.monotonic() - begun
                path = path or _way(alive[ends[0]], ends)
                hops = tuple(_hops(alive, path))
    except (ConfigError, LabError, NodeFailed, SaeError, OSError) as why:
        raise DemoFailed(str(why)) from why
    return DemoResult(rows, seconds, path, hops)


@contextlib.contextmanager
def running(folder: Path, made: Lab) -> Iterator[dict[str, Node]]:
    """Run the nodes of a lab in this process, by name."""
    deaths: list[str] = []
    with contextlib.ExitStack() as stack:
        nodes = {}
        for one in made.nodes:
            config = load(folder / one.config)
            node = Node(config, deaths.append, new=is_new(one, config))
            node.start()
            stack.callback(node.stop)
            nodes[one.name] = node
        yield nodes
    if deaths:
        raise DemoFailed("; ".join(deaths))


def client(folder: Path, made: Lab, sae: LabSae) -> SaeClient:
    """Return a client of the node that serves an SAE."""
    url = made.node(sae.node).etsi014
    return SaeClient(url, folder / made.ca, folder / sae.cert, folder / sae.key)


def await_stock(master: SaeClient, slave: str, number: int, timeout: float = READY_S) -> None:
    """Wait until so many keys can be handed out, or raise `DemoFailed`."""
    deadline, why = time.monotonic() + timeout, "too few bits"
    while time.monotonic() < deadline:
        try:
            if master.status(slave)["stored_key_count"] >= number:
                return
        except SaeError as no:
            why = str(no)
        time.sleep(_POLL_S)
    raise DemoFailed(f"not ready within {timeout:g} s: {why}")


def await_keys(
    master: SaeClient, slave: str, number: int = 1, timeout: float = READY_S
) -> list[SaeKey]:
    """Ask for keys until they are there, as SAEs do that hear 503, or raise `DemoFailed`.

    The first request for a distant SAE, of keys or of its status, sets up a session.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            return master.enc_keys(slave, number, provenance=True)
        except SaeError as no:
            if no.status != _UNAVAILABLE:
                raise
            if time.monotonic() > deadline:
                raise DemoFailed(f"not ready within {timeout:g} s: {no}") from no
        time.sleep(_POLL_S)


def farthest(plan: Topology) -> tuple[str, str]:
    """Return the two nodes that are most links apart."""
    best = ("", "", -1)
    for node in plan.nodes:
        for other, distance in _distances(plan, node.name).items():
            if distance > best[2]:
                best = (node.name, other, distance)
    return best[0], best[1]


def _distances(plan: Topology, start: str) -> dict[str, int]:
    found, queue = {start: 0}, deque([start])
    while queue:
        here = queue.popleft()
        for link in plan.links_of(here):
            there = link.b if link.a == here else link.a
            if there not in found:
                found[there] = found[here] + 1
                queue.append(there)
    return found


def _fetch(
    folder: Path, made: Lab, ends: tuple[str, str], number: int, ready_s: float
) -> tuple[tuple[DemoRow, ...], tuple[str, ...]]:
    salt = secrets.token_bytes(32)  # fingerprints of one run tell nothing to anybody else
    at = {sae.node: sae for sae in made.saes}
    master, slave = (at[end] for end in ends)
    with client(folder, made, master) as near, client(folder, made, slave) as far:
        sent = await_keys(near, slave.id, number, ready_s)
        await_stock(far, master.id, 0, ready_s)  # it serves, too
        got = far.dec_keys(master.id, [key.key_id for key in sent])
    rows = []
    for mine, theirs in zip(sent, got, strict=True):
        bits, pair = 8 * len(mine.key), f"{master.id} {slave.id}"
        rows.append(DemoRow(mine.key_id, pair, bits, fingerprint(mine.key, salt), mine == theirs))
    return tuple(rows), _path(sent[0])


def _path(key: SaeKey) -> tuple[str, ...]:
    """Return the (first) path that a key came by; nothing if the KME did not tell."""
    try:
        paths = key.extension[PROVENANCE]["paths"]
        return tuple(str(node) for node in paths[0])
    except (KeyError, IndexError, TypeError):
        return ()


def _way(node: Node, ends: tuple[str, str]) -> tuple[str, ...]:
    """Return the (first) path of the session between two nodes, or the link between them."""
    answer = node.ask("sessions", sessions.ListSessions(), _ASK_S).result()
    if not isinstance(answer, sessions.Sessions):
        return ()
    known = {it.destination: it.paths for it in answer.sessions}
    paths = known.get(ends[1], (ends,))
    return paths[0] if paths else ()


def _hops(nodes: Mapping[str, Node], path: tuple[str, ...]) -> Iterator[DemoHop]:
    if len(path) <= 2:  # noqa: PLR2004 -- neighbours need no pads
        return
    for sender, receiver in itertools.pairwise(path):
        octets = nodes[sender].meter.value("protokms_relay_pad_octets", peer=receiver)
        yield DemoHop(sender, receiver, 8 * round(octets))


def fingerprint(key: Secret, salt: bytes) -> str:
    """Return 8 octets, in hex, of HMAC-SHA-256 of a key under a random salt."""
    return hmac.digest(salt, key.reveal(), "sha256")[:8].hex()
