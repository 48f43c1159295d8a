"""The main job in one go: nodes in a row, two applications a pair, equal keys at both ends."""

import contextlib
import hmac
import itertools
import secrets
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from protokms import config, lab, topology
from protokms.lab import Lab, LabError, LabSae
from protokms.node import Node, NodeFailed
from protokms.sae import SaeClient, SaeError
from protokms.tables import ConfigError
from transport.message import Secret

READY_S = 20.0
"""Seconds within which a link must have brought enough bits."""

_POLL_S = 0.02


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
class DemoResult:
    """All keys of a run, and how many seconds it took."""

    rows: tuple[DemoRow, ...]
    seconds: float

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
        return {"equal": self.equal, "seconds": round(self.seconds, 3), "keys": rows}


def run_demo(nodes: int = 2, number: int = 5, ready_s: float = READY_S) -> DemoResult:
    """Make a lab, run it, fetch `number` keys for each pair of neighbours, and remove it all.

    Sockets, TLS, ZeroMQ and files are real; `DemoFailed` if anything does not work.
    """
    begun = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="protokms-demo-") as name:
            folder = Path(name)
            made = lab.init(folder / "lab", topology.parse(f"chain:{nodes}"))
            with running(folder / "lab", made):
                rows = tuple(_all_pairs(folder / "lab", made, number, ready_s))
                seconds = time.monotonic() - begun
    except (ConfigError, LabError, NodeFailed, SaeError, OSError) as why:
        raise DemoFailed(str(why)) from why
    return DemoResult(rows, seconds)


@contextlib.contextmanager
def running(folder: Path, made: Lab) -> Iterator[dict[str, Node]]:
    """Run the nodes of a lab in this process, by name."""
    deaths: list[str] = []
    with contextlib.ExitStack() as stack:
        nodes = {}
        for one in made.nodes:
            node = Node(config.load(folder / one.config), deaths.append)
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


def _all_pairs(folder: Path, made: Lab, number: int, ready_s: float) -> Iterator[DemoRow]:
    salt = secrets.token_bytes(32)  # fingerprints of one run tell nothing to anybody else
    at = {sae.node: sae for sae in made.saes}
    for left, right in itertools.pairwise(made.nodes):
        master, slave = at[left.name], at[right.name]
        with client(folder, made, master) as near, client(folder, made, slave) as far:
            await_stock(near, slave.id, number, ready_s)
            await_stock(far, master.id, 0, ready_s)  # it serves, too
            sent = near.enc_keys(slave.id, number)
            got = far.dec_keys(master.id, [key.key_id for key in sent])
        for mine, theirs in zip(sent, got, strict=True):
            same = mine == theirs
            pair = f"{master.id} {slave.id}"
            yield DemoRow(mine.key_id, pair, 8 * len(mine.key), fingerprint(mine.key, salt), same)


def fingerprint(key: Secret, salt: bytes) -> str:
    """Return 8 octets, in hex, of HMAC-SHA-256 of a key under a random salt."""
    return hmac.digest(salt, key.reveal(), "sha256")[:8].hex()
