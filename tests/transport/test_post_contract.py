"""What the post promises, in memory and on sockets alike."""

import threading
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from random import Random
from typing import Any, Protocol

import pytest

from transport.codec import MAX_FRAME
from transport.curve import CurveKey
from transport.loopback import Loopback, Port
from transport.outbox import Peer
from transport.post import Post, PostOptions

LIMIT = 4
IDLE_S = 1.5
WAIT = 20.0
KEYS: dict[str, CurveKey] = {}


class Carrier(Protocol):
    def post(self, name: str, octets: bytes, /) -> bool: ...


class End:
    """One node: what it has heard, in order."""

    def __init__(self, changed: threading.Condition) -> None:
        self.story: list[Any] = []
        self.carrier: Carrier
        self.held, self.holding = threading.Event(), threading.Event()
        self._changed = changed

    def receive(self, node: str, process: str, octets: bytes) -> None:
        if octets == b"hold":
            self.holding.set()
            self.held.wait(WAIT)
        with self._changed:
            self.story.append((node, process, octets))
            self._changed.notify_all()

    def news(self, name: str, up: bool) -> None:
        with self._changed:
            self.story.append((name, up))
            self._changed.notify_all()

    @property
    def frames(self) -> list[bytes]:
        return [event[2] for event in self.story if len(event) > 2]

    def post(self, name: str, octets: bytes) -> bool:
        return self.carrier.post(name, octets)


class World(Protocol):
    def join(self, name: str) -> End: ...
    def know(self, name: str, others: Iterable[str], lazy: Iterable[str] = ()) -> None: ...
    def leave(self, name: str) -> None: ...
    def hold(self, end: End, by: End) -> None: ...
    def until(self, holds: Callable[[], bool]) -> None: ...
    def refused(self) -> int: ...
    def close(self) -> None: ...


class InMemory:
    def __init__(self) -> None:
        self.net = Loopback(Random(1), limit=LIMIT)
        self.ports: dict[str, Port] = {}
        self.now = 0.0

    def join(self, name: str) -> End:
        end = End(threading.Condition())
        end.carrier = self.ports[name] = self.net.join(name, end.receive, end.news)
        self.ports[name].set_peers([])
        return end

    def know(self, name: str, others: Iterable[str], lazy: Iterable[str] = ()) -> None:
        self.ports[name].set_peers(others, lazy)

    def leave(self, name: str) -> None:
        self.ports[name].leave()

    def hold(self, end: End, by: End) -> None:
        """Nothing moves here unless somebody steps."""

    def until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            if not self.net.step(self.now):
                due = self.net.due()
                assert due is not None, "the network is quiet for ever"
                self.now = due

    def refused(self) -> int:
        return self.net.refused

    def close(self) -> None:
        pass


class OnSockets:
    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.posts: dict[str, Post] = {}
        self.ends: list[End] = []
        self.refusals = 0

    def add(self, name: str, n: float = 1, **labels: str) -> None:
        if name == "protokms_frames_refused":
            with self.changed:
                self.refusals += 1
                self.changed.notify_all()

    def set(self, name: str, value: float, **labels: str) -> None:
        pass

    def fatal(self, why: str) -> None:
        raise AssertionError(why)

    def join(self, name: str) -> End:
        end = End(self.changed)
        key = KEYS.setdefault(name, CurveKey.draw())
        bind = self.posts[name].address if name in self.posts else "tcp://127.0.0.1:*"
        limits: dict[str, Any] = {"idle_s": IDLE_S, "queue_frames": LIMIT}
        options = PostOptions(name, "core", bind, key, heartbeat_s=0.5, **limits)
        made = Post(options, receive=end.receive, news=end.news, meter=self, fatal=self.fatal)
        end.carrier = self.posts[name] = made
        made.start()
        self.ends.append(end)
        return end

    def know(self, name: str, others: Iterable[str], lazy: Iterable[str] = ()) -> None:
        self.posts[name].set_peers(
            Peer(it, "core", self.posts[it].address, KEYS[it].public, lazy=it in lazy)
            for it in others
        )

    def leave(self, name: str) -> None:
        self.posts[name].stop()

    def hold(self, end: End, by: End) -> None:
        """Keep the I/O thread of `kms-1` busy until `held` is set."""
        assert by.post("kms-1", b"hold")
        assert end.holding.wait(WAIT)

    def until(self, holds: Callable[[], bool]) -> None:
        with self.changed:
            assert self.changed.wait_for(holds, WAIT)

    def refused(self) -> int:
        return self.refusals

    def close(self) -> None:
        for end in self.ends:
            end.held.set()
        for post in self.posts.values():
            post.stop()


