"""The meter: what is counted on any thread is all there in the end."""

import threading

from protokms.node.meter import OTHERS, SERIES_LIMIT, SUMS_LIMIT, MemoryMeter, Sample


def test_counts_add_up_by_label_in_whatever_order_labels_are_given() -> None:
    meter = MemoryMeter()

    meter.add("protokms_x", peer="b", reason="late")
    meter.add("protokms_x", 2, reason="late", peer="b")
    meter.add("protokms_x", peer="c", reason="late")

    counters, _ = meter.samples()
    assert counters == [
        Sample("protokms_x", (("peer", "b"), ("reason", "late")), 3),
        Sample("protokms_x", (("peer", "c"), ("reason", "late")), 1),
    ]


def test_a_gauge_keeps_the_last_value() -> None:
    meter = MemoryMeter()

    meter.set("protokms_y", 5)
    meter.set("protokms_y", 3)

    assert meter.samples() == ([], [Sample("protokms_y", (), 3)])
    assert meter.value("protokms_y") == 3


def test_threads_lose_no_count() -> None:
    meter = MemoryMeter()

    def count() -> None:
        for _ in range(2000):
            meter.add("protokms_x", peer="b")

    threads = [threading.Thread(target=count) for _ in range(4)]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert meter.value("protokms_x", peer="b") == 8000


def test_series_are_bounded_and_what_is_dropped_is_counted() -> None:
    meter = MemoryMeter()

    for n in range(SERIES_LIMIT + 7):
        meter.add("protokms_x", kind=str(n))
    meter.set("protokms_y", 1)
    meter.add("protokms_x", kind="0")

    assert len(meter.samples()[0]) == SERIES_LIMIT + 1
    assert meter.value("protokms_series_dropped") == 8
    assert meter.value("protokms_x", kind="0") == 2


def test_past_the_limit_counts_of_peers_are_summed_and_the_peers_told() -> None:
    meter = MemoryMeter()
    for n in range(SERIES_LIMIT):
        meter.add("protokms_x", peer=f"kms-{n}", reason="late")

    for _ in range(2):
        for n in range(SERIES_LIMIT, SERIES_LIMIT + 7):
            meter.add("protokms_x", 3, peer=f"kms-{n}", reason="late")
    meter.add("protokms_x", peer="kms-9", reason="late")

    assert meter.value("protokms_x", peer=OTHERS, reason="late") == 42
    assert meter.value("protokms_series_peers_summed") == 7
    assert meter.value("protokms_x", peer="kms-9", reason="late") == 2
    assert meter.value("protokms_series_dropped") == 0
    assert len(meter.samples()[0]) == SERIES_LIMIT + 1


def test_sums_are_bounded_too() -> None:
    meter = MemoryMeter()
    for n in range(SERIES_LIMIT):
        meter.add("protokms_x", kind=str(n))

    for n in range(SUMS_LIMIT + 3):
        meter.add(f"protokms_{n}", peer="kms-1")

    assert len(meter.samples()[0]) == SERIES_LIMIT + SUMS_LIMIT + 1
    assert meter.value("protokms_series_dropped") == 3


def test_samples_of_one_name_are_those_of_no_other() -> None:
    meter = MemoryMeter()
    meter.add("protokms_x", 2, peer="b")
    meter.add("protokms_y", 1, peer="b")
    meter.set("protokms_z", 7)
    counters, gauges = meter.samples()

    assert meter.samples("protokms_x") == (counters[:1], [])
    assert meter.samples("protokms_z") == ([], gauges)


def test_a_cell_adds_to_what_others_count_of_its_series() -> None:
    meter = MemoryMeter()
    cell = meter.cell("protokms_x", route="a", status="200")

    meter.add("protokms_x", 2, status="200", route="a")
    meter.add("protokms_x", 4, route="a", status="200")
    cell.n += 0.5

    assert meter.samples() == ([Sample("protokms_x", (("route", "a"), ("status", "200")), 6.5)], [])


def test_a_series_has_one_cell_whoever_asks() -> None:
    meter = MemoryMeter()
    meter.cell("protokms_x", route="a").n += 1
    meter.cell("protokms_x", route="a").n += 1
    meter.cell("protokms_x", route="b").n += 1

    assert meter.value("protokms_x", route="a") == 2


def test_a_cell_that_has_counted_nothing_is_no_series() -> None:
    meter = MemoryMeter()
    meter.cell("protokms_x", route="a")

    assert meter.samples() == ([], [])


def test_cells_are_bounded_with_all_series_and_what_is_dropped_is_counted() -> None:
    meter = MemoryMeter()
    for n in range(SERIES_LIMIT):
        meter.cell("protokms_x", kind=str(n)).n += 1
    meter.cell("protokms_x", kind="one more").n += 1
    meter.add("protokms_y")
    meter.cell("protokms_x", kind="0").n += 1

    assert len(meter.samples()[0]) == SERIES_LIMIT + 1
    assert meter.value("protokms_series_dropped") == 2
    assert meter.value("protokms_x", kind="0") == 2
