"""A small ETSI 014 server over mutual TLS on loopback, which does as a test says."""

import base64
import json
import secrets
import ssl
import threading
import time
import uuid
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from tests.kit.authority import Authority

KEY_BITS = 256
Reply = tuple[int, Any]
"""Status and body; a body that is no `bytes` is made JSON."""


class Pool:
    """The keys that two devices share."""

    def __init__(self, stored: int = 1000) -> None:
        self.stored = stored
        self.keys: dict[str, bytes] = {}

    def new(self, number: int, size: int) -> list[dict[str, str]]:
        """Give new keys."""
        self.stored -= number
        made = {str(uuid.uuid4()): secrets.token_bytes(size // 8) for _ in range(number)}
        self.keys |= made
        return [_row(key_id, octets) for key_id, octets in made.items()]

    def named(self, key_ids: list[str]) -> list[dict[str, str]] | None:
        """Give these keys, or none if one of them is not there."""
        if not all(key_id in self.keys for key_id in key_ids):
            return None
        return [_row(key_id, self.keys.pop(key_id)) for key_id in key_ids]


def _row(key_id: str, octets: bytes) -> dict[str, str]:
    return {"key_ID": key_id, "key": base64.b64encode(octets).decode()}


class FaultyDevice:
    """One of two devices; `wrong` makes another reply of a good one, or does what it likes.

    `chunks`: the reply drips, so many octets a time, each after `pause_s`. `talks`: it says that
    the reply is to come, again and again, and never more.
    """

    def __init__(self, authority: Authority, pool: Pool, name: str = "device") -> None:
        self.pool = pool
        self.wrong: Callable[[str, Reply], Reply] = lambda _, reply: reply
        self.headers: dict[str, str] = {}
        self.chunks, self.pause_s = 0, 0.0
        self.silent = threading.Event()
        self.asked: list[tuple[str, str]] = []
        self.hang_up = self.talks = False
        device = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                device.serve(self)

            do_POST = do_GET  # noqa: N815 -- the name that http.server asks for

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None:
                pass  # a client that is cut off is what the tests are about

        self.server = Server(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(authority.folder / f"{name}.crt", authority.folder / f"{name}.key")
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(authority.path)
        self.server.socket = context.wrap_socket(
            self.server.socket, server_side=True, do_handshake_on_connect=False
        )
        self.url = f"https://localhost:{self.server.server_address[1]}"
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.silent.clear()
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        length = int(handler.headers.get("Content-Length", 0))
        sent = json.loads(handler.rfile.read(length) or b"{}")
        parts = urlsplit(handler.path)
        sent |= {name: value[0] for name, value in parse_qs(parts.query).items()}
        self.asked.append((handler.command, handler.path))
        while self.silent.is_set():
            time.sleep(0.01)
        while self.talks:
            handler.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000)
        status, body = self.wrong(parts.path, self._good(parts.path, sent))
        octets = body if isinstance(body, bytes) else json.dumps(body).encode()
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(octets)), **self.headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        step = self.chunks or len(octets) or 1
        for start in range(0, len(octets), step):
            handler.wfile.write(octets[start : start + step])
            handler.wfile.flush()
            time.sleep(self.pause_s)
        handler.close_connection = handler.close_connection or self.hang_up

    def _good(self, path: str, sent: dict[str, Any]) -> Reply:
        *_, far, what = path.split("/")
        if what == "status":
            return 200, self._status(far)
        if what == "enc_keys":
            number, size = int(sent.get("number", 1)), int(sent.get("size", KEY_BITS))
            if number > self.pool.stored:
                return 503, {"message": "not enough keys"}
            return 200, {"keys": self.pool.new(number, size)}
        ids = [row["key_ID"] for row in sent.get("key_IDs", [])] or [sent["key_ID"]]
        rows = self.pool.named(ids)
        if rows is None:
            return 400, {"message": "one or more keys specified are not found on KME"}
        return 200, {"keys": rows}

    def _status(self, far: str) -> dict[str, Any]:
        return {
            "source_KME_ID": "device-1",
            "target_KME_ID": "device-2",
            "master_SAE_ID": "ours",
            "slave_SAE_ID": far.replace("%2F", "/"),
            "key_size": KEY_BITS,
            "stored_key_count": self.pool.stored,
            "max_key_count": 100_000,
            "max_key_per_request": 128,
            "max_key_size": 8192,
            "min_key_size": 64,
            "max_SAE_ID_count": 0,
        }
