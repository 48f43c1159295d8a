"""The emulated link over real sockets on loopback."""

import queue
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from typing import Any

import pytest
from structlog.testing import capture_logs

from actors.base import Cell, Meter
from actors.links.quantum_link import QuantumLink
from actors.modules.datagram import OVERHEAD, Channel
from actors.modules.emulated import Emulated
from actors.modules.lookup import Lookup
from actors.modules.module import Arrived, Bits, Broken, Host, ModuleFailed, ModuleNotReady, Role
from actors.modules.udp import BUFFER_OCTETS, Options, UdpWire, factory
from actors.protocol import links
from protokms.testing.cluster import Cluster
from tests.kit.noting import Noting
from transport.envelope import Address, Envelope
from transport.message import Secret

pytestmark = pytest.mark.slow

EPOCH = bytes(16)
SECRET = Secret(b"s" * 32)
WAIT_S = 10.0


class Counts:
    """A `Meter` that can be read."""

    def __init__(self) -> None:
        self.counts: list[tuple[str, float, dict[str, str]]] = []

    def add(self, name: str, n: float = 1, **labels: str) -> None:
        self.counts.append((name, n, labels))

    def cell(self, name: str, **labels: str) -> Cell:
        raise NotImplementedError

    def set(self, name: str, value: float, **labels: str) -> None:
        self.counts.append((name, value, labels))

    def read(self, name: str, **labels: str) -> float:
        name = f"protokms_link_{name}"
        found = [n for key, n, has in self.counts if key == name and labels.items() <= has.items()]
        return sum(found)


class Desk(Noting):
    """A `System` whose mail, also from other threads, a test takes by hand."""

    def __init__(self, node: str) -> None:
        super().__init__()
        self.node, self.counts = node, Counts()
        self.meter: Meter = self.counts
        self.mail: queue.Queue[Envelope] = queue.Queue()

    def random(self, n: int) -> bytes:
        return b"7" * n

    def send(self, envelope: Envelope) -> None:
        self.mail.put(envelope)

    def receive(self, wait: float = WAIT_S) -> Arrived:
        body = self.mail.get(timeout=wait).body
        assert isinstance(body, Arrived)
        return body


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Ends:
    """Two modules joined by UDP."""

    def __init__(self, max_bytes: int = 999) -> None:
        self.ports = free_port(), free_port()
        self.near, self.far = Desk("a"), Desk("b")
        self.a = Emulated(*self.made("sender", "b", self.ports, max_bytes))
        self.b = Emulated(*self.made("receiver", "a", self.ports[::-1], max_bytes))

    def made(
        self, role: Role, peer: str, ports: tuple[int, int], max_bytes: int
    ) -> tuple[Options, UdpWire]:
        bind, remote = (f"127.0.0.1:{port}" for port in ports)
        options = Options(
            role=role, secret=SECRET, peer=peer, bind=bind, remote=remote, max_bytes=max_bytes
        )
        return options, UdpWire(options)

    def start(self) -> None:
        self.a.start(Host(self.near, Address("quantum_link/b", "a"), "b"))
        self.b.start(Host(self.far, Address("quantum_link/a", "b"), "a"))

    def open(self) -> None:
        self.a.open(EPOCH)
        self.b.open(EPOCH)

    def stop(self) -> None:
        self.a.stop()
        self.b.stop()

    def take(self, n: int) -> dict[int, bytes]:
        """Take groups until there are n datagrams."""
        taken: dict[int, bytes] = {}
        while len(taken) < n:
            for bits in self.b.take(self.far.receive().datagrams):
                for seq, payload in zip(bits.seqs, bits.payloads, strict=True):
                    taken[seq] = payload.reveal()
        return taken


@pytest.fixture
def ends() -> Iterator[Ends]:
    made = Ends()
    with ExitStack() as stack:
        stack.callback(made.stop)
        yield made


def payloads(first: int, n: int, size: int) -> Bits:
    return Bits(range(first, first + n), tuple(Secret(bytes([k % 256]) * size) for k in range(n)))


def test_what_one_end_sends_the_other_end_takes(ends: Ends) -> None:
    ends.start()
    ends.open()

    ends.a.release(payloads(5, 200, 300))

    expected = {5 + k: bytes([k]) * 300 for k in range(200)}
    assert ends.take(200) == expected
    assert ends.far.counts.read("dropped") == ends.far.counts.read("kernel_drops") == 0


def test_the_largest_datagram_passes() -> None:
    ends = Ends(max_bytes=64_000)
    ends.start()
    ends.open()

    ends.a.release(payloads(5, 3, 64_000))
    taken = ends.take(3)
    ends.stop()

    assert [len(octets) for octets in taken.values()] == [64_000] * 3


def test_noise_and_strangers_on_the_port_are_counted(ends: Ends) -> None:
    ends.start()
    ends.open()
    stranger = Channel(Secret(b"t" * 32), EPOCH, "a", "b").seal(1, b"x")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        for datagram in (b"", b"noise", bytes(2000), stranger):
            other.sendto(datagram, ("127.0.0.1", ends.ports[1]))

    ends.a.release(payloads(5, 1, 10))

    assert ends.take(1) == {5: bytes(10)}
    assert ends.far.counts.read("dropped", reason="malformed") == 3
    assert ends.far.counts.read("dropped", reason="stranger") == 1


