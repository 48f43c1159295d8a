"""A device of key streams over real TLS: what it answers, and each way not to, within its time."""

import struct
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from actors.modules.devices.device import DeviceError
from actors.modules.etsi004 import wire
from actors.modules.etsi004.client import Access, Client
from actors.modules.etsi004.talk import (
    Chunks,
    Close,
    Closed,
    NamedKeys,
    NewKeys,
    Open,
    Opened,
    Request,
)
from actors.modules.etsi004.wire import Qos
from tests.kit.authority import DAY, NOW, Authority
from tests.kit.faulty_stream import CHUNK, FaultyStream, Streams

pytestmark = pytest.mark.slow

PATIENCE_S = 30.0


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("pki"))
    for name in ("device", "far"):
        made.issue(name, dns=("localhost",))
    made.issue("ours")
    made.issue("expired", dns=("localhost",), not_after=NOW - DAY)
    return made


@pytest.fixture
def device(authority: Authority) -> Iterator[FaultyStream]:
    with FaultyStream(authority, Streams()) as made:
        yield made


@pytest.fixture
def far(authority: Authority, device: FaultyStream) -> Iterator[FaultyStream]:
    with FaultyStream(authority, device.streams, "far") as made:
        yield made


def access(device: FaultyStream, authority: Authority, **other: Any) -> Access:
    folder = authority.folder
    made = Access(
        url=device.url,
        source="client://kms-1",
        destination="server://kms-2",
        certificate=folder / "ours.crt",
        key=folder / "ours.key",
        ca=authority.path,
        qos=Qos(CHUNK),
        timeout_s=PATIENCE_S,
    )
    return replace(made, **other)


@pytest.fixture
def client(device: FaultyStream, authority: Authority) -> Iterator[Client]:
    made = Client(access(device, authority))
    yield made
    made.close()


def opened(client: Client, stream: uuid.UUID | None = None) -> Opened:
    found = client.ask(Open(stream))
    assert isinstance(found, Opened)
    return found


def alone(device: FaultyStream, client: Client) -> uuid.UUID:
    """Open a stream that can be read without its other end."""
    device.alone = True
    return opened(client).stream


def read(client: Client, request: Request) -> list[int]:
    found = client.ask(request)
    assert isinstance(found, Chunks)
    return [it.index for it in found.chunks]


def error(client: Client, request: Request | None = None) -> DeviceError:
    with pytest.raises(DeviceError) as why:
        client.ask(request or Open())
    client.close()
    return why.value


def test_both_ends_open_a_stream_read_the_same_chunks_and_close_it(
    client: Client, far: FaultyStream, authority: Authority
) -> None:
    there = Client(access(far, authority, source="client://kms-2", destination="server://kms-1"))
    made = opened(client)
    assert error(client, NewKeys(made.stream, 0, 1, CHUNK)).kind == "no_peer"
    assert opened(there, made.stream) == made

    new = client.ask(NewKeys(made.stream, 0, 5, CHUNK))
    assert isinstance(new, Chunks)
    same = there.ask(NamedKeys(made.stream, (1, 3), CHUNK))

    assert isinstance(same, Chunks)
    assert [len(it.octets) for it in new.chunks] == [CHUNK] * 5
    assert same.chunks == (new.chunks[1], new.chunks[3])
    assert there.ask(Close(made.stream)) == client.ask(Close(made.stream)) == Closed()
    assert client.ask(Close(made.stream)) == Closed(), "closed already: as good"
    there.close()


def test_no_more_key_is_no_error_and_keeps_the_connection(
    device: FaultyStream, client: Client
) -> None:
    stream = alone(device, client)
    device.streams.chunks = 3

    assert read(client, NewKeys(stream, 0, 10, CHUNK)) == [0, 1, 2]
    assert read(client, NewKeys(stream, 3, 10, CHUNK)) == []
    assert device.connections == 1


@pytest.mark.parametrize("status", [2, 6])
def test_insufficient_and_time_is_over_mean_that_there_is_no_key_now(
    device: FaultyStream, client: Client, status: int
) -> None:
    stream = alone(device, client)
    device.wrong = lambda _, __: struct.pack("!I", status)

    assert read(client, NewKeys(stream, 0, 10, CHUNK)) == []


