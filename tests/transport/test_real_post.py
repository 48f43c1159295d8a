"""What only sockets can do wrong: keys, gates, giants, deaths."""

import errno
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import zmq
from zmq.utils.monitor import recv_monitor_message

from transport import outbox, post
from transport.codec import MAX_FRAME
from transport.curve import CurveKey
from transport.inbox import Inbox
from transport.outbox import MAX_MESSAGE, Peer
from transport.post import Post, PostError, PostOptions
from transport.session import Beat

pytestmark = pytest.mark.slow

WAIT = 20.0
WAIT_MS = 20_000
ADMITTED = zmq.EVENT_HANDSHAKE_SUCCEEDED
TURNED_AWAY = {
    zmq.EVENT_HANDSHAKE_FAILED_AUTH,
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL,
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL,
    zmq.EVENT_DISCONNECTED,
}
NOWHERE = "tcp://127.0.0.1:9"
US, THEM, OTHERS = CurveKey.draw(), CurveKey.draw(), CurveKey.draw()


class Watched:
    """A post, and everything it said."""

    def __init__(
        self,
        node: str,
        key: CurveKey,
        bind: str = "tcp://127.0.0.1:*",
        heartbeat_s: float = 1.0,
        sibling_heartbeat_s: float = 0.2,
        receive: Callable[[str, str, bytes], None] | None = None,
        idle_s: float = 300.0,
    ) -> None:
        self.changed = threading.Condition()
        self.said: list[Any] = []
        self.key = key
        self.post = Post(
            PostOptions(
                node,
                "core",
                bind,
                key,
                heartbeat_s=heartbeat_s,
                sibling_heartbeat_s=sibling_heartbeat_s,
                idle_s=idle_s,
            ),
            receive=receive or (lambda *frame: self.note(frame)),
            news=lambda *news: self.note(news),
            meter=self,
            fatal=lambda why: self.note(("fatal", why)),
            idled=lambda name: self.note((name, "idle")),
            key_refused=lambda name: self.note((name, "refuses our key")),
        )

    def add(self, name: str, n: float = 1, **labels: str) -> None:
        self.note((name, labels.get("peer"), labels.get("reason")))

    def set(self, name: str, value: float, **labels: str) -> None:
        self.note((name, labels["peer"], value))

    def note(self, what: Any) -> None:
        with self.changed:
            self.said.append(what)
            self.changed.notify_all()

    def until(self, what: Any, times: int = 1) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.said.count(what) >= times, WAIT), self.said

    def as_peer(self, node: str = "", process: str = "core", *, lazy: bool = False) -> Peer:
        name = node or self.post._options.node
        return Peer(name, process, self.post.address, self.key.public, lazy)


class Raw:
    """A bare socket that talks to a post, as another program might."""

    def __init__(
        self, address: str, key: CurveKey | None, server: str = US.public, kind: int = zmq.PUSH
    ) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = self.context.socket(kind)
        self.socket.linger = 0
        if key:
            self.socket.curve_publickey = key.public.encode()
            self.socket.curve_secretkey = key.secret.reveal()
            self.socket.curve_serverkey = server.encode()
        self.socket.sndtimeo = WAIT_MS
        self.events = self.socket.get_monitor_socket()
        self.socket.connect(address)

    def outcome(self) -> bool:
        """Wait until the connection is admitted, or turned away."""
        while self.events.poll(WAIT_MS):
            event = recv_monitor_message(self.events)["event"]
            if event == ADMITTED or event in TURNED_AWAY:
                return event == ADMITTED
        raise AssertionError("nothing happened")

    def close(self) -> None:
        self.socket.disable_monitor()
        self.events.close()
        self.context.destroy(linger=0)


@pytest.fixture
def started() -> Iterator[Callable[..., Watched]]:
    made: list[Watched] = []

    def start(*args: Any, **options: Any) -> Watched:
        watched = Watched(*args, **options)
        watched.post.start()
        made.append(watched)
        return watched

    yield start
    for watched in made:
        watched.post.stop()


