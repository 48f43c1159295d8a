"""What one peer may say in a time, and what its floods cost nobody else."""

from collections.abc import Callable, Iterator
from itertools import count

import pytest

from transport import quota
from transport.codec import MAX_FRAME
from transport.curve import CurveKey
from transport.outbox import Peer
from transport.post import Post, PostOptions
from transport.quota import Allowance, Quota
from transport.session import Beat

US, THEM = CurveKey.draw(), CurveKey.draw()
SMALL = b"an envelope"


class Recorder:
    def __init__(self) -> None:
        self.reasons: list[str] = []

    def add(self, name: str, n: float = 1, **labels: str) -> None:
        self.reasons.append(labels.get("reason", ""))

    def set(self, name: str, value: float, **labels: str) -> None:
        """A gauge tells nothing here."""


class Hearing:
    """A post that never starts, one peer of it, and what got past the quota."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, node: str, *, lazy: bool = False) -> None:
        self.meter, self.now = Recorder(), 1000.0
        self.taken: list[bytes] = []
        self.news: list[bool] = []
        process = "core" if node == "kms-2" else "front"
        self.post = Post(
            PostOptions("kms-1", "core", "tcp://127.0.0.1:*", US),
            receive=lambda _node, _process, octets: self.taken.append(octets),
            news=lambda _name, up: self.news.append(up),
            meter=self.meter,
            fatal=lambda _why: None,
        )
        monkeypatch.setattr("transport.post.time.monotonic", lambda: self.now)
        monkeypatch.setattr("transport.outbox.Outbox.connect", lambda *_, **__: None)
        self.post.set_peers([Peer(node, process, "tcp://127.0.0.1:9", THEM.public, lazy)])
        self.outbox = self.post._table.by_key[THEM.public]

    def hear(self, *frames: bytes) -> None:
        for frame in frames:
            self.post._take(self.outbox, frame)

    def greet(self) -> None:
        self.hear(Beat.HELLO.value, Beat.HEARD.value)


@pytest.fixture
def listen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Hearing]]:
    made: list[Hearing] = []

    def make(node: str = "kms-2", *, lazy: bool = False) -> Hearing:
        made.append(Hearing(monkeypatch, node, lazy=lazy))
        return made[-1]

    yield make
    for hearing in made:
        hearing.post._context.destroy()


def test_an_allowance_fills_with_time_and_never_past_its_brim() -> None:
    allowance = Allowance(2.0, 10.0)

    assert allowance.take(10.0, 100.0)
    assert not allowance.take(1.0, 100.4)
    assert allowance.take(1.0, 100.5)
    assert not allowance.take(11.0, 1e6)
    assert allowance.take(10.0, 1e6)


def test_the_clock_of_an_allowance_does_not_go_back() -> None:
    allowance = Allowance(1.0, 5.0)
    allowance.take(5.0, 100.0)

    assert not allowance.take(1.0, 50.0)
    assert not allowance.take(1.0, 100.5)


def test_a_flood_of_frames_is_dropped_and_counted(listen: Callable[..., Hearing]) -> None:
    hearing = listen()
    hearing.greet()
    most = int(quota.FRAMES_AT_ONCE)

    hearing.hear(*[SMALL] * (most + 5))
    hearing.now += 1.0
    hearing.hear(SMALL)

    assert len(hearing.taken) == most + 1
    assert hearing.meter.reasons.count("flood") == 5


def test_a_flood_of_giants_is_dropped_long_before(listen: Callable[..., Hearing]) -> None:
    hearing = listen()
    hearing.greet()

    hearing.hear(*[bytes(MAX_FRAME)] * 100)

    assert len(hearing.taken) == quota.OCTETS_AT_ONCE // MAX_FRAME


def test_a_process_of_the_same_node_has_no_quota(listen: Callable[..., Hearing]) -> None:
    hearing = listen("kms-1")
    hearing.greet()

    hearing.hear(*[bytes(MAX_FRAME)] * 20)

    assert len(hearing.taken) == 20


def test_a_peer_that_flaps_is_not_heard_for_a_while(listen: Callable[..., Hearing]) -> None:
    hearing = listen()
    for _ in range(1000):
        hearing.greet()
    turns = len(hearing.news)
    hearing.now += quota.MUTE_S + 10.0
    hearing.greet()
    hearing.greet()

    assert turns <= quota.TURNS_AT_ONCE + 1
    assert len(hearing.news) > turns
    assert "flapping" in hearing.meter.reasons


def test_a_quota_tells_frames_from_octets() -> None:
    made = Quota()

    assert made.frame(int(quota.OCTETS_AT_ONCE), 1.0)
    assert not made.frame(1 << 20, 1.0)
    assert made.frame(0, 1.0)


def test_frames_that_are_hard_to_read_are_not_read_on(
    listen: Callable[..., Hearing], monkeypatch: pytest.MonkeyPatch
) -> None:
    hearing = listen()
    hearing.greet()
    spent = count(0.0, 0.6)  # each look at the clock is 0.6 s after the last
    monkeypatch.setattr("transport.post.time.thread_time", lambda: next(spent))

    hearing.hear(*[SMALL] * 10)
    at_once = len(hearing.taken)
    hearing.now += 1.0
    hearing.hear(*[SMALL] * 10)

    assert at_once == 2
    assert len(hearing.taken) == 3


@pytest.mark.parametrize("late", [Beat.UP, Beat.HEARD, Beat.GONE, Beat.IDLE])
def test_what_is_said_on_a_connection_just_closed_opens_none(
    listen: Callable[..., Hearing], late: Beat
) -> None:
    hearing = listen(lazy=True)

    hearing.hear(late.value)
    assert not hearing.outbox.wanted
    hearing.hear(b"an envelope")
    assert not hearing.outbox.wanted
    assert hearing.taken == []

    hearing.hear(Beat.HELLO.value)
    assert hearing.outbox.wanted
