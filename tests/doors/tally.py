"""Counts what was thrown at each door of a node, and what came of it."""

from collections import Counter
from collections.abc import Iterable, Iterator

TRIED = "inputs tried"
"""The property of a test under which its report carries its tally."""

Line = tuple[str, str, str, int]
"""A door, a class of inputs, what came of them, and how many."""


class Tally:
    """Inputs by door and class; `outcomes` says how often each answer came."""

    def __init__(self) -> None:
        self._inputs: dict[tuple[str, str], Counter[str]] = {}

    def note(self, door: str, kind: str, outcome: object, n: int = 1) -> None:
        """Count inputs of a class, and their outcome."""
        self._inputs.setdefault((door, kind), Counter())[str(outcome)] += n

    def rows(self) -> list[Line]:
        """Return all there is, to be sent somewhere else."""
        return [
            (door, kind, outcome, n)
            for (door, kind), found in self._inputs.items()
            for outcome, n in found.items()
        ]

    def add(self, rows: Iterable[Line]) -> None:
        """Count what `rows` of another one returned."""
        for door, kind, outcome, n in rows:
            self.note(door, kind, outcome, n)

    def tried(self, door: str) -> int:
        """How many inputs came to a door."""
        return sum(rows.total() for (at, _), rows in self._inputs.items() if at == door)

    def lines(self) -> Iterator[str]:
        """Yield a table of everything, with a sum for each door."""
        for door in sorted({door for door, _ in self._inputs}):
            yield f"{door}: {self.tried(door):,} inputs"
            for (at, kind), rows in sorted(self._inputs.items()):
                if at == door:
                    said = ", ".join(f"{what} {n:,}" for what, n in rows.most_common(6))
                    yield f"  {kind}: {rows.total():,} ({said})"
