"""`bench spread`: each shape of a node serves, and figures of each process come out."""

import pytest

from protokms.bench import spread

pytestmark = pytest.mark.slow


def test_each_shape_is_measured_beside_the_yardstick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread, "ROUNDS", 1)
    monkeypatch.setattr(spread, "CONNECTIONS", (8,))

    figures = spread.spread(1.0, lambda _: None)

    assert figures["yardstick"]["enc_8"]["per_s"] > 0
    for name, fronts in spread.SHAPES.items():
        row, memory = figures[name]["enc_8"], figures[name]["rss_mib"]
        assert row["per_s"] > 0, name
        assert row["refused"] == 0, name
        processes = {"core", *(f"front-{number}" for number in range(1, fronts + 1))}
        assert set(memory) == processes
        assert {f"cpu_us_{one}" for one in (*processes, "far", "loader")} < set(row)
