"""The management socket: who may open it, what it answers, what it refuses."""

import json
import os
import socket
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.protocol import peers, routes, sessions
from actors.protocol.common import Failed, Health, Healthy
from protokms import manage, manage_client
from protokms import manage_words as words
from protokms.manage import Manager
from protokms.manage_client import ManageFailed
from transport.message import Message

pytestmark = pytest.mark.slow

STATE = sessions.SessionState(
    "kms-3", (("kms-1", "kms-2", "kms-3"),), 1, 0, 0, 1, False, "established", ""
)


class FakeNode:
    """Answers as the actors of a node would."""

    node = "kms-1"

    def __init__(self) -> None:
        self.asked: list[tuple[str, Message]] = []
        self.answers: dict[type[Message], Message | Exception] = {
            peers.ListPeers: peers.Peers(peers=(peers.PeerState("kms-2", True, "1", ""),)),
            sessions.ListSessions: sessions.Sessions(sessions=(STATE,), crossing=2),
            sessions.AddSession: sessions.SessionAdded(session=STATE),
            sessions.RemoveSession: sessions.SessionRemoved(),
            routes.FindRoute: routes.Route(
                path=("kms-1", "kms-2"), cost=1.0, links=(routes.LinkLoad("kms-2", 3, 4),)
            ),
            Health: Healthy(
                ready=True, reasons=(), facts=(("peer_up", "true"), ("stored_bits", "64"))
            ),
        }

    def names(self) -> Sequence[str]:
        stores = ["key_store/kms-1", "key_store/kms-2", "key_store/kms-3", "key_store/kms-4"]
        return [*stores, "quantum_link/kms-2", "virtual_link/kms-3", "peer_manager"]

    def ask(self, name: str, body: Message, timeout: float) -> Future[Message]:
        self.asked.append((name, body))
        answer, future = self.answers[type(body)], Future[Message]()
        if isinstance(answer, Exception):
            future.set_exception(answer)
        else:
            future.set_result(answer)
        return future


@pytest.fixture
def node() -> FakeNode:
    return FakeNode()


@pytest.fixture
def path(tmp_path: Path, node: FakeNode) -> Iterator[Path]:
    manager = Manager(tmp_path / "manage.sock", node)
    manager.start()
    yield tmp_path / "manage.sock"
    manager.stop()


def exchange(path: Path, octets: bytes) -> list[Any]:
    """Send octets and no more; return every line that comes until the node hangs up."""
    with socket.socket(socket.AF_UNIX) as made:
        made.settimeout(10)
        made.connect(str(path))
        made.sendall(octets)
        made.shutdown(socket.SHUT_WR)
        with made.makefile("rb") as file:
            return [json.loads(line) for line in file]


def test_only_its_user_can_open_it(path: Path) -> None:
    assert stat.S_IMODE(path.lstat().st_mode) == 0o600


def test_a_stranger_is_turned_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Credentials:
        size = 12

        @staticmethod
        def unpack(_: bytes) -> tuple[int, int, int]:
            return 4711, os.geteuid() + 12_345, 0

    monkeypatch.setattr(manage, "_CREDENTIALS", Credentials)

    with pytest.raises(ManageFailed):
        manage_client.ask(path, words.ListPeers())


def test_it_answers_what_the_actors_say(path: Path, node: FakeNode) -> None:
    known = manage_client.ask(path, words.ListPeers())
    listed = manage_client.ask(path, words.ListSessions())
    way = manage_client.ask(path, words.ShowRoute(start="kms-1", end="kms-2"))
    word = words.AddSession(destination="kms-3", paths=(("kms-1", "kms-2", "kms-3"),), low_bits=8)
    added = manage_client.ask(path, word)
    gone = manage_client.ask(path, words.RemoveSession(destination="kms-3"))

    assert known["peers"] == [{"name": "kms-2", "up": True, "version": "1", "trouble": ""}]
    assert listed["crossing"] == 2
    assert listed["sessions"][0]["paths"] == [["kms-1", "kms-2", "kms-3"]]
    assert way["path"] == ["kms-1", "kms-2"]
    assert added["session"]["state"] == "established"
    assert gone == {}
    assert node.asked == [
        ("peer_manager", peers.ListPeers()),
        ("sessions", sessions.ListSessions()),
        ("router", routes.FindRoute(start="kms-1", end="kms-2")),
        (
            "sessions",
            sessions.AddSession(
                destination="kms-3", paths=(("kms-1", "kms-2", "kms-3"),), low_bits=8
            ),
        ),
        ("sessions", sessions.RemoveSession(destination="kms-3")),
    ]


