"""A client of ETSI GS QKD 014, as an application (SAE) would use one; sizes are in bits.

`SaeClient` waits, `AsyncSaeClient` is for asyncio. What both ask again, and what never, is told at
`SaeClient`.
"""

import asyncio
import base64
import http.client
import json
import select
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar
from urllib.parse import quote, urlsplit

from transport.https import HttpsConnection, client_context
from transport.message import Secret

_BODY_LIMIT = 16 << 20
_PAUSE_S, _PAUSE_MAX_S = 0.1, 5.0
"""The first pause before a request is repeated, where the KME names none, and the longest."""

P = ParamSpec("P")
T = TypeVar("T")


class SaeError(Exception):
    """The KME refused, or was not reached; `status` is 0 when there was no answer.

    `code` is for programs, as a KME of ours says it (`no_keys`, `not_found`); empty: it says none.
    `retry_after` is the header field as it came. `sent`: the KME may have got the request.
    """

    def __init__(
        self,
        status: int,
        message: str,
        retry_after: str = "",
        *,
        code: str = "",
        sent: bool = True,
    ) -> None:
        super().__init__(message)
        self.status, self.retry_after = status, retry_after
        self.code, self.sent = code, sent


@dataclass(frozen=True, slots=True)
class SaeKey:
    """One key and the name both SAEs know it by; `extension` is its `key_extension`, if any."""

    key_id: str
    key: Secret
    extension: dict[str, Any] = field(default_factory=dict, compare=False)


class SaeClient:
    """One keep-alive connection to a KME, with the certificate of one SAE; for one thread.

    `url` is the KME's, such as `https://127.0.0.1:18001`; the three paths are PEM files. `timeout`
    is in seconds, for each step of one exchange.

    With `patience_s` a request is repeated for so many seconds where that is safe by the standard:

    - after 503, once the seconds of `Retry-After` are over: the KME has given no key;
    - when the KME was not reached at all;
    - when an answer was lost, `status` and `dec_keys`: the one gives nothing away, and the other
      asks for the same keys. A KME of ours gives these once more within `redelivery_s`.

    An `enc_keys` whose answer was lost is never repeated: the KME may have made keys, which nobody
    knows now. Whoever asks again gets other keys, and pays for both.
    """

    def __init__(
        self,
        url: str,
        ca: Path,
        cert: Path,
        key: Path,
        timeout: float = 10.0,
        *,
        patience_s: float = 0.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname:
            raise SaeError(0, f"{url!r} is no https URL")
        context = client_context(ca, cert, key)
        self._patience_s, self._sleep = patience_s, sleep
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
        until, pause = time.monotonic() + self._patience_s, _PAUSE_S
        while True:
            try:
                return self._exchange(verb, peer, what, body)
            except SaeError as no:
                wait = _seconds(no.retry_after, pause)
                if not _may_repeat(no, what) or time.monotonic() + wait > until:
                    raise
            self._sleep(wait)
            pause = min(2 * pause, _PAUSE_MAX_S)

    def _exchange(self, verb: str, peer: str, what: str, body: Any) -> Any:
        path = f"{self._base}/api/v1/keys/{quote(peer, safe='')}/{what}"
        octets = None if body is None else json.dumps(body).encode()
        headers = {"Accept": "application/json"}
        if octets is not None:
            headers["Content-Type"] = "application/json"
        self._connect()
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
            said = str(message or answer.reason)
            raise SaeError(answer.status, said, retry_after, code=_code(found))
        return found

    def _connect(self) -> None:
        """Connect, unless there is a connection that the KME has not closed meanwhile."""
        if self._http.sock is not None and select.select([self._http.sock], [], [], 0)[0]:
            self._http.close()  # the end of it, or what nobody has asked for
        if self._http.sock is None:
            try:
                self._http.connect()
            except OSError as why:
                self._http.close()
                text = f"no answer from {self._http.host}: {why}"
                raise SaeError(0, text, sent=False) from why


class AsyncSaeClient:
    """The same for asyncio: requests wait for each other, in a thread of their own.

    Whoever is cancelled leaves a request behind; its answer is dropped, and its keys with it.
    """

    def __init__(
        self,
        url: str,
        ca: Path,
        cert: Path,
        key: Path,
        timeout: float = 10.0,
        *,
        patience_s: float = 0.0,
    ) -> None:
        self._client = SaeClient(url, ca, cert, key, timeout, patience_s=patience_s)
        self._thread = ThreadPoolExecutor(1, "sae")

    async def status(self, slave: str) -> dict[str, Any]:
        """Ask how many keys there are; see `SaeClient.status`."""
        return await self._run(self._client.status, slave)

    async def enc_keys(
        self,
        slave: str,
        number: int = 1,
        size: int | None = None,
        also: tuple[str, ...] = (),
        *,
        provenance: bool = False,
    ) -> list[SaeKey]:
        """Get fresh keys; see `SaeClient.enc_keys`."""
        ask = partial(self._client.enc_keys, provenance=provenance)
        return await self._run(ask, slave, number, size, also)

    async def dec_keys(self, master: str, key_ids: list[str]) -> list[SaeKey]:
        """Get the keys under these ids; see `SaeClient.dec_keys`."""
        return await self._run(self._client.dec_keys, master, key_ids)

    async def close(self) -> None:
        """Close the connection, once its last request is over."""
        await self._run(self._client.close)
        self._thread.shutdown(wait=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def _run(self, call: Callable[P, T], *args: P.args, **more: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, partial(call, *args, **more))


def _may_repeat(no: SaeError, what: str) -> bool:
    """Whether the same request may be sent again without another one's keys being lost."""
    if no.status == http.client.SERVICE_UNAVAILABLE:
        return True
    return no.status == 0 and (not no.sent or what != "enc_keys")


def _seconds(retry_after: str, usual: float) -> float:
    """Return how long to wait; a date, or what is no number, is as if nothing was said."""
    return float(retry_after) if retry_after.isdecimal() else usual


def _code(found: Any) -> str:
    try:
        return str(found["details"][0]["code"])
    except (KeyError, IndexError, TypeError):
        return ""


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
