"""The management socket: who may open it, what it answers, what it refuses."""

import json
import os
import socket
import stat
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from actors.protocol import alarms, intent, links, peers, routes, sessions
from actors.protocol.common import Failed, Health, Healthy
from actors.protocol.siblings import AskProcess, ProcessStatus
from protokms.manage import client as manage_client
from protokms.manage import server, words
from protokms.manage.callers import ALONE, NEEDED, Caller, Callers, Role, caller_at, callers
from protokms.manage.client import ManageFailed
from protokms.manage.server import Manager
from transport.explained import Explained
from transport.message import Message

pytestmark = pytest.mark.slow

ME = frozenset(os.getgroups()) | {os.getgid()}
ELSE = frozenset({4_000_000_000})

STATE = sessions.SessionState(
    "kms-3", (("kms-1", "kms-2", "kms-3"),), 1, 0, 0, 1, False, "established", ""
)

VIRT = intent.Link(intent.VIRT, "kms-1", "kms-3")
PHYS = intent.Link(intent.PHYS, "kms-1", "kms-2")
ROWS = intent.Rows(
    revision=3,
    changed=0.0,
    node=intent.Named("kms-1", ""),
    version="1",
    entries=(
        intent.Entry(
            intent.LINK, "file-1", intent.FILE, 1, 0.0, intent.Facts(intent.ACTIVE), link=PHYS
        ),
        intent.Entry(
            intent.LINK, "own-1", intent.NODE, 0, 0.0, intent.Facts(intent.ACTIVE), link=VIRT
        ),
    ),
)
RELOADED = words.Reloaded(applied=("etsi014.deny",), not_reached=("front",))
ALARM = alarms.Alarm("disk_full", "", 3_600.0, "no room", "free the disk", alarms.ITSELF)


class FakeNode:
    """Answers as the actors of a node would."""

    node = "kms-1"

    def __init__(self) -> None:
        self.asked: list[tuple[str, Message]] = []
        self.breaks = False
        self.answers: dict[type[Message], Message | Exception] = {
            peers.ListPeers: peers.Peers(peers=(peers.PeerState("kms-2", True, "1", ""),)),
            sessions.ListSessions: sessions.Sessions(sessions=(STATE,), crossing=2),
            sessions.AddSession: sessions.SessionAdded(session=STATE),
            sessions.RemoveSession: sessions.SessionRemoved(),
            intent.Write: intent.Written(revision=4, changed=0.0, created=(True,)),
            intent.Read: ROWS,
            routes.FindRoute: routes.Route(
                path=("kms-1", "kms-2"), cost=1.0, links=(routes.LinkLoad("kms-2", 3, 4),)
            ),
            alarms.ListAlarms: alarms.AlarmList(alarms=(ALARM,), dropped=3),
            alarms.ClearAlarm: alarms.AlarmsCleared(n=2),
            links.ClearQuarantine: links.QuarantineCleared(test="repeated_bits"),
            Health: Healthy(
                ready=True, reasons=(), facts=(("peer_up", "true"), ("stored_bits", "64"))
            ),
        }

    def processes(self) -> Sequence[str]:
        return ["core"]

    def reload(self) -> words.Reloaded:
        if self.breaks:
            raise RuntimeError
        return RELOADED

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


def test_a_stranger_is_turned_away(
    path: Path, node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = Caller(4711, os.geteuid() + 12_345, ELSE)
    monkeypatch.setattr(server, "caller_at", lambda _: stranger)

    with pytest.raises(ManageFailed):
        manage_client.ask(path, words.ListPeers())
    assert node.asked == []


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
        ("intent", wrote(intent.PUT, replace(VIRT, paths=STATE.paths, low_bits=8))),
        (
            "sessions",
            sessions.AddSession(
                destination="kms-3", paths=(("kms-1", "kms-2", "kms-3"),), low_bits=8
            ),
        ),
        ("intent", wrote(intent.REMOVE, VIRT)),
        ("sessions", sessions.RemoveSession(destination="kms-3")),
    ]


def wrote(verb: str, link: intent.Link, id_: str = "", **more: tuple[str, ...]) -> intent.Write:
    edit = intent.Edit(verb, intent.LINK, id_, link=link, **more)  # type: ignore[arg-type]
    return intent.Write(owner=intent.CLI, edits=(edit,))


