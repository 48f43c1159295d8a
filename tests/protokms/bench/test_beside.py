"""`bench beside`: nobody quiet is refused beside a greedy SAE, and figures come out."""

import pytest

from protokms.bench import beside

pytestmark = pytest.mark.slow


def test_quiet_saes_are_answered_beside_a_greedy_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beside, "ROUNDS", 1)
    monkeypatch.setattr(beside, "QUIET", 4)
    monkeypatch.setattr(beside, "CONNECTIONS", 4)

    figures = beside.beside(2.0, 20e6, lambda _: None)

    assert min(figures["alone"]["answered"], figures["beside"]["answered"]) >= 1
    assert figures["alone"]["refused"] == figures["beside"]["refused"] == 0
    assert figures["greedy"]["answered"] >= 1
    assert figures["beside"]["cpu_in_the_way_p50_ms"] > 0
    assert figures["quiet_to_alone"] > 0
