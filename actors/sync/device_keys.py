"""Keys of a pair of QKD devices: tells the other end their key_IDs, has it fetch the same (R2)."""

from dataclasses import dataclass
from itertools import islice

from actors.base import Clock, Context, Part, handles
from actors.ledger.batches import DATAGRAMS_MAX, Batches
from actors.ledger.segment import NEVER
from actors.protocol import blocks, links
from actors.sync.peering import REPEAT_S, REPEATS_MAX, Peering
from transport.envelope import Address

KNOWN_MAX = DATAGRAMS_MAX
"""key_IDs of an epoch that are known here; past them the oldest could be fetched once more."""


@dataclass(slots=True)
class Named:
    """Keys that were emitted here in one go, and when that was last told."""

    epoch: bytes
    first: int
    key_ids: tuple[str, ...]
    last_sent: float = NEVER
    every: float = REPEAT_S

    @property
    def seqs(self) -> range:
        """The numbers of their datagrams."""
        return range(self.first, self.first + len(self.key_ids))


class DeviceKeys(Part):
    """Brings the key_IDs of what a device gave at one end to the device of the other end.

    Nothing of it is durable: what is not fetched in time is discarded at both ends (R2), and the
    tag of the batch decides whether both devices gave the same bits (R3).
    """

    def __init__(self, context: Context, peer: Peering, batches: Batches) -> None:
        self._context, self._peer, self._batches = context, peer, batches
        self._link = Address(f"quantum_link/{peer.name}", context.address.node)
        self._named: dict[int, Named] = {}
        self._known: dict[str, None] = {}
        self._epoch = b""

    # The end that emits

    def emitted(self, news: links.EmittedKeys) -> None:
        """Tell the other end of keys that wait for a batch that names them."""
        named = self._named[news.first] = Named(news.epoch, news.first, news.key_ids)
        self._say(named)

    def repeat(self, now: Clock, *, everything: bool = False) -> None:
        """Tell it again, less and less often, until a batch names them or their time is over."""
        epoch = self._peer.state.datagram_epoch
        for first, named in list(self._named.items()):
            if named.epoch != epoch or not self._batches.awaits_name(named.seqs):
                del self._named[first]
        due = (
            named
            for named in self._named.values()
            if everything or now.now - named.last_sent >= named.every
        )
        for named in list(islice(due, REPEATS_MAX)):
            self._say(named)

    def _say(self, named: Named) -> None:
        if not self._peer.speaks(blocks.KeyIds):
            return
        again = named.last_sent != NEVER
        named.last_sent = self._context.clock.now
        named.every *= 2 if again else 1
        head = self._peer.state.head()
        self._peer.say(
            blocks.KeyIds(head=head, epoch=named.epoch, first=named.first, key_ids=named.key_ids)
        )

    # The end that fetches

    @handles(blocks.KeyIds)
    def on_key_ids(self, word: blocks.KeyIds) -> None:
        """Have the link fetch what was not fetched in this epoch; drop what no device gives."""
        reason = self._refusal(word)
        if reason:
            meter = self._context.system.meter
            meter.add("protokms_key_ids_dropped", peer=self._peer.name, reason=reason)
            return
        if word.epoch != self._epoch:
            self._epoch = word.epoch
            self._known.clear()
        fresh: dict[str, int] = {}
        for seq, key_id in enumerate(word.key_ids, word.first):
            if key_id not in self._known:
                self._known[key_id] = None
                fresh[key_id] = seq
        while len(self._known) > KNOWN_MAX:
            del self._known[next(iter(self._known))]
        if fresh:
            seqs, key_ids = tuple(fresh.values()), tuple(fresh)
            self._context.tell(
                self._link, links.FetchKeys(epoch=word.epoch, seqs=seqs, key_ids=key_ids)
            )

    def _refusal(self, word: blocks.KeyIds) -> str:
        if self._peer.distant or not links.sound(word.key_ids):
            return "malformed"
        if not 0 <= word.first <= links.SEQ_LIMIT - len(word.key_ids):
            return "malformed"
        state = self._peer.state
        return "" if state.ready and word.epoch == state.datagram_epoch else "epoch"
