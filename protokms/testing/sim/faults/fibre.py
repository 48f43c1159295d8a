"""A quantum link whose datagrams are seen, lost, doubled, spoilt, and come late or again."""

import random
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from actors.modules.emulated import Emulated, Emulation
from actors.modules.memory import Pipe, PipeEnd
from actors.modules.module import Bits
from protokms.testing.agenda import Agenda
from protokms.testing.sim.checker.octets import UNIT
from protokms.testing.sim.faults.device import Device, Source
from transport.message import Secret

_KEPT = 400
_LATE_S = 25.0


class Fibre(Pipe):
    """A pipe in memory that keeps what it draws, by seq; its rates are probabilities."""

    def __init__(self, seed: str, **emulation: Any) -> None:
        super().__init__(**emulation)
        self.drawn: dict[int, bytes] = {}
        self.agenda: Agenda | None = None
        """The agenda of the cluster, once there is one."""
        self.loss = self.twice = self.late = self.spoilt = self.wrong = 0.0
        """Probabilities; `wrong` octets have a good MAC: the two ends of the module differ."""
        self.dark = self.still = False
        self.source: Source | None = None
        """What it gives instead of what its emulation says."""
        self._dice = random.Random(seed)  # noqa: S311 -- ill luck, not key material
        self._past: deque[bytes] = deque(maxlen=_KEPT)

    def sender(self) -> Emulated:
        """Make the module of the sending link."""
        return _Sender(self, self._sender, _Thrower(self))

    def becomes(self, device: Device, now: float) -> None:
        """Give what this device gives from now on."""
        self.source = Source(device, now, self._dice)

    def carry(self, datagrams: Sequence[bytes]) -> None:
        """Bring datagrams to the other end, or not."""
        self._past.extend(datagrams)
        if self.dark:
            return
        good: list[bytes] = []
        for datagram in datagrams:
            if self.happens(self.loss):
                continue
            come = self._spoil(datagram) if self.happens(self.spoilt) else datagram
            if self.happens(self.late):
                self.later([come], self._dice.uniform(0.0, _LATE_S) * self._dice.random())
            else:
                good += [come] * (2 if self.happens(self.twice) else 1)
        self._arrive(good)

    def later(self, datagrams: list[bytes], seconds: float) -> None:
        """Bring datagrams after a while."""
        assert self.agenda, "the fibre is not in a cluster"
        self.agenda.later(seconds, lambda: self._arrive(datagrams))

    def again(self, count: int, dice: random.Random) -> None:
        """Bring datagrams that were sent before once more, of earlier epochs too."""
        if self._past:
            self._arrive([dice.choice(self._past) for _ in range(count)])

    def _arrive(self, datagrams: list[bytes]) -> None:
        if self.far and datagrams:
            self.far.arrived(datagrams, self.delay_s)

    def _spoil(self, datagram: bytes) -> bytes:
        spoilt = bytearray(datagram)
        spoilt[self._dice.randrange(len(spoilt))] ^= 1 << self._dice.randrange(8)
        return bytes(spoilt)

    def happens(self, rate: float) -> bool:
        """Draw whether something of this probability happens."""
        return rate > 0 and self._dice.random() < rate


class _Thrower(PipeEnd):
    """The sending end."""

    def __init__(self, fibre: Fibre) -> None:
        super().__init__(fibre, receives=False)
        self._fibre = fibre

    def send(self, datagrams: Sequence[bytes]) -> None:
        """Hand over to the fibre."""
        self._fibre.carry(datagrams)


class _Sender(Emulated):
    """An emulated module that draws whole units, and lets them be seen."""

    def __init__(self, fibre: Fibre, emulation: Emulation, end: PipeEnd) -> None:
        super().__init__(emulation, end)
        self._fibre = fibre

    def _due(self, octets: int) -> Iterable[int]:
        if self._fibre.source is None or self._fibre.still:
            return super()._due(octets)
        assert self._fibre.agenda, "the fibre is not in a cluster"
        return self._fibre.source.due(self._fibre.agenda.now, octets)

    def _lengths(self, rounds: int, octets: int) -> Iterator[int]:
        for length in super()._lengths(rounds, octets):
            if length >= UNIT and not self._fibre.still:
                yield length - length % UNIT

    def release(self, bits: Bits) -> None:
        """Send them, now and then with an octet that is not as it was drawn."""
        if self._fibre.wrong:
            payloads = tuple(map(self._err, bits.payloads))
            bits = Bits(bits.seqs, payloads)
        super().release(bits)

    def _err(self, payload: Secret) -> Secret:
        octets = payload.reveal()
        wrong = self._fibre.happens(self._fibre.wrong)
        return Secret(bytes((octets[0] ^ 1,)) + octets[1:]) if wrong else payload

    def _draw(self, lengths: Sequence[int]) -> Bits:
        bits = super()._draw(lengths)
        self._fibre.drawn.update(
            (seq, payload.reveal()) for seq, payload in zip(bits.seqs, bits.payloads, strict=True)
        )
        return bits
