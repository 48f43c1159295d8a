"""Where everything is counted: a bounded table of series that any thread may add to."""

import threading
from typing import NamedTuple

from actors.base import Cell

SERIES_LIMIT = 5_000
"""Most series kept, beside sums over peers."""

SUMS_LIMIT = 500
PEERS_LIMIT = 20_000
OTHERS = "(others)"
"""The `peer` of a sum: no KMS has such a name."""

_Key = tuple[str, ...]
"""A name, the names of its labels, and their values, flat: a node has thousands."""


class Sample(NamedTuple):
    """One series: its name, its labels in order of their names, its value."""

    name: str
    labels: tuple[tuple[str, str], ...]
    value: float


class MemoryMeter:
    """Counters and gauges in memory: about a microsecond each; `actors.base.Meter`.

    Past the limit a counter of a peer adds to the sum of all such peers, and the peers are
    counted in `protokms_series_peers_summed`. Gauges have no sum that means anything: what is new
    is dropped, and counted in `protokms_series_dropped`.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counters: dict[_Key, float] = {}
        self._gauges: dict[_Key, float] = {}
        self._cells: dict[_Key, Cell] = {}
        self._sums: dict[_Key, float] = {}
        self._summed: set[str] = set()
        self._dropped = 0

    def add(self, name: str, n: float = 1, **labels: str) -> None:
        """Count up."""
        key = name, *labels, *labels.values()
        with self._lock:
            try:
                self._counters[key] += n
            except KeyError:
                self._first(self._counters, key, n)

    def cell(self, name: str, **labels: str) -> Cell:
        """Return the counter of this series for the one thread that counts it often."""
        key = name, *labels, *labels.values()
        with self._lock:
            if (cell := self._cells.get(key)) is None:
                cell = Cell()
                if self._full:
                    self._dropped += 1
                else:
                    self._cells[key] = cell
            return cell

    def set(self, name: str, value: float, **labels: str) -> None:
        """Say how much there is now."""
        key = name, *labels, *labels.values()
        with self._lock:
            if key in self._gauges:
                self._gauges[key] = value
            else:
                self._first(self._gauges, key, value)

    def value(self, name: str, **labels: str) -> float:
        """Return one counter or gauge, 0 when there is none; for tests and health."""
        want = tuple(sorted(labels.items()))
        counters, gauges = self.samples(name)
        return sum(sample.value for sample in (*counters, *gauges) if sample.labels == want)

    def samples(self, only: str = "") -> tuple[list[Sample], list[Sample]]:
        """Return all counters and all gauges, by name, or those of one name alone."""
        with self._lock:
            counters, gauges = self._counters | self._sums, dict(self._gauges)
            for key, cell in self._cells.items():
                if n := cell.n:
                    counters[key] = counters.get(key, 0) + n
            summed, dropped = len(self._summed), self._dropped
        if summed:
            gauges["protokms_series_peers_summed",] = summed
        if dropped:
            counters["protokms_series_dropped",] = dropped
        if only:
            counters, gauges = _named(counters, only), _named(gauges, only)
        return _sorted(counters, add=True), _sorted(gauges, add=False)

    def _first(self, table: dict[_Key, float], key: _Key, value: float) -> None:
        if not self._full:
            table[key] = value
        elif table is not self._counters or not self._sum_up(key, value):
            self._dropped += 1

    @property
    def _full(self) -> bool:
        return len(self._counters) + len(self._gauges) + len(self._cells) >= SERIES_LIMIT

    def _sum_up(self, key: _Key, n: float) -> bool:
        """Add to the sum of the peers that have no series; False if that is none of a peer."""
        labels = dict(_labels(key))
        peer = labels.get("peer")
        others = labels | {"peer": OTHERS}
        both = key[0], *others, *others.values()
        if peer is None or (both not in self._sums and len(self._sums) >= SUMS_LIMIT):
            return False
        self._sums[both] = self._sums.get(both, 0) + n
        if len(self._summed) < PEERS_LIMIT:
            self._summed.add(peer)
        return True


def _named(table: dict[_Key, float], name: str) -> dict[_Key, float]:
    return {key: value for key, value in table.items() if key[0] == name}


def _sorted(table: dict[_Key, float], *, add: bool) -> list[Sample]:
    """Bring labels in order; two call sites may have named them in different orders."""
    found: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {}
    for key, value in table.items():
        place = key[0], tuple(sorted(_labels(key)))
        found[place] = value + (found.get(place, 0) if add else 0)
    return [Sample(name, labels, found[name, labels]) for name, labels in sorted(found)]


def _labels(key: _Key) -> list[tuple[str, str]]:
    half = len(key) // 2 + 1
    return list(zip(key[1:half], key[half:], strict=True))
