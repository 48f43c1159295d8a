"""Logs: one JSON line an event, and no octets in any of them."""

import base64
import io
import json
from collections.abc import Iterator

import pytest
import structlog

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
