"""Against QUBIP's open server, which nobody here wrote: commit acc76c5 of QUBIP/etsi-qkd-004.

`QUBIP_SERVER=…/server/server.py python -m pytest -m "" -k qubip tests/actors/modules/etsi004`
"""

import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from uuid import UUID

import pytest

from actors.modules.devices.device import DeviceError
from actors.modules.etsi004.client import Access, Client
from actors.modules.etsi004.talk import Chunks, Close, Closed, NamedKeys, NewKeys, Open, Opened
from actors.modules.etsi004.wire import Qos
from tests.kit.authority import Authority
from tests.kit.faulty_stream import wait_until

SERVER = os.environ.get("QUBIP_SERVER", "")
CHUNK, BUFFER = 64, 5_000

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not SERVER, reason="QUBIP_SERVER names no copy of QUBIP's server.py"),
]


Ends = tuple[tuple[Client, Access], tuple[Client, Access]]


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ends]:
    folder = tmp_path_factory.mktemp("qubip")
    authority = Authority(folder)
    authority.issue("ours")
    authority.issue("device", dns=("localhost",))
    (folder / "buffer").write_bytes(secrets.token_bytes(BUFFER))
    with ExitStack() as running:
        clients = []
        for end in (1, 2):
            port = _port()
            _serve(running, authority, port)
            access = Access(
                url=f"tls://localhost:{port}",
                source=f"client://kms-{end}",
                destination=f"client://kms-{3 - end}",
                certificate=folder / "ours.crt",
                key=folder / "ours.key",
                ca=authority.path,
                qos=Qos(CHUNK),
                timeout_s=30.0,
            )
            clients.append((Client(access), access))
            running.callback(clients[-1][0].close)
            wait_until(partial(_answers, clients[-1][0]))
        yield clients[0], clients[1]


def _serve(running: ExitStack, authority: Authority, port: int) -> None:
    folder = authority.folder
    said = {
        "SERVER_CERT_PEM": f"{folder}/device.crt",
        "SERVER_CERT_KEY": f"{folder}/device.key",
        "CLIENT_CERT_PEM": str(authority.path),
        "SERVER_ADDRESS": "127.0.0.1",
        "SERVER_PORT": str(port),
        "BUFFER_PATH": f"{folder}/buffer",
        "BUFFER_SIZE": str(BUFFER),
    }
    process = subprocess.Popen(
        [sys.executable, SERVER],
        env={**os.environ, **said},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    running.callback(_end, process)


def _end(process: subprocess.Popen[bytes]) -> None:
    os.killpg(process.pid, signal.SIGKILL)  # with the processes that it has made
    process.wait()


def _answers(client: Client) -> bool:
    """Ask as a client does: a connection without TLS would end this server."""
    try:
        return client.ask(Close(UUID(int=1))) == Closed()
    except DeviceError:
        return False


def _port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return int(sock.getsockname()[1])


def test_both_ends_read_the_same_chunks_of_a_stream_and_close_it(
    ends: Ends,
) -> None:
    near, far = (client for client, _ in ends)
    made = near.ask(Open())
    assert isinstance(made, Opened)
    assert far.ask(Open(made.stream)) == made

    new = near.ask(NewKeys(made.stream, 0, 3, CHUNK))
    assert isinstance(new, Chunks)
    same = far.ask(NamedKeys(made.stream, tuple(it.index for it in new.chunks), CHUNK))

    assert isinstance(same, Chunks)
    assert same.chunks == new.chunks[: len(same.chunks)]
    assert len(same.chunks) > 0
    assert near.ask(NewKeys(made.stream, BUFFER // CHUNK, 1, CHUNK)) == Chunks(())
    with pytest.raises(DeviceError, match="answers 5"):
        far.ask(Open(made.stream))
    for end in (near, far):
        end.ask(Close(made.stream))
    with pytest.raises(DeviceError, match="answers 3"):
        near.ask(NewKeys(made.stream, 0, 1, CHUNK))


def test_what_it_offers_in_place_of_larger_chunks_is_taken(ends: Ends) -> None:
    large = Client(replace(ends[0][1], qos=Qos(4_096)))

    made = large.ask(Open())
    large.close()

    assert isinstance(made, Opened)
    assert made.chunk == 512