def test_links_are_added_and_removed_as_rows_of_the_command_line(
    path: Path, node: FakeNode
) -> None:
    manage_client.ask(path, words.AddLink(peer="kms-2", interface=3))
    manage_client.ask(path, words.RemoveLink(peer="kms-2"))

    assert node.asked == [
        ("intent", wrote(intent.PUT, replace(PHYS, interface=3))),
        ("intent", wrote(intent.REMOVE, PHYS)),
    ]


@pytest.mark.parametrize("enabled", [True, False])
def test_every_row_that_fills_the_store_of_a_peer_is_switched(
    path: Path, node: FakeNode, enabled: bool
) -> None:
    manage_client.ask(path, words.SwitchLink(peer="kms-2", enabled=enabled))

    switched = wrote(intent.MERGE, replace(PHYS, enabled=enabled), "file-1", fields=("enabled",))
    assert node.asked[-1] == ("intent", switched)


def test_a_link_that_nobody_has_added_is_not_switched(path: Path) -> None:
    with pytest.raises(ManageFailed, match="nobody has added"):
        manage_client.ask(path, words.SwitchLink(peer="kms-3", enabled=False))


def test_a_row_of_a_controller_is_not_written(path: Path, node: FakeNode) -> None:
    denied = intent.Denied(code="access_denied", why="the link belongs to controller-1")
    node.answers[intent.Write] = denied
    asked = (
        words.AddSession(destination="kms-3"),
        words.RemoveSession(destination="kms-3"),
        words.AddLink(peer="kms-2"),
        words.RemoveLink(peer="kms-2"),
        words.SwitchLink(peer="kms-2", enabled=False),
    )

    for word in asked:
        with pytest.raises(ManageFailed, match="controller-1"):
            manage_client.ask(path, word)

    assert {name for name, _ in node.asked} == {"intent"}


@pytest.mark.parametrize(("why", "kept"), [("refused by kms-2", True), ("bad terms", False)])
def test_a_session_of_bad_terms_is_wanted_no_more(
    path: Path, node: FakeNode, why: str, kept: bool
) -> None:
    node.answers[sessions.AddSession] = Failed(code="no_route", why=why)

    with pytest.raises(ManageFailed, match=why):
        manage_client.ask(path, words.AddSession(destination="kms-3"))

    last = ("intent", wrote(intent.REMOVE, VIRT))
    assert (node.asked[-1] != last) is kept


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


def test_a_quantum_link_tells_its_error_rate_and_why_no_key_comes(
    path: Path, node: FakeNode
) -> None:
    before = manage_client.ask(path, words.ListLinks())["links"]
    facts = (("peer_up", "true"), ("qber", "0.0310"))
    node.answers[Health] = Healthy(ready=True, reasons=(), facts=facts, waits=("quiet: QBER",))

    near, far, _ = manage_client.ask(path, words.ListLinks())["links"]

    assert (before[0]["qber"], before[0]["reasons"]) == (None, [])
    assert (near["qber"], near["reasons"][-1]) == (0.031, "quiet: QBER")
    assert far["qber"] is None


def test_the_store_of_a_peer_is_told_to_end_the_quarantine_of_its_link(
    path: Path, node: FakeNode
) -> None:
    cleared = manage_client.ask(path, words.ClearLink(peer="kms-2"))
    node.answers[links.ClearQuarantine] = Failed(code="undeliverable", why="key_store/kms-9")

    assert cleared == {"test": "repeated_bits"}
    assert node.asked == [("key_store/kms-2", links.ClearQuarantine())]
    with pytest.raises(ManageFailed, match="there is no key_store/kms-9 at this node"):
        manage_client.ask(path, words.ClearLink(peer="kms-9"))


def test_alarms_are_told_with_the_time_at_which_they_began(path: Path) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    found = manage_client.ask(path, words.ListAlarms())
    after = datetime.now(UTC)

    assert found["dropped"] == 3
    (row,) = found["alarms"]
    since = datetime.fromisoformat(row.pop("since")) + timedelta(hours=1)
    assert before <= since <= after
    assert row == {
        "id": "disk_full",
        "subject": "",
        "text": "no room",
        "remedy": "free the disk",
        "clears": "itself",
    }


