"""The module of a QKD device that is asked for keys: what to ask next, whom, and what comes of it.

Both ends' devices give the same keys under the same names. A desk says what to ask next, and what
an answer means; an asker asks; `Device` is the module that stands between them and the link.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, NamedTuple, Protocol, TypeVar

from actors.modules.module import GROUP_DATAGRAMS, GROUP_OCTETS, Bits, Host, Role
from transport.message import Secret
from transport.stage import kind_and_place

_TICK_S = 0.1
_LOOK_S = (0.05, 5.0)

T = TypeVar("T")
Request = TypeVar("Request")
Answer = TypeVar("Answer")
Heard_contra = TypeVar("Heard_contra", contravariant=True)  # the answers that a desk is given
Given_co = TypeVar("Given_co", covariant=True)  # those that an asker brings


class DeviceError(Exception):
    """A request came to nothing; the text is for an operator, and has no key bits.

    `kind`: `no_answer`, `timeout`, `tls`, `unauthorized` (401), `refused` (400), `unavailable`
    (503), `server_error`, `malformed`, `repeated`; of a key stream also `no_peer` (its other end is
    not there), `in_use` and `qos`. `retry_after` is in seconds, 0 if none is said.
    """

    def __init__(self, kind: str, text: str, retry_after: float = 0.0) -> None:
        super().__init__(text)
        self.kind, self.retry_after = kind, retry_after


@dataclass(frozen=True, slots=True)
class DeviceKey:
    """One key, and the name under which the other end's device gives it too."""

    key_id: str
    octets: Secret


class Fetched(NamedTuple):
    """One key that was named to us, under the seq that goes with it."""

    seq: int
    octets: Secret


class Found(NamedTuple):
    """What an answer brought: keys to be named to the other end, or keys that it had named."""

    new: Sequence[DeviceKey] = ()
    named: Sequence[Fetched] = ()


@dataclass(slots=True)
class Told:
    """What there is to count since it was last asked."""

    lost: int = 0
    """Keys that were named and could not be had in time."""
    short: int = 0
    """Keys that were asked for, and that the device did not give though it says it has them."""
    stored: int | None = None
    """How many keys the device says it has, if it was asked."""


class Desk(Protocol[Request, Heard_contra]):
    """What to ask next, and what answers mean; no clock, no thread, no socket of its own."""

    told: Told
    quiet: str
    """Why there are no keys; empty while there are some."""
    qber: float | None
    """What the device told last of its line; None: nothing."""
    last_at: float | None
    """When bits came last."""

    def open(self, now: float) -> None:
        """Begin an epoch: what was to be fetched before is of no use."""
        ...

    def want(self, seqs: Sequence[int], key_ids: Sequence[str], now: float) -> None:
        """Fetch these when it is their turn; past a limit they are lost."""
        ...

    def next(self, now: float, credit: int) -> Request | float:
        """Return what to ask now, or in how many seconds to look again."""
        ...

    def got(self, asked: Request, answer: Heard_contra, now: float) -> Found:
        """Return what may be used of an answer; `DeviceError` if it is no good after all."""
        ...

    def failed(self, asked: Request, why: DeviceError, now: float) -> bool:
        """Note that it came to nothing; whether an operator is to read of it."""
        ...

    def late(self, answer: Heard_contra) -> None:
        """Let go of what came when its epoch was over."""
        ...


class Asker(Protocol[Request, Given_co]):
    """Who asks the device, and never blocks whoever tells it to: `asker.Thread`."""

    def start(
        self,
        done: Callable[[Request, Given_co | DeviceError], None],
        broken: Callable[[BaseException], None],
    ) -> None:
        """Begin; both may be called on another thread."""
        ...

    def ask(self, request: Request) -> None:
        """Have `done` called with what comes of this."""
        ...

    def stop(self) -> None:
        """Let go of everything; harmless at any time."""
        ...


class Outcome(NamedTuple, Generic[Request, Answer]):
    """What came of a request."""

    request: Request
    answer: Answer | DeviceError


