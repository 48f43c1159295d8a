"""Actors of other packages: how they are made, and what peers may say to them."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

from actors.base import Actor
from actors.protocol.common import Failed
from actors.protocol.doors import ANSWERS, DOORS
from transport.codec import Question, check_of
from transport.envelope import Envelope
from transport.message import Message
from transport.session import Doors

OWN, GUARD = "own", "guard"
"""Before the name of such an actor, and of its supervisor: no actor of ours is called so."""

REFUSED = "refused"
"""The code of `Failed` for a question that was refused at the door of the peer."""


class OwnActor(NamedTuple):
    """What a factory of the group `protokms.actors` returns.

    `kind(system, name, *args)` makes the actor, in each of its lives. Peers may say the wire words
    that it handles, and may answer its questions with the wire words in `answers`; nothing else.
    """

    kind: type[Actor]
    args: tuple[Any, ...] = ()
    answers: tuple[type[Message], ...] = ()

    def words(self) -> tuple[str, ...]:
        """Return the wire words that it hears, sorted."""
        return tuple(sorted(it.wire for it in self.kind.handled_by() if it.wire))


def address_of(name: str) -> str:
    """Return the name under which such an actor is found, here and at a peer."""
    return f"{OWN}/{name}"


def tells(own: Mapping[str, OwnActor]) -> dict[str, str]:
    """Return which word goes to which actor; `ValueError` if one is heard elsewhere already.

    Or if a field of one is of a type that does not travel: each peer would refuse it.
    """
    found: dict[str, str] = {}
    for name, actor in own.items():
        if local := [it.__name__ for it in actor.answers if not it.wire]:
            raise ValueError(f"{local[0]} is no wire word, so no peer answers with it")
        for kind in (*actor.kind.handled_by(), *actor.answers):
            if kind.wire:
                _check_fields(kind)
        for word in actor.words():
            if word in DOORS or word in ANSWERS:
                raise ValueError(f"{word} is a word of ours: {address_of(name)} may not hear it")
            if word in found:
                raise ValueError(f"{word} is heard by {found[word]} already")
            found[word] = address_of(name)
    return found


def _check_fields(kind: type[Message]) -> None:
    try:
        check_of(kind)
    except TypeError as why:
        raise ValueError(f"{kind.wire}: {why}") from None


def doors_with(own: Mapping[str, OwnActor]) -> Doors:
    """Return the doors of a node with such actors; what peers may say to ours stays as it is."""
    failed = (Failed.wire,)
    askers: dict[str, Collection[str]] = {
        address_of(name): (*failed, *(it.wire for it in actor.answers))
        for name, actor in own.items()
    }
    return Doors({**DOORS, **tells(own)}, ANSWERS, askers)


def refusal(question: Question, reason: str) -> Envelope:
    """Return the answer to a question that was refused at the door: the asker waits no longer."""
    no = Failed(code=REFUSED, why=reason)
    return Envelope(question.to, question.sender, no, question.token, True, question.trace)
