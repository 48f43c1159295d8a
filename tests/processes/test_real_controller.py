"""A controller and bare nodes: it binds their links, sets paths, and moves one under load."""

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from msgspec.structs import replace

from protokms.client import SaeError, SaeKey
from protokms.lab import run as lab_run
from protokms.lab import topology
from protokms.lab.topology import ProcessPlan, Topology
from tests.processes.real_lab import PATIENCE_S, RealLab, eventually, has_keys, protokms

pytestmark = pytest.mark.slow

RATE, CLIENTS = 50.0, 8
"""Requests a second, of so many clients: half ask for keys, the others fetch them."""
MORE = 150
"""Requests that come after the path has changed."""


def with_links_apart(shape: Topology) -> Topology:
    """Place the quantum links of each node in a process of their own."""
    nodes = []
    for node in shape.nodes:
        ends = [it.b if it.a == node.name else it.a for it in shape.links_of(node.name)]
        actors = [f"quantum_link/{peer}" for peer in ends]
        nodes.append(replace(node, processes=[ProcessPlan(name="links", actors=actors)]))
    return Topology(nodes=nodes, links=shape.links)


RINGS = {
    "five": topology.parse("ring:5"),
    "links_apart": with_links_apart(topology.parse("ring:4")),
}


@pytest.fixture(params=list(RINGS))
def ring(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RealLab]:
    made = RealLab(tmp_path / "lab", RINGS[request.param], bare=True)
    try:
        made.up()
        yield made
    finally:
        made.down()


def state(bench: RealLab, *via: str) -> Path:
    """Write a file: all links of the ring, and a session from kms-1 to kms-3 over these nodes."""
    names = bench.nodes
    links = zip(names, [*names[1:], names[0]], strict=True)
    text = "".join(f'[[link]]\na = "{a}"\nb = "{b}"\n' for a, b in links)
    nodes = ", ".join(f'"{node}"' for node in via)
    text += f'[[session]]\nfrom = "kms-1"\nto = "kms-3"\nvia = [{nodes}]\n'
    text += '[[application]]\nmaster = "sae-1"\nslaves = ["sae-3"]\n'
    file = bench.folder / "net.toml"
    file.write_text(text)
    return file


def apply(bench: RealLab, file: Path) -> str:
    """Apply a file, which has to work; return what was said."""
    args = ("apply", str(file), "--lab", str(bench.folder), "--timeout", f"{PATIENCE_S:g}")
    done = protokms("controller", *args)
    assert done.returncode == 0, (done.stdout, done.stderr)
    return done.stdout.decode()


def path(bench: RealLab) -> list[str]:
    """The path of the session that begins at kms-1, as it stands."""
    (state,) = [it for it in lab_run.status(bench.folder) if it.name == "kms-1"]
    (session,) = state.sessions
    assert session["destination"] == "kms-3"
    (found,) = session["paths"] if session["state"] == "established" else ([],)
    return list(found)


class Load:
    """sae-1 asks for keys at a steady pace, and sae-3 fetches each; all of it is written down."""

    def __init__(self, bench: RealLab) -> None:
        self.sent: dict[str, SaeKey] = {}
        self.got: dict[str, SaeKey] = {}
        self.failed: list[str] = []
        self.seconds = 0.0
        self._bench = bench
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._exchange) for _ in range(CLIENTS)]

    def __enter__(self) -> "Load":
        self._begun = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()
        self.seconds = time.monotonic() - self._begun

    @property
    def requests(self) -> int:
        """How many have been answered, or refused."""
        return len(self.sent) + len(self.got) + len(self.failed)

    def _exchange(self) -> None:
        due = time.monotonic()
        with self._bench.client("sae-1") as near, self._bench.client("sae-3") as far:
            while not self._ended.wait(max(0.0, due - time.monotonic())):
                due += 2 * CLIENTS / RATE
                try:
                    (key,) = near.enc_keys("sae-3")
                    self.sent[key.key_id] = key
                    (same,) = far.dec_keys("sae-1", [key.key_id])
                    self.got[same.key_id] = same
                except SaeError as no:
                    self.failed.append(f"{no.status} {no}")


def test_a_network_of_bare_nodes_gets_links_and_a_path_that_moves_under_load(
    ring: RealLab,
) -> None:
    over, around = "kms-2", ring.nodes[:2:-1]

    first = apply(ring, state(ring, over))
    with ExitStack() as stack:
        client = stack.enter_context(ring.client("sae-1"))
        eventually(lambda: has_keys(client, "sae-3", 50), "stock with the far end")
    again = apply(ring, state(ring, over))
    eventually(lambda: path(ring) == ["kms-1", over, "kms-3"], "the path that was given")
    with Load(ring) as load:
        moved = apply(ring, state(ring, *around))
        eventually(lambda: path(ring) == ["kms-1", *around, "kms-3"], "the other path")
        so_far = load.requests
        eventually(lambda: load.requests >= so_far + MORE, "requests over the other path")

    assert first.count("+ ") >= 2 * len(ring.nodes) + 3
    assert again.splitlines()[0] == "all is configured as it is to be"
    assert {line[:1] for line in moved.splitlines()[:-1]} == {"+", "~", "-", " "}
    assert load.failed == []
    assert load.sent == load.got
    rate = load.requests / load.seconds
    print(f"{load.requests} requests in {load.seconds:.1f} s: {rate:.0f}/s")  # noqa: T201
