"""How many key bits a block of pulses gives over so much fibre, and with which error rate.

Two protocols, each with the finite-key bound of the paper named at its function. Only numbers
come from here: the bits of a key never do (physical.py draws them from the system's CSPRNG).
"""

from dataclasses import dataclass
from math import exp, expm1, factorial, floor, isclose, log, log2, sqrt
from typing import Literal, NamedTuple

Kind = Literal["decoy_bb84", "bbm92"]

_RANGES = {
    "loss_db_km": (0.0, 10.0),
    "extra_loss_db": (0.0, 100.0),
    "efficiency": (1e-6, 1.0),
    "dark": (0.0, 0.1),
    "misalignment": (0.0, 0.5),
    "reconciliation": (1.0, 3.0),
    "key_basis": (0.01, 0.99),
    "pairs": (1e-6, 1.0),
}
FIBRE_KM_MAX = 1000.0
BLOCK_GATES = (1e4, 1e15)


@dataclass(frozen=True, slots=True, kw_only=True)
class Glass:
    """A fibre with its source and detectors; `ValueError` for what makes no sense.

    `block_gates`: pulses sent (or gates of an entangled source) for one block of key. `dark`:
    dark counts a gate. `misalignment`: the share of photons that reach the wrong detector.
    `reconciliation`: bits told for error correction over the least possible. `key_basis`: how
    often each side chooses the basis that keys come from. `pairs`: mean pairs a gate (bbm92).
    """

    protocol: Kind = "decoy_bb84"
    fibre_km: float
    loss_db_km: float = 0.2
    extra_loss_db: float = 0.0
    block_gates: float = 1e10
    efficiency: float = 0.2
    dark: float = 1e-7
    misalignment: float = 0.00997
    reconciliation: float = 1.16
    key_basis: float = 0.5
    intensities: tuple[float, float, float] = (0.5, 0.1, 0.0)
    odds: tuple[float, float, float] = (0.8, 0.15, 0.05)
    pairs: float = 0.05
    secrecy: float = 1e-10
    correctness: float = 1e-15

    def __post_init__(self) -> None:
        if self.protocol not in _BLOCKS:
            raise ValueError(f"protocol is one of {', '.join(_BLOCKS)}")
        if not 0 <= self.fibre_km <= FIBRE_KM_MAX:
            raise ValueError(f"fibre_km is 0 to {FIBRE_KM_MAX:g}")
        if not BLOCK_GATES[0] <= self.block_gates <= BLOCK_GATES[1]:
            raise ValueError(f"block_gates is {BLOCK_GATES[0]:g} to {BLOCK_GATES[1]:g}")
        for name, (least, most) in _RANGES.items():
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name} is {least:g} to {most:g}")
        signal, decoy, vacuum = self.intensities
        if not (signal > decoy + vacuum and decoy > vacuum >= 0 and signal <= 1):
            raise ValueError("intensities are three, each more than the next, the first at most 1")
        if min(self.odds) <= 0 or not isclose(sum(self.odds), 1):
            raise ValueError("odds are three shares that add up to 1")

    @property
    def loss_db(self) -> float:
        """What the fibre and all on its way take."""
        return self.fibre_km * self.loss_db_km + self.extra_loss_db

    def block(self, *, more_errors: float = 0.0) -> "Block":
        """Return what a block gives if so large a share of photons more goes wrong (0 to 0.5)."""
        wrong = min(0.5, self.misalignment + more_errors)
        return _BLOCKS[self.protocol](self, wrong)


class Block(NamedTuple):
    """One block: secret bits, and the error rate of what was sifted (0 to 0.5)."""

    bits: int
    qber: float


def decoy_bb84(glass: Glass, wrong: float) -> Block:
    """BB84 with two decoy intensities: Lim, Curty, Walenta, Xu and Zbinden 2014, equations 1 to 5.

    All chances of failure are equal, 21 of them in `secrecy`. Keys come from one basis; the
    errors that eavesdropping leaves are bounded by those of the other.
    """
    key, test = _basis(glass, wrong, glass.key_basis), _basis(glass, wrong, 1 - glass.key_basis)
    qber = key.errors / key.clicks if key.clicks else 0.5
    if min(key.singles, test.singles) <= 0:
        return Block(0, qber)
    phase = test.single_errors / test.singles
    phase += _sampling(glass.secrecy, phase, test.singles, key.singles)
    told = glass.reconciliation * _entropy(qber) * key.clicks
    given_up = 6 * log2(21 / glass.secrecy) + log2(2 / glass.correctness)
    bits = key.vacua + key.singles * (1 - _entropy(min(0.5, phase))) - told - given_up
    return Block(max(0, floor(bits)), qber)


