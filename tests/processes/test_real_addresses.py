"""Addresses between hosts: IPv6, names, and a name whose address changes."""

import json
import os
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from protokms.client import SaeClient
from protokms.lab import netns
from protokms.lab import processes as lab_processes
from protokms.lab.netns import Namespaces
from protokms.lab.topology import LinkPlan, NodePlan, ProcessPlan, Topology
from protokms.lab.wire import Conditions
from tests.processes.real_lab import RealLab, drawn, eventually
from tests.processes.real_netns import need_hosts, network

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
MOVED = 77
"""The number of the address that kms-2 moves to."""


def shape(address: Sequence[str], *, named: bool) -> Topology:
    """Two nodes on four hosts: front end and link of kms-1 are on hosts of their own."""
    names = [f"{name}.lab" if named else None for name in ("core", "front", "links", "kms-2")]
    hosts = [name or at for name, at in zip(names, address, strict=True)]
    front = ProcessPlan(name="front", actors=["etsi014"], host=hosts[1], bind=address[1])
    links = ProcessPlan(name="links", actors=["quantum_link/kms-2"], host=hosts[2], bind=address[2])
    nodes = [
        NodePlan(
            name=f"kms-{n}", host=hosts[i], bind=address[i], metrics=address[i], saes=[f"sae-{n}"]
        )
        for n, i in ((1, 0), (2, 3))
    ]
    nodes[0] = NodePlan(
        name="kms-1",
        host=hosts[0],
        bind=address[0],
        metrics=address[0],
        saes=["sae-1"],
        processes=[front, links],
    )
    link = LinkPlan(a="kms-1", b="kms-2", rate_bit_s=2e6, allow_insecure_emulation=True)
    return Topology(nodes=nodes, links=[link])


def client(made: RealLab, sae: str) -> SaeClient:
    """A connection of an SAE from this machine, which looks no name of the lab up."""
    state = netns.read(made.folder)
    assert state
    node = "kms-1/front" if sae == "sae-1" else "kms-2"
    row = made.made.node(node.partition("/")[0])
    at = state.hosts.places[node]
    at = f"[{at}]" if ":" in at else at
    return made.client(sae, re.sub(r"//.*:(\d+)$", rf"//{at}:\1", row.etsi014))


@pytest.fixture(params=["names", "v6", "names of v6"])
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RealLab]:
    need_hosts()
    address = [network()(number) for number in (1, 2, 3, 4)]
    if "v6" in request.param:
        middle = ":".join(f"{int(part):x}" for part in address[0].split(".")[:3])
        address = [f"fd00:{middle}::{number}" for number in (1, 2, 3, 4)]
    made = RealLab(tmp_path / "lab", shape(address, named="names" in request.param))
    netns.make(made.folder, Conditions(delay_s=0.002), "tap")
    try:
        made.up()
        yield made
    finally:
        made.down()


def test_each_address_may_be_a_name_or_of_ipv6(lab: RealLab) -> None:
    written = "".join(file.read_text() for file in lab.folder.glob("kms-*/*.toml"))
    written += (lab.folder / "directory.json").read_text()
    named = "core.lab" in written
    expected = ("core", "front", "links", "kms-2") if named else ("[fd00:",)
    assert all(f"{one}.lab:" in written if named else one in written for one in expected)

    with client(lab, "sae-1") as near, client(lab, "sae-2") as far:
        keys = drawn(near, "sae-2", 8)
        assert far.dec_keys("sae-1", [key.key_id for key in keys]) == keys


def state_of(made: RealLab) -> Namespaces:
    state = netns.read(made.folder)
    assert state
    return state


def asked(made: RealLab, verb: str, sae: str, peer: str, *rest: str) -> list[dict[str, str]]:
    """Ask the KME of an SAE by its name, on a host of the lab; nothing, if it gives no keys now."""
    lab = ("--lab", str(made.folder), "--as", sae, "--peer", peer, "--json", "--reveal")
    command = lab_processes.protokms("sae", verb, *lab, *rest)
    done = subprocess.run(
        state_of(made).command("kms-1/front", command),
        capture_output=True,
        check=False,
        timeout=60.0,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    return json.loads(done.stdout)["keys"] if not done.returncode else []


def move(made: RealLab, place: str, new: str) -> None:
    """Give a host of the lab another address: its interface, its files, and what its name means."""
    state = state_of(made)
    old, name = state.hosts.places[place], state.name_of(state.hosts.places[place])
    for args in (("del", f"{old}/24"), ("add", f"{new}/24")):  # the other way round both go
        subprocess.run(["ip", "-n", name, "addr", *args, "dev", netns.DEVICE], check=True)
    node, _, process = place.partition("/")
    file = made.folder / node / f"{process or 'node'}.toml"
    file.write_text(file.read_text().replace(f"{old}:", f"{new}:"))
    for one in state.namespaces:
        hosts = Path("/etc/netns") / one.name / "hosts"
        hosts.write_text(hosts.read_text().replace(f"{old} ", f"{new} "))  # in place: it is mounted


@pytest.mark.parametrize("lab", ["names"], indirect=True)
@pytest.mark.parametrize("place", ["kms-2", "kms-1/front", "kms-1/links"])
def test_a_name_whose_address_changes_is_found_again(lab: RealLab, place: str) -> None:
    node, _, process = place.partition("/")
    before = asked(lab, "enc", "sae-1", "sae-2", "--number", "2")
    assert len(before) == 2

    lab_processes.stop_all([lab.process(node, process or "core")], 30.0)
    move(lab, place, network()(MOVED))
    args = lab_processes.protokms("node", str(lab.folder / node / f"{process or 'node'}.toml"))
    pid = lab.folder / node / ("pid" + (f".{process}" if process else ""))
    log = lab.folder / node / "log"
    lab_processes.start(state_of(lab).command(place, args), log, pid)

    after = eventually(lambda: asked(lab, "enc", "sae-1", "sae-2"), "keys after the move")
    ids = [key["key_ID"] for key in [*before, *after]]
    assert asked(lab, "dec", "sae-2", "sae-1", *ids) == [*before, *after]
    eventually(lambda: lab.ready("kms-1"), "kms-1 hears all of its processes")
