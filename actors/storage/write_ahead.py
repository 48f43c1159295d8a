"""Looks at SQLite's write-ahead log before SQLite does, for which damage in it is its end.

SQLite reads a log up to the first frame that is not as written: so it forgets what a power cut has
torn. A bit that flipped in the middle looks the same to it, and it would forget, without a word,
whatever was committed after that. But every commit is on the disk before the next one begins
(`synchronous = FULL`): a frame behind the commit of a torn transaction shows that it was not torn.
"""

import struct
import sys
from array import array
from collections import Counter
from pathlib import Path
from typing import NamedTuple

_HEAD = struct.Struct(">8I")  # magic, version, octets of a page, sequence, salt, sum: 2 each
_FRAME = struct.Struct(">6I")  # page, pages after a commit or 0, salt, sum: 2 each
_MAGIC = 0x377F0682  # the lowest bit says how words are laid out for the sums: 1 is big-endian
_SUMMED = 24  # octets of the head under its sum
_FRAME_SUMMED = 8
_MASK = 0xFFFFFFFF

Sum = tuple[int, int]


class _Log(NamedTuple):
    """What the head of a log says, or would say if it were whole."""

    page: int
    salt: Sum
    big: bool
    sum: Sum | None


def damage(path: Path, page: int) -> str:
    """Tell what is wrong with a log of a database with pages of so many octets; "" if nothing.

    A log that was cut off, or taken away, shows nothing; nor does harm to its last commit.
    """
    try:
        octets = path.read_bytes()
    except FileNotFoundError:
        return ""
    size = _FRAME.size + page
    if len(octets) < _HEAD.size + size:
        return ""
    log = _head(octets, page)
    if log.page != page:
        return f"its pages have {log.page} octets, those of the database {page}"
    frames = range(_HEAD.size, len(octets) - size + 1, size)
    good = _whole(octets, frames, log)
    torn = next((at for at in frames[good:] if _commits(octets, at, log)), None)
    behind = [] if torn is None else [at for at in frames if at > torn and _ours(octets, at, log)]
    return f"frame {good + 1} of {len(frames)} is not as written" if behind else ""


def _head(octets: bytes, page: int) -> _Log:
    magic, _, size, _, *rest = _HEAD.unpack_from(octets)
    big = bool(magic & 1)
    if magic & ~1 == _MAGIC and _add((0, 0), octets[:_SUMMED], big=big) == tuple(rest[2:]):
        return _Log(size, (rest[0], rest[1]), big, (rest[2], rest[3]))
    step = _FRAME.size + page
    salts = (octets[at + 8 : at + 16] for at in range(_HEAD.size, len(octets) - step + 1, step))
    ((salt, _),) = Counter(salts).most_common(1)
    return _Log(page, (int.from_bytes(salt[:4], "big"), int.from_bytes(salt[4:], "big")), big, None)


def _whole(octets: bytes, frames: range, log: _Log) -> int:
    """Count the frames that are as written, from the first on."""
    if log.sum is None:
        return 0
    total = log.sum
    for n, at in enumerate(frames):
        *_, first, second = _FRAME.unpack_from(octets, at)
        total = _add(total, octets[at : at + _FRAME_SUMMED], big=log.big)
        start = at + _FRAME.size
        total = _add(total, octets[start : start + log.page], big=log.big)
        if not _ours(octets, at, log) or total != (first, second):
            return n
    return len(frames)


def _ours(octets: bytes, at: int, log: _Log) -> bool:
    """Whether a frame belongs to this log, and not to one that was there before."""
    _, _, first, second, *_ = _FRAME.unpack_from(octets, at)
    return (first, second) == log.salt


def _commits(octets: bytes, at: int, log: _Log) -> bool:
    return _ours(octets, at, log) and _FRAME.unpack_from(octets, at)[1] != 0


def _add(total: Sum, octets: bytes, *, big: bool) -> Sum:
    """Go on with the sum that SQLite writes into a log (section 4.4 of its file format)."""
    words = array("I", octets)
    if big != (sys.byteorder == "big"):
        words.byteswap()
    first, second = total
    each = iter(words)
    for one, other in zip(each, each, strict=True):
        first = first + one + second & _MASK
        second = second + other + first & _MASK
    return first, second
