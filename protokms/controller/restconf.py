"""The front end for controllers of one node, as its client sees it: RESTCONF (RFC 8040), JSON."""

import http.client
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self, TypeVar
from urllib.parse import urlsplit

from etsi.gs015.restconf.problems import NO_PATH
from protokms.controller.diff import Request, Told
from protokms.controller.rows import ID, KEYS, Entry
from transport.https import HttpsConnection, client_context

T = TypeVar("T")

MEDIA: Final = "application/yang-data+json"
MODULE: Final = "etsi-qkd-sdn-node"
NODE: Final = f"/restconf/data/{MODULE}:qkd_node"
_NOTIFICATION: Final = "ietf-restconf:notification"
STREAM: Final = "/restconf/streams/NETCONF"

ANSWER_S: Final = 10.0
"""Seconds until a node that says nothing has not answered."""
WHOLE_S: Final = 30.0
"""Seconds until an answer has come as a whole: a node that says a little now and then has not."""
SILENCE_S: Final = 40.0
"""Seconds without an event or a comment until a stream is over: a comment comes every 15."""
PAUSE_S: Final = 0.5
"""Seconds between two looks at something that is not so yet."""
RETRY_MAX_S: Final = 60.0
"""Nobody is waited for longer before the next request, whatever `Retry-After` says."""
BODY_MAX: Final = 1 << 26
_LINE_MAX: Final = 1 << 20
_OK, _NOT_FOUND, _BUSY = 200, 404, 503
_MADE: Final = (201, 204)


class RestconfError(Exception):
    """A node did not do what it was asked; the text says which, and why."""


class Refused(RestconfError):
    """It does not want to, or speaks otherwise than it should; to ask again is of no use."""


class Unanswered(RestconfError):
    """It cannot now, or does not answer; ask again after so many seconds."""

    def __init__(self, text: str, retry_s: float = PAUSE_S) -> None:
        super().__init__(text)
        self.retry_s = retry_s


@dataclass(frozen=True, slots=True)
class Identity:
    """The certificate of a controller, and the CA of the nodes: PEM files."""

    ca: Path
    cert: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """Make the TLS of it; `Refused` if a file is no good."""
        try:
            return client_context(self.ca, self.cert, self.key)
        except OSError as why:
            raise Refused(f"a certificate or key cannot be used: {why}") from why


