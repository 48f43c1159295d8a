"""The queues of a relay, one for each lane it sends for, and the order among them (R13).

No actor, no clock of its own, no I/O: the relay is its doorman. Sizes are octets. A lane is one
share of a session. Its chunks are first *held back* (nobody has been told that they are taken),
then *queued*, then *asked* for (a pad is on its way), then *sent* as a sealed frame. Every stage
has a bound of its own for each lane, so that no lane can take the room of another: one that
stands still holds nobody else.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from actors.base import Later
from actors.protocol.relay import WEIGHT_MAX, Carry, ChunkId, LaneOpened, SessionId
from transport.message import Secret

CHUNK_MAX = 32_784
"""Octets of the largest chunk; two of them make a batch with its tag key."""
LANES_MAX = 256
QUEUE_MAX = 1
HELD_MAX = 8
ASKED_MAX = 2
"""Pads that a lane may wait for: on a link that is short of bits each is seconds of delay."""
EPOCHS_MAX = 8
WINDOW = 4
"""Chunks of a lane that may be asked for or sent, and not acknowledged."""
FLYING_MAX = 128
"""Frames on the wire of all lanes; one that had to be repeated does not count any more."""

LaneKey = tuple[SessionId, int]


@dataclass(slots=True)
class Chunk:
    """A chunk in clear; it is worth nothing any more after `until`."""

    id: ChunkId
    payload: Secret = field(repr=False)
    until: float


@dataclass(slots=True)
class Held:
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
    told: float


@dataclass(slots=True)
class Lane:
    """One share of a session, and its chunks by stage."""

    terms: LaneOpened
    progress: float
    queue: deque[Chunk] = field(default_factory=deque)
    held: deque[Held] = field(default_factory=deque)
    asked: dict[int, Chunk] = field(default_factory=dict)
    frames: dict[ChunkId, Frame] = field(default_factory=dict)
    epochs: dict[bytes, None] = field(default_factory=dict)
    """Datagram epochs seen, the present one last."""
    deficit: int = 0
    waits: bool = False
    """The store has refused a pad: try again at the next tick."""

    @property
    def key(self) -> LaneKey:
        """How it is found."""
        return self.terms.session, self.terms.share

    @property
    def weight(self) -> int:
        """Its weight among the lanes."""
        return min(max(self.terms.weight, 1), WEIGHT_MAX)

    @property
    def ready(self) -> bool:
        """Whether a chunk of it may be sealed now."""
        in_window = len(self.asked) + len(self.frames) < WINDOW
        return bool(self.queue) and in_window and len(self.asked) < ASKED_MAX and not self.waits

    @property
    def idle(self) -> bool:
        """Whether nothing of it is here."""
        return not (self.queue or self.held or self.asked or self.frames)

    @property
    def chunks(self) -> int:
        """How many chunks of it are here."""
        return len(self.queue) + len(self.held) + len(self.asked) + len(self.frames)

    def is_past(self, epoch: bytes) -> bool:
        """Whether the ends of the session have begun another datagram epoch since."""
        return epoch in self.epochs and epoch != next(reversed(self.epochs))

    def begin(self, epoch: bytes) -> list[int]:
        """Enter an epoch: what is not sent of the ones before is worth no pad any more.

        Returns the pads that are asked for and not needed; who is held back stays.
        """
        if epoch in self.epochs:
            return []
        self.epochs[epoch] = None
        if len(self.epochs) > EPOCHS_MAX:
            del self.epochs[next(iter(self.epochs))]
        vain = list(self.asked)
        self.asked.clear()
        self.queue.clear()
        return vain

    def has(self, id_: ChunkId) -> bool:
        """Whether this chunk is here, at whatever stage."""
        return id_ in self.frames or any(chunk.id == id_ for chunk in self._clear())

    def _clear(self) -> Iterator[Chunk]:
        yield from self.queue
        yield from self.asked.values()
        for held in self.held:
            yield held.chunk


class Lanes:
    """All lanes of a relay, and whose turn it is: deficit round robin by weights."""

    def __init__(self) -> None:
        self.lanes: dict[LaneKey, Lane] = {}
        self._round: dict[LaneKey, Lane] = {}

    def open(self, terms: LaneOpened, now: float) -> Lane | None:
        """Add a lane, or renew its terms; None if there is no room for it."""
        lane = self.lanes.get((terms.session, terms.share))
        if lane:
            lane.terms = terms
        elif len(self.lanes) < LANES_MAX:
            lane = Lane(terms, now)
            self.lanes[lane.key] = lane
        return lane

    def close(self, key: LaneKey) -> Lane | None:
        """Take a lane out, with all that is in it."""
        self._round.pop(key, None)
        return self.lanes.pop(key, None)

    def of(self, id_: ChunkId) -> Lane | None:
        """Return the lane that a chunk belongs to."""
        return self.lanes.get((id_.session, id_.share))

    def queued(self, lane: Lane) -> None:
        """Something has changed for a lane: it takes part if it has something to send."""
        if lane.ready and lane.key not in self._round:
            self._round[lane.key] = lane

    def next(self) -> tuple[Lane, Chunk] | None:
        """Take the chunk whose turn it is out of its queue; None if no lane is ready.

        Each time round a lane may send `CHUNK_MAX` octets for each unit of its weight; what it
        does not use of that counts the next time, as long as it has something to send.
        """
        while self._round:
            key, lane = next(iter(self._round.items()))
            if not lane.ready:
                del self._round[key]
                lane.deficit = lane.deficit if lane.queue else 0
                continue
            size = len(lane.queue[0].payload)
            if lane.deficit >= size:
                lane.deficit -= size
                return lane, lane.queue.popleft()
            lane.deficit += CHUNK_MAX * lane.weight
            del self._round[key]  # to the end of the round
            self._round[key] = lane
        return None

    @property
    def chunks(self) -> int:
        """How many chunks are here."""
        return sum(lane.chunks for lane in self.lanes.values())
