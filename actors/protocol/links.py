"""What a link, quantum or virtual, and the key store it fills say to each other, on one node.

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
    """These datagrams, `first`, `first + 1`, ..., are about to be sent; the store keeps them.

    `via` are the paths they take, names of nodes from one end to the other; none: a quantum link.
    """

    epoch: bytes
    first: int
    payloads: tuple[Secret, ...]
    via: tuple[tuple[str, ...], ...] = ()


@local
class Withdrawn(Message):
    """Whatever was emitted and no batch has named is not to count any more (R14): discard it."""

    epoch: bytes


@local
class Received(Message):
    """These datagrams came in, each once; `seqs` ascending, one payload for each.

    `via` as in `Emitted`.
    """

    epoch: bytes
    seqs: tuple[int, ...]
    payloads: tuple[Secret, ...]
    via: tuple[tuple[str, ...], ...] = ()


@local
class Marks(Message):
    """What a store without a quantum link is to hold: filled below `low_bits` up to `high_bits`.

    Said by `sessions`; 0: as much as demand asks.
    """

    low_bits: int
    high_bits: int


@local
class AskLeastPaths(Message):
    """A store of `peer` without a quantum link has started: which bits may it use?"""

    peer: str


@local
class LeastPaths(Message):
    """Bits that came over fewer paths than `n` are of no use here (R14). Said by `sessions`."""

    n: int


@local
class AskUse(Message):
    """How long ago was a store without a quantum link last of use? Asked by `sessions`."""


@local
class Used(Message):
    """So many seconds ago SAEs at either end wanted keys of it; very many: never that we know."""

    idle_s: float


@local
class AskLink(Message):
    """A link says that it (re)started; the store answers with `LinkOpened` or `LinkClosed`."""
