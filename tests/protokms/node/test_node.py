"""A node in this process, with real sockets and files."""

import http.client
import json
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from actors.base import Row
from actors.protocol import intent, peers
from actors.protocol.common import Health, Healthy
from actors.storage.file import StoreFile
from protokms.client import SaeClient, SaeError
from protokms.config import addresses, directory
from protokms.config.keyfiles import read_key
from protokms.config.load import load
from protokms.lab import demo, lab, topology
from protokms.manage import words
from protokms.node import node as running
from protokms.node.node import Node, NodeFailed, NodeUnfit
from tests.kit.in_process import eventually
from transport import curve
from transport.https import connect
from transport.message import Message, Secret

pytestmark = pytest.mark.slow

Start = Callable[[str], Node]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    lab.init(tmp_path / "lab", topology.parse("chain:2"))
    return tmp_path / "lab"


@pytest.fixture
def deaths() -> list[str]:
    return []


@pytest.fixture
def start(home: Path, deaths: list[str]) -> Iterator[Start]:
    with ExitStack() as stack:

        def begin(name: str) -> Node:
            node = node_of(home / name / "node.toml", deaths)
            node.start()
            stack.callback(node.stop)  # harmless when the test has stopped it
            return node

        yield begin


def node_of(file: Path, deaths: list[str]) -> Node:
    """Make a node; the first time it makes its store."""
    config = load(file)
    return Node(config, deaths.append, new=not config.node.data.exists())


def sae(home: Path, name: str) -> SaeClient:
    made = lab.read(home)
    return demo.client(home, made, next(one for one in made.saes if one.id == name))


def ready(node: Node) -> dict[str, Any]:
    assert node.core
    bind = node.core.metrics.bind
    connection = http.client.HTTPConnection(bind.host, bind.port, timeout=5)
    connection.request("GET", "/ready")
    found: dict[str, Any] = json.loads(connection.getresponse().read())
    connection.close()
    return found


def ask(node: Node, name: str, body: Message) -> Message:
    return node.ask(name, body, 5.0).result()


def facts(node: Node, name: str) -> tuple[tuple[str, str], ...]:
    """Return the facts of an actor, none while it is not ready."""
    answer = ask(node, name, Health())
    return answer.facts if isinstance(answer, Healthy) and answer.ready else ()


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def sign(home: Path, known: peers.Directory) -> None:
    octets = directory.octets_of(known)
    (home / "directory.json").write_bytes(octets)
    key = read_key(home / "ca/signing.key")
    (home / "directory.json.sig").write_bytes(directory.sign(octets, key))


def test_two_nodes_hand_out_equal_keys_and_stop_without_a_trace(home: Path) -> None:
    before = set(threading.enumerate())
    made = lab.read(home)

    with demo.running(home, made), sae(home, "sae-1") as near, sae(home, "sae-2") as far:
        demo.await_stock(near, "sae-2", 8)
        sent = near.enc_keys("sae-2", 8, 128)
        got = far.dec_keys("sae-1", [key.key_id for key in sent])

    assert sent == got
    assert set(threading.enumerate()) <= before


def test_a_node_alone_is_ready_and_says_for_whom_it_waits(start: Start) -> None:
    found = ready(start("kms-1"))

    assert (found["ready"], found["reasons"]) == (True, [])
    assert {why.partition(" ")[0].rstrip(":") for why in found["waiting"]} == {
        "key_store/kms-2",
        "quantum_link/kms-2",
    }
    assert not found["bits_received"]


