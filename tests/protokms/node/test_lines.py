"""Lines of a log: all are written, whole and in order; those of requests once a turn of a loop."""

import asyncio
import atexit
import io
import threading
from collections.abc import Callable

import pytest

from protokms.node.lines import PIPE_WHOLE, TOGETHER, Lines


class Out(io.StringIO):
    """Notes each write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []
        self.flushed = 0

    def write(self, text: str) -> int:
        self.writes.append(text)
        return super().write(text)

    def flush(self) -> None:
        self.flushed = len(self.writes)


def in_a_turn(act: Callable[[], None]) -> None:
    """Do this on a loop, and let the loop take one turn more."""

    async def story() -> None:
        act()
        await asyncio.sleep(0)

    asyncio.run(story())


def in_the_last_turn(act: Callable[[], None]) -> None:
    """Do this on a loop that takes no turn more."""
    loop = asyncio.new_event_loop()
    loop.call_soon(act)
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()


def test_a_line_is_written_at_once() -> None:
    out = Out()
    lines = Lines(out)

    lines.msg("one")
    lines.error("two")

    assert out.writes == ["one\n", "two\n"]
    assert out.flushed == 2


def test_lines_of_one_turn_are_written_together_at_its_end() -> None:
    out = Out()
    lines = Lines(out)
    seen = []

    def act() -> None:
        for text in (b"one", b"two", b"three"):
            lines.soon(text)
        seen.extend(out.writes)

    in_a_turn(act)
    in_a_turn(act)

    assert seen == ["one\ntwo\nthree\n"]  # nothing in the first turn, one write before the second
    assert out.writes == ["one\ntwo\nthree\n"] * 2
    assert out.flushed == 2


def test_a_line_that_waits_comes_before_those_that_do_not() -> None:
    out = Out()
    lines = Lines(out)

    def act() -> None:
        lines.soon(b"one")
        lines.msg("two")
        lines.soon(b"three")
        lines.soon(b"four")

    in_a_turn(act)

    assert out.writes == ["one\n", "two\n", "three\nfour\n"]


def test_without_a_loop_nothing_waits() -> None:
    out = Out()
    lines = Lines(out)

    lines.soon(b"one")
    lines.soon("zw\u00f6lf".encode())

    assert out.writes == ["one\n", "zw\u00f6lf\n"]


def test_only_so_many_lines_wait() -> None:
    out = Out()
    lines = Lines(out)
    seen = []

    def act() -> None:
        for n in range(TOGETHER + 1):
            lines.soon(b"%d" % n)
        seen.extend(out.writes)

    in_a_turn(act)

    assert seen == ["".join(f"{n}\n" for n in range(TOGETHER))]
    assert out.writes[1:] == [f"{TOGETHER}\n"]


def test_what_is_written_together_is_no_more_than_a_pipe_takes_whole() -> None:
    out = Out()
    lines = Lines(out)
    texts = [b"%d" % n * length for n, length in enumerate([1500, 1500, 1500, 9000, 1, 4095, 1])]

    def act() -> None:
        for text in texts:
            lines.soon(text)

    in_a_turn(act)

    assert "".join(out.writes).encode() == b"\n".join((*texts, b""))
    assert all(len(text) <= PIPE_WHOLE or text.count("\n") == 1 for text in out.writes)
    assert len(out.writes) < len(texts)


def test_a_loop_that_ended_before_it_wrote_holds_no_line_back() -> None:
    out = Out()
    lines = Lines(out)
    in_the_last_turn(lambda: lines.soon(b"one"))
    before = list(out.writes)

    lines.msg("two")
    in_a_turn(lambda: lines.soon(b"three"))

    assert before == []
    assert out.writes == ["one\n", "two\n", "three\n"]


def test_what_waits_is_written_when_the_process_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    out, at_the_end = Out(), list[Callable[[], None]]()
    monkeypatch.setattr(atexit, "register", at_the_end.append)
    lines = Lines(out)
    in_the_last_turn(lambda: lines.soon(b"one"))

    for act in at_the_end:
        act()

    assert out.writes == ["one\n"]


def test_a_write_that_failed_is_not_repeated() -> None:
    class Full(Out):
        def write(self, text: str) -> int:
            super().write(text)
            if len(self.writes) == 1:
                raise OSError("no room")
            return len(text)

    out = Full()
    lines = Lines(out)

    with pytest.raises(OSError, match="no room"):
        lines.soon(b"one")
    lines.soon(b"two")

    assert out.writes == ["one\n", "two\n"]


def test_threads_with_and_without_loops_lose_no_line() -> None:
    out = Out()
    lines = Lines(out)

    async def turns(name: str) -> None:
        for n in range(400):
            lines.soon(f"{name}-{n}".encode())
            if n % 7 == 0:
                await asyncio.sleep(0)
        await asyncio.sleep(0)

    def no_turns(name: str) -> None:
        for n in range(400):
            (lines.msg if n % 2 else lambda text: lines.soon(text.encode()))(f"{name}-{n}")

    threads = [threading.Thread(target=lambda n=n: asyncio.run(turns(n))) for n in ("a", "b")]
    threads += [threading.Thread(target=no_turns, args=(name,)) for name in ("c", "d")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines.flush()

    written = out.getvalue().splitlines()
    for name in "abcd":
        mine = [text for text in written if text.startswith(name)]
        assert mine == [f"{name}-{n}" for n in range(400)]
