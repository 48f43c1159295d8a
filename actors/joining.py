"""The shares of chunks that have come in, until all of a chunk are there (R14); no actor."""

from dataclasses import dataclass, field

from actors.protocol.relay import ChunkId, SessionId
from transport.message import Secret

JOINING_MAX = 128
"""Incomplete chunks kept; the oldest go first."""
JOINING_S = 20.0
"""Seconds after which the origin has discarded what is not complete."""


@dataclass(slots=True)
class Parts:
    """The shares of one chunk by number."""

    since: float
    shares: dict[int, Secret] = field(default_factory=dict, repr=False)


class Joining:
    """Incomplete chunks of all sessions that end here with one peer."""

    def __init__(self) -> None:
        self._parts: dict[tuple[SessionId, bytes, int, int], Parts] = {}

    def __len__(self) -> int:
        return len(self._parts)

    def add(self, chunk: ChunkId, shares: int, payload: Secret, now: float) -> list[Secret] | None:
        """Take a share; the shares in order once all are there, and then they are gone here.

        Only shares of one session meet, and only of as many: whatever else came is another chunk.
        """
        if shares == 1:
            return [payload]
        name = chunk.session, chunk.epoch, chunk.seq, shares
        parts = self._parts.setdefault(name, Parts(now))
        parts.shares.setdefault(chunk.share, payload)
        if len(parts.shares) == shares:
            del self._parts[name]
            return [parts.shares[share] for share in range(shares)]
        self.forget(now)
        if len(self._parts) > JOINING_MAX:
            del self._parts[next(iter(self._parts))]
        return None

    def forget(self, now: float) -> None:
        """Drop what has waited too long."""
        while self._parts:
            name, parts = next(iter(self._parts.items()))
            if now - parts.since < JOINING_S:
                return
            del self._parts[name]

    def drop(self, session: SessionId) -> None:
        """Drop all of a session."""
        for name in [name for name in self._parts if name[0] == session]:
            del self._parts[name]

    def clear(self) -> None:
        """Drop everything."""
        self._parts.clear()
