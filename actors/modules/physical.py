"""The emulated module with the rate of glass: blocks of key as a fibre gives them, and its QBER.

Only the pace is that of a pair of QKD devices: how many bits a block gives is told by glass.py.
The bits are those of the system's CSPRNG, and travel in clear as in emulated.py.
"""

from dataclasses import dataclass
from math import cos, pi

from actors.modules.emulated import BLOCK_MAX, Blocks, Emulated, Emulation, Wire
from actors.modules.glass import Glass
from actors.modules.module import Host

_BLOCK_S = (1.0, 3600.0)
_GATES_HZ = (1.0, 1e12)
_DRIFT_S = (1.0, 1e7)
_ALL_LOST = 0.5
"""Half of the bits wrong: what both ends have has nothing to do with each other."""

_INTERCEPTED = 0.25
"""Of photons that an eavesdropper measures and sends on, so many arrive wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Physical:
    """What befalls a fibre and its devices; `ValueError` for what makes no sense.

    `gates_hz`: pulses a second. A block with a QBER over `qber_max` gives no key. `drift`: the
    share of photons that goes wrong beside the misalignment, at worst, every `drift_s` seconds.
    `eavesdropping`: (start, length, share): from `start` seconds on somebody measures that share
    of the photons and sends others on. Times count from the start of the module.
    """

    glass: Glass
    gates_hz: float = 1e9
    qber_max: float = 0.08
    drift: float = 0.0
    drift_s: float = 3600.0
    eavesdropping: tuple[tuple[float, float, float], ...] = ()

    def __post_init__(self) -> None:
        if not _GATES_HZ[0] <= self.gates_hz <= _GATES_HZ[1]:
            raise ValueError(f"gates_hz is {_GATES_HZ[0]:g} to {_GATES_HZ[1]:g}")
        if not _BLOCK_S[0] <= self.block_s <= _BLOCK_S[1]:
            raise ValueError(
                f"block_gates at gates_hz make a block every {self.block_s:g} s:"
                f" not within {_BLOCK_S} s"
            )
        if not 0 < self.qber_max <= _ALL_LOST:
            raise ValueError("qber_max is more than 0, at most 0.5")
        if not 0 <= self.drift <= _ALL_LOST:
            raise ValueError("drift is 0 to 0.5")
        if not _DRIFT_S[0] <= self.drift_s <= _DRIFT_S[1]:
            raise ValueError(f"drift_s is {_DRIFT_S[0]:g} to {_DRIFT_S[1]:g}")
        for start, length, share in self.eavesdropping:
            if start < 0 or length < 0 or not 0 <= share <= 1:
                raise ValueError(
                    "eavesdropping is start and length in seconds, and a share, 0 to 1"
                )
        if self.most > BLOCK_MAX:
            raise ValueError(
                f"a block gives {self.most:,} octets, more than {BLOCK_MAX:,}: fewer block_gates"
            )

    @property
    def block_s(self) -> float:
        """Seconds from block to block."""
        return self.glass.block_gates / self.gates_hz

    @property
    def most(self) -> int:
        """Octets of a block, at most."""
        return self.glass.block().bits // 8

    def more_errors(self, since: float) -> float:
        """Return the share of photons that goes wrong so many seconds after the start."""
        drifted = self.drift * (1 - cos(2 * pi * since / self.drift_s)) / 2
        heard = max((s for at, n, s in self.eavesdropping if at <= since < at + n), default=0.0)
        return min(_ALL_LOST, drifted + _INTERCEPTED * heard)


class Line:
    """One life of a line: what each block gives, said to the link with its QBER."""

    def __init__(self, physical: Physical, host: Host) -> None:
        self._physical, self._host, self._started = physical, host, host.now()

    def octets(self, now: float) -> int:
        """Return the octets of key of the block that ends now."""
        made = self._physical
        block = made.glass.block(more_errors=made.more_errors(now - self._started))
        why = ""
        if block.qber > made.qber_max:
            why = f"QBER {block.qber:.1%} is over {made.qber_max:.1%}: no key from this block"
        elif not block.bits // 8:
            why = (
                f"a block of {made.glass.block_gates:g} pulses over {made.glass.loss_db:.1f} dB"
                f" with QBER {block.qber:.1%} gives no key"
            )
        self._host.measured(block.qber, quiet=why)
        return 0 if why else block.bits // 8


def physical(made: Physical, emulation: Emulation, wire: Wire) -> Emulated:
    """Return an emulated module that gives bits as this fibre does; its own pace counts no more."""

    def blocks(host: Host) -> Blocks:
        return Blocks(Line(made, host).octets, made.most, made.block_s, host.now())

    return Emulated(emulation, wire, blocks)
