"""Nodes with what examples/ has, as it is installed: blocks become keys, own words pass."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.actor import kms_echo
from protokms.lab import lab as lab_module
from protokms.lab import topology
from tests.kit.folders import ACTOR, HOME, Devices, installed
from tests.processes.real_lab import PATIENCE_S, ROOT, RealLab, eventually, exchange, pair, protokms

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

NODES = ("kms-1", "kms-2")
TOWN = """
[[node]]
name = "kms-1"
saes = ["sae-1"]
[[node]]
name = "kms-2"
saes = ["sae-2"]
[[link]]
a = "kms-1"
b = "kms-2"
module = "{name}"
options = {{ folder = "keys", poll_s = 0.05 }}
"""

ECHO = """
[[actor]]
name = "echo"
kind = "echo"
[actor.options]
"""


@pytest.fixture(autouse=True)
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The package of the example is where this Python, and that of the nodes, finds it."""
    folder = installed(HOME, tmp_path / "site")
    installed(ACTOR, folder)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    return folder


class Feed:
    """Both devices, which leave a block now and then."""

    def __init__(self, devices: Devices) -> None:
        self._devices, self._over = devices, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._over.wait(0.05):
            self._devices.block()

    def __enter__(self) -> "Feed":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


@pytest.fixture
def devices(lab: RealLab) -> Devices:
    return Devices(*(lab.folder / node / "keys" for node in NODES))


@pytest.fixture
def lab(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[RealLab]:
    name, apart = request.param
    file = tmp_path / "town.toml"
    file.write_text(TOWN.format(name=name))
    shape = topology.parse(str(file))
    made = RealLab(tmp_path / "lab", topology.spread(shape) if apart else shape)
    yield made
    made.down()


@pytest.mark.parametrize(
    "lab", [("qkd_folder:factory", False), ("folder", True)], ids=["core", "edge"], indirect=True
)
def test_blocks_of_a_device_become_keys(lab: RealLab, devices: Devices) -> None:
    with Feed(devices):
        for _ in range(2):
            lab.up()
            lab.await_keys()
            with lab.client("sae-1") as near, lab.client("sae-2") as far:
                assert len(exchange(near, far, 16)) == 16
            lab.kill("kms-2")


def check(file: Path, *more: str) -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-m", "protokms", "node", str(file), *more]
    return subprocess.run(command, capture_output=True, check=False, cwd=ROOT, timeout=PATIENCE_S)


@pytest.mark.parametrize("lab", [("folder", False)], indirect=True)
def test_a_module_that_is_not_installed_is_told_and_the_node_does_not_start(
    lab: RealLab, devices: Devices, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert devices.folders[0].is_dir()
    file = lab.folder / "kms-1/node.toml"
    assert check(file, "--check").returncode == 0

    monkeypatch.delenv("PYTHONPATH")
    found = check(file, "--check")
    started = check(file, "--new")

    assert found.returncode == 1
    for said in (found, started):
        assert b"link[0].module: there is no folder" in said.stderr + said.stdout
    assert started.returncode == 78


@pytest.mark.parametrize("lab", [("folder", False)], indirect=True)
def test_a_device_that_goes_away_is_told_and_comes_back(lab: RealLab, devices: Devices) -> None:
    with Feed(devices):
        lab.up()
        lab.await_keys()
    folder = devices.folders[0]

    folder.rename(folder.with_name("away"))
    eventually(lambda: "the folder of the device" in lab.log("kms-1"), "the link tells it")
    folder.with_name("away").rename(folder)

    eventually(lambda: lab.ready("kms-1"), "the link works again")


def test_an_actor_of_another_package_talks_to_that_of_a_peer_or_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Words are declared once, and tests of this process may know the file under this name.
    monkeypatch.setitem(sys.modules, "kms_echo", kms_echo)
    made = RealLab(tmp_path / "lab", pair())
    for node, rows in (("kms-1", 'peers = ["kms-2"]\nevery_s = 0.2'), ("kms-2", "")):
        file = made.folder / node / "node.toml"
        file.write_text(f"{file.read_text()}{ECHO}{rows}\n")
    try:
        made.up()
        eventually(
            lambda: made.facts("kms-1", "own/echo").get("kms-2", "").endswith(" ms"), "it answers"
        )

        made.terminate("kms-2")
        file.write_text(file.read_text().replace(ECHO, ""))
        made.up()
        eventually(
            lambda: made.facts("kms-1", "own/echo").get("kms-2") == "refused", "it is refused"
        )
    finally:
        made.down()


def test_a_link_over_an_interface_comes_while_the_node_runs(tmp_path: Path) -> None:
    file = tmp_path / "town.toml"
    file.write_text(TOWN.format(name="folder"))
    lab_module.init(tmp_path / "lab", topology.parse(str(file)), bare=True)
    made = RealLab(tmp_path / "lab")
    devices = Devices(*(made.folder / node / "links/keys" for node in NODES))
    try:
        made.up()
        for node, peer in (NODES, reversed(NODES)):
            config = str(made.folder / node / "node.toml")
            add = protokms("link", "add", peer, "--interface", "1", "--config", config)
            assert add.returncode == 0, add.stderr
        with Feed(devices):
            made.await_keys()
        with made.client("sae-1") as near, made.client("sae-2") as far:
            assert len(exchange(near, far, 16)) == 16
    finally:
        made.down()
