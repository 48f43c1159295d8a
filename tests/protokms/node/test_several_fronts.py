"""Two front ends of a node on one address: both serve, or one alone; a reload reaches both."""

import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from protokms.client import SaeError
from protokms.config.load import load
from protokms.lab import demo, lab, topology
from protokms.node.node import Node
from tests.kit.in_process import Start, eventually, processes

pytestmark = pytest.mark.slow

CLIENTS = 40
"""By chance they are all of one front end once in 2 ** 39 times."""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    lab.init(tmp_path / "lab", topology.spread(topology.parse("chain:2"), 2))
    return tmp_path / "lab"


@pytest.fixture
def file(home: Path) -> Path:
    return home / "kms-1/node.toml"


@pytest.fixture
def start(file: Path) -> Iterator[Start]:
    with processes(file) as begin:
        yield begin


def most_keys(home: Path) -> set[int]:
    """Ask for the status on connections of their own; what they say, 0 where there is no answer."""
    made, said = lab.read(home), set[int]()
    for _ in range(CLIENTS):
        with demo.client(home, made, made.saes[0]) as client:
            try:
                said.add(int(client.status("sae-2")["max_key_per_request"]))
            except SaeError:
                said.add(0)
    return said


def requests(node: Node) -> float:
    counted, _ = node.meter.samples()
    return sum(it.value for it in counted if it.name == "protokms_http_requests")


def ready(file: Path) -> dict[str, Any]:
    bind = load(file).metrics.bind
    connection = http.client.HTTPConnection(bind.host, bind.port)
    connection.request("GET", "/ready")
    found: dict[str, Any] = json.loads(connection.getresponse().read())
    connection.close()
    return found


def spared(file: Path) -> list[str]:
    """Return what core waits for of its front ends, while another one serves."""
    return [why for why in ready(file)["waiting"] if why.startswith("etsi014")]


def test_two_front_ends_serve_as_one(home: Path, file: Path, start: Start) -> None:
    core, one, other = start("core"), start("front-1"), start("front-2")
    start("links")
    eventually(lambda: ready(file)["ready"] and not spared(file))

    assert most_keys(home) == {128}
    assert requests(one) > 0
    assert requests(other) > 0

    for name in ("front-1", "front-2"):
        table = file.with_name(f"{name}.toml")
        text = table.read_text()
        table.write_text(text.replace("[etsi014]\n", "[etsi014]\nmax_keys_per_request = 64\n"))
    keys = [f"front-{n}: etsi014.max_keys_per_request" for n in (1, 2)]
    assert list(core.reload().applied) == keys
    assert most_keys(home) == {64}

    one.stop()
    eventually(lambda: core.meter.value("protokms_peer_up", peer="kms-1/front-1") == 0)
    assert (ready(file)["ready"], spared(file)) == (True, ["etsi014/1: undeliverable"])
    assert most_keys(home) == {64}

    other.stop()
    eventually(lambda: not ready(file)["ready"])
    assert "etsi014/2: undeliverable" in ready(file)["reasons"]
