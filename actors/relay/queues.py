"""The send queues of a relay, one for each share that it sends on, and the order among them (R13).

No actor, no clock of its own, no I/O: the outgoing part speaks for them. Sizes are octets. A send
queue has the chunks of one share of a session towards one neighbour. Each chunk goes through four
states: *admitted* (nobody has been told yet that it is taken over), *queued*, *awaiting a pad*,
and *in flight* as a sealed frame that is not acknowledged. Every state has a bound of its own for
each send queue, so that no share can take the room of another: one that stands still holds up
nobody else.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from actors.base import Later
from actors.crypto.one_time_pad import KEY_OCTETS
from actors.protocol.limits import LANES_MAX, WEIGHT_MAX
from actors.protocol.relay import WINDOW, Carry, ChunkId, LaneOpened
from actors.relay.link_queue import ClearOctets, LinkQueue, PadsAsked, ShareKey
from transport.message import Secret

ADMITTED_MAX = 8
"""Chunks of a share that wait for room in its queue."""
AWAITING_PAD_MAX = 2
"""Pads that a share may wait for: on a link that is short of bits each is seconds of delay."""
EPOCHS_MAX = 8
"""Datagram epochs of a share that are remembered: a chunk of one that is over is refused."""


@dataclass(slots=True)
class Chunk:
    """A chunk in clear; it is worth nothing any more after `until`."""

    id: ChunkId
    payload: Secret = field(repr=False)
    until: float


@dataclass(slots=True)
class Admitted:
    """A chunk for which there is no room yet, and who waits to hear that there is."""

    chunk: Chunk
    answer: Later
    until: float


@dataclass(slots=True)
class Frame:
    """A sealed chunk; the clear one is gone. `pad` is our number for its pad."""

    word: Carry
    pad: int
    until: float
    last_sent: float


@dataclass(slots=True)
class SendQueue:
    """The chunks of one share of a session towards one neighbour, by state."""

    terms: LaneOpened
    last_progress: float
    admitted: list[Admitted] = field(default_factory=list)
    queued: list[Chunk] = field(default_factory=list)
    """Both are short, and empty ones are small: most shares of a node are at rest."""
    awaiting_pad: dict[int, Chunk] = field(default_factory=dict)
    """By our number for the pad."""
    in_flight: dict[ChunkId, Frame] = field(default_factory=dict)
    epochs: dict[bytes, None] = field(default_factory=dict)
    """Datagram epochs seen, the present one last."""
    deficit: int = 0
    """Octets that it may still send in this round."""
    pad_refused: bool = False
    """The store has refused a pad: try again at the next tick."""

    @property
    def key(self) -> ShareKey:
        """How it is found."""
        return self.terms.session, self.terms.share

    @property
    def weight(self) -> int:
        """Its weight among the send queues."""
        return min(max(self.terms.weight, 1), WEIGHT_MAX)

    @property
    def ready(self) -> bool:
        """Whether a chunk of it may be sealed now."""
        in_window = len(self.awaiting_pad) + len(self.in_flight) < WINDOW
        may_ask = len(self.awaiting_pad) < AWAITING_PAD_MAX and not self.pad_refused
        return bool(self.queued) and in_window and may_ask

    @property
    def next_octets(self) -> int:
        """Of its next chunk; 0: there is none."""
        return len(self.queued[0].payload) if self.queued else 0

    @property
    def octets_in_clear(self) -> int:
        """Of all chunks that are not sealed yet."""
        return sum(len(chunk.payload) for chunk in self._in_clear())

    @property
    def empty(self) -> bool:
        """Whether no chunk of it is here."""
        return not (self.queued or self.admitted or self.awaiting_pad or self.in_flight)

    @property
    def chunks(self) -> int:
        """How many chunks of it are here."""
        clear = len(self.queued) + len(self.admitted) + len(self.awaiting_pad)
        return clear + len(self.in_flight)

    @property
    def to_pad(self) -> int:
        """Octets of the pads that its chunks still need."""
        return sum(len(chunk.payload) + KEY_OCTETS for chunk in self._in_clear())

    def is_past(self, epoch: bytes) -> bool:
        """Whether the ends of the session have begun another datagram epoch since."""
        return epoch in self.epochs and epoch != next(reversed(self.epochs))

    def enter(self, epoch: bytes) -> list[int]:
        """Enter an epoch: what is not sent of the ones before is worth no pad any more.

        Returns the pads that are asked for and not needed. Admitted chunks stay: who waits for
        them has to be answered. Frames in flight stay too, as their bits are used already.
        """
        if epoch in self.epochs:
            return []
        self.epochs[epoch] = None
        if len(self.epochs) > EPOCHS_MAX:
            del self.epochs[next(iter(self.epochs))]
        not_needed = list(self.awaiting_pad)
        self.awaiting_pad.clear()
        self.queued.clear()
        return not_needed

    def has(self, id_: ChunkId) -> bool:
        """Whether this chunk is here, in whatever state."""
        return id_ in self.in_flight or any(chunk.id == id_ for chunk in self._in_clear())

    def _in_clear(self) -> Iterator[Chunk]:
        yield from self.queued
        yield from self.awaiting_pad.values()
        for admitted in self.admitted:
            yield admitted.chunk


class SendQueues:
    """All send queues of a relay, and whose turn it is: by origins first, then by weights."""

    def __init__(self) -> None:
        self.by_share: dict[ShareKey, SendQueue] = {}
        self.busy: dict[ShareKey, SendQueue] = {}
        """Those that have chunks here, and some that had: nobody walks over all."""
        self.pads = PadsAsked()
        self.clear = ClearOctets()
        self._turns = LinkQueue[SendQueue]()

    def open(self, terms: LaneOpened, now: float) -> SendQueue | None:
        """Add a send queue, or renew its terms; None if there is no room for it."""
        queue = self.by_share.get((terms.session, terms.share))
        if queue:
            queue.terms = terms
        elif len(self.by_share) < LANES_MAX:
            queue = SendQueue(terms, now)
            self.by_share[queue.key] = queue
        return queue

    def close(self, key: ShareKey) -> SendQueue | None:
        """Take a send queue out, with all that is in it."""
        self._turns.leave(key)
        self.busy.pop(key, None)
        self.clear.count(key, 0)
        queue = self.by_share.pop(key, None)
        for pad in queue.awaiting_pad if queue else ():
            self.pads.done(pad)
        return queue

    def of(self, id_: ChunkId) -> SendQueue | None:
        """Return the send queue that a chunk belongs to."""
        return self.by_share.get((id_.session, id_.share))

    def join_round(self, queue: SendQueue) -> None:
        """Something has changed for a send queue: it takes part if it has something to send."""
        self.clear.count(queue.key, queue.octets_in_clear)
        if not queue.empty:
            self.busy[queue.key] = queue
        self._turns.join(queue)

    def next(self) -> tuple[SendQueue, Chunk] | None:
        """Take the chunk whose turn it is out of its queue; None if no send queue is ready."""
        queue = self._turns.next()
        return (queue, queue.queued.pop(0)) if queue else None

    @property
    def chunks(self) -> int:
        """How many chunks are here."""
        return sum(queue.chunks for queue in self.busy.values())
