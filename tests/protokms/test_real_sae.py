"""A client of ETSI 014 over real HTTPS, and a KME that does not answer what was asked."""

import asyncio
import base64
import select
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from protokms.client import AsyncSaeClient, SaeClient, SaeError
from tests.kit.authority import Authority
from tests.kit.faulty_device import FaultyDevice, Pool, Reply

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("pki"))
    made.issue("device", dns=("localhost",))
    made.issue("ours")
    return made


@pytest.fixture
def kme(authority: Authority) -> Iterator[FaultyDevice]:
    with FaultyDevice(authority, Pool()) as made:
        yield made


class Patient:
    """Makes clients that wait for up to a minute, by a clock that takes no time."""

    def __init__(self, authority: Authority) -> None:
        self.waited: list[float] = []
        self._files = (authority.path, authority.folder / "ours.crt", authority.folder / "ours.key")

    def client(self, url: str) -> SaeClient:
        return SaeClient(url, *self._files, patience_s=60.0, sleep=self.waited.append)


@pytest.fixture
def patient(authority: Authority) -> Patient:
    return Patient(authority)


@pytest.fixture
def client(kme: FaultyDevice, authority: Authority) -> Iterator[SaeClient]:
    folder: Path = authority.folder
    with SaeClient(kme.url, authority.path, folder / "ours.crt", folder / "ours.key") as made:
        yield made


def test_keys_come_in_the_order_of_the_ids_that_were_asked_for(
    kme: FaultyDevice, client: SaeClient
) -> None:
    sent = client.enc_keys("sae-2", 3, 512)
    kme.wrong = _rows(lambda rows: rows[::-1])

    got = client.dec_keys("sae-2", [key.key_id for key in sent])

    assert got == sent


def _rows(wrong: Callable[[list[Any]], list[Any]]) -> Callable[[str, Reply], Reply]:
    return lambda _, reply: (reply[0], {"keys": wrong(reply[1]["keys"])})


SHORT = base64.b64encode(bytes(16)).decode()


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (lambda rows: rows[:1], "has not the 2 keys"),
        (lambda rows: [rows[0], rows[0]], "has not the 2 keys"),
        (lambda rows: [rows[0], {**rows[1], "key": SHORT}], "another size than 256 bits"),
        (lambda rows: [rows[0], {**rows[1], "key": "no*base64"}], "is no key container"),
        (lambda rows: [rows[0], {**rows[1], "key_ID": 7}], "is no key container"),
        (lambda rows: [rows[0], {"key": SHORT}], "is no key container"),
    ],
)
def test_fresh_keys_are_as_many_and_as_long_as_was_asked(
    kme: FaultyDevice, client: SaeClient, wrong: Callable[[list[Any]], list[Any]], why: str
) -> None:
    kme.wrong = _rows(wrong)

    with pytest.raises(SaeError, match=why):
        client.enc_keys("sae-2", 2, 256)


def test_other_keys_than_were_asked_for_are_no_answer(kme: FaultyDevice, client: SaeClient) -> None:
    mine, other = client.enc_keys("sae-2", 2)
    kme.wrong = _rows(lambda rows: [{**rows[0], "key_ID": other.key_id}])

    with pytest.raises(SaeError, match="other keys than were asked for"):
        client.dec_keys("sae-2", [mine.key_id])


def after(failures: int, failing: Callable[[Reply], Reply]) -> Callable[[str, Reply], Reply]:
    """Answer well after so many failures."""
    left = [failures]

    def wrong(_: str, reply: Reply) -> Reply:
        left[0] -= 1
        return failing(reply) if left[0] >= 0 else reply

    return wrong


def busy(_: Reply) -> Reply:
    return 503, {"message": "busy", "details": [{"code": "busy"}]}


def lost(_: Reply) -> Reply:
    raise ConnectionError


def test_a_patient_client_asks_again_when_the_kme_says_later(
    kme: FaultyDevice, patient: Patient
) -> None:
    kme.wrong, kme.headers = after(2, busy), {"Retry-After": "3"}

    with patient.client(kme.url) as made:
        assert len(made.enc_keys("sae-2")) == 1

    assert patient.waited == [3.0, 3.0]


def test_patience_has_an_end(kme: FaultyDevice, patient: Patient) -> None:
    kme.wrong, kme.headers = after(9, busy), {"Retry-After": "100"}

    with patient.client(kme.url) as made, pytest.raises(SaeError) as told:
        made.enc_keys("sae-2")

    assert (told.value.status, told.value.code, patient.waited) == (503, "busy", [])


def test_who_has_no_patience_is_told_at_once(kme: FaultyDevice, client: SaeClient) -> None:
    kme.wrong, kme.headers = after(1, busy), {"Retry-After": "3"}

    with pytest.raises(SaeError) as told:
        client.enc_keys("sae-2")

    assert told.value.retry_after == "3"


def test_keys_are_not_asked_for_again_when_their_answer_was_lost(
    kme: FaultyDevice, patient: Patient
) -> None:
    kme.wrong = after(1, lost)

    with patient.client(kme.url) as made, pytest.raises(SaeError) as told:
        made.enc_keys("sae-2")

    assert (told.value.status, told.value.sent) == (0, True)
    assert len(kme.asked) == 1


def test_a_status_and_keys_with_names_are_asked_for_again(
    kme: FaultyDevice, patient: Patient
) -> None:
    with patient.client(kme.url) as made:
        (key,) = made.enc_keys("sae-2")
        kme.wrong = after(1, lost)
        assert made.status("sae-2")["key_size"] == 256
        kme.wrong = after(1, lost)
        with pytest.raises(SaeError, match="not found"):  # this device gives keys once
            made.dec_keys("sae-2", [key.key_id])

    assert [path.rpartition("/")[2] for _, path in kme.asked[1:]] == 2 * ["status"] + 2 * [
        "dec_keys"
    ]
    assert patient.waited == [0.1, 0.1]


def test_a_kme_that_is_not_reached_has_got_nothing(authority: Authority, patient: Patient) -> None:
    with FaultyDevice(authority, Pool()) as gone:
        url = gone.url
    with patient.client(url) as made:
        waits = iter([None, None])

        def sleep(seconds: float) -> None:
            patient.waited.append(seconds)
            if next(waits, "over") == "over":
                raise KeyboardInterrupt

        made._sleep = sleep
        with pytest.raises(KeyboardInterrupt):
            made.enc_keys("sae-2")

    assert patient.waited == [0.1, 0.2, 0.4]


def test_a_connection_that_was_closed_meanwhile_is_made_anew(
    kme: FaultyDevice, client: SaeClient
) -> None:
    kme.hang_up = True
    first = client.enc_keys("sae-2")
    assert client._http.sock is None or select.select([client._http.sock], [], [], 10)[0]

    assert client.enc_keys("sae-2") != first
    assert len(kme.asked) == 2


def test_the_client_for_asyncio_asks_the_same(kme: FaultyDevice, authority: Authority) -> None:
    async def both() -> None:
        folder = authority.folder
        files = authority.path, folder / "ours.crt", folder / "ours.key"
        async with AsyncSaeClient(kme.url, *files) as made:
            sent = await asyncio.gather(*(made.enc_keys("sae-2", 2) for _ in range(3)))
            ids = [key.key_id for keys in sent for key in keys]
            got = await made.dec_keys("sae-2", ids)
            assert got == [key for keys in sent for key in keys]
            assert (await made.status("sae-2"))["stored_key_count"] == 1000 - 6
            with pytest.raises(SaeError, match="not found"):
                await made.dec_keys("sae-2", ids)

    asyncio.run(both())
