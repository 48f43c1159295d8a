"""Health, readiness and metrics, as an operator asks for them."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import replace

import pytest

from actors.protocol.common import Failed, Healthy, Ping
from protokms.node import observe
from protokms.node.meter import MemoryMeter
from protokms.node.observe import CONNECTIONS_MAX, Checkup, Observer
from transport.message import Message

WELL = Healthy(ready=True, reasons=(), facts=(("stored_bits", "512"),))
DRY = Healthy(ready=True, reasons=(), facts=(("stored_bits", "0"),))
ILL = Healthy(ready=False, reasons=("closed",))
SIMPLE = Failed(code="not_understood", why="Health")
GONE = Failed(code="undeliverable", why="x")


def test_a_node_is_ready_when_every_actor_is() -> None:
    found = Checkup("kms-1", {"key_store/b": WELL, "supervisor": SIMPLE}, ())

    assert found.alive
    assert found.ready() == {
        "node": "kms-1",
        "ready": True,
        "reasons": [],
        "waiting": [],
        "alarms": [],
        "bits_received": True,
    }


def test_a_node_that_waits_for_another_is_ready_and_says_so() -> None:
    away = Healthy(ready=True, reasons=(), waits=("it is not in step", "closed"))
    found = Checkup("kms-1", {"it": away}, ())

    assert found.ready()["ready"]
    assert found.ready()["waiting"] == ["it is not in step", "it: closed"]
    assert found.health()["actors"]["it"]["waits"] == ["it is not in step", "closed"]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (ILL, "it: closed"),
        (Healthy(ready=False, reasons=()), "it: not ready"),
        (Healthy(ready=False, reasons=("it is frozen",)), "it is frozen"),
        (GONE, "it: undeliverable"),
        (Failed(code="timeout", why="no answer"), "it: timeout"),
    ],
)
def test_each_actor_that_is_not_ready_gives_its_reason(answer: Message, reason: str) -> None:
    found = Checkup("kms-1", {"other": WELL, "it": answer}, ())

    assert found.reasons == [reason]


def test_a_node_is_ready_while_one_of_several_front_ends_serves() -> None:
    fronts: dict[str, Message] = {"etsi014/1": WELL, "etsi014/2": GONE, "etsi014/3": ILL}
    found = Checkup("kms-1", fronts, ())

    assert found.ready()["ready"]
    assert found.ready()["waiting"] == ["etsi014/2: undeliverable", "etsi014/3: closed"]
    assert not found.alive


def test_a_node_whose_front_ends_all_are_away_is_not_ready() -> None:
    found = Checkup("kms-1", {"etsi014/1": GONE, "etsi014/2": ILL}, ())

    assert found.reasons == ["etsi014/1: undeliverable", "etsi014/2: closed"]
    assert found.waiting == []


def store(test: str, *, resumed: bool = True, own_bits: int = 0) -> Healthy:
    """A store with a quantum link, in quarantine by that test or by none."""
    facts = {"resumed": str(resumed).lower(), "own_bits": str(own_bits), "quarantine": test}
    return Healthy(ready=True, reasons=(), facts=tuple(facts.items()))


@pytest.mark.parametrize(
    ("stores", "ready"),
    [
        ([store("repeated_bits"), store("")], True),
        ([store("repeated_bits"), store("", resumed=False)], False),
        ([store("repeated_bits")], False),
        ([store("repeated_bits", own_bits=256)], True),
        ([store("repeated_bits", own_bits=256, resumed=False)], False),
        ([store("", resumed=False)], True),
        ([], True),
    ],
)
def test_a_node_is_ready_while_a_link_serves_though_another_is_in_quarantine(
    stores: list[Healthy], ready: bool
) -> None:
    answers: dict[str, Message] = {f"key_store/{n}": it for n, it in enumerate(stores)}

    assert Checkup("kms-1", answers, ()).ready()["ready"] is ready


def test_troubles_beside_the_actors_count_too() -> None:
    assert Checkup("kms-1", {}, ("the disk is full",)).ready()["reasons"] == ["the disk is full"]


def test_without_stored_bits_none_were_received() -> None:
    assert not Checkup("kms-1", {"key_store/b": DRY, "x": SIMPLE}, ()).bits_received


def test_the_ids_of_alarms_are_told_and_no_reason_to_be_not_ready() -> None:
    told = Healthy(ready=True, reasons=(), facts=(("alarms", "disk_full other_mode"),))

    found = Checkup("kms-1", {"alarms": told, "key_store/b": WELL}, ()).ready()

    assert found["ready"]
    assert found["alarms"] == ["disk_full", "other_mode"]


def test_health_tells_the_living_from_the_dead() -> None:
    found = Checkup("kms-1", {"a": WELL, "b": SIMPLE, "c": GONE}, ()).health()

    alive = {name: row["alive"] for name, row in found["actors"].items()}
    assert alive == {"a": True, "b": True, "c": False}
    assert found["alive"] is False
    assert found["actors"]["a"]["facts"] == {"stored_bits": "512"}


class FakeVitals:
    """A node whose actors say what a test wants."""

    node = "kms-1"

    def __init__(self) -> None:
        self.answers: dict[str, Message] = {"a": WELL}
        self.sampled = 0

    def names(self) -> Sequence[str]:
        return list(self.answers)

    def ask(self, name: str, body: Message, timeout: float) -> "Future[Message]":
        assert not isinstance(body, Ping)
        assert timeout > 0
        future: Future[Message] = Future()
        future.set_result(self.answers[name])
        return future

    def troubles(self) -> Sequence[str]:
        return ()

    def sample(self) -> None:
        self.sampled += 1


@pytest.fixture
def vitals() -> FakeVitals:
    return FakeVitals()


@pytest.fixture
def observer(vitals: FakeVitals) -> Iterator[Observer]:
    meter = MemoryMeter()
    meter.add("protokms_x", 3, reason='say "no"\n')
    meter.set("protokms_y", 1.5)
    made = Observer(("127.0.0.1", 0), meter, vitals)
    made.start()
    yield made
    made.stop()


def get(port: int, path: str, verb: str = "GET") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request(verb, path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


@pytest.mark.slow
def test_metrics_are_prometheus_text(observer: Observer, vitals: FakeVitals) -> None:
    status, text = get(observer.port, "/metrics")

    assert status == 200
    assert 'protokms_x_total{reason="say \\"no\\"\\n"} 3.0' in text
    assert "protokms_y 1.5" in text
    assert "process_resident_memory_bytes" in text
    assert vitals.sampled == 1


@pytest.mark.slow
def test_ready_is_200_or_503_with_reasons(observer: Observer, vitals: FakeVitals) -> None:
    good = get(observer.port, "/ready")
    vitals.answers["b"] = replace(ILL, reasons=("draining",))
    bad = get(observer.port, "/ready")

    assert good[0] == 200
    assert bad[0] == 503
    assert json.loads(bad[1])["reasons"] == ["b: draining"]


@pytest.mark.slow
def test_health_is_503_when_an_actor_is_dead(observer: Observer, vitals: FakeVitals) -> None:
    vitals.answers["b"] = GONE

    status, text = get(observer.port, "/health")

    assert status == 503
    assert json.loads(text)["actors"]["b"]["alive"] is False


@pytest.mark.slow
@pytest.mark.parametrize(("path", "verb", "status"), [("/", "GET", 404), ("/ready", "POST", 405)])
def test_there_is_nothing_else(observer: Observer, path: str, verb: str, status: int) -> None:
    assert get(observer.port, path, verb)[0] == status


@pytest.mark.slow
def test_a_taken_port_is_an_error_and_leaves_no_thread(observer: Observer) -> None:
    second = Observer(("127.0.0.1", observer.port), MemoryMeter(), FakeVitals())
    before = threading.active_count()

    with pytest.raises(OSError, match="is occupied by another process"):
        second.start()

    assert threading.active_count() == before


@pytest.mark.slow
def test_a_stopped_observer_frees_its_port_and_stops_once(vitals: FakeVitals) -> None:
    first = Observer(("127.0.0.1", 0), MemoryMeter(), vitals)
    first.start()
    first.stop()
    first.stop()

    second = Observer(("127.0.0.1", first.port), MemoryMeter(), vitals)
    second.start()
    begun = time.monotonic()
    second.stop()

    assert time.monotonic() - begun < 2


@pytest.mark.slow
def test_those_who_only_take_seats_lose_them_to_others(observer: Observer) -> None:
    with ExitStack() as stack:
        idle = [
            stack.enter_context(socket.create_connection(("127.0.0.1", observer.port), 5))
            for _ in range(CONNECTIONS_MAX + 6)
        ]

        served = [get(observer.port, "/ready")[0] for _ in range(3)]

        assert served == [200] * 3
        assert idle[0].recv(1) == b""


@pytest.mark.slow
def test_a_connection_does_not_last_for_ever(
    vitals: FakeVitals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observe, "CONNECTION_S", 0.05)
    monkeypatch.setattr(observe, "_SWEEP_S", 0.02)
    monkeypatch.setattr(observe, "_STOP_S", 0.5)
    made = Observer(("127.0.0.1", 0), MemoryMeter(), vitals)
    made.start()
    try:
        for said in (b"", b"GET /rea", b"GET /ready HTTP/1.1\r\nHost: a\r\n\r\n"):
            with socket.create_connection(("127.0.0.1", made.port), 5) as slow:
                slow.sendall(said)
                rest = b""
                while octets := slow.recv(4096):
                    rest += octets
                assert rest.startswith(b"HTTP/1.1 200 ") or not said.endswith(b"\n")
    finally:
        made.stop()
