"""The doors of operators, the management socket and plain HTTP; and open files that run out."""

import json
import random
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from etsi.http.limits import LIMITS
from protokms.manage import words as manage_words
from protokms.node.observe import CONNECTIONS_MAX
from tests.doors.mutate import damaged
from tests.doors.tally import Tally
from tests.doors.town import VICTIM, Town
from tests.processes.real_lab import eventually

pytestmark = pytest.mark.slow

SEED = 15
WAIT_S = 20.0
MUTANTS = 300
PATIENCE_S = 0.3
FILES = 128
"""Open files that the victim may have, while they run out."""


def connected(town: Town) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    made.settimeout(WAIT_S)
    try:
        with manage_words.short_name(town.folder / VICTIM / "manage.sock") as name:
            made.connect(name)
    except BaseException:
        made.close()
        raise
    return made


def lines() -> Iterator[bytes]:
    """What is no word, or names nobody, or asks for too much."""
    yield from (
        b"",
        b"{}",
        b"[]",
        b"null",
        b"[" * 90_000,
        b'{"do":1}',
        b'{"do":"x"}',
        b"\xff",
        b"\0",
    )
    yield from (b'{"do":"peer.list","x":1}', b'{"do":"peer.list","do":"link.list"', b'"peer.list"')
    name, far = b"a" * 65, b'"destination":"nobody"'
    yield from (
        b'{"do":"route.show","start":"","end":"x"}',
        b'{"do":"route.show","start":"x","end":"y"}',
    )
    yield from (b'{"do":"session.remove",%b}' % far, b'{"do":"session.add",%b,"n":17}' % far)
    yield b'{"do":"session.add","destination":"%b"}' % name
    yield b'{"do":"session.add",%b,"low_bits":-1}' % far
    yield b'{"do":"session.add",%b,"paths":[["a"]]}' % far
    yield b'{"do":"session.add",%b,"paths":[["kms-1","kms-1"]]}' % far
    yield b'{"do":"session.add",%b,"paths":%b}' % (far, b'[["a","b"]' + b',["a","b"]' * 16 + b"]")
    dice = random.Random(SEED)
    good = b'{"do":"route.show","start":"kms-1","end":"kms-2"}'
    yield from (damaged(good, dice).replace(b"\n", b" ") for _ in range(MUTANTS))


def test_the_management_socket_answers_each_line_that_is_none(town: Town, tally: Tally) -> None:
    with connected(town) as made, made.makefile("rb") as file:
        for line in lines():
            made.sendall(line + b"\n")
            said = json.loads(file.readline())
            outcome = "failed" if "failed" in said else "ok"
            tally.note("management socket", "lines", outcome)
            assert outcome == "ok" or said["failed"]["code"], line


def test_the_management_socket_is_bounded(town: Town, tally: Tally) -> None:
    path = town.folder / VICTIM / "manage.sock"
    told = {"busy": 0, "answered": 0, "no room": 0}
    with ExitStack() as stack:
        many = []
        for _ in range(30):
            try:
                many.append(stack.enter_context(connected(town)))
            except BlockingIOError:  # the kernel says so at once
                told["no room"] += 1
        for made in many:
            with suppress(OSError):
                made.sendall(b'{"do":"peer.list"}\n')
        for made in many:
            told["busy" if b"busy" in _all(made) else "answered"] += 1
    for outcome, n in told.items():
        tally.note("management socket", "connections", outcome, n)
    eventually(lambda: _answers(town), "there is room again")
    with connected(town) as made, suppress(OSError):
        made.sendall(b"x" * (manage_words.LINE_LIMIT + 2))
        said = made.recv(4096)
        tally.note("management socket", "a line without an end", "failed")
        assert b"a line is of at most" in said

    assert told["busy"] + told["no room"] > 0
    assert told["answered"] > 0
    assert path.stat().st_mode & 0o777 == 0o600
    eventually(lambda: _answers(town), "there is room again")


def _all(made: socket.socket) -> bytes:
    try:
        return made.recv(65_536)
    except (ConnectionError, TimeoutError):
        return b""


def _answers(town: Town) -> bool:
    with suppress(BlockingIOError), connected(town) as made:
        made.sendall(b'{"do":"peer.list"}\n')
        return b"ok" in _all(made)
    return False


def test_metrics_answer_noise_and_nobody_else(town: Town, tally: Tally) -> None:
    end = town.config_of(VICTIM).metrics.bind
    dice = random.Random(SEED + 1)
    good = b"GET /metrics HTTP/1.1\r\nHost: kms\r\nConnection: close\r\n\r\n"
    tried = [damaged(good, dice) for _ in range(MUTANTS)]
    tried += [good.replace(b"/metrics", path) for path in (b"/", b"/../etc", b"/metrics/x", b"//")]
    tried += [good.replace(b"GET", verb) for verb in (b"POST", b"PUT", b"DELETE", b"TRACE", b"X")]
    tried += [good[:-2] + b"A: %b\r\n\r\n" % (b"b" * 100_000), bytes(10_000), b"\x16\x03\x01"]

    for octets in tried:
        with socket.create_connection((end.host, end.port), WAIT_S) as made:
            made.settimeout(PATIENCE_S)
            with suppress(ConnectionError):
                made.sendall(octets)
            outcome = _all(made)[9:12].decode("latin-1") or "waits, or cut"
        tally.note("metrics", "requests", outcome)
        assert outcome in {"waits, or cut", "200", "400", "404", "405"}, octets


def test_open_files_that_run_out_are_no_end(town: Town, tally: Tally) -> None:
    process, made = town.process(VICTIM), town.config_of(VICTIM)
    assert made.etsi014
    before = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (FILES, before[1]))
    ends = {"ZeroMQ": made.transport.bind, "HTTP": made.etsi014.bind, "metrics": made.metrics.bind}

    def files() -> int:
        return sum(1 for _ in Path(f"/proc/{process.pid}/fd").iterdir())

    try:
        for door, end in ends.items():
            with ExitStack() as stack:
                for _ in range(3 * FILES):
                    idle = stack.enter_context(socket.socket())
                    idle.setblocking(False)
                    idle.connect_ex((end.host, end.port))
                began = time.monotonic()
                town.unharmed()
                tally.note(door, "idle connections, 128 open files", "served meanwhile", 3 * FILES)
                assert time.monotonic() - began < WAIT_S + 10 * LIMITS.handshake_timeout_s
                eventually(
                    lambda: files() < FILES / 2 + CONNECTIONS_MAX, "connections are given back"
                )
    finally:
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, before)
