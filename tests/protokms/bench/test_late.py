"""A bench whose nodes are not ready in time says which, and why, and measures nothing."""

from collections.abc import Callable

import pytest

from actors.ledger.batches import BATCH_FORMED
from protokms.bench import beside, delivery, directory, relay, slow_relay, store
from protokms.lab import run as lab_run

LATE = [
    lab_run.NodeState("kms-1"),
    lab_run.NodeState("kms-2", reasons=["the front end is not up", "no bits of kms-1"]),
]
SAID = r"^kms-2: the front end is not up; no bits of kms-1$"


def quiet(_: str) -> None:
    pass


def two_nodes() -> None:
    with delivery.running({}, {}):
        pass


BENCHES: dict[str, Callable[[], object]] = {
    "delivery": two_nodes,
    "directory": lambda: directory.directories(10, quiet),
    "store": lambda: store.store(2, quiet),
    "beside": lambda: beside.beside(0.1, 1e6, quiet),
    "relay": lambda: relay.relay([1], 0.1, quiet),
    "slow relay": lambda: slow_relay.relay([1], 1e5, 0.1, quiet),
}


@pytest.mark.parametrize("bench", BENCHES)
def test_nodes_that_are_late_end_a_bench(bench: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab_run, "up", lambda *_: LATE)

    with pytest.raises(RuntimeError, match=SAID):
        BENCHES[bench]()


def test_the_slowest_links_have_time_for_their_first_batch() -> None:
    assert slow_relay.BATCH_OCTETS == BATCH_FORMED
    assert slow_relay.patience(100.0) > slow_relay.START_S + 8 * BATCH_FORMED / 100.0
