"""What a configuration, and the directory it names, ask of each limit of a node."""

from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from protokms.commands import node
from protokms.config import directory
from protokms.config.keyfiles import read_key
from protokms.config.limits import limits
from protokms.config.load import load
from protokms.config.sections import NodeConfig
from protokms.lab import lab, topology


@pytest.fixture
def home(tmp_path: Path) -> Path:
    lab.init(tmp_path / "lab", topology.parse("chain:3"))
    return tmp_path / "lab"


def reached(config: Path | NodeConfig) -> list[str]:
    made = config if isinstance(config, NodeConfig) else load(config)
    return [limit.key for limit in limits(made) if limit.reached]


def test_a_lab_reaches_no_limit(home: Path) -> None:
    found = {limit.key: limit.asked for limit in limits(load(home / "kms-1/node.toml"))}

    assert reached(home / "kms-1/node.toml") == []
    assert found["relay.max_distant_peers"] == 1
    assert found["directory"] == 3


@pytest.mark.parametrize(
    ("table", "values", "key"),
    [
        ("relay", {"max_distant_peers": 0}, "relay.max_distant_peers"),
        ("relay", {"max_sessions": 0}, "relay.max_sessions"),
        ("relay", {"max_lanes_per_origin": 1, "paths": 2}, "relay.max_lanes_per_origin"),
        ("store", {"max_undelivered_bits_per_pair": 8_192}, "store.max_undelivered_bits_per_pair"),
        ("store", {"max_undelivered_bits_per_sae": 8_192}, "store.max_undelivered_bits_per_sae"),
        ("etsi014", {"max_connections": 100}, "etsi014.max_connections"),
        ("etsi014", {"max_in_flight": 100}, "etsi014.max_in_flight"),
        ("etsi014", {"max_body_octets": 4_096}, "etsi014.max_body_octets"),
    ],
)
def test_each_limit_that_is_reached_is_told(
    home: Path, table: str, values: dict[str, int], key: str
) -> None:
    made = load(home / "kms-1/node.toml")
    field = getattr(made, table)
    made = msgspec.structs.replace(made, **{table: msgspec.structs.replace(field, **values)})

    assert reached(made) == [key]


@pytest.mark.parametrize(
    ("emulation", "reached_key"),
    [
        ({"rate_bit_s": 14.0}, []),
        ({"rate_bit_s": 13.0}, ["link[0].rate_bit_s"]),
        ({"block_octets": 200, "block_s": 120.0}, []),
        ({"block_octets": 200, "block_s": 121.0}, ["link[0].block_s"]),
        ({"block_octets": 1_024, "block_s": 3_600.0}, []),
        ({"round_s": 3_600.0}, []),
    ],
)
def test_a_link_too_slow_for_a_batch_is_told(
    home: Path, emulation: dict[str, float], reached_key: list[str]
) -> None:
    made = load(home / "kms-1/node.toml")
    none = {"round_s": None, "rate_bit_s": None, "block_octets": None, "block_s": None}
    slow = msgspec.structs.replace(made.links[0], **{**none, **emulation})

    assert reached(msgspec.structs.replace(made, links=[slow])) == reached_key


def test_a_directory_that_cannot_be_read_asks_for_nothing(home: Path) -> None:
    made = load(home / "kms-1/node.toml")
    (home / "directory.json.sig").unlink()

    assert not any(limit.key == "directory" for limit in limits(made))


def test_a_network_larger_than_the_stores_of_a_node_is_told_by_the_check(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = home / "kms-1/node.toml"
    config.write_text(config.read_text() + "\n[relay]\nmax_distant_peers = 0\n")

    assert node.run([str(config), "--check"]) == 0

    said = "limit reached: relay.max_distant_peers: at most 0 KMSs beyond the neighbours"
    assert said in capsys.readouterr().err


def test_saes_are_counted(home: Path) -> None:
    file = home / "directory.json"
    known = directory.read(file, home / "ca/signing.pub")
    more = replace(known.kmss[0], saes=tuple(f"x{number}" for number in range(5_000)))
    octets = directory.octets_of(replace(known, kmss=(more, *known.kmss[1:])))
    file.write_bytes(octets)
    signed = directory.sign(octets, read_key(home / "ca/signing.key"))
    directory.signature_path(file).write_bytes(signed)

    found = {limit.what: limit.asked for limit in limits(load(home / "kms-1/node.toml"))}

    assert found["SAEs"] == 5_002
    assert found["octets"] == len(octets)
