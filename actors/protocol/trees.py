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
    """Start and watch one more child; the same name again is refused, `duplicate`.

    `instead`: one under that name that is made otherwise is stopped, and this one follows it.
    """

    child: Child
    instead: bool = False


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


@local
class StartLink(Message):
    """Run a quantum link to this peer over this interface of your process; `Started` if it is so.

    Said by `peer_manager` to the supervisor of the process that has the interface: `supervisor`
    for core, `supervisor/<process>` for an edge. The same again is answered alike. Refused:
    `no_such_interface`; `in_use`, the interface leads to another peer; `link_up`, there is a link
    to this peer over another one; `unknown_peer`, the process has no key and no address of it;
    `malformed`, what it has of the peer is wrong; the text says what.
    """

    peer: str
    interface: int


@local
class StopLink(Message):
    """Run the quantum link to this peer no more; `Stopped` if there is none.

    Refused with `bound` if the file of the process binds it for good. The key store and what it
    holds stay.
    """

    peer: str
