"""What a supervisor can be told while the node runs."""

from typing import Any

from transport.message import Message, local, part


@part
class Child:
    """How to make one child, as often as needed: name, class of actor, arguments."""

    name: str
    kind: Any
    args: tuple[Any, ...] = ()


@local
class StartChild(Message):
    """Start and watch one more child; the same name again is refused."""

    child: Child


@local
class StopChild(Message):
    """Stop a child, in order; an unknown name is refused."""

    name: str


@local
class Started(Message):
    """It runs."""


@local
class Stopped(Message):
    """It is gone."""
