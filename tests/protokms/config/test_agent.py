"""The table of the front end for controllers: its rules, where it may live, what a reload takes."""

import re
import shutil
from pathlib import Path

import pytest

from protokms.config import directory
from protokms.config.load import load, load_process, needs_restart, reread
from protokms.config.tables import ConfigError
from protokms.lab import lab, topology
from protokms.node.edge_placement import EdgePlacement
from protokms.node.placement import Placement

AGENT = """
[etsi015]
bind = "127.0.0.1:28002"
certificate = "tls.crt"
key = "tls.key"
client_ca = "../ca/ca.crt"
[[etsi015.controller]]
id = "controller-1"
write = true
"""


def never(name: str, why: str) -> None:
    raise AssertionError(f"{name}: {why}")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labs") / "lab"
    lab.init(folder, topology.parse("chain:2"))
    file = folder / "kms-1/node.toml"
    etsi = re.search(r"(?s)\[etsi014\].*?client_ca = \"(.*?)\"", file.read_text())
    assert etsi
    file.write_text(file.read_text() + AGENT.replace("../ca/ca.crt", etsi[1]))
    return folder


@pytest.fixture
def file(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "lab") / "kms-1/node.toml"


def change(file: Path, before: str, after: str) -> None:
    text = file.read_text()
    assert before in text
    file.write_text(text.replace(before, after, 1))


def keys(file: Path) -> list[str]:
    try:
        load(file)
    except ConfigError as wrong:
        return [problem.key for problem in wrong.problems]
    return []


def test_a_node_with_an_agent_is_right(file: Path) -> None:
    config = load(file)

    assert config.etsi015
    assert [(row.id, row.write, row.dialect) for row in config.etsi015.controllers] == [
        ("controller-1", True, "strict")
    ]
    assert config.etsi015.max_body_octets == 1 << 20


def test_who_has_keys_is_said_in_the_file_of_core(file: Path) -> None:
    assert not load(file).controlled
    change(file, AGENT.strip().splitlines()[0], '[etsi015]\napplications = "controlled"')

    assert load(file).controlled
    assert Placement(load(file), "test", never, never).config.controlled


NAME = 'id = "controller-1"'


@pytest.mark.parametrize(
    ("before", "after", "key"),
    [
        (NAME, 'id = "sae-1"', "etsi015.controller[0].id"),
        (NAME, 'id = "sae-2"', "etsi015.controller[0].id"),
        (NAME, 'id = "file"', "etsi015.controller[0].id"),
        (NAME, 'id = "cli"', "etsi015.controller[0].id"),
        (NAME, 'id = "node"', "etsi015.controller[0].id"),
        (NAME, 'id = ""', "etsi015.controller[0].id"),
        (NAME, f"{NAME}\n[[etsi015.controller]]\n{NAME}", "etsi015.controller[1].id"),
        ("[[etsi015.controller]]\n" + NAME + "\nwrite = true\n", "", "etsi015.controller"),
        ("write = true", 'dialect = "netconf"', "etsi015.controller[0].dialect"),
        ("write = true", "write = 1", "etsi015.controller[0].write"),
        ("write = true", "writes = true", "etsi015.controller[0].writes"),
        ('bind = "127.0.0.1:28002"', 'bind = "x"', "etsi015.bind"),
        ("[etsi015]", '[etsi015]\napplications = "some"', "etsi015.applications"),
        ("[etsi015]", "[etsi015]\nmax_in_flight = 1", "etsi015.max_in_flight_per_sae"),
        ("[etsi015]", '[etsi015]\ncrl = "nothing.crl"', "etsi015.crl"),
        ("[etsi015]", "[etsi015]\nkey_size_bits = 256", "etsi015.key_size_bits"),
    ],
)
def test_what_is_wrong_is_told_by_its_key(file: Path, before: str, after: str, key: str) -> None:
    change(file, before, after)

    assert keys(file) == [key]


def test_its_certificate_is_checked_as_that_for_saes(file: Path) -> None:
    change(file, '[etsi015]\nbind = "127.0.0.1:28002"\ncertificate = "tls.crt"',
           '[etsi015]\nbind = "127.0.0.1:28002"\ncertificate = "signing.key"')  # fmt: skip

    assert "etsi015.certificate" in keys(file)


def test_two_front_ends_want_two_ports(file: Path) -> None:
    config = load(file)
    assert config.etsi014
    change(file, 'bind = "127.0.0.1:28002"', f'bind = "{config.etsi014.bind}"')

    assert keys(file) == ["etsi015.bind"]


def test_a_node_whose_id_is_no_uuid_has_no_agent(file: Path) -> None:
    config = load(file)
    change(file, config.node.id, "KME one")

    assert set(keys(file)) == {"node.id"}
    assert any("UUID" in problem.reason for problem in reread(file).problems)


def test_a_reload_takes_controllers_and_what_is_good_of_the_rest(file: Path) -> None:
    before = load(file)
    change(file, "write = true", "write = false")
    assert needs_restart(before, load(file)) == []
    assert reread(file).fronts["etsi015"]["controllers"][0].write is False

    change(file, "[etsi015]", "[etsi015]\nmax_connections = -1")
    found = reread(file)

    assert found.config is None
    assert "max_connections" not in found.fronts["etsi015"]
    assert found.fronts["etsi015"]["controllers"][0].id == "controller-1"


def test_core_runs_it(file: Path) -> None:
    config = load(file)
    placement = Placement(config, "1", quarantine=never, end=never)
    files = config.directory

    root = placement.root(directory.read(files.file, files.ca), tuple)

    assert [child.name for child in root.args[0]][-2:] == ["etsi014", "etsi015"]
    assert placement.placed("etsi015/http") == placement.placed("etsi015") == "core"


def test_an_edge_runs_it_and_core_knows(made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "lab"
    lab.init(folder, topology.spread(topology.parse("chain:2")))
    core, edge = folder / "kms-1/node.toml", folder / "kms-1/front.toml"
    change(core, '"etsi014"]', '"etsi014", "etsi015"]\napplications = "controlled"')
    etsi = re.search(r"client_ca = \"(.*?)\"", edge.read_text())
    assert etsi
    edge.write_text(edge.read_text() + AGENT.replace("../ca/ca.crt", etsi[1]))

    placement = Placement(load(core), "1", quarantine=never, end=never)
    there = EdgePlacement(load_process(core, "front"), never)

    assert "etsi015" in there.config.actors
    assert "etsi015" in [child.name for child in there.root().args[0]]
    assert placement.placed("etsi015/http") == there.placed("etsi015/http") == "front"
    assert "etsi015" in placement.outside()
    assert load(core).controlled
    change(edge, "[etsi015]", '[etsi015]\napplications = "controlled"')
    with pytest.raises(ConfigError) as wrong:
        load_process(core, "front")
    assert [it.key for it in wrong.value.problems] == ["etsi015.applications"]
    change(core, '"etsi014", "etsi015"]', '"etsi014"]')
    assert any(key.endswith(".applications") for key in keys(core))
