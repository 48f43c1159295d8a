"""Messages: frozen values. A message with a wire name may cross to another node."""

import dataclasses
import hmac
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar, dataclass_transform, get_args, get_type_hints

M = TypeVar("M", bound="Message")
P = TypeVar("P")

_doors: dict[str, type["Message"]] = {}
_inner: dict[str, type["Message"]] = {}


class Message:
    """The base of every message; declare one with `@local` or `@wire(name)`."""

    __slots__ = ()
    wire: ClassVar[str] = ""
    word: ClassVar[str] = ""
    bulk: ClassVar[bool] = False
    """Whether others to the same actor are read first: it takes long, and no request waits."""


class Secret:
    """Key material: it compares in constant time and never prints or hashes itself."""

    __slots__ = ("_octets",)

    def __init__(self, octets: bytes) -> None:
        self._octets = octets

    def reveal(self) -> bytes:
        """Return the octets; every call of this is worth a reviewer's look."""
        return self._octets

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._octets, other._octets)

    __hash__ = None  # type: ignore[assignment]

    def __len__(self) -> int:
        return len(self._octets)

    def __repr__(self) -> str:
        return f"<Secret {len(self._octets)} octets>"

    def __reduce__(self) -> str:
        raise TypeError("a Secret is not pickled")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def local(cls: type[M]) -> type[M]:
    """Declare a message that stays among the processes of its node: no peer can send it."""
    made = dataclasses.dataclass(frozen=True, slots=True, kw_only=True)(cls)
    made.word = f"{cls.__module__.rpartition('.')[2]}.{cls.__name__}"
    if made.word in _inner:
        raise TypeError(f"{made.word} is declared twice")
    _inner[made.word] = made
    return made


@dataclass_transform(frozen_default=True, kw_only_default=True)
def wire(name: str) -> Callable[[type[M]], type[M]]:
    """Declare a message that peers may send: a wire name is an open door.

    The name is written out, with a version, so that renaming the class never
    changes the protocol. A field that could hold a `Secret` is a `TypeError`:
    key bits leave a node only as one-time-padded octets.
    """

    def declare(cls: type[M]) -> type[M]:
        if name in _doors:
            raise TypeError(f"{name} is declared twice")
        made = dataclasses.dataclass(frozen=True, slots=True, kw_only=True)(cls)
        for field, hint in get_type_hints(made).items():
            if _holds_secret(hint):
                raise TypeError(f"{name}: field {field} holds a Secret, which no wire word may")
        _doors[name] = made
        made.wire = made.word = name
        return made

    return declare


@dataclass_transform(frozen_default=True)
def part(cls: type[P]) -> type[P]:
    """Declare a value that messages hold; it travels as the list of its fields."""
    return dataclasses.dataclass(frozen=True, slots=True)(cls)


def door(name: str) -> type[Message]:
    """Return the message type with that wire name, or raise `KeyError`."""
    return _doors[name]


def word(name: str) -> type[Message]:
    """Return the message type, wire or local, with that name, or raise `KeyError`."""
    return _doors.get(name) or _inner[name]


def doors() -> dict[str, type[Message]]:
    """Return every wire word by its name."""
    return dict(_doors)


def _holds_secret(hint: Any) -> bool:
    if hint in (Secret, Any, object):
        return True
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return any(_holds_secret(inner) for inner in get_type_hints(hint).values())
    return any(_holds_secret(inner) for inner in get_args(hint))
