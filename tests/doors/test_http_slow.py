"""Clients that take their time, hold many connections, or go away."""

import asyncio
import json
import socket
import ssl
import time

import pytest

from etsi.http.limits import LIMITS
from protokms.client import SaeError
from tests.doors.https import DEC, ENC, HUNG_S, STATUS, Attacker, hear, request
from tests.doors.tally import Tally
from tests.doors.town import THIEF, VICTIM, Town
from tests.processes.real_lab import eventually, has_keys
from transport.https import connect

pytestmark = pytest.mark.slow

DOOR = "HTTP"
DRIP_S = 0.1
DRIPS = int(2 * max(LIMITS.head_timeout_s, LIMITS.body_timeout_s) / DRIP_S)
IDLE, ROUNDS = 1_000, 3
UNREAD, UNREAD_KEYS, UNREAD_BITS = 3, 128, 8192
"""Answers of 170 KiB each; of segments as on Ethernet a kernel holds some 50 KiB back."""

SEATED = 128
"""Connections that one SAE may have, by default."""


async def drip(attacker: Attacker, head: bytes, drop: bytes) -> str:
    """Send a piece every now and then, much longer than the node has patience; say how it ends."""
    reader, writer = await attacker.connect()
    heard = asyncio.create_task(hear(reader))
    try:
        writer.write(head)
        for _ in range(DRIPS):
            if heard.done():
                return heard.result().outcome
            await asyncio.sleep(DRIP_S)
            writer.write(drop)
        raise AssertionError("it is patient without end")
    finally:
        heard.cancel()
        writer.transport.abort()


def test_slow_heads_and_slow_bodies_are_cut_while_others_are_served(
    town: Town, tally: Tally
) -> None:
    attacker = Attacker(town)
    heads = (b"G", b"GET /", request()[:-2], request("GET", STATUS, "A: ")[:-4])
    body = request("POST", ENC, "Content-Length: 60000", body=b"{")
    chunked = request("POST", ENC, "Transfer-Encoding: chunked", body=b"9000\r\n{")

    async def all_at_once() -> tuple[list[str], list[str]]:
        slow = [drip(attacker, head, b"a") for head in heads for _ in range(4)]
        slower = [drip(attacker, head, b" ") for head in (body, chunked) for _ in range(8)]
        both = asyncio.gather(*slow, *slower)
        for _ in range(5):
            await asyncio.to_thread(town.unharmed)
        found = await both
        return found[: len(slow)], found[len(slow) :]

    cut, told = asyncio.run(all_at_once())

    for outcome in cut:
        tally.note(DOOR, "slow heads", outcome)
    for outcome in told:
        tally.note(DOOR, "slow bodies", outcome)
    assert set(cut) <= {"cut", "400"}
    assert set(told) == {"408"}


