"""What to ask a device next, and what its answers mean: no clock, no thread, no socket of its own.

The end that gives asks for a status, then for as many keys as credit, status and the device's
limits allow. The end that takes asks for the keys that were named to it, while their time lasts.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from actors.modules.datagram import MAX_PAYLOAD
from actors.modules.devices.device import DeviceError, DeviceKey, Fetched, Found, Told
from actors.modules.devices.seen import Seen
from actors.modules.etsi014.talk import (
    Answer,
    Container,
    DecKeys,
    EncKeys,
    GetStatus,
    Request,
    Status,
)
from actors.modules.module import Role

POLL_S = 0.5
"""A device that had few keys is asked for its status so often ..."""
WATCH_S = 10.0
"""... and one from which nothing is wanted, so seldom."""
BACK_OFF_S, BACK_OFF_MAX_S = 0.5, 30.0
"""After an error; doubled with each that follows."""
RETRY_AFTER_MAX_S = 300.0
"""A device may ask for so much patience, and no more."""
FETCH_S = 15.0
"""So long keys that were named are asked for; the other end gives them up after 20 s or more."""
RETRY_S = 0.25
"""A key that the device does not know yet is asked for again after that; doubled each time."""
WANTED_MAX = 65_536
"""Keys that were named and not fetched yet."""
QUIET_S = 10.0
"""A device that answers and has no keys is worth a word after so long."""
ANSWER_MAX = 1 << 20
"""Octets of key in one answer, at most."""
PER_REQUEST_MAX = 1024
"""Keys in one request, at most, whatever the device allows."""


class Wanted(NamedTuple):
    """Keys to be fetched together, until when, not before when, and how often in vain."""

    key_ids: tuple[str, ...]
    until: float
    at: float
    tries: int = 0


class Desk:
    """Decides for one end of a link, which has one request under way at most."""

    def __init__(self, role: Role, seen: Seen, *, size: int = 0, per_dec: int = 0) -> None:
        """`size`: bits of each key, 0: as fits; `per_dec`: key_IDs in one request, 0: as fits."""
        self._gives, self._half = role != "receiver", role == "both"
        self._seen, self._size, self._per_dec = seen, size, per_dec
        self.status: Status | None = None
        self.qber: float | None = None
        """What the device told last of its line; None: nothing."""
        self.quiet = ""
        """Why there are no keys; empty while there are some."""
        self.last_at: float | None = None
        """When bits came last."""
        self.told = Told()
        self._began = 0.0
        self._errors = 0
        self._failing: type[Request] | None = None
        self._not_before = 0.0
        self._status_at = 0.0
        self._left = 0
        self._poll_s = 0.0
        self._wanted: deque[Wanted] = deque()
        self._under_way: Wanted | None = None
        self._seqs: dict[str, int] = {}

    def open(self, now: float) -> None:
        """Begin an epoch: what was to be fetched before is of no use."""
        self._wanted.clear()
        self._seqs.clear()
        self.status, self._began = None, now

    def want(self, seqs: Sequence[int], key_ids: Sequence[str], now: float) -> None:
        """Fetch these when it is their turn; past the limit they are lost."""
        room = max(0, WANTED_MAX - len(self._seqs))
        self.told.lost += len(key_ids[room:])
        fresh = {key_id.lower(): seq for key_id, seq in zip(key_ids[:room], seqs, strict=False)}
        if fresh:
            self._seqs |= fresh
            self._wanted.append(Wanted(tuple(key_ids[:room]), now + FETCH_S, now))

    # What to ask

    def next(self, now: float, credit: int) -> Request | float:
        """Return what to ask now, or in how many seconds to look again."""
        self._give_up(now)
        if now < self._not_before:
            return self._not_before - now
        if self.status is None:
            return self._ask_status(now)
        if named := self._named(self.status, now):
            return named
        wants = self._gives and credit > 0
        if wants and (new := self._new(self.status, credit)):
            return new
        due = self._status_at + (self._poll_s if wants and not self._left else WATCH_S)
        if now >= due:
            return self._ask_status(now)
        return min([due - now, *(group.at - now for group in self._wanted)])

    def _ask_status(self, now: float) -> GetStatus:
        self._status_at = now
        return GetStatus()

    def _named(self, status: Status, now: float) -> DecKeys | None:
        """Take the first group that is due off the list, as far as the device takes so many."""
        most = self._per_dec or min(status.per_request, PER_REQUEST_MAX)
        for group in self._wanted:
            if group.at <= now:
                self._wanted.remove(group)
                if len(group.key_ids) > most:
                    self._wanted.appendleft(group._replace(key_ids=group.key_ids[most:]))
                self._under_way = group._replace(key_ids=group.key_ids[:most])
                return DecKeys(self._under_way.key_ids)
        return None

    def _new(self, status: Status, credit: int) -> EncKeys | None:
        """As many bits as may be had at once; None if there are none, or no credit for a key."""
        bits = min(8 * min(credit, ANSWER_MAX), self._left * status.key_size)
        most = min(status.per_request, PER_REQUEST_MAX)
        size = self._size or _fitting(status, bits // most)
        number = min(most, bits // size)
        return EncKeys(number, size) if number else None

    # What came

    def got(self, asked: Request, answer: Answer, now: float) -> Found:
        """Return what may be used of an answer; `DeviceError` if it is no good after all."""
        if isinstance(answer, Status):
            self.got_status(answer, now)
            return Found()
        if isinstance(asked, EncKeys):
            return Found(new=self.got_new(asked, answer, now))
        return Found(named=self.got_named(answer, now))

    def got_status(self, status: Status, now: float) -> None:
        """Note what there is; nothing for long is worth a word."""
        self.status, self.told.stored = status, status.stored
        self.qber = self.qber if status.qber is None else status.qber
        self._left = (status.stored + 1) // 2 if self._half else status.stored
        self._poll_s = POLL_S if status.stored < status.per_request else 0.0
        if self._failing is GetStatus:
            self._well()
        if self._gives and not status.stored:
            self._dry(now, "the device has no keys")

    def got_new(self, asked: EncKeys, found: Container, now: float) -> Sequence[DeviceKey]:
        """Return the keys that may be used; `DeviceError` if the device repeats itself."""
        self._note(found)
        assert self.status, "asked first"
        self._left -= min(self._left, -(-asked.number * asked.size // self.status.key_size))
        missing = asked.number - len(found.keys)
        if not found.keys:
            raise DeviceError("unavailable", "the device has keys, it says, and gives none")
        if missing:
            self.told.short += missing
            self._left, self._poll_s = 0, POLL_S
        self._came(now)
        return found.keys

    def got_named(self, found: Container, now: float) -> Sequence[Fetched]:
        """Return the keys under their seqs, ascending; `DeviceError` if the device repeats itself.

        What is fetched after its time, or in another epoch, is of no use.
        """
        self._note(found)
        self._came(now)
        known = ((self._seqs.pop(key.key_id.lower(), None), key.octets) for key in found.keys)
        return sorted(
            (Fetched(seq, octets) for seq, octets in known if seq is not None),
            key=lambda it: it.seq,
        )

    def failed(self, asked: Request, why: DeviceError, now: float) -> bool:
        """Back off; keys that the device does not know (yet) are asked for apart, and again."""
        if isinstance(asked, DecKeys):
            self._ask_again(why, now)
            if why.kind == "refused":
                return False  # it says no more than that it has not all of these keys
        if isinstance(asked, EncKeys):
            self._left = 0
        self._errors += 1
        self._failing = type(asked)
        pause = min(BACK_OFF_MAX_S, BACK_OFF_S * 2 ** min(self._errors - 1, 10))
        self._not_before = now + max(pause, min(why.retry_after, RETRY_AFTER_MAX_S))
        if why.kind == "unavailable":
            self._dry(now, str(why))
        else:
            self.quiet = str(why)
        return True

    def late(self, answer: Answer) -> None:
        """Nothing to do: keys of an epoch that is over are lost at both ends."""

    def _ask_again(self, why: DeviceError, now: float) -> None:
        """Halve a list that is refused as a whole; what was given in vain is given no more."""
        group, self._under_way = self._under_way, None
        if group is None or group.key_ids[0].lower() not in self._seqs:  # of an epoch before
            return
        half = len(group.key_ids) // 2
        if why.kind in ("malformed", "repeated"):
            self._lose(group.key_ids)
        elif half and why.kind in ("refused", "unauthorized"):
            self._wanted.appendleft(group._replace(key_ids=group.key_ids[half:]))
            self._wanted.appendleft(group._replace(key_ids=group.key_ids[:half]))
        else:
            at, tries = now + RETRY_S * 2**group.tries, group.tries + 1
            self._wanted.append(group._replace(at=at, tries=tries))

    def _give_up(self, now: float) -> None:
        late = [group for group in self._wanted if group.until <= now]
        for group in late:
            self._wanted.remove(group)
            self._lose(group.key_ids)
            silent = self.last_at is None or self.last_at < group.until - FETCH_S
            if silent and not self._errors:  # it answers, and says no more than no
                self.quiet = "the device has none of the keys that the other end got"

    def _lose(self, key_ids: Iterable[str]) -> None:
        for key_id in key_ids:
            if self._seqs.pop(key_id.lower(), None) is not None:
                self.told.lost += 1

    def _note(self, found: Container) -> None:
        self.qber = self.qber if found.qber is None else found.qber
        if self._seen.repeated(found.keys):
            raise DeviceError("repeated", "the device gave a key or a key_ID for the second time")

    def _came(self, now: float) -> None:
        self.last_at = now
        self._well()

    def _well(self) -> None:
        self.quiet, self._errors, self._failing = "", 0, None

    def _dry(self, now: float, why: str) -> None:
        """There are no keys at the moment, which is no news before it has lasted."""
        if now - (self._began if self.last_at is None else self.last_at) >= QUIET_S:
            self.quiet = self.quiet or why


def _fitting(status: Status, wanted: int) -> int:
    """Return a size for keys of `wanted` bits or more: a multiple of the device's own, mostly."""
    unit, largest = status.key_size, min(status.max_size, 8 * MAX_PAYLOAD)
    if unit > largest:
        return largest // 8 * 8
    return unit * min(largest // unit, max(1, -(-wanted // unit)))
