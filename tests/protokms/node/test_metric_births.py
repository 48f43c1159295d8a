"""What is counted is there before it happens, so that the first time is seen as an increase."""

import re
from pathlib import Path

from actors.protocol.alarms import KINDS
from protokms.node import metric_births
from protokms.node.meter import SERIES_LIMIT, MemoryMeter
from protokms.node.metric_help import HELP

PAGE = Path(__file__).parents[3] / "docs/metrics.md"


def test_counters_of_core_and_of_each_neighbour_begin_at_0() -> None:
    meter = MemoryMeter()

    metric_births.begin(meter, ["kms-2", "kms-3"], "confirmed")

    counters, gauges = meter.samples()
    assert {sample.value for sample in counters} == {0}
    assert gauges == []
    made = {(sample.name, dict(sample.labels).get("peer", "")) for sample in counters}
    assert made == {
        *((name, "") for name in metric_births.OF_CORE),
        *((name, it) for name in metric_births.OF_NEIGHBOUR for it in ("kms-2", "kms-3")),
        *(("protokms_keys_issued", it) for it in ("kms-2", "kms-3")),
    }


def test_what_happened_before_stays() -> None:
    meter = MemoryMeter()
    meter.add("protokms_conflicts", 3, peer="kms-2")

    metric_births.begin(meter, ["kms-2"], "local")

    assert meter.value("protokms_conflicts", peer="kms-2") == 3


def test_many_neighbours_leave_room_for_what_happens() -> None:
    meter = MemoryMeter()

    metric_births.begin(meter, [f"kms-{n:04}" for n in range(1_000)], "confirmed")

    counters, _ = meter.samples()
    peers = {dict(sample.labels).get("peer") for sample in counters} - {None}
    assert len(peers) == metric_births.NEIGHBOURS_MAX
    assert len(counters) <= SERIES_LIMIT // 2


def test_each_is_a_counter_of_the_page_with_these_labels() -> None:
    page = PAGE.read_text()
    for name, labels in (metric_births.OF_CORE | metric_births.OF_NEIGHBOUR).items():
        assert name in HELP
        (row,) = re.findall(rf"^\|[^|\n]*`{name}_total`[^|\n]*\|([^|\n]*)\|", page, re.M)
        assert set(labels) <= {it.strip() for it in row.split(",")}


def test_the_kinds_of_alarms_are_known_ones() -> None:
    assert {"other_mode", *KINDS} >= set(metric_births.ALARMS)
