"""A second host for a test: a network namespace, joined to ours by a pair of interfaces."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import pytest

IP_S = 10.0


class Host:
    """A network namespace while it is entered; `here` and `there` are the ends of the way to it.

    The addresses are of 198.18.0.0/15, which is for tests of networks (RFC 2544).
    """

    def __init__(self) -> None:
        number = os.getpid() % (1 << 14)
        self.name, self._end = f"protokms-{number}", f"pk{number}"
        net = f"198.{18 + number // (1 << 13)}.{number // 64 % 128 + 128 * (number & 1)}"
        first = number % 64 // 2 * 4
        self.here, self.there = f"{net}.{first + 1}", f"{net}.{first + 2}"
        self._tool = shutil.which("ip") or ""

    def __enter__(self) -> Self:
        if os.geteuid() != 0:
            pytest.skip("only root makes network namespaces")
        if not self._tool:
            pytest.skip("there is no `ip` (iproute2) here")
        made = self._ip("netns", "add", self.name)
        if made.returncode:
            pytest.skip(f"this machine allows no network namespace: {made.stderr.strip()}")
        try:
            self._join()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._remove()

    def command(self, command: Sequence[str]) -> list[str]:
        """Return what runs a command on that host; it keeps its process id."""
        return [self._tool, "netns", "exec", self.name, *command]

    def part(self) -> None:
        """Cut the way: what is sent gets lost, both ways."""
        self._must("-n", self.name, "link", "set", "there", "down")

    def heal(self) -> None:
        """Mend it."""
        self._must("-n", self.name, "link", "set", "there", "up")

    def _join(self) -> None:
        peer = ("peer", "name", "there", "netns", self.name)
        self._must("link", "add", self._end, "type", "veth", *peer)
        self._must("addr", "add", f"{self.here}/30", "dev", self._end)
        self._must("-n", self.name, "addr", "add", f"{self.there}/30", "dev", "there")
        self._must("link", "set", self._end, "up")
        for name in ("lo", "there"):
            self._must("-n", self.name, "link", "set", name, "up")

    def _remove(self) -> None:
        self._ip("link", "del", self._end)  # its other end goes along
        self._ip("netns", "del", self.name)

    def _must(self, *args: str) -> None:
        done = self._ip(*args)
        assert not done.returncode, f"ip {' '.join(args)}: {done.stderr}"

    def _ip(self, *args: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [self._tool, *args], capture_output=True, text=True, check=False, timeout=IP_S
        )
