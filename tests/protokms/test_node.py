"""A node in this process, with real sockets and files."""

import http.client
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from actors.protocol import peers
from actors.protocol.common import Failed, Health, Healthy
from actors.store import StoreFile
from protokms import config, demo, directory, lab, topology
from protokms.keyfiles import read_key
from protokms.node import Node, NodeFailed
from protokms.sae import SaeClient, SaeError
from transport import curve
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
            node = Node(config.load(home / name / "node.toml"), deaths.append)
            node.start()
            stack.callback(node.stop)  # harmless when the test has stopped it
            return node

        yield begin


def sae(home: Path, name: str) -> SaeClient:
    made = lab.read(home)
    return demo.client(home, made, next(one for one in made.saes if one.id == name))


def ready(node: Node) -> dict[str, Any]:
    bind = node.config.metrics.bind
    connection = http.client.HTTPConnection(bind.host, bind.port, timeout=5)
    connection.request("GET", "/ready")
    found: dict[str, Any] = json.loads(connection.getresponse().read())
    connection.close()
    return found


def eventually(true: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for what another thread will bring about; fail when it does not."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)


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
    far = Node(config.load(home / "kms-2/node.toml"), deaths.append)
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
    far = Node(config.load(home / "kms-2/node.toml"), deaths.append)
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
    made = config.load(home / "kms-1/node.toml")
    bind = getattr(made, section).bind
    before = set(threading.enumerate())

    taken = socket.create_server((bind.host, bind.port))
    with taken, pytest.raises(NodeFailed, match=str(bind.port)):
        Node(made, deaths.append).start()

    assert set(threading.enumerate()) <= before
    again = Node(made, deaths.append)
    again.start()
    again.stop()
    assert deaths == []


def test_an_occupied_port_of_a_link_is_named(home: Path, deaths: list[str]) -> None:
    made = config.load(home / "kms-1/node.toml")
    bind = made.links[0].bind

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((bind.host, bind.port))
        with pytest.raises(NodeFailed, match=f"link to kms-2: .*{bind.port}"):
            Node(made, deaths.append).start()


def test_a_store_in_use_is_refused(start: Start, home: Path) -> None:
    key = Secret(read_key(home / "kms-1/node.key"))
    other = StoreFile.create(home / "kms-1/store.db", "kms-1", key)

    with pytest.raises(NodeFailed, match="is open in process"):
        start("kms-1")

    other.close()
    start("kms-1")


def test_a_wrong_node_key_stops_the_start_and_leaves_the_store_alone(
    start: Start, home: Path
) -> None:
    start("kms-1").stop()
    octets = (home / "kms-1/store.db").read_bytes()
    (home / "kms-1/node.key").write_bytes((home / "kms-2/node.key").read_bytes())

    with pytest.raises(NodeFailed, match="another node key"):
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

        near.status("sae-7")
        with pytest.raises(SaeError, match="sae-2"):
            near.status("sae-2")
    assert node.meter.value("protokms_directory_serial") == 2


def test_a_key_that_leaves_the_directory_is_turned_out_at_once(start: Start, home: Path) -> None:
    node = start("kms-1")
    start("kms-2")
    eventually(lambda: node.meter.value("protokms_peer_up", peer="kms-2") == 1)
    known = directory.read(home / "directory.json", home / "ca/signing.pub")
    other = replace(known.kmss[1], curve=curve.CurveKey.draw().public)
    sign(home, peers.Directory(serial=2, kmss=(known.kmss[0], other)))

    node.reload()

    eventually(lambda: node.meter.value("protokms_peer_up", peer="kms-2") == 0)
    refused = {"reason": "unknown_key", "peer": "stranger"}
    eventually(lambda: node.meter.value("protokms_frames_refused", **refused) > 0)


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

    with tls.wrap_socket(socket.create_connection(place), server_hostname=place[0]) as line:
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


def add_link(node: Node) -> peers.AddQuantumPeer:
    link = node.config.links[0]
    options = {
        "role": link.role,
        "bind": str(link.bind),
        "remote": str(link.remote),
        "secret": str(link.secret),
    }
    return peers.AddQuantumPeer(peer=link.peer, options=json.dumps(options))


def test_a_link_comes_and_goes_at_run_time(start: Start) -> None:
    node = start("kms-1")

    removed = ask(node, "peer_manager", peers.RemoveQuantumPeer(peer="kms-2"))
    alive = "quantum_link/kms-2" in node.names()
    back = ask(node, "peer_manager", add_link(node))
    wrong = ask(node, "peer_manager", peers.AddQuantumPeer(peer="kms-2", options="{}"))

    assert (removed, alive, back) == (peers.Done(), False, peers.Done())
    assert isinstance(wrong, Failed)
    assert "quantum_link/kms-2" in node.names()


def test_a_link_that_keeps_dying_is_quarantined_and_the_node_stays(
    start: Start, home: Path, deaths: list[str]
) -> None:
    node = start("kms-1")
    ask(node, "peer_manager", peers.RemoveQuantumPeer(peer="kms-2"))
    bind = node.config.links[0].bind

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((bind.host, bind.port))
        ask(node, "peer_manager", add_link(node))
        eventually(lambda: node.meter.value("protokms_quarantined", peer="kms-2") == 1)

    assert any("peer/kms-2: quarantined" in reason for reason in ready(node)["reasons"])
    assert "key_store/kms-2" not in node.names()
    assert deaths == []


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
