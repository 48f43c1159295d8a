"""Envelopes to octets and back; what comes from outside is checked here, and only here.

A frame is the msgpack list `[sender name, to, token, answer, trace, word name, [field, ...]]`.
Fields travel in the order of declaration; their types are checked exactly, so that no float
passes for an integer and no string for a tuple.
"""

import dataclasses
import math
import types
from collections.abc import Callable
from functools import cache
from operator import attrgetter
from typing import (
    Any,
    NamedTuple,
    Protocol,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

import msgpack

from transport.envelope import Address, Envelope, is_name, is_node
from transport.message import Message, Secret, door, word

MAX_FRAME = 1 << 20
"""Octets of the largest frame that is sent or taken."""

_SECRET = 1  # the msgpack extension type of sealed key material
_TOKEN_LIMIT = 1 << 63
_PLAIN = {bool, bytes, int, str}
_DONE = {*_PLAIN, Secret}
_FRAME = [str, str, int, bool, str, str, list]
_FRAME_ITEMS = 7
_TRACE_LIMIT = 64

_NOTHING = Message()

T = TypeVar("T")
Check = Callable[[Any], Any]


class Question(NamedTuple):
    """Who asks whom, of a frame that is refused: the asker need not wait for a time-out."""

    sender: Address
    to: Address
    token: int
    trace: str


class Malformed(ValueError):
    """What a peer sent is no envelope of ours; `reason` is one of a few words, for counting.

    `asked` is there if it was a question, and that much of it could be read.
    """

    def __init__(self, why: str, reason: str = "malformed", asked: Question | None = None) -> None:
        super().__init__(why)
        self.reason, self.asked = reason, asked


class Sealer(Protocol):
    """Seals key octets that go from one process of a node to another (AES-256-GCM)."""

    def seal(self, octets: bytes) -> bytes:
        """Encrypt and authenticate."""
        ...

    def open(self, octets: bytes) -> bytes:
        """Undo `seal`, or raise `ValueError`."""
        ...


def encode(envelope: Envelope, sealer: Sealer | None = None) -> bytes:
    """Pack an envelope; `TypeError` if its message must not leave.

    Without a sealer the reader is a peer: only wire words go out, never a `Secret`.
    With one it is another process of this node: local words go too, secrets sealed.
    """
    body = envelope.body
    if not (body.wire or sealer):
        raise TypeError(f"{type(body).__name__} does not leave its node")

    def pack(value: Any) -> Any:
        if isinstance(value, Secret) and sealer:
            return msgpack.ExtType(_SECRET, sealer.seal(value.reveal()))
        kind = type(value)
        if dataclasses.is_dataclass(kind):
            return _values(kind)(value)
        raise TypeError(f"{type(value).__name__} does not travel")

    values = _values(type(body))(body)
    to = f"{envelope.to.name}@{envelope.to.node}"
    row = [envelope.sender.name, to, envelope.token, envelope.answer, envelope.trace]
    try:
        packed: bytes = msgpack.packb([*row, body.word, values], default=pack)
    except (OverflowError, ValueError) as why:  # more than 64 bits, half a surrogate pair
        raise TypeError(f"{body.word} does not travel: {type(why).__name__}") from None
    if len(packed) > MAX_FRAME:
        raise TypeError(f"{body.word}: {len(packed)} octets are more than a frame holds")
    return packed


def decode(octets: bytes, peer: str, sealer: Sealer | None = None) -> Envelope:
    """Unpack what the authenticated node `peer` sent, or raise `Malformed`.

    The peer says which of its actors speaks, never which node: that is what CURVE proved.
    """

    def unpack(code: int, data: bytes) -> Secret:
        if code != _SECRET or sealer is None:
            raise ValueError(f"extension type {code} is not taken here")
        try:
            return Secret(sealer.open(data))
        except ValueError as why:
            raise Malformed(str(why), "seal") from why

    if len(octets) > MAX_FRAME:
        raise Malformed(f"{len(octets)} octets are more than a frame holds", "oversized")
    asked: Question | None = None
    try:
        row = msgpack.unpackb(octets, ext_hook=unpack)
        if type(row) is not list or len(row) != _FRAME_ITEMS:
            raise ValueError("a frame is a list of seven")
        name, to, token, answer, trace, kind, values = row
        if list(map(type, row)) != _FRAME:
            raise TypeError("a frame is name, to, token, answer, trace, word and fields")
        if not (is_name(name) and len(trace) <= _TRACE_LIMIT):
            raise ValueError("no name of an actor, or too long a trace")
        if not 0 <= token < _TOKEN_LIMIT:
            raise ValueError("a token is a number of 63 bits")
        sender, reader = Address(name, peer), _parse(to)
        asked = question_of(Envelope(sender, reader, _NOTHING, token, answer, trace))
        body = _reader(_kind(kind, inside=sealer is not None))(values)
        return Envelope(sender, reader, body, token, answer, trace)
    except Malformed as why:
        why.asked = asked
        raise
    except (Exception, SystemExit) as why:  # a word of others may check itself as it likes
        raise Malformed(f"{type(why).__name__}: {str(why)[:200]}", asked=asked) from why


def question_of(envelope: Envelope) -> Question | None:
    """Return what is to be answered if it is refused; None if it is no question."""
    if envelope.answer or not envelope.token:
        return None
    return Question(envelope.sender, envelope.to, envelope.token, envelope.trace)


def _kind(name: str, *, inside: bool) -> type[Message]:
    try:
        return (word if inside else door)(name)
    except KeyError:
        pass
    try:
        word(name)
    except KeyError:
        raise Malformed(f"no such word: {name[:80]!r}", "unknown_word") from None
    raise Malformed(f"{name[:80]!r} stays on its node", "local_word")


def _parse(to: str) -> Address:
    name, _, node = to.partition("@")
    if not (is_name(name) and is_node(node)):
        raise ValueError(f"not an address: {to[:80]!r}")
    return Address(name, node)


def _cached(make: Callable[[Any], T]) -> Callable[[Any], T]:
    # functools.cache as mypy sees it doubts that a class with slots can be hashed.
    return cache(make)


@_cached
def _names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind))


