"""Where everything is counted: a bounded table of series that any thread may add to."""

import threading
from typing import NamedTuple

SERIES_LIMIT = 5_000
"""Most series kept; what is new past it is counted in `protokms_series_dropped` alone."""

_Key = tuple[str, tuple[tuple[str, str], ...]]


class Sample(NamedTuple):
    """One series: its name, its labels in order of their names, its value."""

    name: str
    labels: tuple[tuple[str, str], ...]
    value: float


class MemoryMeter:
    """Counters and gauges in memory: about a microsecond each; `actors.base.Meter`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counters: dict[_Key, float] = {}
        self._gauges: dict[_Key, float] = {}
        self._dropped = 0

    def add(self, name: str, n: float = 1, **labels: str) -> None:
        """Count up."""
        key = name, tuple(labels.items())
        with self._lock:
            try:
                self._counters[key] += n
            except KeyError:
                self._first(self._counters, key, n)

    def set(self, name: str, value: float, **labels: str) -> None:
        """Say how much there is now."""
        key = name, tuple(labels.items())
        with self._lock:
            if key in self._gauges:
                self._gauges[key] = value
            else:
                self._first(self._gauges, key, value)

    def value(self, name: str, **labels: str) -> float:
        """Return one counter or gauge, 0 when there is none; for tests and health."""
        want = tuple(sorted(labels.items()))
        counters, gauges = self.samples()
        same = [s.value for s in (*counters, *gauges) if (s.name, s.labels) == (name, want)]
        return sum(same)

    def samples(self) -> tuple[list[Sample], list[Sample]]:
        """Return all counters and all gauges, by name."""
        with self._lock:
            counters, gauges = dict(self._counters), dict(self._gauges)
            dropped = self._dropped
        if dropped:
            counters["protokms_series_dropped", ()] = dropped
        return _sorted(counters, add=True), _sorted(gauges, add=False)

    def _first(self, table: dict[_Key, float], key: _Key, value: float) -> None:
        if len(self._counters) + len(self._gauges) < SERIES_LIMIT:
            table[key] = value
        else:
            self._dropped += 1


def _sorted(table: dict[_Key, float], *, add: bool) -> list[Sample]:
    """Bring labels in order; two call sites may have named them in different orders."""
    found: dict[_Key, float] = {}
    for (name, labels), value in table.items():
        place = name, tuple(sorted(labels))
        found[place] = value + (found.get(place, 0) if add else 0)
    return [Sample(name, labels, found[name, labels]) for name, labels in sorted(found)]
