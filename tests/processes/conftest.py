"""What tests with real processes share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes.real_lab import RealLab, pair


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[RealLab]:
    """Two nodes that run, with keys to hand out."""
    made = RealLab(tmp_path / "lab", pair(rate_bit_s=2e6))
    made.up()
    made.await_keys()
    yield made
    made.down()
