"""Logs: one JSON line an event, and no octets in any of them."""

import base64
import io
import json
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st

from etsi.http.request_line import RequestLine
from protokms.node import logs
from transport.message import Secret

KEY = b"\x07key-octets\xff\xfe"


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    before = structlog.get_config()
    yield io.StringIO()
    structlog.configure(**before)


def test_an_event_is_one_line_of_json(out: io.StringIO) -> None:
    logs.configure("json", out)

    structlog.get_logger().bind(node="kms-1").info("peer_up", peer="kms-2\nkms-3")

    (line,) = out.getvalue().splitlines()
    row = json.loads(line)
    assert row.pop("timestamp").endswith("Z")
    assert row == {
        "event": "peer_up",
        "node": "kms-1",
        "peer": "kms-2\nkms-3",
        "level": "info",
    }


@pytest.mark.parametrize("kind", ["json", "console"])
@pytest.mark.parametrize("value", [KEY, bytearray(KEY), memoryview(KEY), Secret(KEY)])
def test_octets_never_reach_the_log(out: io.StringIO, kind: logs.Kind, value: object) -> None:
    logs.configure(kind, out)

    structlog.get_logger().info("oops", value=value, nested={"a": [(Secret(KEY), KEY)]})

    text = out.getvalue()
    assert f"<{len(KEY)} octets>" in text
    assert "key-octets" not in text
    assert KEY.hex() not in text
    assert base64.b64encode(KEY).decode() not in text


@pytest.mark.parametrize("kind", ["json", "console"])
def test_a_traceback_shows_no_local_variables(out: io.StringIO, kind: logs.Kind) -> None:
    logs.configure(kind, out)

    try:
        secret_local = KEY.hex()
        raise ValueError(len(secret_local))
    except ValueError:
        structlog.get_logger().exception("crashed")

    assert "ValueError" in out.getvalue()
    assert KEY.hex() not in out.getvalue()


def test_what_cannot_be_json_is_logged_as_text(out: io.StringIO) -> None:
    logs.configure("json", out)

    structlog.get_logger().info("odd", table={(1, 2): "x"}, thing=object())
    structlog.get_logger().info("half a pair", text="\ud800")

    odd, half = map(json.loads, out.getvalue().splitlines())
    assert odd["table"] == {"[1, 2]": "x"}
    assert "half a pair" in half["'event'"]


def test_auto_is_json_when_nobody_watches(out: io.StringIO) -> None:
    logs.configure("auto", out)

    structlog.get_logger().info("hello")

    assert json.loads(out.getvalue())["event"] == "hello"


def told(out: io.StringIO) -> list[str]:
    """Return the events since this was asked before."""
    lines = out.getvalue().splitlines()
    out.seek(0)
    out.truncate()
    return [json.loads(line)["event"] for line in lines]


def test_a_level_can_be_changed_for_loggers_that_are_in_use(out: io.StringIO) -> None:
    threshold = logs.configure("json", out)
    log = structlog.get_logger().bind(node="kms-1")

    def say() -> list[str]:
        log.info("one")
        log.warning("two")
        log.error("three")
        log.log(20, "four")
        return told(out)

    assert say() == ["one", "two", "three", "four"]
    assert threshold.set("warning", requests=True) == ["log_level"]
    assert say() == ["two", "three"]
    assert threshold.set("error", requests=True) == ["log_level"]
    assert say() == ["three"]
    assert threshold.set("info", requests=True) == ["log_level"]
    assert say() == ["one", "two", "three", "four"]
    assert threshold.set("info", requests=True) == []


def test_requests_that_were_answered_well_can_be_left_out(out: io.StringIO) -> None:
    threshold = logs.configure("json", out, requests=False)
    log = structlog.get_logger()

    def say() -> list[str]:
        log.info("request", status=200)
        log.info("request", status=401)
        log.info("request_refused", reason="handshake")
        return told(out)

    assert say() == ["request", "request_refused"]
    assert threshold.set("info", requests=True) == ["log_requests"]
    assert say() == ["request", "request", "request_refused"]


def test_what_is_below_the_level_of_a_program_is_not_written(out: io.StringIO) -> None:
    logs.configure("json", out, level="critical")

    structlog.get_logger().error("one")
    structlog.get_logger().critical("two")

    assert told(out) == ["two"]


