"""Room: how much a share may send so that every hop of its path has the pads (R13).

Each relay tells the one before it, down to the link where the session begins, for how many
octets there are pads from here to the end, and after which chunk that counts. Nothing has to be
guessed: a chunk is sent only when its pads are there, so none waits at a hop or dies of a missing
one. A share that wants to send and finds no room says so along its path; each hop then keeps bits
for one chunk of it. Sizes are octets.
"""

import math
from dataclasses import dataclass, field

from actors.base import Context, Part, handles
from actors.crypto.one_time_pad import KEY_OCTETS
from actors.protocol.pads import AskPadRoom, PadRoom, WantPads
from actors.protocol.relay import (
    CHUNK_MIN,
    CHUNK_PAD_MIN,
    GIVE_UP_S,
    HOLD_S,
    ROOM_MAX,
    LaneRoom,
    LaneWants,
    Room,
    Wants,
    give_up_s,
)
from actors.relay.frames import Neighbour
from actors.relay.link_queue import ShareKey
from actors.relay.queues import SendQueue, SendQueues
from transport.envelope import Address
from transport.message import Message, local

ROOM_EVERY_S = 5.0
"""So often the same is said again, to a share that sends: words get lost, and relays crash."""
ACTIVE_S = 15.0
"""A share that has sent nothing for so long, and has not said that it wants, keeps nothing."""
WANT_EVERY_S = 0.1
NEWS_PART = 4
"""Room that has grown is news when it has by one such part."""
TAKEN_MAX = 64
AT_ONCE_MAX = 4
"""Shares that want and are told whatever happens to any of them, exactly and at once."""
PAUSE_EACH_S = 0.25e-3
"""Seconds between two divisions for each share that wants, when there are more: what a division
costs grows with them, and what each has of the link, from one to the next, falls."""

_HAIR_S = 1e-6
"""A timer may ring so early, where clocks differ; that is no reason to set another."""


@local
class Divide(Message):
    """Time to divide again."""


@dataclass(slots=True)
class ShareRoom:
    """What is known of the room of one share."""

    beyond: tuple[int, int] = (-1, 0)
    """After which chunk the rest of the path has room, and for how many octets."""
    taken: list[tuple[int, int, float]] = field(default_factory=list)
    """Chunks taken over lately: seq, octets, and when they are dead at the latest; a short list."""
    last: int = -1
    """The newest chunk taken over."""
    turn: float = 0.0
    """Its place among shares that want: octets taken over by weight."""
    wants: float = -math.inf
    """When it was last known to want."""
    told: tuple[int, int] = (-1, -1)
    told_at: float = -math.inf

    def on_its_way(self, now: float) -> list[tuple[int, int, float]]:
        """Forget chunks that died here, or that nobody will count any more; return the others."""
        while self.taken and self.taken[0][2] <= now:
            del self.taken[0]
        return self.taken