@pytest.fixture(params=[InMemory, pytest.param(OnSockets, marks=pytest.mark.slow)])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    made: World = request.param()
    yield made
    made.close()


def pair(world: World) -> tuple[End, End]:
    one, two = world.join("kms-1"), world.join("kms-2")
    world.know("kms-1", ["kms-2"])
    world.know("kms-2", ["kms-1"])
    world.until(lambda: ("kms-2", True) in one.story and ("kms-1", True) in two.story)
    return one, two


def test_both_ends_hear_that_the_other_is_up_before_anything_else(world: World) -> None:
    one, two = pair(world)

    assert one.post("kms-2", b"frame")

    world.until(lambda: bool(two.frames))
    assert two.story == [("kms-1", True), ("kms-1", "core", b"frame")]
    assert one.story == [("kms-2", True)]


def test_frames_arrive_once_and_in_order_both_ways(world: World) -> None:
    one, two = pair(world)
    sent = [f"frame {n}".encode() for n in range(200)]

    for frame in sent:
        world.until(partial(one.post, "kms-2", frame))
        world.until(partial(two.post, "kms-1", frame))

    world.until(lambda: len(two.frames) >= len(sent) and len(one.frames) >= len(sent))
    assert one.frames == two.frames == sent


def test_octets_of_every_size_arrive_unharmed(world: World) -> None:
    one, two = pair(world)
    sent = [b"ab", bytes(range(256)) * 100, b"\x97" * MAX_FRAME]

    for frame in sent:
        assert one.post("kms-2", frame)

    world.until(lambda: len(two.frames) == len(sent))
    assert two.frames == sent


def test_a_frame_for_nobody_is_a_dead_letter(world: World) -> None:
    one, _ = pair(world)

    assert not one.post("kms-9", b"frame")
    assert not one.post("kms-1", b"frame")


def test_a_frame_that_is_too_long_is_a_dead_letter(world: World) -> None:
    one, two = pair(world)

    assert not one.post("kms-2", b"x" * (MAX_FRAME + 1))
    assert one.post("kms-2", b"next")
    world.until(lambda: bool(two.frames))
    assert two.frames == [b"next"]


def test_frames_past_the_limit_are_dead_letters_at_once(world: World) -> None:
    one, two = pair(world)
    world.hold(one, two)
    sent = [f"frame {n}".encode() for n in range(LIMIT + 2)]

    taken = [one.post("kms-2", frame) for frame in sent]

    assert taken == [True] * LIMIT + [False] * 2
    one.held.set()
    world.until(lambda: len(two.frames) == LIMIT)
    assert two.frames == sent[:LIMIT]


def test_a_frame_for_a_peer_that_is_not_up_yet_is_a_dead_letter(world: World) -> None:
    one = world.join("kms-1")
    world.join("kms-2")
    world.know("kms-1", ["kms-2"])

    assert not one.post("kms-2", b"frame")


def test_a_peer_that_leaves_is_down_and_gets_nothing(world: World) -> None:
    one, _ = pair(world)

    world.leave("kms-2")

    world.until(lambda: ("kms-2", False) in one.story)
    assert not one.post("kms-2", b"frame")


def test_a_peer_that_comes_again_is_up_again_and_gets_only_what_is_new(world: World) -> None:
    one, _ = pair(world)
    world.leave("kms-2")
    one.post("kms-2", b"into the void")

    two = world.join("kms-2")
    world.know("kms-2", ["kms-1"])
    world.until(lambda: one.story.count(("kms-2", True)) == 2 and ("kms-1", True) in two.story)
    one.post("kms-2", b"new")

    world.until(lambda: bool(two.frames))
    assert one.story == [("kms-2", True), ("kms-2", False), ("kms-2", True)]
    assert two.frames == [b"new"]


def test_a_peer_that_is_taken_out_is_down_and_is_not_heard(world: World) -> None:
    one, two = pair(world)

    world.know("kms-1", [])
    two.post("kms-1", b"still there?")

    assert not one.post("kms-2", b"frame")
    world.until(lambda: ("kms-2", False) in one.story)
    world.until(lambda: ("kms-1", False) in two.story)
    assert one.frames == two.frames == []


