"""What an operator may choose for key stores, and what the composition tells each of them."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta, Struct

from actors.protocol.limits import Switch, limit

if TYPE_CHECKING:
    from actors.protocol.rights import Rights

STORE_BITS_MIN = 1 << 21
"""A pad for a chunk of relay is at most a quarter of what a store may hold: smaller ones, anywhere
on a path, would stop every session over it."""

TICK_S = 0.5
REQUEST_S = 3.0
"""Seconds that a request may wait for bits, or for the peer."""


class StoreOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[store]`: the key stores, one for each peer KMS; sizes in bits where the name says so.

    The limits are checked by whoever reads a configuration; here values are used as they are.
    """

    max_bits: Annotated[int, limit(STORE_BITS_MIN, 1 << 40, "bits")] = 67_108_864
    mode: Annotated[Literal["confirmed", "local"], Meta(description="write confirmed or local")] = (
        "confirmed"
    )
    ttl_s: Annotated[float, limit(1, 31_536_000, "seconds")] = 3_600.0
    erase_s: Annotated[float, limit(1, 3_600, "seconds")] = 10.0
    redelivery_s: Annotated[float, limit(0, 86_400, "seconds")] = 30.0
    """0 gives up P3 for a crash during delivery: the key may then be lost."""
    repeat_window_s: Annotated[float, limit(0, 86_400, "seconds")] = 0.0
    max_undelivered_bits_per_pair: Annotated[int, limit(8, 1 << 40, "bits")] = 33_554_432
    max_undelivered_bits_per_sae: Annotated[int, limit(8, 1 << 40, "bits")] = 67_108_864
    quarantine_good_batches: Annotated[int, limit(0, 1_000_000, "batches")] = 0
    """So many good batches in a row end the quarantine of a link; 0: an operator does."""
    max_undelivered_bits_of_earlier_starts: Annotated[int, limit(0, 1 << 40, "bits")] = 67_108_864
    """Of confirmed grants of earlier starts of their issuer; what is beyond counts as others do."""
    allow_same_node: Switch = True
    allow_loopback_pairs: Switch = False

    @property
    def tick_s(self) -> float:
        """Seconds between two ticks: used octets are looked at eight times in `erase_s`."""
        return min(TICK_S, self.erase_s / 8)

    @property
    def wipe_s(self) -> float:
        """Seconds between two wipes: four in `erase_s`, of which the log needs half."""
        return self.erase_s / 4


def _open() -> "Rights":
    from actors.protocol.rights import OPEN  # noqa: PLC0415 -- an edge has no store

    return OPEN


@dataclass(frozen=True, slots=True, kw_only=True)
class StorePlan:
    """What the composition of a node tells one key store: whose it is, and what was chosen.

    A `virtual` one is filled as demand asks by relay (`virtual_link/<peer>`), not by a quantum
    link. What SAEs may have is `known`, for good; None: `intent` is asked.
    """

    peer: str
    options: StoreOptions
    virtual: bool = False
    request_timeout_s: float = REQUEST_S
    known: "Rights | None" = field(default_factory=_open)


def least_batch() -> tuple[int, int]:
    """Return bits and seconds: a link that takes longer for so many gives no keys.

    They are dropped before they are a batch (R2).
    """
    from actors.ledger.batches import BATCH_MIN  # noqa: PLC0415 -- an edge has no ledger
    from actors.sync.block_sync import ARRIVED_MAX_S  # noqa: PLC0415

    return 8 * BATCH_MIN, int(ARRIVED_MAX_S)
