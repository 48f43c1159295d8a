"""Keys between distant nodes, in real processes: long chains, a ring that loses a node."""

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from typer.testing import CliRunner

from protokms.bench import delivery as bench_delivery
from protokms.client import SaeClient, SaeError, SaeKey
from protokms.commands.main import app
from protokms.lab import demo, lab, topology
from protokms.lab import run as lab_run
from protokms.lab.lab import Lab

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("many nodes")]
"""One after the other: each of these labs takes all cores of a small machine."""

PATIENCE_S = 180.0
REROUTE_S = 10.0


class Far(NamedTuple):
    """A running lab, and clients of the two SAEs farthest apart."""

    folder: Path
    made: Lab
    ends: tuple[str, str]
    near: SaeClient
    far: SaeClient
    saes: tuple[str, str]

    def keys(self, number: int) -> list[SaeKey]:
        """Fetch keys at both ends; they are equal. 503 means later, as while a node is silent."""
        made = demo.await_keys(self.near, self.saes[1], number, PATIENCE_S)
        assert self.far.dec_keys(self.saes[0], [key.key_id for key in made]) == made
        assert len({bytes(key.key.reveal()) for key in made}) == number
        return made

    def cli(self, *args: str, node: str = "") -> Any:
        """Run a command against a node, the first end by default; return its JSON."""
        where = ("--lab", str(self.folder), "--node", node or self.ends[0], "--json")
        result = CliRunner().invoke(app, [*args, *where])
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def path(self) -> list[str]:
        """Return the path of the session from end to end; empty while there is none."""
        rows = self.cli("session", "list")["sessions"]
        found = [row["paths"] for row in rows if row["destination"] == self.ends[1]]
        return list(found[0][0]) if found and found[0] else []

    def pads(self, node: str) -> float:
        """Return how many octets of pads a node has used so far."""
        return bench_delivery.metric(
            self.made.node(node), "protokms_relay_pad_octets_total", "peer="
        )


@contextlib.contextmanager
def running(folder: Path, shape: str) -> Iterator[Far]:
    plan = topology.parse(shape)
    made = lab.init(folder, plan)
    ends = demo.farthest(plan)
    saes = {sae.node: sae for sae in made.saes}
    one, other = saes[ends[0]], saes[ends[1]]
    try:
        states = lab_run.up(folder, PATIENCE_S)
        assert [(it.name, it.reasons, it.log) for it in states if it.reasons] == []
        with demo.client(folder, made, one) as near, demo.client(folder, made, other) as far:
            yield Far(folder, made, ends, near, far, (one.id, other.id))
    finally:
        lab_run.down(folder, 10.0)


def test_the_ends_of_a_chain_of_ten_nodes_get_equal_keys(tmp_path: Path) -> None:
    with running(tmp_path / "lab", "chain:10") as chain:
        assert chain.near.status(chain.saes[1])["stored_key_count"] == 0
        demo.await_keys(chain.near, chain.saes[1], 1, PATIENCE_S)

        for number in (1, 16, 64):
            chain.keys(number)

        names = [f"kms-{i}" for i in range(1, 11)]
        assert chain.path() == names
        assert chain.near.status(chain.saes[1])["max_key_count"] > 0
        assert all(chain.pads(name) > 0 for name in names[:-1])
        assert chain.cli("route", "show", *chain.ends)["path"] == names
        kinds = {row["peer"]: row["kind"] for row in chain.cli("link", "list")["links"]}
        assert kinds == {"kms-2": "quantum", "kms-10": "relay"}
        assert chain.cli("session", "list", node="kms-5")["crossing"] == 1
        assert chain.cli("session", "remove", chain.ends[1]) == {}
        assert chain.path() == []
        added = chain.cli("session", "add", chain.ends[1], "--weight", "2")["session"]
        assert (added["state"], added["weight"]) == ("established", 2)
        chain.keys(1)


def test_a_ring_of_twelve_nodes_goes_the_other_way_round_when_one_dies(tmp_path: Path) -> None:
    with running(tmp_path / "lab", "ring:12") as ring:
        demo.await_keys(ring.near, ring.saes[1], 1, PATIENCE_S)
        ring.keys(16)
        before = ring.path()
        victim = before[len(before) // 2]
        other_way = next(node.name for node in ring.made.nodes if node.name not in before)

        lab_run.kill(ring.folder, victim)
        killed = time.monotonic()
        while not ring.path() or victim in ring.path():
            assert time.monotonic() - killed < REROUTE_S, "still on the old path"
            with contextlib.suppress(SaeError):  # what is in store goes on being handed out
                ring.keys(1)

        used = ring.pads(other_way)
        for _ in range(100):  # each would raise if it failed
            ring.keys(32)
        assert ring.pads(other_way) > used
        assert set(before).isdisjoint(set(ring.path()[1:-1]))
        assert ring.pads(other_way) > 0


def test_twenty_nodes_run_on_one_machine(tmp_path: Path) -> None:
    with running(tmp_path / "lab", "ring:20") as ring:
        demo.await_keys(ring.near, ring.saes[1], 1, PATIENCE_S)
        for _ in range(20):
            ring.keys(4)
        assert len(ring.path()) == 11