def test_links_tell_what_fills_each_store(path: Path) -> None:
    rows = manage_client.ask(path, words.ListLinks())["links"]

    assert [(row["peer"], row["kind"]) for row in rows] == [
        ("kms-2", "quantum"),
        ("kms-3", "relay"),
        ("kms-4", "none"),
    ]
    assert rows[0]["stored_bits"] == 64
    assert [row["ready"] for row in rows] == [True, True, True]


def test_a_neighbour_that_is_not_heard_is_not_ready_and_a_distant_peer_may_be_idle(
    path: Path, node: FakeNode
) -> None:
    node.answers[Health] = Healthy(ready=True, reasons=(), facts=(("peer_up", "false"),))

    near, far, _ = manage_client.ask(path, words.ListLinks())["links"]

    assert (near["ready"], near["reasons"]) == (False, ["kms-2 is not heard"])
    assert (far["ready"], far["reasons"]) == (True, [])


def test_a_link_whose_store_waits_for_its_peer_is_not_ready(path: Path, node: FakeNode) -> None:
    up = (("peer_up", "true"),)
    node.answers[Health] = Healthy(ready=True, reasons=(), facts=up, waits=("not in step",))

    row = manage_client.ask(path, words.ListLinks())["links"][0]

    assert (row["ready"], row["reasons"]) == (False, ["not in step"])


def test_a_refusal_comes_with_code_and_reason(path: Path, node: FakeNode) -> None:
    node.answers[sessions.AddSession] = Failed(code="no_route", why="kms-2")
    node.answers[routes.FindRoute] = Failed(code="undeliverable", why="router@kms-1")

    with pytest.raises(ManageFailed, match="no_route: kms-2") as refused:
        manage_client.ask(path, words.AddSession(destination="kms-9"))
    with pytest.raises(ManageFailed, match="there is no router at this node"):
        manage_client.ask(path, words.ShowRoute(start="a", end="b"))

    assert refused.value.code == "no_route"