def test_a_start_is_not_given_up_while_rows_are_read(
    home: Path, deaths: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    go, told, read = threading.Event(), list[tuple[str, float]](), StoreFile.load

    def slow(file: StoreFile, store: str) -> list[Row]:
        assert go.wait(60.0)
        return read(file, store)

    def progress(text: str, seconds: float) -> None:
        told.append((text, seconds))
        if "reads its rows" in text:
            monkeypatch.setattr(running, "_START_S", 60.0)
            go.set()

    first = Node(load(home / "kms-1/node.toml"), deaths.append, new=True, progress=progress)
    first.start()
    first.stop()
    assert told == []
    monkeypatch.setattr(StoreFile, "load", slow)
    monkeypatch.setattr(running, "_START_S", 0.05)
    node = Node(load(home / "kms-1/node.toml"), deaths.append, progress=progress)
    node.start()
    node.stop()

    (check, seconds), (waits, patience), *_ = told
    assert check.startswith("checking ")
    assert "reads its rows" in waits
    assert seconds >= patience >= 60.0
    assert deaths == []


def test_two_nodes_become_ready_and_receive_bits(start: Start) -> None:
    one, other = start("kms-1"), start("kms-2")

    for node in (one, other):
        eventually(lambda node=node: ready(node)["ready"])  # type: ignore[misc]
        eventually(lambda node=node: ready(node)["bits_received"])  # type: ignore[misc]

    assert one.meter.value("protokms_peer_up", peer="kms-2") == 1


def test_the_other_end_going_away_is_noticed_and_so_is_its_return(
    start: Start, home: Path, deaths: list[str]
) -> None:
    near = start("kms-1")
    far = node_of(home / "kms-2/node.toml", deaths)
    far.start()
    eventually(lambda: ready(near)["ready"])

    far.stop()
    eventually(lambda: near.meter.value("protokms_peer_up", peer="kms-2") == 0)
    start("kms-2")
    eventually(lambda: near.meter.value("protokms_peer_up", peer="kms-2") == 1)

    eventually(lambda: ready(near)["ready"])
    assert deaths == []


def test_keys_issued_before_a_restart_of_the_slaves_node_are_fetched_after_it(
    start: Start, home: Path, deaths: list[str]
) -> None:
    start("kms-1")
    far = node_of(home / "kms-2/node.toml", deaths)
    far.start()
    with sae(home, "sae-1") as near:
        demo.await_stock(near, "sae-2", 2)
        sent = near.enc_keys("sae-2", 2)

    far.stop()
    start("kms-2")

    with sae(home, "sae-2") as slave:
        assert slave.dec_keys("sae-1", [key.key_id for key in sent]) == sent


def test_saes_of_one_node_need_no_link(start: Start, home: Path) -> None:
    known = directory.read(home / "directory.json", home / "ca/signing.pub")
    first, second = known.kmss
    kmss = replace(first, saes=("sae-1", "sae-2")), replace(second, saes=())
    sign(home, peers.Directory(serial=2, kmss=kmss))
    node = start("kms-1")
    url = f"https://{node.config.etsi014.bind.authority}" if node.config.etsi014 else ""
    files = home / "saes/sae-2.crt", home / "saes/sae-2.key"

    with sae(home, "sae-1") as one, SaeClient(url, home / "ca/ca.crt", *files) as other:
        sent = one.enc_keys("sae-2", 2)
        got = other.dec_keys("sae-1", [key.key_id for key in sent])

    assert sent == got


@pytest.mark.parametrize("section", ["etsi014", "transport", "metrics"])
def test_an_occupied_port_is_named_and_nothing_stays_behind(
    home: Path, section: str, deaths: list[str]
) -> None:
    made = load(home / "kms-1/node.toml")
    bind = getattr(made, section).bind
    before = set(threading.enumerate())

    taken = socket.create_server((bind.host, bind.port))
    with taken, pytest.raises(NodeFailed, match=str(bind.port)):
        Node(made, deaths.append, new=True).start()

    assert set(threading.enumerate()) <= before
    again = node_of(made.path, deaths)
    again.start()
    again.stop()
    assert deaths == []


def test_a_management_socket_in_use_is_named_before_there_is_a_store(
    home: Path, deaths: list[str]
) -> None:
    made = load(home / "kms-1/node.toml")
    assert made.manage
    with socket.socket(socket.AF_UNIX) as other, words.short_name(made.manage.socket) as name:
        other.bind(name)
        other.listen(1)

        with pytest.raises(NodeFailed, match=r"manage\.socket: another process listens at"):
            Node(made, deaths.append, new=True).start()

    assert not made.node.data.exists()


def test_an_occupied_port_of_a_link_is_named(home: Path, deaths: list[str]) -> None:
    made = load(home / "kms-1/node.toml")
    bind = made.links[0].bind
    assert bind

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((bind.host, bind.port))
        with pytest.raises(NodeFailed, match=f"link to kms-2: .*{bind.port}"):
            Node(made, deaths.append, new=True).start()


@pytest.mark.parametrize(
    ("taken", "said"),
    [
        (
            "etsi014",
            "^etsi014 does not start: 127.0.0.1:{port} is occupied by another process; end",
        ),
        ("links", "quantum_link/kms-2 does not start: quantum link to kms-2: UDP .*{port} is occ"),
        ("metrics", "^127.0.0.1:{port} is occupied by another process; end that"),
        ("transport", "^tcp://127.0.0.1:{port} is occupied by another process; end that"),
    ],
)
def test_what_is_taken_between_the_look_and_the_start_is_told_in_the_same_words(
    home: Path, deaths: list[str], monkeypatch: pytest.MonkeyPatch, taken: str, said: str
) -> None:
    made = load(home / "kms-1/node.toml")
    section = getattr(made, taken)
    bind = (section[0] if taken == "links" else section).bind
    kind = socket.SOCK_DGRAM if taken == "links" else socket.SOCK_STREAM
    monkeypatch.setattr(addresses, "troubles", lambda _: [])

    with socket.socket(socket.AF_INET, kind) as other:
        other.bind((bind.host, bind.port))
        if taken != "links":
            other.listen()
        with pytest.raises(NodeFailed, match=said.format(port=bind.port)):
            Node(made, deaths.append, new=True).start()


def test_a_store_that_is_missing_is_not_made_anew(home: Path, deaths: list[str]) -> None:
    config = load(home / "kms-1/node.toml")

    with pytest.raises(NodeFailed, match=r"there is no file .*store\.db; mount .*--new") as why:
        Node(config, deaths.append).start()

    assert not isinstance(why.value, NodeUnfit)  # it may be mounted late
    assert not list(config.node.data.parent.glob("store.db*"))


def test_no_store_is_made_beside_one(start: Start, home: Path, deaths: list[str]) -> None:
    start("kms-1").stop()
    octets = (home / "kms-1/store.db").read_bytes()

    with pytest.raises(NodeFailed, match="is there already; leave out --new"):
        Node(load(home / "kms-1/node.toml"), deaths.append, new=True).start()

    assert (home / "kms-1/store.db").read_bytes() == octets


def test_a_store_in_use_is_refused(start: Start, home: Path) -> None:
    key = Secret(read_key(home / "kms-1/node.key"))
    other = StoreFile.create(home / "kms-1/store.db", "kms-1", key)

    with pytest.raises(NodeFailed, match="is open in process") as why:
        start("kms-1")
    assert not isinstance(why.value, NodeUnfit)

    other.close()
    start("kms-1")


def test_a_wrong_node_key_stops_the_start_and_leaves_the_store_alone(
    start: Start, home: Path
) -> None:
    start("kms-1").stop()
    octets = (home / "kms-1/store.db").read_bytes()
    (home / "kms-1/node.key").write_bytes((home / "kms-2/node.key").read_bytes())

    with pytest.raises(NodeUnfit, match="another node key"):
        start("kms-1")

    assert (home / "kms-1/store.db").read_bytes() == octets


def test_the_store_has_mode_0600(start: Start, home: Path) -> None:
    start("kms-1")

    modes = {path.stat().st_mode & 0o777 for path in (home / "kms-1").glob("store.db*")}
    assert modes == {0o600}


def test_a_directory_without_a_configured_peer_is_not_taken(start: Start, home: Path) -> None:
    node = start("kms-1")
    known = directory.read(home / "directory.json", home / "ca/signing.pub")
    sign(home, peers.Directory(serial=2, kmss=known.kmss[:1]))

    node.reload()

    assert node.meter.value("protokms_reloads", result="refused") == 1
    assert node.meter.value("protokms_directory_serial") == 1


def known_to(near: SaeClient, peer: str) -> bool:
    """Whether the front end knows an SAE."""
    with suppress(SaeError):
        return bool(near.status(peer))
    return False


def test_a_reload_with_a_larger_serial_reaches_front_end_and_transport(
    start: Start, home: Path
) -> None:
    node = start("kms-1")
    with sae(home, "sae-1") as near:
        near.status("sae-2")
        known = directory.read(home / "directory.json", home / "ca/signing.pub")
        first, second = known.kmss
        kmss = first, replace(second, saes=("sae-7",))
        sign(home, peers.Directory(serial=2, kmss=kmss))

        node.reload()

        eventually(lambda: known_to(near, "sae-7"))  # the front end asks core for the new homes
        with pytest.raises(SaeError, match="sae-2"):
            near.status("sae-2")
    assert node.meter.value("protokms_directory_serial") == 2


def trouble(node: Node, peer: str) -> str:
    """Return what `peer list` says is wrong with a peer."""
    said = node.ask("peer_manager", peers.ListPeers(), 5.0).result()
    assert isinstance(said, peers.Peers)
    return next(state.trouble for state in said.peers if state.name == peer)


def test_a_key_that_leaves_the_directory_is_turned_out_at_once(start: Start, home: Path) -> None:
    node = start("kms-1")
    far = start("kms-2")
    eventually(lambda: node.meter.value("protokms_peer_up", peer="kms-2") == 1)
    known = directory.read(home / "directory.json", home / "ca/signing.pub")
    other = replace(known.kmss[1], curve=curve.CurveKey.draw().public)
    sign(home, peers.Directory(serial=2, kmss=(known.kmss[0], other)))

    with capture_logs() as lines:
        node.reload()

        eventually(lambda: node.meter.value("protokms_peer_up", peer="kms-2") == 0)
        eventually(lambda: any("at the gate" in str(line.get("why")) for line in lines))
    refused = {"reason": "unknown_key", "peer": "stranger"}
    assert node.meter.value("protokms_frames_refused", **refused) > 0
    said = next(str(line["why"]) for line in lines if "at the gate" in str(line.get("why")))
    (shown,) = re.findall(r"127\.0\.0\.1 shows a key that begins '(.+)'", said)
    assert known.kmss[1].curve.startswith(shown)
    eventually(lambda: trouble(far, "kms-1") == "kms-1 refuses our key; directory serial 1 here")
    assert "key_refused" in ready(far)["alarms"]
    assert "frames_refused" in ready(node)["alarms"]
    sign(home, peers.Directory(serial=3, kmss=known.kmss))
    node.reload()
    eventually(lambda: node.meter.value("protokms_peer_up", peer="kms-2") == 1)
    eventually(lambda: not trouble(far, "kms-1"))
    assert "key_refused" not in ready(far)["alarms"]


def test_a_request_that_is_open_when_the_drain_begins_gets_its_answer(
    start: Start, home: Path
) -> None:
    node = start("kms-1")
    start("kms-2")
    with sae(home, "sae-1") as near:
        demo.await_stock(near, "sae-2", 1)
    tls = ssl.create_default_context(cafile=home / "ca/ca.crt")
    tls.load_cert_chain(home / "saes/sae-1.crt", home / "saes/sae-1.key")
    assert node.config.etsi014
    place = node.config.etsi014.bind.host, node.config.etsi014.bind.port
    stopping = threading.Thread(target=node.stop)

    with connect(tls, place) as line:
        line.sendall(b"POST /api/v1/keys/sae-2/enc_keys HTTP/1.1\r\nHost: x\r\n")
        line.sendall(b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n")
        eventually(lambda: ("requests", "1") in facts(node, "etsi014"))
        stopping.start()
        eventually(lambda: not facts(node, "etsi014"))  # it is draining
        line.sendall(b"{}")
        answer = line.recv(4096)
    stopping.join()

    assert answer.startswith(b"HTTP/1.1 200")
    assert b"key_ID" in answer


def test_a_reload_takes_the_new_deny_list(start: Start, home: Path) -> None:
    node = start("kms-1")
    with sae(home, "sae-1") as near:
        near.status("sae-2")
        edit(home / "kms-1/node.toml", "deny = []", 'deny = ["sae-1"]')

        node.reload()

        with pytest.raises(SaeError):
            near.status("sae-2")
    assert node.meter.value("protokms_reloads", result="done") == 1


def test_an_older_or_forged_directory_is_not_taken(start: Start, home: Path) -> None:
    node = start("kms-1")
    known = directory.read(home / "directory.json", home / "ca/signing.pub")

    sign(home, peers.Directory(serial=0, kmss=known.kmss))
    node.reload()
    edit(home / "directory.json", '"serial": 0', '"serial": 5')
    node.reload()

    assert node.meter.value("protokms_reloads", result="refused") == 2
    assert node.meter.value("protokms_directory_serial") == 1


def want(node: Node, verb: str = intent.PUT) -> None:
    """Want the link, or no longer, as an operator does: what nobody wants is taken away."""
    link = intent.Link(intent.PHYS, "kms-1", "kms-2", interface=1)
    edit = intent.Edit(verb, intent.LINK, "", link=link)
    write = intent.Write(owner=intent.CLI, edits=(edit,))
    assert isinstance(ask(node, intent.NAME, write), intent.Written)


def add_link() -> peers.AddQuantumPeer:
    return peers.AddQuantumPeer(peer="kms-2", interface=1)


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    lab.init(tmp_path / "bare", topology.parse("chain:2"), bare=True)
    return tmp_path / "bare"


def test_a_link_comes_and_goes_at_run_time(bare: Path, deaths: list[str]) -> None:
    node = node_of(bare / "kms-1/node.toml", deaths)
    node.start()

    want(node)
    eventually(lambda: ask(node, "peer_manager", add_link()) == peers.Done())
    alive = "quantum_link/kms-2" in node.names()
    want(node, intent.REMOVE)
    eventually(lambda: "quantum_link/kms-2" not in node.names())
    want(node)
    eventually(lambda: ask(node, "peer_manager", add_link()) == peers.Done())
    node.stop()

    assert alive
    assert deaths == []


def test_a_link_that_keeps_dying_is_quarantined_and_the_node_stays(
    bare: Path, deaths: list[str]
) -> None:
    node = node_of(bare / "kms-1/node.toml", deaths)
    node.start()
    bind = node.config.interfaces[0].bind
    assert bind

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((bind.host, bind.port))
        want(node)
        eventually(lambda: node.meter.value("protokms_quarantined", peer="kms-2") == 1)

    assert any("peer/kms-2: quarantined" in reason for reason in ready(node)["reasons"])
    eventually(lambda: "peer_given_up" in ready(node)["alarms"])
    assert "key_store/kms-2" not in node.names()
    node.stop()
    assert deaths == []


def test_a_disk_that_is_full_or_late_is_an_alarm_until_it_is_not(start: Start) -> None:
    node = start("kms-1")

    for id_, say in (("disk_full", node._disk_full), ("erasure_late", node._erasure_late)):
        say(True)
        eventually(lambda id_=id_: ready(node)["alarms"] == [id_])  # type: ignore[misc]
        assert node.meter.value("protokms_alarms_standing", id=id_) == 1

        say(False)
        eventually(lambda: ready(node)["alarms"] == [])
        assert node.meter.value("protokms_alarms_standing", id=id_) == 0


def test_a_root_that_gives_up_ends_the_process(start: Start, deaths: list[str]) -> None:
    node = start("kms-1")

    node._end("peer_manager", "ValueError")

    assert deaths == ["the supervisor has given up on peer_manager: ValueError"]


def test_a_full_disk_is_a_reason_not_to_be_ready(start: Start) -> None:
    node = start("kms-1")

    node._disk_full(True)
    full = ready(node)["reasons"]
    node._disk_full(False)

    assert "the disk is full" in full
    assert "the disk is full" not in ready(node)["reasons"]