class Times:
    """A clock that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def passed(quiet: logs.Quiet, times: int, **event: str) -> int:
    through = 0
    for _ in range(times):
        try:
            quiet(None, "info", dict(event))
        except structlog.DropEvent:
            continue
        through += 1
    return through


def test_what_is_said_too_often_is_dropped_and_its_number_said_later() -> None:
    clock = Times()
    quiet = logs.Quiet(clock)

    first = passed(quiet, logs.LINES_MAX + 7, event="peer_up", peer="kms-2")
    other = passed(quiet, 1, event="peer_up", peer="kms-3")
    clock.now = 61.0
    later = quiet(None, "info", {"event": "peer_up", "peer": "kms-2"})
    after = quiet(None, "info", {"event": "peer_up", "peer": "kms-2"})

    assert (first, other) == (logs.LINES_MAX, 1)
    assert later["suppressed"] == 7
    assert "suppressed" not in after


def test_every_request_has_its_line() -> None:
    assert passed(logs.Quiet(Times()), 1000, event="request") == 1000


def test_kinds_of_lines_without_end_take_no_memory() -> None:
    quiet = logs.Quiet(Times())
    for n in range(5000):
        passed(quiet, 1, event=f"event-{n}")

    assert len(quiet._seen) <= 1024


def test_a_line_that_is_one_too_many_is_not_written(out: io.StringIO) -> None:
    logs.configure("json", out)
    log = structlog.get_logger()
    for _ in range(logs.LINES_MAX + 5):
        log.warning("again")

    assert len(out.getvalue().splitlines()) == logs.LINES_MAX


# The lines of requests, which do not go through the processors

ODD: list[object] = [KEY, bytearray(KEY), memoryview(KEY), Secret(KEY), [KEY], {"key": KEY}]
TEXT = st.text(st.characters(), max_size=12)  # half surrogate pairs too
LINES = st.builds(
    RequestLine,
    method=TEXT,
    route=TEXT,
    status=st.integers(100, 599),
    sae=TEXT,
    peer=TEXT,
    keys=st.integers(0, 128),
    ms=st.floats(0, 1e6).map(lambda ms: round(ms, 3)),
    trace=TEXT,
    code=TEXT,
)


WHEN = re.compile(r"\d{4}-[\d-]+T[\d:.]+Z")


def line(**facts: Any) -> RequestLine:
    usual = RequestLine("POST", "enc_keys", 200, "sae-1", "kms-2", 1, 1.25, "life-1f", "")
    return msgspec.structs.replace(usual, **facts)


def both(out: io.StringIO, log: Any, said: RequestLine) -> tuple[str, str]:
    """Log it as a request and as any event; return the two texts without their timestamps."""
    log.request(said)
    log.info("request", **msgspec.structs.asdict(said))
    first, second, rest = out.getvalue().split("\n")
    assert not rest
    out.seek(0)
    out.truncate()
    return WHEN.sub("", first), WHEN.sub("", second)


@settings(max_examples=50)
@given(LINES, st.dictionaries(st.text("abc", min_size=1), TEXT, max_size=3))
def test_the_line_of_a_request_is_that_of_any_event(
    said: RequestLine, bound: dict[str, str]
) -> None:
    before, out = structlog.get_config(), io.StringIO()
    try:
        logs.configure("json", out)
        fast, slow = both(out, structlog.get_logger().bind(**bound), said)
    finally:
        structlog.configure(**before)

    assert fast == slow


@pytest.mark.parametrize(
    "bound",
    [{}, {"node": "kms-1", "key": KEY}, {"peer": "kms-9", "level": "none"}, {"a": "\ud800"}],
)
def test_what_is_bound_is_in_the_line_of_a_request(
    out: io.StringIO, bound: dict[str, object]
) -> None:
    logs.configure("json", out)
    log = structlog.get_logger().bind(**bound)

    fast, slow = both(out, log, line())
    again, _ = both(out, log, line())

    assert fast == slow == again


@pytest.mark.parametrize("kind", ["json", "console"])
@pytest.mark.parametrize("value", ODD)
@pytest.mark.parametrize("name", RequestLine.__struct_fields__)
def test_octets_never_reach_the_line_of_a_request(
    out: io.StringIO, kind: logs.Kind, value: object, name: str
) -> None:
    logs.configure(kind, out)

    structlog.get_logger().request(line(**{name: value}))

    text = out.getvalue()
    assert f"<{len(KEY)} octets>" in text
    assert "key-octets" not in text
    assert KEY.hex() not in text
    assert base64.b64encode(KEY).decode() not in text


def test_a_request_says_when_it_was(out: io.StringIO) -> None:
    logs.configure("json", out)
    began = datetime.now(UTC)

    structlog.get_logger().request(line())

    text = json.loads(out.getvalue())["timestamp"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", text)
    when = datetime.fromisoformat(text)
    assert began <= when <= datetime.now(UTC)


def test_the_second_of_a_request_is_never_that_of_another(
    out: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs.configure("json", out)
    log = structlog.get_logger()
    for now in (1_000_000_000_999_999_999, 1_000_000_001_000_000_000, 999_999_999_000_001_999):
        monkeypatch.setattr(time, "time_ns", lambda now=now: now)
        log.request(line())

    assert [json.loads(text)["timestamp"] for text in out.getvalue().splitlines()] == [
        "2001-09-09T01:46:40.999999Z",
        "2001-09-09T01:46:41.000000Z",
        "2001-09-09T01:46:39.000001Z",
    ]


def test_requests_are_as_readable_as_all_else_on_a_terminal(out: io.StringIO) -> None:
    logs.configure("console", out)

    fast, slow = both(out, structlog.get_logger().bind(node="kms-1"), line())

    assert fast == slow
    assert "enc_keys" in fast


def test_requests_are_captured_like_all_else(out: io.StringIO) -> None:
    logs.configure("json", out)
    log = structlog.get_logger().bind(node="kms-1")

    with structlog.testing.capture_logs() as captured:
        log.request(line(sae="sae-7"))

    assert [(it["event"], it["sae"], it["node"]) for it in captured] == [
        ("request", "sae-7", "kms-1")
    ]
    assert out.getvalue() == ""


def test_requests_heed_level_and_wish(out: io.StringIO) -> None:
    threshold = logs.configure("json", out)
    log = structlog.get_logger()

    def say() -> list[str]:
        log.request(line(status=200))
        log.request(line(status=401))
        return told(out)

    assert say() == ["request", "request"]
    threshold.set("info", requests=False)
    assert say() == ["request"]
    threshold.set("warning", requests=True)
    assert say() == []
    threshold.set("info", requests=True)
    assert say() == ["request", "request"]