@pytest.fixture
def raw() -> Iterator[Callable[..., Raw]]:
    made: list[Raw] = []

    def connect(*args: Any, **options: Any) -> Raw:
        made.append(Raw(*args, **options))
        return made[-1]

    yield connect
    for each in made:
        each.close()


Start = Callable[..., Watched]
Connect = Callable[..., Raw]


def greeted(us: Watched, them: Raw) -> None:
    """Bring a session up by hand."""
    them.socket.send(Beat.HELLO.value)
    them.socket.send(Beat.HEARD.value)
    us.until(("kms-2", True))


# Keys


def test_a_known_key_is_admitted_and_heard_as_its_node(started: Start, raw: Connect) -> None:
    us = started("kms-1", US)
    us.post.set_peers([Peer("kms-2", "core", NOWHERE, THEM.public)])
    them = raw(us.post.address, THEM)

    assert them.outcome()
    greeted(us, them)
    them.socket.send(b"frame")

    us.until(("kms-2", "core", b"frame"))


def test_an_unknown_key_is_turned_away_and_counted(started: Start, raw: Connect) -> None:
    us = started("kms-1", US)
    us.post.set_peers([Peer("kms-2", "core", NOWHERE, THEM.public)])

    assert not raw(us.post.address, OTHERS).outcome()
    us.until(("protokms_frames_refused", "stranger", "unknown_key"))


def test_a_client_without_curve_is_turned_away(started: Start, raw: Connect) -> None:
    us = started("kms-1", US)

    assert not raw(us.post.address, None).outcome()


def test_a_client_with_a_password_is_turned_away(started: Start, raw: Connect) -> None:
    us = started("kms-1", US)
    them = Raw.__new__(Raw)
    them.context = zmq.Context()
    them.socket = them.context.socket(zmq.PUSH)
    them.socket.plain_username, them.socket.plain_password = b"kms-2", b"password"
    them.events = them.socket.get_monitor_socket()
    them.socket.connect(us.post.address)

    assert not them.outcome()
    them.close()


def test_a_client_that_expects_another_server_does_not_talk_to_us(
    started: Start, raw: Connect
) -> None:
    us = started("kms-1", US)
    us.post.set_peers([Peer("kms-2", "core", NOWHERE, THEM.public)])

    assert not raw(us.post.address, THEM, server=OTHERS.public).outcome()


def test_a_post_does_not_talk_to_a_server_with_another_key(started: Start) -> None:
    us, impostor = started("kms-1", US), started("kms-2", OTHERS)
    impostor.post.set_peers([us.as_peer()])
    us.post.set_peers([Peer("kms-2", "core", impostor.post.address, THEM.public)])

    us.until(("protokms_frames_refused", "stranger", "unknown_key"), times=2)

    assert not us.post.post("kms-2", b"frame")
    assert not [said for said in impostor.said if said[-1] is True]


def test_who_is_refused_hears_of_it_and_gets_in_once_its_key_is_known(started: Start) -> None:
    us, them = started("kms-1", US), started("kms-2", THEM)
    us.post.set_peers([Peer("kms-2", "core", them.post.address, OTHERS.public)])
    them.post.set_peers([us.as_peer()])

    them.until(("kms-1", "refuses our key"), times=2)
    us.post.set_peers([them.as_peer()])

    them.until(("kms-1", True))
    us.until(("kms-2", True))


def test_a_missing_gate_admits_nobody(raw: Connect) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    inbox = Inbox(context, "tcp://127.0.0.1:*", US)

    admitted = raw(inbox.address, THEM).outcome()

    assert not admitted
    context.destroy(linger=0)


