"""Processes that outlive the command that started them, found again by a pid file.

A pid file holds the process id, the start time of that process in ticks since boot, and the id
of that boot, one a line. A process that merely has the same id is never signalled.
"""

import os
import select
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_DESCRIPTORS = "/proc/self/fd"
_STDERR = 2
_LINES = 3
_TAIL_OCTETS = 16_384
_STATE, _START_TICKS = 0, 19  # of /proc/PID/stat, counted behind the name
_DEAD = frozenset("ZXx")


@dataclass(frozen=True, slots=True)
class Running:
    """One process as its pid file knows it."""

    pid: int
    start_ticks: int
    boot: str

    @property
    def alive(self) -> bool:
        """Whether this very process still runs."""
        return self.boot == _boot_id() and _start_ticks(self.pid) == self.start_ticks

    def wait(self, seconds: float) -> bool:
        """Wait until it has ended; False if it has not by then."""
        return wait_all([self], seconds) == []

    def signal(self, number: int) -> bool:
        """Signal it; False if it has ended already."""
        handle = self._open()
        if handle is None:
            return False
        try:
            signal.pidfd_send_signal(handle, number)
        except ProcessLookupError:
            return False
        finally:
            os.close(handle)
        return True

    def _open(self, *, dying: bool = False) -> int | None:
        """Open a handle; with `dying` also while the first thread is dead and others are not.

        As long as one of them lives, its sockets and locks are held.
        """
        try:
            handle = os.pidfd_open(self.pid)
        except OSError:
            return None
        # Asked while the handle is open: from now on it cannot be another one.
        if self.boot == _boot_id() and _start_ticks(self.pid, dead=dying) == self.start_ticks:
            return handle
        os.close(handle)
        return None


def read_pid(file: Path) -> Running | None:
    """Read a pid file; None when there is none, or none that can be read."""
    try:
        pid, ticks, boot = file.read_text().split()[:_LINES]
        return Running(int(pid), int(ticks), boot)
    except (OSError, ValueError):
        return None


def running(file: Path) -> Running | None:
    """Return the process of a pid file if it still runs."""
    found = read_pid(file)
    return found if found and found.alive else None


def protokms(*args: str) -> list[str]:
    """Return the command line that runs this very `protokms`."""
    return [sys.executable, "-P", "-m", "protokms", *args]


def start(command: Sequence[str], log: Path, file: Path) -> Running:
    """Start a command detached, append its output to a log, write the pid file.

    It gets no descriptor of ours: a lock that the caller holds is not held by a node as well.
    `FileExistsError` when the process of that pid file still runs.
    """
    if running(file):
        raise FileExistsError(f"{file}: that process runs")
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        actions: list[tuple[int, ...]] = [(os.POSIX_SPAWN_DUP2, null, 0)]
        actions += [(os.POSIX_SPAWN_DUP2, out, number) for number in (1, 2)]
        actions += [(os.POSIX_SPAWN_CLOSE, number) for number in _inherited()]
        pid = os.posix_spawn(
            command[0], list(command), _environment(), file_actions=actions, setsid=True
        )
    finally:
        os.close(null)
        os.close(out)
    made = Running(pid, _start_ticks(pid) or 0, _boot_id())
    _replace(file, f"{made.pid}\n{made.start_ticks}\n{made.boot}\n")
    return made


def exit_status(process: Running) -> int | None:
    """Tell with what a child of ours ended (below 0: the signal); None if it is none or runs."""
    try:
        pid, status = os.waitpid(process.pid, os.WNOHANG)
    except ChildProcessError:
        return None
    return os.waitstatus_to_exitcode(status) if pid else None


def wait_all(processes: Sequence[Running], seconds: float) -> list[Running]:
    """Wait until all have ended; return those that have not by then."""
    deadline = time.monotonic() + seconds
    left = []
    for process in processes:
        handle = process._open(dying=True)  # of the same class of things
        if handle is None:
            continue
        try:
            watch = select.poll()
            watch.register(handle, select.POLLIN)
            if not watch.poll(max(0.0, deadline - time.monotonic()) * 1000):
                left.append(process)
        finally:
            os.close(handle)
    for process in processes:
        exit_status(process)  # a child of ours would stay a zombie
    return left


def stop_all(processes: Sequence[Running], seconds: float) -> list[Running]:
    """SIGTERM, and SIGKILL for those that still run after a while; return who needed that."""
    for process in processes:
        process.signal(signal.SIGTERM)
    stubborn = wait_all(processes, seconds)
    kill_all(stubborn)
    return stubborn


def kill_all(processes: Sequence[Running]) -> None:
    """SIGKILL, and wait until they are gone."""
    for process in processes:
        process.signal(signal.SIGKILL)
    wait_all(processes, 5.0)


def tail(log: Path, lines: int = 10) -> list[str]:
    """Return the last lines of a log."""
    with suppress(OSError), log.open("rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(0, file.tell() - _TAIL_OCTETS))
        found = file.read().decode(errors="replace").splitlines()
        return found[max(0, len(found) - lines) :]
    return []


def follow(logs: Mapping[str, Path], lines: int) -> Iterator[tuple[str, str]]:
    """Give the last lines of logs, each with its name, and then, for ever, what is added.

    An empty name and line: nothing is new. A log that was made anew is read from its beginning.
    """
    ends = dict.fromkeys(logs, 0)
    for name, log in logs.items():
        with suppress(OSError):
            ends[name] = log.stat().st_size
        yield from ((name, line) for line in tail(log, lines))
    while True:
        for name, log in logs.items():
            with suppress(OSError), log.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(ends[name] if ends[name] <= size else 0)
                new = file.read(_TAIL_OCTETS)
                whole = new[: new.rfind(b"\n") + 1] or new * (len(new) == _TAIL_OCTETS)
                ends[name] = file.tell() - len(new) + len(whole)
                yield from ((name, it) for it in whole.decode(errors="replace").splitlines())
        yield "", ""


def _inherited() -> list[int]:
    """List the descriptors behind the first three that a child would get."""
    found = []
    for number in map(int, os.listdir(_DESCRIPTORS)):
        with suppress(OSError):  # that of the listing itself is closed by now
            if number > _STDERR and os.get_inheritable(number):
                found.append(number)
    return found


def _environment() -> dict[str, str]:
    """Let the child find the same packages, wherever it is started."""
    here = str(Path(__file__).resolve().parents[2])
    path = os.environ.get("PYTHONPATH")
    return os.environ | {"PYTHONPATH": f"{here}{os.pathsep}{path}" if path else here}


def _start_ticks(pid: int, *, dead: bool = False) -> int | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[_STATE] in _DEAD and not dead else int(fields[_START_TICKS])
    except (OSError, ValueError, IndexError):
        return None


def _boot_id() -> str:
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return "unknown"


def _replace(file: Path, text: str) -> None:
    new = file.with_name(file.name + ".new")
    new.write_text(text)
    new.replace(file)
