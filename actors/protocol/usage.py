"""What comes into a key store, and what becomes of it; asked by `intent`, to be shown.

Of this life of the store alone: nothing of it is durable. Rates are bit/s.
"""

from typing import Final

from transport.message import Message, local, part

INTERVAL_S: Final = 30.0
"""Bits given to SAEs are counted in such intervals; the first began when this host was booted."""

KEPT: Final = 120
"""Intervals that are kept of a pair."""

MEAN_S: Final = 60.0
"""The mean of what a pair takes is over so long."""

PAIRS_MAX: Final = 4_096
"""Pairs of which is known what they take; the one known longest makes room."""

MEASURED_S: Final = 10.0
"""A rate is told as measured when it is over so long at least."""

FORGET_S: Final = 3_600.0
"""A pair that has wanted nothing for so long is not told of any more."""


@part
class Interval:
    """Bits given in the interval of this number, from `number` times `INTERVAL_S` on."""

    number: int
    bits: int


@part
class Pair:
    """SAEs that want keys together here, at either end: `slaves` of one KMS, in order.

    `mean` is what they were given over `MEAN_S`, `intervals` are over, and only those in which
    they were given something. At the slaves' end keys are given when they are held there.
    """

    master: str
    slaves: tuple[str, ...]
    mean: float
    intervals: tuple[Interval, ...]


@local
class AskUsage(Message):
    """What comes in, and who takes it?"""


@local
class Usage(Message):
    """`skr` is what both ends confirm, `eskr` what of it is not burnt for pads and tags.

    `measured` comes while the store is not full; 0: it is not known yet. `comes`: bits were
    confirmed within the time that `skr` is measured over. `stock_bits` both ends hold, and `why`
    nothing comes, as far as the store knows.
    """

    skr: float
    eskr: float
    measured: float
    comes: bool
    stock_bits: int
    why: str
    pairs: tuple[Pair, ...]
