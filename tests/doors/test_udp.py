"""The quantum link's port: strangers, spoilt and repeated datagrams, floods, an epoch of old."""

import random
import select
import socket
import threading
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest

from protokms.config.load import load
from tests.doors.tally import Tally
from tests.processes.real_lab import RealLab, eventually, exchange, pair
from transport.endpoint import Endpoint

pytestmark = pytest.mark.slow

DOOR = "UDP"
SEED = 6_000
KEPT = 400
FLOOD = 60_000
BURST = 200


class Fibre:
    """The way from kms-1 to kms-2, on which somebody listens, and says things."""

    def __init__(self, to: tuple[str, int]) -> None:
        self.kept: deque[bytes] = deque(maxlen=KEPT)
        self.into = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.into.bind(("127.0.0.1", 0))
        self.out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.out.connect(to)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._carry)

    @property
    def port(self) -> int:
        return int(self.into.getsockname()[1])

    def say(self, datagrams: list[bytes]) -> None:
        """Send these, not faster than a socket buffer is emptied."""
        for at in range(0, len(datagrams), BURST):
            for octets in datagrams[at : at + BURST]:
                self.out.send(octets)
            self._over.wait(0.005)

    def listen(self) -> list[bytes]:
        """Return what passes from now on, as much as is kept."""
        self.kept.clear()
        eventually(lambda: len(self.kept) == KEPT, "datagrams pass")
        return list(self.kept)

    def open(self) -> None:
        """Begin to carry."""
        self._thread.start()

    def close(self) -> None:
        """Carry no more."""
        self._over.set()
        self._thread.join()
        self.into.close()
        self.out.close()

    def _carry(self) -> None:
        while not self._over.is_set():
            if select.select([self.into], [], [], 0.05)[0]:
                octets = self.into.recv(65_536)
                self.kept.append(octets)
                try:
                    self.out.send(octets)
                except ConnectionRefusedError:
                    continue  # nobody is there yet


class Bench(RealLab):
    """Two nodes with somebody between them."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, pair(rate_bit_s=4e6))
        self.configure("store", max_bits=1_000_000_000)  # so that datagrams pass at all times
        there = load(folder / "kms-2/node.toml").links[0].bind
        assert there
        self.fibre = Fibre((there.host, there.port))
        file = folder / "kms-1/node.toml"
        way = str(Endpoint("127.0.0.1", self.fibre.port))
        file.write_text(file.read_text().replace(f'remote = "{there}"', f'remote = "{way}"'))
        assert way in file.read_text()

    def dropped(self, *reasons: str) -> float:
        """How many datagrams kms-2 has dropped for these reasons (for any, if none)."""
        name = "protokms_link_dropped_total"
        if not reasons:
            return self.metric("kms-2", name, peer="kms-1")
        return sum(self.metric("kms-2", name, peer="kms-1", reason=why) for why in reasons)

    def throw(self, tally: Tally, kind: str, datagrams: list[bytes], *reasons: str) -> None:
        """Send all, and see each of them dropped, for one of these reasons."""
        before = self.dropped(*reasons)
        self.fibre.say(datagrams)
        eventually(lambda: self.dropped(*reasons) >= before + len(datagrams), f"{kind} are dropped")
        tally.note(DOOR, kind, "dropped", len(datagrams))


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    made = Bench(tmp_path_factory.mktemp("udp") / "lab")
    made.fibre.open()
    try:
        made.up()
        made.await_keys()
        yield made
    finally:
        made.down()
        made.fibre.close()


@pytest.fixture
def bench(nodes: Bench) -> Iterator[Bench]:
    yield nodes
    nodes.await_keys()
    with nodes.client("sae-1") as near, nodes.client("sae-2") as far:
        exchange(near, far, 8)
    for node in nodes.nodes:
        assert nodes.ready(node)
        assert not nodes.metric(node, "protokms_alarms_total")
        assert not {"actor_crashed", "node_died"} & set(nodes.events(node))


def test_noise_and_strangers_are_dropped(bench: Bench, tally: Tally) -> None:
    dice, true = random.Random(SEED), bench.fibre.listen()
    sizes = [*range(80), 200, 999, 1_000, 1_100, 1_472, 1_500, 9_000, 65_507]
    noise = [dice.randbytes(size) for size in sizes for _ in range(5)]
    other = [octets[:4] + dice.randbytes(8) + octets[12:] for octets in true]

    bench.throw(tally, "noise", noise, "malformed", "stranger")
    bench.throw(tally, "strangers", other, "stranger")


def test_spoilt_cut_and_lengthened_datagrams_are_dropped(bench: Bench, tally: Tally) -> None:
    dice, true = random.Random(SEED + 1), bench.fibre.listen()
    flipped = []
    for octets in true:
        spoilt = bytearray(octets)
        spoilt[dice.randrange(22, len(spoilt))] ^= 1 << dice.randrange(8)
        flipped.append(bytes(spoilt))
    one = dice.choice(true)
    cut = [one[:n] for n in range(len(one))]
    long = [one + dice.randbytes(n) for n in (1, 2, 16, 1_000, 60_000)]
    renumbered = [octets[:12] + dice.randbytes(8) + octets[20:] for octets in true]

    bench.throw(tally, "bits flipped", flipped, "corrupt", "malformed")
    bench.throw(tally, "cut off", cut, "malformed")
    bench.throw(tally, "lengthened", long, "malformed")
    bench.throw(tally, "with another number", renumbered, "corrupt")


def test_repeated_datagrams_are_dropped(bench: Bench, tally: Tally) -> None:
    true = bench.fibre.listen()

    bench.throw(tally, "repeated", [*true, *reversed(true), *true], "duplicate", "late")


def test_datagrams_of_an_old_epoch_are_dropped(bench: Bench, tally: Tally) -> None:
    old = bench.fibre.listen()
    assert bench.terminate("kms-1") == 0
    last = list(bench.fibre.kept)
    bench.start("kms-1")
    bench.await_keys()

    bench.throw(tally, "of an old epoch", [*old, *last], "old_epoch")


def test_a_flood_slows_keys_down_and_does_nothing_else(bench: Bench, tally: Tally) -> None:
    dice, true = random.Random(SEED + 2), bench.fibre.listen()
    noise = [dice.randbytes(dice.choice((10, 500, 1_021))) for _ in range(100)]
    for n in range(FLOOD):
        bench.fibre.out.send((noise, true)[n % 2][n % 100])

    tally.note(DOOR, "flood", "dropped, some by the kernel", FLOOD)
    rss = bench.rss("kms-2")
    assert rss < 200 << 20, rss
