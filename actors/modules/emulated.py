"""The emulated QKD module: random octets in datagrams, from one end to the other.

As in proto-kms, each round the sender draws a random length and so many random octets, and
sends them in one datagram; a round that draws length 0 sends nothing. THE OCTETS TRAVEL IN
CLEAR: this stands in for the quantum channel and protects nothing. What carries the datagrams
is a `Wire`: UDP (udp.py) or memory (memory.py).
"""

import struct
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from actors.modules.adversity import Adversity, Mischief
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Emulation:
    """What an emulated module does; `ValueError` for what makes no sense.

    Give `round_s`, seconds from round to round (0.01 if nothing is said), or `rate_bit_s`, the
    average in bit/s. `max_bytes`: octets of the longest payload. `secret`, 32 octets or more, is
    the same at both ends. Pace and adversity count at the sender only.
    """

    role: Role
    secret: Secret
    round_s: float | None = None
    rate_bit_s: float | None = None
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
        if not _ROUND_S[0] <= self.pace_s <= _ROUND_S[1]:
            raise ValueError(f"a round every {self.pace_s:g} s: not within {_ROUND_S} s")

    @property
    def pace_s(self) -> float:
        """Seconds from round to round."""
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


class Emulated:
    """A `Module`: one end of an emulated link."""

    def __init__(self, emulation: Emulation, wire: Wire) -> None:
        self._emulation, self._wire = emulation, wire
        self.role: Role = emulation.role
        self.tick_s = max(_TICK_S, emulation.pace_s) if self.role == "sender" else None
        self._epoch = b""
        self._channel: Channel | None = None
        self._open = False
        self._old: deque[bytes] = deque(maxlen=_OLD_EPOCHS)
        self._window = Window()
        self._seq = 0

    def start(self, host: Host) -> None:
        """Start the wire."""
        self._host = host
        self._mischief = Mischief(self._emulation.adversity, host.now())
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
        for length in self._lengths(self._pace.owed(self._host.now()), octets):
            group.append(length)
            size += length
            if len(group) >= GROUP_DATAGRAMS or size >= GROUP_OCTETS:
                yield self._draw(group)
                group, size = [], 0
        if group:
            yield self._draw(group)

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
        sealed = [seal(seq, payload.reveal()) for seq, payload in zip(*bits, strict=True)]
        left = self._mischief.befall(sealed, self._host.now())
        for what, n in self._mischief.counts.items():
            self._host.count("adversity", n, what=what)
        self._mischief.counts.clear()
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
