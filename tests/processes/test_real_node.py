"""Nodes as a service manager runs them: processes, signals, exit codes."""

import json
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from protokms.client import SaeClient, SaeError
from protokms.lab import demo, lab, topology
from tests.processes.real_lab import PATIENCE_S

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
Launch = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def shape() -> topology.Topology:
    return topology.parse("chain:2")


@pytest.fixture
def home(tmp_path: Path, shape: topology.Topology) -> Path:
    lab.init(tmp_path / "lab", shape)
    return tmp_path / "lab"


@pytest.fixture
def launch(home: Path) -> Iterator[Launch]:
    running: list[subprocess.Popen[bytes]] = []

    def begin(name: str, process: str = "core") -> "subprocess.Popen[bytes]":
        config = home / name / "node.toml"
        args = [sys.executable, "-m", "protokms", "node", str(config), "--process", process]
        args += ["--new"] * (process == "core" and not (home / name / "store.db").exists())
        with (home / name / "log").open("ab") as log:
            made = subprocess.Popen(args, stdout=log, stderr=log, cwd=ROOT)
        running.append(made)
        return made

    yield begin
    for each in running:
        each.kill()
        each.wait()


def sae(home: Path, name: str) -> SaeClient:
    made = lab.read(home)
    return demo.client(home, made, next(one for one in made.saes if one.id == name))


def events(home: Path, node: str) -> list[str]:
    lines = (home / node / "log").read_text().splitlines()
    return [json.loads(line)["event"] for line in lines if line.startswith("{")]


def eventually(true: Callable[[], bool], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


def test_keys_are_equal_and_sigterm_drains_both_nodes(home: Path, launch: Launch) -> None:
    nodes = launch("kms-1"), launch("kms-2")

    with sae(home, "sae-1") as near, sae(home, "sae-2") as far:
        demo.await_stock(near, "sae-2", 16, PATIENCE_S)
        demo.await_stock(far, "sae-1", 0, PATIENCE_S)
        sent = near.enc_keys("sae-2", 16)
        got = far.dec_keys("sae-1", [key.key_id for key in sent])
    for node in nodes:
        node.terminate()
    codes = [node.wait(15) for node in nodes]

    assert sent == got
    assert codes == [0, 0]
    assert events(home, "kms-1")[-1] == "node_stopped"
    assert not list(home.glob("*/store.db-wal"))


def test_a_drain_under_load_gives_every_answered_key_away(home: Path, launch: Launch) -> None:
    master, slave = launch("kms-1"), launch("kms-2")
    answered: list[str] = []
    refused: list[SaeError] = []

    def load() -> None:
        with sae(home, "sae-1") as near:
            while not refused:
                try:
                    answered.extend(key.key_id for key in near.enc_keys("sae-2"))
                except SaeError as no:
                    refused.append(no)

    with sae(home, "sae-1") as first:
        demo.await_stock(first, "sae-2", 400, PATIENCE_S)
    thread = threading.Thread(target=load)
    thread.start()
    eventually(lambda: len(answered) >= 20)
    master.send_signal(signal.SIGTERM)
    code = master.wait(20)
    thread.join(20)

    assert code == 0
    assert refused[0].status in {0, 503}
    assert slave.poll() is None
    with sae(home, "sae-2") as far:
        got = [key.key_id for one in answered for key in far.dec_keys("sae-1", [one])]
    assert got == answered


def test_a_key_answered_before_kill_9_is_fetched_after_it(home: Path, launch: Launch) -> None:
    launch("kms-1")
    far = launch("kms-2")
    with sae(home, "sae-1") as near:
        demo.await_stock(near, "sae-2", 4, PATIENCE_S)
        sent = near.enc_keys("sae-2", 4)

    far.kill()
    far.wait()
    launch("kms-2")

    with sae(home, "sae-1") as near, sae(home, "sae-2") as slave:
        eventually(lambda: serves(slave, "sae-1"))
        got = slave.dec_keys("sae-1", [key.key_id for key in sent])
        demo.await_stock(near, "sae-2", 1, PATIENCE_S)
        more = near.enc_keys("sae-2")
    assert got == sent
    assert more[0].key_id not in {key.key_id for key in sent}


def serves(client: SaeClient, other: str) -> bool:
    try:
        return bool(client.status(other))
    except SaeError:
        return False


def test_sighup_reloads_and_the_node_goes_on(home: Path, launch: Launch) -> None:
    node = launch("kms-1")
    with sae(home, "sae-1") as near:
        eventually(lambda: serves(near, "sae-2"))

        node.send_signal(signal.SIGHUP)
        eventually(lambda: "reloaded" in events(home, "kms-1"))

        assert serves(near, "sae-2")
    assert node.poll() is None


def test_the_process_cannot_leave_a_core_dump(home: Path, launch: Launch) -> None:
    node = launch("kms-1")
    eventually(lambda: (home / "kms-1/log").exists() and "node_started" in events(home, "kms-1"))

    limits = Path(f"/proc/{node.pid}/limits").read_text()

    (core,) = [line for line in limits.splitlines() if line.startswith("Max core file size")]
    assert core.split()[-3:-1] == ["0", "0"]


def test_a_second_process_on_the_same_store_ends_with_1(home: Path, launch: Launch) -> None:
    launch("kms-1")
    eventually(lambda: (home / "kms-1/log").exists() and "node_started" in events(home, "kms-1"))

    second = launch("kms-1")

    assert second.wait(15) == 1
    assert "node_failed" in events(home, "kms-1")


def test_a_disk_that_fails_ends_the_node_with_70(home: Path, launch: Launch) -> None:
    node = launch("kms-1")
    launch("kms-2")
    with sae(home, "sae-1") as near:
        demo.await_stock(near, "sae-2", 1, PATIENCE_S)

    resource.prlimit(node.pid, resource.RLIMIT_FSIZE, (65_536, 65_536))

    assert node.wait(30) == 70
    assert events(home, "kms-1")[-1] == "node_died"


@pytest.mark.parametrize("shape", [topology.spread(topology.parse("chain:2"))], ids=["spread"])
def test_the_actors_of_a_node_can_live_in_three_processes(home: Path, launch: Launch) -> None:
    names = "kms-1", "kms-2"
    nodes = [launch(name, each) for name in names for each in ("core", "front", "links")]

    with sae(home, "sae-1") as near, sae(home, "sae-2") as far:
        demo.await_stock(near, "sae-2", 3, PATIENCE_S)
        demo.await_stock(far, "sae-1", 0, PATIENCE_S)
        sent = near.enc_keys("sae-2", 3)
        got = far.dec_keys("sae-1", [key.key_id for key in sent])
    for node in nodes:
        node.terminate()

    assert sent == got
    assert [node.wait(15) for node in nodes] == [0] * 6
    assert "alarm_not_theirs" not in events(home, "kms-1")


def test_systemd_is_told_when_the_node_is_ready_that_it_lives_and_when_it_stops(
    home: Path, launch: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit = (ROOT / "deploy/systemd/protokms@.service").read_text()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(15.0)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "300000")

        node = launch("kms-1")
        said = [manager.recv(100) for _ in range(8)]
        node.terminate()
        while said[-1] == b"WATCHDOG=1":
            said.append(manager.recv(100))

    assert said.count(b"READY=1") == 1
    assert said.count(b"WATCHDOG=1") >= 4
    assert (said[-1], node.wait(15)) == (b"STOPPING=1", 0)
    assert "Type=notify\n" in unit
    assert "WatchdogSec=" in unit