def test_alarms_are_ended_by_who_keeps_them(path: Path, node: FakeNode) -> None:
    cleared = manage_client.ask(path, words.ClearAlarm(id="forged", subject="kms-2"))
    node.answers[alarms.ClearAlarm] = Failed(code="not_allowed", why="it ends by itself")

    assert cleared == {"n": 2}
    assert node.asked == [("alarms", alarms.ClearAlarm(id="forged", subject="kms-2"))]
    with pytest.raises(ManageFailed, match="not_allowed: it ends by itself"):
        manage_client.ask(path, words.ClearAlarm(id="disk_full"))


def test_a_reload_says_what_came_of_it(path: Path, node: FakeNode) -> None:
    found = manage_client.ask(path, words.ReloadNode())
    node.breaks = True

    assert msgspec.convert(found, words.Reloaded) == RELOADED
    with pytest.raises(ManageFailed, match="crashed"):
        manage_client.ask(path, words.ReloadNode())


def test_the_status_tells_of_each_process_and_of_who_does_not_answer(
    path: Path, node: FakeNode
) -> None:
    node.answers[AskProcess] = ProcessStatus(
        process="core", host="a", version="1", actors=("x",), deaths=2, mailbox=3, last_error="x: y"
    )
    found = manage_client.ask(path, words.NodeStatus())
    node.answers[AskProcess] = Failed(code="undeliverable", why="node/core@kms-1")
    away = manage_client.ask(path, words.NodeStatus())

    (row,) = found["processes"]
    assert (row["reached"], row["deaths"], row["last_error"]) == (True, 2, "x: y")
    assert away == {"processes": [{"reached": False, "process": "core"}]}


def test_a_process_has_the_name_that_was_asked_and_tells_no_more_than_fits(
    path: Path, node: FakeNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node, "processes", lambda: ["core", "front"])
    long = "\x1b" * 5_000
    node.answers[AskProcess] = ProcessStatus(
        process="core",
        host=long,
        version=long,
        actors=(long,) * 2_000,
        deaths=2,
        mailbox=3,
        last_error=long,
    )

    core, row = manage_client.ask(path, words.NodeStatus())["processes"]

    assert len(core["actors"]) == 2_000
    assert (row["process"], row["deaths"], row["mailbox"]) == ("front", 2, 3)
    assert len(row["actors"]) == 1_024
    for text in (row["host"], row["version"], row["last_error"], *row["actors"]):
        assert text == r"\x1b" * 64


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
    idle = [socket.socket(socket.AF_UNIX) for _ in range(server.CONNECTIONS_MAX)]
    for one in idle:
        one.settimeout(10)
        one.connect(str(path))
        one.sendall(b'{"do": "peer.list"}\n')
        assert one.recv(1 << 16)

    refused = exchange(path, b"")
    for one in idle:
        one.close()

    assert refused[0]["failed"]["code"] == "busy"


# Roles


def test_each_word_needs_a_role() -> None:
    assert set(NEEDED) == set(get_args(words.Word))
    assert min(NEEDED.values()) is Role.READ


@pytest.mark.parametrize(
    ("caller", "role"),
    [
        (Caller(1, 0, frozenset()), Role.SECURITY),
        (Caller(1, os.geteuid(), frozenset()), Role.SECURITY),
        (Caller(1, 12_345, frozenset({7})), Role.READ),
        (Caller(1, 12_345, frozenset({7, 8})), Role.OPERATE),
        (Caller(1, 12_345, frozenset({9, 7})), Role.SECURITY),
        (Caller(1, 12_345, frozenset({10})), Role.NOBODY),
    ],
)
def test_the_role_of_a_caller_is_the_highest_of_its_groups(caller: Caller, role: Role) -> None:
    groups = {Role.READ: {7}, Role.OPERATE: {8}, Role.SECURITY: {9}}

    assert Callers({name: frozenset(ids) for name, ids in groups.items()}).role(caller) is role


def test_without_groups_strangers_have_no_role() -> None:
    assert ALONE.role(Caller(1, 12_345, ME)) is Role.NOBODY
    assert ALONE.alone


def test_the_kernel_tells_who_is_at_the_other_end() -> None:
    one, other = socket.socketpair(socket.AF_UNIX)
    with one, other:
        assert caller_at(one) == Caller(os.getpid(), os.geteuid(), ME)


def test_a_group_that_there_is_not_is_named() -> None:
    with pytest.raises(ValueError, match="there is no group nobody-is-in-it on this host"):
        callers(operate=["nobody-is-in-it"])


