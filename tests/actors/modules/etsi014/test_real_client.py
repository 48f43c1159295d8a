"""A device over real HTTPS: what it answers, and each way not to answer, within its time."""

import queue
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from actors.modules.devices.asker import Thread
from actors.modules.devices.device import DeviceError
from actors.modules.etsi014.client import BODY_MAX, Access, Client
from actors.modules.etsi014.quirks import dialect
from actors.modules.etsi014.talk import (
    Answer,
    Container,
    DecKeys,
    EncKeys,
    GetStatus,
    Request,
    Status,
)
from tests.kit.authority import DAY, NOW, Authority
from tests.kit.faulty_device import FaultyDevice, Pool, Reply

pytestmark = pytest.mark.slow

PATIENCE_S = 30.0


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("pki"))
    made.issue("device", dns=("localhost",))
    made.issue("ours")
    made.issue("expired", dns=("localhost",), not_after=NOW - DAY)
    return made


@pytest.fixture
def device(authority: Authority) -> Iterator[FaultyDevice]:
    with FaultyDevice(authority, Pool()) as made:
        yield made


def access(device: FaultyDevice, authority: Authority, **other: Any) -> Access:
    folder = authority.folder
    made = Access(
        url=device.url,
        far_sae="far/1",
        sae="ours",
        certificate=folder / "ours.crt",
        key=folder / "ours.key",
        ca=authority.path,
        timeout_s=PATIENCE_S,
    )
    return replace(made, **other)


@pytest.fixture
def client(device: FaultyDevice, authority: Authority) -> Iterator[Client]:
    made = Client(access(device, authority), dialect(()))
    yield made
    made.close()


def error(client: Client, request: Request | None = None) -> DeviceError:
    with pytest.raises(DeviceError) as why:
        client.ask(request or GetStatus())
    client.close()
    return why.value


def test_status_new_keys_and_the_same_keys_by_name(device: FaultyDevice, client: Client) -> None:
    status = client.ask(GetStatus())
    new = client.ask(EncKeys(3, 512))
    assert isinstance(new, Container)
    same = client.ask(DecKeys(tuple(key.key_id for key in new.keys)))

    assert isinstance(status, Status)
    assert (status.stored, status.per_request) == (1000, 128)
    assert same == new
    assert [len(key.octets) for key in new.keys] == [64, 64, 64]
    base = "/api/v1/keys/far%2F1"
    assert device.asked == [
        ("GET", f"{base}/status"),
        ("POST", f"{base}/enc_keys"),
        ("POST", f"{base}/dec_keys"),
    ]


def test_a_device_without_post_is_asked_with_get(
    device: FaultyDevice, authority: Authority
) -> None:
    client = Client(access(device, authority), dialect(["get_only"]))
    new = client.ask(EncKeys(1, 256))
    assert isinstance(new, Container)

    same = client.ask(DecKeys((new.keys[0].key_id,)))
    client.close()

    assert same == new
    assert {verb for verb, _ in device.asked} == {"GET"}


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "refused"),
        (401, "unauthorized"),
        (403, "unauthorized"),
        (404, "server_error"),
        (500, "server_error"),
        (503, "unavailable"),
        (201, "server_error"),
        (302, "server_error"),
    ],
)
def test_another_status_than_200_has_its_kind_and_what_the_device_says(
    device: FaultyDevice, client: Client, status: int, kind: str
) -> None:
    device.wrong = lambda _, __: (status, {"message": "it\nsays"})
    device.headers = {"Retry-After": "7"}

    why = error(client)

    assert (why.kind, why.retry_after) == (kind, 7.0)
    assert str(why) == f"it answers {status}: it?says"


def test_a_device_that_says_404_means_no_such_keys_or_none_at_all(
    device: FaultyDevice, authority: Authority
) -> None:
    device.wrong = lambda _, __: (404, {"message": "Element not found"})
    client = Client(access(device, authority), dialect(["not_found"]))

    assert error(client, DecKeys(("a",))).kind == "refused"
    assert error(client, EncKeys(1, 256)).kind == "unavailable"


@pytest.mark.parametrize("said", ["Sun, 29 Nov 2026 00:00:00 GMT", "-1", "1e3", "9" * 40, ""])
def test_a_retry_after_that_is_no_number_of_seconds_is_as_good_as_none(
    device: FaultyDevice, client: Client, said: str
) -> None:
    device.wrong = lambda _, __: (503, {})
    device.headers = {"Retry-After": said}

    assert error(client).retry_after == 0.0


def test_an_answer_that_drips_is_given_up_when_its_time_is_over(
    device: FaultyDevice, authority: Authority
) -> None:
    device.chunks, device.pause_s = 1, 0.05
    client = Client(access(device, authority, timeout_s=1.0), dialect(()))
    began = time.monotonic()

    why = error(client)

    assert (why.kind, str(why)) == ("timeout", "no answer within 1 s")
    assert time.monotonic() - began < PATIENCE_S / 2


def test_a_device_that_never_answers_is_given_up_and_asked_again_over_a_new_connection(
    device: FaultyDevice, authority: Authority
) -> None:
    device.silent.set()
    client = Client(access(device, authority, timeout_s=0.5), dialect(()))
    assert error(client).kind == "timeout"

    device.silent.clear()
    patient = Client(access(device, authority), dialect(()))
    assert isinstance(patient.ask(GetStatus()), Status)
    patient.close()


