"""The same door below the frames: no key, other mechanisms, parts, giants, garbage, replays."""

import contextlib
import random
import socket
import threading
from collections.abc import Callable, Iterator

import pytest
import zmq
from zmq.utils.monitor import recv_monitor_message

from tests.doors.liar import frame
from tests.doors.tally import Tally
from tests.doors.town import LIAR, VICTIM, Town
from tests.processes.real_lab import eventually
from transport import curve
from transport.codec import MAX_FRAME
from transport.curve import CurveKey
from transport.outbox import MAX_MESSAGE
from transport.session import Beat

pytestmark = pytest.mark.slow

DOOR = "ZeroMQ"
SEED = 3_1
WAIT_MS = 20_000
WAIT_S = 20.0
GARBAGE = 400
OVER: dict[int, str] = {
    zmq.EVENT_HANDSHAKE_SUCCEEDED: "admitted",
    zmq.EVENT_HANDSHAKE_FAILED_AUTH: "turned away",
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL: "turned away",
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: "turned away",
    zmq.EVENT_DISCONNECTED: "turned away",
}
GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x01" + b"CURVE" + bytes(15) + b"\x00" + bytes(31)

Zocket = zmq.Socket[bytes]


@contextlib.contextmanager
def knock(
    town: Town, prepare: Callable[[Zocket], None], kind: int = zmq.PUSH, address: str = ""
) -> Iterator[tuple[Zocket, str]]:
    """Connect a bare socket; yield it and what became of its handshake."""
    context: zmq.Context[Zocket] = zmq.Context()
    made = context.socket(kind)
    made.linger, made.sndtimeo, made.immediate = 0, WAIT_MS, True
    prepare(made)
    events = made.get_monitor_socket()
    try:
        made.connect(address or str(town.config_of(VICTIM).transport.bind))
        found = ""
        while not found:
            assert events.poll(WAIT_MS), "neither admitted nor turned away"
            found = OVER.get(int(recv_monitor_message(events)["event"]), "")
        yield made, found
    finally:
        made.disable_monitor()
        events.close()
        context.destroy(linger=0)


def with_key(key: CurveKey, server: str) -> Callable[[Zocket], None]:
    def prepare(made: Zocket) -> None:
        made.curve_publickey, made.curve_secretkey = key.public.encode(), key.secret.reveal()
        made.curve_serverkey = server.encode()

    return prepare


def plain(made: Zocket) -> None:
    made.plain_username, made.plain_password = b"kms-3", b"password"


def public_of(town: Town, node: str = VICTIM) -> str:
    return curve.load(town.config_of(node).transport.curve).public


def key_of(town: Town) -> CurveKey:
    return curve.load(town.config_of(LIAR).transport.curve)


def test_strangers_are_turned_away_whatever_they_offer(town: Town, tally: Tally) -> None:
    public, friend = public_of(town), public_of(town, "kms-2")
    kinds = (zmq.PUSH, zmq.PULL, zmq.DEALER, zmq.ROUTER, zmq.PUB, zmq.SUB, zmq.REQ, zmq.PAIR)
    stolen = CurveKey(friend, CurveKey.draw().secret)  # the public key of another, without its own
    tried: dict[str, list[tuple[Callable[[Zocket], None], int]]] = {
        "NULL mechanism": [(lambda _: None, kind) for kind in kinds],
        "PLAIN mechanism": [(plain, kind) for kind in kinds],
        "unknown keys": [(with_key(CurveKey.draw(), public), kinds[n % 8]) for n in range(24)],
        "right key, wrong server": [(with_key(key_of(town), friend), zmq.PUSH)],
        "a public key without its secret": [(with_key(stolen, public), zmq.PUSH)],
    }

    for name, rows in tried.items():
        for prepare, kind in rows:
            with knock(town, prepare, kind) as (_, outcome):
                tally.note(DOOR, name, outcome)
                assert outcome == "turned away", (name, kind)


def test_a_known_key_on_a_socket_of_another_kind_is_not_heard(town: Town, tally: Tally) -> None:
    for kind in (zmq.PULL, zmq.DEALER, zmq.PUB, zmq.REQ, zmq.ROUTER):
        with knock(town, with_key(key_of(town), public_of(town)), kind) as (_, outcome):
            tally.note(DOOR, "right key, other socket", outcome)
            assert outcome == "turned away", kind


