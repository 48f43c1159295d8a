"""What befalls an actor, in order: each event with something in every queue, compared whole.

The files in `events/` say what one actor did at one event, as seen from around it. After a change
of order that is meant, write them anew and read the difference:

    REWRITE_EVENTS=1 python -m pytest tests/rules/test_order_of_events.py
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.kit import busy_network, busy_store
from tests.kit.recorder import Record, watch

EVENTS = Path(__file__).parent / "events"
REWRITE = "REWRITE_EVENTS"
ROWS: dict[str, Callable[[Record], Any]] = {**busy_store.ROWS, **busy_network.ROWS}


@pytest.mark.parametrize("row", ROWS)
def test_what_happens_and_in_which_order(row: str, monkeypatch: pytest.MonkeyPatch) -> None:
    record = Record()
    watch(record, monkeypatch, "b", busy_store.KEPT)

    ROWS[row](record)

    text, file = record.text(row.replace("_", " ")), EVENTS / f"{row}.txt"
    if os.environ.get(REWRITE):
        file.write_text(text)
    assert text.splitlines() == file.read_text().splitlines()


def test_there_is_a_file_for_each_row_and_no_other() -> None:
    assert sorted(file.stem for file in EVENTS.glob("*.txt")) == sorted(ROWS)
