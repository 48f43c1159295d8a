"""The emulated QKD module: random octets in datagrams, from one end to the other.

As in proto-kms, each round the sender draws a random length and so many random octets, and
sends them in one datagram; a round that draws length 0 sends nothing. THE OCTETS TRAVEL IN
CLEAR: this stands in for the quantum channel and protects nothing. What carries the datagrams
is a `Wire`: UDP (udp.py) or memory (memory.py).
"""

import struct
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from actors.modules.adversity import Adversity, Impairments
from actors.modules.datagram import MAX_PAYLOAD, Channel, Malformed, channel_name
from actors.modules.module import GROUP_DATAGRAMS, GROUP_OCTETS, Bits, Host, Role
from actors.modules.window import Window
from transport.message import Secret

_TICK_S = 0.002
_CATCH_UP_S = 0.05
_BURST_OCTETS = 128 * 1024
_BURST_ROUNDS = 4096
_OLD_EPOCHS = 16
_SECRET_OCTETS = 32
_ROUND_S = (1e-6, 3600.0)
_DEFAULT_ROUND_S = 0.01
BLOCK_MAX = 16 << 20
_BLOCK_TICK_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Emulation:
    """What an emulated module does; `ValueError` for what makes no sense.

    Give `round_s`, seconds from round to round (0.01 if nothing is said), or `rate_bit_s`, the
    average in bit/s; or `block_octets` and `block_s`: nothing, and every so many seconds so many
    octets at once, as devices give that distil in blocks. `max_bytes`: octets of the longest
    payload. `secret`, 32 octets or more, is the same at both ends. Pace and adversity count at the
    sender only.
    """

    role: Role
    secret: Secret
    round_s: float | None = None
    rate_bit_s: float | None = None
    block_octets: int | None = None
    block_s: float | None = None
    max_bytes: int = 999
    adversity: Adversity = field(default_factory=Adversity)

    def __post_init__(self) -> None:
        if self.role not in ("sender", "receiver"):
            raise ValueError("role is sender or receiver")
        if len(self.secret) < _SECRET_OCTETS:
            raise ValueError(f"the secret of a link has at least {_SECRET_OCTETS} octets")
        if not 1 <= self.max_bytes <= MAX_PAYLOAD:
            raise ValueError(f"max_bytes is 1 to {MAX_PAYLOAD}")
        if self.round_s is not None and self.rate_bit_s is not None:
            raise ValueError("round_s or rate_bit_s, not both")
        if self.rate_bit_s is not None and not self.rate_bit_s > 0:
            raise ValueError("rate_bit_s is more than 0")
        if (self.block_octets is None) is not (self.block_s is None):
            raise ValueError("block_octets and block_s go together")
        if self.block_octets is not None and not 1 <= self.block_octets <= BLOCK_MAX:
            raise ValueError(f"block_octets is 1 to {BLOCK_MAX}")
        if self.block_s is not None and (self.round_s is not None or self.rate_bit_s is not None):
            raise ValueError("blocks, or round_s, or rate_bit_s: one of these")
        if not _ROUND_S[0] <= self.pace_s <= _ROUND_S[1]:
            raise ValueError(f"a round every {self.pace_s:g} s: not within {_ROUND_S} s")

    def blocks(self, host: Host) -> "Blocks | None":
        """Make what paces blocks; None if bits come in rounds."""
        octets, every_s = self.block_octets, self.block_s
        if octets is None or every_s is None:
            return None
        return Blocks(lambda _: octets, octets, every_s, host.now())

    @property
    def pace_s(self) -> float:
        """Seconds from round to round, or from block to block."""
        if self.block_s is not None:
            return self.block_s
        if self.rate_bit_s is not None:
            return 8 * self.max_bytes / 2 / self.rate_bit_s
        return _DEFAULT_ROUND_S if self.round_s is None else self.round_s


