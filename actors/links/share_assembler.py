"""Shares of a chunk: mixed by XOR, and kept until all of a chunk are there (R14); no actor."""

from dataclasses import dataclass, field
from functools import reduce
from operator import xor

from actors.protocol.relay import ChunkId, SessionId
from transport.message import Secret

INCOMPLETE_MAX = 128
"""Incomplete chunks kept; the oldest go first."""
INCOMPLETE_S = 20.0
"""Seconds after which the origin has discarded what is not complete."""


@dataclass(slots=True)
class Incomplete:
    """The shares of one chunk by number."""

    since: float
    shares: dict[int, Secret] = field(default_factory=dict, repr=False)


class ShareAssembler:
    """Incomplete chunks of all sessions that end here with one peer."""

    def __init__(self) -> None:
        self._incomplete: dict[tuple[SessionId, bytes, int, int], Incomplete] = {}

    def __len__(self) -> int:
        return len(self._incomplete)

    def add(self, chunk: ChunkId, shares: int, payload: Secret, now: float) -> list[Secret] | None:
        """Take a share; the shares in order once all are there, and then they are gone here.

        Only shares of one session meet, and only of as many: whatever else came is another chunk.
        """
        if shares == 1:
            return [payload]
        name = chunk.session, chunk.epoch, chunk.seq, shares
        incomplete = self._incomplete.setdefault(name, Incomplete(now))
        incomplete.shares.setdefault(chunk.share, payload)
        if len(incomplete.shares) == shares:
            del self._incomplete[name]
            return [incomplete.shares[share] for share in range(shares)]
        self.forget(now)
        if len(self._incomplete) > INCOMPLETE_MAX:
            del self._incomplete[next(iter(self._incomplete))]
        return None

    def forget(self, now: float) -> None:
        """Drop what has waited too long."""
        while self._incomplete:
            name, incomplete = next(iter(self._incomplete.items()))
            if now - incomplete.since < INCOMPLETE_S:
                return
            del self._incomplete[name]

    def drop(self, session: SessionId) -> None:
        """Drop all of a session."""
        for name in [name for name in self._incomplete if name[0] == session]:
            del self._incomplete[name]

    def clear(self) -> None:
        """Drop everything."""
        self._incomplete.clear()


def xor_all(parts: list[bytes]) -> bytes:
    """XOR octet strings of one length."""
    mixed = reduce(xor, (int.from_bytes(part, "big") for part in parts))
    return mixed.to_bytes(len(parts[0]), "big")
