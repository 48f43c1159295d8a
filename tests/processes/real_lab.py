"""A bench of real nodes: processes, sockets and files of a lab, and the ways to trouble them."""

import contextlib
import http.client
import json
import re
import shutil
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families

from protokms.client import SaeClient, SaeError, SaeKey
from protokms.config.keyfiles import read_key
from protokms.lab import lab
from protokms.lab import processes as lab_processes
from protokms.lab import run as lab_run
from protokms.lab.processes import Running
from protokms.lab.topology import LinkPlan, NodePlan, Topology
from tests.kit.files import calm, with_key
from transport.https import HttpsConnection
from transport.message import Secret

ROOT = Path(__file__).parents[2]
SLOW_NODE = Path(__file__).with_name("slow_node.py")
SLOW_ROWS = Path(__file__).with_name("slow_rows.py")
PATIENCE_S = 90.0
"""Seconds after which what has not come about is given up; no test depends on being fast."""

T = TypeVar("T")


def eventually(ask: Callable[[], T], what: str, seconds: float = PATIENCE_S) -> T:
    """Ask again and again until the answer is truthy; return it."""
    deadline = time.monotonic() + seconds
    while not (found := ask()):
        assert time.monotonic() < deadline, f"{what}: it did not come about in {seconds:g} s"
        time.sleep(0.02)
    return found


def pair(**link: Any) -> Topology:
    """Two nodes with an SAE each, and a link with these options."""
    nodes = [NodePlan(name=f"kms-{i}", saes=[f"sae-{i}"]) for i in (1, 2)]
    return Topology(nodes=nodes, links=[LinkPlan(a="kms-1", b="kms-2", **link)])


