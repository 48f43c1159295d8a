"""The far end of chunks: takes their shares from the last relays, and joins them (R14)."""

from actors.base import Context, Part, handles
from actors.links.chunk_counts import ChunkCounts
from actors.links.share_assembler import ShareAssembler, xor_all
from actors.links.store_side import StoreSide
from actors.protocol import links, relay
from actors.protocol.common import Refused
from actors.protocol.relay import ChunkId, LaneOpened, SessionId
from transport.envelope import Address
from transport.message import Secret

INCOMING_MAX = 64
"""Shares that may end here."""


class ChunkSink(Part):
    """The sessions that end here; once all shares of a chunk have come, the store hears of it."""

    def __init__(self, context: Context, store_side: StoreSide, counts: ChunkCounts) -> None:
        self.context, self.store_side, self.counts = context, store_side, counts
        self.shares: dict[tuple[SessionId, int], LaneOpened] = {}
        self.assembler = ShareAssembler()

    def open(self, terms: LaneOpened) -> None:
        """A share ends here."""
        key = terms.session, terms.share
        if key in self.shares or len(self.shares) < INCOMING_MAX:
            self.shares[key] = terms

    def close(self, session: SessionId, share: int) -> None:
        """It does so no more: what has come of its session joins nothing any more (R14)."""
        if self.shares.pop((session, share), None):
            self.assembler.drop(session)

    def forget_late(self) -> None:
        """Drop shares whose others never came."""
        self.assembler.forget(self.context.clock.now)

    def clear(self) -> None:
        """Drop shares that wait for others: the epoch is over."""
        self.assembler.clear()

    @handles(relay.Pass)
    def on_pass(self, ask: relay.Pass) -> relay.Passed:
        """Take a share; once all of them are here, the store hears of the datagram."""
        chunk, side = ask.chunk, self.store_side
        terms = self.shares.get((chunk.session, chunk.share))
        here = self.context.address.node
        if terms is None or self.context.sender != Address(terms.source, here):
            raise Refused("no_session", "that session does not end here")
        if side.epoch is None or chunk.epoch != side.epoch:
            self.counts.dropped("stale")
            raise Refused("stale", "the stores have resumed since, or have not")
        parts = self.assembler.add(chunk, terms.shares, ask.payload, self.context.clock.now)
        if parts and len(set(map(len, parts))) > 1:
            self.counts.dropped("unequal")
        elif parts:
            self._receive(chunk, terms.shares, xor_all([part.reveal() for part in parts]))
        return relay.Passed()

    def _receive(self, chunk: ChunkId, shares: int, octets: bytes) -> None:
        terms = [self.shares.get((chunk.session, share)) for share in range(shares)]
        via = tuple(share.path for share in terms if share)
        payloads = (Secret(octets),)
        news = links.Received(epoch=chunk.epoch, seqs=(chunk.seq,), payloads=payloads, via=via)
        self.context.tell(self.store_side.store, news)
        self.counts.chunk("received", len(octets))