def test_a_device_that_talks_without_end_is_given_up_when_its_time_is_over(
    device: FaultyDevice, authority: Authority
) -> None:
    device.talks = True
    client = Client(access(device, authority, timeout_s=1.0), dialect(()))

    assert error(client).kind == "timeout"


def test_nobody_there_is_no_answer(device: FaultyDevice, authority: Authority) -> None:
    nowhere = replace(access(device, authority), url="https://localhost:1")

    why = error(Client(nowhere, dialect(())))

    assert (why.kind, str(why)) == ("no_answer", "Connection refused")


def test_too_long_an_answer_is_not_read(device: FaultyDevice, client: Client) -> None:
    device.wrong = lambda _, __: (200, b" " * (BODY_MAX + 1))

    assert error(client).kind == "malformed"


def test_a_certificate_of_the_device_that_has_expired_is_refused(authority: Authority) -> None:
    with FaultyDevice(authority, Pool(), "expired") as device:
        why = error(Client(access(device, authority), dialect(())))

    assert why.kind == "tls"
    assert "expired" in str(why)


def test_a_certificate_of_another_ca_or_another_host_is_refused(
    device: FaultyDevice, authority: Authority, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path, "stranger")
    numbers = device.url.replace("localhost", "127.0.0.1")

    assert error(Client(access(device, authority, ca=stranger.path), dialect(()))).kind == "tls"
    assert error(Client(access(device, authority, url=numbers), dialect(()))).kind == "tls"


def test_the_name_in_the_certificate_may_be_another_than_the_host(
    device: FaultyDevice, authority: Authority
) -> None:
    numbers = device.url.replace("localhost", "127.0.0.1")
    client = Client(access(device, authority, url=numbers, server_name="localhost"), dialect(()))

    assert isinstance(client.ask(GetStatus()), Status)
    client.close()


@pytest.mark.parametrize("name", ["expired", "stranger", "missing"])
def test_a_certificate_of_ours_that_is_no_good_is_told_as_that(
    device: FaultyDevice, authority: Authority, tmp_path: Path, name: str
) -> None:
    folder = authority.folder
    if name == "stranger":
        Authority(tmp_path, "other").issue("stranger")
        folder = tmp_path
    mine = {"certificate": folder / f"{name}.crt", "key": folder / f"{name}.key"}

    why = error(Client(access(device, authority, **mine), dialect(())))

    assert why.kind in ("tls", "no_answer")  # a server may refuse by going away
    assert name != "missing" or str(why).startswith("our certificate, key or ca: ")


def test_a_connection_that_was_closed_while_idle_is_opened_again(
    device: FaultyDevice, client: Client
) -> None:
    device.hang_up = True
    for _ in range(3):
        assert isinstance(client.ask(GetStatus()), Status)

    device.headers = {"Connection": "close"}
    for _ in range(2):
        assert isinstance(client.ask(GetStatus()), Status)


def test_the_thread_asks_in_order_and_ends_while_a_device_is_silent(
    device: FaultyDevice, client: Client
) -> None:
    found: queue.SimpleQueue[tuple[Request, Answer | DeviceError]] = queue.SimpleQueue()
    broken: list[BaseException] = []
    thread = Thread(client, "test")
    thread.start(lambda request, answer: found.put((request, answer)), broken.append)
    thread.ask(GetStatus())
    thread.ask(EncKeys(1, 256))
    assert [found.get(timeout=PATIENCE_S)[0] for _ in range(2)] == [GetStatus(), EncKeys(1, 256)]

    device.silent.set()
    thread.ask(GetStatus())
    while len(device.asked) < 3:
        time.sleep(0.01)
    thread.stop()

    assert not [it for it in threading.enumerate() if it.name == "test"]
    assert len(device.asked) == 3, "what was ended is not asked again over a new connection"
    thread.stop()
    assert (broken, found.empty()) == ([], True)


def test_what_nobody_expected_breaks_the_link_and_not_the_process(
    device: FaultyDevice, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def boom(_: Request) -> Answer:
        raise KeyError

    monkeypatch.setattr(client, "ask", boom)
    broken: queue.SimpleQueue[BaseException] = queue.SimpleQueue()
    thread = Thread(client, "test")
    thread.start(lambda *_: None, broken.put)

    thread.ask(GetStatus())

    assert isinstance(broken.get(timeout=PATIENCE_S), KeyError)
    thread.stop()


def lied(_: str, reply: Reply) -> Reply:
    status, found = reply
    return status, {**found, "stored_key_count": 10**6}


def test_a_status_that_lies_is_malformed(device: FaultyDevice, client: Client) -> None:
    device.wrong = lied

    assert error(client).kind == "malformed"


@pytest.mark.parametrize(
    "url",
    ["http://localhost", "https://", "localhost", "https://a:x", "https://u@a", "https://a?b=c"],
)
def test_what_is_no_url_of_a_device_is_an_error(
    url: str, device: FaultyDevice, authority: Authority
) -> None:
    with pytest.raises(ValueError, match="url is https"):
        access(device, authority, url=url)