class Device(Generic[Request, Answer]):
    """A `Module` that fetches keys: what to ask says the desk, the asker asks.

    One request is under way at a time. What comes of it is put aside on the asker's thread, and
    dealt with in a turn of the link.
    """

    def __init__(
        self, role: Role, desk: Desk[Request, Answer], asker: Asker[Request, Answer]
    ) -> None:
        self.role: Role = role
        self.tick_s = None if role == "receiver" else _TICK_S
        self._desk, self._asker = desk, asker
        self._outcomes: deque[Outcome[Request, Answer]] = deque()
        self._open = self._busy = False
        self._turn = self._asked_turn = self._seq = self._credit = 0
        self._look_at = 0.0
        self._shown: tuple[float | None, str] = (None, "")

    def start(self, host: Host) -> None:
        """Begin to be able to ask."""
        self._host = host
        self._asker.start(self._done, lambda why: host.broken(f"device: {kind_and_place(why)}"))

    def open(self, epoch: bytes) -> None:
        """Begin an epoch at a random seq, which never was before: see the emulated module."""
        self._turn += 1
        self._seq = int.from_bytes(self._host.random(8), "big") >> 2
        self._open = True
        self._desk.open(self._host.now())
        self._go_on()

    def close(self) -> None:
        """Ask nothing more; what is under way comes to nothing."""
        self._open, self._credit = False, 0

    def stop(self) -> None:
        """End the asker."""
        self._open = False
        self._asker.stop()

    def tick(self, octets: int) -> Iterable[Bits]:
        """Hear of the credit; bits come by `take`."""
        self._credit = octets
        self._go_on()
        return ()

    def release(self, bits: Bits) -> None:
        """Nothing to do: the other end's device has them."""

    def fetch(self, seqs: Sequence[int], key_ids: Sequence[str]) -> None:
        """Fetch what the other end's device has given there."""
        self._desk.want(seqs, key_ids, self._host.now())
        self._go_on()

    def take(self, datagrams: tuple[Secret, ...]) -> Iterator[Bits]:
        """Deal with what came, and look what to do next."""
        while self._outcomes:
            outcome = self._outcomes.popleft()
            self._busy = False
            if self._asked_turn == self._turn and self._open:
                yield from self._settle(outcome.request, outcome.answer)
            elif not isinstance(outcome.answer, DeviceError):
                self._desk.late(outcome.answer)
        self._go_on()

    # What to ask next

    def _go_on(self) -> None:
        self._tell()
        if not self._open or self._busy:
            return
        now = self._host.now()
        request = self._desk.next(now, self._credit)
        if isinstance(request, float | int):
            wait = min(max(request, _LOOK_S[0]), _LOOK_S[1])
            if not now < self._look_at <= now + wait:
                self._look_at = now + wait
                self._host.arrived((), wait)
            return
        self._busy, self._asked_turn = True, self._turn
        self._asker.ask(request)

    def _done(self, request: Request, answer: Answer | DeviceError) -> None:
        """On the asker's thread: put it aside, have a turn."""
        self._outcomes.append(Outcome(request, answer))
        self._host.arrived(())

    # What came

    def _settle(self, request: Request, answer: Answer | DeviceError) -> Iterator[Bits]:
        now, desk = self._host.now(), self._desk
        try:
            if isinstance(answer, DeviceError):
                raise answer
            found = desk.got(request, answer, now)
        except DeviceError as why:
            self._host.count("device_errors", kind=why.kind)
            if desk.failed(request, why, now):
                self._host.log.warning("device_failed", kind=why.kind, why=str(why))
            return
        yield from self._new(found.new)
        yield from _named(found.named)

    def _new(self, keys: Sequence[DeviceKey]) -> Iterator[Bits]:
        for group in _groups(keys, lambda key: len(key.octets)):
            seqs = range(self._seq, self._seq + len(group))
            self._seq = seqs.stop
            made = Bits(seqs, tuple(k.octets for k in group), tuple(k.key_id for k in group))
            self._credit -= made.octets
            yield made

    def _tell(self) -> None:
        """Count what was lost, show how it stands."""
        told, desk = self._desk.told, self._desk
        self._host.count("device_keys_lost", told.lost, reason="not_fetched")
        self._host.count("device_keys_lost", told.short, reason="not_given")
        told.lost = told.short = 0
        if told.stored is not None:
            self._host.gauge("device_keys", told.stored)
        if desk.last_at is not None:
            self._host.gauge("device_idle_seconds", self._host.now() - desk.last_at)
        if (shown := (desk.qber, desk.quiet)) != self._shown:
            self._shown = shown
            self._host.measured(desk.qber, quiet=desk.quiet)


def _named(found: Sequence[Fetched]) -> Iterator[Bits]:
    for group in _groups(found, lambda it: len(it.octets)):
        yield Bits([it.seq for it in group], tuple(it.octets for it in group))


def _groups(found: Sequence[T], size: Callable[[T], int]) -> Iterator[list[T]]:
    """Cut into groups as they are passed on."""
    group: list[T] = []
    octets = 0
    for each in found:
        if group and (len(group) >= GROUP_DATAGRAMS or octets + size(each) > GROUP_OCTETS):
            yield group
            group, octets = [], 0
        group.append(each)
        octets += size(each)
    if group:
        yield group
