"""A client of ETSI GS QKD 014, as an application (SAE) would use one; sizes are in bits."""

import base64
import http.client
import json
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote, urlsplit

from transport.https import HttpsConnection, client_context
from transport.message import Secret

_BODY_LIMIT = 16 << 20


class SaeError(Exception):
    """The KME refused, or was not reached; `status` is 0 when there was no answer."""

    def __init__(self, status: int, message: str, retry_after: str = "") -> None:
        super().__init__(message)
        self.status, self.retry_after = status, retry_after


@dataclass(frozen=True, slots=True)
class SaeKey:
    """One key and the name both SAEs know it by; `extension` is its `key_extension`, if any."""

    key_id: str
    key: Secret
    extension: dict[str, Any] = field(default_factory=dict, compare=False)


class SaeClient:
    """One keep-alive connection to a KME, with the certificate of one SAE; for one thread.

    `url` is the KME's, such as `https://127.0.0.1:18001`; the three paths are PEM files.
    """

    def __init__(self, url: str, ca: Path, cert: Path, key: Path, timeout: float = 10.0) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname:
            raise SaeError(0, f"{url!r} is no https URL")
        context = client_context(ca, cert, key)
        self._base = parts.path.rstrip("/")
        self._http = HttpsConnection(
            parts.hostname, parts.port or 443, timeout=timeout, context=context
        )

    def status(self, slave: str) -> dict[str, Any]:
        """Ask how many keys there are for this SAE and another (014 6.1)."""
        found: dict[str, Any] = self._call("GET", slave, "status")
        return found

    def enc_keys(
        self,
        slave: str,
        number: int = 1,
        size: int | None = None,
        also: tuple[str, ...] = (),
        *,
        provenance: bool = False,
    ) -> list[SaeKey]:
        """Get fresh keys to share with `slave`, and with the SAEs in `also` (014 6.2).

        With `provenance` each key's extension tells over which nodes it came, if that is known.
        `SaeError` also for an answer with fewer keys, or with keys of another size.
        """
        body: dict[str, Any] = {"number": number}
        if size is not None:
            body["size"] = size
        if also:
            body["additional_slave_SAE_IDs"] = list(also)
        if provenance:
            body["extension_optional"] = [{"protokms_provenance": True}]
        got = _keys(self._call("POST", slave, "enc_keys", body))
        if len(got) != number or len({it.key_id for it in got}) != number:
            raise SaeError(200, f"the answer has not the {number} keys that were asked for")
        if any(len(it.key.reveal()) * 8 != size for it in got if size is not None):
            raise SaeError(200, f"the answer has keys of another size than {size} bits")
        return got

    def dec_keys(self, master: str, key_ids: list[str]) -> list[SaeKey]:
        """Get the keys that `master` got under these ids, in their order (014 6.4).

        `SaeError` also for an answer with other keys than these.
        """
        body = {"key_IDs": [{"key_ID": key_id} for key_id in key_ids]}
        got = {it.key_id.lower(): it for it in _keys(self._call("POST", master, "dec_keys", body))}
        if got.keys() != {key_id.lower() for key_id in key_ids}:
            raise SaeError(200, "the answer has other keys than were asked for")
        return [got[key_id.lower()] for key_id in key_ids]

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _call(self, verb: str, peer: str, what: str, body: Any = None) -> Any:
        path = f"{self._base}/api/v1/keys/{quote(peer, safe='')}/{what}"
        octets = None if body is None else json.dumps(body).encode()
        headers = {"Accept": "application/json"}
        if octets is not None:
            headers["Content-Type"] = "application/json"
        try:
            self._http.request(verb, path, octets, headers)
            answer = self._http.getresponse()
            text = answer.read(_BODY_LIMIT)
        except (OSError, http.client.HTTPException) as why:
            self._http.close()
            raise SaeError(0, f"no answer from {self._http.host}: {why}") from why
        try:
            found = json.loads(text)
        except ValueError as why:
            raise SaeError(answer.status, "the answer is no JSON") from why
        if answer.status != http.client.OK:
            message = found.get("message") if isinstance(found, dict) else None
            retry_after = answer.headers.get("Retry-After", "")
            raise SaeError(answer.status, str(message or answer.reason), retry_after)
        return found


def _keys(container: Any) -> list[SaeKey]:
    try:
        rows = container["keys"]
        return [_key(row) for row in rows]
    except (AttributeError, KeyError, TypeError, ValueError):
        # The cause would show the answer, and with it keys.
        raise SaeError(200, "the answer is no key container") from None


def _key(row: Any) -> SaeKey:
    extension = row.get("key_extension")
    octets = Secret(base64.b64decode(row["key"], validate=True))
    key_id: str = row["key_ID"] + ""  # a TypeError if it is no text
    return SaeKey(key_id, octets, extension if isinstance(extension, dict) else {})
