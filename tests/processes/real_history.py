"""What SAEs asked of real nodes and what came back, and whether a promise was broken by it.

Knows nothing of the code under test: operations with their times, octets, and when which node was
down. Overlaps are found by windows of 8 octets: those of every key at multiples of 8 are kept,
and every key is looked through at every offset; so 15 octets in common are always found, and 8 if
they lie at a multiple of 8 in one of the two.
"""

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

WINDOW = 8
_PLACE = 20  # bits of an offset in a key
NOT_FOUND = "one or more keys specified are not found on KME"
SLACK_S = 3.0
"""Seconds that a disk may take to make durable that a response is out."""


class BrokenPromise(AssertionError):
    """A promise of the design was broken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Op:
    """One request: asked, and answered, or not (`status` 0).

    `before` is when the connection was last used: what broke it happened after that.
    """

    what: Literal["enc", "dec"]
    master: str
    slave: str
    node: str
    begun: float
    ended: float
    before: float
    status: int
    why: str = ""
    retry_after: str = ""
    timed_out: bool = False
    ids: tuple[str, ...] = ()
    values: tuple[bytes, ...] = field(default=(), repr=False)

    @property
    def ok(self) -> bool:
        """Whether keys came."""
        return self.status == 200


@dataclass(slots=True)
class Down:
    """A node was not there: from just before the signal until it was ready again.

    At `gone` it had ended.
    """

    node: str
    since: float
    gone: float = float("inf")
    until: float = float("inf")


@dataclass(slots=True)
class Findings:
    """What a history amounts to."""

    answered: int = 0
    delivered: int = 0
    refetched: int = 0
    unknown: int = 0
    refused: int = 0
    lost: int = 0


def check(ops: Sequence[Op], downs: Sequence[Down], redelivery_s: float, mode: str) -> Findings:
    """Judge a complete history (every key answered was asked for at the end)."""
    values = _values(ops)
    _nothing_shared(values)
    for op in ops:
        _check_error(op, downs)
    found = Findings(
        answered=sum(len(op.ids) for op in ops if op.what == "enc" and op.ok),
        unknown=sum(not op.status for op in ops),
        refused=sum(op.status == 503 for op in ops),
    )
    answered = {name: op for op in ops if op.what == "enc" and op.ok for name in op.ids}
    tries: dict[str, list[Op]] = defaultdict(list)
    for op in sorted((op for op in ops if op.what == "dec"), key=lambda op: op.begun):
        if op.status == 400:
            _check_refusal(op, answered, tries, redelivery_s, mode)
        for name in op.ids:
            tries[name].append(op)
    for name, op in answered.items():
        _check_key(name, op, tries[name], downs, found)
    return found


def _values(ops: Sequence[Op]) -> dict[str, bytes]:
    """P1: a key_ID has one value, and is given to a master once."""
    values: dict[str, bytes] = {}
    for op in ops:
        if op.ok:
            for name, value in zip(op.ids, op.values, strict=True):
                if op.what == "enc" and name in values:
                    raise BrokenPromise(f"P1: {name} was given to masters twice")
                if op.what == "dec" and name not in values:
                    continue  # its master never got it: the answer was lost
                if values.setdefault(name, value) != value:
                    raise BrokenPromise(f"P1: two values of {name}")
    return values


def _nothing_shared(values: dict[str, bytes]) -> None:
    """P2: no two keys have bits in common, nor a key with itself."""
    names = list(values)
    owners: dict[bytes, int] = {}  # a number for key and place: there may be millions
    for row, name in enumerate(names):
        value = values[name]
        for at in range(0, len(value) - WINDOW + 1, WINDOW):
            here = row << _PLACE | at
            before = owners.setdefault(value[at : at + WINDOW], here)
            if before != here:
                raise BrokenPromise(f"P2: {name} has octets of {names[before >> _PLACE]}")
    for row, name in enumerate(names):
        value = values[name]
        for at in range(len(value) - WINDOW + 1):
            owner = owners.get(value[at : at + WINDOW])
            if owner is not None and owner != row << _PLACE | at:
                raise BrokenPromise(f"P2: {name} has octets of {names[owner >> _PLACE]}")


def _check_error(op: Op, downs: Sequence[Down]) -> None:
    """P8: an error is one that the interface allows, and has a cause."""
    if op.ok:
        return
    if op.status == 0:
        if not any(
            down.node == op.node and down.since <= op.ended and down.until >= op.before
            for down in downs
        ):
            raise BrokenPromise(f"P8: no answer, though {op.node} was there: {op}")
    elif op.status == 503:
        if not op.retry_after.isdigit():
            raise BrokenPromise(f"P8: 503 without Retry-After: {op}")
    elif not (op.status == 400 and op.what == "dec" and op.why == NOT_FOUND):
        raise BrokenPromise(f"P8: an error that nothing explains: {op}")


def _check_refusal(
    op: Op, answered: dict[str, Op], tries: dict[str, list[Op]], redelivery_s: float, mode: str
) -> None:
    """P3: "not found" is said of a key that was delivered, or may have been."""
    for name in op.ids:
        if name not in answered:
            return  # nobody was promised it
        for earlier in tries[name]:
            if earlier.ok or earlier.timed_out or earlier.ended > op.begun:
                return
            late = op.begun > earlier.ended + redelivery_s - SLACK_S
            if earlier.status in (0, 503) and late:
                return
    if mode == "local":
        return  # the owner may be away; it is asked again at the end
    raise BrokenPromise(f"P3: an answered key was refused: {op}, after {_tale(op, tries)}")


def _check_key(
    name: str, op: Op, tries: Sequence[Op], downs: Sequence[Down], found: Findings
) -> None:
    """P2, P3: a key is delivered once, and some time; again only where a crash came between."""
    got = [each for each in tries if each.ok]
    if not got:
        last = tries[-1] if tries else None
        maybe = any(each.status == 0 for each in tries)
        if last is None or last.status != 400 or not maybe:
            raise BrokenPromise(f"P3: an answered key was never given: {name} of {op}, {tries}")
        found.lost += 1
        return
    found.delivered += 1
    for first, second in itertools.pairwise(got):
        if not any(
            down.node == first.node
            and first.begun <= down.gone
            and down.since <= first.ended + SLACK_S
            for down in downs
        ):
            raise BrokenPromise(f"R11: {name} was given out again: {first}, then {second}")
        found.refetched += 1


def _tale(op: Op, tries: dict[str, list[Op]]) -> list[tuple[str, str, int]]:
    def each() -> Iterator[tuple[str, str, int]]:
        for name in op.ids:
            for earlier in tries[name]:
                yield name, f"{earlier.begun:.3f}-{earlier.ended:.3f}", earlier.status

    return list(each())
