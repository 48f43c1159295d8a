"""Whom the post of a node knows."""

from pathlib import Path

import pytest

from protokms.config import directory
from protokms.config.load import load, load_process
from protokms.lab import lab, topology
from protokms.node import wiring


def test_neighbours_are_always_connected_and_others_when_there_is_something_to_say(
    tmp_path: Path,
) -> None:
    lab.init(tmp_path, topology.parse("chain:3"))
    made = load(tmp_path / "kms-1" / "node.toml")
    known = directory.read(made.directory.file, made.directory.ca)

    others = wiring.others(made, known)

    assert {peer.name: peer.lazy for peer in others} == {"kms-2": False, "kms-3": True}
    assert wiring.inbox(made).idle_s == made.transport.idle_s


def test_an_edge_knows_core_alone_and_core_knows_each_edge(tmp_path: Path) -> None:
    lab.init(tmp_path, topology.spread(topology.parse("chain:3")))
    file = tmp_path / "kms-2" / "node.toml"
    core, front = load(file), load_process(file, "front")
    known = directory.read(core.directory.file, core.directory.ca)

    (only,) = wiring.others(front, None)
    siblings = {peer.name: peer for peer in wiring.others(core, known) if peer.node == "kms-2"}

    assert (only.name, only.address) == ("kms-2", str(core.transport.bind))
    assert only.curve == wiring.inbox(core).key.public
    assert set(siblings) == {"kms-2/front", "kms-2/links"}
    assert siblings["kms-2/front"].curve == wiring.inbox(front).key.public


def test_each_pair_of_processes_has_a_seal_of_its_own(tmp_path: Path) -> None:
    lab.init(tmp_path, topology.spread(topology.parse("chain:2")))
    file = tmp_path / "kms-1" / "node.toml"
    core = wiring.sealers(load(file))
    front = wiring.sealers(load_process(file, "front"))["core"]

    assert front.open(core["front"].seal(b"key bits")) == b"key bits"
    with pytest.raises(ValueError, match="do not open"):
        front.open(core["links"].seal(b"key bits"))
