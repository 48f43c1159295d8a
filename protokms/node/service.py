"""What systemd is told of a node: what it waits for, that it is ready, takes turns, and stops."""

import contextlib
import os
import socket

_FEEDS = 3
"""Times that the watchdog is fed in the time after which it bites."""

_MICROSECONDS = 1e6
_STATUS = 1_000  # characters

PATIENCE_S = 60.0
"""Seconds that systemd waits for the next word of a node that starts (`TimeoutStartSec`)."""


def notify(state: str) -> None:
    """Tell systemd, if it has asked to be told; never waits for it."""
    if path := os.environ.get("NOTIFY_SOCKET"):
        address = "\0" + path[1:] if path.startswith("@") else path
        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, kind) as made:
            made.sendto(state.encode(), address)


def starting(text: str, seconds: float = PATIENCE_S) -> None:
    """Tell systemd what a start is doing, and for how long to wait for its next word."""
    notify(f"STATUS={_line(text)}\nEXTEND_TIMEOUT_USEC={round(seconds * _MICROSECONDS)}")


def say(text: str) -> None:
    """Tell systemd in one line how the node is; `systemctl status` shows it."""
    notify(f"STATUS={_line(text)}")


def _line(text: str) -> str:
    return " ".join(text.split())[:_STATUS]


def feed() -> None:
    """Tell systemd that the node still takes turns."""
    notify("WATCHDOG=1")


def feed_s() -> float | None:
    """Return the seconds from one feed of the watchdog to the next; None if there is no watchdog.

    systemd says with `WATCHDOG_USEC` after how many microseconds of silence it ends the process,
    and with `WATCHDOG_PID` which process it means.
    """
    try:
        wait = int(os.environ["WATCHDOG_USEC"])
        meant = int(os.environ.get("WATCHDOG_PID", os.getpid()))
    except (KeyError, ValueError):
        return None
    return wait / _MICROSECONDS / _FEEDS if wait > 0 and meant == os.getpid() else None