@_cached
def _values(kind: Any) -> Callable[[Any], Any]:
    """Make the function that takes the values out of a message or part, in order."""
    names = _names(kind)
    return attrgetter(*names) if len(names) > 1 else lambda it: [getattr(it, n) for n in names]


@_cached
def _reader(kind: Any) -> Check:
    """Make the function that builds a message or part from the list of its fields."""
    hints = get_type_hints(kind)
    names = _names(kind)
    keyword = issubclass(kind, Message)
    checks = [check_of(hints[name]) for name in names]
    wanted = [_arrives_as(hints[name]) for name in names]
    known = [each for each in wanted if each]
    whole = len(known) == len(wanted)
    # If each field arrives as one type only, all are compared at one go, and plain ones are done.
    left = [it for it in enumerate(checks) if not (whole and wanted[it[0]] in _DONE)]

    def read(values: Any) -> Any:
        if type(values) is not list or len(values) != len(wanted):
            raise TypeError(f"{kind.__name__} has {len(wanted)} fields")
        if whole and list(map(type, values)) != wanted:
            raise TypeError(f"{kind.__name__} is {', '.join(each.__name__ for each in known)}")
        for at, check in left:
            values[at] = check(values[at])
        return kind(**dict(zip(names, values, strict=True))) if keyword else kind(*values)

    return read


def _arrives_as(hint: Any) -> type | None:
    """Return the type of a good value before it is read; None if there are several."""
    if hint in _PLAIN or hint in (float, Secret):
        return cast(type, hint)
    return None if get_origin(hint) in (Union, types.UnionType) else list


@_cached
def check_of(hint: Any) -> Check:
    """Make the check for one type hint; `TypeError` if that type cannot travel."""
    origin, inner = get_origin(hint), get_args(hint)
    if origin is tuple:
        if inner[-1] is not ...:
            return _row(inner)
        return _plain_sequence(inner[0]) if inner[0] in _PLAIN else _sequence(check_of(inner[0]))
    if origin in (Union, types.UnionType):
        return _optional(hint, inner)
    if dataclasses.is_dataclass(hint):
        return _reader(hint)
    if hint is float:
        return _number
    if hint in _PLAIN or hint is Secret:
        return _exactly(hint)
    raise TypeError(f"{hint} does not travel")


@_cached
def _exactly(kind: Any) -> Check:
    def check(value: Any) -> Any:
        if type(value) is not kind:
            raise TypeError(f"expected {kind.__name__}, got {type(value).__name__}")
        return value

    return check


def _number(value: Any) -> float:
    if type(value) is not float or not math.isfinite(value):
        raise TypeError("expected a finite float")
    return value


def _sequence(check: Check) -> Check:
    def read(values: Any) -> tuple[Any, ...]:
        if type(values) is not list:
            raise TypeError("expected a list")
        return tuple([check(value) for value in values])

    return read


def _plain_sequence(kind: type) -> Check:
    wanted = {kind}

    def read(values: Any) -> tuple[Any, ...]:
        if type(values) is not list or not set(map(type, values)) <= wanted:
            raise TypeError(f"expected a list of {kind.__name__}")
        return tuple(values)

    return read


def _row(inner: tuple[Any, ...]) -> Check:
    checks = [check_of(hint) for hint in inner]

    def read(values: Any) -> tuple[Any, ...]:
        if type(values) is not list or len(values) != len(checks):
            raise TypeError(f"expected a list of {len(checks)}")
        return tuple([check(value) for check, value in zip(checks, values, strict=True)])

    return read


def _optional(hint: Any, inner: tuple[Any, ...]) -> Check:
    kinds = [kind for kind in inner if kind is not types.NoneType]
    if len(kinds) != 1 or len(inner) == len(kinds):
        raise TypeError(f"{hint} does not travel: only X | None does")
    check = check_of(kinds[0])
    return lambda value: None if value is None else check(value)