def test_what_the_kernel_grants_and_drops_is_told(ends: Ends) -> None:
    ends.start()
    ends.open()
    size, n = 900, 3 * BUFFER_OCTETS // 900

    for first in range(0, n, 1000):  # nobody takes: mailbox and kernel fill up
        ends.a.release(payloads(1000 + first, 1000, size))
    taken = len(ends.take(1000))
    with suppress(queue.Empty):
        while True:
            groups = ends.b.take(ends.far.receive(wait=0.2).datagrams)
            taken += sum(len(bits.seqs) for bits in groups)
    ends.a.release(payloads(1 << 20, 1, size))
    ends.take(1)

    sent = -(-n // 1000) * 1000
    assert 0 < ends.far.counts.read("kernel_drops") == sent - taken
    assert ends.far.counts.read("socket_buffer_octets", kind="receive") > 2 * OVERHEAD


def test_an_occupied_port_is_named(ends: Ends) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", ends.ports[1]))

        with pytest.raises(ModuleFailed) as failed:
            ends.start()

    where = f"127.0.0.1:{ends.ports[1]}"
    said = str(failed.value)
    assert said.startswith(f"quantum link to a: UDP {where} is occupied by another process; end")


def test_a_port_that_came_free_is_taken_by_the_fresh_link(ends: Ends) -> None:
    cluster = Cluster("a", tolerant=True)
    cluster.probe("key_store/b@a")
    options, _ = ends.made("sender", "b", ends.ports, 999)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", ends.ports[0]))
        cluster.spawn("quantum_link/b@a", QuantumLink, "b", factory(options))
    failed = [str(crash.why) for crash in cluster.crashes]

    cluster.spawn("quantum_link/b@a", QuantumLink, "b", factory(options))
    opened = links.LinkOpened(epoch=EPOCH, credit=1000)
    cluster.tell("quantum_link/b@a", opened, sender="key_store/b@a")
    cluster.advance(1.0)
    cluster.nodes["a"].stop("quantum_link/b")
    cluster.settle()

    assert len(failed) == 1
    assert f"127.0.0.1:{ends.ports[0]} is occupied by another process" in failed[0]
    assert cluster.count("a", "protokms_link_octets", way="sent") == 1000
    assert len(cluster.crashes) == 1


def test_a_stopped_module_leaves_no_thread_and_no_port(ends: Ends) -> None:
    ends.start()
    ends.open()
    ends.a.release(payloads(5, 1, 10))
    ends.take(1)

    ends.stop()

    assert not [thread for thread in threading.enumerate() if "quantum-link" in thread.name]
    again = Ends()
    again.ports = ends.ports
    again.a = Emulated(*again.made("sender", "b", ends.ports, 999))
    again.b = Emulated(*again.made("receiver", "a", ends.ports[::-1], 999))
    again.start()
    again.stop()


def test_a_module_whose_mail_nobody_takes_still_stops(ends: Ends) -> None:
    ends.start()
    ends.open()
    for first in range(0, 40_000, 1000):  # more groups than may be under way
        ends.a.release(payloads(first, 1000, 60))

    ends.stop()

    assert not [thread for thread in threading.enumerate() if "quantum-link" in thread.name]


def test_nobody_at_the_far_end_is_no_crash(ends: Ends) -> None:
    ends.a.start(Host(ends.near, Address("quantum_link/b", "a"), "b"))
    ends.a.open(EPOCH)

    for n in range(20):
        ends.a.release(payloads(n, 1, 10))

    assert ends.near.counts.read("dropped", reason="not_sent") > 0


def test_a_far_end_without_an_address_yet_is_not_ready(ends: Ends) -> None:
    options = Options(
        role="sender",
        secret=SECRET,
        peer="b",
        bind=f"127.0.0.1:{ends.ports[0]}",
        remote="[::1]:9",  # no such address in the family of `bind`: fails with no look-up
    )
    module = Emulated(options, UdpWire(options))
    module.start(Host(ends.near, Address("quantum_link/b", "a"), "b"))

    with pytest.raises(ModuleNotReady, match="remote"):
        module.open(EPOCH)
    module.stop()


def test_a_name_is_looked_up_in_nobodys_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    go, gone = threading.Event(), threading.Event()
    real = socket.getaddrinfo

    def slow(*asked: Any) -> Any:
        assert go.wait(WAIT_S)
        gone.set()
        return real(*asked)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    lookup = Lookup(socket.AF_INET)

    for _ in range(3):
        with pytest.raises(BlockingIOError, match="looked up"):
            lookup.find("localhost", 9)
    go.set()
    assert gone.wait(WAIT_S)
    found = until_found(lookup)

    assert found == ("127.0.0.1", 9)
    with pytest.raises(BlockingIOError):
        lookup.find("localhost", 9)  # the next opening asks anew


def until_found(lookup: Lookup) -> Any:
    while True:
        with suppress(BlockingIOError):
            return lookup.find("localhost", 9)


def test_a_name_that_nobody_has_is_an_error_once_that_is_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unknown(*_: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    lookup = Lookup(socket.AF_INET)

    with pytest.raises(OSError, match="no such name"):
        until_found(lookup)


def test_a_dead_receive_thread_is_told(ends: Ends) -> None:
    ends.start()
    wire = ends.b._wire
    assert isinstance(wire, UdpWire)
    wire._room = None  # type: ignore[assignment]
    ends.open()

    ends.a.release(payloads(5, 1, 10))

    body = ends.far.mail.get(timeout=WAIT_S).body
    assert isinstance(body, Broken)
    assert body.why.startswith("receive thread: AttributeError")
    wire._room = threading.Semaphore()


def test_every_start_warns_that_bits_travel_in_clear(ends: Ends) -> None:
    with capture_logs() as logs:
        ends.start()

    warnings = [entry for entry in logs if entry["log_level"] == "warning"]
    assert len(warnings) == 2
    assert all("in clear" in entry["why"] for entry in warnings)
