"""TLS of a client: whatever it has opened is closed, also when a server goes away at once."""

import gc
import http.client
import socket
import ssl
import struct
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit.authority import Authority
from transport.https import HttpsConnection, client_context, connect

pytestmark = pytest.mark.slow

RESET = struct.pack("ii", 1, 0)
"""To linger for no time: a close is a reset then."""


@pytest.fixture
def rude() -> Iterator[tuple[str, int]]:
    """A server that resets each connection at once."""
    stopped = threading.Event()

    def serve() -> None:
        while not stopped.is_set():
            made, _ = listening.accept()
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            made.close()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = listening.getsockname()
        thread = threading.Thread(target=serve)
        thread.start()
        yield address
        stopped.set()
        socket.create_connection(address).close()
        thread.join()


@pytest.fixture
def context() -> ssl.SSLContext:
    made = ssl.create_default_context()
    made.check_hostname, made.verify_mode = False, ssl.CERT_NONE
    return made


@pytest.fixture
def left() -> Iterator[list[str]]:
    """What is found open that nobody has any more."""
    gc.collect()  # not of tests before
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found: list[str] = []
        yield found
        gc.collect()
    assert [str(one.message) for one in caught] == []


def test_a_connection_that_is_reset_is_closed(
    rude: tuple[str, int], context: ssl.SSLContext, left: list[str]
) -> None:
    for _ in range(20):  # the reset comes before, while or after the client says hello
        with pytest.raises(OSError, match=r"reset|EOF"):
            connect(context, rude)


def test_so_is_one_of_http(rude: tuple[str, int], context: ssl.SSLContext, left: list[str]) -> None:
    for _ in range(20):
        client = HttpsConnection(*rude, timeout=10.0, context=context)
        with pytest.raises((OSError, http.client.HTTPException)):
            client.request("GET", "/")
        client.close()


def test_where_nobody_listens_each_address_is_tried_and_the_reason_told(
    context: ssl.SSLContext, left: list[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    with pytest.raises(ConnectionRefusedError):
        connect(context, ("localhost", port))


def test_a_client_trusts_its_ca_alone_and_writes_no_secrets_whatever_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, other = Authority(tmp_path), Authority(tmp_path, "other")
    ours.issue("sae")
    monkeypatch.setenv("SSL_CERT_FILE", str(other.path))
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "secrets"))

    made = client_context(ours.path, ours.folder / "sae.crt", ours.folder / "sae.key")

    assert len(made.get_ca_certs()) == 1
    assert (made.check_hostname, made.verify_mode) == (True, ssl.CERT_REQUIRED)
    assert made.keylog_filename is None
    assert not (tmp_path / "secrets").exists()
