"""When there will be bits again: for the `Retry-After` of a request that was refused."""

from actors.base import Context, Later, Part, handles
from actors.crypto.one_time_pad import KEY_OCTETS
from actors.ledger.batches import Batches
from actors.ledger.shares import Shares
from actors.ledger.stream import Stream
from actors.protocol import keys, links
from actors.protocol.relay import CHUNK_MIN, CHUNK_PAD_MIN
from actors.sync.block_sync import BlockSync
from actors.sync.demand import Yield
from actors.sync.peering import Peering
from transport.envelope import Address
from transport.message import Message

_LINK_S = 1.0


class Shortage(Part):
    """Reckons from what is on its way, what comes in a second, and the room of a path."""

    def __init__(
        self,
        context: Context,
        peer: Peering,
        block_sync: BlockSync,
        *,
        stream: Stream,
        batches: Batches,
        shares: Shares,
        supply: Yield,
    ) -> None:
        self._context, self._block_sync = context, block_sync
        self._distant = peer.distant
        self._link = Address(f"virtual_link/{peer.name}", context.address.node)
        self._stream, self._batches = stream, batches
        self._shares, self._supply = shares, supply

    @handles(keys.AskWait)
    def on_ask_wait(self, ask: keys.AskWait) -> Later | keys.Wait:
        """Say in how many seconds there will be so many octets for SAEs here."""
        if self._missing(ask.octets) <= 0:
            return keys.Wait(seconds=0.0)
        if not (self._distant and self._block_sync.path_rate):
            return keys.Wait(seconds=self._by_supply(ask.octets))
        answer = self._context.later()

        def told(reply: Message) -> None:
            room = reply.octets if isinstance(reply, links.PathRoom) else -1
            answer(keys.Wait(seconds=self._by_path(ask.octets, room)))

        self._context.ask(self._link, links.AskPathRoom(), told, _LINK_S)
        return answer

    def _missing(self, octets: int) -> int:
        """Octets that have yet to come in, beside what both ends are about to agree on."""
        batches = self._batches
        return octets - self._shares.for_local(self._stream.stock) - batches.undecided

    def _by_supply(self, octets: int) -> float:
        missing = self._missing(octets)
        return self._supply.wait(missing, self._context.clock.now) if missing > 0 else 0.0

    def _by_path(self, octets: int, room: int) -> float:
        """A chunk comes as soon as the path has pads for it.

        The path's rate is told in steps of two: what was measured here may be nearer the truth.
        """
        missing, seen = self._missing(octets), self._by_supply(octets)
        if room < 0 or missing <= 0:
            return seen
        if room >= max(CHUNK_MIN, missing):
            return 0.0
        chunk = max(CHUNK_PAD_MIN, missing + 2 * KEY_OCTETS)
        wait = max(0, chunk - room) / self._block_sync.path_rate
        return min(wait, max(seen, wait / 2)) if seen else wait