class _Basis(NamedTuple):
    """What both sides saw in one basis, and what follows of pulses without and with one photon."""

    clicks: float
    errors: float
    vacua: float
    singles: float
    single_errors: float


def _basis(glass: Glass, wrong: float, chosen: float) -> _Basis:
    through = glass.efficiency * 10 ** (-glass.loss_db / 10)
    pulses = [glass.block_gates * chosen**2 * odds for odds in glass.odds]
    clicks, errors = [], []
    for sent, mean in zip(pulses, glass.intensities, strict=True):
        seen = -expm1(-through * mean)
        clicks.append(sent * (seen + 2 * glass.dark * (1 - seen)))
        errors.append(sent * (glass.dark + wrong * seen))
    n, m = _bounds(glass, clicks), _bounds(glass, errors)
    signal, decoy, vacuum = glass.intensities
    none, one = _photons(glass, 0), _photons(glass, 1)
    vacua = none * (decoy * n[2].least - vacuum * n[1].most) / (decoy - vacuum)
    vacua = max(0.0, vacua)
    squares = decoy**2 - vacuum**2
    singles = n[1].least - n[2].most - squares / signal**2 * (n[0].most - vacua / none)
    singles *= one * signal / (signal * (decoy - vacuum) - squares)
    single_errors = one * (m[1].most - m[2].least) / (decoy - vacuum)
    return _Basis(sum(clicks), sum(errors), vacua, max(0.0, singles), max(0.0, single_errors))


class _Bound(NamedTuple):
    least: float
    most: float


def _bounds(glass: Glass, counts: list[float]) -> list[_Bound]:
    """Bound what infinitely many pulses of each intensity would have given (Hoeffding)."""
    off = sqrt(sum(counts) / 2 * log(21 / glass.secrecy))
    return [
        _Bound(exp(mean) / odds * (count - off), exp(mean) / odds * (count + off))
        for count, mean, odds in zip(counts, glass.intensities, glass.odds, strict=True)
    ]


def _photons(glass: Glass, n: int) -> float:
    """Return the chance that a pulse has n photons, whatever its intensity."""
    chances = zip(glass.odds, glass.intensities, strict=True)
    return sum(odds * exp(-mean) * mean**n / factorial(n) for odds, mean in chances)


def _sampling(secrecy: float, rate: float, tested: float, kept: float) -> float:
    """How much higher than in the sample of `tested` the error rate of `kept` may be."""
    rate = min(0.5, max(rate, 1 / (tested + kept)))
    both = (tested + kept) / (tested * kept)
    spread = both * (1 - rate) * rate
    return sqrt(spread / log(2) * max(0.0, log2(both / ((1 - rate) * rate) * (21 / secrecy) ** 2)))


def bbm92(glass: Glass, wrong: float) -> Block:
    """Entangled pairs, the source halfway: clicks by Ma, Fung and Lo 2007, equations 9 and 10.

    The bound for finite blocks is that of Tomamichel, Lim, Gisin and Renner 2012.
    """
    arm = glass.efficiency * 10 ** (-glass.loss_db / 20)
    half, dark = glass.pairs / 2, 2 * glass.dark
    one = 1 + arm * half
    both = 1 + 2 * arm * half - arm**2 * half
    gain = 1 - 2 * (1 - dark) / one**2 + (1 - dark) ** 2 / both**2
    right = 2 * (0.5 - wrong) * arm**2 * half * (1 + half) / (one**2 * both)
    qber = min(0.5, max(0.0, 0.5 - right / gain)) if gain > 0 else 0.5
    n = glass.block_gates * gain * glass.key_basis**2
    k = glass.block_gates * gain * (1 - glass.key_basis) ** 2
    if min(n, k) < 1:
        return Block(0, qber)
    off = sqrt((n + k) / (n * k) * (k + 1) / k * log(4 / glass.secrecy))
    told = glass.reconciliation * _entropy(qber) * n
    given_up = log2(2 / (glass.secrecy**2 * glass.correctness))
    bits = n * (1 - _entropy(min(0.5, qber + off))) - told - given_up
    return Block(max(0, floor(bits)), qber)


def _entropy(share: float) -> float:
    if not 0 < share < 1:
        return 0.0
    return -share * log2(share) - (1 - share) * log2(1 - share)


_BLOCKS = {"decoy_bb84": decoy_bb84, "bbm92": bbm92}
