"""The HTTPS service as a part: what any front end answers, over a server that does nothing."""

import asyncio
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from msgspec import structs
from structlog.testing import capture_logs

from actors.base import Clock, Later, Then, Timer
from actors.protocol.alarms import Ended, Raised
from actors.protocol.common import Drain, Drained, Health
from etsi.http.bridge import Bridge
from etsi.http.call import Call, Caller
from etsi.http.limits import LIMITS
from etsi.http.options import HttpOptions, packed
from etsi.http.reply import Reply
from etsi.http.server import Serving
from etsi.http.service import (
    LOOK_S,
    HttpDied,
    HttpDrained,
    HttpService,
    Look,
    Memory,
    Reload,
    Reloaded,
)
from protokms.node.meter import MemoryMeter
from tests.kit.authority import DAY, NOW, Authority
from tests.kit.noting import Noting
from transport.endpoint import Endpoint
from transport.envelope import Address
from transport.explained import Explained
from transport.message import Message


class LoopNoting(Noting):
    """A system that notes everything, and has a loop."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.loop = self.runner.get_loop()


class FakeContext:
    """Stands for the actor."""

    address = sender = Address("front", "kms-1")
    clock = Clock("boot", 0.0)

    def __init__(self) -> None:
        self.system, self.log = LoopNoting(), structlog.get_logger()
        self.answered: list[Message] = []
        self.reminded: list[tuple[float, Message]] = []
        self.told: list[tuple[Address, Message]] = []

    def tell(self, to: Address, body: Message) -> None:
        self.told.append((to, body))

    def ask(self, to: Address, body: Message, then: Then, timeout: float) -> None:
        raise NotImplementedError

    def later(self) -> Later:
        answer: Any = self.answered.append
        made: Later = answer
        return made

    def remind(self, seconds: float, body: Message) -> Timer:
        self.reminded.append((seconds, body))
        made: Any = None
        timer: Timer = made
        return timer

    def go_on(self, seconds: float, body: Message) -> None:
        self.next = seconds, body


class FakeServer:
    """Notes what a service wants of it."""

    connections = 3

    def __init__(self, serving: Serving) -> None:
        self.serving, self.calls = serving, list[str]()
        self.options = serving.options
        self.context: ssl.SSLContext | None = None
        self.unwelcome: Callable[[Caller], bool] = lambda _: False

    def start(self, context: ssl.SSLContext | None) -> tuple[str, int]:
        self.calls.append("start")
        self.context = context
        return "127.0.0.1", 18001

    def stop(self) -> None:
        self.calls.append("stop")

    def stop_listening(self) -> None:
        self.calls.append("stop_listening")

    def renew(
        self,
        context: ssl.SSLContext | None,
        unwelcome: Callable[[Caller], bool],
        options: HttpOptions,
    ) -> None:
        self.calls.append("renew")
        self.context, self.unwelcome, self.options = context, unwelcome, options


async def nothing(_: Call) -> Reply:
    return Reply(200, b"{}")


class Bench:
    """A service with everything around it."""

    def __init__(self, authority: Authority) -> None:
        self.authority, self.context = authority, FakeContext()
        self.reasons: tuple[str, ...] = ()
        authority.issue("kme")
        folder = authority.folder
        self.options = HttpOptions(
            bind=Endpoint("127.0.0.1", 18001),
            certificate=folder / "kme.crt",
            key=folder / "kme.key",
            client_ca=authority.path,
            deny=("sae-9",),
        )
        self.system, self.memory = self.context.system, Memory()
        self.system.meter = self.meter = MemoryMeter()
        self.renewed: list[HttpOptions] = []
        self.service = self.make_service()

    def make_service(self) -> HttpService:
        """Make the part, as an actor does that starts anew."""
        self.bridge = Bridge(self.system, "front/http", lambda _: None)
        return HttpService(
            self.context,
            self.bridge,
            nothing,
            self.options,
            self.make_server,
            memory=self.memory,
            unready=lambda: self.reasons,
            renewed=self.renewed.append,
        )

    def make_server(self, serving: Serving) -> FakeServer:
        self.server = FakeServer(serving)
        return self.server

    def turn(self) -> None:
        """Let everything happen that is due on the loop."""
        self.system.runner.run(asyncio.sleep(0))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(Authority(tmp_path))
    yield made
    made.system.runner.close()


def test_a_start_reads_certificates_opens_the_bridge_and_listens(bench: Bench) -> None:
    bench.service.start()
    bench.turn()

    health = bench.service.health(Health())

    assert bench.server.calls == ["start"]
    assert bench.server.context
    assert list(bench.system.inboxes) == ["front/http"]
    assert (health.ready, health.reasons) == (True, ())
    assert dict(health.facts).items() >= {
        ("address", "127.0.0.1:18001"),
        ("connections", "3"),
        ("requests", "0"),
    }


def test_a_stop_ends_the_server_and_closes_the_bridge(bench: Bench) -> None:
    bench.service.start()
    bench.turn()

    bench.service.stop()
    bench.turn()

    assert bench.server.calls == ["start", "stop"]
    assert bench.system.inboxes == {}


def test_a_stop_after_the_loop_has_ended_is_harmless(bench: Bench) -> None:
    bench.service.start()
    bench.system.runner.close()

    bench.service.stop()

    assert bench.server.calls == ["start", "stop"]


def test_health_tells_the_reasons_of_the_front_end_and_its_own(bench: Bench) -> None:
    bench.authority.issue("kme", not_after=NOW - DAY)
    bench.service.start()
    bench.reasons = ("the directory is not known yet",)
    bench.service.drain(Drain())

    health = bench.service.health(Health())

    assert not health.ready
    assert health.reasons == (
        "the directory is not known yet",
        "draining",
        f"the server certificate: CN=kme has expired on {NOW - DAY:%F %T} UTC",
    )


def test_a_reload_turns_away_whom_the_new_list_denies(bench: Bench) -> None:
    bench.service.start()
    before = bench.server.context

    answer = bench.service.reload(Reload(deny=("sae-1",)))

    assert isinstance(answer, Reloaded)
    assert bench.server.calls == ["start", "renew"]
    assert bench.server.context is not before
    assert bench.server.unwelcome(Caller("sae-1"))
    assert not bench.server.unwelcome(Caller("sae-9"))
    assert bench.server.serving.pipeline.deny_list.denied == {"sae-1"}


def test_of_a_list_that_is_bad_the_good_entries_count_beside_the_old_ones(bench: Bench) -> None:
    bench.service.start()

    answer = bench.service.reload(Reload(deny=("sae-1",), keep=("deny",)))
    again = bench.service.reload(Reload(deny=("sae-1",), keep=("deny",)))

    assert (answer.applied, again.applied) == (("deny",), ())
    assert bench.server.serving.pipeline.deny_list.denied == {"sae-1", "sae-9"}


def test_a_reload_without_a_list_keeps_the_one_there_is(bench: Bench) -> None:
    bench.service.start()

    bench.service.reload(Reload())

    assert bench.server.unwelcome(Caller("sae-9"))
    assert not bench.server.unwelcome(Caller("sae-1"))


def test_after_a_new_ca_everybody_has_to_connect_again(bench: Bench, tmp_path: Path) -> None:
    bench.service.start()
    (tmp_path / "new").mkdir()
    new = Authority(tmp_path / "new")
    bench.authority.path.write_bytes(new.path.read_bytes())

    bench.service.reload(Reload())

    assert bench.server.unwelcome(Caller("sae-1"))


def test_who_is_denied_is_so_after_a_crash_though_the_files_are_bad_by_then(bench: Bench) -> None:
    bench.service.start()
    bench.service.reload(Reload(deny=("sae-1",)))
    bench.authority.path.write_text("noise")

    fresh = bench.make_service()
    fresh.start()

    assert bench.server.serving.pipeline.deny_list.denied == {"sae-1"}


def test_other_files_and_a_list_that_was_not_there_are_taken(bench: Bench) -> None:
    bad = bench.authority.issue("sae-1")
    bench.service.start()
    crl = bench.authority.revoke(bad)
    away = bench.authority.folder / "away.crt"
    away.write_bytes(bench.authority.path.read_bytes())

    bench.service.reload(Reload(options=packed({"crl": crl, "client_ca": away})))

    revoked = bench.server.serving.pipeline.deny_list.revoked
    assert {serial for _, serial in revoked} == {bad.serial_number}
    away.unlink()
    (kept,) = bench.service.reload(Reload()).kept
    assert str(away) in kept


def test_what_expires_is_told_once_for_each_step(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = (NOW + 90 * DAY).timestamp()
    bench.authority.issue("kme", not_after=NOW + 90 * DAY)
    bench.authority.path.write_bytes(
        Authority(bench.authority.folder, not_after=NOW + 900 * DAY).pem
    )
    told = list[tuple[str, Any]]()
    days = 86_400
    with capture_logs() as lines:
        for left in (40, 29, 28, 6, 5, -1, -2):
            monkeypatch.setattr("time.time", lambda left=left: end - left * days)
            if left == 40:
                bench.service.start()
            bench.service.look(Look())
            told += [(line["event"], left) for line in lines if line.get("file") == "certificate"]
            lines.clear()

    assert told == [("expires_soon", 29), ("expires_soon", 6), ("out_of_date", -1)]
    assert bench.context.next == (LOOK_S, Look())
    assert bench.meter.value("protokms_http_expires", file="certificate") == int(end)
    assert bench.meter.value("protokms_http_closed") == 1


def test_limits_that_are_changed_are_in_use_everywhere_and_told(bench: Bench) -> None:
    bench.service.start()
    limits = {"max_body_octets": 2_048, "max_in_flight": 1, "max_connections": 5}

    done = bench.service.reload(Reload(options=packed(limits)))

    assert done.applied == ("max_body_octets", "max_connections", "max_in_flight")
    for options in (bench.server.options, bench.renewed[-1], bench.memory.options):
        assert options
        assert {name: getattr(options, name) for name in limits} == limits
    bench.turn()
    in_flight = bench.server.serving.pipeline.in_flight
    assert [in_flight.acquire("sae-1") for _ in range(2)] == [True, False]
    in_flight.release("sae-1")
    assert bench.service.reload(Reload(options=packed(limits))).applied == ()
    fresh = bench.make_service()
    assert fresh._options == bench.server.options  # of the next life, after a crash


def test_neither_address_nor_time_of_requests_is_changed_by_a_reload(bench: Bench) -> None:
    bench.service.start()
    values = {"bind": Endpoint("127.0.0.1", 1), "request_timeout_s": 1.0, "brainpool": True}
    values["max_in_flight"] = 9

    done = bench.service.reload(Reload(options=packed(values)))

    assert done.applied == ("max_in_flight",)
    assert bench.server.options.bind == bench.options.bind


def test_what_a_reload_has_read_anew_is_told(bench: Bench) -> None:
    bench.service.start()
    folder = bench.authority.folder
    assert bench.service.reload(Reload()).applied == ()

    bench.authority.issue("kme")
    assert bench.service.reload(Reload()).applied == ("certificate", "key")
    crl = bench.authority.revoke(due=NOW + DAY)
    assert bench.service.reload(Reload(options=packed({"crl": crl}))).applied == ("crl",)
    bench.authority.revoke(bench.authority.issue("sae-2"), due=NOW + DAY)
    assert bench.service.reload(Reload(deny=("sae-8",))).applied == ("crl", "deny")
    (folder / "kme.crt").write_text("noise")
    other = packed({"certificate": folder / "other.crt"})
    done = bench.service.reload(Reload(options=other))
    assert (done.applied, len(done.kept)) == ((), 1)


def alarms_of(bench: Bench) -> list[tuple[str, str, str]]:
    """Return what operators were told since this was asked before."""
    told, bench.context.told = bench.context.told, []
    assert {to for to, _ in told} <= {Address("alarms", bench.system.node)}
    found = [body for _, body in told if isinstance(body, Raised | Ended)]
    return [(type(body).__name__, body.id, body.subject) for body in found]


def test_what_expires_is_an_alarm_until_it_is_replaced(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = (NOW + 90 * DAY).timestamp()
    bench.authority = Authority(bench.authority.folder, not_after=NOW + 900 * DAY)
    bench.authority.issue("kme", not_after=NOW + 90 * DAY)
    kme = "certificate CN=kme"

    def look(left: float) -> list[tuple[str, str, str]]:
        monkeypatch.setattr("time.time", lambda: end - left * 86_400)
        bench.service.look(Look())
        return alarms_of(bench)

    monkeypatch.setattr("time.time", lambda: end - 40 * 86_400)
    bench.service.start()
    assert alarms_of(bench) == []
    assert look(20) == look(19) == [("Raised", "expires_soon", kme)]  # said again: see the code
    assert look(-1) == [
        ("Ended", "expires_soon", kme),
        ("Raised", "out_of_date", kme),
        ("Raised", "nobody_let_in", ""),
    ]
    bench.authority.issue("kme", not_after=NOW + 400 * DAY)
    bench.service.reload(Reload())
    over = alarms_of(bench)
    assert sorted(over) == [("Ended", "nobody_let_in", ""), ("Ended", "out_of_date", kme)]


def test_a_device_that_is_refused_is_an_alarm(bench: Bench) -> None:
    bench.service.start()

    bench.server.serving.refused("handshake of ::1: certificate has expired")

    (said,) = [it for it in bench.system.sent if it.to.name == "alarms"]
    text = "handshake of ::1: certificate has expired"
    assert said.body == Raised(id="saes_refused", text=text)


@pytest.mark.parametrize("late", ["ca", "list", "early ca", "nothing"])
def test_not_ready_while_everybody_is_refused(bench: Bench, late: str) -> None:
    folder = bench.authority.folder
    end = NOW - DAY if late == "ca" else NOW + DAY
    begin = NOW + DAY / 2 if late == "early ca" else NOW - 30 * DAY
    ca = Authority(folder, "cas", not_before=begin, not_after=end)
    crl = ca.revoke(due=NOW - DAY / 2 if late == "list" else NOW + DAY)
    bench.options = structs.replace(bench.options, client_ca=ca.path, crl=crl)
    service = bench.make_service()

    service.start()

    health = service.health(Health())
    assert health.ready == (late == "nothing")
    if late != "nothing":
        (reason,) = health.reasons
        assert reason.startswith("no client is let in: ")
        assert "CN=cas" in reason
    assert bench.meter.value("protokms_http_closed") == (late != "nothing")


@pytest.mark.parametrize("file", ["kme.crt", "kme.key", "ca.crt"])
def test_a_file_that_cannot_be_used_is_named_and_stops_nothing_else(
    bench: Bench, file: str
) -> None:
    bench.service.start()
    path = bench.authority.folder / file
    octets = path.read_bytes()
    path.write_text("noise")

    (kept,) = bench.service.reload(Reload(deny=("sae-1",))).kept

    assert str(path) in kept
    assert bench.server.calls == ["start", "renew"]
    assert bench.server.unwelcome(Caller("sae-1"))
    assert not bench.server.unwelcome(Caller("sae-9"))
    path.write_bytes(octets)
    assert bench.service.reload(Reload()).kept == ()


def test_a_certificate_that_clients_refuse_is_named_and_the_old_one_stays(bench: Bench) -> None:
    bench.service.start()
    before = bench.memory.credentials
    assert before
    Authority(bench.authority.folder, "stranger").issue("kme")

    done = bench.service.reload(Reload(deny=("sae-1",)))

    (kept,) = done.kept
    assert "CN=kme is refused by clients: unable to get local issuer" in kept
    assert str(bench.options.certificate) in kept
    assert done.applied == ("deny",)
    assert bench.memory.credentials
    assert bench.memory.credentials.pair is before.pair
    bench.make_service().start()  # a crash brings it in no more than a reload
    assert bench.memory.credentials.pair is before.pair


def test_a_certificate_of_a_server_ca_that_cannot_be_read_is_taken(bench: Bench) -> None:
    bench.service.start()
    Authority(bench.authority.folder, "stranger").issue("kme")
    away = packed({"server_ca": bench.authority.folder / "away.pem"})

    done = bench.service.reload(Reload(options=away))

    assert (done.kept, "certificate" in done.applied) == ((), True)


def test_a_drain_is_answered_once_nothing_is_open(bench: Bench) -> None:
    bench.service.start()
    limit = bench.server.serving.pipeline.in_flight
    limit.acquire("sae-1")

    bench.service.drain(Drain())
    bench.service.drain(Drain())
    bench.turn()

    assert bench.server.calls == ["start", "stop_listening"]
    assert bench.context.reminded == [(LIMITS.drain_timeout_s, HttpDrained())]
    assert bench.system.sent == []
    bench.service.http_drained(HttpDrained())
    assert bench.context.answered == [Drained(), Drained()]
    assert bench.service.drain(Drain()) == Drained()


def test_the_end_of_the_last_request_is_told_to_the_actor(bench: Bench) -> None:
    bench.service.start()

    bench.service.drain(Drain())
    bench.turn()

    assert [envelope.body for envelope in bench.system.sent] == [HttpDrained()]


def test_a_server_that_dies_is_told_to_the_actor_which_crashes(bench: Bench) -> None:
    bench.service.start()

    bench.server.serving.died("OSError")

    (told,) = bench.system.sent
    assert told.to == bench.context.address
    assert isinstance(told.body, HttpDied)
    with pytest.raises(Explained, match="died of OSError; the supervisor"):
        bench.service.http_died(told.body)
