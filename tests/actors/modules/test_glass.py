"""Key bits of a block by fibre length: the papers' bounds, with frozen vectors."""

from pathlib import Path
from typing import Any

import pytest

from actors.modules.glass import Glass

ROOT = Path(__file__).parents[3]

# Decoy BB84, pulses a block: km and bits; worked out apart from this code.
DECOY = {
    1e9: {1: 7_074_295, 25: 1_821_860, 50: 311_570, 100: 0},
    1e10: {1: 84_473_270, 25: 25_988_962, 50: 7_261_505, 100: 306_049, 150: 0},
    1e12: {
        1: 9_037_213_584,
        25: 2_940_151_494,
        50: 916_024_673,
        100: 86_538_446,
        150: 6_981_995,
        200: 47_888,
    },
}


@pytest.mark.parametrize(
    ("pulses", "km", "bits"),
    [(pulses, km, bits) for pulses, row in DECOY.items() for km, bits in row.items()],
)
def test_a_block_of_decoy_bb84_gives_what_the_bound_allows(
    pulses: float, km: float, bits: int
) -> None:
    found = Glass(fibre_km=km, block_gates=pulses).block()

    assert found.bits == pytest.approx(bits, abs=1)  # one bit in 9,037,213,584 is rounding


def test_without_dark_counts_errors_are_the_misalignment() -> None:
    assert Glass(fibre_km=10, dark=0).block().qber == pytest.approx(0.00997)


def test_far_away_half_of_the_clicks_are_wrong() -> None:
    for glass in (Glass(fibre_km=1000), Glass(fibre_km=1000, protocol="bbm92")):
        assert glass.block().bits == 0
        assert glass.block().qber == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("protocol", ["decoy_bb84", "bbm92"])
def test_more_glass_more_loss_and_more_errors_never_give_more_key(protocol: Any) -> None:
    def bits(km: float, loss: float = 0.0, more: float = 0.0) -> int:
        glass = Glass(protocol=protocol, fibre_km=km, extra_loss_db=loss, block_gates=1e11)
        return glass.block(more_errors=more).bits

    by_km = [bits(km) for km in range(0, 400, 20)]
    by_loss = [bits(10, loss) for loss in range(0, 60, 4)]
    by_errors = [bits(10, more=share / 100) for share in range(0, 50, 2)]
    for row in (by_km, by_loss, by_errors):
        assert row == sorted(row, reverse=True)
        assert row[0] > 0
        assert row[-1] == 0


def test_a_larger_block_gives_more_of_each_pulse_up_to_what_an_endless_one_gives() -> None:
    of_each = [
        Glass(fibre_km=50, protocol="bbm92", block_gates=pulses).block().bits / pulses
        for pulses in (1e7, 1e8, 1e9, 1e12, 1e13)
    ]

    assert of_each == sorted(of_each)
    assert of_each[-1] == pytest.approx(of_each[-2], rel=0.01)


def test_entangled_pairs_are_wrong_as_two_pairs_at_once_are() -> None:
    # Without noise of its own a source errs as often as it gives two pairs: about half the mean.
    few = Glass(fibre_km=0, protocol="bbm92", pairs=0.002, dark=0, misalignment=0).block().qber
    many = Glass(fibre_km=0, protocol="bbm92", pairs=0.02, dark=0, misalignment=0).block().qber

    assert many == pytest.approx(10 * few, rel=0.05)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"fibre_km": -1}, "fibre_km is 0 to 1000"),
        ({"fibre_km": float("nan")}, "fibre_km is"),
        ({"block_gates": 10.0}, "block_gates is 10000 to"),
        ({"protocol": "e91"}, "protocol is one of decoy_bb84, bbm92"),
        ({"efficiency": 0.0}, "efficiency is 1e-06 to 1"),
        ({"dark": 0.2}, "dark is 0 to 0.1"),
        ({"misalignment": 0.6}, "misalignment is 0 to 0.5"),
        ({"reconciliation": 0.9}, "reconciliation is 1 to 3"),
        ({"key_basis": 1.0}, "key_basis is"),
        ({"pairs": 2.0}, "pairs is"),
        ({"loss_db_km": -0.1}, "loss_db_km is"),
        ({"extra_loss_db": -0.1}, "extra_loss_db is"),
        ({"intensities": (0.1, 0.5, 0.0)}, "each more than the next"),
        ({"intensities": (0.5, 0.3, 0.25)}, "each more than the next"),
        ({"odds": (0.8, 0.3, 0.05)}, "add up to 1"),
    ],
)
def test_glass_that_makes_no_sense_is_refused(options: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Glass(**{"fibre_km": 10.0, **options})


def test_the_table_of_the_docs_is_right() -> None:
    page = (ROOT / "docs/modules.md").read_text(encoding="utf-8")

    assert "\n".join(map(row, (1, 10, 25, 50, 75, 100, 125))) in page


def row(km: int) -> str:
    """Bits a second and QBER of both protocols: 10 s a block."""
    cells = [f"{km}"]
    for protocol in ("decoy_bb84", "bbm92"):
        found = Glass(fibre_km=km, protocol=protocol).block()
        cells += [f"{found.bits / 10:,.0f}", f"{found.qber:.1%}".replace("%", " %")]
    return f"| {' | '.join(cells)} |"
