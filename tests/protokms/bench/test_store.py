"""`bench store`: keys survive the start that is measured, and figures come out."""

import pytest

from protokms.bench import store

pytestmark = pytest.mark.slow


def test_a_start_with_undelivered_keys_is_measured() -> None:
    figures = store.store(64, lambda _: None)

    assert figures["undelivered"] >= 64
    for kind in ("empty", "full"):
        assert 0 < figures[kind]["first_key_cpu_s"] <= figures[kind]["loaded_cpu_s"]