@pytest.mark.parametrize(
    "line",
    [
        b"nonsense",
        b"[]",
        b"{}",
        b'{"do": "node.stop"}',
        b'{"do": "peer.list", "more": 1}',
        b'{"do": "session.add"}',
        b'{"do": "session.add", "destination": 3}',
        b'{"do": "session.add", "destination": "x", "n": -1}',
        b'{"do": "session.add", "destination": "x", "paths": [["x"]]}',
        b'{"do": "session.add", "destination": "' + b"x" * 65 + b'"}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_what_is_no_word_is_refused_and_the_next_line_is_heard(path: Path, line: bytes) -> None:
    answers = exchange(path, line + b'\n{"do": "peer.list"}\n')

    assert answers[0]["failed"]["code"] == "malformed"
    assert "ok" in answers[1]


def test_a_line_without_an_end_ends_the_connection(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.settimeout(10)
        made.connect(str(path))
        made.sendall(b"x" * (words.LINE_LIMIT + 2))
        with made.makefile("rb") as file:
            said = file.readline()

    assert json.loads(said)["failed"]["code"] == "malformed"


def test_a_fault_of_ours_is_answered(path: Path, node: FakeNode) -> None:
    node.answers[peers.ListPeers] = RuntimeError("a secret")

    with pytest.raises(ManageFailed, match="internal error") as refused:
        manage_client.ask(path, words.ListPeers())

    assert "a secret" not in str(refused.value)


def test_connections_are_bounded(path: Path) -> None:
    idle = [socket.socket(socket.AF_UNIX) for _ in range(manage.CONNECTIONS_MAX)]
    for one in idle:
        one.settimeout(10)
        one.connect(str(path))
        one.sendall(b'{"do": "peer.list"}\n')
        assert one.recv(1 << 16)

    refused = exchange(path, b"")
    for one in idle:
        one.close()

    assert refused[0]["failed"]["code"] == "busy"


# Coming and going


def test_a_socket_left_by_a_crash_is_replaced_and_removed_at_the_end(
    tmp_path: Path, node: FakeNode
) -> None:
    path = tmp_path / "manage.sock"
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(path))
    left.close()
    manager = Manager(path, node)

    manager.start()
    found = manage_client.ask(path, words.ListPeers())
    manager.stop()

    assert found["peers"]
    assert not path.exists()


def test_a_socket_in_use_and_a_file_are_left_alone(path: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("precious")

    with pytest.raises(OSError, match="another process listens"):
        Manager(path, FakeNode()).start()
    with pytest.raises(OSError, match="is no socket"):
        Manager(file, FakeNode()).start()

    assert file.read_text() == "precious"
    assert manage_client.ask(path, words.ListPeers())["peers"]


def test_a_stop_ends_open_connections(tmp_path: Path, node: FakeNode) -> None:
    manager = Manager(tmp_path / "s", node)
    manager.start()
    with socket.socket(socket.AF_UNIX) as made:
        made.settimeout(10)
        made.connect(str(tmp_path / "s"))
        made.sendall(b'{"do": "peer.list"}\n')
        assert made.recv(1 << 16)

        manager.stop()

        assert made.recv(1) == b""
    assert not any(thread.name == "manage" for thread in threading.enumerate())


def test_the_folder_of_a_socket_may_lie_deep(tmp_path: Path, node: FakeNode) -> None:
    deep = tmp_path.joinpath(*["a-folder-with-a-long-name"] * 8)
    deep.mkdir(parents=True)
    manager = Manager(deep / "manage.sock", node)
    manager.start()

    found = manage_client.ask(deep / "manage.sock", words.ListPeers())
    manager.stop()

    assert found["peers"]
    assert not (deep / "manage.sock").exists()


# The client


def test_a_node_that_does_not_run_is_told_so(tmp_path: Path) -> None:
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / "left"))
    left.close()

    for name in ("none", "left"):
        with pytest.raises(ManageFailed) as refused:
            manage_client.ask(tmp_path / name, words.ListPeers())
        assert refused.value.code == "not_running"


@pytest.mark.parametrize("said", [b"", b"{}\n", b"[]\n", b"x\n", b'{"failed": 1}\n'])
def test_nonsense_from_a_socket_is_an_error(
    tmp_path: Path, said: bytes, serve: Callable[[bytes], Path]
) -> None:
    with pytest.raises(ManageFailed) as refused:
        manage_client.ask(serve(said), words.ListPeers())

    assert refused.value.code == "malformed"


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[bytes], Path]]:
    listener = socket.socket(socket.AF_UNIX)
    threads = []

    def begin(said: bytes) -> Path:
        listener.bind(str(tmp_path / "s"))
        listener.listen(1)

        def answer() -> None:
            one, _ = listener.accept()
            with one:
                one.recv(1 << 16)
                one.sendall(said)

        threads.append(threading.Thread(target=answer))
        threads[0].start()
        return tmp_path / "s"

    yield begin
    for thread in threads:
        thread.join(10)
    listener.close()


def test_words_survive_json() -> None:
    word = words.AddSession(destination="kms-3", paths=(("a", "b"),), n=2)

    assert msgspec.json.decode(msgspec.json.encode(word), type=words.Word) == word
