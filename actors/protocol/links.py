"""What a quantum link and the key store it fills say to each other, on one node.

`epoch` is the datagram epoch: the starts of both ends, lower KMS name first, 16 octets.
"""

from transport.message import Message, Secret, local


@local
class LinkOpened(Message):
    """Resume is done: emit and take datagrams of this epoch, at most `credit` octets undecided."""

    epoch: bytes
    credit: int


@local
class LinkClosed(Message):
    """Emit nothing and take nothing until `LinkOpened`."""


@local
class Credit(Message):
    """So many octets may be emitted from now on until the next `Credit`."""

    epoch: bytes
    octets: int


@local
class Emitted(Message):
    """These datagrams, `first`, `first + 1`, ..., are about to be sent; the store keeps them."""

    epoch: bytes
    first: int
    payloads: tuple[Secret, ...]


@local
class Withdrawn(Message):
    """Whatever was emitted and no batch has named is not to count any more (R14): discard it."""

    epoch: bytes


@local
class Received(Message):
    """These datagrams came in, each once; `seqs` ascending, one payload for each."""

    epoch: bytes
    seqs: tuple[int, ...]
    payloads: tuple[Secret, ...]


@local
class AskLink(Message):
    """A link says that it (re)started; the store answers with `LinkOpened` or `LinkClosed`."""
