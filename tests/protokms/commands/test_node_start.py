"""How `protokms node` waits for an address that this host does not have yet."""

import errno
import socket
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import LogCapture

from protokms.commands import node as command
from protokms.config import addresses
from protokms.config.load import load
from protokms.lab import lab, topology
from protokms.node.node import Node, NodeEarly, NodeFailed
from transport.binding import CannotBind, cannot_bind
from transport.endpoint import Endpoint

Find = Callable[[Endpoint, socket.SocketKind], CannotBind | None]

pytestmark = pytest.mark.slow


def missing(times: int) -> Find:
    """The first address that is looked at is not there so often, and then it is."""
    left = [times]

    def find(end: Endpoint, _: socket.SocketKind, **_options: bool) -> CannotBind | None:
        if not left[0]:
            return None
        left[0] -= 1
        return cannot_bind(str(end), OSError(errno.EADDRNOTAVAIL, ""))

    return find


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    lab.init(tmp_path / "lab", topology.parse("chain:2"))
    monkeypatch.setattr(command, "_PAUSE_S", 0.01)
    return tmp_path / "lab/kms-1/node.toml"


def started(config: Path, log: Any) -> Node | None:
    made = load(config)
    make = partial(Node, made, pytest.fail, new=True)
    return command._started(make, made.node.start_wait_s, log)


def test_a_node_starts_once_its_address_is_there(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(addresses, "find_trouble", missing(3))
    log = LogCapture()

    node = started(config, structlog.wrap_logger(None, processors=[log]))

    assert node
    node.stop()
    assert [row["event"] for row in log.entries] == ["node_waits"]  # told once, at once


def test_it_does_not_wait_when_something_else_is_wrong_too(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = iter([errno.EADDRNOTAVAIL, errno.EADDRINUSE])

    def find(end: Endpoint, _: socket.SocketKind, **_options: bool) -> CannotBind | None:
        code = next(codes, None)
        return cannot_bind(str(end), OSError(code, "")) if code else None

    monkeypatch.setattr(addresses, "find_trouble", find)

    with pytest.raises(NodeFailed, match=r"transport\.bind: .*\n.*\.bind: .*occupied") as failed:
        started(config, structlog.get_logger())

    assert not isinstance(failed.value, NodeEarly)


def test_it_ends_when_the_time_is_over(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config.write_text(config.read_text().replace("[node]", "[node]\nstart_wait_s = 0.0"))
    monkeypatch.setattr(addresses, "find_trouble", missing(1))

    with pytest.raises(NodeEarly, match=r"transport\.bind: .* is not an address of this host"):
        started(config, structlog.get_logger())
