"""What a virtual link counts of its chunks."""

from actors.base import System


class ChunkCounts:
    """Chunks and octets that went out and came in with one peer, and what was dropped."""

    def __init__(self, system: System, peer: str) -> None:
        self._system, self._peer = system, peer

    def chunk(self, way: str, octets: int) -> None:
        """Count a chunk; `way` is `sent` or `received`."""
        meter = self._system.meter
        meter.add("protokms_virtual_chunks", peer=self._peer, way=way)
        meter.add("protokms_virtual_octets", octets, peer=self._peer, way=way)

    def dropped(self, reason: str) -> None:
        """Count what came too late, from somebody else, or was not taken over."""
        self._system.meter.add("protokms_virtual_dropped", peer=self._peer, reason=reason)