def test_a_revoked_key_is_refused_on_its_live_connection(started: Start, raw: Connect) -> None:
    us = started("kms-1", US)
    us.post.set_peers([Peer("kms-2", "core", NOWHERE, THEM.public)])
    them = raw(us.post.address, THEM)
    greeted(us, them)

    us.post.set_peers([])
    them.socket.send(b"frame")

    us.until(("protokms_frames_refused", "stranger", "unknown_key"))
    us.until(("kms-2", False))
    assert ("kms-2", "core", b"frame") not in us.said


def test_a_key_that_is_given_to_another_node_speaks_as_that_node(
    started: Start, raw: Connect
) -> None:
    us = started("kms-1", US)
    us.post.set_peers([Peer("kms-2", "core", NOWHERE, THEM.public)])
    them = raw(us.post.address, THEM)
    greeted(us, them)

    us.post.set_peers([Peer("kms-3", "front", NOWHERE, THEM.public)])
    them.socket.send(Beat.HELLO.value)
    them.socket.send(Beat.HEARD.value)
    them.socket.send(b"frame")

    us.until(("kms-2", False))
    us.until(("kms-3", "front", b"frame"))
    assert ("kms-3/front", True) in us.said


# Frames


def test_a_frame_in_parts_is_refused_and_the_next_one_taken(started: Start, raw: Connect) -> None:
    us = started("kms-1", US)
    us.post.set_peers([Peer("kms-2", "core", NOWHERE, THEM.public)])
    them = raw(us.post.address, THEM)
    greeted(us, them)

    them.socket.send_multipart([b"one", b"two", b"three"])
    them.socket.send(b"whole")

    us.until(("kms-2", "core", b"whole"))
    assert ("protokms_frames_refused", "kms-2", "multipart") in us.said
    assert not [said for said in us.said if said[-1] in {b"one", b"two", b"three"}]


def test_the_first_message_of_a_connection_may_be_many_parts(started: Start, raw: Connect) -> None:
    us, friend = started("kms-1", US), started("kms-3", OTHERS)
    us.post.set_peers([Peer("kms-2", "core", NOWHERE, THEM.public), friend.as_peer()])
    friend.post.set_peers([us.as_peer()])
    them = raw(us.post.address, THEM)
    assert them.outcome()

    them.socket.send_multipart([b"x" * MAX_FRAME] * 64 + [b"part"] * 2_000)

    us.until(("protokms_frames_refused", "kms-2", "multipart"))
    greeted(us, them)
    friend.post.post("kms-1", b"frame")
    us.until(("kms-3", "core", b"frame"))
    assert not [said for said in us.said if said[0] == "fatal"]


def test_a_frame_whose_reader_fails_is_refused_and_the_next_one_taken(
    started: Start, raw: Connect
) -> None:
    def receive(node: str, process: str, octets: bytes) -> None:
        if octets == b"bad":
            raise RuntimeError("key bits")
        us.note((node, process, octets))

    us = started("kms-1", US, receive=receive)
    us.post.set_peers([Peer("kms-2", "core", NOWHERE, THEM.public)])
    them = raw(us.post.address, THEM)
    greeted(us, them)

    them.socket.send(b"bad")
    them.socket.send(b"good")

    us.until(("kms-2", "core", b"good"))
    assert ("protokms_frames_refused", "kms-2", "crashed") in us.said
    assert not [said for said in us.said if said[0] == "fatal"]


def test_a_frame_over_the_limit_is_refused(started: Start, raw: Connect) -> None:
    us = started("kms-1", US)
    us.post.set_peers([Peer("kms-2", "core", NOWHERE, THEM.public)])
    them = raw(us.post.address, THEM)
    greeted(us, them)

    them.socket.send(b"x" * (MAX_FRAME + 1))

    us.until(("protokms_frames_refused", "kms-2", "oversized"))


def test_a_giant_loses_its_connection_and_others_keep_theirs(started: Start, raw: Connect) -> None:
    us, friend = started("kms-1", US), started("kms-3", OTHERS)
    us.post.set_peers([Peer("kms-2", "core", NOWHERE, THEM.public), friend.as_peer()])
    friend.post.set_peers([us.as_peer()])
    friend.until(("kms-1", True))
    them = raw(us.post.address, THEM)
    assert them.outcome()

    them.socket.send(b"x" * (MAX_MESSAGE + 1))

    assert not them.outcome()
    friend.post.post("kms-1", b"frame")
    us.until(("kms-3", "core", b"frame"))
    assert not [said for said in friend.said if said[-1] is False]