@dataclass(slots=True)
class Agent:
    """One node; `name` is what we call it. For one thread."""

    name: str
    url: str
    tls: ssl.SSLContext
    etag: str = ""
    _http: HttpsConnection = field(init=False)

    def __post_init__(self) -> None:
        """Prepare a connection; it is made with the first request."""
        self._http = self._connection(ANSWER_S)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self._http.close()

    def node(self, content: str = "config") -> dict[str, Any]:
        """Tell the node: `config`, or `all`. Remember its revision with `config`."""
        answer, body = self._call("GET", f"{NODE}?content={content}")
        found = body.get(f"{MODULE}:qkd_node") if isinstance(body, dict) else None
        if answer.status != _OK or not isinstance(found, dict):
            raise self._refused(answer, body)
        if content == "config":
            self.etag = answer.headers.get("ETag", "")
        return found

    def told(self, *, now: bool = False) -> Told:
        """Tell what is configured, and with `now` how it is."""
        config = self.node()
        id_ = config.get(ID)
        if not isinstance(id_, str):
            raise Refused(f"{self.name}: it does not say its {ID}")
        state = entries_of(self.node("all")) if now else {}
        return Told(id_, entries_of(config), state)

    def put(self, request: Request) -> None:
        """Write a container, if nobody else has written there since we read it, or wrote."""
        list_, _ = KEYS[request.container]
        body = {f"{MODULE}:{request.container}": {list_: list(request.entries)}}
        condition = {"If-Match": self.etag} if self.etag else {}
        answer, said = self._call("PUT", f"{NODE}/{request.container}", body, condition)
        if answer.status not in _MADE:
            no = self._refused(answer, said)
            # What we tell is in order, and over links that were written: it is about to be a path.
            raise Unanswered(str(no)) if _app_tag(said) == NO_PATH else no
        self.etag = answer.headers.get("ETag", "")

    def events(self) -> Iterator[dict[str, Any]]:
        """Yield what happens there, from now on; ends when the stream does."""
        http_ = self._connection(SILENCE_S)
        try:
            with self._in_time(http_):
                http_.request("GET", STREAM, headers={"Accept": "text/event-stream"})
                answer = http_.getresponse()
                if answer.status != _OK:
                    raise self._refused(answer, _json(answer.read(BODY_MAX)))
            while line := answer.readline(_LINE_MAX):
                found = _json(line.removeprefix(b"data:")) if line.startswith(b"data:") else None
                body = found.get(_NOTIFICATION, {}) if isinstance(found, dict) else None
                if isinstance(body, dict):
                    yield body
        except (OSError, ValueError, http.client.HTTPException) as why:
            raise self._failed(why) from why
        finally:
            http_.close()

    def _connection(self, timeout: float) -> HttpsConnection:
        parts = urlsplit(self.url)
        return HttpsConnection(
            parts.hostname or "", parts.port or 443, timeout=timeout, context=self.tls
        )

    def _call(
        self, verb: str, path: str, body: Any = None, fields: Mapping[str, str] | None = None
    ) -> tuple[http.client.HTTPResponse, Any]:
        head = {"Accept": MEDIA, **(fields or {})}
        octets = None if body is None else json.dumps(body).encode()
        if octets is not None:
            head["Content-Type"] = MEDIA
        try:
            with self._in_time(self._http):
                self._http.request(verb, path, octets, head)
                answer = self._http.getresponse()
                text = answer.read(BODY_MAX)
        except (OSError, ValueError, http.client.HTTPException) as why:
            self._http.close()
            raise self._failed(why) from why
        said = _json(text)
        if answer.status == _BUSY:
            wait = retry_s(answer.headers.get("Retry-After", ""))
            raise Unanswered(self._text(answer, said), wait)
        return answer, said

    @contextmanager
    def _in_time(self, http_: HttpsConnection) -> Iterator[None]:
        """Cut a connection over which no whole answer has come in time: that is `Unanswered`.

        The time-out of a socket begins anew with each octet.
        """
        late = threading.Event()

        def cut() -> None:
            late.set()
            http_.cut()

        timer = threading.Timer(WHOLE_S, cut)
        timer.daemon = True
        timer.start()
        try:
            yield
        except (OSError, ValueError, http.client.HTTPException) as why:
            if late.is_set():
                http_.close()
                raise self._too_late() from why
            raise
        finally:
            timer.cancel()
        if late.is_set():
            http_.close()
            raise self._too_late()

    def _too_late(self) -> Unanswered:
        return Unanswered(f"{self.name}: no whole answer from {self.url} within {WHOLE_S:g} s")

    def _failed(self, why: Exception) -> RestconfError:
        if isinstance(why, ssl.SSLError):
            text = why.reason or str(why)
            return Refused(f"{self.name}: TLS failed at {self.url}: {text}")
        if isinstance(why, ValueError):  # of a name that no host can have
            return Refused(f"{self.name}: {self.url} cannot be asked: {why}")
        return Unanswered(f"{self.name}: no answer from {self.url}: {why}")

    def _refused(self, answer: http.client.HTTPResponse, said: Any) -> Refused:
        return Refused(self._text(answer, said))

    def _text(self, answer: http.client.HTTPResponse, said: Any) -> str:
        error = _error_of(said)
        leaves = ("error-tag", "error-message", "error-path")
        words = [error.get(leaf) for leaf in leaves] if "error-tag" in error else [answer.reason]
        return f"{self.name}: {answer.status} {': '.join(str(word) for word in words if word)}"


def persist(do: Callable[[], T], deadline: float) -> T:
    """Do it again until there is an answer, or that time has come: then `Unanswered` is raised.

    `deadline` is one of `time.monotonic`.
    """
    while True:
        try:
            return do()
        except Unanswered as why:
            pause(why, deadline)


def pause(why: Unanswered, deadline: float) -> None:
    """Wait until it is time to ask again, and no longer than until then; past that, raise it."""
    rest = deadline - time.monotonic()
    if rest <= 0:
        raise why
    time.sleep(min(why.retry_s, rest))


def retry_s(after: str) -> float:
    """Return the seconds that `Retry-After` says, at most `RETRY_MAX_S`."""
    told = after.isascii() and after.isdigit()
    return min(float(after), RETRY_MAX_S) if told else PAUSE_S


def entries_of(node: Mapping[str, Any]) -> dict[str, dict[str, Entry]]:
    """Return the entries of both lists by id; what is not as it should be is left out."""
    found: dict[str, dict[str, Entry]] = {}
    for container, (list_, key) in KEYS.items():
        inside = node.get(container)
        rows = inside.get(list_) if isinstance(inside, dict) else None
        entries = [it for it in rows if isinstance(it, dict)] if isinstance(rows, list) else []
        found[container] = {str(entry[key]): entry for entry in entries if key in entry}
    return found


def _app_tag(said: Any) -> Any:
    return _error_of(said).get("error-app-tag")


def _error_of(said: Any) -> dict[str, Any]:
    """Return the first error of a refusal, if there is one."""
    try:
        (error, *_) = said["ietf-restconf:errors"]["error"]
    except (KeyError, TypeError, ValueError):
        return {}
    return error if isinstance(error, dict) else {}


def _json(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None
