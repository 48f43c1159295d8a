"""A node under the rules of its unit: what the kernel refuses there, it does not need."""

import contextlib
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from protokms.lab import processes as lab_processes
from protokms.lab.processes import Running
from tests.deploy import units
from tests.processes.real_lab import PATIENCE_S, RealLab, exchange, exit_code, pair

pytestmark = [pytest.mark.slow, units.needs_systemd]

CONFINED = Path(__file__).with_name("confined.py")
Launch = Callable[..., Running]


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[RealLab]:
    made = RealLab(tmp_path / "lab", pair(rate_bit_s=2e6))
    yield made
    made.down()


@pytest.fixture
def launch(bench: RealLab) -> Launch:
    def begin(node: str, unit: Path = units.NODE, without: str = "-") -> Running:
        home = bench.folder / node
        rules = [sys.executable, "-P", str(CONFINED), str(unit), without]
        command = [*rules, "node", str(home / "node.toml")]
        command += ["--new"] * (not bench.store(node).exists())
        return lab_processes.start(command, home / "log", home / "pid")

    return begin


def under_seccomp(process: Running) -> bool:
    """Whether all three filters hold; the host of the tests may have some of its own."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(status.partition("Seccomp_filters:")[2].split()[0]) >= 3


@pytest.mark.parametrize("unit", [units.NODE, units.PROCESS], ids=lambda unit: unit.stem)
def test_nodes_under_the_rules_of_the_unit_deliver_equal_keys_and_drain(
    bench: RealLab, launch: Launch, unit: Path
) -> None:
    nodes = [launch(node, unit) for node in bench.nodes]
    bench.up()
    bench.await_keys()
    confined = [under_seccomp(node) for node in nodes]
    with bench.client("sae-1") as near, bench.client("sae-2") as far:
        exchange(near, far, 16)

    assert confined == [True, True]
    assert [bench.terminate(node) for node in bench.nodes] == [0, 0]


def test_without_netlink_a_node_never_becomes_ready(
    bench: RealLab, launch: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE_S)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))

        dead = exit_code(launch("kms-1", without="AF_NETLINK"))
        manager.setblocking(False)
        heard = list(waiting(manager))
        manager.settimeout(PATIENCE_S)
        launch("kms-1")

        assert dead == -signal.SIGABRT
        assert b"READY=1" not in heard
        while manager.recv(1000) != b"READY=1":  # first it tells how far it is
            continue


def waiting(manager: socket.socket) -> Iterator[bytes]:
    with contextlib.suppress(BlockingIOError):
        while True:
            yield manager.recv(1000)