def test_keys_in_an_answer_that_is_not_read_are_not_lost(town: Town, tally: Tally) -> None:
    done, noted = fetches(town), len(answers(town))
    batches = []
    with town.client("sae-2") as far:
        for _ in range(UNREAD):
            eventually(lambda: has_keys(far, THIEF, UNREAD_KEYS * UNREAD_BITS // 256), "bits")
            batches.append(far.enc_keys(THIEF, UNREAD_KEYS, UNREAD_BITS))
    clients = [deaf(Attacker(town), [key.key_id for key in batch]) for batch in batches]
    eventually(lambda: fetches(town) == done + UNREAD, "each answer is written or given up")
    eventually(lambda: len(answers(town)) == noted + UNREAD, "a line tells of each answer")
    broken = answers(town)[noted:].count("not_written")

    again = 0
    with town.client(THIEF) as owner:
        for batch in batches:
            try:
                got = owner.dec_keys("sae-2", [key.key_id for key in batch])
            except SaeError:
                continue  # the kernel took the answer: it counts as written, as on any network
            assert got == batch
            again += 1
    for client in clients:
        client.close()

    tally.note(DOOR, "answers that are not read", "cut", again)
    assert again == broken > 0


def fetches(town: Town) -> float:
    return town.metric(VICTIM, "protokms_http_requests_total", route="dec_keys")


def answers(town: Town) -> list[str]:
    """Return the codes of fetches in the log: the metric counts answers of other routes, too."""
    lines = town.log(VICTIM).splitlines(keepends=True)
    rows = [json.loads(line) for line in lines if line.endswith("\n") and '"dec_keys"' in line]
    return [row["code"] for row in rows if row["event"] == "request"]


def deaf(attacker: Attacker, key_ids: list[str]) -> ssl.SSLSocket:
    """Ask for keys over a connection with hardly any room for the answer, and do not read it."""
    rows = ",".join(f'{{"key_ID":"{key_id}"}}' for key_id in key_ids)
    body = f'{{"key_IDs":[{rows}]}}'.encode()
    client = attacker.context.wrap_socket(socket.socket(), server_hostname=attacker.host)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1400)
    client.connect((attacker.host, attacker.port))
    client.sendall(request("POST", DEC, f"Content-Length: {len(body)}", body=body))
    return client


def test_thousands_of_idle_connections_leave_room_for_the_honest(town: Town, tally: Tally) -> None:
    attacker = Attacker(town)
    for _ in range(ROUNDS):
        idle = []
        for _ in range(IDLE):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex((attacker.host, attacker.port))
            idle.append(one)
        began = time.monotonic()
        town.unharmed()
        assert time.monotonic() - began < HUNG_S
        tally.note(DOOR, "connections without a handshake", "dropped", len(idle))
        for one in idle:
            one.close()


def test_connections_past_the_limit_of_an_sae_are_told_so(town: Town, tally: Tally) -> None:
    attacker = Attacker(town)
    told = 0
    seated = []
    for _ in range(2 * SEATED):
        seated.append(tls(attacker))
        seated[-1].sendall(request())
        answer = seated[-1].recv(1 << 16)
        told += answer.startswith(b"HTTP/1.1 503 ") and b"too_many_connections" in answer
        assert answer.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 503 ")), answer
    town.unharmed()

    tally.note(DOOR, "connections past the limit", "503", told)
    tally.note(DOOR, "connections within the limit", "200", len(seated) - told)
    assert told
    for client in seated:
        client.close()
    eventually(
        lambda: town.facts(VICTIM, "etsi014")["connections"] in {"0", "1", "2"}, "seats are free"
    )


def tls(attacker: Attacker) -> ssl.SSLSocket:
    made = connect(attacker.context, (attacker.host, attacker.port), HUNG_S)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return made


@pytest.mark.parametrize("how", ["reset", "half closed", "closed"])
def test_clients_that_go_away_at_once_or_later(town: Town, tally: Tally, how: str) -> None:
    attacker = Attacker(town)
    wanted = (
        request("GET", f"{ENC}?number=2"),
        request("POST", ENC, "Content-Length: 9", body=b"{"),
    )
    for n in range(150):
        client = tls(attacker)
        client.sendall(wanted[n % 2])
        if how == "reset":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        elif how == "half closed":
            client.shutdown(socket.SHUT_WR)
        client.close()
        tally.note(DOOR, "clients that go away", how)


def test_floods_of_requests_are_answered_or_told_to_come_back(town: Town, tally: Tally) -> None:
    attacker = Attacker(town)

    async def flood() -> list[tuple[int, ...]]:
        async def one() -> tuple[int, ...]:
            reader, writer = await attacker.connect()
            row = request("GET", f"{ENC}?number=8") * 39 + request("GET", ENC, "Connection: close")
            writer.write(row)
            try:
                return (await hear(reader, to_the_end=True)).statuses
            finally:
                writer.transport.abort()

        async with asyncio.timeout(60.0):
            return await asyncio.gather(*(one() for _ in range(60)))

    for statuses in asyncio.run(flood()):
        assert set(statuses) <= {200, 503}
        for status in statuses:
            tally.note(DOOR, "flood of requests", status)
