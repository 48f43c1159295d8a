"""A client of ETSI 014 over real HTTPS, and a KME that does not answer what was asked."""

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from protokms.sae import SaeClient, SaeError
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