@pytest.mark.parametrize(
    ("status", "opening", "reading"),
    [
        (3, "no_peer", "no_peer"),
        (4, "unavailable", "unavailable"),
        (5, "in_use", "in_use"),
        (6, "unavailable", ""),
        (8, "refused", "refused"),
        (9, "malformed", "malformed"),
        (401, "malformed", "malformed"),
        (0xFFFFFFFF, "malformed", "malformed"),
    ],
)
def test_each_status_has_its_kind(
    device: FaultyStream, client: Client, status: int, opening: str, reading: str
) -> None:
    stream = alone(device, client)
    device.wrong = lambda _, __: struct.pack("!I", status)

    assert error(client).kind == opening
    if reading:
        why = error(client, NewKeys(stream, 0, 1, CHUNK))
        assert why.kind == reading
        assert f"it answers {status}" in str(why)


def test_quality_that_cannot_be_met_is_taken_as_offered(
    device: FaultyStream, authority: Authority
) -> None:
    device.largest, device.min_bps = 16, 5_000
    client = Client(access(device, authority))

    made = opened(client)
    client.close()

    assert made.chunk == 16
    assert [service for service, _ in device.asked] == [wire.OPEN, wire.CLOSE, wire.OPEN]


def test_a_device_that_offers_less_than_is_needed_or_refuses_its_own_offer_is_told(
    device: FaultyStream, authority: Authority
) -> None:
    offer = wire.Qos(CHUNK, max_bps=100)
    body = wire.open_connect("a://b", "a://c", offer, uuid.uuid4())[8 + 2 * 6 :]
    device.wrong = lambda service, good: struct.pack("!I", 7) + body if service == 2 else good

    client = Client(access(device, authority, qos=Qos(CHUNK, min_bps=1_000)))
    assert str(error(client)).endswith("it offers 100 bit/s")
    client = Client(access(device, authority))
    assert error(client).kind == "qos"


def test_another_stream_than_the_one_asked_for_is_malformed(
    device: FaultyStream, client: Client
) -> None:
    device.wrong = lambda _, body: body[:-16] + uuid.uuid4().bytes
    assert error(client, Open(uuid.uuid4())).kind == "malformed"

    device.wrong = lambda _, body: body[:-16] + bytes(16)
    assert error(client).kind == "malformed"


@pytest.mark.parametrize("chunk", [0, 64_001, 0xFFFFFFFF])
def test_chunks_of_no_size_are_malformed(device: FaultyStream, client: Client, chunk: int) -> None:
    device.wrong = lambda _, body: body[:4] + struct.pack("!I", chunk) + body[8:]

    assert error(client).kind == "malformed"


@pytest.mark.parametrize(
    "spoil",
    [
        lambda body: body[:8] + struct.pack("!I", CHUNK - 1) + body[12:],
        lambda body: body[:8] + struct.pack("!I", 0) + body[12:],
        lambda body: body[:8] + struct.pack("!I", 0xFFFFFFFF) + body[12:],
        lambda body: body[:-1],
        lambda body: body + b"x",
        lambda body: body[:12],
        lambda body: body[:3],
        lambda _: b"",
    ],
)
def test_chunks_of_other_sizes_and_cut_answers_are_malformed(
    device: FaultyStream, client: Client, spoil: Any
) -> None:
    stream = alone(device, client)
    device.wrong = lambda _, body: spoil(body)

    assert error(client, NewKeys(stream, 0, 1, CHUNK)).kind == "malformed"


def test_an_index_may_jump_ahead_where_chunks_are_new_and_nowhere_else(
    device: FaultyStream, client: Client
) -> None:
    stream = alone(device, client)
    device.jump = lambda index: index + 2
    assert read(client, NewKeys(stream, 0, 3, CHUNK)) == [2, 5, 8]
    why = error(client, NamedKeys(stream, (7,), CHUNK))
    assert (why.kind, str(why)) == ("malformed", "the index jumps: 7 was asked for, 9 came")

    device.jump = lambda index: max(0, index - 1)
    why = error(client, NewKeys(stream, 9, 1, CHUNK))
    assert (why.kind, str(why)) == ("malformed", "the index goes back: 9 was asked for, 8 came")


