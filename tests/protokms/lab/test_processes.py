"""Pid files: a process is found again, and one that merely has its number is left alone."""

import fcntl
import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from protokms.lab import processes as lab_processes
from protokms.lab.processes import Running

pytestmark = pytest.mark.slow

WAIT = ["/bin/sh", "-c", "exec sleep 60"]
HEADLESS = """
import ctypes, threading, time
threading.Thread(target=time.sleep, args=(60,)).start()
ctypes.CDLL(None).pthread_exit(None)
"""
STUBBORN = ["/bin/sh", "-c", "trap '' TERM; echo deaf; while :; do sleep 1; done"]


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Running]:
    made = lab_processes.start(WAIT, tmp_path / "log", tmp_path / "pid")
    yield made
    lab_processes.kill_all([made])


def test_a_process_is_found_again_by_its_pid_file(process: Running, tmp_path: Path) -> None:
    found = lab_processes.running(tmp_path / "pid")

    assert found == process
    assert int((tmp_path / "pid").read_text().splitlines()[0]) == process.pid
    assert os.getsid(process.pid) == process.pid  # it survives our terminal


@pytest.mark.parametrize(
    "change", [{"start_ticks": 1}, {"boot": "another"}, {"start_ticks": -1, "boot": ""}]
)
def test_another_process_with_the_same_number_is_not_signalled(
    process: Running, change: dict[str, int | str]
) -> None:
    recycled = replace(process, **change)  # type: ignore[arg-type]

    assert not recycled.alive
    assert not recycled.signal(signal.SIGKILL)
    assert lab_processes.stop_all([recycled], 0.1) == []
    assert process.alive


def test_the_same_is_not_started_twice(process: Running, tmp_path: Path) -> None:
    with pytest.raises(FileExistsError):
        lab_processes.start(WAIT, tmp_path / "log", tmp_path / "pid")

    assert process.alive


def test_a_process_that_ended_is_told_with_its_status(tmp_path: Path) -> None:
    command = ["/bin/sh", "-c", "echo oh; exit 3"]
    made = lab_processes.start(command, tmp_path / "log", tmp_path / "pid")
    os.waitid(os.P_PID, made.pid, os.WEXITED | os.WNOWAIT)

    assert not made.alive
    assert lab_processes.running(tmp_path / "pid") is None
    assert lab_processes.exit_status(made) == 3
    assert lab_processes.tail(tmp_path / "log") == ["oh"]


def test_a_process_inherits_no_descriptor_of_the_caller(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    held = os.open(lock, os.O_WRONLY | os.O_CREAT)
    os.set_inheritable(held, True)  # as a shell, or flock(1), leaves them
    fcntl.flock(held, fcntl.LOCK_EX)

    made = lab_processes.start(WAIT, tmp_path / "log", tmp_path / "pid")
    os.close(held)
    try:
        with lock.open() as again:
            fcntl.flock(again, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert made.alive
    finally:
        lab_processes.kill_all([made])


def test_an_obedient_process_ends_when_asked(process: Running) -> None:
    assert lab_processes.stop_all([process], 5.0) == []
    assert not process.alive


def test_a_stubborn_process_is_killed_after_a_while(tmp_path: Path) -> None:
    log = tmp_path / "log"
    made = lab_processes.start(STUBBORN, log, tmp_path / "pid")
    while not log.stat().st_size:  # until it is deaf
        os.sched_yield()

    assert lab_processes.stop_all([made], 0.2) == [made]
    assert not made.alive


def test_a_process_has_not_ended_while_one_of_its_threads_lives(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HEADLESS]
    made = lab_processes.start(command, tmp_path / "log", tmp_path / "pid")
    while made.alive:  # until its first thread is dead, as it is for a moment after SIGKILL
        os.sched_yield()

    assert lab_processes.wait_all([made], 0.1) == [made]
    os.kill(made.pid, signal.SIGKILL)
    assert lab_processes.wait_all([made], 10.0) == []


@pytest.mark.parametrize("text", ["", "12", "a b c", "1\n2", "\0\0\0", "9" * 6000 + " 1 x"])
def test_a_pid_file_that_is_none_is_nobody(tmp_path: Path, text: str) -> None:
    (tmp_path / "pid").write_text(text)

    assert lab_processes.running(tmp_path / "pid") is None
