"""`bench clients`: both servers let everybody in, and figures come out."""

import pytest

from protokms.bench import clients

pytestmark = pytest.mark.slow


def test_both_servers_let_all_clients_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "ROUNDS", 1)

    figures = clients.at_once([8], lambda _: None)["clients_8"]

    assert figures["ours"]["not_let_in"] == figures["bare"]["not_let_in"] == 0
    assert figures["ours_to_bare"] > 0
