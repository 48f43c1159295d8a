"""A node that says a little of an answer now and then: it is cut when its time is over."""

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from protokms.controller import restconf
from protokms.controller.restconf import Agent, Identity, Unanswered
from protokms.lab import lab, topology

PAUSE_S, WHOLE_S = 0.02, 0.3
"""Seconds between two pieces of an answer, and in which all of it has to be there."""
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n"
PLACES = {
    "body": (HEAD + b"\r\n", b" "),
    "last_body": (HEAD + b"Connection: close\r\n\r\n", b" "),
    "head": (HEAD, b"X: y\r\n"),
    "line": (b"HTTP/1.1 200 ", b"O"),
}


class Drip:
    """Serves one connection after the other: some octets at once, then a piece every pause."""

    def __init__(self, folder: Path, first: bytes, piece: bytes) -> None:
        self._first, self._piece = first, piece
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.load_cert_chain(folder / "kms-1" / "tls.crt", folder / "kms-1" / "tls.key")
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self.url = f"https://127.0.0.1:{self._listening.getsockname()[1]}"
        self._thread.start()

    def _serve(self) -> None:
        while not self._ended.is_set():
            plain, _ = self._listening.accept()
            with suppress(OSError), self._tls.wrap_socket(plain, server_side=True) as made:
                made.recv(1 << 16)
                made.sendall(self._first)
                while not self._ended.wait(PAUSE_S):
                    made.sendall(self._piece)
            plain.close()

    def end(self) -> None:
        self._ended.set()
        socket.create_connection(self._listening.getsockname()).close()
        self._thread.join()
        self._listening.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    lab.init(tmp_path / "lab", topology.parse("chain:1"), controller=True)
    return tmp_path / "lab"


@pytest.fixture
def drip(place: str, folder: Path) -> Iterator[Drip]:
    made = Drip(folder, *PLACES[place])
    yield made
    made.end()


ASKED = [*((place, False) for place in PLACES), ("head", True), ("line", True)]
"""Events of a stream have no end; its head has."""


@pytest.mark.slow
@pytest.mark.parametrize(("place", "stream"), ASKED)
def test_an_answer_that_does_not_end_is_cut_and_told_with_the_number(
    folder: Path, drip: Drip, stream: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(restconf, "WHOLE_S", WHOLE_S)
    files = ("ca/ca.crt", "controllers/controller-1.crt", "controllers/controller-1.key")
    tls = Identity(*(folder / file for file in files)).context()

    with Agent("kms-1", drip.url, tls) as agent:
        for _ in range(2):  # the next request makes another connection
            with pytest.raises(Unanswered, match=rf"no whole answer from {drip.url} within 0.3 s"):
                _ = list(agent.events()) if stream else agent.node()
