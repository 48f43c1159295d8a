"""`bench troubled`: nobody is refused beside troublemakers, who get what is theirs."""

import pytest

from protokms.bench import troubled

pytestmark = pytest.mark.slow


def test_keys_are_given_while_controllers_race_and_readers_vanish(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(troubled, "ROUNDS", 1)

    figures = troubled.troubled(1.0, lambda _: None)

    assert min(figures["alone"]["per_s"], figures["beside"]["per_s"]) > 0
    assert figures["alone"]["refused"] == figures["beside"]["refused"] == 0
    trouble = figures["trouble"]
    assert "stolen_served" not in trouble
    assert min(trouble["writes"], trouble["vanished_readers"], trouble["stolen_refused"]) >= 1
