"""`[[policy]]` of a configuration: its order, whom it may name, what comes of it."""

import re
import shutil
from pathlib import Path

import pytest

from actors.protocol.intent import PER_SAE, Policy
from protokms.config import directory
from protokms.config.load import load
from protokms.config.tables import ConfigError
from protokms.lab import lab, topology
from protokms.node.placement import Placement

POLICIES = """
[[policy]]
name = "gold"
masters = ["sae-1"]
slaves = ["node:kms-2"]
max_bandwidth = 4096
ttl_s = 60
[[policy]]
name = "others"
masters = ["*"]
slaves = ["*"]
allow = false
"""


def never(name: str, why: str) -> None:
    raise AssertionError(f"{name}: {why}")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labs") / "lab"
    lab.init(folder, topology.parse("chain:2"))
    file = folder / "kms-1/node.toml"
    file.write_text(file.read_text() + POLICIES)
    return folder


@pytest.fixture
def file(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "lab") / "kms-1/node.toml"


def policies(file: Path) -> dict[str, Policy]:
    config = load(file)
    known = directory.read(config.directory.file, config.directory.ca)
    made = Placement(config, "1", quarantine=never, end=never).composition(known, tuple)
    return dict(made.policies)


def test_rules_stand_in_the_order_of_the_file(file: Path) -> None:
    assert policies(file) == {
        "gold": Policy(10, ("sae-1",), ("node:kms-2",), max_bandwidth=4096, ttl_s=60),
        "others": Policy(20, ("*",), ("*",), allow=False),
    }


def test_a_rate_may_be_of_each_sae_and_a_stock_and_a_priority_be_given(file: Path) -> None:
    more = 'max_bandwidth = 4096\nrate_of = "sae"\nstock_bits = 8192\npriority = 3\npaths = 2'
    file.write_text(file.read_text().replace("max_bandwidth = 4096", more))

    gold = policies(file)["gold"]

    assert gold.masters == ("sae-1", PER_SAE)
    assert (gold.max_bandwidth, gold.stock_bits, gold.priority) == (4096, 8192, 3)
    assert gold.paths == 2


def test_an_order_may_be_given(file: Path) -> None:
    file.write_text(file.read_text().replace('name = "gold"', 'name = "gold"\norder = 30'))

    assert policies(file)["gold"].order == 30


@pytest.mark.parametrize(
    ("before", "after", "key"),
    [
        ('masters = ["sae-1"]', 'masters = ["sae-9"]', "policy[0].masters[0]"),
        ('"node:kms-2"', '"*", "node:kms-9"', "policy[0].slaves[1]"),
        ('"node:kms-2"', '"kms-2"', "policy[0].slaves[0]"),
        ('slaves = ["node:kms-2"]', "slaves = []", "policy[0].slaves"),
        ('masters = ["sae-1"]\n', "", "policy[0].masters"),
        ('name = "others"', 'name = "gold"', "policy[1].name"),
        ('name = "others"', 'name = "Others"', "policy[1].name"),
        ("allow = false", 'allow = "no"', "policy[1].allow"),
        ("ttl_s = 60", "ttl_s = 0", "policy[0].ttl_s"),
        ("max_bandwidth = 4096", "max_bandwidth = -1", "policy[0].max_bandwidth"),
        ("max_bandwidth = 4096", "priority = -1", "policy[0].priority"),
        ("max_bandwidth = 4096", "paths = 9", "policy[0].paths"),
        ("max_bandwidth = 4096", "stock_bits = -1", "policy[0].stock_bits"),
        ("max_bandwidth = 4096", 'rate_of = "node"', "policy[0].rate_of"),
        ("max_bandwidth = 4096", "weight = 1", "policy[0].weight"),
    ],
)
def test_what_is_wrong_is_told_by_its_key(file: Path, before: str, after: str, key: str) -> None:
    text = file.read_text()
    assert re.search(re.escape(before), text)
    file.write_text(text.replace(before, after, 1))

    with pytest.raises(ConfigError) as wrong:
        load(file)

    assert [problem.key for problem in wrong.value.problems] == [key]
