"""Words that a peer should not say: every wire word there is, with wrong fields.

Words are made from their type hints, so one that is declared tomorrow is covered tomorrow.
"""

import dataclasses
import random
import types
from collections.abc import Mapping, Sequence
from typing import Any, Union, get_args, get_origin, get_type_hints

from actors.protocol.doors import ANSWERS, DOORS
from transport.codec import encode
from transport.envelope import Address, Envelope
from transport.message import Message, Secret, door, local

_INTS = (0, 1, 2, -1, 255, 1 << 31, 1 << 40, (1 << 62) - 1, 1 << 62, (1 << 63) - 1, -(1 << 63))
_FLOATS = (0.0, -1.0, 0.5, 3600.0, 1e9, 1e300, -1e300)
_MANY = 300
_HEAD = "Head"
_FAR = 1 << 61
_WORDS = sorted({*DOORS, *ANSWERS})
"""Not all that are declared: with the words of a test beside them a seed took another course."""


@local
class Whisper(Message):
    """A word that no peer may say: it stays on its node."""

    text: str


class _NoSeal:
    """Lets local words out, as no honest node does."""

    def seal(self, octets: bytes) -> bytes:
        """Leave it as it is."""
        return octets

    def open(self, octets: bytes) -> bytes:
        """Leave it as it is."""
        return octets