def test_a_frame_before_any_greeting_is_refused(started: Start, raw: Connect) -> None:
    us = started("kms-1", US)
    us.post.set_peers([Peer("kms-2", "core", NOWHERE, THEM.public)])

    raw(us.post.address, THEM).socket.send(b"frame")

    us.until(("protokms_frames_refused", "kms-2", "before_hello"))
    assert ("kms-2", "core", b"frame") not in us.said


def test_frames_from_many_threads_all_arrive(started: Start) -> None:
    one, two = started("kms-1", US), started("kms-2", THEM)
    one.post.set_peers([two.as_peer()])
    two.post.set_peers([one.as_peer()])
    one.until(("kms-2", True))

    def talk(number: int) -> None:
        for n in range(200):
            assert one.post.post("kms-2", f"{number} {n}".encode())

    threads = [threading.Thread(target=talk, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    for number in range(4):
        two.until(("kms-1", "core", f"{number} 199".encode()))
    heard = [said[2] for said in two.said if len(said) == 3 and said[0] == "kms-1"]
    for number in range(4):
        mine = [frame for frame in heard if frame.startswith(f"{number} ".encode())]
        assert mine == [f"{number} {n}".encode() for n in range(200)]


# Lives and deaths


def test_an_occupied_address_is_named(started: Start) -> None:
    us = started("kms-1", US)

    with pytest.raises(PostError, match=f"{us.post.address} is occupied"):
        Watched("kms-2", THEM, us.post.address).post.start()


def test_an_address_of_another_host_is_named() -> None:
    with pytest.raises(PostError, match=r"tcp://192.0.2.1:17001 is not an address of this host"):
        Watched("kms-2", THEM, "tcp://192.0.2.1:17001").post.start()


def test_a_stopped_post_frees_its_address_and_takes_nothing(started: Start) -> None:
    us = started("kms-1", US)
    us.post.set_peers([Peer("kms-2", "core", NOWHERE, THEM.public)])

    us.post.stop()
    us.post.stop()
    us.post.set_peers([Peer("kms-3", "core", NOWHERE, THEM.public)])

    assert not us.post.post("kms-3", b"frame")
    started("kms-1", US, us.post.address)


def test_a_thread_that_dies_says_where_and_its_peers_hear_silence(
    started: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stumble() -> None:
        raise RuntimeError("SECRET")

    one = started("kms-1", US, heartbeat_s=0.2)
    two = started("kms-2", THEM, heartbeat_s=0.2)
    one.post.set_peers([two.as_peer()])
    two.post.set_peers([one.as_peer()])
    one.until(("kms-2", True))

    monkeypatch.setattr(two.post, "_flush_all", stumble)  # a fault of the post's own

    one.until(("kms-2", False))
    (fatal,) = [said for said in two.said if said[0] == "fatal"]
    assert fatal[1].startswith("post: RuntimeError at test_real_post.py:")
    assert not two.post.post("kms-1", b"frame")


def test_a_table_with_a_name_or_a_key_twice_is_refused_whole(started: Start) -> None:
    us = started("kms-1", US)
    good = Peer("kms-2", "core", NOWHERE, THEM.public)
    bad = [
        [good, Peer("kms-2", "core", NOWHERE, OTHERS.public)],
        [good, Peer("kms-3", "core", NOWHERE, THEM.public)],
        [good, Peer("kms-3", "core", NOWHERE, US.public)],
        [good, Peer("kms-1", "core", NOWHERE, OTHERS.public)],
    ]

    for table in bad:
        with pytest.raises(ValueError, match=r"two processes|its own peer"):
            us.post.set_peers(table)
    assert us.post._table.by_name == {}


def test_a_peer_that_moves_is_followed(started: Start) -> None:
    one, old, new = started("kms-1", US), started("kms-2", THEM), started("kms-2", THEM)
    old.post.set_peers([one.as_peer()])
    one.post.set_peers([old.as_peer()])
    one.until(("kms-2", True))

    old.post.stop()
    one.post.set_peers([new.as_peer()])
    new.post.set_peers([one.as_peer()])

    one.until(("kms-2", True), times=2)
    new.until(("kms-1", True))
    assert one.post.post("kms-2", b"frame")
    new.until(("kms-1", "core", b"frame"))


def test_a_process_without_open_files_connects_once_it_has_some(
    started: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = started("kms-1", US, heartbeat_s=0.2), started("kms-2", THEM, heartbeat_s=0.2)
    make = zmq.Context.socket
    tries: list[int] = []

    def short(context: Any, kind: int, *rest: Any) -> Any:
        tries.append(kind)
        if tries.count(zmq.PUSH) <= 3:
            raise zmq.ZMQError(errno.EMFILE)
        return make(context, kind, *rest)

    monkeypatch.setattr(zmq.Context, "socket", short)
    one.post.set_peers([two.as_peer()])
    two.post.set_peers([one.as_peer()])

    one.until(("kms-2", True))

    assert tries.count(zmq.PUSH) >= 5
    assert not [said for said in (*one.said, *two.said) if said[0] == "fatal"]


def test_an_idle_post_does_not_turn_its_loop(started: Start) -> None:
    one, two = started("kms-1", US), started("kms-2", THEM)
    one.post.set_peers([two.as_peer()])
    two.post.set_peers([one.as_peer()])
    one.until(("kms-2", True))
    turns = []
    tick, perform = one.post._tick, one.post._stage.loop._run_once  # type: ignore[attr-defined]

    def counting() -> None:
        turns.append(1)
        perform()

    def ticking(now: float) -> None:
        tick(now)
        one.note("tick")

    one.post._stage.loop._run_once = counting  # type: ignore[attr-defined]
    one.post._tick = ticking  # type: ignore[method-assign]
    one.until("tick", times=2)

    assert len(turns) < 20


def test_a_peer_that_sends_us_nonsense_is_tried_again(
    started: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "_STALE", 0.3)
    us = started("kms-1", US, heartbeat_s=0.2)
    with socket.create_server(("127.0.0.1", 0)) as liar:
        address = f"tcp://127.0.0.1:{liar.getsockname()[1]}"
        us.post.set_peers([Peer("kms-2", "core", address, THEM.public)])
        caught, _ = liar.accept()
        with caught:  # a greeting of ZMTP 3.1 with CURVE, and then an error in clear
            caught.sendall(
                b"\xff" + bytes(8) + b"\x7f\x03\x01CURVE" + bytes(15) + b"\x01" + bytes(31)
            )
            caught.sendall(b"\x04\x0a\x05ERROR\x03400")
            while caught.recv(4096):
                pass

    them = started("kms-2", THEM, address, heartbeat_s=0.2)
    them.post.set_peers([us.as_peer()])

    us.until(("kms-2", True))


# No heartbeat helps here: what is to happen must happen at once


@pytest.fixture
def calm(started: Start) -> tuple[Watched, Watched]:
    one, two = started("kms-1", US, heartbeat_s=1000), started("kms-2", THEM, heartbeat_s=1000)
    one.post.set_peers([two.as_peer()])
    two.post.set_peers([one.as_peer()])
    one.until(("kms-2", True))
    two.until(("kms-1", True))
    return one, two


def test_every_frame_wakes_the_thread(calm: tuple[Watched, Watched]) -> None:
    one, two = calm

    for n in range(5):
        assert one.post.post("kms-2", b"frame %d" % n)
        two.until(("kms-1", "core", b"frame %d" % n))
        assert two.post.post("kms-1", b"frame %d" % n)
        one.until(("kms-2", "core", b"frame %d" % n))


def test_octets_that_are_out_make_room_for_others(calm: tuple[Watched, Watched]) -> None:
    one, two = calm
    one.post._table.by_name["kms-2"]._octet_limit = 1500

    for n in range(5):
        assert one.post.post("kms-2", bytes([n]) * 1000)
        two.until(("kms-1", "core", bytes([n]) * 1000))
        assert two.post.post("kms-1", b"%d" % n)
        one.until(("kms-2", "core", b"%d" % n))  # so its thread is past the accounts of the first


def test_a_peer_that_is_taken_out_hears_of_it_at_once(calm: tuple[Watched, Watched]) -> None:
    one, two = calm

    one.post.set_peers([])

    two.until(("kms-1", False))


def test_a_post_that_stops_says_goodbye(calm: tuple[Watched, Watched]) -> None:
    one, two = calm

    one.post.stop()

    two.until(("kms-1", False))


def test_a_peer_that_is_lost_gets_a_new_socket(calm: tuple[Watched, Watched]) -> None:
    one, two = calm
    outbox = one.post._table.by_name["kms-2"]
    before = outbox.socket

    two.post.stop()

    one.until(("kms-2", False))
    assert outbox.socket is not before
    assert before.closed


# Connections on demand


def lazy_pair(start: Start, **options: float) -> tuple[Watched, Watched]:
    one, two = start("kms-1", US, **options), start("kms-2", THEM, **options)
    one.post.set_peers([two.as_peer(lazy=True)])
    two.post.set_peers([one.as_peer(lazy=True)])
    return one, two


def test_a_connection_that_is_closed_unused_is_no_failure_of_the_peer(started: Start) -> None:
    one, two = lazy_pair(started, heartbeat_s=0.1, idle_s=0.5)

    one.post.post("kms-2", b"wake up")

    one.until(("kms-2", "idle"))
    two.until(("kms-1", "idle"))
    assert ("kms-2", False) not in one.said
    assert ("kms-1", False) not in two.said
    assert not one.post._table.by_name["kms-2"].connected


def test_a_lazy_peer_has_no_socket_until_it_is_spoken_to(started: Start) -> None:
    one, two = lazy_pair(started)
    three = started("kms-3", OTHERS)
    one.post.set_peers([two.as_peer(lazy=True), three.as_peer()])
    three.post.set_peers([one.as_peer()])
    one.until(("kms-3", True))

    assert not one.post._table.by_name["kms-2"].connected


def test_a_lazy_peer_that_dies_is_down(started: Start) -> None:
    one, two = lazy_pair(started, heartbeat_s=0.2)
    one.post.post("kms-2", b"wake up")
    one.until(("kms-2", True))

    two.post.stop()

    one.until(("kms-2", False))


def test_a_lazy_peer_that_never_answers_is_said_to_be_down(
    started: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(post, "OPENING_S", 0.1)
    one = started("kms-1", US, heartbeat_s=0.1)
    one.post.set_peers([Peer("kms-2", "core", NOWHERE, THEM.public, lazy=True)])

    one.post.post("kms-2", b"anybody there?")

    one.until(("kms-2", False))


def test_a_process_of_the_own_node_that_is_silent_is_down_by_its_own_heartbeat(
    started: Start, raw: Callable[..., Raw]
) -> None:
    us = started("a", US, heartbeat_s=600.0, sibling_heartbeat_s=0.1)
    us.post.set_peers(
        [Peer("a", "front", NOWHERE, THEM.public), Peer("b", "core", NOWHERE, OTHERS.public)]
    )
    ends = [raw(us.post.address, key) for key in (THEM, OTHERS)]

    for end in ends:
        end.socket.send(Beat.HELLO.value)
        end.socket.send(Beat.HEARD.value)
    us.until(("b", True))
    us.until(("a/front", True))

    us.until(("a/front", False))
    assert ("b", False) not in us.said
