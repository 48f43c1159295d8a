"""`bench delivery`: both modes, the yardstick and another build in turns; no share of noise."""

import sys
from pathlib import Path

import pytest

from protokms.bench import rounds
from protokms.bench.rounds import BEFORE, THIS, WORKS, YARDSTICK, Work


def rows(*rates: float) -> list[dict[str, float]]:
    return [{"per_s": rate} for rate in rates]


def test_the_spread_is_of_the_median() -> None:
    assert rounds.spread_percent([90.0, 100.0, 115.0]) == 25.0


def test_a_ratio_is_of_medians() -> None:
    found = rounds.compared({"a": rows(100, 99, 101), "b": rows(50, 51, 49)}, "b", "a")

    assert found == {"ratio": 2.0}


def test_no_ratio_of_rounds_that_differ_much() -> None:
    found = rounds.compared({"a": rows(100, 99, 101), "b": rows(50, 40, 61)}, "b", "a")

    assert found == {"not_told": "rounds of b differ by 42.0 %"}


def test_what_is_no_environment_with_a_build_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no virtual environment in which protokms"):
        rounds.python_of(tmp_path)


def test_what_the_yardstick_can_do() -> None:
    bare = [work.name for work in WORKS if work.bare]

    assert bare == ["enc_1", "enc_16", "enc_64", "enc_1_busy"]


@pytest.mark.slow
def test_two_builds_are_measured_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "STORE_BITS", 1 << 24)
    monkeypatch.setattr(rounds, "FILLED_BITS", 8e6)
    works = (Work("enc_2", 2, busy=True), Work("cycles_1", 1, cycles=True))
    python = Path(sys.executable)

    found = rounds.delivery(0.5, lambda _: None, against=python, rounds=2, works=works)

    for build in (THIS, BEFORE):
        for mode in rounds.MODES:
            for work in works:
                row = found[build][mode][work.name]
                assert row["per_s"] > 0
                assert row["refused"] == 0
    assert found[YARDSTICK]["enc_2"]["per_s"] > 0
    assert "cycles_1" not in found[YARDSTICK]
    assert found["this_to_before_local"]["cycles_1"]["cpu_ratio"] > 0