class Wire(Protocol):
    """What carries the datagrams of an emulated link; threads as for a `Module`."""

    def start(self, host: Host) -> None:
        """Take hold of sockets and threads, or raise `ModuleFailed`."""
        ...

    def open(self) -> None:
        """Get ready to send, or raise `ModuleNotReady`."""
        ...

    def send(self, datagrams: Sequence[bytes]) -> None:
        """Send now; what cannot be sent is lost and counted."""
        ...

    def taken(self) -> None:
        """Hear that a group handed to `Host.arrived` was dealt with."""
        ...

    def stop(self) -> None:
        """Let go of everything; harmless at any time."""
        ...


class Pace:
    """How many rounds are owed; what was missed by more than 50 ms is not caught up."""

    def __init__(self, emulation: Emulation, now: float) -> None:
        self._round_s, self._from = emulation.pace_s, now
        most = int(2 * _BURST_OCTETS / emulation.max_bytes)
        self._burst = max(1, min(most, _BURST_ROUNDS))

    def owed(self, now: float) -> int:
        """Return the number of rounds due, bounded; they count as done."""
        self._from = max(self._from, now - max(_CATCH_UP_S, self._round_s))
        due = int((now - self._from) / self._round_s + 1e-6)  # a tick that is a hair early counts
        rounds = min(due, self._burst)
        self._from += rounds * self._round_s
        return rounds


class Blocks:
    """How many octets of blocks are due; what a link could not take of one is gone with the next.

    A device goes on distilling whether or not its link is open, so blocks keep their times.
    """

    def __init__(
        self, octets: Callable[[float], int], most: int, every_s: float, now: float
    ) -> None:
        """Every so many seconds comes a block; `octets` tells of how many, `most` at most."""
        self._octets, self._every_s, self._next = octets, every_s, now + every_s
        self._left = 0
        pieces = max(1, most / (2 * _BURST_OCTETS))
        self.tick_s = max(_TICK_S, min(_BLOCK_TICK_S, every_s / 4, every_s / (2 * pieces)))
        """How often to ask: a whole block then passes before the next one comes."""

    def owed(self, now: float) -> int:
        """Return the octets that are due, bounded."""
        if now >= self._next - 1e-6:
            self._left = self._octets(now)
            passed = int((now - self._next) / self._every_s + 1e-6) + 1
            self._next += passed * self._every_s
        return min(self._left, 2 * _BURST_OCTETS)

    def gave(self, octets: int) -> None:
        """So many of them are on their way."""
        self._left -= octets