def test_a_peer_that_is_put_back_is_up_again(world: World) -> None:
    one, two = pair(world)
    world.know("kms-1", [])
    world.until(lambda: ("kms-2", False) in one.story and ("kms-1", False) in two.story)

    world.know("kms-1", ["kms-2"])
    world.until(lambda: one.story.count(("kms-2", True)) == 2)
    one.post("kms-2", b"frame")

    world.until(lambda: bool(two.frames))
    assert two.story == [
        ("kms-1", True),
        ("kms-1", False),
        ("kms-1", True),
        ("kms-1", "core", b"frame"),
    ]


def test_a_stranger_is_never_heard_and_never_up(world: World) -> None:
    one, two = pair(world)
    stranger = world.join("kms-3")
    world.know("kms-3", ["kms-1"])

    one.post("kms-2", b"frame")
    stranger.post("kms-1", b"let me in")

    world.until(lambda: bool(two.frames))
    assert stranger.story == []
    assert one.story == [("kms-2", True)]


def test_what_a_peer_sends_after_it_was_taken_out_is_refused_and_counted(world: World) -> None:
    one, two = pair(world)
    world.hold(one, two)

    two.post("kms-1", b"on its way")
    world.know("kms-1", [])
    one.held.set()

    world.until(lambda: world.refused() > 0)
    assert b"on its way" not in one.frames


def lazy_pair(world: World) -> tuple[End, End]:
    one, two = world.join("kms-1"), world.join("kms-2")
    world.know("kms-1", ["kms-2"], lazy=["kms-2"])
    world.know("kms-2", ["kms-1"], lazy=["kms-1"])
    return one, two


def test_a_lazy_peer_is_connected_with_the_first_frame_which_is_lost(world: World) -> None:
    one, two = lazy_pair(world)

    assert not one.post("kms-2", b"wake up")
    world.until(lambda: ("kms-2", True) in one.story and ("kms-1", True) in two.story)
    assert one.post("kms-2", b"frame")

    world.until(lambda: bool(two.frames))
    assert two.frames == [b"frame"]


def test_a_connection_that_nobody_uses_is_closed_at_both_ends(world: World) -> None:
    one, two = lazy_pair(world)
    one.post("kms-2", b"wake up")

    world.until(lambda: ("kms-2", False) in one.story and ("kms-1", False) in two.story)

    assert one.story == [("kms-2", True), ("kms-2", False)]
    assert two.story == [("kms-1", True), ("kms-1", False)]


def test_either_end_opens_a_closed_connection_again(world: World) -> None:
    one, two = lazy_pair(world)
    one.post("kms-2", b"wake up")
    world.until(lambda: ("kms-2", False) in one.story and ("kms-1", False) in two.story)

    assert not two.post("kms-1", b"wake up")
    world.until(lambda: one.story.count(("kms-2", True)) == 2)
    world.until(lambda: two.post("kms-1", b"frame"))

    world.until(lambda: bool(one.frames))
    assert one.frames[0] == b"frame"


def test_a_peer_that_is_lazy_at_one_end_only_is_always_connected(world: World) -> None:
    one, two = world.join("kms-1"), world.join("kms-2")
    world.know("kms-1", ["kms-2"], lazy=["kms-2"])
    world.know("kms-2", ["kms-1"])

    world.until(lambda: ("kms-2", True) in one.story and ("kms-1", True) in two.story)

    assert one.post("kms-2", b"frame")


def test_three_nodes_do_not_mix_up_their_frames(world: World) -> None:
    names = ["kms-1", "kms-2", "kms-3"]
    ends = {name: world.join(name) for name in names}
    for name in names:
        world.know(name, [other for other in names if other != name])
    world.until(lambda: all(len(end.story) == 2 for end in ends.values()))

    for name in names:
        for other in names:
            if other != name:
                assert ends[name].post(other, f"{name} to {other}".encode())

    world.until(lambda: all(len(end.frames) == 2 for end in ends.values()))
    for name, end in ends.items():
        heard = {event[0]: event[2].decode() for event in end.story if len(event) == 3}
        assert heard == {other: f"{other} to {name}" for other in names if other != name}
