"""What nodes log is followed while it is written."""

import itertools
from pathlib import Path

from protokms.lab import processes


def test_logs_are_followed_line_by_line(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("a\nb\nc\n")
    lines = processes.follow({"1": one, "2": other}, 2)

    assert [next(lines) for _ in range(3)] == [("1", "b"), ("1", "c"), ("", "")]
    other.write_text("x\nhalf")
    assert [next(lines) for _ in range(2)] == [("2", "x"), ("", "")]
    with other.open("a") as file:
        file.write(" done\n")
    assert [next(lines) for _ in range(2)] == [("2", "half done"), ("", "")]


def test_a_log_that_is_made_anew_is_read_from_its_beginning(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("a long line of the last life\n")
    lines = processes.follow({"1": log}, 0)
    assert next(lines) == ("", "")

    log.write_text("new\n")

    assert [next(lines) for _ in range(2)] == [("1", "new"), ("", "")]


def test_a_line_without_end_is_told_in_pieces(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("")
    lines = processes.follow({"1": log}, 0)
    assert next(lines) == ("", "")

    log.write_text("x" * 40_000 + "\n")
    told = list(itertools.takewhile(any, lines)) + list(itertools.takewhile(any, lines))
    told += list(itertools.takewhile(any, lines))

    assert "".join(line for _, line in told) == "x" * 40_000