class Emulated:
    """A `Module`: one end of an emulated link; `blocks` make its pace instead of `emulation`."""

    def __init__(
        self,
        emulation: Emulation,
        wire: Wire,
        blocks: Callable[[Host], Blocks | None] | None = None,
    ) -> None:
        self._emulation, self._wire = emulation, wire
        self._make_blocks = blocks or emulation.blocks
        self.role: Role = emulation.role
        self.tick_s = max(_TICK_S, emulation.pace_s) if self.role == "sender" else None
        self._blocks: Blocks | None = None
        self._epoch = b""
        self._channel: Channel | None = None
        self._open = False
        self._old: deque[bytes] = deque(maxlen=_OLD_EPOCHS)
        self._window = Window()
        self._seq = 0

    def start(self, host: Host) -> None:
        """Start the wire."""
        self._host = host
        self._impairments = Impairments(self._emulation.adversity, host.now())
        self._blocks = self._make_blocks(host)
        if self._blocks and self.role == "sender":
            self.tick_s = self._blocks.tick_s
        self._wire.start(host)

    def open(self, epoch: bytes) -> None:
        """Derive the keys of the epoch; a sender goes on at a random seq, which never was before.

        A fresh sender does not know how far the one before it got: 62 random bits make sure
        that no seq of this epoch comes twice.
        """
        self._wire.open()
        if self._channel is None or epoch != self._epoch:
            if self._channel:
                self._old.append(self._channel.name)
            ends = (self._host.node, self._host.peer)
            sender, receiver = ends if self.role == "sender" else reversed(ends)
            self._channel = Channel(self._emulation.secret, epoch, sender, receiver)
            self._epoch, self._window = epoch, Window()
        self._seq = int.from_bytes(self._host.random(8), "big") >> 2
        self._pace = Pace(self._emulation, self._host.now())
        self._open = True

    def close(self) -> None:
        """Neither send nor take."""
        self._open = False

    def stop(self) -> None:
        """Stop the wire."""
        self._open = False
        self._wire.stop()

    # The sender

    def tick(self, octets: int) -> Iterator[Bits]:
        """Draw the rounds that are due."""
        if not self._open:
            return
        group: list[int] = []
        size = 0
        for length in self._due(octets):
            group.append(length)
            size += length
            if len(group) >= GROUP_DATAGRAMS or size >= GROUP_OCTETS:
                yield self._draw(group)
                group, size = [], 0
        if group:
            yield self._draw(group)

    def _due(self, octets: int) -> Iterable[int]:
        """Return the lengths of the datagrams that are due, of so many octets at most."""
        now = self._host.now()
        if self._blocks is None:
            return self._lengths(self._pace.owed(now), octets)
        size = min(self._blocks.owed(now), octets)
        self._blocks.gave(size)
        whole, rest = divmod(size, self._emulation.max_bytes)
        return [self._emulation.max_bytes] * whole + [rest] * bool(rest)

    def _lengths(self, rounds: int, octets: int) -> Iterator[int]:
        """Draw lengths, 0 to `max_bytes` uniformly; a length of 0 is left out."""
        for (dice,) in struct.iter_unpack(">I", self._host.random(4 * rounds)):
            length = min(dice * (self._emulation.max_bytes + 1) >> 32, octets)
            octets -= length
            if length:
                yield length

    def _draw(self, lengths: Sequence[int]) -> Bits:
        drawn, payloads, start = self._host.random(sum(lengths)), [], 0
        for length in lengths:
            payloads.append(Secret(drawn[start : start + length]))
            start += length
        first, self._seq = self._seq, self._seq + len(lengths)
        return Bits(range(first, self._seq), tuple(payloads))

    def release(self, bits: Bits) -> None:
        """Send them, as far as adversity lets them."""
        if not (self._open and self._channel):
            return
        seal = self._channel.seal
        sealed = [
            seal(seq, payload.reveal())
            for seq, payload in zip(bits.seqs, bits.payloads, strict=True)
        ]
        left = self._impairments.apply(sealed, self._host.now())
        for what, n in self._impairments.counts.items():
            self._host.count("adversity", n, what=what)
        self._impairments.counts.clear()
        self._wire.send(left)

    # The receiver

    def take(self, datagrams: tuple[Secret, ...]) -> Iterable[Bits]:
        """Drop what is no good, each under its reason; the rest in order."""
        self._wire.taken()
        good: dict[int, Secret] = {}
        dropped: Counter[str] = Counter()
        for datagram in datagrams:
            try:
                seq, payload = self._check(datagram.reveal())
            except Malformed as why:
                dropped[str(why)] += 1
            else:
                good[seq] = Secret(payload)
        for reason, n in dropped.items():
            self._host.count("dropped", n, reason=reason)
        seqs = sorted(good)
        return [Bits(seqs, tuple(good[seq] for seq in seqs))] if seqs else []

    def _check(self, datagram: bytes) -> tuple[int, bytes]:
        if self._channel is None or not self._open:
            raise Malformed("closed")
        try:
            seq, payload = self._channel.open(datagram)
        except Malformed as why:
            if str(why) == "stranger" and channel_name(datagram) in self._old:
                raise Malformed("old_epoch") from None
            raise
        if refusal := self._window.refusal(seq):
            raise Malformed(refusal)
        return seq, payload