def test_parts_giants_and_words_before_a_greeting_are_refused(town: Town, tally: Tally) -> None:
    def refused(reason: str) -> float:
        name = "protokms_frames_refused_total"
        return town.metric(VICTIM, name, peer=LIAR, reason=reason)

    with knock(town, with_key(key_of(town), public_of(town))) as (made, outcome):
        assert outcome == "admitted"
        before = {reason: refused(reason) for reason in ("before_hello", "multipart", "oversized")}
        for _ in range(20):
            made.send(frame("blocks.room/1", []))
        for n in range(2, 22):
            made.send_multipart([b"part"] * n)
        made.send_multipart([Beat.HELLO.value, Beat.UP.value])
        made.send_multipart([b"x" * MAX_FRAME] * 8)
        for n in range(1, 6):
            made.send(b"x" * (MAX_FRAME + n))
        sent = {"before_hello": 20, "multipart": 22, "oversized": 5}
        for reason, n in sent.items():
            eventually(
                lambda reason=reason, n=n: refused(reason) - before[reason] >= n,  # type: ignore[misc]
                reason,
            )
            tally.note(DOOR, f"frames: {reason}", "refused", n)
    for size in (MAX_MESSAGE + 1, 8 << 20, 64 << 20):
        with knock(town, with_key(key_of(town), public_of(town))) as (made, outcome):
            assert outcome == "admitted"
            made.send(b"x" * size)
            tally.note(DOOR, "frames: giants", "cut")


def garbage() -> Iterator[tuple[str, bytes]]:
    """What is no ZMTP, or only at its beginning."""
    dice = random.Random(SEED)
    for n in range(len(GREETING)):
        yield "greetings cut off", GREETING[:n]
    for _ in range(GARBAGE):
        spoilt = bytearray(GREETING + b"\x04\xc8\x05HELLO" + dice.randbytes(194))
        for _ in range(dice.randint(1, 6)):
            spoilt[dice.randrange(len(spoilt))] = dice.randrange(256)
        yield "greetings spoilt", bytes(spoilt)
    for size in (0, 1, 193, 194, 195, 255, 70_000):
        yield "commands of noise", GREETING + b"\x04\xff\x05HELLO" + dice.randbytes(size)
        yield (
            "commands of noise",
            GREETING + b"\x06" + (1 << 62).to_bytes(8, "big") + dice.randbytes(size),
        )
        yield "commands of noise", GREETING + b"\x00\xff" + dice.randbytes(size)
    for version in (b"\x00", b"\x01", b"\x02", b"\x7f", b"\xff"):
        yield "other versions", GREETING[:10] + version + GREETING[11:]
    for mechanism in (b"", b"NULL", b"PLAIN", b"GSSAPI", b"X" * 20):
        yield (
            "other mechanisms",
            GREETING[:12] + mechanism.ljust(20, b"\0") + GREETING[32:] + b"\x04\x06\x05READY",
        )
    for octets in (
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\x02\x00",
        bytes(100_000),
        b"\x01\x00",
        b"\xff" * 99,
    ):
        yield "other protocols", octets


def test_garbage_is_cut(town: Town, tally: Tally) -> None:
    end = town.config_of(VICTIM).transport.bind
    for kind, octets in garbage():
        with (
            socket.create_connection((end.host, end.port), WAIT_S) as made,
            contextlib.suppress(OSError),
        ):
            made.sendall(octets)
            made.shutdown(socket.SHUT_WR)
            while made.recv(65_536):
                pass
        tally.note(DOOR, kind, "cut")


class Recorder:
    """Stands between a client and the victim, and keeps what the client sends."""

    def __init__(self, town: Town) -> None:
        end = town.config_of(VICTIM).transport.bind
        self._far = socket.create_connection((end.host, end.port), WAIT_S)
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._server.getsockname()[1]}"
        self.octets = b""
        self._near: socket.socket | None = None
        self._threads = [threading.Thread(target=self._out), threading.Thread(target=self._back)]
        self._there = threading.Event()

    def __enter__(self) -> "Recorder":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for each in (self._near, self._far, self._server):
            if each:
                with contextlib.suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
                each.close()
        for thread in self._threads:
            thread.join(WAIT_S)

    def _out(self) -> None:
        self._near, _ = self._server.accept()
        self._there.set()
        with contextlib.suppress(OSError):
            while octets := self._near.recv(65_536):
                self.octets += octets
                self._far.sendall(octets)

    def _back(self) -> None:
        assert self._there.wait(WAIT_S)
        assert self._near
        with contextlib.suppress(OSError):
            while octets := self._far.recv(65_536):
                self._near.sendall(octets)


def test_a_recorded_connection_that_is_played_back_is_not_heard(town: Town, tally: Tally) -> None:
    name = "protokms_frames_refused_total"

    def heard() -> float:
        return town.metric(VICTIM, name, peer=LIAR, reason="before_hello")

    before = heard()
    with Recorder(town) as tape:
        key = with_key(key_of(town), public_of(town))
        with knock(town, key, address=tape.address) as (made, outcome):
            assert outcome == "admitted"
            made.send(frame("blocks.room/1", []))
            eventually(lambda: heard() == before + 1, "it is heard once")
    end = town.config_of(VICTIM).transport.bind
    for _ in range(30):
        with (
            socket.create_connection((end.host, end.port), WAIT_S) as again,
            contextlib.suppress(OSError),
        ):
            again.sendall(tape.octets)
            while again.recv(65_536):
                pass
        tally.note(DOOR, "replays of a connection", "cut")

    assert len(tape.octets) > 500
    assert heard() == before + 1
