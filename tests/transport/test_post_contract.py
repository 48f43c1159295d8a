"""What the post promises, in memory and on sockets alike."""

import threading
from collections.abc import Callable, Iterable, Iterator
from random import Random
from typing import Any, Protocol

import pytest

from transport.codec import MAX_FRAME
from transport.curve import CurveKey
from transport.loopback import Loopback, Port
from transport.outbox import Peer
from transport.post import Post, PostOptions

LIMIT = 4
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
    def know(self, name: str, others: Iterable[str]) -> None: ...
    def leave(self, name: str) -> None: ...
    def hold(self, name: str) -> None: ...
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

    def know(self, name: str, others: Iterable[str]) -> None:
        self.ports[name].set_peers(others)

    def leave(self, name: str) -> None:
        self.ports[name].leave()

    def hold(self, name: str) -> None:
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
        options = PostOptions(name, "core", bind, key, heartbeat_s=0.3, queue_frames=LIMIT)
        made = Post(options, receive=end.receive, news=end.news, meter=self, fatal=self.fatal)
        end.carrier = self.posts[name] = made
        made.start()
        self.ends.append(end)
        return end

    def know(self, name: str, others: Iterable[str]) -> None:
        peers = [Peer(o, "core", self.posts[o].address, KEYS[o].public) for o in others]
        self.posts[name].set_peers(peers)

    def leave(self, name: str) -> None:
        self.posts[name].stop()

    def hold(self, name: str) -> None:
        pass

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
        world.until(lambda frame=frame: one.post("kms-2", frame) and two.post("kms-1", frame))  # type: ignore[misc]

    world.until(lambda: len(two.frames) >= len(sent) and len(one.frames) >= len(sent))
    assert one.frames == two.frames == sent
