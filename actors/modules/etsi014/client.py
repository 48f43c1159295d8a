"""The side of ETSI GS QKD 014 that asks: requests of one SAE over mutual TLS."""

import http.client
import json
import ssl
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode, urlsplit

from actors.modules.devices.asker import TIMEOUT_S, Timed, context, explained, left, shut_down
from actors.modules.devices.device import DeviceError
from actors.modules.etsi014 import talk
from actors.modules.etsi014.quirks import Dialect
from actors.modules.etsi014.talk import Answer, DecKeys, EncKeys, GetStatus, Request
from transport.https import HttpsConnection

BODY_MAX = 4 << 20
"""Octets of an answer, at most; more are not read."""
_STATUSES = {400: "refused", 401: "unauthorized", 403: "unauthorized", 503: "unavailable"}
_SUCCESS = range(200, 300)


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Where a device is, and who asks; `ValueError` for what makes no sense.

    `far_sae` is the SAE of the other end, which stands in the path of each request. `sae` is our
    own, as the device reads it in our certificate; if it is given, a status must name it.
    `server_name` is that in the certificate of the device, if it is not the host of `url`.
    """

    url: str
    far_sae: str
    certificate: Path
    key: Path
    ca: Path
    sae: str = ""
    server_name: str = ""
    timeout_s: float = 5.0

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        try:
            good = parts.scheme == "https" and bool(parts.hostname) and parts.port != 0
        except ValueError:
            good = False
        if not good or parts.query or parts.fragment or parts.username is not None:
            raise ValueError("url is https://HOST or https://HOST:PORT, with a path if need be")
        if not self.far_sae:
            raise ValueError("far_sae is the SAE id of the other end, not empty")
        if not TIMEOUT_S[0] <= self.timeout_s <= TIMEOUT_S[1]:
            raise ValueError(f"timeout_s is {TIMEOUT_S[0]} to {TIMEOUT_S[1]}")


class Client:
    """One keep-alive connection to a device; for one thread, but for `abort`."""

    def __init__(self, access: Access, dialect: Dialect) -> None:
        parts = urlsplit(access.url)
        self._access, self._dialect = access, dialect
        self._host, self._port = str(parts.hostname), parts.port or 443
        self._base = f"{parts.path.rstrip('/')}/api/v1/keys/{quote(access.far_sae, safe='')}"
        self._http: HttpsConnection | None = None
        self._sock: Timed | None = None
        self._aborted = False

    def ask(self, request: Request) -> Answer:
        """Ask once, within `timeout_s`; `DeviceError` if nothing good comes."""
        until = time.monotonic() + self._access.timeout_s
        with explained(self._access.timeout_s, self.close):
            return self._read(request, *self._twice(request, until))

    def abort(self) -> None:
        """End a request that is under way, and ask no more; for any thread."""
        self._aborted = True
        shut_down(self._sock)

    def close(self) -> None:
        """Close the connection; the next request opens one."""
        if self._http:
            self._http.close()
        self._http = self._sock = None

    def _twice(self, request: Request, until: float) -> tuple[int, float, bytes]:
        """Ask again over a new connection if the device has closed one that was idle.

        Keys of an answer that got lost so are lost at both ends.
        """
        if self._http and self._http.sock is None:  # the last answer said so
            self.close()
        idle = self._http is not None
        try:
            return self._call(request, until)
        except (ConnectionError, ssl.SSLEOFError):
            if not idle or self._aborted:
                raise
            self.close()
            return self._call(request, until)

    def _call(self, request: Request, until: float) -> tuple[int, float, bytes]:
        """Send it; return status, Retry-After and body."""
        made = self._http = self._http or self._connected(until)
        assert isinstance(made.sock, Timed), "its context makes such sockets"
        self._sock = made.sock
        if self._aborted:  # before it could be shut down
            raise ConnectionAbortedError
        made.sock.until = until
        made.sock.settimeout(left(until))
        verb, path, body = self._form(request)
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        made.request(verb, f"{self._base}/{path}", body, headers)
        answer = made.getresponse()
        octets = answer.read(BODY_MAX + 1)
        if len(octets) > BODY_MAX:
            raise DeviceError("malformed", f"an answer has more than {BODY_MAX:,} octets")
        return answer.status, _seconds(answer.headers.get("Retry-After", "")), octets

    def _connected(self, until: float) -> HttpsConnection:
        access = self._access
        made = HttpsConnection(
            self._host,
            self._port,
            timeout=left(until),
            context=context(access.ca, access.certificate, access.key),
            name=access.server_name or None,
        )
        made.connect()
        return made

    def _form(self, request: Request) -> tuple[str, str, bytes | None]:
        if isinstance(request, GetStatus):
            return "GET", "status", None
        if isinstance(request, EncKeys):
            wanted = {"number": request.number, "size": request.size}
            if self._dialect.get_only:
                return "GET", f"enc_keys?{urlencode(wanted)}", None
            return "POST", "enc_keys", json.dumps(wanted).encode()
        if self._dialect.get_only:
            return "GET", f"dec_keys?{urlencode({'key_ID': request.key_ids[0]})}", None
        rows = [{"key_ID": key_id} for key_id in request.key_ids]
        return "POST", "dec_keys", json.dumps({"key_IDs": rows}).encode()

    def _read(self, request: Request, status: int, retry_after: float, body: bytes) -> Answer:
        good = status in _SUCCESS if self._dialect.any_success else status == http.client.OK
        if not good:
            kind = _STATUSES.get(status, "server_error")
            if self._dialect.not_found and status == http.client.NOT_FOUND:
                kind = "refused" if isinstance(request, DecKeys) else "unavailable"
            said = talk.read_message(body)
            text = f"it answers {status}" + (f": {said}" if said else "")
            raise DeviceError(kind, text, retry_after)
        if isinstance(request, GetStatus):
            return talk.read_status(body, self._access.sae, self._access.far_sae)
        if isinstance(request, EncKeys):
            return talk.read_new(body, request, self._dialect)
        return talk.read_named(body, request, self._dialect)


def _seconds(text: str) -> float:
    """Read Retry-After in seconds; a date, or nonsense, is as good as nothing."""
    return float(text) if text.isascii() and text.isdigit() and len(text) < 7 else 0.0  # noqa: PLR2004
