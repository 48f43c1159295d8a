"""Real and simulated nodes are made of the same actors, under the same supervisors."""

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from actors.protocol.trees import Child
from protokms.config import directory
from protokms.config.load import load
from protokms.config.sections import FRONT
from protokms.lab import lab, topology
from protokms.node.composition import Composition
from protokms.node.placement import Placement
from protokms.testing.kms import KmsNetwork

LINE = "kms-1--kms-2 kms-2--kms-3"


class Made(NamedTuple):
    """A child as a test compares it: name, class of actor, and its children if it has any."""

    name: str
    kind: Any
    children: tuple["Made", ...]


def made(child: Child) -> Made:
    below = child.args[0] if child.args and isinstance(child.args[0], tuple) else ()
    kind = child.kind.func if isinstance(child.kind, partial) else child.kind
    return Made(child.name, kind, tuple(made(each) for each in below))


def never(name: str, why: str) -> None:
    raise AssertionError(f"{name}: {why}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("lab")
    lab.init(made, topology.parse("chain:3"))
    return made


def real(folder: Path, node: str) -> Composition:
    config = load(folder / node / "node.toml")
    known = directory.read(config.directory.file, config.directory.ca)
    placement = Placement(config, "1", quarantine=never, end=never)
    return placement.composition(known, tuple)


@pytest.mark.parametrize("node", ["kms-1", "kms-2", "kms-3"])
def test_a_simulated_node_has_the_children_of_a_real_one(folder: Path, node: str) -> None:
    name, kind, children = made(real(folder, node).root())

    simulated = made(KmsNetwork(LINE).composition(node).root())

    assert children[-1].name == FRONT  # it alone is not there
    assert simulated == Made(name, kind, children[:-1])


def test_distant_peers_have_the_same_children(folder: Path) -> None:
    in_reality = made(real(folder, "kms-1").distant("kms-3"))

    simulated = made(KmsNetwork(LINE).composition("kms-1").distant("kms-3"))

    assert [child.name for child in simulated.children] == ["key_store/kms-3", "virtual_link/kms-3"]
    assert simulated == in_reality


def test_a_simulated_node_runs_what_its_composition_says() -> None:
    kms = KmsNetwork(LINE)

    def names(one: Made) -> list[str]:
        return [one.name, *(name for child in one.children for name in names(child))]

    wanted = names(made(kms.composition("kms-2").root()))
    assert sorted(kms.cluster.nodes["kms-2"].actors) == sorted(wanted)
