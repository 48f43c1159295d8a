"""What a link, quantum or virtual, and the key store it fills say to each other, on one node.

`epoch` is the datagram epoch: the starts of both ends, lower KMS name first, 16 octets.
"""

from collections.abc import Collection
from typing import ClassVar

from actors.protocol.common import Refused
from transport.message import Message, Secret, local

SEQ_LIMIT = 1 << 63
"""Numbers of datagrams are below this."""

KEY_IDS_MAX = 1024
"""Keys of a QKD device in one word, at most."""

KEY_ID_MAX = 64
"""Characters of a key_ID, at most; a UUID has 36."""


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

    bulk: ClassVar[bool] = True
    epoch: bytes
    first: int
    payloads: tuple[Secret, ...]
    via: tuple[tuple[str, ...], ...] = ()


@local
class EmittedKeys(Message):
    """A QKD device gave these keys, and their key_IDs: the other end is to fetch them from its own.

    Apart from that it is as `Emitted` of a quantum link.
    """

    bulk: ClassVar[bool] = True
    epoch: bytes
    first: int
    payloads: tuple[Secret, ...]
    key_ids: tuple[str, ...]


@local
class FetchKeys(Message):
    """The device of the other end gave these keys; one key_ID for each of `seqs`.

    Fetch them from the device here and say `Received`; what cannot be had in time is lost.
    """

    epoch: bytes
    seqs: tuple[int, ...]
    key_ids: tuple[str, ...]


@local
class Withdrawn(Message):
    """Whatever was emitted and no batch has named is not to count any more (R14): discard it."""

    bulk: ClassVar[bool] = True
    epoch: bytes


@local
class Received(Message):
    """These datagrams came in, each once; `seqs` ascending, one payload for each.

    `via` as in `Emitted`.
    """

    bulk: ClassVar[bool] = True
    epoch: bytes
    seqs: tuple[int, ...]
    payloads: tuple[Secret, ...]
    via: tuple[tuple[str, ...], ...] = ()


@local
class Marks(Message):
    """What a store without a quantum link is to hold: filled below `low_bits` up to `high_bits`.

    Said by `sessions`; 0: as much as demand asks. `rate`: octets a second that the slowest link
    of its paths brings, at the lower end of a step; 0: not known.
    """

    low_bits: int
    high_bits: int
    rate: int = 0


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
    """So many seconds ago SAEs at either end wanted keys of it, or SAEs here looked at its status.

    Very many: never that we know.
    """

    idle_s: float


@local
class AskPathRoom(Message):
    """For how many octets has the path of the session that begins here pads now?"""


@local
class PathRoom(Message):
    """Every hop of every path has pads for so many; -1: no session begins here."""

    octets: int


@local
class AskLink(Message):
    """A link says that it (re)started; the store answers with `LinkOpened` or `LinkClosed`."""


@local
class AskPause(Message):
    """A store of `peer` has started: is it to take bits in? `intent` says `Pause` or `Resume`."""

    peer: str


@local
class Pause(Message):
    """Take no bits in until `Resume`, whatever fills the store; what it holds stays of use.

    The same again is harmless. Nobody forgets more of it than a store that starts anew.
    """


@local
class Resume(Message):
    """Take bits in again; a quarantine (R21) goes on."""


@local
class ClearQuarantine(Message):
    """An operator says that the bits of this store's quantum link are to count again (R21)."""


@local
class QuarantineCleared(Message):
    """They do; `test` is the one that had begun the quarantine, empty if there was none."""

    test: str


def sound(key_ids: Collection[str]) -> bool:
    """Whether these may be key_IDs of one word: not too many, each of printable ASCII."""
    return 0 < len(key_ids) <= KEY_IDS_MAX and all(
        0 < len(key_id) <= KEY_ID_MAX and key_id.isascii() and key_id.isprintable()
        for key_id in key_ids
    )


def check(news: Emitted | EmittedKeys | Received) -> None:
    """Refuse numbers of datagrams, or key_IDs, that no link gives."""
    if isinstance(news, EmittedKeys) and not (
        sound(news.key_ids) and len(news.key_ids) == len(news.payloads)
    ):
        raise Refused("malformed", "no such key_IDs")
    if isinstance(news, Emitted | EmittedKeys):
        first, last, seqs = news.first, news.first + len(news.payloads), len(news.payloads)
    else:
        first, last = min(news.seqs, default=0), max(news.seqs, default=0)
        seqs = len(news.seqs)
    if not 0 <= first <= last < SEQ_LIMIT or seqs != len(news.payloads):
        raise Refused("malformed", "no such numbers of datagrams")
