"""What to ask a device of key streams next, and what its answers mean: no clock, thread or socket.

The end that gives opens a stream, hands its id over to the other end, and reads chunk after chunk
as far as credit goes. The end that takes opens the same stream, and reads the chunks that were
named to it, while their time lasts. An end that does both has a stream of its own and follows
that of the other end.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from actors.modules.devices.device import DeviceError, DeviceKey, Fetched, Found, Told
from actors.modules.devices.seen import Seen
from actors.modules.etsi004.talk import (
    INDEX_MAX,
    Answer,
    Chunk,
    Chunks,
    Close,
    NamedKeys,
    NewKeys,
    Open,
    Opened,
    Request,
    name,
    read_name,
)
from actors.modules.module import Role
from transport.message import Secret

POLL_S = 0.25
"""A stream that had no more chunk is read again after that."""
WATCH_S = 10.0
"""Nothing is looked at more seldom."""
BACK_OFF_S, BACK_OFF_MAX_S = 0.5, 30.0
"""After an error; doubled with each that follows."""
PEER_S = 25.0
"""A stream that the other end has not opened by then is given up; its id is told for 20 s."""
PEER_POLL_S = (0.1, 2.0)
"""A stream whose other end is not there yet is read again after that; doubled each time."""
FETCH_S = 15.0
"""So long chunks that were named are asked for; the other end gives them up after 20 s or more."""
RETRY_S = 0.25
"""A chunk that is not there yet is asked for again after that; doubled each time."""
WANTED_MAX = 65_536
"""Chunks that were named and not fetched yet."""
GROUPS_MAX = 4_096
"""Of them, or of streams to be opened, so many groups; one that is named beyond is lost."""
QUIET_S = 10.0
"""A stream without key is worth a word after so long."""
ANSWER_MAX = 1 << 18
"""Octets of key that are asked for in one go, at most ..."""
CHUNKS_MAX = 256
"""... and chunks."""
_PAST = 16


@dataclass(slots=True)
class Stream:
    """A stream that is open here; `chunk` is 0 if its size is not known."""

    id: UUID
    chunk: int
    since: float
    next: int = 0
    flows: bool = False
    tries: int = 0
    at: float = 0.0


class Wanted(NamedTuple):
    """Chunks to be fetched together, until when, not before when, and how often in vain.

    None: the stream is to be opened.
    """

    stream: UUID
    indexes: tuple[int, ...]
    until: float
    at: float
    tries: int = 0


class Desk:
    """Decides for one end of a link, which has one request under way at most."""

    def __init__(self, role: Role, seen: Seen, draw: Callable[[int], bytes]) -> None:
        """`draw` gives random octets."""
        self._gives = role != "receiver"
        self._seen, self._draw = seen, draw
        self.quiet = ""
        self.qber: float | None = None  # 004 has no place for it
        self.last_at: float | None = None
        self.told = Told()
        self._began = 0.0
        self._errors = 0
        self._failing: type[Request] | None = None
        self._not_before = 0.0
        self._own: Stream | None = None
        self._theirs: Stream | None = None
        self._over: deque[UUID] = deque()
        self._past: deque[UUID] = deque(maxlen=_PAST)
        self._wanted: deque[Wanted] = deque()
        self._under_way: Wanted | None = None
        self._seqs: dict[tuple[UUID, int], int] = {}

    def open(self, now: float) -> None:
        """Begin an epoch with streams of its own; those before are closed."""
        self._wanted.clear()
        self._seqs.clear()
        self._leave_own()
        self._leave_theirs()
        self._began = now

    def want(self, seqs: Sequence[int], key_ids: Sequence[str], now: float) -> None:
        """Fetch these when it is their turn; past the limit they are lost."""
        groups: dict[UUID, list[int]] = {}
        for seq, key_id in zip(seqs, key_ids, strict=True):
            found = read_name(key_id)
            if found is None or not self._has_room(found[0], groups):
                self.told.lost += 1
                if found is None:
                    self.quiet = "the other end names keys of no key stream: is it etsi004 too?"
                continue
            stream, index = found
            group = groups.setdefault(stream, [])
            if index is not None:
                self._seqs[stream, index] = seq
                group.append(index)
        until = now + FETCH_S
        self._wanted.extend(Wanted(it, tuple(group), until, now) for it, group in groups.items())

    def _has_room(self, stream: UUID, groups: Collection[UUID]) -> bool:
        """Tell whether a chunk of a stream can be wanted, beside what this word names already."""
        if stream in self._past or len(self._seqs) >= WANTED_MAX:
            return False
        return stream in groups or len(self._wanted) + len(groups) < GROUPS_MAX

    # What to ask

    def next(self, now: float, credit: int) -> Request | float:
        """Return what to ask now, or in how many seconds to look again."""
        self._give_up(now)
        if now < self._not_before:
            return self._not_before - now
        if not self._over:
            request = self._of_theirs(now) or (self._of_own(now, credit) if self._gives else None)
            if request:
                return request
        if self._over:
            return Close(self._over[0])
        waits = [group.at - now for group in self._wanted]
        if self._own and self._own.at > now:
            waits.append(self._own.at - now)
        return min([WATCH_S, *waits])

    def _of_theirs(self, now: float) -> Request | None:
        for group in [group for group in self._wanted if group.at <= now]:
            if self._theirs is None:
                return Open(group.stream)
            if self._theirs.id != group.stream:
                self._leave_theirs()
                return None
            self._wanted.remove(group)
            if group.indexes:
                return self._named(group, self._theirs)
        return None

    def _named(self, group: Wanted, theirs: Stream) -> Request:
        most = _most(theirs.chunk)
        if len(group.indexes) > most:
            self._wanted.appendleft(group._replace(indexes=group.indexes[most:]))
        self._under_way = group._replace(indexes=group.indexes[:most])
        return NamedKeys(group.stream, self._under_way.indexes, theirs.chunk)

    def _of_own(self, now: float, credit: int) -> Request | None:
        """As many chunks as may be had at once; None if there is no credit for one."""
        own = self._own
        if own is None:
            return Open() if credit > 0 else None
        if own.next > INDEX_MAX:
            self._leave_own()
            return None
        number = min(credit // own.chunk, _most(own.chunk), INDEX_MAX + 1 - own.next)
        if now < own.at or not number:
            return None
        return NewKeys(own.id, own.next, number, own.chunk)

    # What came

    def got(self, asked: Request, answer: Answer, now: float) -> Found:
        """Return what may be used of an answer; `DeviceError` if the device repeats itself."""
        if isinstance(answer, Opened):
            return self._opened(asked, answer, now)
        if isinstance(answer, Chunks):
            return (self._came if answer.chunks else self._dried)(asked, answer.chunks, now)
        self._over.popleft()
        return Found()

    def _opened(self, asked: Request, answer: Opened, now: float) -> Found:
        if self._failing is Open:
            self._well()
        made = Stream(answer.stream, answer.chunk, now)
        if isinstance(asked, Open) and asked.stream:
            self._theirs = made
            return Found()
        if made.id in self._past:
            self._over.append(made.id)
            raise DeviceError("repeated", "the device opened a stream for the second time")
        self._own = made
        # Its id rides as the name of a key that no device gives: that octet is discarded (R2).
        return Found(new=[DeviceKey(name(made.id, None), Secret(self._draw(1)))])

    def _came(self, asked: Request, chunks: Sequence[Chunk], now: float) -> Found:
        assert isinstance(asked, NewKeys | NamedKeys), "who asked for chunks"
        keys = [DeviceKey(name(asked.stream, it.index), it.octets) for it in chunks]
        if self._seen.repeated(keys):
            raise DeviceError("repeated", "the device gave a chunk for the second time")
        self.last_at = now
        self._well()
        if isinstance(asked, NewKeys):
            assert self._own, "it was read"
            last = chunks[-1].index
            self.told.short += last + 1 - asked.first - len(chunks)
            self._own.next, self._own.flows, self._own.tries = last + 1, True, 0
            return Found(new=keys)
        group, self._under_way = self._under_way, None
        if group and (rest := group.indexes[len(chunks) :]):
            self._wanted.appendleft(group._replace(indexes=rest))
        known = ((self._seqs.pop((asked.stream, it.index), None), it.octets) for it in chunks)
        named = [Fetched(seq, octets) for seq, octets in known if seq is not None]
        return Found(named=sorted(named, key=lambda it: it.seq))

    def _dried(self, asked: Request, _: Sequence[Chunk], now: float) -> Found:
        """There is no such chunk yet: read again soon."""
        if isinstance(asked, NamedKeys):
            self._ask_again("unavailable", now)
        elif self._own:
            self._own.at = now + POLL_S
            self._dry(now, "the key stream has no key")
        return Found()

    def failed(self, asked: Request, why: DeviceError, now: float) -> bool:
        """Back off; what is not there yet is asked for again, without a word."""
        if isinstance(asked, Close):
            self._over.popleft()
        elif isinstance(asked, NamedKeys):
            self._ask_again(why.kind, now)
            if why.kind == "no_peer":
                return False
        elif isinstance(asked, NewKeys):
            if why.kind == "no_peer":
                return self._wait(why, now)
            if why.kind in ("malformed", "repeated", "refused", "in_use"):
                self._leave_own()
        elif asked.stream and why.kind == "in_use":  # by a former life of ours: go on
            self._theirs = Stream(asked.stream, 0, now)
            return False
        self._errors += 1
        self._failing = type(asked)
        pause = min(BACK_OFF_MAX_S, BACK_OFF_S * 2 ** min(self._errors - 1, 10))
        self._not_before = now + pause
        if why.kind == "unavailable":
            self._dry(now, str(why))
        else:
            self.quiet = str(why)
        return True

    def late(self, answer: Answer) -> None:
        """Close a stream that was opened for an epoch that is over."""
        if isinstance(answer, Opened):
            self._over.append(answer.stream)

    def _wait(self, why: DeviceError, now: float) -> bool:
        """Read on later; a stream that has ended, or whose other end does not come, is left."""
        own = self._own
        assert own, "it was read"
        self._dry(now, str(why))
        if own.flows or now - own.since >= PEER_S:
            self._leave_own()
            self._not_before = now + BACK_OFF_S
            return True
        own.at = now + min(PEER_POLL_S[0] * 2.0**own.tries, PEER_POLL_S[1])
        own.tries = min(own.tries + 1, 10)
        return False

    def _ask_again(self, kind: str, now: float) -> None:
        """Leave out a chunk that was given in vain; open the stream anew if it is not there."""
        group, self._under_way = self._under_way, None
        if group is None or (group.stream, group.indexes[0]) not in self._seqs:
            return  # of another epoch
        if kind in ("malformed", "repeated"):
            self._lose(group.stream, group.indexes[:1])
            if rest := group.indexes[1:]:
                self._wanted.appendleft(group._replace(indexes=rest))
            return
        if kind == "no_peer":
            self._theirs = None
        at, tries = now + RETRY_S * 2**group.tries, group.tries + 1
        self._wanted.append(group._replace(at=at, tries=tries))

    def _give_up(self, now: float) -> None:
        for group in [group for group in self._wanted if group.until <= now]:
            self._wanted.remove(group)
            self._lose(group.stream, group.indexes)
            silent = self.last_at is None or self.last_at < group.until - FETCH_S
            if (
                silent and group.indexes and not self._errors
            ):  # it answers, and says no more than no
                self.quiet = "the device has none of the keys that the other end got"

    def _leave_own(self) -> None:
        if self._own:
            self._over.append(self._own.id)
            self._past.append(self._own.id)
        self._own = None

    def _leave_theirs(self) -> None:
        """What is still to be fetched from this stream is lost: the other end has another."""
        if theirs := self._theirs:
            self._over.append(theirs.id)
            self._past.append(theirs.id)
            for group in [group for group in self._wanted if group.stream == theirs.id]:
                self._wanted.remove(group)
                self._lose(group.stream, group.indexes)
        self._theirs = None

    def _lose(self, stream: UUID, indexes: Iterable[int]) -> None:
        for index in indexes:
            if self._seqs.pop((stream, index), None) is not None:
                self.told.lost += 1

    def _well(self) -> None:
        self.quiet, self._errors, self._failing = "", 0, None

    def _dry(self, now: float, why: str) -> None:
        """There is no key at the moment, which is no news before it has lasted."""
        if now - (self._began if self.last_at is None else self.last_at) >= QUIET_S:
            self.quiet = self.quiet or why


def _most(chunk: int) -> int:
    return max(1, min(CHUNKS_MAX, ANSWER_MAX // chunk)) if chunk else CHUNKS_MAX
