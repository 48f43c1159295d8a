"""How a node logs: one JSON line an event, or a readable one on a terminal; never key bits."""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any, Literal, TextIO

import msgspec
import structlog

from etsi.http.request_line import EVENT, RequestLine
from protokms.node.lines import Lines
from transport.message import Secret

Kind = Literal["json", "console", "auto"]

LINES_MAX = 100
"""Lines a minute of one event, from one actor, about one peer: a peer must not fill our disk."""

_MINUTE_S = 60.0
_INFO = 20
_LEVELS = {"info": _INFO, "warning": 30, "error": 40, "exception": 40, "critical": 50}
_OK = 200
_KINDS_MAX = 1024
_ADDED = ("event", "level", "timestamp")  # what the processors add
_LINE = b'%b%b,"event":"request","level":"info","timestamp":"%b.%06dZ"}'
_EACH = frozenset({EVENT, "request_refused"})  # as many as the front end's limits let in
_PLAIN = frozenset({str, int, float, bool, type(None)})
_encode = msgspec.json.Encoder(enc_hook=repr).encode


def configure(
    kind: Kind = "auto",
    stream: TextIO | None = None,
    level: str = "info",
    *,
    requests: bool = True,
) -> "Threshold":
    """Set logging up for this process; only a program that owns its process calls this.

    What is returned can change `level` and `requests` while the process runs.
    """
    out, threshold = stream or sys.stderr, Threshold(level, requests=requests)
    console = kind == "console" or (kind == "auto" and out.isatty())
    lines = Lines(out)
    structlog.configure(
        processors=[
            threshold,
            Quiet(),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            hide_octets,
            _console() if console else _json,
        ],
        wrapper_class=_loggers(threshold, lines),
        logger_factory=lambda *_: lines,
        cache_logger_on_first_use=True,
    )
    return threshold


class Threshold:
    """Drops what is below a level, and requests that were answered well, if nobody wants those.

    Loggers are made once and keep their class, so the level of that class cannot change.
    """

    def __init__(self, level: str = "info", *, requests: bool = True) -> None:
        self._used, self._least = (level, requests), _LEVELS[level]

    def set(self, level: str, *, requests: bool) -> list[str]:
        """Use these from now on; from any thread. Return which of the two keys has changed."""
        before, self._used = self._used, (level, requests)
        self._least = _LEVELS[level]
        both = zip(("log_level", "log_requests"), before, self._used, strict=True)
        return [name for name, old, new in both if old != new]

    def __call__(
        self, _logger: Any, method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Let an event pass, or raise `structlog.DropEvent`."""
        if _LEVELS.get(method, _LEVELS["critical"]) < self._least:
            raise structlog.DropEvent
        if not self._used[1] and event.get("event") == EVENT and event.get("status") == _OK:
            raise structlog.DropEvent
        return event

    def wants(self, status: int) -> bool:
        """Tell whether a request with this status is logged."""
        return self._least <= _INFO and (self._used[1] or status != _OK)


class Quiet:
    """Drops what is said too often, and says of the next line let through how many were dropped."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now, self._lock = now, threading.Lock()
        self._seen: dict[tuple[str, ...], tuple[float, int]] = {}

    def __call__(
        self, _logger: Any, _method: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        """Count an event; `structlog.DropEvent` if it is one too many."""
        if event.get("event") in _EACH:
            return event
        kind = tuple(str(event.get(name)) for name in ("event", "actor", "peer"))
        with self._lock:
            now = self._now()
            since, lines = self._seen.get(kind, (now, 0))
            if now - since >= _MINUTE_S:
                if lines > LINES_MAX:
                    event["suppressed"] = lines - LINES_MAX
                since, lines = now, 0
            if kind not in self._seen and len(self._seen) >= _KINDS_MAX:
                self._seen.clear()
            self._seen[kind] = since, lines + 1
        if lines >= LINES_MAX:
            raise structlog.DropEvent
        return event


def _loggers(threshold: Threshold, lines: Lines) -> type[Any]:
    """Make the class of all loggers: those of structlog, which also know what a request is."""
    usual: Any = structlog.make_filtering_bound_logger("info")
    clock = 0, b""

    class Logger(usual):  # type: ignore[misc]  # the class is made while the program runs
        _head = b""

        def request(self, line: RequestLine) -> None:
            """Log what `info("request", ...)` would, in a fifth of the time.

            Whatever is not plain takes that way: it is hidden, or laid out, by the processors.
            """
            nonlocal clock
            ours = self._logger is lines and self._processors[-1] is _json
            if ours and line.plain and (head := self._head or self._begin()):
                if not threshold.wants(line.status):
                    return
                second, micro = divmod(time.time_ns() // 1000, 1_000_000)
                noted, text = clock
                if second != noted:
                    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)).encode()
                    clock = second, text
                try:
                    facts = _encode(line)
                except ValueError:  # half a surrogate pair
                    pass
                else:
                    lines.soon(_LINE % (head, facts[1:-1], text, micro))
                    return
            self.info(EVENT, **msgspec.structs.asdict(line))

        def _begin(self) -> bytes:
            """Lay out what is bound; empty if the processors are to do that."""
            bound = hide_octets(None, "", dict(self._context))
            if not bound.keys().isdisjoint((*RequestLine.__struct_fields__, *_ADDED)):
                return b""
            with contextlib.suppress(TypeError, ValueError):
                self._head = _encode(bound)[:-1] + b"," * bool(bound)
            return self._head

    return Logger


def hide_octets(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    """Replace octets and secrets by their length: a log is no place for them (P6)."""
    for name, value in event.items():
        if type(value) not in _PLAIN:
            event[name] = _hidden(value)
    return event


def _hidden(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview | Secret):
        return f"<{len(value)} octets>"
    if isinstance(value, list | tuple | set | frozenset):
        return [_hidden(inner) for inner in value]
    if isinstance(value, dict):
        return {str(_hidden(name)): _hidden(inner) for name, inner in value.items()}
    return value


def _json(_logger: Any, _method: str, event: Mapping[str, Any]) -> str:
    try:
        return _encode(event).decode()
    except (TypeError, ValueError):  # a log line must not bring an actor down
        return _encode({ascii(name): ascii(value) for name, value in event.items()}).decode()


def _console() -> structlog.dev.ConsoleRenderer:
    # No rich tracebacks: they print local variables, and those may hold keys.
    return structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
