"""Asks a running node on its management socket, for `protokms session` and the like."""

import json
import socket
from pathlib import Path
from typing import Any

import msgspec

from protokms.manage import words

TIMEOUT_S = 20.0


class ManageFailed(Exception):
    """The node said no, or was not reached; `code` is for programs, `why` does not repeat it."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.why = "" if text == code else text.removeprefix(f"{code}: ")


def ask(path: Path, word: words.Word, timeout: float = TIMEOUT_S) -> dict[str, Any]:
    """Ask one thing; return what is in `ok`, or raise `ManageFailed`."""
    try:
        line = _exchange(path, msgspec.json.encode(word) + b"\n", timeout)
    except FileNotFoundError:
        raise ManageFailed(
            "not_running", f"there is no socket {path}: does the node run?"
        ) from None
    except ConnectionRefusedError:
        raise ManageFailed("not_running", f"nobody listens at {path}: the node has died") from None
    except OSError as why:
        raise ManageFailed("not_reached", f"{path}: {why.strerror or why}") from why
    try:
        said = json.loads(line)
        failed = said.get("failed")
        if failed is None:
            found: dict[str, Any] = said["ok"]
            return found
        code, text = str(failed["code"]), str(failed["why"])
    except (ValueError, KeyError, TypeError, AttributeError) as why:
        raise ManageFailed("malformed", f"{path} gave no answer that can be read") from why
    raise ManageFailed(code, f"{code}: {text}" if text else code)


def _exchange(path: Path, line: bytes, timeout: float) -> bytes:
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as made,
        words.short_name(path) as name,
    ):
        made.settimeout(timeout)
        made.connect(name)
        made.sendall(line)
        with made.makefile("rb") as file:
            return file.readline(words.LINE_LIMIT)
