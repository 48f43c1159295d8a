"""What a listener makes of relay: chunks in clear, from frames and from where their pads lie.

A frame alone tells nothing. But who knows what every quantum link drew knows every pad, hence
every chunk, hence what the stores of two distant nodes must hold.
"""

from functools import reduce
from operator import xor

from actors.protocol import relay, sessions
from protokms.testing.sim.checker.promise import BrokenPromise

Far = tuple[str, bytes, int]
"""A datagram of a distant stream: who drew it, its datagram epoch, its seq."""


class Relayed:
    """Follows chunks hop by hop, and sessions share by share (R13, R14)."""

    def __init__(self) -> None:
        self.chunks: dict[relay.ChunkId, bytes] = {}
        self._shares: dict[Far, dict[int, dict[int, bytes]]] = {}
        """By session number, then by share."""
        self._epochs: dict[tuple[str, int], dict[bytes, None]] = {}
        self._counts: dict[relay.SessionId, int] = {}
        self._paths: dict[relay.SessionId, dict[int, tuple[str, ...]]] = {}

    def chunk(self, id_: relay.ChunkId, octets: bytes) -> None:
        """P1: a chunk is the same octets on every hop."""
        if self.chunks.setdefault(id_, octets) != octets:
            raise BrokenPromise("P1", f"{id_} changes on its way")
        far = id_.session.origin, id_.epoch, id_.seq
        self._epochs.setdefault((id_.session.origin, id_.seq), {})[id_.epoch] = None
        self._shares.setdefault(far, {}).setdefault(id_.session.number, {})[id_.share] = octets

    def session(self, word: sessions.SetUp) -> None:
        """R14: shares of one session share no node but the two ends."""
        self._counts[word.session] = word.shares
        paths = self._paths.setdefault(word.session, {})
        paths[word.share] = word.path
        for share, path in paths.items():
            if share != word.share and set(path[1:-1]) & set(word.path[1:-1]):
                raise BrokenPromise("R14", f"shares of {word.session} meet: {path}, {word.path}")

    def payload(self, origin: str, to: str, epoch: bytes, seq: int) -> bytes:
        """Return a datagram of a distant stream; nothing if not all of its shares were heard.

        A batch may be told for the first time when both ends have begun another epoch: then the
        newest datagram between these two with this seq is meant.
        """
        epochs = [epoch, *reversed(self._epochs.get((origin, seq), ()))]
        for number, shares in (
            item for each in epochs for item in self._shares.get((origin, each, seq), {}).items()
        ):
            session = relay.SessionId(origin, number)
            theirs = all(path[-1] == to for path in self._paths.get(session, {}).values())
            if theirs and len(shares) == self._counts.get(session, 1):
                return xor_all(list(shares.values()))
        return b""


def xor_all(parts: list[bytes]) -> bytes:
    """XOR octet strings of one length."""
    mixed = reduce(xor, (int.from_bytes(part, "big") for part in parts))
    return mixed.to_bytes(len(parts[0]), "big")
