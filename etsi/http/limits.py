"""Limits of a front end that no operator sets, and the counter behind those that one does."""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may cost; the defaults hold at every node, tests shorten the times."""

    max_head_octets: int = 8_190
    """Octets of a request line, and of one header field."""

    max_head_fields: int = 64
    """Header fields of a request."""

    handshake_timeout_s: float = 10.0
    """For a TLS handshake."""

    handshake_patience_s: float = 1.0
    """For a TLS handshake while others wait for its place: honest clients take far less."""

    head_timeout_s: float = 10.0
    """For the head of a request; that of the first one counts from TLS on."""

    body_timeout_s: float = 10.0
    """For the body of a request."""

    write_timeout_s: float = 10.0
    """Until the kernel has taken a response: a client that does not read is cut then."""

    stream_timeout_s: float = 60.0
    """Until the kernel has taken a piece of a response without end: as above."""

    idle_timeout_s: float = 75.0
    """From one request of a connection to the next."""

    drain_timeout_s: float = 10.0
    """For requests in flight, when the node is told to stop."""


LIMITS = Limits()
"""The limits of every node."""


class Room(Protocol):
    """How much a server takes at a time."""

    @property
    def max_connections(self) -> int:
        """How many connections."""
        ...

    @property
    def max_connections_per_sae(self) -> int:
        """How many of them by one caller."""
        ...

    @property
    def max_body_octets(self) -> int:
        """How long the body of a request."""
        ...


class ConcurrencyLimit:
    """Counts what is open, in all and for each SAE, against two limits; for one thread."""

    __slots__ = ("_max", "_max_per_sae", "_open", "total")

    def __init__(self, maximum: int, max_per_sae: int) -> None:
        self._max, self._max_per_sae = maximum, max_per_sae
        self._open: dict[str, int] = {}
        self.total = 0

    def limit(self, maximum: int, max_per_sae: int) -> None:
        """Use other limits from now on; what is open stays, though it be more."""
        self._max, self._max_per_sae = maximum, max_per_sae

    def acquire(self, sae: str) -> bool:
        """Count one more for this SAE; False, and not counted, when a limit is reached."""
        of_sae = self._open.get(sae, 0)
        if self.total >= self._max or of_sae >= self._max_per_sae:
            return False
        self._open[sae] = of_sae + 1
        self.total += 1
        return True

    def release(self, sae: str) -> None:
        """Count one less for this SAE; it was acquired before."""
        of_sae = self._open[sae] - 1
        if of_sae:
            self._open[sae] = of_sae
        else:
            del self._open[sae]  # or SAEs that never come back would fill the dict
        self.total -= 1
