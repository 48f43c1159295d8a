"""A front end beside its core, both in this process, with real sockets and files."""

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from protokms.enrol import pki
from protokms.lab import lab, topology
from protokms.node import ports
from tests.kit.in_process import Start, eventually, processes

pytestmark = pytest.mark.slow

SEAL = "process core: its seal is not ours: both must name the same key"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    lab.init(tmp_path / "lab", topology.spread(topology.parse("chain:2")))
    return tmp_path / "lab/kms-1"


@pytest.fixture
def start(home: Path) -> Iterator[Start]:
    with processes(home / "node.toml") as begin:
        yield begin


def observed(home: Path) -> int:
    """Let the front end have metrics of its own; return their port."""
    port = next(ports.free(str(home), set()))
    file = home / "front.toml"
    file.write_text(f'{file.read_text()}\n[metrics]\nbind = "127.0.0.1:{port}"\n')
    return port


def ready(port: int) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/ready")
    found: dict[str, Any] = json.loads(connection.getresponse().read())
    connection.close()
    return found


def test_an_edge_is_ready_with_its_core_and_says_so_itself(home: Path, start: Start) -> None:
    port = observed(home)
    start("front")
    assert "process core: it is not up" in ready(port)["reasons"]

    start("core")

    eventually(lambda: bool(ready(port)["ready"]))


def test_an_edge_with_another_seal_is_not_ready_and_says_why(home: Path, start: Start) -> None:
    port = observed(home)
    pki.draw_key(home / "other.key")
    file = home / "front.toml"
    file.write_text(file.read_text().replace("front.seal.key", "other.key"))
    core = start("core")
    start("front")

    eventually(lambda: SEAL in ready(port)["reasons"])
    name, peer = "protokms_frames_refused", "kms-1/front"
    eventually(lambda: core.meter.value(name, peer=peer, reason="seal") > 0)
    assert not ready(port)["ready"]
