"""What systemd hears of a node, on a notify socket of the test's own."""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from protokms.commands import node as command
from protokms.config.load import load
from protokms.lab import lab, topology
from protokms.node import service
from protokms.node.node import Node

PATIENCE_S = 10.0
BEAT_S = 0.01
USEC = "WATCHDOG_USEC"
PID = "WATCHDOG_PID"


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(str(tmp_path / "notify"))
        made.settimeout(PATIENCE_S)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield made


def empty(manager: socket.socket) -> None:
    manager.setblocking(False)
    try:
        while manager.recv(100):
            pass
    except BlockingIOError:
        manager.settimeout(PATIENCE_S)


def test_what_is_said_arrives(manager: socket.socket) -> None:
    service.notify("READY=1")
    service.feed()

    assert [manager.recv(100) for _ in range(2)] == [b"READY=1", b"WATCHDOG=1"]


def test_a_start_that_takes_long_is_given_the_time_it_asks_for(manager: socket.socket) -> None:
    service.starting("checking 10 octets", 90.5)

    assert manager.recv(100) == b"STATUS=checking 10 octets\nEXTEND_TIMEOUT_USEC=90500000"


def test_what_is_to_be_loaded_yet_is_told_until_all_is_in_and_signals_are_heard_meanwhile(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    signals = {signal.SIGHUP, signal.SIGTERM}
    monkeypatch.setattr(command, "_TELL_S", 0.0)

    def send(kind: signal.Signals) -> None:
        signal.pthread_kill(threading.get_ident(), kind)

    class Loading:
        left = iter((2000, 1000, 0))

        @property
        def grants_to_load(self) -> int:
            left = next(self.left)
            send(signal.SIGHUP) if left < 2000 else None
            return left

    node = cast(Node, Loading())
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        heard = command._next_signal(node)
        send(signal.SIGTERM)
        heard_later = command._next_signal(node)
        assert signal.sigwait({signal.SIGHUP, signal.SIGTERM})
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    assert heard == signal.SIGHUP
    assert heard_later in signals
    assert [manager.recv(100) for _ in range(3)] == [
        b"STATUS=serving, 2,000 undelivered grants to load",
        b"STATUS=serving, 1,000 undelivered grants to load",
        b"STATUS=serving",
    ]


def test_a_name_without_a_file_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        name = f"protokms-test-{os.getpid()}"
        made.bind("\0" + name)
        made.settimeout(PATIENCE_S)
        monkeypatch.setenv("NOTIFY_SOCKET", "@" + name)

        service.notify("READY=1")

        assert made.recv(100) == b"READY=1"


def test_a_manager_that_does_not_read_holds_nobody_up(manager: socket.socket) -> None:
    for _ in range(10_000):  # more than any queue of datagrams takes
        service.feed()

    empty(manager)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ({USEC: "30000000"}, 10.0),
        ({USEC: "30000000", PID: str(os.getpid())}, 10.0),
        ({USEC: "30000000", PID: "1"}, None),
        ({USEC: "30000000", PID: "me"}, None),
        ({USEC: "0"}, None),
        ({USEC: "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_fed_three_times_in_its_time_if_it_means_us(
    said: dict[str, str], seconds: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (USEC, PID):
        monkeypatch.delenv(name, raising=False)
    for name, value in said.items():
        monkeypatch.setenv(name, value)

    assert service.feed_s() == seconds


@pytest.mark.slow
def test_a_node_feeds_the_watchdog_until_it_hangs(tmp_path: Path, manager: socket.socket) -> None:
    lab.init(tmp_path / "lab", topology.parse("chain:2"))
    deaths: list[str] = []
    node = Node(load(tmp_path / "lab/kms-1/node.toml"), deaths.append, new=True)
    held, go = threading.Event(), threading.Event()

    def hang() -> None:
        held.set()
        assert go.wait(PATIENCE_S)

    node.start()
    try:
        node.pulse(BEAT_S, service.feed)
        fed = [manager.recv(100) for _ in range(5)]
        node.system.loop.call_soon_threadsafe(hang)
        assert held.wait(PATIENCE_S)
        empty(manager)
        manager.settimeout(20 * BEAT_S)
        with pytest.raises(TimeoutError):
            manager.recv(100)
        go.set()
        manager.settimeout(PATIENCE_S)
        again = manager.recv(100)
    finally:
        go.set()
        node.stop()

    assert {*fed, again} == {b"WATCHDOG=1"}
    assert deaths == []
