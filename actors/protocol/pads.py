"""What a relay asks of the key store of its neighbour: one-time bits, through the one ledger (R4).

Pads are allocated like grants: only by the owner, only out of leases that the peer holds, and
mirrored by the peer. They have no row: after a start the rest of every lease is burnt.
"""

from actors.protocol.blocks import Head
from actors.protocol.grants import Piece
from transport.message import Message, Secret, local


@local
class TakePad(Message):
    """Allocate `octets` for `session`, which has this `weight` among those that want bits (R13).

    Answered with `Pad` once its share of the link's bits allows, with `Failed` at the latest
    after `wait` seconds. `id` is the asker's own number for it.
    """

    id: int
    session: str
    octets: int
    weight: int
    wait: float


@local
class Pad(Message):
    """These octets are for one string of octets, under this head and no other."""

    id: int
    head: Head
    pieces: tuple[Piece, ...]
    octets: Secret


@local
class AskPadRoom(Message):
    """The relay asks for `PadRoom`, now and whenever it changes."""


@local
class PadRoom(Message):
    """The store has so many octets for pads, and so many octets a second come in; 0: unknown."""

    octets: int
    rate: float


@local
class WantPads(Message):
    """Shares wait for so many octets, 0 for none: SAEs here are to leave them alone.

    The store asks its peer for what it lacks. A claim lapses unless it is repeated.
    """

    octets: int


@local
class PadsDone(Message):
    """Sealed frames under these pads are acknowledged or given up: the bits are burnt.

    An id that still waits for its pad gets none; an unknown one is harmless.
    """

    ids: tuple[int, ...]


@local
class ForgetPads(Message):
    """The relay has (re)started: every pad it was given is burnt, every wait is over."""


@local
class OpenPad(Message):
    """The octets of a pad that the peer has allocated: handed out once, then gone here.

    `Refused`: `stale` (another life or epoch: the sealer must draw fresh bits), `opened` (handed
    out before), `not_ready`, `malformed`, `no_such_segment`, `overlap` (freezes the store, R7).
    """

    head: Head
    pieces: tuple[Piece, ...]


@local
class PadOpened(Message):
    """The octets, in the order of the pieces."""

    octets: Secret
