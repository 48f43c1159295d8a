"""Files that are nearly right: every value of a table spoilt in turn, and random damage."""

import random
import re
from collections.abc import Iterator

VALUES = (
    *('""', '" "', '"x"', '"\\u0000"', '"\\u202e"', f'"{"a" * 5_000}"', '"tcp://"', '"1.2.3.4:1"'),
    *(
        '"/"',
        '"/dev/null"',
        '"/dev/zero"',
        '"/proc/self/mem"',
        '"../../../etc/shadow"',
        '"[::1]:1"',
    ),
    *("-1", "0", "1", "1.5", "-0.0", "1e308", "inf", "nan", "9" * 400, "0x10", "true", "1_0"),
    *("[]", "[[]]", "[1]", '["x", "x"]', "{}", '{ file = "x" }', "{ file = 1 }", "1979-05-27", ""),
)
MARKS = (b'"', b"[", b"]", b"\n", b"=", b"{", b"\0", b"\xff")
_LINE = re.compile(r"^([A-Za-z0-9_]+)( *= *)(.+)$", re.MULTILINE)
_HEAD = re.compile(r"^\[+.*\]+$", re.MULTILINE)


def spoilt_values(text: str) -> Iterator[str]:
    """Put each of `VALUES` in the place of each value of a TOML text; take out and double lines."""
    for line in _LINE.finditer(text):
        for value in VALUES:
            yield f"{text[: line.start(3)]}{value}{text[line.end(3) :]}"
        yield text[: line.start()] + text[line.end() :]
        yield f"{text[: line.end()]}\n{line[0]}{text[line.end() :]}"
        yield f"{text[: line.start(1)]}{line[1][:-1]}{text[line.end(1) :]}"
    for head in _HEAD.finditer(text):
        for other in (
            "",
            "[x]",
            "[[x]]",
            "[node]",
            "[[node]]",
            f"{head[0]}\n{head[0]}",
            "[",
            "[a.b.c]",
        ):
            yield text[: head.start()] + other + text[head.end() :]


def damaged(octets: bytes, dice: random.Random) -> bytes:
    """Change, take out, double, move or cut off something, once to four times."""
    for _ in range(dice.randint(1, 4)):
        size = len(octets)
        at, to = sorted((dice.randrange(size + 1), dice.randrange(size + 1)))
        end = min(size, at + dice.choice((1, 1, 2, 10, 100)))
        octets = dice.choice((
            octets[:at] + bytes([dice.randrange(256)]) + octets[at + 1 :],
            octets[:at] + octets[end:],
            octets[:at] + octets[at:end] * 2 + octets[end:],
            octets[:at] + octets[to:] + octets[at:to],
            octets[:at] + dice.choice(MARKS) + octets[at:],
            octets[:to] if dice.random() < 0.2 else octets,
        ))  # fmt: skip
    return octets
