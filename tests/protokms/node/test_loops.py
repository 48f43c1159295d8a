"""Trouble in the loop of a thread: one line a minute for each kind."""

import asyncio
import errno

import pytest
from structlog.testing import capture_logs

from protokms import loops


def test_trouble_is_one_line_a_kind_however_often_it_comes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop = loops.make("observe")
    with capture_logs() as said:
        for _ in range(100):
            full = OSError(errno.EMFILE, "Too many open files")
            loop.call_exception_handler({"message": "accept", "exception": full})
        loop.call_exception_handler({"message": "another", "exception": ValueError("secret")})
        monkeypatch.setattr(loops, "LOG_EVERY_S", 0.0)
        loop.call_exception_handler({"message": "accept", "exception": full})
    loop.close()

    assert isinstance(loop, asyncio.AbstractEventLoop)
    assert [row["why"] for row in said] == [
        "Too many open files",
        "ValueError",
        "Too many open files",
    ]
    assert "secret" not in str(said)