class Rooms(Part):
    """Divides what the store has for pads among the shares that are sent to the neighbour."""

    def __init__(self, context: Context, neighbour: Neighbour, queues: SendQueues) -> None:
        self._context, self._neighbour, self._queues = context, neighbour, queues
        self._rooms: dict[ShareKey, ShareRoom] = {}
        self._active: dict[ShareKey, SendQueue] = {}
        """Shares that send, or want to: only these are walked over at each event."""
        self._changed: dict[ShareKey, SendQueue] = {}
        """Others for which there may be news."""
        self._next_at, self._reminded = -math.inf, False
        """Before that nothing is divided again, and whether somebody will see to it then."""
        self._enough: bool | None = None
        """Whether there was a chunk's room for those at rest when they were told; None: untold."""
        self._free, self._rate = 0, 0.0
        self._claimed, self._asked_at, self._claimed_at = -1, -math.inf, -math.inf
        self._turn = 0.0
        """Of the share that was served last."""
        self._origin_turns: dict[str, float] = {}
        self._origin_turn = 0.0
        """The same of origins: octets taken over, whatever number of shares they have."""

    @property
    def give_up_s(self) -> float:
        """Seconds after which a chunk is dropped, and a share without progress reported."""
        return give_up_s(self._rate)

    @property
    def hold_s(self) -> float:
        """Seconds for which a chunk is held back."""
        return HOLD_S / GIVE_UP_S * self.give_up_s

    # What befalls the relay

    def started(self) -> None:
        """Ask the store what is there."""
        self._context.tell(self._neighbour.store, AskPadRoom())

    def opened(self, queue: SendQueue) -> None:
        """A share is sent this way."""
        self._changed[queue.key] = queue
        self.tell()

    def closed(self, key: ShareKey) -> None:
        """It is not any more."""
        for of_share in (self._rooms, self._active, self._changed):
            of_share.pop(key, None)

    def speaks(self) -> None:
        """The neighbour has said which words it knows: that may be news for every share."""
        self._enough = None
        self.tell()

    def took(self, queue: SendQueue, seq: int, octets: int) -> None:
        """A chunk was taken over: it is counted here from now on."""
        room, now = self._of(queue), self._now
        self._want(queue, room)
        room.last = max(room.last, seq)
        if not _ends_next(queue):
            room.taken.append((seq, octets, now + self.give_up_s))
            del room.taken[:-TAKEN_MAX]
        start = max(room.turn, self._turn)
        room.turn, self._turn = start + octets / queue.weight, start
        origin = queue.terms.session.origin
        begun = self._turn_of(origin)
        self._origin_turns[origin], self._origin_turn = begun + octets, begun

    def padded(self, octets: int) -> None:
        """The store has given a pad: both of us know that it has so much less."""
        self._free -= octets

    # What is said

    @handles(PadRoom)
    def on_pad_room(self, news: PadRoom) -> None:
        """The store has so much for us."""
        if self._context.sender == self._neighbour.store:
            self._free, self._rate = news.octets, news.rate
            self.tell()

    @handles(LaneWants)
    def on_lane_wants(self, news: LaneWants) -> None:
        """The origin waits for room: keep bits for it here, and tell the next hop."""
        queue = self._queues.by_share.get((news.session, news.share))
        here = self._context.address.node
        if queue is None or self._context.sender != Address(queue.terms.source, here):
            return
        room = self._of(queue)
        self._want(queue, room)
        room.told_at = -math.inf  # what it was told may have got lost
        if not _ends_next(queue) and self._neighbour.speaks(Wants):
            word = Wants(session=news.session, share=news.share)
            self._context.tell(self._neighbour.relay, word)
        self.tell()

    @handles(Room)
    def on_room(self, word: Room) -> None:
        """The neighbour has room for a share, and so has the rest of its path."""
        queue = self._queues.by_share.get((word.session, word.share))
        if queue is None:
            return
        room = self._of(queue)
        room.beyond = word.after, max(0, word.octets)
        while room.taken and room.taken[0][0] <= word.after:
            del room.taken[0]
        self._changed[queue.key] = queue
        self.tell()

    @handles(Divide)
    def on_divide(self, _: Divide) -> None:
        """Something has happened since it was divided."""
        self._reminded = False
        self.tell()

    def tell(self) -> None:
        """Divide what is there, and tell the source of each share, as far as it is news.

        Not at once again when many want. No more is promised until then than was there.
        """
        now = self._now
        if not self._queues.by_share:
            return
        if self._next_at - now > _HAIR_S:
            if not self._reminded:
                self._reminded = True
                self._context.remind(self._next_at - now, Divide())
            return
        free = self._free - sum(queue.to_pad for queue in self._queues.busy.values())
        self._let_rest(now)
        active = list(self._active.values())
        self._next_at = now + PAUSE_EACH_S * len(active) if len(active) > AT_ONCE_MAX else now
        self._claim(CHUNK_PAD_MIN * len(active), free, now)
        many = len(active) > AT_ONCE_MAX
        for queue, mine in self._divided(active, free):
            self._tell(queue, mine, now, active=True, coarse=many)
        for queue in self._news_at_rest(free, now):
            self._tell(queue, min(free, CHUNK_PAD_MIN), now, active=False)

    def _want(self, queue: SendQueue, room: ShareRoom) -> None:
        """It sends, or waits for room."""
        room.wants = self._now
        self._active[queue.key] = queue
        self._changed.pop(queue.key, None)

    def _let_rest(self, now: float) -> None:
        """Shares that were not heard of for a while are at rest."""
        for queue in list(self._active.values()):
            if now - self._of(queue).wants >= ACTIVE_S:
                self._changed[queue.key] = self._active.pop(queue.key)

    def _news_at_rest(self, free: int, now: float) -> list[SendQueue]:
        """Return the shares at rest for which there may be news.

        What a share at rest is told hangs on its own path, and on whether there is a chunk's room
        here: so all are looked at when that changes, and only then.
        """
        enough = free >= CHUNK_PAD_MIN
        changed = self._queues.by_share if enough is not self._enough else self._changed
        self._enough = enough
        found = [queue for key, queue in changed.items() if key not in self._active]
        self._changed = {it.key: it for it in found if self._of(it).on_its_way(now)}
        return found

    def _divided(self, active: list[SendQueue], free: int) -> list[tuple[SendQueue, int]]:
        """Equal parts for all origins, whatever number of shares each has.

        Of its part an origin has a chunk for each of its shares, who has had least first, and what
        is left by their weights. Where there is less than a chunk for each origin, the one behind
        comes first.
        """
        of_origin: dict[str, list[SendQueue]] = {}
        for queue in sorted(active, key=lambda queue: self._of(queue).turn):
            of_origin.setdefault(queue.terms.session.origin, []).append(queue)
        self._origin_turns = {it: self._turn_of(it) for it in of_origin}
        found = []
        for waiting, origin in enumerate(sorted(of_origin, key=self._turn_of)):
            part = max(free // (len(of_origin) - waiting), min(free, CHUNK_PAD_MIN))
            divided = _by_weight(of_origin[origin], part)
            free -= sum(octets for _, octets in divided if octets >= CHUNK_PAD_MIN)
            found += divided
        return found

    def _turn_of(self, origin: str) -> float:
        return max(self._origin_turns.get(origin, 0.0), self._origin_turn)

    def _claim(self, octets: int, free: int, now: float) -> None:
        """Let the store know what is wanted, and now and then ask how it is: it may be another."""
        if now - self._asked_at >= ROOM_EVERY_S:
            self._asked_at, self._claimed = now, -1
            self._context.tell(self._neighbour.store, AskPadRoom())
        late = free < octets and now - self._claimed_at >= WANT_EVERY_S
        if octets != self._claimed or late:
            self._claimed, self._claimed_at = octets, now
            self._context.tell(self._neighbour.store, WantPads(octets=octets))

    def _tell(
        self, queue: SendQueue, pads: int, now: float, *, active: bool, coarse: bool = False
    ) -> None:
        room = self._of(queue)
        octets = max(0, min(pads - KEY_OCTETS, self._beyond(queue, room, now), ROOM_MAX))
        if coarse and octets >= CHUNK_MIN:
            octets = _coarse(octets)
        usable = octets if octets >= CHUNK_MIN else 0  # less is only told when it is time to
        after, said = room.told
        grown = usable - said
        news = room.last != after or grown < 0 or (grown and grown * NEWS_PART >= said)
        again = active and now - room.told_at >= ROOM_EVERY_S
        if not news and not again:
            return
        room.told, room.told_at = (room.last, usable), now
        terms = queue.terms
        word = LaneRoom(
            session=terms.session,
            share=terms.share,
            after=room.last,
            octets=octets,
            hold_s=self.hold_s,
        )
        self._context.tell(Address(terms.source, self._context.address.node), word)

    def _beyond(self, queue: SendQueue, room: ShareRoom, now: float) -> int:
        """Octets for which the rest of the path has pads, less what is on its way there."""
        if _ends_next(queue):
            return ROOM_MAX
        if self._neighbour.words is not None and not self._neighbour.speaks(Room):
            return CHUNK_MIN  # of an earlier version: it says nothing, and holds chunks back
        after, octets = room.beyond
        taken = room.on_its_way(now)
        return octets - sum(size + KEY_OCTETS for seq, size, _ in taken if seq > after)

    def _of(self, queue: SendQueue) -> ShareRoom:
        room = self._rooms.get(queue.key)
        if room is None:
            room = self._rooms[queue.key] = ShareRoom()
        return room

    @property
    def _now(self) -> float:
        return self._context.clock.now


def _by_weight(queues: list[SendQueue], octets: int) -> list[tuple[SendQueue, int]]:
    """Divide the part of an origin among its shares: what is left is for the next in turn."""
    weights = sum(queue.weight for queue in queues)
    spare = max(0, octets - CHUNK_PAD_MIN * len(queues))
    found = []
    for queue in queues:
        least = max(0, min(CHUNK_PAD_MIN, octets))
        octets -= least
        found.append((queue, least + spare * queue.weight // weights))
    return found


def _coarse(octets: int) -> int:
    """Round down to one, two, three, four, six, eight ... of the smallest chunks.

    What many shares have shrinks a little with each chunk of any of them.
    """
    chunks = octets // CHUNK_MIN
    shift = max(0, chunks.bit_length() - 2)
    return (chunks >> shift << shift) * CHUNK_MIN


def _ends_next(queue: SendQueue) -> bool:
    """Whether the neighbour is the end of the path, which takes whatever comes."""
    return queue.terms.hop + 2 == len(queue.terms.path)
