"""What stands in deploy/container makes the nodes that it says, and its tools have no complaint."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from protokms.config.load import load, load_any
from protokms.config.sections import EdgeConfig
from protokms.lab import bundle, lab, topology

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy/container"
COMPOSE, FILE, FIVE = (FOLDER / name for name in ("compose.yaml", "Containerfile", "five.toml"))
PATIENCE_S = 60.0
TOOLS = Path(sys.executable).parent


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Do what the first lines of compose.yaml say; return the folder `hosts`."""
    folder = tmp_path_factory.mktemp("compose")
    made = lab.init(folder / "lab", topology.parse(str(FIVE)))
    for node in made.nodes:
        processes = ["core", "front"] if node.name == "kms-3" else [""]
        for process in processes:
            name = f"{node.name}-{process}" if process else node.name
            tar = bundle.export(folder / "lab", node.name, folder / f"{name}.tar", process)
            bundle.join(tar, folder / "hosts" / name, node=node.name)
    return folder / "hosts"


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text())["services"]
    return found


@pytest.mark.parametrize("name", services())
def test_each_container_has_its_own_files_and_runs_them(hosts: Path, name: str) -> None:
    service = services()[name]
    (volume,) = service["volumes"]
    inside = re.fullmatch(r"node /lab/(\S+)( \$\{PROTOKMS_NEW:-\})?", service["command"])
    mounted = re.fullmatch(r"\./hosts/([^:]+):/lab(:ro)?", volume)
    assert inside
    assert mounted

    made = load_any(hosts / mounted[1] / inside[1])

    edge = isinstance(made, EdgeConfig)
    assert edge is bool(mounted[2]) is not bool(inside[2])  # a process beside core keeps nothing
    assert edge is ("network_mode" in service)
    if not edge:
        assert service["healthcheck"]["test"][-1] == f"/lab/{inside[1]}"


def test_each_node_and_each_process_has_a_container(hosts: Path) -> None:
    mounted = {service["volumes"][0].split(":")[0] for service in services().values()}

    assert mounted == {f"./hosts/{path.name}" for path in hosts.iterdir()}


def test_each_node_is_reached_by_the_name_of_its_service_and_at_its_port(hosts: Path) -> None:
    for name, service in services().items():
        if "network_mode" in service:
            continue
        node = load(
            hosts / service["volumes"][0].split(":")[0].rpartition("/")[2] / name / "node.toml"
        )
        agent = node.etsi014 or load_any(hosts / "kms-3-front/kms-3/front.toml").etsi014
        assert agent
        assert [port.rpartition(":")[2] for port in service["ports"]] == [str(agent.bind.port)]
        assert {link.remote.host for link in node.links if link.remote} <= services().keys()


def test_no_container_may_more_than_it_needs() -> None:
    for service in services().values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["ulimits"]["core"] == 0
        assert service["memswap_limit"] == service["mem_limit"]
        assert "no-new-privileges:true" in service["security_opt"]
        assert "privileged" not in service


def said(tool: str, *args: str | Path) -> tuple[int, str]:
    """Run one of the tools; return its status and everything it says."""
    command = shutil.which(tool, path=TOOLS)
    if command is None:
        pytest.skip(f"needs {tool}: pip install -e .[deploy], as `make test-all` does")
    done = subprocess.run(
        [command, *map(str, args)], capture_output=True, check=False, text=True, timeout=PATIENCE_S
    )
    return done.returncode, done.stdout + done.stderr


def changed(file: Path, folder: Path, old: str, new: str) -> Path:
    text = file.read_text()
    assert old in text
    made = folder / file.name
    made.write_text(text.replace(old, new))
    return made


@pytest.mark.slow
def test_the_image_has_no_complaint() -> None:
    assert said("hadolint", FILE) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("WORKDIR /lab", "RUN cd /lab", "DL3003"),
        ("USER 10001:10001", "USER root", "DL3002"),
        ("STOPSIGNAL", "STOPSIGNALS", "missing whitespace"),
    ],
)
def test_a_mistake_in_the_image_is_told(tmp_path: Path, old: str, new: str, rule: str) -> None:
    status, text = said("hadolint", changed(FILE, tmp_path, old, new))

    assert status == 1
    assert rule in text


COMPOSE_SPEC = ("--builtin-schema", "vendor.compose-spec")


@pytest.mark.slow
def test_the_compose_file_is_one() -> None:
    assert said("check-jsonschema", *COMPOSE_SPEC, COMPOSE)[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new"), [("read_only: true", "read_only: 3.5"), ("cap_drop:", "cap_drops:")]
)
def test_a_mistake_in_the_compose_file_is_told(tmp_path: Path, old: str, new: str) -> None:
    status, text = said("check-jsonschema", *COMPOSE_SPEC, changed(COMPOSE, tmp_path, old, new))

    assert status == 1
    assert new.partition(":")[0] in text