def test_what_came_before_an_error_is_not_lost(device: FaultyStream, client: Client) -> None:
    stream = alone(device, client)
    device.jump = lambda index: index if index < 4 else 0

    assert read(client, NewKeys(stream, 0, 10, CHUNK)) == [0, 1, 2, 3]
    assert error(client, NewKeys(stream, 4, 10, CHUNK)).kind == "malformed"


def test_the_last_index_there_is_ends_a_request(device: FaultyStream, client: Client) -> None:
    stream = alone(device, client)
    device.streams.chunks = 1 << 32

    assert read(client, NewKeys(stream, (1 << 32) - 1, 5, CHUNK)) == [(1 << 32) - 1]


def test_another_service_another_version_or_too_long_an_answer_is_malformed(
    device: FaultyStream, client: Client
) -> None:
    device.service = 3
    assert error(client).kind == "malformed"

    device.service = 1
    device.wrong = lambda _, body: body + bytes(wire.BODY_MAX)
    assert error(client).kind == "malformed"
    with pytest.raises(DeviceError, match="is not that of"):
        wire.read_head(struct.pack("!BBBbI", 2, 0, 0, 3, 4), wire.OPEN)


def test_a_device_that_never_answers_or_drips_is_given_up(
    device: FaultyStream, authority: Authority
) -> None:
    hasty = access(device, authority, timeout_s=1.0)
    began = time.monotonic()
    device.drips = True
    why = error(Client(hasty))
    assert (why.kind, str(why)) == ("timeout", "no answer within 1 s")

    device.drips = False
    device.wrong = lambda _, __: None
    assert error(Client(hasty)).kind == "timeout"
    assert time.monotonic() - began < PATIENCE_S


def test_a_connection_that_was_closed_while_idle_is_opened_again(
    device: FaultyStream, client: Client
) -> None:
    stream = alone(device, client)
    for index in range(3):
        assert read(client, NewKeys(stream, index, 1, CHUNK)) == [index]
        device.hang_up()

    assert device.connections == 3


def test_nobody_there_is_no_answer(device: FaultyStream, authority: Authority) -> None:
    nowhere = access(device, authority, url="tls://localhost:1")

    why = error(Client(nowhere))

    assert (why.kind, str(why)) == ("no_answer", "Connection refused")


def test_a_certificate_that_has_expired_or_is_of_another_ca_is_refused(
    device: FaultyStream, authority: Authority, tmp_path: Path
) -> None:
    stranger = Authority(tmp_path, "stranger")
    assert error(Client(access(device, authority, ca=stranger.path))).kind == "tls"

    with FaultyStream(authority, Streams(), "expired") as other:
        why = error(Client(access(other, authority)))
    assert why.kind == "tls"
    assert "expired" in str(why)


@pytest.mark.parametrize("name", ["expired", "stranger", "missing"])
def test_a_certificate_of_ours_that_is_no_good_is_told_as_that(
    device: FaultyStream, authority: Authority, tmp_path: Path, name: str
) -> None:
    folder = authority.folder
    if name == "stranger":
        Authority(tmp_path, "other").issue("stranger")
        folder = tmp_path
    mine = {"certificate": folder / f"{name}.crt", "key": folder / f"{name}.key"}

    why = error(Client(access(device, authority, **mine)))

    assert why.kind in ("tls", "no_answer")  # a server may refuse by going away
    assert name != "missing" or str(why).startswith("our certificate, key or ca: ")


@pytest.mark.parametrize(
    ("other", "match"),
    [
        ({"url": "https://localhost"}, "url is tls"),
        ({"url": "tls://"}, "url is tls"),
        ({"url": "tls://a:x"}, "url is tls"),
        ({"url": "tls://a/b"}, "url is tls"),
        ({"source": "kms-1"}, "source is a URI"),
        ({"source": "a://b\0c"}, "source is a URI"),
        ({"destination": "client://kms-1"}, "not that of source"),
        ({"qos": Qos(0)}, "a chunk has"),
        ({"qos": Qos(32, max_bps=1, min_bps=2)}, "min_bit_s"),
        ({"edition": 3}, "edition is one of 2"),
        ({"timeout_s": 0.0}, "timeout_s"),
    ],
)
def test_options_that_make_no_sense_are_an_error(
    device: FaultyStream, authority: Authority, other: dict[str, Any], match: str
) -> None:
    with pytest.raises(ValueError, match=match):
        access(device, authority, **other)
