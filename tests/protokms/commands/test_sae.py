"""The 014 client: what it asks for, what it makes of answers."""

import base64
import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from protokms.client import SaeClient, SaeError, SaeKey
from protokms.enrol.pki import Authority
from transport.message import Secret

KEY = bytes(range(32))
CONTAINER = {"keys": [{"key_ID": "id-1", "key": base64.b64encode(KEY).decode()}]}


class Kme(HTTPServer):
    """Answers every request with what the test has put down, and remembers it."""

    status, body, headers = 200, b"{}", {"Content-Type": "application/json"}

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.asked: list[tuple[str, str, Any]] = []

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: handshakes fail on purpose."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Kme

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(length)) if length else None
        self.server.asked.append((self.command, self.path, body))
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body)

    do_POST = do_GET  # noqa: N815 -- http.server's name

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def kme(tmp_path: Path) -> Iterator[Kme]:
    authority = Authority.create(tmp_path)
    authority.server(tmp_path / "kme.crt", tmp_path / "kme.key", "kme", "id", ["127.0.0.1"])
    authority.client(tmp_path / "sae.crt", tmp_path / "sae.key", "sae-1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "kme.crt", tmp_path / "kme.key")
    context.load_verify_locations(tmp_path / "ca.crt")
    context.verify_mode = ssl.CERT_REQUIRED
    server = Kme(context)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def client(kme: Kme, tmp_path: Path) -> Iterator[SaeClient]:
    url = f"https://127.0.0.1:{kme.server_port}/"
    files = tmp_path / "ca.crt", tmp_path / "sae.crt", tmp_path / "sae.key"
    with SaeClient(url, *files, timeout=5.0) as made:
        yield made


@pytest.mark.slow
def test_status_is_what_the_kme_says(kme: Kme, client: SaeClient) -> None:
    kme.body = b'{"stored_key_count": 7}'

    assert client.status("sae/2 x") == {"stored_key_count": 7}
    assert kme.asked == [("GET", "/api/v1/keys/sae%2F2%20x/status", None)]


@pytest.mark.slow
def test_keys_are_asked_for_and_come_as_secrets(kme: Kme, client: SaeClient) -> None:
    kme.body = json.dumps(CONTAINER).encode()

    plain = client.enc_keys("sae-2")
    full = client.enc_keys("sae-2", 1, 8 * len(KEY), also=("sae-3",))
    got = client.dec_keys("sae-2", ["id-1"])

    assert plain == full == got == [SaeKey("id-1", Secret(KEY))]
    assert base64.b64encode(KEY).decode() not in repr(got)
    assert [asked[2] for asked in kme.asked] == [
        {"number": 1},
        {"number": 1, "size": 8 * len(KEY), "additional_slave_SAE_IDs": ["sae-3"]},
        {"key_IDs": [{"key_ID": "id-1"}]},
    ]


@pytest.mark.slow
def test_a_refusal_bears_status_message_and_when_to_try_again(kme: Kme, client: SaeClient) -> None:
    kme.status, kme.body = 503, b'{"message": "no bits"}'
    kme.headers = {"Retry-After": "2"}

    with pytest.raises(SaeError, match="no bits") as no:
        client.enc_keys("sae-2")

    assert (no.value.status, no.value.retry_after) == (503, "2")


@pytest.mark.slow
@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff"])
def test_what_is_no_json_is_an_error(kme: Kme, client: SaeClient, body: bytes) -> None:
    kme.body = body

    with pytest.raises(SaeError, match="no JSON"):
        client.status("sae-2")


@pytest.mark.slow
@pytest.mark.parametrize("wrong", [[], {}, {"keys": [{"key_ID": "x"}]}, {"keys": 3}])
def test_what_is_no_key_container_is_an_error(kme: Kme, client: SaeClient, wrong: Any) -> None:
    kme.body = json.dumps(wrong).encode()

    with pytest.raises(SaeError, match="no key container"):
        client.enc_keys("sae-2")


@pytest.mark.slow
def test_a_damaged_key_is_not_quoted_in_the_error(kme: Kme, client: SaeClient) -> None:
    text = base64.b64encode(KEY).decode()
    kme.body = json.dumps({"keys": [{"key_ID": "x", "key": text[:-2]}]}).encode()

    with pytest.raises(SaeError) as no:
        client.enc_keys("sae-2")

    assert text[:8] not in str(no.value)
    assert no.value.__suppress_context__


@pytest.mark.slow
def test_the_client_recovers_when_the_kme_comes_back(kme: Kme, client: SaeClient) -> None:
    kme.headers = {"Connection": "close"}

    first, second = client.status("sae-2"), client.status("sae-2")

    assert first == second == {}


@pytest.mark.slow
def test_a_kme_of_another_ca_is_not_talked_to(kme: Kme, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    Authority.create(tmp_path / "other")
    url = f"https://127.0.0.1:{kme.server_port}"
    cert, key = tmp_path / "sae.crt", tmp_path / "sae.key"

    client = SaeClient(url, tmp_path / "other/ca.crt", cert, key)
    with client, pytest.raises(SaeError, match="certificate verify failed") as no:
        client.status("sae-2")

    assert no.value.status == 0
    assert kme.asked == []


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "127.0.0.1:1", "https://"])
def test_only_https_urls_are_taken(url: str, tmp_path: Path) -> None:
    with pytest.raises(SaeError, match="no https URL"):
        SaeClient(url, tmp_path, tmp_path, tmp_path)