class ByzantinePeer:
    """Makes frames from `sender` to `to` that are well formed and wrong.

    `names` are texts that mean something in the network. What was really said last is often the
    model of a lie; it lies in `said`, by the type of the word. `old` are heads that have counted
    once, and do not any more.
    """

    def __init__(
        self,
        dice: random.Random,
        sender: str,
        to: str,
        names: list[str],
        said: Mapping[type[Message], Message],
        *,
        old: Sequence[Any] = (),
    ) -> None:
        self._dice, self._sender, self._to = dice, sender, to
        self._names, self._said, self._old = names, said, old

    def lie(self) -> tuple[str, bytes]:
        """Make a frame that must have no effect: no head in it is that of a word of today."""
        dice = self._dice
        kind = door(dice.choice(_WORDS))
        word = self._word(kind)
        changes: dict[str, Any] = {}
        for name, hint in get_type_hints(kind).items():
            if getattr(hint, "__name__", "") == _HEAD:
                changes[name] = self._wrong_head(getattr(word, name))
            elif name == "nonce":
                changes[name] = dice.randrange(_FAR)
        return kind.wire, self._frame(_changed(word, changes))

    def betrayal(self, head: Any) -> tuple[str, bytes]:
        """Make a frame with the head of today: its reader cannot tell it from the truth.

        Its ledger seq may be an old one.
        """
        if head is not None and self._dice.random() < 0.3:  # noqa: PLR2004 -- odds
            head = dataclasses.replace(head, seq=self._dice.randrange(head.seq + 1))
        kind = door(self._dice.choice(_WORDS))
        word = self._word(kind)
        heads = {
            name: head
            for name, hint in get_type_hints(kind).items()
            if head is not None and getattr(hint, "__name__", "") == _HEAD
        }
        return kind.wire, self._frame(_changed(word, heads))

    # Frames

    def _frame(self, word: Message) -> bytes:
        dice = self._dice
        to = Address(f"key_store/{self._sender}", self._to)
        if word.wire.startswith("peers."):
            to = Address("peer_manager", self._to)
        sender = Address(f"key_store/{self._to}", self._sender)
        token, answer = 0, False
        fate = dice.random()
        if fate < 0.1:  # noqa: PLR2004 -- odds
            names = ("peer_manager", "supervisor", f"key_store/{self._to}", "front", "nobody")
            to = Address(dice.choice(names), dice.choice((self._to, self._sender, "nowhere")))
        elif fate < 0.2:  # noqa: PLR2004 -- odds
            token, answer = dice.randrange(1 << 62), dice.random() < 0.5  # noqa: PLR2004
        elif fate < 0.25:  # noqa: PLR2004 -- odds
            word = Whisper(text="x")
        try:
            return encode(Envelope(sender, to, word, token, answer), _NoSeal())
        except TypeError:  # longer than a frame may be
            return dice.randbytes(100)

    # Fields

    def _wrong_head(self, head: Any) -> Any:
        """A head that is not of today: another start, an epoch that never was, or is over."""
        if self._old and self._dice.random() < 0.3:  # noqa: PLR2004 -- odds
            past = self._dice.choice(self._old)
            seq = self._dice.choice((0, past.seq, past.seq + 1, _FAR))
            return dataclasses.replace(past, seq=seq)
        real = [said.head for said in self._said.values() if hasattr(said, "head")]
        made = self._dice.choice(real) if real else head
        fate = self._dice.randrange(4)
        if fate == 0:
            return dataclasses.replace(made, mine=self._dice.randrange(1, _FAR))
        if fate == 1:
            return dataclasses.replace(made, yours=self._dice.randrange(1, _FAR))
        if fate == 2:  # noqa: PLR2004 -- the third of four
            return dataclasses.replace(made, number=made.number + 1, random=self._dice.randrange(9))
        return dataclasses.replace(made, mine=made.yours, yours=made.mine, seq=_FAR)

    def _word(self, kind: type[Message]) -> Message:
        hints = get_type_hints(kind)
        fields = {field.name: hints[field.name] for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
        near = self._said.get(kind)
        if near is None or self._dice.random() < 0.4:  # noqa: PLR2004 -- odds
            return kind(**{name: self._value(hint, None) for name, hint in fields.items()})
        wrong = self._dice.sample(sorted(fields), self._dice.randint(1, len(fields)))
        values = {name: self._value(fields[name], getattr(near, name)) for name in wrong}
        return _changed(near, values)

    def _value(self, hint: Any, near: Any) -> Any:
        dice, origin, inner = self._dice, get_origin(hint), get_args(hint)
        if near is not None and dice.random() < 0.3:  # noqa: PLR2004 -- odds
            return near
        if origin is tuple:
            return self._row(inner, near)
        if origin in (Union, types.UnionType):
            kinds = [kind for kind in inner if kind is not types.NoneType]
            return None if dice.random() < 0.3 else self._value(kinds[0], near)  # noqa: PLR2004
        if dataclasses.is_dataclass(hint):
            hints = get_type_hints(hint)
            names = [field.name for field in dataclasses.fields(hint)]
            values = (self._value(hints[name], getattr(near, name, None)) for name in names)
            return hint(*values)  # type: ignore[operator]
        return self._plain(hint, near)

    def _row(self, inner: tuple[Any, ...], near: Any) -> tuple[Any, ...]:
        dice = self._dice
        if inner[-1] is not ...:
            return tuple(self._value(hint, None) for hint in inner)
        count = dice.choice((0, 1, 1, 2, 3, _MANY if dice.random() < 0.1 else 4))  # noqa: PLR2004
        models = list(near or ())
        return tuple(
            self._value(inner[0], dice.choice(models) if models else None) for _ in range(count)
        )

    def _plain(self, hint: Any, near: Any) -> Any:
        dice = self._dice
        if hint is bool:
            return dice.random() < 0.5  # noqa: PLR2004 -- odds
        if hint is int:
            by = dice.choice((-1, 1, 7))
            most = (1 << 63) - 1
            around = [max(-most, min(most, near + by))] if near is not None else []
            older = [dice.randrange(near)] if near is not None and near > 0 else []
            return dice.choice([*_INTS, dice.randrange(5000), *around, *older])
        if hint is float:
            return dice.choice(_FLOATS)
        if hint is bytes:
            return dice.randbytes(dice.choice((0, 1, 12, 16, 32, 1000)))
        if hint is str:
            return dice.choice(("", "x" * 2000, "\x00\n", "confirmed", "local", *self._names))
        assert hint is not Secret, "no wire word holds a secret"
        raise TypeError(f"{hint} does not travel")


def _changed(word: Message, values: dict[str, Any]) -> Message:
    return dataclasses.replace(word, **values)  # type: ignore[type-var] # declared words are
