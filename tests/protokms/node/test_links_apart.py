"""Links that come and go at run time in a process beside core, with real sockets and files."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from actors.protocol import intent, peers
from actors.protocol.common import Failed, Health, Healthy
from protokms.lab import lab, topology
from protokms.node.node import Node
from tests.kit.in_process import Start, eventually, processes
from transport.message import Message

pytestmark = pytest.mark.slow

STORE, LINK = "key_store/kms-2", "quantum_link/kms-2"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    lab.init(tmp_path / "lab", topology.spread(topology.parse("chain:2")), bare=True)
    return tmp_path / "lab"


@pytest.fixture
def starts(home: Path) -> Iterator[dict[str, Start]]:
    with ExitStack() as stack:
        files = {name: home / name / "node.toml" for name in ("kms-1", "kms-2")}
        yield {it: stack.enter_context(processes(file)) for it, file in files.items()}


def ask(core: Node, body: Message) -> Message:
    return core.ask("peer_manager", body, 6.0).result()


def want(core: Node, peer: str, verb: str = intent.PUT) -> None:
    """Want the link, or no longer, as an operator does: what nobody wants is taken away."""
    link = intent.Link(intent.PHYS, core.name, peer, interface=1)
    edit = intent.Edit(verb, intent.LINK, "", link=link)
    write = intent.Write(owner=intent.CLI, edits=(edit,))
    assert isinstance(core.ask(intent.NAME, write, 6.0).result(), intent.Written)


def add(core: Node, peer: str) -> Message:
    want(core, peer)
    return ask(core, peers.AddQuantumPeer(peer=peer, interface=1))


def bits(core: Node, store: str = STORE) -> int:
    told = core.ask(store, Health(), 5.0).result()
    return int(dict(told.facts)["stored_bits"]) if isinstance(told, Healthy) else -1


def test_a_link_beside_core_comes_and_goes(starts: dict[str, Start]) -> None:
    cores = {name: begin("core") for name, begin in starts.items()}
    links = {name: begin("links") for name, begin in starts.items()}
    core, edge = cores["kms-1"], links["kms-1"]
    eventually(lambda: add(core, "kms-2") == peers.Done())
    eventually(lambda: add(cores["kms-2"], "kms-1") == peers.Done())

    eventually(lambda: bits(core) > 0)
    assert LINK in edge.system.names()
    assert LINK not in core.system.names()
    assert LINK in core.names()

    want(core, "kms-2", intent.REMOVE)
    eventually(lambda: LINK not in edge.system.names())
    eventually(lambda: LINK not in core.names())
    stock = bits(core)
    eventually(lambda: add(core, "kms-2") == peers.Done())
    eventually(lambda: bits(core) > stock)
    assert "protokms_frames_refused" not in [it.name for it in core.meter.samples()[0]]


def test_a_process_that_is_back_runs_what_was_wanted(starts: dict[str, Start]) -> None:
    begin = starts["kms-1"]
    core, edge = begin("core"), begin("links")
    eventually(lambda: add(core, "kms-2") == peers.Done())

    edge.stop()
    eventually(lambda: core.troubles() != [] or not core._siblings.greeted("links"))
    again = begin("links")

    eventually(lambda: LINK in again.system.names())


def test_an_interface_whose_process_is_gone_has_failed(starts: dict[str, Start]) -> None:
    begin = starts["kms-1"]
    core, edge = begin("core"), begin("links")
    eventually(lambda: add(core, "kms-2") == peers.Done())
    assert interface(core) == (intent.ENABLED, "kms-2")

    edge.stop()
    eventually(lambda: interface(core) == (intent.FAILED, "kms-2"))
    begin("links")

    eventually(lambda: interface(core) == (intent.ENABLED, "kms-2"))


def interface(core: Node) -> tuple[str, str]:
    """Return how the one interface is, and to whom it leads."""
    told = core.ask(intent.NAME, intent.Read(kinds=(intent.INTERFACE,)), 5.0).result()
    assert isinstance(told, intent.Rows)
    (entry,) = told.entries
    assert entry.interface
    return entry.facts.status, entry.interface.peer


def test_an_edge_runs_no_link_that_its_core_knows_nothing_of(starts: dict[str, Start]) -> None:
    begin = starts["kms-1"]
    core, edge = begin("core"), begin("links")
    come = peers.AddQuantumPeer(peer="kms-2", interface=1)  # that nobody wants
    eventually(lambda: ask(core, come) == peers.Done())

    core.stop()

    eventually(lambda: LINK not in edge.system.names())
    again = begin("core")
    eventually(lambda: again._siblings.greeted("links"))
    assert LINK not in edge.system.names()


def test_a_link_that_keeps_dying_beside_core_harms_nobody_else(
    home: Path, starts: dict[str, Start]
) -> None:
    begin = starts["kms-1"]
    core, edge = begin("core"), begin("links")
    bind = edge.config.interfaces[0].bind
    assert bind

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((bind.host, bind.port))
        eventually(lambda: add(core, "kms-2") == peers.Done())
        eventually(lambda: edge.meter.value("protokms_actor_deaths", actor=LINK) > 5)
        eventually(lambda: LINK not in edge.system.names())

    assert "supervisor/links" in edge.system.names()
    assert STORE in core.system.names()
    eventually(lambda: add(core, "kms-2") == peers.Done())
    eventually(lambda: LINK in edge.system.names())


def test_what_the_edge_refuses_is_told_to_whoever_asks(
    home: Path, starts: dict[str, Start]
) -> None:
    (home / "kms-1/links/kms-2.toml").unlink()
    core = starts["kms-1"]("core")
    starts["kms-1"]("links")

    eventually(lambda: _code(add(core, "kms-2")) == "unknown_peer")


def _code(answer: Message) -> str:
    return answer.code if isinstance(answer, Failed) else ""