class RealLab:
    """One lab in a folder, made there if there is a shape; `down` ends what of it still runs."""

    def __init__(self, folder: Path, shape: Topology | None = None, *, bare: bool = False) -> None:
        self.folder = folder
        self.made = lab.init(folder, shape, bare=bare) if shape else lab.read(folder)
        self.slow_s = 0.0
        """Seconds that a commit takes longer at most, at nodes launched from now on."""
        self.rows_s = 0.0
        """Seconds that two rows of undelivered keys come later at most, at such nodes."""
        self.nodes = [node.name for node in self.made.nodes]
        for file in folder.glob("*/*.toml") if shape else ():
            calm(file)

    # The files

    def configure(self, section: str, *nodes: str, **values: Any) -> None:
        """Write keys of a section into the configurations of these nodes (of all, if none)."""
        for node in nodes or self.nodes:
            files = sorted((self.folder / node).glob("*.toml"))
            file = next(it for it in files if f"\n[{section}]" in it.read_text())
            text = file.read_text()
            for name, value in values.items():
                text = with_key(text, section, name, json.dumps(value))
            file.write_text(text)

    def store(self, node: str) -> Path:
        """Where the database of a node is."""
        return self.folder / node / "store.db"

    def node_key(self, node: str) -> Secret:
        """The key that seals it."""
        return Secret(read_key(self.folder / node / "node.key"))

    def copy_store(self, node: str, to: Path) -> Path:
        """Copy the database and its log as they are now; the node stands still meanwhile."""
        with self.frozen(node):
            to.mkdir(mode=0o700)
            for file in self.store(node).parent.glob("store.db*"):
                shutil.copy2(file, to / file.name)
        return to / "store.db"

    def log(self, node: str) -> str:
        """Everything that the processes of a node have said."""
        file = self.folder / node / "log"
        return file.read_text(errors="backslashreplace") if file.exists() else ""

    def events(self, node: str) -> list[str]:
        """The events in its log; `kill -9` may have torn a line."""
        return re.findall(r'"event":"(\w+)"', self.log(node))

    # The processes

    def up(self) -> None:
        """Start what does not run; everything is ready afterwards."""
        for state in lab_run.up(self.folder, PATIENCE_S):
            assert not state.reasons, (state.name, state.reasons, state.log)

    def start(self, *nodes: str) -> float:
        """Start these nodes, and what does not run; return the seconds until all was ready."""
        begun = time.monotonic()
        for node in nodes:
            self.launch(node)
        for node in nodes:  # `up` looks less and less often
            eventually(partial(self._ready_or_ended, node), f"{node} is ready, or ends")
        self.up()
        return time.monotonic() - begun

    def _ready_or_ended(self, node: str) -> bool:
        if not lab_run.processes_of(self.folder, self.made.node(node)):
            return True
        try:
            return self.ready(node)
        except (OSError, ValueError, http.client.HTTPException):
            return False

    def launch(self, node: str, process: str = "core") -> Running:
        """Start the core of a node, or another process of it, and wait for nothing."""
        home = self.folder / node
        args, pid = [*self._runner(), "node", str(home / "node.toml")], home / "pid"
        if process != "core":
            args, pid = [*args, "--process", process], home / f"pid.{process}"
        elif not self.store(node).exists():
            args += ["--new"]
        return lab_processes.start(args, home / "log", pid)

    def _runner(self) -> list[str]:
        if self.slow_s:
            return [sys.executable, "-P", str(SLOW_NODE), str(self.slow_s)]
        if self.rows_s:
            return [sys.executable, "-P", str(SLOW_ROWS), str(self.rows_s)]
        return lab_processes.protokms()

    def kill(self, node: str) -> None:
        """SIGKILL; it is gone afterwards."""
        assert lab_run.kill(self.folder, node), f"{node} did not run"

    def down(self) -> list[str]:
        """SIGTERM to all; return those that did not listen."""
        return lab_run.down(self.folder, PATIENCE_S / 3)

    def process(self, node: str, name: str = "core") -> Running:
        """One process of a node that runs."""
        return lab_run.processes_of(self.folder, self.made.node(node))[name]

    def terminate(self, node: str) -> int:
        """SIGTERM; return the exit code."""
        process = self.process(node)
        assert process.signal(signal.SIGTERM)
        return exit_code(process)

    @contextlib.contextmanager
    def frozen(self, node: str) -> Iterator[None]:
        """Let a node stand still, as on a host that hangs."""
        process = self.process(node)
        process.signal(signal.SIGSTOP)
        stat = Path(f"/proc/{process.pid}/stat")
        eventually(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", "it stops")
        try:
            yield
        finally:
            process.signal(signal.SIGCONT)

    def rss(self, node: str) -> int:
        """Octets of memory that a node has resident."""
        status = Path(f"/proc/{self.process(node).pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024

    # What they say

    def client(self, sae: str, url: str = "", timeout: float = 30.0) -> SaeClient:
        """A connection of an SAE to its node, or to another."""
        row = next(row for row in self.made.saes if row.id == sae)
        ca, cert, key = (self.folder / path for path in (self.made.ca, row.cert, row.key))
        return SaeClient(url or self.made.node(row.node).etsi014, ca, cert, key, timeout)

    @contextlib.contextmanager
    def https(self, sae: str, node: str = "") -> Iterator[http.client.HTTPSConnection]:
        """A bare connection with the certificate of an SAE, to its node or another."""
        row = next(row for row in self.made.saes if row.id == sae)
        context = ssl.create_default_context(cafile=self.folder / self.made.ca)
        context.load_cert_chain(self.folder / row.cert, self.folder / row.key)
        url = urlsplit(self.made.node(node or row.node).etsi014)
        made = HttpsConnection(str(url.hostname), url.port, timeout=30.0, context=context)
        try:
            yield made
        finally:
            made.close()

    def look(self, node: str, path: str) -> str:
        """Fetch `/metrics`, `/health` or `/ready` as text."""
        url = urlsplit(self.made.node(node).metrics)
        connection = http.client.HTTPConnection(str(url.hostname), url.port, timeout=30.0)
        try:
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        finally:
            connection.close()

    def ready(self, node: str) -> bool:
        """Whether it is, and works with its neighbours; an answer there must be."""
        said = json.loads(self.look(node, "/ready"))
        return bool(said["ready"]) and not said["waiting"]

    def facts(self, node: str, actor: str) -> dict[str, str]:
        """What an actor says of itself in `/health`."""
        found: dict[str, str] = json.loads(self.look(node, "/health"))["actors"][actor]["facts"]
        return found

    def metric(self, node: str, name: str, **labels: str) -> float:
        """The sum of a metric over all series with these labels."""
        families = text_string_to_metric_families(self.look(node, "/metrics"))
        return sum(
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def bits(self, node: str, peer: str, kind: str = "own") -> float:
        """Bits of a kind in a store."""
        return self.metric(node, "protokms_bits", peer=peer, kind=kind)

    def await_keys(self, number: int = 32) -> None:
        """Wait until every SAE can get so many keys to share with every neighbour's."""
        for row in self.made.saes:
            for other in self.made.saes:
                if self.neighbours(row.node, other.node):
                    with self.client(row.id) as client:
                        eventually(partial(has_keys, client, other.id, number), "keys to hand out")

    def neighbours(self, one: str, other: str) -> bool:
        """Whether a link joins two nodes."""
        return (self.folder / one / "links" / f"{other}.key").exists()


def protokms(*args: str) -> "subprocess.CompletedProcess[bytes]":
    """Run a command of `protokms` as a user does."""
    command = [sys.executable, "-m", "protokms", *args]
    return subprocess.run(command, capture_output=True, check=False, cwd=ROOT, timeout=PATIENCE_S)


def exit_code(process: Running) -> int:
    """Wait for a process that was started here; return with what it ended."""

    codes: list[int] = []

    def ended() -> bool:
        code = lab_processes.exit_status(process)
        codes.extend([] if code is None else [code])
        return bool(codes)

    eventually(ended, f"process {process.pid} ends")
    return codes[0]


def exchange(near: SaeClient, far: SaeClient, number: int, size: int = 256) -> list[SaeKey]:
    """Let sae-1 get keys and sae-2 fetch them; they are equal."""
    sent = drawn(near, "sae-2", number, size)
    got = far.dec_keys("sae-1", [key.key_id for key in sent])
    assert got == sent
    return got


def drawn(client: SaeClient, peer: str, number: int = 1, size: int = 256) -> list[SaeKey]:
    """Let an SAE get keys, once there are so many: both ends take from one stock, at any rate."""
    eventually(partial(has_keys, client, peer, -(-number * size // 256)), "keys to hand out")
    return client.enc_keys(peer, number, size)


def has_keys(client: SaeClient, peer: str, number: int) -> bool:
    """Whether an SAE could get so many keys to share with another now."""
    try:
        return bool(client.status(peer)["stored_key_count"] >= number)
    except SaeError:
        return False
