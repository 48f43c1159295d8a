"""What a QKD module is to its quantum link: a new kind of module is one new file beside this one.

docs/modules.md tells it step by step. A module belongs to one `QuantumLink` and is called
only in that actor's turns. Threads of its own talk back through its `Host`, and in no other way.
"""

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import structlog

from actors.base import System
from actors.modules.datagram import MAX_PAYLOAD
from actors.protocol.links import SEQ_LIMIT, sound
from transport.envelope import Address, Envelope
from transport.explained import Explained
from transport.message import Message, Secret, local

Role = Literal["sender", "receiver", "both"]
"""Which end of the link this is; with real devices the sender is the end that begins, or both."""

GROUP_OCTETS = 64 * 1024
"""A group of datagrams is passed on when it holds so many octets ..."""

GROUP_DATAGRAMS = 1024
"""... or so many datagrams."""


class ModuleFailed(Explained, RuntimeError):
    """The module cannot go on; the text tells an operator what and where."""


class ModuleNotReady(Explained, RuntimeError):
    """The module cannot open now, but may later: the link asks again after a while."""


class Bits(NamedTuple):
    """Bits from the module: `seqs` ascend (at the sender's end without gaps), one payload each."""

    seqs: Sequence[int]
    payloads: tuple[Secret, ...]
    key_ids: tuple[str, ...] = ()
    """Of a device that gives keys: the other end is to fetch the same ones, one key_ID for each."""

    @property
    def octets(self) -> int:
        """How many octets of key material these are."""
        return sum(map(len, self.payloads))

    def fault(self, *, gaps: bool) -> str:
        """Say what of it no key store could take, or nothing; at one end seqs may have `gaps`."""
        seqs = list(self.seqs)
        if set(map(type, self.payloads)) != {Secret} or len(seqs) != len(self.payloads):
            return "one Secret for each seq, and one or more, are a group of bits"
        if not all(0 < len(each) <= MAX_PAYLOAD for each in self.payloads):
            return f"a payload has 1 to {MAX_PAYLOAD:,} octets"
        numbers = set(map(type, seqs)) == {int} and 0 <= seqs[0] <= seqs[-1] < SEQ_LIMIT
        if not numbers or seqs != sorted(set(seqs)):
            return "seqs are numbers from 0 to 2^63 - 1, ascending"
        if not gaps and len(seqs) != seqs[-1] - seqs[0] + 1:
            return "at the end that begins, seqs have no gaps"
        named = set(map(type, self.key_ids)) == {str} and len(self.key_ids) == len(seqs)
        if self.key_ids and not (named and sound(self.key_ids)):
            return "key_IDs are printable ASCII, one for each seq"
        return ""


@local
class Arrived(Message):
    """Raw datagrams or blocks reached a module; `life` is the start of the link they are for."""

    life: int
    datagrams: tuple[Secret, ...]


@local
class Broken(Message):
    """A thread of the module came to its end; the link crashes, and a fresh one starts."""

    life: int
    why: str


@local
class Measured(Message):
    """What a module saw of its line: the error rate (0 to 0.5), and why there is no key, if so."""

    life: int
    qber: float | None
    quiet: str


class Host:
    """What a module may ask of the link it belongs to; every method may be called by any thread."""

    def __init__(self, system: System, link: Address, peer: str) -> None:
        self._system, self._link = system, link
        self.node, self.peer = system.node, peer
        self.life = int.from_bytes(system.random(7), "big")
        self.log = structlog.get_logger().bind(node=system.node, actor=link.name)

    def now(self) -> float:
        """Seconds since boot; never goes back."""
        return self._system.now()

    def random(self, n: int) -> bytes:
        """Return n octets from the system's CSPRNG."""
        return self._system.random(n)

    def arrived(self, datagrams: Iterable[bytes], delay: float = 0.0) -> None:
        """Have `take` called with these, in a later turn of the link; never blocks."""
        self._post(Arrived(life=self.life, datagrams=tuple(map(Secret, datagrams))), delay)

    def broken(self, why: str) -> None:
        """Say that the module came to its end; the supervisor starts a fresh link and module."""
        self._post(Broken(life=self.life, why=why), 0.0)

    def measured(self, qber: float | None, *, quiet: str = "") -> None:
        """Say the error rate of the last block, and why it gave no key (empty: it gave some).

        None: the error rate is not known.
        """
        self._post(Measured(life=self.life, qber=qber, quiet=quiet), 0.0)

    def count(self, name: str, n: float = 1, **labels: str) -> None:
        """Count up `protokms_link_<name>` of this link."""
        if n:
            self._system.meter.add(f"protokms_link_{name}", n, peer=self.peer, **labels)

    def gauge(self, name: str, value: float, **labels: str) -> None:
        """Say what `protokms_link_<name>` of this link is now."""
        self._system.meter.set(f"protokms_link_{name}", value, peer=self.peer, **labels)

    def _post(self, body: Message, delay: float) -> None:
        envelope = Envelope(self._link, self._link, body)
        if delay > 0:
            self._system.after(delay, envelope)
        else:
            self._system.send(envelope)


class Module(Protocol):
    """One end of a kind of QKD module.

    Both ends give the same octets under the same seq, as far as the link carries them: octets
    that reach one end only are harmless, the key stores agree on what both have.
    """

    @property
    def role(self) -> Role:
        """Which end this is."""
        ...

    @property
    def tick_s(self) -> float | None:
        """How often `tick` is to be called while the link is open; None: never."""
        ...

    def start(self, host: Host) -> None:
        """Take hold of the device, of sockets and threads, or raise `ModuleFailed`."""
        ...

    def open(self, epoch: bytes) -> None:
        """Begin this datagram epoch, or raise `ModuleNotReady`; what is older counts no more.

        Seqs given under one epoch never repeat, not even after a crash and a fresh start.
        """
        ...

    def tick(self, octets: int) -> Iterable[Bits]:
        """Give what is due now, in groups, and no more than so many octets of it."""
        ...

    def release(self, bits: Bits) -> None:
        """Let bits that `tick` gave go to the other end: this end's key store was told first."""
        ...

    def take(self, datagrams: tuple[Secret, ...]) -> Iterable[Bits]:
        """Check and sort what `Host.arrived` brought; drop and count what is no good."""
        ...

    def close(self) -> None:
        """End the epoch: give nothing until `open`."""
        ...

    def stop(self) -> None:
        """Let go of everything, threads ended; harmless at any time, also after a failed start."""
        ...


@runtime_checkable
class FetchesKeys(Protocol):
    """What a `Module` has beside that if its device names the keys that it gives."""

    def fetch(self, seqs: Sequence[int], key_ids: Sequence[str]) -> None:
        """Fetch these keys of the other end; `take` gives them, each under its seq."""
        ...