@pytest.mark.parametrize(
    ("role", "word", "refused"),
    [
        (Role.READ, b'{"do": "peer.list"}', ""),
        (Role.READ, b'{"do": "node.reload"}', "node.reload is for the role operate"),
        (Role.OPERATE, b'{"do": "node.reload"}', ""),
        (Role.OPERATE, b'{"do": "alarm.clear", "id": "x"}', "alarm.clear is for the role security"),
        (Role.SECURITY, b'{"do": "alarm.clear", "id": "x"}', ""),
    ],
)
def test_a_caller_is_refused_what_its_role_does_not_hold(
    tmp_path: Path,
    node: FakeNode,
    monkeypatch: pytest.MonkeyPatch,
    role: Role,
    word: bytes,
    refused: str,
) -> None:
    stranger = Caller(1, 12_345, frozenset({7}))
    monkeypatch.setattr(server, "caller_at", lambda _: stranger)
    path = tmp_path / "manage.sock"
    manager = Manager(path, node, Callers({role: frozenset({7})}))
    manager.start()
    try:
        assert stat.S_IMODE(path.stat().st_mode) == 0o666
        (answer,) = exchange(path, word + b"\n")
    finally:
        manager.stop()

    if refused:
        assert answer["failed"]["code"] == "not_allowed"
        assert refused in answer["failed"]["why"]
        assert node.asked == []
    else:
        assert "ok" in answer


ASK = (
    "import socket, sys\n"
    "made = socket.socket(socket.AF_UNIX)\n"
    "made.connect(sys.argv[1])\n"
    "made.sendall(sys.argv[2].encode() + b'\\n')\n"
    "made.shutdown(socket.SHUT_WR)\n"
    "print(made.makefile().read())"
)


@pytest.mark.skipif(os.geteuid() != 0, reason="another user is tried, which needs root")
@pytest.mark.parametrize(
    ("groups", "said"), [([7], '"ok"'), ([8], "role security"), ([10], ""), ([], "")]
)
def test_another_user_has_what_its_groups_have(
    node: FakeNode, groups: list[int], said: str
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        path = Path(folder) / "manage.sock"
        roles = {Role.SECURITY: frozenset({7}), Role.READ: frozenset({8})}
        manager = Manager(path, node, Callers(roles))
        manager.start()
        try:
            done = subprocess.run(
                ["/usr/bin/python3", "-c", ASK, str(path), '{"do": "alarm.clear", "id": "x"}'],
                user=65_534,
                group=65_534,
                extra_groups=groups,
                capture_output=True,
                text=True,
                check=False,
                timeout=30,
            )
        finally:
            manager.stop()
    assert (said in done.stdout) if said else (done.stdout.strip() == "")


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

    with pytest.raises(Explained, match="another process listens"):
        Manager(path, FakeNode()).start()
    with pytest.raises(Explained, match="is no socket"):
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


def test_policies_are_rows_of_the_command_line_and_are_told_in_their_order(
    path: Path, node: FakeNode
) -> None:
    later, first = (intent.Policy(order, ("*",), ("sae-2",), allow=False) for order in (7, 3))
    on = intent.Facts(intent.ON)
    node.answers[intent.Read] = replace(
        ROWS,
        entries=(
            intent.Entry(intent.POLICY, "a", intent.FILE, 1, 0.0, on, policy=later),
            intent.Entry(intent.POLICY, "b", intent.CLI, 2, 0.0, on, policy=first),
        ),
    )
    terms: dict[str, Any] = {"masters": ("*",), "slaves": ("sae-2",), "allow": False}

    manage_client.ask(path, words.AddPolicy(name="b", order=3, **terms))
    manage_client.ask(path, words.RemovePolicy(name="b"))
    found = manage_client.ask(path, words.ListPolicies())

    put = intent.Edit(intent.PUT, intent.POLICY, "b", policy=first)
    remove = intent.Edit(intent.REMOVE, intent.POLICY, "b")
    assert [word for _, word in node.asked[:2]] == [
        intent.Write(owner=intent.CLI, edits=(edit,)) for edit in (put, remove)
    ]
    assert [(it["name"], it["owner"], it["order"]) for it in found["policies"]] == [
        ("b", "cli", 3),
        ("a", "file", 7),
    ]
